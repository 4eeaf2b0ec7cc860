package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
)

// environment is all that QEMU sees of ours.
var environment = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/nonexistent"}

// process is one QEMU, our child or an adopted orphan. Its pid cannot be taken for another's: the pidfd pins it.
type process struct {
	pid   int
	ticks uint64
	fd    *os.File      // pidfd
	gone  chan struct{} // closed when it has ended
	how   string        // how it ended, for people; set before gone is closed. Empty: nobody knows
}

// watchChild reaps cmd, which has been started.
func watchChild(cmd *exec.Cmd) (*process, error) {
	p, err := openProcess(cmd.Process.Pid)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return nil, err
	}
	go func() { // the reaper: ends with the child
		p.how = howEnded(cmd.Wait())
		close(p.gone)
	}()
	return p, nil
}

// watchOrphan watches a process that is not our child, through its pidfd becoming readable.
func watchOrphan(pid int) (*process, error) {
	p, err := openProcess(pid)
	if err != nil {
		return nil, err
	}
	conn, err := p.fd.SyscallConn()
	if err != nil {
		p.fd.Close()
		return nil, err
	}
	go func() { // ends with the process, or when the driver closes the pidfd
		err := conn.Read(func(fd uintptr) bool {
			poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(poll, 0)
			return n > 0 || (err != nil && err != unix.EINTR)
		})
		if err == nil {
			close(p.gone)
		}
	}()
	return p, nil
}

func openProcess(pid int) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("pidfd of %d: %w", pid, err)
	}
	ticks, err := startTicks(pid)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &process{pid: pid, ticks: ticks, fd: os.NewFile(uintptr(fd), "pidfd"), gone: make(chan struct{})}, nil
}

// kill ends it for certain; harmless when it has ended.
func (p *process) kill() {
	conn, err := p.fd.SyscallConn()
	if err != nil {
		return // closed: the driver has let go
	}
	conn.Control(func(fd uintptr) { unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
}

func howEnded(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exit status 0"
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return fmt.Sprintf("signal %d, %s", int(ws.Signal()), ws.Signal())
		}
		return exit.String()
	}
	return err.Error()
}

// startTicks is field 22 of /proc/pid/stat (proc(5)).
func startTicks(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	if i < 0 {
		return 0, fmt.Errorf("/proc/%d/stat: no name", pid)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat: too short", pid)
	}
	if f[0] == "Z" {
		return 0, fs.ErrNotExist
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// isOurs says that pid is a QEMU started with this name.
func isOurs(pid int, name string) bool {
	n, ok := guestName(pid)
	return ok && n == name
}

// guestName reads the -name of a process.
func guestName(pid int) (string, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "", false
	}
	args := strings.Split(string(b), "\x00")
	for i := 1; i+1 < len(args); i++ {
		if args[i] == "-name" {
			return strings.CutPrefix(args[i+1], "guest=")
		}
	}
	return "", false
}

// scan finds all processes whose name ends in suffix: name → pid.
func scan(suffix string) (map[string]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if name, ok := guestName(pid); ok && strings.HasSuffix(name, suffix) {
			found[name] = pid
		}
	}
	return found, nil
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// credential finds the user that guests run as: nil when the agent itself is not root, so has no choice.
func credential(name string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	names := []string{name}
	if name == "" {
		names = []string{"nephos", "nobody"}
	}
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		if uid == 0 {
			return nil, fault.Invalid("user", "guests do not run as root")
		}
		c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		var kvm unix.Stat_t // its group opens /dev/kvm
		if unix.Stat("/dev/kvm", &kvm) == nil && kvm.Gid != 0 {
			c.Groups = []uint32{kvm.Gid}
		}
		return c, nil
	}
	return nil, fault.Invalid("user", "no user %s to run guests as", strings.Join(names, " or "))
}

// waitGone waits for the end of p.
func (p *process) waitGone(ctx context.Context, limit time.Duration) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.gone:
		return nil
	case <-t.C:
		return context.DeadlineExceeded
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
