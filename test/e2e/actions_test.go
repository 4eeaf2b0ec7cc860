package e2e

import (
	"encoding/base64"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// body is a running guest that the test is logged in to.
type body struct {
	a       *api
	id, key string
	ip      string // floating
}

// run runs a command in the guest, which may still be booting.
func (b *body) run(t *testing.T, command string) string {
	t.Helper()
	var out string
	var err error
	if !poll(guestWait, time.Second, func() bool { out, err = ssh(b.key, b.ip, command); return err == nil }) {
		t.Fatalf("%s: %v %s\n%s", command, err, out, b.a.must(200, "POST", compute, "/servers/"+b.id+"/action", object{"os-getConsoleOutput": object{"length": 40}}))
	}
	return strings.TrimSpace(out)
}

// status waits until nothing is done to the server and holds its status.
func (b *body) status(t *testing.T, want string) reply {
	t.Helper()
	r := b.a.in(t).settled(b.id, guestWait)
	require.Equal(t, want, r.str("server/status"), "%s", r)
	return r
}

// image waits until an image is active.
func (a *api) image(id string) reply {
	a.t.Helper()
	var r reply
	if !poll(guestWait, 200*time.Millisecond, func() bool { r = a.do("GET", image, "/images/"+id, nil); return r.str("status") == "active" }) {
		a.t.Fatalf("image is not active: %s", r)
	}
	return r
}

// TestRealActions does to one real guest what can be done in place, and looks from inside it.
func TestRealActions(t *testing.T) {
	c := realCloud(t)
	a := c.admin()
	a.letIn()
	b := &body{a: a, key: a.keypair("mine")}
	img := a.named(image, "/images", "images", "nephos-guest")
	flavor := a.must(200, "POST", compute, "/flavors", object{"flavor": object{"name": "actions", "vcpus": 1, "ram": 160, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 1}}).str("flavor/id")
	create := func(name, image string) string {
		id := a.must(202, "POST", compute, "/servers", object{"server": object{"name": name, "imageRef": image, "flavorRef": flavor, "key_name": "mine", "networks": "auto"}}, newest).str("server/id")
		a.active(id, guestWait)
		return id
	}
	b.id = create("body", img)
	b.ip = a.float(b.id)
	b.run(t, "echo first > /root/mark; mkdir -p /e && mount /dev/vdb /e && echo kept > /e/file && sync && umount /e")
	b.run(t, "(n=0; while :; do n=$((n+1)); echo $n > /run/count; sleep 0.2; done) >/dev/null 2>&1 </dev/null &")
	count := func(t *testing.T) int {
		n, err := strconv.Atoi(b.run(t, "cat /run/count"))
		require.NoError(t, err)
		return n
	}

	t.Run("password", func(t *testing.T) {
		require.True(t, poll(guestWait, time.Second, func() bool { return b.run(t, "pidof qemu-ga >/dev/null && echo yes || echo no") == "yes" }), "no guest agent runs")
		before := b.run(t, "grep ^root: /etc/shadow")
		a.in(t).act(b.id, "changePassword", object{"adminPass": "Sesame-42"})
		after := b.run(t, "grep ^root: /etc/shadow")
		require.NotEqual(t, before, after)
		hash := strings.Split(after, ":")[1]
		salt := strings.Split(hash, "$")[2]
		require.Equal(t, hash, b.run(t, "mkpasswd -m sha512 -S "+salt+" Sesame-42"), "the password is another")
	})
	t.Run("interrupt", func(t *testing.T) {
		a.in(t).must(202, "POST", compute, "/servers/"+b.id+"/action", object{"trigger_crash_dump": nil}, newest)
		require.True(t, poll(30*time.Second, time.Second, func() bool { return strings.Contains(b.run(t, "dmesg"), "NMI") }), b.run(t, "dmesg | tail -5"))
	})
	t.Run("suspend", func(t *testing.T) {
		boot, n := b.run(t, "cat /proc/sys/kernel/random/boot_id"), count(t)
		a.in(t).act(b.id, "suspend", nil)
		b.status(t, "SUSPENDED")
		a.in(t).act(b.id, "resume", nil)
		b.status(t, "ACTIVE")
		require.Equal(t, boot, b.run(t, "cat /proc/sys/kernel/random/boot_id"))
		require.True(t, poll(30*time.Second, 300*time.Millisecond, func() bool { return count(t) > n }), "the counter stands")
	})
	t.Run("pause", func(t *testing.T) {
		a := a.in(t)
		boot := b.run(t, "cat /proc/sys/kernel/random/boot_id")
		a.act(b.id, "pause", nil)
		b.status(t, "PAUSED")
		require.False(t, answers(b.ip, time.Second), "a paused guest answers")
		a.act(b.id, "unpause", nil)
		b.status(t, "ACTIVE")
		require.Equal(t, boot, b.run(t, "cat /proc/sys/kernel/random/boot_id"))
	})
	t.Run("network", func(t *testing.T) { b.network(t) })
	t.Run("state reset", func(t *testing.T) {
		a := a.in(t)
		boot := b.run(t, "cat /proc/sys/kernel/random/boot_id")
		a.act(b.id, "os-resetState", object{"state": "error"})
		b.status(t, "ERROR")
		a.act(b.id, "os-resetState", object{"state": "active"})
		b.status(t, "ACTIVE")
		require.Equal(t, boot, b.run(t, "cat /proc/sys/kernel/random/boot_id"))
	})
	t.Run("image of a running guest", func(t *testing.T) {
		a := a.in(t)
		n := count(t)
		snap := a.must(202, "POST", compute, "/servers/"+b.id+"/action", object{"createImage": object{"name": "snap"}}, newest).str("image_id")
		r := a.image(snap)
		t.Logf("image of %s bytes", r.str("size"))
		b.status(t, "ACTIVE")
		require.Greater(t, count(t), n, "the guest stood still")
		other := &body{a: a, key: b.key, id: create("copy", snap)}
		other.ip = a.float(other.id)
		require.Equal(t, "first", other.run(t, "cat /root/mark"))
		require.NotContains(t, other.run(t, "dmesg"), "recovery", "the file system of the copy had to be repaired though the guest has an agent")
		a.must(204, "DELETE", compute, "/servers/"+other.id, nil)
		a.gone(other.id, time.Minute)
	})
	t.Run("backups", func(t *testing.T) {
		a := a.in(t)
		for _, name := range []string{"monday", "tuesday"} {
			id := a.must(202, "POST", compute, "/servers/"+b.id+"/action", object{"createBackup": object{"name": name, "backup_type": "daily", "rotation": 1}}, newest).str("image_id")
			a.image(id)
			b.status(t, "ACTIVE")
		}
		r := a.must(200, "GET", image, "/images?backup_type=daily&image_type=backup", nil)
		require.Len(t, r.list("images"), 1, "%s", r)
		require.Equal(t, "tuesday", r.str("images/0/name"))
	})
	t.Run("image of a server on a volume", func(t *testing.T) { b.onVolume(t, img, flavor) })
	t.Run("rescue", func(t *testing.T) {
		a := a.in(t)
		r := a.must(200, "POST", compute, "/servers/"+b.id+"/action", object{"rescue": object{"rescue_image_ref": img}})
		require.NotEmpty(t, r.str("adminPass"))
		b.status(t, "RESCUE")
		require.Equal(t, "no", b.run(t, "[ -e /root/mark ] && echo yes || echo no"), "the rescued server runs from its own disk")
		require.Equal(t, "first", b.run(t, "mkdir -p /old && mount /dev/vdb1 /old && cat /old/root/mark && echo rescued > /old/root/rescued && umount /old"))
		a.act(b.id, "unrescue", nil)
		b.status(t, "ACTIVE")
		require.Equal(t, "rescued", b.run(t, "cat /root/rescued"))
	})
	t.Run("volumes", func(t *testing.T) {
		a := a.in(t)
		var vols []string
		for _, name := range []string{"one", "two"} {
			vol := a.must(202, "POST", volume, "/volumes", object{"volume": object{"size": 1, "name": name}}).str("volume/id")
			a.volume(vol, "available")
			vols = append(vols, vol)
		}
		a.must(200, "POST", compute, "/servers/"+b.id+"/os-volume_attachments", object{"volumeAttachment": object{"volumeId": vols[0]}})
		a.volume(vols[0], "in-use")
		b.run(t, "for i in $(seq 50); do [ -b /dev/vdc ] && break; sleep 0.2; done; mke2fs -q /dev/vdc && mkdir -p /v && mount /dev/vdc /v && echo before > /v/file && sync")
		a.must(202, "PUT", compute, "/servers/"+b.id+"/os-volume_attachments/"+vols[0], object{"volumeAttachment": object{"volumeId": vols[1]}})
		a.volume(vols[1], "in-use")
		a.volume(vols[0], "available")
		require.Equal(t, "before", b.run(t, "echo 3 > /proc/sys/vm/drop_caches; echo after >> /v/file; sync; head -1 /v/file"))
		a.must(202, "DELETE", volume, "/volumes/"+vols[0], nil)
		r := a.do("POST", volume, "/volumes/"+vols[1]+"/action", object{"os-extend": object{"new_size": 2}}, "OpenStack-API-Version: volume 3.42")
		require.Equal(t, 202, r.code, "%s", r)
		require.True(t, poll(time.Minute, time.Second, func() bool { return b.run(t, "cat /sys/block/vdc/size") == "4194304" }), "the guest does not see the new size")
		b.run(t, "umount /v")
		a.volume(vols[1], "in-use")
		a.must(202, "DELETE", compute, "/servers/"+b.id+"/os-volume_attachments/"+vols[1], nil)
		a.volume(vols[1], "available")
		a.must(202, "DELETE", volume, "/volumes/"+vols[1], nil)
	})
	t.Run("rebuild", func(t *testing.T) {
		a := a.in(t)
		a.must(202, "POST", compute, "/servers/"+b.id+"/action", object{"rebuild": object{"imageRef": img, "name": "rebuilt", "preserve_ephemeral": true}}, newest)
		b.status(t, "ACTIVE")
		require.Equal(t, "no", b.run(t, "[ -e /root/mark ] && echo yes || echo no"), "the root disk is the old one")
		require.Equal(t, "kept", b.run(t, "mkdir -p /e && mount /dev/vdb /e && cat /e/file && umount /e"))
		other := a.keypair("other")
		a.must(202, "POST", compute, "/servers/"+b.id+"/action", object{"rebuild": object{"imageRef": img, "key_name": "other",
			"user_data": base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\necho anew > /run/user-data-ran\n"))}}, newest)
		b.status(t, "ACTIVE")
		was := b.key
		b.key = other
		require.True(t, poll(30*time.Second, 300*time.Millisecond, func() bool { return b.run(t, "cat /run/user-data-ran || true") == "anew" }), "the new user data did not run")
		_, err := ssh(was, b.ip, "true")
		require.Error(t, err, "the old key opens")
		require.Equal(t, "empty", b.run(t, "mkdir -p /e && mount /dev/vdb /e && { [ -e /e/file ] && echo kept || echo empty; } && umount /e"))
	})
	t.Run("shelve", func(t *testing.T) {
		a := a.in(t)
		b.run(t, "echo shelved > /root/mark && sync")
		a.act(b.id, "shelve", nil)
		b.status(t, "SHELVED_OFFLOADED")
		require.Empty(t, guests(c.dir, b.id))
		c.fsckClean()
		a.act(b.id, "unshelve", nil)
		b.status(t, "ACTIVE")
		require.Equal(t, "shelved", b.run(t, "cat /root/mark"))
		a.act(b.id, "reboot", object{"type": "HARD"}) // its base is an image that is no more
		b.status(t, "ACTIVE")
		require.Equal(t, "shelved", b.run(t, "cat /root/mark"))
	})
	t.Run("ends by itself", func(t *testing.T) {
		a := a.in(t)
		b.run(t, "(sleep 1; poweroff) >/dev/null 2>&1 </dev/null &")
		require.True(t, poll(time.Minute, 300*time.Millisecond, func() bool { return a.do("GET", compute, "/servers/"+b.id, nil).str("server/status") == "SHUTOFF" }))
		a.act(b.id, "os-start", nil)
		b.status(t, "ACTIVE")
		for _, pid := range guests(c.dir, b.id) {
			n, err := strconv.Atoi(pid)
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(n, syscall.SIGKILL))
		}
		require.True(t, poll(time.Minute, 300*time.Millisecond, func() bool { return a.do("GET", compute, "/servers/"+b.id, nil).str("server/status") == "SHUTOFF" }))
	})
	a.must(204, "DELETE", compute, "/servers/"+b.id, nil)
	a.gone(b.id, time.Minute)
	c.fsckClean()
	c.nothingOf(b.id)
}

// network takes and gives back what lets a guest talk: its group, its floating address, a second fixed address, a second interface.
func (b *body) network(t *testing.T) {
	a := b.a.in(t)
	settle := func(want bool, what string) {
		t.Helper()
		require.True(t, poll(20*time.Second, 200*time.Millisecond, func() bool { return answers(b.ip, time.Second) == want }), what)
	}
	settle(true, "the guest does not answer")
	a.act(b.id, "removeSecurityGroup", object{"name": "default"})
	settle(false, "a guest without a group answers")
	a.act(b.id, "addSecurityGroup", object{"name": "default"})
	settle(true, "the group that is back lets nobody in")
	a.act(b.id, "removeFloatingIp", object{"address": b.ip})
	settle(false, "the floating address still leads to the guest")
	a.act(b.id, "addFloatingIp", object{"address": b.ip})
	settle(true, "the floating address leads nowhere")

	port := a.must(200, "GET", network, "/ports?device_id="+b.id, nil)
	before := port.list("ports/0/fixed_ips")
	a.act(b.id, "addFixedIp", object{"networkId": port.str("ports/0/network_id")})
	b.status(t, "ACTIVE")
	port = a.must(200, "GET", network, "/ports?device_id="+b.id, nil)
	require.Len(t, port.list("ports/0/fixed_ips"), len(before)+1)
	second := port.str("ports/0/fixed_ips/1/ip_address")
	hears := func(want string) {
		t.Helper()
		require.True(t, poll(20*time.Second, time.Second, func() bool { // the router answers this address only if the host lets it pass
			return b.run(t, "ping -c 1 -W 1 -I "+second+" $(ip route | awk '/^default/ { print $3 }') >/dev/null && echo yes || echo no") == want
		}), "want %s", want)
	}
	b.run(t, "ip addr add "+second+"/32 dev eth0")
	hears("yes")
	a.act(b.id, "removeFixedIp", object{"address": second})
	b.status(t, "ACTIVE")
	hears("no")
	b.run(t, "ip addr del "+second+"/32 dev eth0")

	net := a.must(201, "POST", network, "/networks", object{"network": object{"name": "beside"}}).str("network/id")
	a.must(201, "POST", network, "/subnets", object{"subnet": object{"network_id": net, "cidr": "10.77.0.0/24", "ip_version": 4, "gateway_ip": nil}})
	r := a.must(200, "POST", compute, "/servers/"+b.id+"/os-interface", object{"interfaceAttachment": object{"net_id": net}})
	require.True(t, poll(time.Minute, time.Second, func() bool {
		return strings.Contains(b.run(t, "ip -4 addr show dev eth1 2>/dev/null || true"), r.str("interfaceAttachment/fixed_ips/0/ip_address")+"/")
	}), "no second interface with its address in the guest")
	a.must(202, "DELETE", compute, "/servers/"+b.id+"/os-interface/"+r.str("interfaceAttachment/port_id"), nil)
	require.True(t, poll(30*time.Second, 300*time.Millisecond, func() bool { return b.run(t, "[ -e /sys/class/net/eth1 ] && echo there || echo gone") == "gone" }))
	b.status(t, "ACTIVE")
	require.True(t, poll(30*time.Second, 300*time.Millisecond, func() bool { return a.do("DELETE", network, "/networks/"+net, nil).code == 204 }))
}

// onVolume makes an image of a server whose disk is a volume, and boots it.
func (b *body) onVolume(t *testing.T, img, flavor string) {
	a := b.a.in(t)
	boot := func(name string, server object) *body {
		server["name"], server["flavorRef"], server["key_name"], server["networks"] = name, flavor, "mine", "auto"
		o := &body{a: a, key: b.key, id: a.must(202, "POST", compute, "/servers", object{"server": server}, newest).str("server/id")}
		a.active(o.id, guestWait)
		o.ip = a.float(o.id)
		return o
	}
	one := boot("volume", object{"block_device_mapping_v2": []object{{"boot_index": 0, "uuid": img, "source_type": "image", "destination_type": "volume", "volume_size": 1,
		"delete_on_termination": true}}})
	one.run(t, "echo volume > /root/mark && sync")
	snap := a.must(202, "POST", compute, "/servers/"+one.id+"/action", object{"createImage": object{"name": "volume-snap"}}, newest).str("image_id")
	a.image(snap)
	one.status(t, "ACTIVE")
	two := boot("volume-copy", object{"imageRef": snap})
	require.Equal(t, "volume", two.run(t, "cat /root/mark"))
	a.deleteAll([]string{one.id, two.id}, time.Minute)
}
