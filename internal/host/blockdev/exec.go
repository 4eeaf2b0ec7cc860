package blockdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
)

const (
	toolDeadline = 30 * time.Minute // when the caller's context has none that is nearer
	toolMemory   = 4 << 30          // address space: a hostile qcow2 can ask for tables without end
)

// qemuImg runs qemu-img with a bounded address space.
func qemuImg(ctx context.Context, args ...string) error {
	path := findTool("qemu-img")
	if path == "" {
		return fault.Unavailable("qemu-img is not installed on this host")
	}
	return run(ctx, path, args...)
}

// run runs a program to its end, in its own process group, which is killed whole when ctx ends. The error holds the last line that
// the program wrote to stderr.
func run(ctx context.Context, path string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, toolDeadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", path, err)
	}
	limit := unix.Rlimit{Cur: toolMemory, Max: toolMemory}
	// A program that has already ended has nothing left to bound.
	limitErr := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_AS, &limit, nil)
	if errors.Is(limitErr, unix.ESRCH) {
		limitErr = nil
	}
	if limitErr != nil {
		cancel()
	}
	err := cmd.Wait()
	name := filepath.Base(path) + " " + strings.Join(args[:min(1, len(args))], " ")
	switch {
	case limitErr != nil:
		return fmt.Errorf("%s: bounding its memory: %w", name, limitErr)
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: stopped: %w", name, context.Cause(ctx))
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	return fmt.Errorf("%s: %w: %s", name, err, lines[len(lines)-1])
}
