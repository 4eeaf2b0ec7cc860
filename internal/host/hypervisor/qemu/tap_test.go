package qemu

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nephos/internal/host/hypervisor"
)

// tapIn makes a network namespace with one tap that has the address, and gives the open tap. The namespace has no way out and goes with
// the test.
func tapIn(t *testing.T, address string) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: makes a network namespace")
	}
	type result struct {
		tap, ns *os.File
		err     error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- func() (r result) {
			if r.err = unix.Unshare(unix.CLONE_NEWNET); r.err != nil {
				return r
			}
			if r.ns, r.err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())); r.err != nil {
				return r
			}
			fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				r.err = err
				return r
			}
			r.tap = os.NewFile(uintptr(fd), "tap")
			ifr, _ := unix.NewIfreq("tap0")
			ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
			if r.err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); r.err != nil {
				return r
			}
			link, err := netlink.LinkByName("tap0")
			if err != nil {
				r.err = err
				return r
			}
			ip, network, _ := net.ParseCIDR(address)
			network.IP = ip
			if r.err = netlink.AddrAdd(link, &netlink.Addr{IPNet: network}); r.err != nil {
				return r
			}
			r.err = netlink.LinkSetUp(link)
			return r
		}()
	}()
	r := <-done
	if r.ns != nil {
		t.Cleanup(func() { r.ns.Close() })
	}
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.tap
}

// Packets pass through a tap given at the start and through one plugged later; both arrive as descriptors.
func TestTaps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.Guest(t)
	nic := func(port, mac, address string) hypervisor.NIC {
		tap := tapIn(t, address)
		return hypervisor.NIC{PortID: port, MAC: mac, OpenTap: func(context.Context) (*os.File, error) { return tap, nil }}
	}
	g.NICs = []hypervisor.NIC{nic("cold", "fa:16:3e:00:00:01", "198.51.100.1/25")}
	ok(t, w.d.Start(t.Context(), g))
	w.Ready(t, g.ID)
	hot := nic("hot", "fa:16:3e:00:00:02", "198.51.100.129/25")
	ok(t, w.d.AttachNIC(t.Context(), g.ID, hot))
	ping := func(dev, own, peer string) {
		t.Helper()
		out := w.run(t, g.ID, "for i in $(seq 100); do [ -e /sys/class/net/"+dev+" ] && break; usleep 20000; done; ip addr add "+own+" dev "+dev+"; ip link set "+dev+" up; ping -c 1 -W 5 "+peer)
		if !strings.Contains(out, "1 packets received") {
			t.Errorf("%s: %s", dev, out)
		}
	}
	ping("eth0", "198.51.100.2/25", "198.51.100.1")
	ping("eth1", "198.51.100.130/25", "198.51.100.129")
	ok(t, w.d.DetachNIC(t.Context(), g.ID, "hot"))
	if out := w.run(t, g.ID, "ls /sys/class/net"); strings.Contains(out, "eth1") {
		t.Errorf("interfaces %s", out)
	}
	if _, err := hot.OpenTap(t.Context()); err != nil {
		t.Error(err)
	}
	ok(t, w.d.Destroy(t.Context(), g.ID))
}
