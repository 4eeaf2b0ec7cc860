package linux

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/hostapi"
)

// profileName names the rules of a set of groups; ports with the same groups share them, so a new port adds only set elements.
func profileName(groups []string) string {
	if len(groups) == 1 {
		return "p-" + groups[0]
	}
	h := sha256.Sum256([]byte(strings.Join(groups, " ")))
	return "p-" + hex.EncodeToString(h[:8])
}

func (pl *planner) group(s *hostapi.SecurityGroupSpec) {
	if !idForm.MatchString(s.ID) || pl.plan.groups[s.ID] != nil {
		pl.bad("security group", s.ID, "id is malformed or given twice")
		return
	}
	g := &groupPlan{id: s.ID, stateful: s.Stateful, addrs: map[netip.Addr]bool{}}
	for i := range s.Rules {
		if r, ok := parseRule(&s.Rules[i]); ok {
			g.rules = append(g.rules, r)
		} else {
			pl.bad("security group rule", s.Rules[i].ID, "%+v is not understood, so it allows nothing", s.Rules[i])
		}
	}
	slices.SortFunc(g.rules, func(a, b rulePlan) int { return cmp.Compare(a.id, b.id) })
	var prefixes []netip.Prefix
	for _, m := range s.Members {
		if a, err := netip.ParseAddr(m); err == nil {
			g.addrs[a.Unmap()] = true
		} else if p, err := netip.ParsePrefix(m); err == nil {
			prefixes = append(prefixes, p.Masked())
		} else {
			pl.bad("security group member", s.ID, "%q", m)
		}
	}
	g.prefixes = outermost(prefixes)
	pl.plan.groups[s.ID] = g
}

// outermost drops prefixes that lie inside another: what is left does not overlap, as an nft interval set wants it.
func outermost(in []netip.Prefix) []netip.Prefix {
	slices.SortFunc(in, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Bits(), b.Bits()), a.Addr().Compare(b.Addr()))
	})
	var out []netip.Prefix
	for _, p := range in {
		if !slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Overlaps(p) }) {
			out = append(out, p)
		}
	}
	return out
}

// protocols are the names Neutron accepts besides numbers.
var protocols = map[string]int{
	"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "icmpv6": 58, "igmp": 2, "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44,
	"ipv6-icmp": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46, "sctp": 132, "tcp": 6,
	"udp": 17, "udplite": 136, "vrrp": 112,
}

func parseRule(s *hostapi.RuleSpec) (rulePlan, bool) {
	r := rulePlan{id: s.ID, proto: -1, lo: -1, hi: -1, group: s.RemoteGroup}
	switch s.Direction {
	case "egress":
		r.egress = true
	case "ingress":
	default:
		return r, false
	}
	switch s.EtherType {
	case "IPv6":
		r.v6 = true
	case "IPv4", "":
	default:
		return r, false
	}
	switch proto := strings.ToLower(s.Protocol); proto {
	case "", "any", "0":
	default:
		n, known := protocols[proto]
		if !known {
			v, err := strconv.ParseUint(proto, 10, 8)
			if err != nil {
				return r, false
			}
			n = int(v)
		}
		if r.v6 && n == 1 {
			n = 58 // Neutron takes icmp on an IPv6 rule for ICMPv6
		}
		r.proto = n
	}
	if s.PortMin != nil {
		r.lo = *s.PortMin
	}
	if s.PortMax != nil {
		r.hi = *s.PortMax
	}
	if r.hasPorts() {
		if r.lo < 0 {
			r.lo = r.hi
		}
		if r.hi < 0 {
			r.hi = r.lo
		}
		if r.lo > r.hi || r.hi > 65535 {
			return r, false
		}
	} else if (r.proto != 1 && r.proto != 58 && (r.lo >= 0 || r.hi >= 0)) || r.lo > 255 || r.hi > 255 {
		return r, false
	}
	if s.RemoteGroup != "" && !idForm.MatchString(s.RemoteGroup) {
		return r, false
	}
	if s.RemotePrefix != "" {
		p, err := netip.ParsePrefix(s.RemotePrefix)
		if a, err2 := netip.ParseAddr(s.RemotePrefix); err2 == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4() == r.v6 {
			return r, false
		}
		if p.Bits() > 0 {
			r.prefix = p.Masked()
		}
	}
	return r, true
}

// hasPorts says whether the protocol has port numbers.
func (r *rulePlan) hasPorts() bool {
	return r.proto == 6 || r.proto == 17 || r.proto == 33 || r.proto == 132 || r.proto == 136
}
