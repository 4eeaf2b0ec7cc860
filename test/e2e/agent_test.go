package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// join starts `nephos agent` in a directory of its own; the test's end takes it away.
func (c *cloud) join(name string, flags ...string) (dir string) {
	c.t.Helper()
	token, err := os.ReadFile(filepath.Join(c.dir, "join-token"))
	require.NoError(c.t, err)
	dir, err = os.MkdirTemp("", "nephos-e2e-agent-")
	require.NoError(c.t, err)
	require.NoError(c.t, os.Chmod(dir, 0o711))
	p, _ := c.launch(append([]string{"agent", "--state-dir", dir, "--host", name, "--join", fmt.Sprintf("nats://%s:%d", c.at, 4222+c.offset), "--token", strings.TrimSpace(string(token))}, flags...)...)
	c.t.Cleanup(func() {
		c.signal(p, syscall.SIGTERM)
		if _, errs, err := c.try(binary, "down", "--state-dir", dir, "--purge"); err != nil {
			c.t.Errorf("down of the agent: %v %s", err, errs)
		}
		os.RemoveAll(dir)
	})
	return dir
}

// hostsOf counts servers by host.
func (a *api) hostsOf() map[string]int {
	a.t.Helper()
	out := map[string]int{}
	for _, r := range a.all() {
		out[r.str("server/OS-EXT-SRV-ATTR:host")]++
	}
	return out
}

// hostUp waits until compute calls a host up.
func (a *api) hostUp(name string) {
	a.t.Helper()
	require.True(a.t, poll(20*time.Second, 100*time.Millisecond, func() bool {
		r := a.do("GET", compute, "/os-services?binary=nova-compute", nil)
		for i := range r.list("services") {
			if at := fmt.Sprintf("services/%d/", i); r.str(at+"host") == name && r.str(at+"state") == "up" {
				return true
			}
		}
		return false
	}), "host %s does not come up", name)
}

// TestSecondAgent: another process on the bus takes servers.
func TestSecondAgent(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 1)
	c.join("second", "--driver", "fake")
	a := c.admin()
	a.quota(object{"instances": -1, "cores": -1, "ram": -1})
	img := a.upload("tiny", "raw", make([]byte, 4096))
	var second string
	require.True(t, poll(20*time.Second, 100*time.Millisecond, func() bool {
		r := a.do("GET", compute, "/os-services?binary=nova-compute", nil)
		for i := range r.list("services") {
			if h := r.str(fmt.Sprintf("services/%d/host", i)); r.str(fmt.Sprintf("services/%d/state", i)) == "up" && strings.Contains(h, "second") {
				second = h
			}
		}
		return second != ""
	}), "the second host does not come up")
	require.Equal(t, 202, a.boot("s", img, object{"min_count": 20, "max_count": 20}).code)
	ids := a.allActive(20, time.Minute)
	hosts := a.hostsOf()
	require.Len(t, hosts, 2, "%v", hosts)
	require.Positive(t, hosts[second])
	c.fsckClean()
	a.deleteAll(ids, time.Minute)
	c.fsckClean()
}
