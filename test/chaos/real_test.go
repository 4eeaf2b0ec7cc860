package chaos

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// guests are the pids of QEMU processes that have files of an instance open (or of any, for "").
func guests(dir, id string) (out []string) {
	below := filepath.Join(dir, "instances", id)
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil || !strings.HasPrefix(target, below) {
			continue
		}
		proc := filepath.Dir(filepath.Dir(fd))
		name, err := os.ReadFile(filepath.Join(proc, "comm"))
		if err == nil && strings.HasPrefix(string(name), "qemu-system") && !slices.Contains(out, filepath.Base(proc)) {
			out = append(out, filepath.Base(proc))
		}
	}
	slices.Sort(out)
	return out
}

// signalGuests sends a signal to every QEMU process of an agent.
func signalGuests(h *half, sig syscall.Signal) int {
	all := guests(h.state, "")
	for _, p := range all {
		if pid, err := strconv.Atoi(p); err == nil {
			syscall.Kill(pid, sig) //nolint:errcheck // it may have ended
		}
	}
	return len(all)
}

// realRows are the workflows that a guest without a system can go through on one host. Those that need the guest's answer (unplugging, passwords, a soft reboot) would wait in vain, and those
// that need another host have it in test/e2e; all of them are in TestMatrix.
var realRows = []string{"server.create", "server.create (with a volume)", "server.delete", "server.start", "server.stop", "server.reboot-hard", "server.pause", "server.unpause", "server.suspend", "server.resume",
	"server.attach_volume", "server.attach_interface", "server.swap_volume", "server.rescue", "server.unrescue", "server.rebuild", "server.createImage", "server.shelve", "server.unshelve",
	"server.resize", "server.confirmResize", "server.revertResize", "volume.create", "volume.extend", "snapshot.create"}

// realQuick is how many of them the quick share takes.
const realQuick = 5

// newRealLane is a cloud of real guests whose host has a small file system of its own, so that it can be filled.
func newRealLane(t *testing.T) *lane {
	t.Helper()
	c := realPrepared(t)
	require.NoError(t, syscall.Mount("tmpfs", c.agent.state, "tmpfs", 0, "size=4g,mode=711"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(c.agent.state, 0)) })
	c.cleanLast(t)
	c.up()
	a := c.login()
	img, err := a.upload("empty", make([]byte, 1<<20))
	require.NoError(t, err)
	return &lane{t: t, c: c, a: a, image: img, real: true}
}

// impose begins a condition; over ends it.
func (l *lane) impose(f fault) (over func() error, err error) {
	h, point, arms := l.c.agent, "", arm{}
	switch f {
	case diskFull:
		fill := filepath.Join(l.c.agent.state, "filler")
		return func() error { return os.Remove(fill) }, fillDisk(fill, 0)
	case qmpSilent:
		if signalGuests(l.c.agent, syscall.SIGSTOP) == 0 {
			return nil, errNothing
		}
		return func() error { signalGuests(l.c.agent, syscall.SIGCONT); return nil }, nil
	case nftFails:
		point, arms = "nft/apply/-/before", arm{Do: "error", Err: "nft: Operation not permitted"}
	case storeSlow:
		h, point, arms = l.c.controller, "image/read/-/bytes", arm{Do: "slow", DelayMS: 700}
	case storeWrong:
		h, point, arms = l.c.controller, "image/read/-/bytes", arm{Do: "corrupt"}
	default:
		return nil, fmt.Errorf("%s does not last", f)
	}
	arms.Point = point
	name := fmt.Sprint("condition", l.n)
	h.arm(name, arms)
	return func() error { h.disarm(name); return nil }, nil
}

// fillDisk makes a file that leaves so many bytes of its file system.
func fillDisk(path string, left int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var fs syscall.Statfs_t
	if err := syscall.Fstatfs(int(f.Fd()), &fs); err != nil {
		return err
	}
	return syscall.Fallocate(int(f.Fd()), 0, 0, max(1, int64(fs.Bavail)*fs.Bsize-left))
}

// realTrials: the processes die at every point; conditions begin before every step.
func (p plan) realTrials() (out []trial) {
	reads := slices.ContainsFunc(p.forward, func(x string) bool { return strings.HasPrefix(x, "image/") })
	for _, x := range p.forward {
		parts := strings.Split(x, "/")
		if parts[0] == "workflow" && parts[1] != p.row.kind {
			continue
		}
		faults := []fault{killed, otherKilled, qemuKilled}
		if parts[0] == "workflow" && parts[3] == "before" {
			faults = append(faults, diskFull, qmpSilent, nftFails)
			if reads {
				faults = append(faults, storeSlow, storeWrong)
			}
		}
		for _, f := range faults {
			out = append(out, trial{row: p.row, point: x, fault: f})
		}
	}
	return out
}

// TestRealGuests kills the agent, the controller and QEMU itself at the points of workflows on real machines, and has disk, monitor, rules and image store fail from before each step
// on. The guests have an empty disk: firmware runs, no system.
func TestRealGuests(t *testing.T) {
	began := time.Now()
	rows := slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool { return !slices.Contains(realRows, s.String()) })
	require.Len(t, rows, len(realRows), "a name in realRows is of no scenario")
	rows = selected(rows)
	sampled := os.Getenv("NEPHOS_CHAOS_TIME") != ""
	if !long && !sampled && len(rows) > realQuick {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		rows = rows[:realQuick]
	}
	plans := make([]plan, len(rows))
	share(t, "rehearsal", len(rows), newRealLane, func(l *lane, i int) error {
		points, outcome, err := l.rehearseAgain(rows[i], "")
		plans[i] = plan{row: rows[i], forward: points, trivial: []result{{trial: trial{row: rows[i], point: "-", fault: none}, outcome: outcome}}}
		if err != nil {
			return fmt.Errorf("%v: %w", rows[i], err)
		}
		return nil
	})
	if t.Failed() {
		return
	}
	var all []trial
	var results []result
	for _, p := range plans {
		all = append(all, p.realTrials()...)
		results = append(results, p.trivial...)
	}
	order, until := shuffled(len(all))
	if !long && !sampled {
		until = time.Now().Add(realBudget)
	}
	t.Logf("seed %d (NEPHOS_CHAOS_SEED), %d scenarios, %d trials; rehearsed in %v", seed, len(rows), len(all), time.Since(began).Round(time.Second))
	done := make([]result, len(all))
	share(t, "trials", len(all), newRealLane, func(l *lane, i int) error { return l.try(all[order[i]], until, &done[order[i]]) })
	report(t, append(results, done...), time.Since(began), realBegin, realEnd)
}

// realBudget is how long the quick share begins new trials.
const realBudget = 40 * time.Second

// TestQEMUSilent stops a guest's process with a signal: its monitor answers nothing. The verb fails with a reason, and the server can be deleted.
func TestQEMUSilent(t *testing.T) {
	t.Parallel()
	s := realStage(t)
	require.NoError(t, s.running())
	require.Equal(t, 1, signalGuests(s.c.agent, syscall.SIGSTOP))
	require.NoError(t, s.action("pause", nil))
	all, err := s.settled()
	require.NoError(t, err)
	require.Equal(t, "ACTIVE", all[0].status, "%v", all)
	r, err := s.get(compute, "/servers/"+s.server+"/os-nephos-trace")
	require.NoError(t, err)
	require.Equal(t, "failed", r.str("trace/0/status"), "%s", r)
	require.Contains(t, r.str("trace/0/error"), "does not answer")
	require.Equal(t, "pause", r.str("trace/0/error_step"))
	_, err = s.verdict(true)
	require.NoError(t, err)
	require.Empty(t, guests(s.c.agent.state, ""))
}

// TestNFTFails lets every load of rules fail: builds end with the step and the reason, and when it works again so does the cloud.
func TestNFTFails(t *testing.T) {
	t.Parallel()
	s := realStage(t)
	s.c.agent.arm("nft", arm{Point: "nft/apply/-/before", Do: "error", Err: "nft: Operation not permitted"})
	require.NoError(t, s.boot(nil))
	all, err := s.settled()
	require.NoError(t, err)
	require.Equal(t, "ERROR", all[0].status, "%v", all)
	require.Contains(t, all[0].fault, "Operation not permitted", "%+v", all[0])
	s.c.agent.disarm("nft")
	_, err = s.verdict(true)
	require.NoError(t, err)
	// A delete must not hang on rules that cannot be loaded: what is left goes with the next load.
	require.NoError(t, s.running())
	s.c.agent.arm("nft2", arm{Point: "nft/apply/-/before", Do: "error", Err: "nft: Operation not permitted"})
	require.NoError(t, s.action("forceDelete", nil))
	all, err = s.settled()
	require.NoError(t, err)
	t.Logf("deleted while nft fails: %s", describe(all))
	s.c.agent.disarm("nft2")
	_, err = s.verdict(false)
	require.NoError(t, err)
	require.NoError(t, s.running())
	_, err = s.verdict(true)
	require.NoError(t, err)
}

// TestImageStore gives an agent the image slowly, wrong, and not at all.
func TestImageStore(t *testing.T) {
	t.Parallel()
	s := realStage(t)
	for i, c := range []struct {
		arm    arm
		status string
		reason string
	}{
		{arm: arm{Do: "slow", DelayMS: 700}, status: "ACTIVE"},
		{arm: arm{Do: "corrupt"}, status: "ERROR", reason: "SHA-512"},
		{arm: arm{Do: "error", Err: "input/output error"}, status: "ERROR", reason: "input/output error"},
	} {
		img, err := s.upload(fmt.Sprint("fresh", i), bytes.Repeat([]byte{byte(i + 1), 7}, 1<<20))
		require.NoError(t, err)
		s.image = img
		c.arm.Point = "image/read/-/bytes"
		name := fmt.Sprint("store", i)
		s.c.controller.arm(name, c.arm)
		require.NoError(t, s.boot(nil))
		all, err := s.settled()
		require.NoError(t, err)
		require.Equal(t, c.status, all[0].status, "%v %+v", c.arm, all)
		require.Contains(t, all[0].fault, c.reason)
		if c.status == "ERROR" {
			require.Contains(t, all[0].fault, "image", "the step of the host")
			require.Contains(t, all[0].details, "step ")
		}
		s.c.controller.disarm(name)
		_, err = s.verdict(true)
		require.NoError(t, err)
		require.NoError(t, s.running(), "the store is well again, and so is the image")
		_, err = s.verdict(true)
		require.NoError(t, err)
	}
}

// TestDiskFull fills the file system below an agent.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	c := realPrepared(t)
	require.NoError(t, syscall.Mount("tmpfs", c.agent.state, "tmpfs", 0, "size=1100m,mode=711"))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(c.agent.state, 0)) })
	c.cleanLast(t)
	c.up()
	s := newStage(t, c)
	fill := filepath.Join(c.agent.state, "filler")
	full := func(left int64) { require.NoError(t, fillDisk(fill, left)) }
	for _, left := range []int64{0, 4096, 1 << 20} { // nothing at all; the spec but no image; an image but hardly more
		t.Logf("%d bytes left", left)
		full(left)
		require.NoError(t, s.boot(nil))
		all, err := s.settled()
		require.NoError(t, err)
		t.Logf("boot: %s (%s)", describe(all), all[0].details)
		if all[0].status == "ERROR" {
			require.Contains(t, all[0].fault, "no space left")
		}
		require.NoError(t, os.Remove(fill))
		_, err = s.verdict(true)
		require.NoError(t, err)
	}
	// A server and a volume that live on a disk that fills can still be deleted, while it is full.
	require.NoError(t, s.runningAndVolume())
	full(0)
	require.NoError(t, s.attachVolume())
	all, err := s.settled()
	require.NoError(t, err)
	t.Logf("attach: %s", describe(all))
	_, err = s.verdict(true)
	require.NoError(t, err)
	require.NoError(t, os.Remove(fill))
	require.NoError(t, s.running())
	_, err = s.verdict(true)
	require.NoError(t, err)
}

// realStage is a cloud of real guests with an image without a system.
func realStage(t *testing.T) *stage {
	t.Helper()
	return newStage(t, realCloud(t))
}

func newStage(t *testing.T, c *cloud) *stage {
	t.Helper()
	a := c.login()
	img, err := a.upload("empty", make([]byte, 1<<20))
	require.NoError(t, err)
	return &stage{client: a, name: "case-", image: img}
}
