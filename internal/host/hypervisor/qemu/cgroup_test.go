package qemu

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"nephos/internal/hostapi"
)

// What is written into a group, in either version of the interface.
func TestGroupSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v2     bool
		limits hostapi.CPULimits
		want   [][2]string
	}{
		{true, hostapi.CPULimits{Shares: 2048}, [][2]string{{"cpu.weight", "200"}, {"cpu.max", "max 100000"}}},
		{true, hostapi.CPULimits{Shares: 2, Quota: 20000, Period: 50000}, [][2]string{{"cpu.weight", "1"}, {"cpu.max", "40000 50000"}}},
		{true, hostapi.CPULimits{Shares: 262144}, [][2]string{{"cpu.weight", "10000"}, {"cpu.max", "max 100000"}}},
		{false, hostapi.CPULimits{Shares: 512}, [][2]string{{"cpu.shares", "512"}, {"cpu.cfs_quota_us", "-1"}, {"cpu.cfs_period_us", "100000"}, {"cpu.cfs_quota_us", "-1"}}},
		{false, hostapi.CPULimits{Quota: 1000, Period: 1000000}, [][2]string{{"cpu.cfs_quota_us", "-1"}, {"cpu.cfs_period_us", "1000000"}, {"cpu.cfs_quota_us", "2000"}}},
	} {
		if diff := cmp.Diff(c.want, groups{v2: c.v2}.settings(c.limits, 2)); diff != "" {
			t.Errorf("%+v:\n%s", c, diff)
		}
	}
}

// usable gives the groups of this machine, for processes of this test.
func usable(t *testing.T) (groups, string) {
	t.Helper()
	suffix := fmt.Sprintf(".test-%d-%d", os.Getpid(), time.Now().UnixNano())
	g := findGroups(cgroups, suffix)
	if g.root == "" {
		t.Skip("needs a control group hierarchy with the cpu controller that may be written (root)")
	}
	return g, suffix
}

// A process in a group uses no more than its quota; the group goes with it, and a sweep takes what no process is in, and nothing else.
func TestGroupHoldsAProcess(t *testing.T) {
	t.Parallel()
	g, suffix := usable(t)
	name := "busy" + suffix
	if err := g.make(name, hostapi.CPULimits{Shares: 512, Quota: 10000, Period: 100000}, 1); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill() }()
	if err := g.enter(name, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	before, began := ticks(t, cmd.Process.Pid), time.Now()
	until := time.NewTimer(time.Second)
	<-until.C
	used, share := ticks(t, cmd.Process.Pid)-before, time.Since(began).Seconds()*100 // 100 ticks a second, as Linux has it everywhere
	if float64(used) > share*0.2 {
		t.Errorf("%d of %.0f ticks used, with a quota of a tenth", used, share)
	}
	if err := g.make("empty"+suffix, hostapi.CPULimits{Shares: 2}, 1); err != nil {
		t.Fatal(err)
	}
	if err := g.sweep(suffix); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(g.dir("empty" + suffix)); err == nil {
		t.Error("the empty group is still there")
	}
	if _, err := os.Stat(g.dir(name)); err != nil {
		t.Error("the group with a process is gone: ", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := g.drop(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := g.drop(t.Context(), name); err != nil {
		t.Fatal("again: ", err)
	}
	if left, _ := filepath.Glob(g.dir("*" + suffix)); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// ticks is the processor time of a process (proc(5)).
func ticks(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, err := strconv.Atoi(f[11])
	if err != nil {
		t.Fatal(err)
	}
	system, err := strconv.Atoi(f[12])
	if err != nil {
		t.Fatal(err)
	}
	return user + system
}

// No hierarchy, one without the controller, and one that only looks like it: no limits are promised.
func TestNoGroups(t *testing.T) {
	t.Parallel()
	empty, without, readonly := t.TempDir(), t.TempDir(), t.TempDir()
	for file, text := range map[string]string{filepath.Join(without, "cgroup.controllers"): "memory pids", filepath.Join(readonly, "cgroup.controllers"): "cpu memory", filepath.Join(readonly, "cgroup.subtree_control"): "memory"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, root := range []string{empty, without, readonly} {
		if g := findGroups(root, ".x"); g.root != "" {
			t.Errorf("%+v", g)
		}
	}
	if err := (groups{}).make("x", hostapi.CPULimits{Shares: 2}, 1); err == nil {
		t.Error("a group where there can be none")
	}
}

// A guest with limits is in its group as long as it lives: over a driver's restart, and it is taken away after a crash of both.
func TestGuestInItsGroup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if w.d.groups.root == "" {
		t.Skip("needs a control group hierarchy with the cpu controller that may be written (root)")
	}
	g := w.Bare(t)
	g.CPU = hostapi.CPULimits{Quota: 50000}
	ok(t, w.d.Start(t.Context(), g))
	dir := w.d.groups.dir(w.d.name(g.ID))
	inside := func() {
		t.Helper()
		s, _ := w.d.Status(t.Context(), g.ID)
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		ok(t, err)
		if strings.TrimSpace(string(b)) != strconv.Itoa(s.PID) {
			t.Errorf("%q are in the group, the guest is %d", b, s.PID)
		}
	}
	gone := func() {
		t.Helper()
		if _, err := os.Stat(dir); err == nil {
			t.Error("the group is still there")
		}
	}
	inside()
	w.Reopen(t)
	_, err := w.d.Adopt(t.Context())
	ok(t, err)
	inside()
	ok(t, w.d.Shutdown(t.Context(), g.ID, 0))
	gone()
	ok(t, w.d.Start(t.Context(), g))
	inside()
	w.d.Close()
	w.Crash(t, g.ID)
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	w.open(t)
	_, err = w.d.Adopt(t.Context())
	ok(t, err)
	gone()
}
