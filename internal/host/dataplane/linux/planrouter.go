package linux

import (
	"cmp"
	"net"
	"net/netip"
	"slices"

	"nephos/internal/hostapi"
)

func (pl *planner) router(s *hostapi.RouterSpec, legs map[string]bool) {
	if !idForm.MatchString(s.ID) || pl.live["router "+s.ID] {
		pl.bad("router", s.ID, "id is malformed or given twice")
		return
	}
	r := &routerPlan{id: s.ID, up: s.AdminUp, ns: pl.name("router", s.ID, pl.cfg.routerPrefix(), 8)}
	for _, i := range s.Interfaces {
		legs[i.PortID] = true
		pl.leg(r, i.PortID, i.NetworkID, i.MAC, i.CIDRs)
	}
	if g := s.Gateway; g != nil {
		legs[g.PortID] = true
		r.gateway = pl.leg(r, g.PortID, g.NetworkID, g.MAC, g.CIDRs)
		r.nextHop = pl.optional("router gateway nexthop", s.ID, g.NextHop)
		r.snat = g.SNAT
	}
	for _, f := range s.FloatingIPs {
		outer, inner := pl.optional("floating ip", f.ID, f.Floating), pl.optional("floating ip", f.ID, f.Fixed)
		if !outer.Is4() || !inner.Is4() {
			pl.bad("floating ip", f.ID, "wants two IPv4 addresses, has %q and %q", f.Floating, f.Fixed)
			continue
		}
		r.floating = append(r.floating, floatPlan{f.ID, outer, inner})
	}
	slices.SortFunc(r.floating, func(a, b floatPlan) int { return a.outer.Compare(b.outer) })
	slices.SortFunc(r.legs, func(a, b *legPlan) int { return cmp.Compare(a.port, b.port) })
	r.routes = pl.routes("router routes", s.ID, s.Routes)
	pl.plan.routers = append(pl.plan.routers, r)
}

func (pl *planner) leg(r *routerPlan, port, network, macText string, cidrs []string) *legPlan {
	n := pl.plan.netByID[network]
	mac, err := net.ParseMAC(macText)
	switch {
	case !idForm.MatchString(port) || pl.live["leg "+port]:
		pl.bad("router port", port, "id is malformed or given twice")
		return nil
	case n == nil:
		pl.bad("router port", port, "its network %s is not in the document", network)
		return nil
	case err != nil || len(mac) != 6:
		pl.bad("router port", port, "mac %q", macText)
		return nil
	}
	l := &legPlan{port: port, net: n, mac: mac, dev: pl.name("leg", port, "rp", 11)}
	for _, c := range cidrs {
		p, err := netip.ParsePrefix(c)
		if err != nil {
			pl.bad("router port", port, "cidr %q", c)
			continue
		}
		l.cidrs = append(l.cidrs, p)
	}
	r.legs = append(r.legs, l)
	return l
}
