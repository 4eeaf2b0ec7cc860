package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// machine is a second compute host: a network namespace that knows nothing but a cable to this machine, and an agent in it.
type machine struct {
	c         *cloud
	near, far string // the addresses of both ends of the cable
	netns     string
	dir       string
	proc      *process
}

// cable makes the namespace and the cable, before the cloud that listens on its near end. Nothing leads from there to anywhere else.
func cable(t *testing.T) *machine {
	t.Helper()
	n, taken := os.Getpid()%60*4+1, func(n int) bool { // another run on the machine may have begun where this one would
		addrs, err := net.InterfaceAddrs()
		require.NoError(t, err)
		return slices.ContainsFunc(addrs, func(a net.Addr) bool {
			p, err := netip.ParsePrefix(a.String())
			return err == nil && p.Masked().Contains(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}))
		})
	}
	for taken(n) {
		n = (n + 4) % 240
	}
	m := &machine{near: fmt.Sprintf("198.51.100.%d", n), far: fmt.Sprintf("198.51.100.%d", n+1), netns: fmt.Sprintf("e2e-%d", os.Getpid())}
	device := fmt.Sprintf("e2e%d", os.Getpid())
	dir, err := os.MkdirTemp("", "nephos-e2e-agent-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711))
	m.dir = dir
	t.Cleanup(func() {
		exec.Command("ip", "link", "del", device).Run()   //nolint:errcheck // it may not have been made
		exec.Command("ip", "netns", "del", m.netns).Run() //nolint:errcheck // as above
		os.RemoveAll(dir)
	})
	for _, line := range []string{"netns add " + m.netns, "link add " + device + " type veth peer name far netns " + m.netns, "addr add " + m.near + "/30 dev " + device, "link set " + device + " up",
		"-n " + m.netns + " addr add " + m.far + "/30 dev far", "-n " + m.netns + " link set far up", "-n " + m.netns + " link set lo up"} {
		out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", line, out)
	}
	return m
}

// in is a command in the namespace. nsenter and not `ip netns exec`, whose mount namespace would hide the namespaces that nephos makes.
func (m *machine) in(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + m.netns, binary}, args...)...)
}

// boot starts the agent.
func (m *machine) boot() {
	m.c.t.Helper()
	token, err := os.ReadFile(filepath.Join(m.c.dir, "join-token"))
	require.NoError(m.c.t, err)
	m.proc, _ = m.c.launchAs(m.in("agent", "--state-dir", m.dir, "--host", "second", "--driver", "qemu", "--accel", accel, "--join", fmt.Sprintf("nats://%s:%d", m.near, 4222+m.c.offset),
		"--token", strings.TrimSpace(string(token))))
}

// die ends agent and guests as a power cut does.
func (m *machine) die() {
	m.c.t.Helper()
	m.c.signal(m.proc, syscall.SIGKILL)
	for _, text := range guests(m.dir, "") {
		pid, err := strconv.Atoi(text)
		require.NoError(m.c.t, err)
		require.NoError(m.c.t, syscall.Kill(pid, syscall.SIGKILL))
	}
	require.True(m.c.t, poll(10*time.Second, 50*time.Millisecond, func() bool { return len(guests(m.dir, "")) == 0 }))
}

// end takes the host away and looks for what it left.
func (m *machine) end() {
	m.c.signal(m.proc, syscall.SIGTERM)
	if out, err := m.in("down", "--state-dir", m.dir, "--purge").CombinedOutput(); err != nil {
		m.c.t.Errorf("down of the agent: %v %s", err, out)
	}
	if left := processes(m.dir); len(left) > 0 {
		m.c.t.Errorf("left of the agent: %v", left)
	}
}

// twoHosts is a cloud whose second host is another machine as far as the network knows.
func twoHosts(t *testing.T, settings string) (*cloud, *machine) {
	t.Helper()
	needsGuests(t)
	m := cable(t)
	file := filepath.Join(t.TempDir(), "nephos.yaml")
	require.NoError(t, os.WriteFile(file, []byte(settings), 0o600))
	m.c = realCloud(t, "--host", "first", "--listen", m.near, "--config", file)
	t.Cleanup(m.end)
	m.boot()
	m.c.admin().hostUp("second")
	return m.c, m
}

// TestRealMoves moves one real guest between two hosts, resizes it, loses its host, and takes a delete of it back.
func TestRealMoves(t *testing.T) {
	const window = 8 // seconds until a resize confirms itself
	c, second := twoHosts(t, fmt.Sprintf("compute:\n  resize_confirm_window: %d\n  reclaim_instance_interval: 3600\n", window))
	a := c.admin()
	a.letIn()
	b := &body{a: a, key: a.keypair("mine")}
	img := a.named(image, "/images", "images", "nephos-guest")
	flavor := func(name string, vcpus, ram, disk int) string {
		return a.must(200, "POST", compute, "/flavors", object{"flavor": object{"name": name, "vcpus": vcpus, "ram": ram, "disk": disk}}).str("flavor/id")
	}
	small, large := flavor("small", 1, 160, 1), flavor("large", 2, 224, 2)
	a.must(200, "POST", compute, "/flavors/"+large+"/os-extra_specs", object{"extra_specs": object{"hw:cpu_cores": "2"}})
	b.id = a.must(202, "POST", compute, "/servers", object{"server": object{"name": "mover", "imageRef": img, "flavorRef": small, "key_name": "mine", "networks": "auto",
		"availability_zone": "nova:second"}}, newest).str("server/id")
	a.active(b.id, guestWait)
	b.ip = a.float(b.id) // its router is on the first host, so all that follows goes through a tunnel
	b.run(t, "echo first > /root/mark && sync")
	on := func(t *testing.T, host, status string) {
		t.Helper()
		r := b.status(t, status)
		require.Equal(t, host, r.str("server/OS-EXT-SRV-ATTR:host"))
		for name, dir := range map[string]string{"first": c.dir, "second": second.dir} {
			want := 0
			if name == host {
				want = 1
			}
			require.True(t, poll(20*time.Second, 100*time.Millisecond, func() bool { return len(guests(dir, b.id)) == want }), "%s has guests %v", name, guests(dir, b.id))
		}
	}
	looks := func(t *testing.T, cores int, bytes int64) {
		t.Helper()
		require.Equal(t, "first", b.run(t, "cat /root/mark"))
		require.Equal(t, strconv.Itoa(cores), b.run(t, "nproc"))
		require.Equal(t, strconv.FormatInt(bytes/512, 10), b.run(t, "cat /sys/block/vda/size"))
	}
	on(t, "second", "ACTIVE") // which had to fetch the image over the bus

	t.Run("live migration", func(t *testing.T) {
		a := a.in(t)
		b.run(t, "(n=0; while :; do n=$((n+1)); echo $n > /run/count; sleep 0.2; done) >/dev/null 2>&1 </dev/null &")
		state := func() (boot string, n int) {
			boot, text, _ := strings.Cut(b.run(t, "echo $(cat /proc/sys/kernel/random/boot_id) $(cat /run/count)"), " ")
			n, err := strconv.Atoi(text)
			require.NoError(t, err)
			return boot, n
		}
		for _, to := range []string{"first", "second"} {
			boot, n := state()
			began := time.Now()
			a.act2(b.id, "os-migrateLive", object{"host": to, "block_migration": "auto"})
			on(t, to, "ACTIVE")
			moved := time.Since(began)
			again, m := state()
			t.Logf("to %s in %v; the counter went from %d to %d", to, moved, n, m)
			require.Equal(t, boot, again, "it was booted anew")
			require.Greater(t, m, n, "the counter began anew")
			require.True(t, poll(30*time.Second, 300*time.Millisecond, func() bool { _, now := state(); return now > m }), "the counter stands")
			require.Equal(t, "first", b.run(t, "echo 3 > /proc/sys/vm/drop_caches; cat /root/mark"))
		}
	})
	t.Run("cold migration", func(t *testing.T) {
		a := a.in(t)
		a.act2(b.id, "migrate", object{"host": "first"})
		on(t, "first", "VERIFY_RESIZE")
		a.must(204, "POST", compute, "/servers/"+b.id+"/action", object{"confirmResize": nil}, newest)
		on(t, "first", "ACTIVE")
		looks(t, 1, 1<<30)
		require.True(t, poll(20*time.Second, 100*time.Millisecond, func() bool { return len(below(second.dir, b.id)) == 0 }), "the source keeps %v", below(second.dir, b.id))
	})
	t.Run("resize", func(t *testing.T) {
		a := a.in(t)
		from := b.status(t, "ACTIVE").str("server/OS-EXT-SRV-ATTR:host")
		a.act2(b.id, "resize", object{"flavorRef": large})
		b.status(t, "VERIFY_RESIZE")
		a.act2(b.id, "revertResize", nil)
		on(t, from, "ACTIVE")
		looks(t, 1, 1<<30)
		a.act2(b.id, "resize", object{"flavorRef": large})
		b.status(t, "VERIFY_RESIZE")
		began := time.Now()
		looks(t, 2, 2<<30)
		require.Contains(t, b.run(t, "cat /proc/cpuinfo"), "cpu cores\t: 2")
		require.True(t, poll(30*time.Second, time.Second, func() bool {
			kib, err := strconv.Atoi(b.run(t, "df -k / | awk 'END { print $(NF-4) }'"))
			return err == nil && kib > 3<<19
		}), "the root file system did not grow: %s", b.run(t, "df -k /"))
		require.True(t, poll(window*time.Second+time.Minute, 300*time.Millisecond, func() bool {
			return a.do("GET", compute, "/servers/"+b.id, nil).str("server/status") == "ACTIVE"
		}), "the resize does not confirm itself")
		t.Logf("confirmed by itself after %v", time.Since(began))
		b.status(t, "ACTIVE")
		looks(t, 2, 2<<30)
	})
	t.Run("evacuation", func(t *testing.T) {
		a := a.in(t)
		if b.status(t, "ACTIVE").str("server/OS-EXT-SRV-ATTR:host") != "second" {
			a.act2(b.id, "os-migrateLive", object{"host": "second", "block_migration": "auto"})
			on(t, "second", "ACTIVE")
		}
		service := ""
		r := a.must(200, "GET", compute, "/os-services?binary=nova-compute", nil, newest)
		for i := range r.list("services") {
			if at := fmt.Sprintf("services/%d/", i); r.str(at+"host") == "second" {
				service = r.str(at + "id")
			}
		}
		second.die()
		a.must(200, "PUT", compute, "/os-services/"+service, object{"forced_down": true}, newest)
		a.must(200, "POST", compute, "/servers/"+b.id+"/action", object{"evacuate": object{"host": "first"}}, "OpenStack-API-Version: compute 2.94")
		b.status(t, "ACTIVE")
		require.Equal(t, "mover no", b.run(t, "echo $(hostname) $([ -e /root/mark ] && echo yes || echo no)"), "the disk was on the host that died")
		second.boot()
		a.must(200, "PUT", compute, "/os-services/"+service, object{"forced_down": false}, newest)
		a.hostUp("second")
		on(t, "first", "ACTIVE")
		require.True(t, poll(30*time.Second, 200*time.Millisecond, func() bool { return len(below(second.dir, b.id)) == 0 }), "the host that is back keeps %v", below(second.dir, b.id))
	})
	t.Run("deleted and restored", func(t *testing.T) {
		a := a.in(t)
		b.run(t, "echo again > /root/mark && sync")
		a.must(204, "DELETE", compute, "/servers/"+b.id, nil)
		b.status(t, "SOFT_DELETED")
		require.Empty(t, guests(c.dir, b.id))
		a.act2(b.id, "restore", nil)
		b.status(t, "ACTIVE")
		require.Equal(t, "again", b.run(t, "cat /root/mark"))
		a.act2(b.id, "forceDelete", nil)
		a.gone(b.id, time.Minute)
	})
	c.fsckClean()
	c.nothingOf(b.id)
	require.Empty(t, below(second.dir, b.id))
}

// act2 is act at the newest microversion.
func (a *api) act2(id, action string, arg any) {
	a.t.Helper()
	a.must(202, "POST", compute, "/servers/"+id+"/action", object{action: arg}, newest)
}

// below are a server's directories of a host.
func below(dir, id string) []string {
	out, _ := filepath.Glob(filepath.Join(dir, "instances", id+"*"))
	return out
}

// answers says whether a guest takes TCP connections at its ssh port.
func answers(ip string, within time.Duration) bool {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip, "22"), within)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
