package linux

import (
	"net/netip"
	"slices"
)

// flow is one connection as conntrack has it, in the direction of its first packet.
type flow struct {
	zone     uint16
	src, dst netip.Addr
	proto    int
	dport    uint16
}

// permits says whether the rules of now would let the flow's first packet through: the sender's egress and the receiver's ingress rules.
// A zone without a network permits nothing. ICMP types are not known here, so a rule for certain types does not count: such an entry
// is dropped too often rather than too seldom, which costs nobody anything.
func (p *plan) permits(f flow) bool {
	i := slices.IndexFunc(p.networks, func(n *netPlan) bool { return n.zone == f.zone })
	if i < 0 {
		return false
	}
	n := p.networks[i]
	if from := n.portAt(f.src); from != nil && from.secured && !p.allows(from, f, true) {
		return false
	}
	if to := n.portAt(f.dst); to != nil && to.secured && !p.allows(to, f, false) {
		return false
	}
	return true
}

func (n *netPlan) portAt(a netip.Addr) *portPlan {
	if p := n.byAddr[a]; p != nil {
		return p
	}
	for _, p := range n.ports {
		if slices.ContainsFunc(p.pairs, func(x pairPlan) bool { return x.prefix.Contains(a) }) {
			return p
		}
	}
	return nil
}

func (p *plan) allows(port *portPlan, f flow, egress bool) bool {
	if f.proto == 17 && (f.dport == 67 || f.dport == 68 || f.dport == 546 || f.dport == 547) || f.proto == 58 && f.dst.IsMulticast() {
		return true
	}
	if egress && f.proto == 6 && f.dport == 80 && f.dst == netip.AddrFrom4([4]byte{169, 254, 169, 254}) {
		return true
	}
	remote := f.src
	if egress {
		remote = f.dst
	}
	for _, id := range port.groups {
		for i := range p.groups[id].rules {
			r := &p.groups[id].rules[i]
			if r.egress == egress && r.v6 == f.src.Is6() && p.matches(r, f, remote) {
				return true
			}
		}
	}
	return false
}

func (p *plan) matches(r *rulePlan, f flow, remote netip.Addr) bool {
	if r.proto >= 0 && r.proto != f.proto {
		return false
	}
	if r.lo >= 0 && (!r.hasPorts() || int(f.dport) < r.lo || int(f.dport) > r.hi) {
		return false
	}
	if r.prefix.IsValid() && !r.prefix.Contains(remote) {
		return false
	}
	if r.group == "" {
		return true
	}
	g := p.groups[r.group]
	return g != nil && (g.addrs[remote] || slices.ContainsFunc(g.prefixes, func(x netip.Prefix) bool { return x.Contains(remote) }))
}

// shrank says whether some connection that old permitted may be forbidden by p: then conntrack must be swept. Only what grew (a port,
// a rule, a member) needs no sweep.
func (p *plan) shrank(old *plan) bool {
	if old == nil {
		return true
	}
	for _, n := range old.networks {
		if now := p.netByID[n.id]; now == nil || now.zone != n.zone {
			return true
		}
	}
	ports := make(map[string]*portPlan, len(p.ports))
	for _, x := range p.ports {
		ports[x.id] = x
	}
	for _, was := range old.ports {
		now := ports[was.id]
		if now == nil || now.secured && !was.secured || !subset(was.addrs, now.addrs) || !subset(was.groups, now.groups) {
			return true
		}
	}
	for id, was := range old.groups {
		now := p.groups[id]
		if now == nil || !subset(was.rules, now.rules) || !subset(was.prefixes, now.prefixes) {
			return true
		}
		for a := range was.addrs {
			if !now.addrs[a] {
				return true
			}
		}
	}
	return false
}

// subset says whether every element of a is in b.
func subset[T comparable](a, b []T) bool {
	for _, x := range a {
		if !slices.Contains(b, x) {
			return false
		}
	}
	return true
}
