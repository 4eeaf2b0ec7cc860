package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// reasoned wants every server ACTIVE, or ERROR with a fault that gives a reason.
func (a *api) reasoned(n int, within time.Duration) (active, failed int) {
	a.t.Helper()
	var list map[string]reply
	if !poll(within, 300*time.Millisecond, func() bool {
		list = a.all()
		for _, r := range list {
			if r.str("server/status") == "BUILD" || r.str("server/OS-EXT-STS:task_state") != "" {
				return false
			}
		}
		return true
	}) {
		a.t.Fatalf("servers hang after a crash: %v", list)
	}
	require.Len(a.t, list, n, "a 202 is a promise")
	for _, r := range list {
		switch r.str("server/status") {
		case "ACTIVE":
			active++
		case "ERROR":
			failed++
			require.NotEmpty(a.t, r.str("server/fault/message"), "%s", r)
			a.t.Logf("ERROR: %s", r.str("server/fault/message"))
		default:
			a.t.Errorf("neither ACTIVE nor ERROR: %s", r)
		}
	}
	return active, failed
}

// TestCrashWithSimulatedHosts kills the process at several moments of many builds.
func TestCrashWithSimulatedHosts(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 20)
	a := c.admin()
	a.quota(object{"instances": -1, "cores": -1, "ram": -1})
	a.must(200, "PUT", network, "/quotas/"+a.project, object{"quota": object{"port": -1}})
	img := a.upload("tiny", "raw", make([]byte, 4096))
	made := 0
	for round := range 4 {
		const n = 100
		require.Equal(t, 202, a.boot(fmt.Sprintf("r%d", round), img, object{"min_count": n, "max_count": n}).code)
		made += n
		building := 0
		poll(time.Duration(round)*15*time.Millisecond, time.Millisecond, func() bool { return false }) // another moment each round
		for _, r := range a.all() {
			if r.str("server/status") == "BUILD" {
				building++
			}
		}
		c.crash()
		c.start()
		a = c.admin()
		active, failed := a.reasoned(made, time.Minute)
		t.Logf("round %d: killed with %d of %d in BUILD; after that %d ACTIVE, %d ERROR", round, building, made, active, failed)
		c.fsckClean()
	}
	ids := []string{}
	for id := range a.all() {
		ids = append(ids, id)
	}
	for _, id := range ids {
		a.must(204, "DELETE", compute, "/servers/"+id, nil)
	}
	c.crash() // and in the middle of deletes
	c.start()
	a = c.admin()
	require.True(t, poll(time.Minute, 200*time.Millisecond, func() bool { return len(a.all()) == 0 }), "%v", a.all())
	c.fsckClean()
}

// TestCrashWithGuests kills the process while real guests run and others are being built.
func TestCrashWithGuests(t *testing.T) {
	c := realCloud(t)
	a := c.admin()
	a.letIn()
	key := a.keypair("mine")
	img := a.named(image, "/images", "images", "nephos-guest")
	old := a.boot("old", img, object{"key_name": "mine"}).str("server/id")
	a.active(old, time.Minute)
	a.console(old, "nephos-guest: ready", 1)
	ip := a.float(old)
	var out string
	var err error
	require.True(t, poll(time.Minute, time.Second, func() bool { out, err = ssh(key, ip, "cat /proc/sys/kernel/random/boot_id"); return err == nil }), "%v %s", err, out)
	before := guests(c.dir, old)
	require.Len(t, before, 1)

	made := 1
	for round := range 3 {
		a.parallel(4, img)
		made += 4
		poll(time.Duration(round)*60*time.Millisecond, 5*time.Millisecond, func() bool { return false })
		c.crash()
		still, err := ssh(key, ip, "cat /proc/sys/kernel/random/boot_id")
		require.NoError(t, err, "guests and their networking go on without the process: %s", still)
		require.Equal(t, out, still)
		c.start()
		a = c.admin()
		active, failed := a.reasoned(made, 2*time.Minute)
		t.Logf("round %d: %d ACTIVE, %d ERROR", round, active, failed)
		c.fsckClean()
		ids := []string{}
		for id := range a.all() {
			if id != old {
				ids = append(ids, id)
			}
		}
		a.deleteAll(ids, time.Minute)
		made = 1
	}
	require.Equal(t, before, guests(c.dir, old), "the same process")
	still, err := ssh(key, ip, "cat /proc/sys/kernel/random/boot_id")
	require.NoError(t, err, still)
	require.Equal(t, out, still)
	a.deleteAll([]string{old}, time.Minute)
	c.fsckClean()
	c.nothingOf(old)
}
