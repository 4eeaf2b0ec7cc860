package linux

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nephos/internal/hostapi"
)

// TestVariedRulesAreAccepted gives the golden document to a real kernel.
func TestVariedRulesAreAccepted(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(varied())
	before := h.snapshot(true)
	h.apply(varied())
	if after := h.snapshot(true); before != after {
		t.Error("the same document again changed the host")
	}
}

// TestTapCarriesFrames plays QEMU: frames with a virtio header through the tap's file.
func TestTapCarriesFrames(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(scene())
	tap, err := h.plane.OpenTap(t.Context(), id("a1"))
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	own, err := net.ParseMAC(mac("a1"))
	if err != nil {
		t.Fatal(err)
	}
	server := netip.MustParseAddr("10.0.0.2").As4()
	ask := gratuitousARP(own, netip.MustParseAddr("10.0.0.11"))
	copy(ask[38:], server[:])
	start := time.Now()
	buf := make([]byte, 2048)
	for time.Since(start) < soon { // the bridge lets frames in once the kernel has seen the carrier that opening brings
		if _, err := tap.Write(append(make([]byte, 10), ask...)); err != nil {
			t.Fatal(err)
		}
		if err := tap.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := tap.Read(buf)
			if err != nil {
				break
			}
			f := buf[10:n]
			if len(f) < 42 || binary.BigEndian.Uint16(f[12:]) != 0x0806 || f[21] != 2 || !bytes.Equal(f[28:32], server[:]) {
				continue
			}
			if want := h.plane.state.last.netByID[id("a")].mac; !bytes.Equal(f[6:12], want) {
				t.Errorf("answered by %s, want the bridge's %s", net.HardwareAddr(f[6:12]), want)
			}
			c, err := h.plane.Counters(t.Context(), id("a1"))
			if err != nil || c.RxPackets == 0 || c.TxPackets == 0 || c.TxBytes < int64(len(ask)) {
				t.Errorf("counted %+v, %v", c, err)
			}
			t.Logf("answered after %v", time.Since(start).Round(time.Millisecond))
			return
		}
	}
	t.Fatal("no answer to ARP through the tap")
}

// TestIPv6 has two guests with fixed IPv6 addresses: neighbour discovery works, rules of ethertype IPv6 count, foreign sources do not pass.
func TestIPv6(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	doc := scene()
	doc.Ports = doc.Ports[:2]
	for i := range doc.Ports {
		doc.Ports[i].Addresses = append(doc.Ports[i].Addresses, hostapi.Address{IP: fmt.Sprintf("fd00::%d", 11+i)})
	}
	r := rule("web", "ingress", "tcp", 8086, "", "")
	r.EtherType = "IPv6"
	doc.SecurityGroups[0].Rules = append(doc.SecurityGroups[0].Rules, r)
	h.apply(networksOnly(doc))
	a1, a2 := h.plug(doc.Ports[0]), h.plug(doc.Ports[1])
	h.apply(doc)
	v6 := func(g *guest, addr string) {
		a, err := netlink.ParseAddr(addr)
		if err != nil {
			t.Fatal(err)
		}
		a.Flags = unix.IFA_F_NODAD
		if err := g.AddrAdd(g.eth0, a); err != nil {
			t.Fatal(err)
		}
	}
	v6(a1, "fd00::11/64")
	v6(a2, "fd00::12/64")
	for _, p := range []int{8086, 8087} {
		var lis net.Listener
		err := a1.do(func() (err error) {
			lis, err = net.Listen("tcp6", fmt.Sprintf("[::]:%d", p))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer lis.Close()
	}
	dial := func(p int, within time.Duration) error {
		return a2.do(func() error {
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp6", fmt.Sprintf("[fd00::11]:%d", p))
			if err == nil {
				c.Close()
			}
			return err
		})
	}
	if err := dial(8086, soon); err != nil {
		t.Errorf("an allowed port: %v", err)
	}
	if dial(8087, never) == nil {
		t.Error("a port without a rule is open")
	}
	have, err := a2.AddrList(a2.eth0, netlink.FAMILY_V6)
	if err != nil {
		t.Fatal(err)
	}
	for i := range have {
		if have[i].IP.String() == "fd00::12" {
			if err := a2.AddrDel(a2.eth0, &have[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	v6(a2, "fd00::99/64")
	if dial(8086, never) == nil {
		t.Error("a foreign IPv6 source gets through")
	}
}

// TestAdminDown: a port or a router that is switched off carries nothing, and comes back.
func TestAdminDown(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	doc := scene()
	doc.Ports = doc.Ports[:1]
	h.apply(networksOnly(doc))
	a1 := h.plug(doc.Ports[0])
	h.apply(doc)
	a1.dhcp()
	check := func(when string, gateway, outside bool) {
		t.Helper()
		within := func(want bool) time.Duration {
			if want {
				return soon
			}
			return never
		}
		if got := a1.ping("10.0.0.1", within(gateway)); got != gateway {
			t.Errorf("%s: gateway answers: %v", when, got)
		}
		if got := a1.ping("198.51.100.1", within(outside)); got != outside {
			t.Errorf("%s: outside answers: %v", when, got)
		}
	}
	check("all up", true, true)
	doc.Ports[0].AdminUp = false
	h.apply(doc)
	check("port down", false, false)
	doc.Ports[0].AdminUp = true
	doc.Routers[0].AdminUp = false
	h.apply(doc)
	check("router down", false, false)
	doc.Routers[0].AdminUp = true
	h.apply(doc)
	check("all up again", true, true)
}

// TestMasquerade puts a machine beyond the host's uplink, which knows no route to the external subnet.
func TestMasquerade(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.cfg.External.Masquerade, h.cfg.External.Forwarding = true, true
	h.plane = h.newPlane()
	beyond, _, err := ensureNamespace("nt-" + h.cfg.Instance + "-beyond")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { beyond.close(); removeNamespace(beyond.name) })
	join(t, h.root, "10.200.0.1/24", beyond, "10.200.0.2/24")
	if err := h.root.RouteAdd(&netlink.Route{Gw: net.IPv4(10, 200, 0, 2)}); err != nil {
		t.Fatal(err)
	}
	doc := scene()
	doc.Ports = doc.Ports[:1]
	h.apply(networksOnly(doc))
	a1 := h.plug(doc.Ports[0])
	h.apply(doc)
	a1.dhcp()
	beyond.serve(t, 7000)
	if got := a1.whoami(t, "10.200.0.2", 7000); got != "10.200.0.1" {
		t.Errorf("beyond the uplink the guest is seen as %s", got)
	}
}
