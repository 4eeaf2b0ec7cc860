package linux

import (
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"pgregory.net/rapid"

	"nephos/internal/hostapi"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (go test -update rewrites it):\n%s", name, diff)
	}
}

func planOf(t *testing.T, doc hostapi.NetworkDocument, b *books) *plan {
	t.Helper()
	cfg := &Config{Instance: "golden", External: External{Enabled: true}}
	p, err := makePlan(cfg, &doc, b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// varied is a scene with every kind of rule, pairs, IPv6, a stateless group and a tunnel.
func varied() hostapi.NetworkDocument {
	d := scene()
	d.Networks[0].VNI = 7001
	d.Tunnel = &hostapi.TunnelSpec{LocalIP: "198.51.100.201", Peers: []string{"198.51.100.202"}}
	d.Ports[0].Addresses = append(d.Ports[0].Addresses, hostapi.Address{IP: "fd00::11"})
	d.Ports[0].AllowedPairs = []hostapi.Pair{{IP: "10.0.0.64/26"}, {IP: "10.0.0.70", MAC: "fa:16:3e:00:00:70"}, {IP: "fd00:1::/64"}}
	d.Ports[1].PortSecurity = false
	d.Ports[1].In, d.Ports[1].Out = hostapi.Bandwidth{Average: 1000, Peak: 2000, Burst: 300}, hostapi.Bandwidth{Average: 10}
	d.Ports[2].SecurityGroups = append(d.Ports[2].SecurityGroups, id("stateless"))
	less := group("stateless", nil,
		hostapi.RuleSpec{ID: id("s1"), Direction: "ingress", EtherType: "IPv4", Protocol: "udp", PortMin: intp(5000), PortMax: intp(5010), RemotePrefix: "10.9.8.7/8"},
		hostapi.RuleSpec{ID: id("s2"), Direction: "ingress", EtherType: "IPv4", Protocol: "icmp", PortMin: intp(8), PortMax: intp(0)},
		hostapi.RuleSpec{ID: id("s3"), Direction: "ingress", EtherType: "IPv6", Protocol: "icmp", PortMin: intp(128)},
		hostapi.RuleSpec{ID: id("s4"), Direction: "ingress", EtherType: "IPv6", Protocol: "tcp", PortMin: intp(22), PortMax: intp(22), RemotePrefix: "fd00::/16"},
		hostapi.RuleSpec{ID: id("s5"), Direction: "egress", EtherType: "IPv4", Protocol: "112", RemotePrefix: "0.0.0.0/0"},
		hostapi.RuleSpec{ID: id("s6"), Direction: "ingress", EtherType: "IPv4", RemoteGroup: id("nowhere")})
	less.Stateful = false
	d.SecurityGroups = append(d.SecurityGroups, less)
	d.SecurityGroups[1].Members = append(d.SecurityGroups[1].Members, "10.5.0.0/16", "10.5.1.0/24", "fd00::12")
	return d
}

func TestGoldenFabric(t *testing.T) {
	t.Parallel()
	golden(t, "fabric.nft", fabricRules(planOf(t, varied(), newBooks())).text())
}

func TestGoldenRouterAndHost(t *testing.T) {
	t.Parallel()
	d := scene()
	d.Routers[0].Routes = []hostapi.Route{{Destination: "10.77.0.0/16", NextHop: "10.0.0.12"}, {Destination: "10.78.0.0/16", NextHop: "198.51.100.9"}}
	p := planOf(t, d, newBooks())
	golden(t, "router.nft", routerRules(p.routers[0]).text())
	golden(t, "host.nft", hostRules(&Config{Instance: "golden"}, p).text())
}

// TestGoldenDelta: a port that joins known groups costs a few set elements.
func TestGoldenDelta(t *testing.T) {
	t.Parallel()
	b := newBooks()
	d := scene()
	old := fabricRules(planOf(t, d, b))
	d.Ports = append(slices.Clone(d.Ports[1:]), port("a4", "a", "10.0.0.14", "client"))
	d.SecurityGroups = slices.Clone(d.SecurityGroups)
	d.SecurityGroups[1].Members = []string{"10.0.0.12", "10.0.0.14"}
	text, ok := fabricRules(planOf(t, d, b)).delta(old)
	if !ok {
		t.Fatal("a port more and one less should differ in elements only")
	}
	golden(t, "delta.nft", text)
	if text, ok := old.delta(old); text != "" || !ok {
		t.Errorf("equal rules differ by %q", text)
	}
	d.SecurityGroups[0].Rules = d.SecurityGroups[0].Rules[1:]
	if _, ok := fabricRules(planOf(t, d, b)).delta(old); ok {
		t.Error("a rule less is no matter of elements")
	}
}

// TestDeltaEqualsWhole applies a random chain of element changes to a model of the kernel's sets.
func TestDeltaEqualsWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.MapOf(rapid.StringMatching(`[a-d]`), rapid.StringMatching(`[x-z]`))
		make1 := func(m map[string]string) ruleset {
			s := nftSet{kind: "map", name: "m", spec: "spec"}
			for k, v := range m {
				s.add(k, v)
			}
			return ruleset{{family: "inet", name: "t", sets: []nftSet{s}}}
		}
		from, to := gen.Draw(t, "from"), gen.Draw(t, "to")
		gone, fresh := elementDelta(make1(from)[0].sets[0].elements, make1(to)[0].sets[0].elements)
		for _, e := range gone {
			if from[e.key] != e.value {
				t.Fatalf("%v goes but was not there", e)
			}
			delete(from, e.key)
		}
		for _, e := range fresh {
			if _, there := from[e.key]; there {
				t.Fatalf("%v comes but is there", e)
			}
			from[e.key] = e.value
		}
		if diff := cmp.Diff(to, from); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestBooks: names and numbers are unique at any time, and stay as long as their owner does.
func TestBooks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := newBooks()
		names, zones := map[string]string{}, map[string]uint16{}
		for range rapid.IntRange(1, 12).Draw(t, "rounds") {
			// Ids that differ late collide in their first eight characters.
			ids := rapid.SliceOfNDistinct(rapid.StringMatching(`aaaaaaa[ab]-[a-e]`), 0, 8, rapid.ID).Draw(t, "ids")
			live, liveIDs := map[string]bool{}, map[string]bool{}
			seen, seenZ := map[string]bool{}, map[uint16]bool{}
			now, nowZ := map[string]string{}, map[string]uint16{}
			for _, id := range ids {
				n, z := b.names.name("network", id, "br-", 8), b.zones.number(id)
				if seen[n] || seenZ[z] || z == 0 || len(n) != 11 {
					t.Fatalf("%s: name %s or zone %d is taken or malformed", id, n, z)
				}
				if was, ok := names[id]; ok && (was != n || zones[id] != z) {
					t.Fatalf("%s moved from %s, %d to %s, %d", id, was, zones[id], n, z)
				}
				seen[n], seenZ[z], now[id], nowZ[id] = true, true, n, z
				live["network "+id], liveIDs[id] = true, true
				if rapid.Bool().Draw(t, "restart") { // another process learns the same from the aliases
					o, ok := parseAlias(owner{"network", id, z}.alias())
					if !ok || o.id != id {
						t.Fatalf("alias %q", owner{"network", id, z}.alias())
					}
				}
			}
			b.names.keep(live)
			b.zones.keep(liveIDs)
			again := newBooks()
			for id, n := range now {
				again.adopt(n, owner{"network", id, nowZ[id]})
			}
			names, zones, b = now, nowZ, again
		}
	})
}

func TestNumbersComeBackLast(t *testing.T) {
	t.Parallel()
	b := newNumberBook()
	first := b.number("a")
	b.keep(nil)
	if second := b.number("b"); second == first {
		t.Errorf("number %d was given again at once", first)
	}
	for i := range 1<<16 + 10 {
		b.number(fmt.Sprint(i))
	}
	if n := b.number("one too many"); n != 0 {
		t.Errorf("number %d from a full book", n)
	}
}

func TestOutermost(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var in []netip.Prefix
		for range rapid.IntRange(0, 12).Draw(t, "n") {
			a := netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 3).Draw(t, "b")), byte(rapid.IntRange(0, 3).Draw(t, "c")), 0})
			in = append(in, netip.PrefixFrom(a, rapid.IntRange(8, 32).Draw(t, "bits")).Masked())
		}
		out := outermost(slices.Clone(in))
		for i, p := range out {
			for _, q := range out[i+1:] {
				if p.Overlaps(q) {
					t.Fatalf("%s overlaps %s", p, q)
				}
			}
		}
		for _, p := range in {
			if !slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }) {
				t.Fatalf("%s is not covered by %v", p, out)
			}
		}
	})
}

func TestPermits(t *testing.T) {
	t.Parallel()
	b := newBooks()
	p := planOf(t, varied(), b)
	zone := b.zones.number(id("a"))
	addr := netip.MustParseAddr
	for name, c := range map[string]struct {
		f    flow
		want bool
	}{
		"remote group":          {flow{zone, addr("10.0.0.12"), addr("10.0.0.11"), 6, 8080}, true},
		"remote group by range": {flow{zone, addr("10.5.3.3"), addr("10.0.0.11"), 6, 8080}, true},
		"not in the group":      {flow{zone, addr("10.0.0.3"), addr("10.0.0.11"), 6, 8080}, false},
		"no rule":               {flow{zone, addr("10.0.0.12"), addr("10.0.0.11"), 6, 22}, false},
		"anyone":                {flow{zone, addr("10.0.0.3"), addr("10.0.0.11"), 6, 8081}, true},
		"prefix":                {flow{zone, addr("198.51.100.1"), addr("10.0.0.11"), 6, 8082}, true},
		"other prefix":          {flow{zone, addr("10.0.0.3"), addr("10.0.0.11"), 6, 8082}, false},
		"to an allowed pair":    {flow{zone, addr("10.0.0.3"), addr("10.0.0.65"), 6, 8082}, false},
		"egress":                {flow{zone, addr("10.0.0.3"), addr("198.51.100.1"), 6, 443}, true},
		"unfiltered port":       {flow{zone, addr("198.51.100.1"), addr("10.0.0.12"), 6, 1}, true},
		"udp range":             {flow{zone, addr("10.1.1.1"), addr("10.0.0.3"), 17, 5005}, true},
		"beyond the udp range":  {flow{zone, addr("10.1.1.1"), addr("10.0.0.3"), 17, 5011}, false},
		"metadata":              {flow{zone, addr("10.0.0.3"), addr("169.254.169.254"), 6, 80}, true},
		"dhcp":                  {flow{zone, addr("10.0.0.3"), addr("10.0.0.2"), 17, 67}, true},
		"icmp of any type":      {flow{zone, addr("10.0.0.12"), addr("10.0.0.11"), 1, 0}, true},
		"icmp of one type":      {flow{zone, addr("10.9.9.9"), addr("10.0.0.3"), 1, 0}, false},
		"a zone of nobody":      {flow{999, addr("10.0.0.3"), addr("198.51.100.1"), 6, 443}, false},
	} {
		if got := p.permits(c.f); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestShrank(t *testing.T) {
	t.Parallel()
	b := newBooks()
	old := planOf(t, scene(), b)
	more := scene()
	more.Ports = append(more.Ports, port("a4", "a", "10.0.0.14", "client"))
	more.SecurityGroups[1].Members = append(more.SecurityGroups[1].Members, "10.0.0.14")
	if planOf(t, more, b).shrank(old) {
		t.Error("a port more needs no sweep")
	}
	for name, change := range map[string]func(*hostapi.NetworkDocument){
		"network gone": func(d *hostapi.NetworkDocument) { d.Networks = d.Networks[:2]; d.Routers = nil },
		"port gone":    func(d *hostapi.NetworkDocument) { d.Ports = d.Ports[1:] },
		"group gone":   func(d *hostapi.NetworkDocument) { d.Ports[0].SecurityGroups = nil },
		"rule gone":    func(d *hostapi.NetworkDocument) { d.SecurityGroups[0].Rules = d.SecurityGroups[0].Rules[1:] },
		"member gone":  func(d *hostapi.NetworkDocument) { d.SecurityGroups[1].Members = d.SecurityGroups[1].Members[1:] },
		"rule changed": func(d *hostapi.NetworkDocument) { d.SecurityGroups[0].Rules[3].PortMin = intp(8000) },
	} {
		d := scene()
		change(&d)
		if !planOf(t, d, b).shrank(old) {
			t.Errorf("%s needs a sweep", name)
		}
	}
}

// TestBadPiecesAreNamed: the rest of the document stands, and a rule that is not understood allows nothing.
func TestBadPiecesAreNamed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*hostapi.NetworkDocument){
		"port mac":        func(d *hostapi.NetworkDocument) { d.Ports[0].MAC = "x" },
		"port address":    func(d *hostapi.NetworkDocument) { d.Ports[0].Addresses[0].IP = "10.0.0" },
		"port group":      func(d *hostapi.NetworkDocument) { d.Ports[0].SecurityGroups[0] = "none" },
		"port pair":       func(d *hostapi.NetworkDocument) { d.Ports[0].AllowedPairs = []hostapi.Pair{{IP: "all"}} },
		"port id":         func(d *hostapi.NetworkDocument) { d.Ports[0].ID = "a; flush ruleset" },
		"port twice":      func(d *hostapi.NetworkDocument) { d.Ports[0].ID = d.Ports[1].ID },
		"group id":        func(d *hostapi.NetworkDocument) { d.SecurityGroups[2].ID = "a } table" },
		"rule direction":  func(d *hostapi.NetworkDocument) { d.SecurityGroups[0].Rules[2].Direction = "sideways" },
		"rule protocol":   func(d *hostapi.NetworkDocument) { d.SecurityGroups[0].Rules[2].Protocol = "tcp accept" },
		"rule prefix":     func(d *hostapi.NetworkDocument) { d.SecurityGroups[0].Rules[2].RemotePrefix = "fd00::/8" },
		"rule ports":      func(d *hostapi.NetworkDocument) { d.SecurityGroups[0].Rules[3].PortMin = intp(9000) },
		"group member":    func(d *hostapi.NetworkDocument) { d.SecurityGroups[0].Members[0] = "everyone" },
		"subnet cidr":     func(d *hostapi.NetworkDocument) { d.Networks[0].Subnets[0].CIDR = "10.0.0.0" },
		"dhcp server":     func(d *hostapi.NetworkDocument) { d.Networks[0].Subnets[0].DHCPServer = "" },
		"router leg":      func(d *hostapi.NetworkDocument) { d.Routers[0].Interfaces[0].NetworkID = "none" },
		"router leg cidr": func(d *hostapi.NetworkDocument) { d.Routers[0].Interfaces[0].CIDRs[0] = "10.0.0.1" },
		"floating ip":     func(d *hostapi.NetworkDocument) { d.Routers[0].FloatingIPs[0].Floating = "" },
		"tunnel":          func(d *hostapi.NetworkDocument) { d.Tunnel = &hostapi.TunnelSpec{LocalIP: "here"} },
	} {
		d := scene()
		change(&d)
		p, err := makePlan(&Config{Instance: "t"}, &d, newBooks())
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if p == nil || len(p.ports) < 4 || len(p.networks) != 3 {
			t.Errorf("%s: the rest does not stand", name)
		}
		if text := fabricRules(p).text(); strings.Contains(text, "flush") || strings.Contains(text, "tcp accept") {
			t.Errorf("%s: text got into the rules", name)
		}
	}
}

func TestHostResolvers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# comment\nnameserver 127.0.0.53\nnameserver 198.51.100.53\nnameserver ::1\nsearch example.test\nnameserver\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := hostResolvers(path); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("198.51.100.53")}) {
		t.Errorf("resolvers %v", got)
	}
	if got := hostResolvers(path + ".none"); got != nil {
		t.Errorf("resolvers of no file: %v", got)
	}
}

func TestStrayed(t *testing.T) {
	t.Parallel()
	ip := net.ParseIP
	now := map[netip.Addr]netip.Addr{netip.MustParseAddr("198.51.100.11"): netip.MustParseAddr("10.0.0.11"), netip.MustParseAddr("198.51.100.12"): netip.MustParseAddr("10.0.0.12")}
	gone := map[netip.Addr]bool{netip.MustParseAddr("198.51.100.13"): true}
	for name, c := range map[string]struct {
		src, dst, replySrc, replyDst string
		want                         bool
	}{
		"in by a floating ip":    {"198.51.100.1", "198.51.100.11", "10.0.0.11", "198.51.100.1", false},
		"in, moved since":        {"198.51.100.1", "198.51.100.11", "10.0.0.12", "198.51.100.1", true},
		"in, gone since":         {"198.51.100.1", "198.51.100.13", "10.0.0.11", "198.51.100.1", true},
		"out by a floating ip":   {"10.0.0.11", "198.51.100.1", "198.51.100.1", "198.51.100.11", false},
		"out, moved since":       {"10.0.0.12", "198.51.100.1", "198.51.100.1", "198.51.100.11", true},
		"out, gone since":        {"10.0.0.12", "198.51.100.1", "198.51.100.1", "198.51.100.13", true},
		"hairpin":                {"10.0.0.12", "198.51.100.11", "10.0.0.11", "198.51.100.12", false},
		"out by the router":      {"10.0.0.12", "198.51.100.1", "198.51.100.1", "198.51.100.10", false},
		"between inner networks": {"10.0.0.12", "10.1.0.5", "10.1.0.5", "10.0.0.12", false},
	} {
		f := &netlink.ConntrackFlow{Forward: netlink.IPTuple{SrcIP: ip(c.src), DstIP: ip(c.dst)}, Reverse: netlink.IPTuple{SrcIP: ip(c.replySrc), DstIP: ip(c.replyDst)}}
		if got := strayed(now, gone)(f); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
