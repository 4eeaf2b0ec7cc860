package linux

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/host/dataplane"
	"nephos/internal/host/dataplane/dataplanetest"
	"nephos/internal/hostapi"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	dataplanetest.Run(t, func(t *testing.T) func() dataplane.Plane {
		h := newHost(t)
		return func() dataplane.Plane { return h.newPlane() }
	})
}

// snapshot is all of the host's state that an equal document must not touch: rules with their handles, devices with their indexes.
func (h *host) snapshot(handles bool) string {
	var b strings.Builder
	names, _ := listNamespaces(h.cfg.fabricName())
	for _, name := range append(names, h.root.name) {
		ns, err := openNamespace(name)
		if err != nil {
			h.t.Fatal(err)
		}
		args := []string{"nft", "-s", "list", "ruleset"}
		if handles {
			args = []string{"nft", "-s", "-a", "list", "ruleset"}
		}
		b.WriteString(name + "\n" + ns.out(h.t, args...))
		links, _ := ns.links()
		var lines []string
		for n, l := range links {
			a := l.Attrs()
			addrs, _ := ns.AddrList(l, 0)
			line := n + " " + a.Alias + " " + a.Flags.String() + " " + a.HardwareAddr.String() + " " + strconv.Itoa(a.Index)
			for _, x := range addrs {
				line += " " + x.IPNet.String()
			}
			lines = append(lines, line)
		}
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, "\n") + "\n")
		routes, _ := ns.RouteList(nil, 2)
		for _, r := range routes {
			b.WriteString(r.String() + "\n")
		}
		ns.close()
	}
	return b.String()
}

func TestReapplyTouchesNothing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(scene())
	before := h.snapshot(true)
	h.apply(scene())
	if after := h.snapshot(true); after != before {
		t.Errorf("the same document again changed the host:\n%s\nafter:\n%s", before, after)
	}
}

// TestRestartWithGuestRunning holds a tap open, as QEMU does, while the agent starts anew.
func TestRestartWithGuestRunning(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(scene())
	tap, err := h.plane.OpenTap(t.Context(), id("a1"))
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	if _, err := h.plane.OpenTap(t.Context(), id("a1")); fault.KindOf(err) != fault.KindConflict {
		t.Errorf("second open of a held tap: %v, want a conflict", err)
	}
	before := h.snapshot(false)
	if err := h.plane.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.plane = h.newPlane()
	h.apply(scene())
	if after := h.snapshot(false); after != before {
		t.Errorf("a new process changed the host:\n%s\nafter:\n%s", before, after)
	}
	if fabric := h.fabric(); !strings.Contains(fabric.out(t, "nft", "list", "map", "bridge", "nephos", "from-mark"), "tap"+id("a1")[:11]) {
		t.Error("the port is not in the rules")
	}
	frame := gratuitousARP([]byte{2, 0, 0, 0, 0, 1}, h.plane.state.last.ports[0].addrs[0])
	if _, err := tap.Write(append(make([]byte, 10), frame...)); err != nil {
		t.Errorf("the held tap is dead: %v", err)
	}
}

func TestInventoryFindsAndApplyMends(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(scene())
	fabric := h.fabric()
	fabric.out(t, "nft", "delete", "table", "inet", "nephos")
	l, err := fabric.LinkByName("tap" + id("a2")[:11])
	if err != nil {
		t.Fatal(err)
	}
	if err := fabric.LinkDel(l); err != nil {
		t.Fatal(err)
	}
	if err := fabric.createTap("tapstranger"); err != nil {
		t.Fatal(err)
	}
	inv, err := h.plane.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"inet nephos", "tap" + id("a2")[:11], "tapstranger"} {
		if !strings.Contains(strings.Join(inv.Problems, "\n"), want) {
			t.Errorf("no problem names %s: %q", want, inv.Problems)
		}
	}
	h.apply(scene())
	if inv, err = h.plane.Inventory(t.Context()); err != nil || len(inv.Problems) > 0 {
		t.Errorf("after apply: %v %v", inv.Problems, err)
	}
}

// TestNothingLeft checks the root namespace too.
func TestNothingLeft(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.cfg.External.Masquerade, h.cfg.External.Forwarding = true, true
	h.plane = h.newPlane()
	h.root.out(t, "nft", "add", "table", "ip", "others")
	h.apply(scene())
	if err := h.plane.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	links, err := h.root.links()
	if err != nil {
		t.Fatal(err)
	}
	for name, l := range links {
		if l.Type() == "veth" {
			t.Errorf("device %s is left", name)
		}
	}
	if got := h.root.out(t, "nft", "list", "tables"); got != "table ip others\n" {
		t.Errorf("tables left in the root namespace: %s", got)
	}
	if names, _ := listNamespaces(h.cfg.fabricName()); len(names) > 0 {
		t.Errorf("namespaces left: %v", names)
	}
}

// TestTwoInstances has the same networks twice on one machine. The second must not take the first one's external subnet.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.apply(scene())
	cfg := h.cfg
	cfg.Instance = random(7)
	other, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
		if !h.root.ping("198.51.100.10", soon) {
			t.Error("destroying the second instance broke the first")
		}
	}()
	if err := other.Apply(t.Context(), scene()); err != nil && !strings.Contains(err.Error(), "not this instance's") {
		t.Fatal(err)
	}
	if !h.root.ping("198.51.100.10", soon) {
		t.Error("the first instance's router is not reached any more")
	}
}

func TestTunnel(t *testing.T) {
	t.Parallel()
	one, two := newHost(t), newHost(t)
	join(t, one.root, "198.51.100.201/24", two.root, "198.51.100.202/24")
	doc := func(local, peer string, ports ...hostapi.PortSpec) hostapi.NetworkDocument {
		d := scene()
		d.Networks = d.Networks[:1]
		d.Networks[0].VNI = 7001
		d.Routers = nil
		d.Tunnel = &hostapi.TunnelSpec{LocalIP: local, Peers: []string{local, peer}}
		d.Ports = ports
		return d
	}
	doc1 := doc("198.51.100.201", "198.51.100.202", scene().Ports[0])
	doc2 := doc("198.51.100.202", "198.51.100.201", scene().Ports[1])
	one.apply(networksOnly(doc1))
	two.apply(networksOnly(doc2))
	a1, a2 := one.plug(doc1.Ports[0]), two.plug(doc2.Ports[0])
	one.apply(doc1)
	two.apply(doc2)
	a1.dhcp()
	a2.dhcp()
	a1.serve(t, 8080)
	if got := a2.whoami(t, "10.0.0.11", 8080); got != "10.0.0.12" {
		t.Errorf("through the tunnel a1 sees %s", got)
	}
	for _, g := range []*guest{a1, a2} {
		if got, want := g.metadata(t), g.port.ID+" "+g.port.ServerID; got != want {
			t.Errorf("metadata of %s is for %q", g.port.DNSName, got)
		}
	}
	before := one.snapshot(true)
	one.apply(doc1)
	if after := one.snapshot(true); after != before {
		t.Errorf("applied again:\n%s\nafter:\n%s", before, after)
	}
	doc1.Revision++
	doc1.Tunnel.Peers = nil
	one.apply(doc1)
	fdb, err := one.fabric().NeighList(0, unix.AF_BRIDGE)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range fdb {
		if isZero(e.HardwareAddr) {
			t.Errorf("a peer that is gone is still flooded: %s", e.String())
		}
	}
}

// TestFigures measures what the report states; it fails only when far off.
func TestFigures(t *testing.T) {
	h := newHost(t)
	measure := func(what string, limit time.Duration, doc hostapi.NetworkDocument) {
		start := time.Now()
		h.apply(doc)
		took := time.Since(start)
		t.Logf("%s: %v", what, took.Round(100*time.Microsecond))
		if took > limit {
			t.Errorf("%s took %v, more than %v", what, took, limit)
		}
	}
	measure("50 ports from nothing", 10*time.Second, dataplanetest.Document(1, 50))
	for i := range 5 {
		measure("one port more", time.Second, dataplanetest.Document(int64(2+i), 51+i))
	}
	measure("the same again", time.Second, dataplanetest.Document(8, 55))
	measure("one port less", time.Second, dataplanetest.Document(9, 54))
	measure("nothing", 10*time.Second, hostapi.NetworkDocument{Revision: 10})
	measure("100 ports from nothing", 10*time.Second, dataplanetest.Document(11, 100))
	if err := h.plane.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.plane = h.newPlane()
	measure("100 ports adopted by a new process", 10*time.Second, dataplanetest.Document(11, 100))
}
