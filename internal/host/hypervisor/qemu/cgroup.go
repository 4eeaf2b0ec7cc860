package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// groups are the control groups of this driver's guests: a directory below the root of the hierarchy for each guest that has CPU limits, named as its process is
// (processName), so that another cloud's are never touched. A guest without limits has none and stays where the agent is.
//
// The directory is there before its process and goes after it. A crash between leaves an empty one, or one whose guest runs on: sweep, at Adopt, takes away every one of ours
// that holds no process, and so does `nephos down`, which adopts.
type groups struct {
	root string // of the hierarchy that has the cpu controller; "": there is none that can be written
	v2   bool
}

// groupPrefix begins the names of all guests' groups.
const groupPrefix = "nephos-"

// cgroups is where hierarchies are mounted (systemd's rule, which others follow); tests have their own.
const cgroups = "/sys/fs/cgroup"

// findGroups looks for a hierarchy with the cpu controller: the only one of version 2, or version 1's own. Making and removing a group tells whether it may be used.
func findGroups(mounted, suffix string) groups {
	probe := func(g groups) groups {
		dir := filepath.Join(g.root, groupPrefix+"probe"+suffix)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return groups{}
		}
		defer os.Remove(dir)
		file := filepath.Join(dir, "cpu.shares")
		if g.v2 {
			file = filepath.Join(dir, "cpu.weight")
		}
		if unix.Access(file, unix.W_OK) != nil {
			return groups{}
		}
		return g
	}
	if controllers, err := os.ReadFile(filepath.Join(mounted, "cgroup.controllers")); err == nil {
		if !slices.Contains(strings.Fields(string(controllers)), "cpu") {
			return groups{}
		}
		// Without it in subtree_control, groups below have no cpu files. systemd and most others have set it already; where it may not be set the probe says no.
		if on, err := os.ReadFile(filepath.Join(mounted, "cgroup.subtree_control")); err == nil && !slices.Contains(strings.Fields(string(on)), "cpu") {
			os.WriteFile(filepath.Join(mounted, "cgroup.subtree_control"), []byte("+cpu"), 0)
		}
		return probe(groups{mounted, true})
	}
	for _, name := range []string{"cpu", "cpu,cpuacct"} {
		if _, err := os.Stat(filepath.Join(mounted, name, "cpu.shares")); err == nil {
			return probe(groups{filepath.Join(mounted, name), false})
		}
	}
	return groups{}
}

func (g groups) dir(name string) string { return filepath.Join(g.root, groupPrefix+name) }

// settings are the files of a group with their contents, in the order in which they must be written. The quota of a VCPU holds for all of them together, and QEMU's own
// threads work for the guest within it.
func (g groups) settings(l hostapi.CPULimits, vcpus int) (out [][2]string) {
	period := l.Period
	if period == 0 {
		period = 100000
	}
	quota := "max"
	if !g.v2 {
		quota = "-1"
	}
	if l.Quota > 0 {
		quota = strconv.FormatInt(l.Quota*int64(vcpus), 10)
	}
	if g.v2 {
		if l.Shares > 0 { // of 1 to 10000 with 100 for what 1024 is in version 1 (systemd's rule)
			out = append(out, [2]string{"cpu.weight", strconv.FormatInt(min(max(l.Shares*100/1024, 1), 10000), 10)})
		}
		return append(out, [2]string{"cpu.max", quota + " " + strconv.FormatInt(period, 10)})
	}
	if l.Shares > 0 {
		out = append(out, [2]string{"cpu.shares", strconv.FormatInt(l.Shares, 10)})
	}
	return append(out, [2]string{"cpu.cfs_quota_us", "-1"}, [2]string{"cpu.cfs_period_us", strconv.FormatInt(period, 10)}, [2]string{"cpu.cfs_quota_us", quota})
}

// make gives the group of a guest its limits; one of an earlier start is used again.
func (g groups) make(name string, l hostapi.CPULimits, vcpus int) error {
	if g.root == "" {
		return fault.Unavailable("this host cannot limit processors: the agent has no writable control group hierarchy with the cpu controller")
	}
	dir := g.dir(name)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fault.Unavailable("control group of guest %s", name).WithCause(err)
	}
	for _, s := range g.settings(l, vcpus) {
		if err := writeControl(filepath.Join(dir, s[0]), s[1]); err != nil {
			return fault.Unavailable("control group of guest %s does not take %s for %s", name, s[1], s[0]).WithCause(err)
		}
	}
	return nil
}

// enter puts a process with all its threads into a guest's group.
func (g groups) enter(name string, pid int) error {
	return writeControl(filepath.Join(g.dir(name), "cgroup.procs"), strconv.Itoa(pid))
}

// writeControl never makes a file: where the kernel has none, there is nothing to set.
func writeControl(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// drop removes the group of a guest whose process has ended; none there is fine. A process that has just ended may still be counted for a moment.
func (g groups) drop(ctx context.Context, name string) error {
	if g.root == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, quitPatience)
	defer cancel()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := unix.Rmdir(g.dir(name))
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY):
			return fmt.Errorf("control group of guest %s: %w", name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("control group of guest %s: %w", name, err)
		case <-again.C:
		}
	}
}

// sweep removes all groups of guests whose names end in suffix that hold no process.
func (g groups) sweep(suffix string) error {
	if g.root == "" {
		return nil
	}
	found, err := filepath.Glob(filepath.Join(g.root, groupPrefix+"*"+suffix))
	if err != nil {
		return err
	}
	for _, dir := range found {
		if rerr := unix.Rmdir(dir); rerr != nil && !errors.Is(rerr, unix.EBUSY) && !errors.Is(rerr, unix.ENOENT) {
			err = errors.Join(err, fmt.Errorf("%s: %w", dir, rerr))
		}
	}
	return err
}
