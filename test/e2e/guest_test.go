package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// guestWait is how long a guest may take to boot under TCG on a busy machine.
const guestWait = 3 * time.Minute

// keypair makes a key and imports it; it gives the private key's file.
func (a *api) keypair(name string) string {
	a.t.Helper()
	file := filepath.Join(a.c.dir, name)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file).CombinedOutput(); err != nil {
		a.t.Fatalf("ssh-keygen: %v %s", err, out)
	}
	public, err := exec.Command("cat", file+".pub").Output()
	require.NoError(a.t, err)
	r := a.do("POST", compute, "/os-keypairs", object{"keypair": object{"name": name, "public_key": string(public)}})
	require.Less(a.t, r.code, 300, "%s", r)
	return file
}

// letIn opens the project's default group for ssh and ping.
func (a *api) letIn() {
	a.t.Helper()
	r := a.must(200, "GET", network, "/security-groups?name=default&project_id="+a.project, nil)
	id := r.str("security_groups/0/id")
	require.NotEmpty(a.t, id, "%s", r)
	for _, rule := range []object{{"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}, {"protocol": "icmp"}} {
		rule["security_group_id"], rule["direction"], rule["ethertype"] = id, "ingress", "IPv4"
		a.must(201, "POST", network, "/security-group-rules", object{"security_group_rule": rule})
	}
}

// float gives a server's first port a floating IP.
func (a *api) float(server string) string {
	a.t.Helper()
	port := a.must(200, "GET", network, "/ports?device_id="+server, nil).str("ports/0/id")
	ext := a.named(network, "/networks", "networks", "public")
	return a.must(201, "POST", network, "/floatingips", object{"floatingip": object{"floating_network_id": ext, "port_id": port}}).str("floatingip/floating_ip_address")
}

// ssh runs a command in a guest.
func ssh(key, ip, command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ssh", "-n", "-i", key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10", "-o", "BatchMode=yes",
		"-o", "LogLevel=ERROR", "root@"+ip, command).CombinedOutput()
	return string(out), err
}

// console waits for a text on a server's console.
func (a *api) console(id, text string, times int) {
	a.t.Helper()
	var log string
	if !poll(guestWait, 300*time.Millisecond, func() bool {
		r, err := a.tryDo("POST", compute, "/servers/"+id+"/action", object{"os-getConsoleOutput": object{}})
		log = r.str("output")
		return err == nil && strings.Count(log, text) >= times
	}) {
		a.t.Fatalf("console of %s does not say %q %d times:\n%s", id, text, times, log)
	}
}

func (a *api) act(id, action string, arg any) {
	a.t.Helper()
	a.must(202, "POST", compute, "/servers/"+id+"/action", object{action: arg})
}

// TestRealGuest is the life of one real machine.
func TestRealGuest(t *testing.T) {
	c := realCloud(t)
	a := c.admin()
	a.letIn()
	key := a.keypair("mine")
	img := a.named(image, "/images", "images", "nephos-guest")

	began := time.Now()
	r := a.must(202, "POST", compute, "/servers", object{"server": object{"name": "vm", "imageRef": img, "flavorRef": "42", "key_name": "mine", "networks": "auto",
		"user_data": "IyEvYmluL3NoCmVjaG8gdXNlci1kYXRhLXJhbgo=", "metadata": object{"tier": "web"}}}, newest)
	accepted := time.Since(began)
	id := r.str("server/id")
	r = a.active(id, time.Minute)
	t.Logf("202 after %v, ACTIVE after %v", accepted, time.Since(began))
	require.Len(t, addresses(r, "server/"), 1)
	a.console(id, "nephos-guest: ready", 1)
	t.Logf("guest ready after %v", time.Since(began))
	a.console(id, "user-data-ran", 1)
	fixed := addresses(r, "server/")[0]

	t.Run("log in through the floating address", func(t *testing.T) {
		a := a.in(t)
		ip := a.float(id)
		var out string
		var err error
		require.True(t, poll(time.Minute, time.Second, func() bool { out, err = ssh(key, ip, "hostname; ip -4 addr show dev eth0"); return err == nil }), "%v %s", err, out)
		require.Contains(t, out, "vm")
		require.Contains(t, out, fixed+"/")
		_, err = ssh("/dev/null", ip, "true")
		require.Error(t, err, "only the key opens")

		t.Run("hot plug a volume", func(t *testing.T) {
			a := a.in(t)
			vol := a.must(202, "POST", volume, "/volumes", object{"volume": object{"size": 1, "name": "data"}}).str("volume/id")
			a.volume(vol, "available")
			a.must(200, "POST", compute, "/servers/"+id+"/os-volume_attachments", object{"volumeAttachment": object{"volumeId": vol}})
			a.volume(vol, "in-use")
			require.True(t, poll(30*time.Second, 500*time.Millisecond, func() bool { out, _ = ssh(key, ip, "cat /proc/partitions"); return strings.Contains(out, "vdb") }), out)
			out, err = ssh(key, ip, "mke2fs /dev/vdb >/dev/null 2>&1; mkdir -p /mnt/d && mount /dev/vdb /mnt/d && echo kept > /mnt/d/file && umount /mnt/d && echo written")
			require.NoError(t, err, out)
			require.Contains(t, out, "written")
			a.must(202, "DELETE", compute, "/servers/"+id+"/os-volume_attachments/"+vol, nil)
			a.volume(vol, "available")
			require.True(t, poll(30*time.Second, 500*time.Millisecond, func() bool { out, _ = ssh(key, ip, "cat /proc/partitions"); return !strings.Contains(out, "vdb") }), out)
			a.must(202, "DELETE", volume, "/volumes/"+vol, nil)
		})
		t.Run("reboot, stop, start", func(t *testing.T) {
			a := a.in(t)
			a.act(id, "reboot", object{"type": "SOFT"})
			a.active(id, guestWait)
			a.console(id, "nephos-guest: ready", 2)
			a.act(id, "os-stop", nil)
			require.Equal(t, "SHUTOFF", a.settled(id, guestWait).str("server/status"))
			require.Empty(t, guests(c.dir, id))
			a.act(id, "os-start", nil)
			a.active(id, guestWait)
			require.True(t, poll(guestWait, time.Second, func() bool { out, err = ssh(key, ip, "uptime"); return err == nil }), "%v %s", err, out)
		})
		t.Run("pause, suspend", func(t *testing.T) {
			a := a.in(t)
			for _, pair := range [][3]string{{"pause", "PAUSED", "unpause"}, {"suspend", "SUSPENDED", "resume"}} {
				a.act(id, pair[0], nil)
				require.Equal(t, pair[1], a.settled(id, guestWait).str("server/status"))
				a.act(id, pair[2], nil)
				a.active(id, guestWait)
			}
			out, err = ssh(key, ip, "echo alive")
			require.NoError(t, err, out)
		})
	})
	a.must(204, "DELETE", compute, "/servers/"+id, nil)
	a.gone(id, time.Minute)
	c.fsckClean()
	c.nothingOf(id)
}

// volume waits until a volume has a status.
func (a *api) volume(id, status string) {
	a.t.Helper()
	var r reply
	if !poll(time.Minute, 100*time.Millisecond, func() bool {
		r = a.do("GET", volume, "/volumes/"+id, nil)
		return r.str("volume/status") == status
	}) {
		a.t.Fatalf("volume is not %s: %s", status, r)
	}
}

// guests are the QEMU processes that hold files of a server, or of all with id "". Their command lines name no path: files come open.
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

// nothingOf looks for what deleted servers left on the machine.
func (c *cloud) nothingOf(ids ...string) {
	c.t.Helper()
	for _, id := range ids {
		if left := processes(id); len(left) > 0 {
			c.t.Errorf("processes of deleted server %s: %v", id, left)
		}
		if left, _ := filepath.Glob(filepath.Join(c.dir, "instances", id+"*")); len(left) > 0 {
			c.t.Errorf("files of deleted server %s: %v", id, left)
		}
	}
	if taps := c.taps(); len(ids) > 0 && len(taps) > 0 && len(guests(c.dir, "")) == 0 {
		c.t.Errorf("taps of deleted servers: %v", taps)
	}
}

// taps are the guest devices of this cloud, in its fabric namespace.
func (c *cloud) taps() (out []string) {
	instance, err := exec.Command("cat", filepath.Join(c.dir, "instance")).Output()
	require.NoError(c.t, err)
	text, err := exec.Command("ip", "-n", "nephos-"+strings.TrimSpace(string(instance)), "-o", "link").CombinedOutput()
	if err != nil {
		return nil // no namespace, so nothing in it
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && strings.HasPrefix(f[1], "tap") {
			out = append(out, fmt.Sprint(f[1]))
		}
	}
	return out
}
