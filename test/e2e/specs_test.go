package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// unfed begins the guest's watchdog as its driver would, by the registers in its configuration space, and never feeds it: two stages of a second each. The demo guest's
// kernel has no driver for it. The command answers before anything happens.
const unfed = `d=/sys/bus/pci/devices/0000:00:1f.0; printf '\007\000' | dd of=$d/config bs=2 seek=48 conv=notrunc 2>/dev/null; (sleep 1; printf '\002' | dd of=$d/config bs=1 seek=104 conv=notrunc 2>/dev/null) >/dev/null 2>&1 & echo begun`

// groupsOf finds the control groups of a server's process.
func groupsOf(t *testing.T, id string) (out []string) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/cgroup/nephos-" + id + ".*", "/sys/fs/cgroup/*/nephos-" + id + ".*"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		out = append(out, found...)
	}
	return out
}

// TestRealSpecs: what a flavor says of a guest's watchdog and of what it may use is so in a real guest: after its build, a reset, a hard reboot and a resize.
func TestRealSpecs(t *testing.T) {
	c := realCloud(t)
	a := c.admin()
	a.letIn()
	key := a.keypair("mine")
	img := a.named(image, "/images", "images", "nephos-guest")
	flavor := func(specs object) string {
		id := a.must(200, "POST", compute, "/flavors", object{"flavor": object{"name": fmt.Sprint("said-", time.Now().UnixNano()), "vcpus": 1, "ram": 160, "disk": 1}}).str("flavor/id")
		a.must(200, "POST", compute, "/flavors/"+id+"/os-extra_specs", object{"extra_specs": specs}, newest)
		return id
	}
	limits := object{"hw:watchdog_action": "reset", "quota:disk_read_bytes_sec": "524288", "quota:vif_outbound_average": "512"}
	traits := string(a.must(200, "GET", 8778, "/traits?associated=true", nil, "OpenStack-API-Version: placement 1.39").body)
	limited := strings.Contains(traits, "CUSTOM_NEPHOS_CPU_LIMITS")
	if limited {
		limits["quota:cpu_quota"] = "80000"
	}
	id := a.must(202, "POST", compute, "/servers", object{"server": object{"name": "said", "imageRef": img, "flavorRef": flavor(limits), "key_name": "mine", "networks": "auto"}}, newest).str("server/id")
	r := a.settled(id, guestWait)
	require.Equal(t, "ACTIVE", r.str("server/status"), "%s", r)
	b := &body{a: a, id: id, key: key, ip: a.float(id)}
	took := func(command string) float64 {
		t.Helper()
		out := b.run(t, "read a x < /proc/uptime; "+command+" >/dev/null 2>&1; read b x < /proc/uptime; echo $a $b")
		from, to, _ := strings.Cut(out, " ")
		began, err := strconv.ParseFloat(from, 64)
		require.NoError(t, err, out)
		ended, err := strconv.ParseFloat(to, 64)
		require.NoError(t, err, out)
		return ended - began
	}
	disk := "dd if=/dev/vda of=/dev/null bs=64k count=48 iflag=direct" // 3 MiB: 6 s by the limit, less the first second's share
	slow := func() {
		t.Helper()
		require.Greater(t, took(disk), 4.0, "seconds to read 3 MiB")
		if limited {
			pids := guests(c.dir, id)
			require.Len(t, pids, 1)
			dirs := groupsOf(t, id)
			require.Len(t, dirs, 1)
			in, err := os.ReadFile(filepath.Join(dirs[0], "cgroup.procs"))
			require.NoError(t, err)
			require.Equal(t, pids[0], strings.TrimSpace(string(in)))
		}
	}
	slow()
	// What is beyond 512 KiB a second is dropped: 3 MB over SSH take their time.
	began := time.Now()
	require.Len(t, b.run(t, "head -c 3000000 /dev/zero | tr '\\0' x"), 3000000)
	require.Greater(t, time.Since(began), 3*time.Second)

	boot := b.run(t, "cat /proc/sys/kernel/random/boot_id")
	b.run(t, unfed)
	require.True(t, poll(guestWait, time.Second, func() bool {
		out, err := ssh(b.key, b.ip, "cat /proc/sys/kernel/random/boot_id")
		return err == nil && strings.TrimSpace(out) != boot
	}), "the watchdog did not reset the guest")
	b.status(t, "ACTIVE")
	a.act(id, "reboot", object{"type": "HARD"})
	b.status(t, "ACTIVE")
	slow()

	a.act(id, "resize", object{"flavorRef": flavor(object{"hw:watchdog_action": "poweroff"})})
	b.status(t, "VERIFY_RESIZE")
	a.must(204, "POST", compute, "/servers/"+id+"/action", object{"confirmResize": nil})
	b.status(t, "ACTIVE")
	require.Less(t, took(disk), 4.0, "seconds to read 3 MiB without a limit")
	require.Empty(t, groupsOf(t, id))
	b.run(t, unfed)
	require.True(t, poll(guestWait, 200*time.Millisecond, func() bool {
		return a.do("GET", compute, "/servers/"+id, nil).str("server/status") == "SHUTOFF"
	}), "the watchdog did not power the guest off")
	require.Empty(t, guests(c.dir, id))

	r = a.do("POST", compute, "/servers", object{"server": object{"name": "never", "imageRef": img, "flavorRef": flavor(object{"hw:tpm_version": "2.0"}), "networks": "auto"}}, newest)
	require.Equal(t, 400, r.code)
	require.Contains(t, string(r.body), "hw:tpm_version=2.0 is asked for")
	a.deleteAll([]string{id}, time.Minute)
	c.fsckClean()
}
