package linux

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// plan is a document with names, numbers and parsed addresses: all that rendering and reconciling need. It is never changed after
// makePlan returned it. Lists are sorted by id, so that equal documents give equal text.
type plan struct {
	networks []*netPlan
	ports    []*portPlan
	groups   map[string]*groupPlan
	routers  []*routerPlan
	tunnel   *tunnelPlan
	netByID  map[string]*netPlan
}

type netPlan struct {
	id       string
	bridge   string
	zone     uint16
	mac      net.HardwareAddr // the bridge's own; the same on every host, and never sent over the tunnel
	mtu      int
	external bool
	hostEnd  string // external: the veth end in the root namespace
	hostLeg  string // external: its end on the bridge
	tunnel   string // VXLAN device, "" without
	vni      int
	subnets  []subnetPlan
	ports    []*portPlan
	byAddr   map[netip.Addr]*portPlan
}

type subnetPlan struct {
	id      string
	prefix  netip.Prefix
	gateway netip.Addr
	server  netip.Addr // DHCP server; zero: no DHCP
	dns     []netip.Addr
	routes  []routePlan
}

type routePlan struct {
	dst netip.Prefix
	via netip.Addr
}

type portPlan struct {
	id      string
	dev     string
	mark    uint16
	net     *netPlan
	mac     net.HardwareAddr
	addrs   []netip.Addr
	subnet  map[netip.Addr]string
	pairs   []pairPlan
	secured bool
	up      bool
	groups  []string // sorted, only known ones
	profile string   // name of the rules that this set of groups has; "" when not secured
	spec    hostapi.PortSpec
}

type pairPlan struct {
	mac    net.HardwareAddr
	prefix netip.Prefix
}

type groupPlan struct {
	id       string
	rules    []rulePlan
	stateful bool
	addrs    map[netip.Addr]bool
	prefixes []netip.Prefix // none inside another
}

type rulePlan struct {
	id     string
	egress bool
	v6     bool
	proto  int // -1: any
	lo, hi int // ports, or ICMP type and code; -1: any
	prefix netip.Prefix
	group  string
}

type tunnelPlan struct {
	local netip.Addr
	peers []netip.Addr
}

type routerPlan struct {
	id       string
	ns       string
	up       bool
	legs     []*legPlan
	gateway  *legPlan // one of legs, or nil
	nextHop  netip.Addr
	snat     bool
	floating []floatPlan
	routes   []routePlan
}

type legPlan struct {
	port  string
	dev   string // the same name at both ends
	net   *netPlan
	mac   net.HardwareAddr
	cidrs []netip.Prefix // own address and length
}

type floatPlan struct {
	id           string
	outer, inner netip.Addr
}

// idForm keeps ids harmless inside nft text and aliases.
var idForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_.-]{0,63}$`)

type planner struct {
	cfg   *Config
	books *books
	plan  *plan
	live  map[string]bool
	errs  []error
}

// makePlan parses doc. What cannot be made (bad address, unknown network) is left out and named in the error; the plan is always usable.
func makePlan(cfg *Config, doc *hostapi.NetworkDocument, b *books) (*plan, error) {
	pl := &planner{cfg: cfg, books: b, live: map[string]bool{}, plan: &plan{groups: map[string]*groupPlan{}, netByID: map[string]*netPlan{}}}
	pl.tunnel(doc.Tunnel)
	for i := range doc.Networks {
		pl.network(&doc.Networks[i])
	}
	for i := range doc.SecurityGroups {
		pl.group(&doc.SecurityGroups[i])
	}
	legs := map[string]bool{}
	for i := range doc.Routers {
		pl.router(&doc.Routers[i], legs)
	}
	for i := range doc.Ports {
		if !legs[doc.Ports[i].ID] { // a router's leg is made with the router
			pl.port(&doc.Ports[i])
		}
	}
	slices.SortFunc(pl.plan.networks, func(a, b *netPlan) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(pl.plan.ports, func(a, b *portPlan) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(pl.plan.routers, func(a, b *routerPlan) int { return cmp.Compare(a.id, b.id) })
	b.names.keep(pl.live)
	zones, marks := map[string]bool{}, map[string]bool{}
	for _, n := range pl.plan.networks {
		zones[n.id] = true
	}
	for _, p := range pl.plan.ports {
		marks[p.id] = true
	}
	b.zones.keep(zones)
	b.marks.keep(marks)
	return pl.plan, errors.Join(pl.errs...)
}

func (pl *planner) bad(what, id, format string, a ...any) {
	pl.errs = append(pl.errs, fault.Invalid(what, "%s %s: %s", what, id, fmt.Sprintf(format, a...)))
}

func (pl *planner) name(kind, id, prefix string, n int) string {
	pl.live[kind+" "+id] = true
	return pl.books.names.name(kind, id, prefix, n)
}

func (pl *planner) tunnel(t *hostapi.TunnelSpec) {
	if t == nil {
		return
	}
	local, err := netip.ParseAddr(t.LocalIP)
	if err != nil {
		pl.bad("tunnel", t.LocalIP, "not an address")
		return
	}
	tp := &tunnelPlan{local: local}
	for _, p := range t.Peers {
		peer, err := netip.ParseAddr(p)
		if err != nil {
			pl.bad("tunnel peer", p, "not an address")
			continue
		}
		if peer != local {
			tp.peers = append(tp.peers, peer)
		}
	}
	slices.SortFunc(tp.peers, netip.Addr.Compare)
	pl.plan.tunnel = tp
}

func (pl *planner) network(s *hostapi.NetworkSpec) {
	if !idForm.MatchString(s.ID) || pl.plan.netByID[s.ID] != nil {
		pl.bad("network", s.ID, "id is malformed or given twice")
		return
	}
	h := sha256.Sum256([]byte(s.ID))
	n := &netPlan{id: s.ID, mtu: s.MTU, external: s.External, vni: s.VNI, byAddr: map[netip.Addr]*portPlan{},
		mac: net.HardwareAddr{0xfa, 0x16, 0x3f, h[0], h[1], h[2]}}
	n.bridge = pl.name("network", s.ID, "br-", 8)
	if n.zone = pl.books.zones.number(s.ID); n.zone == 0 {
		pl.bad("network", s.ID, "all 65535 conntrack zones are in use")
		return
	}
	tunnelled := pl.plan.tunnel != nil && !s.External && s.VNI > 0
	if n.mtu == 0 {
		n.mtu = 1500
		if tunnelled {
			n.mtu = 1450 // what VXLAN over IPv4 leaves of 1500
		}
	}
	if tunnelled {
		n.tunnel = pl.name("tunnel", s.ID, "vx-", 8)
	}
	if s.External && pl.cfg.External.Enabled {
		n.hostEnd = pl.name(pl.cfg.externalKind(), s.ID, "nph-", 8)
		n.hostLeg = pl.name("hostleg", s.ID, "ext-", 8)
	}
	for i := range s.Subnets {
		if sub, ok := pl.subnet(&s.Subnets[i]); ok {
			n.subnets = append(n.subnets, sub)
		}
	}
	slices.SortFunc(n.subnets, func(a, b subnetPlan) int { return cmp.Compare(a.id, b.id) })
	pl.plan.networks = append(pl.plan.networks, n)
	pl.plan.netByID[s.ID] = n
}

func (pl *planner) subnet(s *hostapi.SubnetSpec) (subnetPlan, bool) {
	prefix, err := netip.ParsePrefix(s.CIDR)
	if err != nil {
		pl.bad("subnet", s.ID, "cidr %q", s.CIDR)
		return subnetPlan{}, false
	}
	sub := subnetPlan{id: s.ID, prefix: prefix.Masked()}
	sub.gateway = pl.optional("subnet gateway", s.ID, s.Gateway)
	if s.DHCP && prefix.Addr().Is4() {
		sub.server = pl.optional("subnet dhcp_server", s.ID, s.DHCPServer)
		if s.DHCPServer == "" {
			pl.bad("subnet", s.ID, "dhcp is on but dhcp_server is empty")
		}
	}
	for _, d := range s.DNS {
		if a := pl.optional("subnet dns", s.ID, d); a.IsValid() {
			sub.dns = append(sub.dns, a)
		}
	}
	sub.routes = pl.routes("subnet host_routes", s.ID, s.HostRoutes)
	return sub, true
}

func (pl *planner) optional(what, id, s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		pl.bad(what, id, "%q is not an address", s)
		return netip.Addr{}
	}
	return a.Unmap()
}

func (pl *planner) routes(what, id string, in []hostapi.Route) []routePlan {
	var out []routePlan
	for _, r := range in {
		dst, err1 := netip.ParsePrefix(r.Destination)
		via, err2 := netip.ParseAddr(r.NextHop)
		if err1 != nil || err2 != nil || dst.Addr().Is4() != via.Is4() {
			pl.bad(what, id, "route %s via %s", r.Destination, r.NextHop)
			continue
		}
		out = append(out, routePlan{dst.Masked(), via})
	}
	return out
}

func (pl *planner) port(s *hostapi.PortSpec) {
	n := pl.plan.netByID[s.NetworkID]
	mac, err := net.ParseMAC(s.MAC)
	switch {
	case !idForm.MatchString(s.ID):
		pl.bad("port", s.ID, "id is malformed")
		return
	case n == nil:
		pl.bad("port", s.ID, "its network %s is not in the document", s.NetworkID)
		return
	case err != nil || len(mac) != 6:
		pl.bad("port", s.ID, "mac %q", s.MAC)
		return
	case pl.live["port "+s.ID]:
		pl.bad("port", s.ID, "given twice")
		return
	}
	p := &portPlan{id: s.ID, net: n, mac: mac, secured: s.PortSecurity, up: s.AdminUp, subnet: map[netip.Addr]string{}, spec: *s}
	p.dev = pl.name("port", s.ID, "tap", 11)
	if p.mark = pl.books.marks.number(s.ID); p.mark == 0 {
		pl.bad("port", s.ID, "all 65535 port marks are in use")
		return
	}
	for _, a := range s.Addresses {
		if ip := pl.optional("port address", s.ID, a.IP); ip.IsValid() {
			p.addrs = append(p.addrs, ip)
			p.subnet[ip] = a.SubnetID
			n.byAddr[ip] = p
		}
	}
	for _, pair := range s.AllowedPairs {
		pp := pairPlan{mac: mac}
		pp.prefix, err = netip.ParsePrefix(pair.IP)
		if a, err2 := netip.ParseAddr(pair.IP); err2 == nil {
			pp.prefix, err = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
		}
		if err == nil && pair.MAC != "" {
			pp.mac, err = net.ParseMAC(pair.MAC)
		}
		if err != nil || len(pp.mac) != 6 {
			pl.bad("port allowed pair", s.ID, "%s %s", pair.IP, pair.MAC)
			continue
		}
		pp.prefix = pp.prefix.Masked()
		p.pairs = append(p.pairs, pp)
	}
	if p.secured {
		for _, g := range s.SecurityGroups {
			if pl.plan.groups[g] == nil {
				pl.bad("port", s.ID, "its security group %s is not in the document", g)
			} else if !slices.Contains(p.groups, g) {
				p.groups = append(p.groups, g)
			}
		}
		slices.Sort(p.groups)
		p.profile = profileName(p.groups)
	}
	n.ports = append(n.ports, p)
	pl.plan.ports = append(pl.plan.ports, p)
}
