package linux

import (
	"net/netip"
	"slices"
)

// routerRules renders a router's NAT. Pure.
//
//   - A floating IP is translated whoever asks, so a guest reaches its neighbour's and its own.
//   - What leaves by the gateway has the sender's floating IP, else (SNAT on) the gateway's address.
//   - A guest that reached an inner address through a floating IP gets its own source translated too, or the answer would go straight
//     to it and not match.
func routerRules(r *routerPlan) ruleset {
	in := nftSet{kind: "map", name: "floating-in", spec: "type ipv4_addr : ipv4_addr;"}
	out := nftSet{kind: "map", name: "floating-out", spec: "type ipv4_addr : ipv4_addr;"}
	inside := nftSet{kind: "set", name: "inside", spec: "type ipv4_addr; flags interval;"}
	inner := map[netip.Addr]bool{}
	for _, f := range r.floating {
		in.add(f.outer.String(), f.inner.String())
		if !inner[f.inner] { // a fixed address with two floating IPs leaves by the first
			out.add(f.inner.String(), f.outer.String())
			inner[f.inner] = true
		}
	}
	for _, p := range r.inside() {
		inside.add(p.String(), "")
	}
	pre := nftChain{name: "prerouting", hook: "type nat hook prerouting priority dstnat; policy accept;"}
	post := nftChain{name: "postrouting", hook: "type nat hook postrouting priority srcnat; policy accept;"}
	if r.gateway != nil {
		gw := quote(r.gateway.dev)
		pre.rules = append(pre.rules, "dnat to ip daddr map @floating-in")
		post.rules = append(post.rules,
			"oifname "+gw+" snat to ip saddr map @floating-out",
			"ct status dnat ip saddr @inside snat to ip saddr map @floating-out")
		if own := r.gateway.v4(); own.IsValid() && r.snat {
			post.rules = append(post.rules,
				"oifname "+gw+" ip saddr @inside snat to "+own.String(),
				"ct status dnat ip saddr @inside snat to "+own.String())
		}
	}
	return ruleset{{family: "ip", name: tableName, sets: []nftSet{in, out, inside}, chains: []nftChain{pre, post}}}
}

// inside are the subnets behind the router: those of its inner legs and what its static routes lead to. The default route is not one.
func (r *routerPlan) inside() []netip.Prefix {
	var out []netip.Prefix
	for _, l := range r.legs {
		if l == r.gateway {
			continue
		}
		for _, c := range l.cidrs {
			if c.Addr().Is4() {
				out = append(out, c.Masked())
			}
		}
	}
	for _, x := range r.routes {
		viaGateway := r.gateway != nil && slices.ContainsFunc(r.gateway.cidrs, func(c netip.Prefix) bool { return c.Contains(x.via) })
		if x.dst.Addr().Is4() && x.dst.Bits() > 0 && !viaGateway {
			out = append(out, x.dst)
		}
	}
	return outermost(out)
}

// v4 is the leg's first IPv4 address.
func (l *legPlan) v4() netip.Addr {
	for _, c := range l.cidrs {
		if c.Addr().Is4() {
			return c.Addr()
		}
	}
	return netip.Addr{}
}

func v4Prefixes(subnets []subnetPlan) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range subnets {
		if s.prefix.Addr().Is4() {
			out = append(out, s.prefix)
		}
	}
	return out
}
