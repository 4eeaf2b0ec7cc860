package linux

import (
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nephos/internal/hostapi"
)

// TestScene walks through what a tenant sees.
func TestScene(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	doc := scene()
	h.apply(networksOnly(doc))
	g := map[string]*guest{}
	for _, p := range doc.Ports {
		g[p.DNSName] = h.plug(p)
	}
	h.apply(doc)
	for _, p := range []int{8080, 8081, 8082, 9999} {
		g["a1"].serve(t, p)
	}
	g["b1"].serve(t, 8080)
	h.root.serve(t, 7000)

	t.Run("dhcp", func(t *testing.T) {
		for _, x := range g {
			x.dhcp()
			if got := x.ack.YourIPAddr.String(); got != x.port.Addresses[0].IP {
				t.Errorf("%s got %s, want %s", x.port.DNSName, got, x.port.Addresses[0].IP)
			}
		}
		ack := g["a1"].ack
		if ack.HostName() != "a1" || ack.DomainName() != "example.test" || ack.DNS()[0].String() != "198.51.100.53" {
			t.Errorf("options: %s", ack.Summary())
		}
		routes := []string{}
		for _, r := range ack.ClasslessStaticRoute() {
			routes = append(routes, r.String())
		}
		if len(routes) != 3 {
			t.Errorf("classless routes %q, want metadata, the host route and the default", routes)
		}
		if len(g["b1"].ack.Router()) != 0 {
			t.Error("network b has no gateway, but its guest got one")
		}
	})
	t.Run("udhcpc", func(t *testing.T) { // what the demo guest runs
		if _, err := exec.LookPath("busybox"); err != nil {
			t.Skip("needs busybox")
		}
		out, err := g["a3"].run(t.Context(), "", "busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-s", "/bin/true")
		if err != nil || !strings.Contains(out, "lease of 10.0.0.3 obtained") {
			t.Errorf("udhcpc: %v %s", err, out)
		}
	})
	t.Run("gateway", func(t *testing.T) {
		if !g["a1"].ping("10.0.0.1", soon) {
			t.Error("a1 does not reach its gateway")
		}
	})
	t.Run("groups", func(t *testing.T) {
		if got := g["a2"].whoami(t, "10.0.0.11", 8080); got != "10.0.0.12" {
			t.Errorf("a1 sees %s", got)
		}
		if got := g["b2"].whoami(t, "10.0.0.11", 8080); got != "10.0.0.2" {
			t.Errorf("b1 sees %s", got)
		}
		if !g["a2"].ping("10.0.0.11", soon) {
			t.Error("remote group rule does not let ping in")
		}
		if _, err := g["a2"].dial("10.0.0.11", 9999, never); err == nil {
			t.Error("a port without a rule is open")
		}
		if _, err := g["a3"].dial("10.0.0.11", 8080, never); err == nil {
			t.Error("a guest outside the remote group gets in")
		}
		if g["a2"].ping("10.0.0.3", never) {
			t.Error("a group without ingress rules lets ping in")
		}
	})
	t.Run("metadata", func(t *testing.T) {
		for _, name := range []string{"a1", "a2", "a3", "b1", "b2"} {
			if got, want := g[name].metadata(t), id(name)+" "+id("server-"+name); got != want {
				t.Errorf("metadata of %s is for %q, want %q", name, got, want)
			}
		}
	})
	t.Run("metadata by the gateway", func(t *testing.T) {
		_, direct, _ := net.ParseCIDR("169.254.169.254/32")
		if err := g["a2"].RouteReplace(&netlink.Route{LinkIndex: g["a2"].eth0.Attrs().Index, Dst: direct, Gw: net.ParseIP("10.0.0.1")}); err != nil {
			t.Fatal(err)
		}
		if got, want := g["a2"].metadata(t), id("a2")+" "+id("server-a2"); got != want {
			t.Errorf("metadata through the router is for %q, want %q", got, want)
		}
	})
	t.Run("outside", func(t *testing.T) {
		if got := g["a3"].whoami(t, "198.51.100.1", 7000); got != "198.51.100.10" {
			t.Errorf("a guest without a floating IP leaves as %s, want the router's address", got)
		}
		if got := g["a2"].whoami(t, "198.51.100.1", 7000); got != "198.51.100.12" {
			t.Errorf("a guest with a floating IP leaves as %s", got)
		}
		if got := h.root.whoami(t, "198.51.100.11", 8082); got != "198.51.100.1" {
			t.Errorf("through the floating IP the guest sees %s", got)
		}
		if _, err := h.root.dial("198.51.100.11", 8080, never); err == nil {
			t.Error("the floating IP opens a port that no rule allows from there")
		}
	})
	t.Run("hairpin", func(t *testing.T) {
		if got := g["a2"].whoami(t, "198.51.100.11", 8082); got != "198.51.100.12" {
			t.Errorf("a neighbour by its floating IP sees %s, want the sender's floating IP", got)
		}
		if got := g["a3"].whoami(t, "198.51.100.11", 8082); got != "198.51.100.10" {
			t.Errorf("a neighbour by its floating IP sees %s, want the router", got)
		}
		if got := g["a1"].whoami(t, "198.51.100.11", 8082); got != "198.51.100.11" {
			t.Errorf("a guest by its own floating IP sees %s", got)
		}
	})
	t.Run("a rule that goes takes its connections along", func(t *testing.T) {
		kept, err := g["a2"].dial("10.0.0.11", 8080, soon)
		if err != nil {
			t.Fatal(err)
		}
		defer kept.Close()
		lost, err := g["a2"].dial("10.0.0.11", 8081, soon)
		if err != nil {
			t.Fatal(err)
		}
		defer lost.Close()
		if _, err := ask(lost, soon); err != nil {
			t.Fatal(err)
		}
		less := doc
		less.Revision++
		less.SecurityGroups = slices.Clone(doc.SecurityGroups)
		less.SecurityGroups[0].Rules = slices.DeleteFunc(slices.Clone(doc.SecurityGroups[0].Rules), func(r hostapi.RuleSpec) bool {
			return r.PortMin != nil && *r.PortMin == 8081
		})
		h.apply(less)
		if s, err := ask(lost, 2*never); err == nil {
			t.Errorf("the connection of a removed rule lives on: %s", s)
		}
		if _, err := ask(kept, soon); err != nil {
			t.Errorf("a connection that is still allowed was cut: %v", err)
		}
		doc.Revision = less.Revision + 1
		h.apply(doc)
	})
	t.Run("spoofing", func(t *testing.T) { spoofing(t, h, &doc, g["a2"], g["a1"]) })
	t.Run("floating IP gone", func(t *testing.T) {
		c, err := h.root.dial("198.51.100.11", 8082, soon)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		less := doc
		less.Revision += 100
		less.Routers = slices.Clone(doc.Routers)
		less.Routers[0].FloatingIPs = doc.Routers[0].FloatingIPs[1:]
		h.apply(less)
		if _, err := ask(c, 2*never); err == nil {
			t.Error("a connection through a removed floating IP lives on")
		}
		moved := less
		moved.Revision++
		moved.Routers = slices.Clone(less.Routers)
		moved.Routers[0].FloatingIPs = []hostapi.FloatingSpec{{ID: id("f2"), Floating: "198.51.100.12", Fixed: "10.0.0.11"}}
		h.apply(moved)
		if got := h.root.whoami(t, "198.51.100.12", 8082); got != "198.51.100.1" {
			t.Errorf("a floating IP that was moved: the guest sees %s", got)
		}
		if _, err := h.root.dial("198.51.100.11", 8082, never); err == nil {
			t.Error("a removed floating IP still answers")
		}
	})
}

// spoofing sends from an address and from a MAC that the port does not have, then allows both by a pair.
func spoofing(t *testing.T, h *host, doc *hostapi.NetworkDocument, from, to *guest) {
	const foreign = "10.0.0.99"
	listen := listenUDP(t, to, 5000)
	more := *doc
	more.SecurityGroups = slices.Clone(doc.SecurityGroups)
	more.SecurityGroups[0].Rules = append(slices.Clone(doc.SecurityGroups[0].Rules), rule("web", "ingress", "udp", 5000, "", ""))
	more.Revision++
	h.apply(more)
	if !from.sends(t, listen, from.port.Addresses[0].IP, "", 5000, soon) {
		t.Fatal("an honest packet does not arrive")
	}
	from.static(foreign + "/24")
	if from.sends(t, listen, foreign, "", 5000, never) {
		t.Error("a packet from a foreign address arrives")
	}
	foreignMAC := "fa:16:3e:99:99:99"
	if from.sends(t, listen, from.port.Addresses[0].IP, foreignMAC, 5000, never) {
		t.Error("a packet from a foreign MAC arrives")
	}
	for _, pair := range []hostapi.Pair{{IP: foreign}, {IP: "10.0.0.96/28"}} {
		allowed := more
		allowed.Revision++
		allowed.Ports = slices.Clone(more.Ports)
		i := slices.IndexFunc(allowed.Ports, func(p hostapi.PortSpec) bool { return p.ID == from.port.ID })
		allowed.Ports[i].AllowedPairs = []hostapi.Pair{pair}
		h.apply(allowed)
		if !from.sends(t, listen, foreign, "", 5000, soon) {
			t.Errorf("a packet from the allowed pair %v does not arrive", pair)
		}
	}
	open := more
	open.Revision += 2
	open.Ports = slices.Clone(more.Ports)
	i := slices.IndexFunc(open.Ports, func(p hostapi.PortSpec) bool { return p.ID == from.port.ID })
	open.Ports[i].PortSecurity, open.Ports[i].SecurityGroups = false, nil
	h.apply(open)
	if !from.sends(t, listen, from.port.Addresses[0].IP, foreignMAC, 5000, soon) {
		t.Error("without port security a foreign MAC does not get through")
	}
	doc.Revision = open.Revision + 1
	h.apply(*doc)
}

func listenUDP(t *testing.T, g *guest, port int) *net.UDPConn {
	t.Helper()
	var c *net.UDPConn
	err := g.do(func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// sends writes datagrams as whole frames from the address, and from another MAC if given, until one arrives or the time is over.
func (g *guest) sends(t *testing.T, to *net.UDPConn, src, srcMAC string, port int, within time.Duration) bool {
	t.Helper()
	from := g.port.MAC
	if srcMAC != "" {
		from = srcMAC
	}
	hw, err := net.ParseMAC(from)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := net.ParseMAC(mac("a1"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := g.openFrames(g.eth0.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	frame := datagram(hw, dst, net.ParseIP(src).To4(), net.ParseIP("10.0.0.11").To4(), port)
	buf := make([]byte, 100)
	for end := time.Now().Add(within); time.Now().Before(end); {
		if err := w.WriteFrame(frame); err != nil && err != unix.ENOBUFS {
			t.Fatal(err)
		}
		to.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, _, err := to.ReadFrom(buf); err == nil && string(buf[:n]) == src+from {
			return true
		}
	}
	return false
}

// datagram is a UDP packet without checksum; its payload says who sent it.
func datagram(from, to net.HardwareAddr, src, dst net.IP, port int) []byte {
	payload := src.String() + from.String()
	f := append(append(append([]byte{}, to...), from...), 8, 0)
	n := 28 + len(payload)
	ip := []byte{0x45, 0, byte(n >> 8), byte(n), 0, 0, 0, 0, 64, 17, 0, 0}
	ip = append(append(ip, src...), dst...)
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(ip[i])<<8 | uint32(ip[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	ip[10], ip[11] = ^byte(sum>>8), ^byte(sum)
	udp := []byte{0x13, 0x87, byte(port >> 8), byte(port), 0, byte(8 + len(payload)), 0, 0}
	return append(append(append(f, ip...), udp...), payload...)
}
