package linux

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
)

// tableName is the name of nephos's tables inside its own namespaces.
const tableName = "nephos"

// fabricRules renders the fabric's tables. Pure.
func fabricRules(p *plan) ruleset {
	return ruleset{bridgeTable(p), filterTable(p)}
}

// bridgeTable ties taps to what they may send (prerouting), and marks frames with the numbers of sender and receiver.
// Frames of a port without port security pass unmarked, so that no profile applies to them.
func bridgeTable(p *plan) nftTable {
	secured := nftSet{kind: "map", name: "from-mark", spec: "type ifname : mark;"}
	out := nftSet{kind: "map", name: "to-mark", spec: "type ifname : mark;"}
	eth := nftSet{kind: "set", name: "eth-source", spec: "type ifname . ether_addr;"}
	ip4 := nftSet{kind: "set", name: "ip4-source", spec: "type ifname . ether_addr . ipv4_addr;"}
	ip6 := nftSet{kind: "set", name: "ip6-source", spec: "type ifname . ether_addr . ipv6_addr;"}
	net4 := nftSet{kind: "set", name: "net4-source", spec: "type ifname . ether_addr . ipv4_addr; flags interval;"}
	net6 := nftSet{kind: "set", name: "net6-source", spec: "type ifname . ether_addr . ipv6_addr; flags interval;"}
	for _, port := range p.ports {
		if !port.secured {
			continue
		}
		mark := fmt.Sprintf("0x%04x", port.mark)
		secured.add(quote(port.dev), mark)
		out.add(quote(port.dev), mark)
		for _, s := range port.sources() {
			key := quote(port.dev) + " . " + s.mac
			switch {
			case !s.prefix.IsValid():
				eth.add(key, "")
			case s.prefix.IsSingleIP() && s.prefix.Addr().Is4():
				ip4.add(key+" . "+s.prefix.Addr().String(), "")
			case s.prefix.IsSingleIP():
				ip6.add(key+" . "+s.prefix.Addr().String(), "")
			case s.prefix.Addr().Is4():
				net4.add(key+" . "+s.prefix.String(), "")
			default:
				net6.add(key+" . "+s.prefix.String(), "")
			}
		}
	}
	t := nftTable{family: "bridge", name: tableName, sets: []nftSet{secured, out, eth, ip4, ip6, net4, net6}}
	t.sets = append(t.sets, tunnelSets(p)...)
	t.chains = []nftChain{
		{name: "guest-arp", rules: []string{
			"iifname . arp saddr ether . arp saddr ip @ip4-source accept",
			"iifname . arp saddr ether . arp saddr ip @net4-source accept",
			"arp operation request arp saddr ip 0.0.0.0 iifname . arp saddr ether @eth-source accept comment \"address probe, RFC 5227\"",
			"drop",
		}},
		{name: "guest-ip4", rules: []string{
			"udp sport 67 udp dport 68 drop comment \"a guest is no DHCP server\"",
			"ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
			"iifname . ether saddr . ip saddr @ip4-source accept",
			"iifname . ether saddr . ip saddr @net4-source accept",
			"drop",
		}},
		{name: "guest-ip6", rules: []string{
			"icmpv6 type nd-router-advert drop comment \"a guest is no router of its network\"",
			"udp sport 547 udp dport 546 drop",
			"ip6 saddr :: icmpv6 type { 131, 132, 135, 143 } accept comment \"address probe and group reports, RFC 4862\"",
			"iifname . ether saddr . ip6 saddr @ip6-source accept",
			"iifname . ether saddr . ip6 saddr @net6-source accept",
			"drop",
		}},
		{name: "guest", rules: []string{
			"iifname . ether saddr != @eth-source drop",
			"ether type arp goto guest-arp",
			"ether type ip goto guest-ip4",
			"ether type ip6 goto guest-ip6",
			"drop",
		}},
		{name: "from-port", hook: "type filter hook prerouting priority -300; policy accept;", rules: []string{
			"meta mark set 0x0",
			"meta mark set iifname map @from-mark",
			"meta mark != 0x0 goto guest",
		}},
		{name: "to-port", hook: "type filter hook forward priority -200; policy accept;", rules: []string{
			"oifname . arp daddr ip @local-services drop comment \"each host answers for the service addresses itself\"",
			"oifname @local-dhcp udp sport 68 udp dport 67 drop",
			"meta mark set 0x0",
			"meta mark set oifname map @to-mark",
		}},
		{name: "from-host", hook: "type filter hook output priority -200; policy accept;", rules: []string{
			"oifname . ether saddr @local-macs drop",
		}},
	}
	limitPorts(p, &t)
	return t
}

// tunnelSets keep the service addresses of a network on their own host: every host has the same bridge MAC and DHCP address there.
func tunnelSets(p *plan) []nftSet {
	services := nftSet{kind: "set", name: "local-services", spec: "type ifname . ipv4_addr;"}
	dhcp := nftSet{kind: "set", name: "local-dhcp", spec: "type ifname;"}
	macs := nftSet{kind: "set", name: "local-macs", spec: "type ifname . ether_addr;"}
	for _, n := range p.networks {
		if n.tunnel == "" {
			continue
		}
		macs.add(quote(n.tunnel)+" . "+n.mac.String(), "")
		services.add(quote(n.tunnel)+" . 169.254.169.254", "")
		if n.hasDHCP() {
			dhcp.add(quote(n.tunnel), "")
		}
		for _, a := range n.services() {
			services.add(quote(n.tunnel)+" . "+a.Addr().String(), "")
		}
	}
	return []nftSet{services, dhcp, macs}
}

type source struct {
	mac    string
	prefix netip.Prefix // invalid: the MAC alone
}

// sources lists all a port may send from: MACs, and MAC with address, without duplicates and without overlaps (an address inside one of
// the port's own prefixes may still be listed: the two are in different sets).
func (p *portPlan) sources() []source {
	var out []source
	add := func(s source) {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	byMAC := map[string][]netip.Prefix{}
	own := p.mac.String()
	byMAC[own] = append(byMAC[own], linkLocal(p.mac))
	for _, a := range p.addrs {
		byMAC[own] = append(byMAC[own], netip.PrefixFrom(a, a.BitLen()))
	}
	for _, pair := range p.pairs {
		m := pair.mac.String()
		if byMAC[m] == nil {
			byMAC[m] = append(byMAC[m], linkLocal(pair.mac))
		}
		byMAC[m] = append(byMAC[m], pair.prefix)
	}
	for _, m := range slices.Sorted(maps.Keys(byMAC)) {
		add(source{mac: m})
		var wide []netip.Prefix
		for _, x := range byMAC[m] {
			if x.IsSingleIP() {
				add(source{m, x})
			} else {
				wide = append(wide, x)
			}
		}
		for _, x := range outermost(wide) {
			add(source{m, x})
		}
	}
	return out
}

// linkLocal is the address that a MAC gives by EUI-64 (RFC 4291, appendix A).
func linkLocal(mac []byte) netip.Prefix {
	a := [16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]}
	return netip.PrefixFrom(netip.AddrFrom16(a), 128)
}

// filterTable holds the security groups. Established traffic passes by the connection's entry; each profile is the set of groups of
// some ports.
func filterTable(p *plan) nftTable {
	zones := nftSet{kind: "map", name: "zones", spec: "typeof iifname : ct zone;"}
	from := nftSet{kind: "map", name: "from-port", spec: "type mark : verdict;"}
	to := nftSet{kind: "map", name: "to-port", spec: "type mark : verdict;"}
	for _, n := range p.networks {
		zones.add(quote(n.bridge), strconv.Itoa(int(n.zone)))
	}
	profiles := map[string][]string{}
	for _, port := range p.ports {
		if port.secured {
			mark := fmt.Sprintf("0x%04x", port.mark)
			from.add(mark, "jump "+port.profile+"-out")
			to.add(mark, "jump "+port.profile+"-in")
			profiles[port.profile] = port.groups
		}
	}
	t := nftTable{family: "inet", name: tableName}
	var chains []nftChain
	usedGroups, remotes := map[string]bool{}, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(profiles)) {
		chains = append(chains, profileChain(p, name, profiles[name], true), profileChain(p, name, profiles[name], false))
		for _, g := range profiles[name] {
			usedGroups[g] = true
		}
	}
	var groupChains []nftChain
	for _, id := range slices.Sorted(maps.Keys(usedGroups)) {
		g := p.groups[id]
		in, out := nftChain{name: "g-" + id + "-in"}, nftChain{name: "g-" + id + "-out"}
		for i := range g.rules {
			r := &g.rules[i]
			if r.group != "" {
				remotes[r.group] = true
			}
			if r.egress {
				out.rules = append(out.rules, r.text()...)
			} else {
				in.rules = append(in.rules, r.text()...)
			}
		}
		groupChains = append(groupChains, in, out)
	}
	t.sets = []nftSet{zones}
	for _, id := range slices.Sorted(maps.Keys(remotes)) {
		t.sets = append(t.sets, memberSets(id, p.groups[id])...)
	}
	t.sets = append(t.sets, from, to)
	t.chains = append(fixedChains(), groupChains...)
	t.chains = append(t.chains, chains...)
	t.chains = append(t.chains,
		nftChain{name: "egress", hook: "type filter hook prerouting priority 0; policy accept;", rules: []string{"meta mark vmap @from-port"}},
		nftChain{name: "ingress", hook: "type filter hook forward priority 0; policy accept;", rules: []string{"meta mark vmap @to-port"}})
	return t
}

func fixedChains() []nftChain {
	return []nftChain{
		{name: "zone-in", hook: "type filter hook prerouting priority -300; policy accept;", rules: []string{"ct zone set iifname map @zones"}},
		{name: "zone-out", hook: "type filter hook output priority -300; policy accept;", rules: []string{"ct zone set oifname map @zones"}},
		{name: "host", hook: "type filter hook input priority 0; policy drop;", rules: []string{
			"iifname \"lo\" accept",
			"udp dport 67 accept",
			"ip daddr 169.254.169.254 tcp dport 80 accept",
			"icmp type echo-request accept",
			"ct state established,related accept",
		}},
		{name: "always-out", rules: []string{
			"udp sport 68 udp dport 67 accept",
			"udp sport 546 udp dport 547 accept",
			"ip daddr 169.254.169.254 tcp dport 80 accept",
			"icmpv6 type { 130, 131, 132, 133, 135, 136, 143 } accept",
		}},
		{name: "always-in", rules: []string{
			"udp sport 67 udp dport 68 accept",
			"udp sport 547 udp dport 546 accept",
			"icmpv6 type { 130, 131, 132, 134, 135, 136, 143 } accept",
		}},
	}
}

// profileChain judges one direction for ports with these groups. One stateless group makes the whole port stateless: replies then need a
// rule of their own, as Neutron documents for stateless groups.
func profileChain(p *plan, name string, groups []string, egress bool) nftChain {
	dir := "in"
	if egress {
		dir = "out"
	}
	c := nftChain{name: name + "-" + dir}
	if !slices.ContainsFunc(groups, func(g string) bool { return !p.groups[g].stateful }) {
		c.rules = append(c.rules, "ct state established,related accept")
	}
	c.rules = append(c.rules, "jump always-"+dir)
	if len(c.rules) == 2 {
		c.rules = append(c.rules, "ct state invalid drop")
	}
	for _, g := range groups {
		c.rules = append(c.rules, "jump g-"+g+"-"+dir)
	}
	c.rules = append(c.rules, "drop")
	return c
}

// memberSets are the addresses of a remote group: the exact ones in hash sets, prefixes (from allowed address pairs) in interval sets.
// g is nil when the document does not have the group: then nobody is in it.
func memberSets(id string, g *groupPlan) []nftSet {
	m4 := nftSet{kind: "set", name: "m4-" + id, spec: "type ipv4_addr;"}
	m6 := nftSet{kind: "set", name: "m6-" + id, spec: "type ipv6_addr;"}
	n4 := nftSet{kind: "set", name: "n4-" + id, spec: "type ipv4_addr; flags interval;"}
	n6 := nftSet{kind: "set", name: "n6-" + id, spec: "type ipv6_addr; flags interval;"}
	if g != nil {
		for _, a := range slices.SortedFunc(maps.Keys(g.addrs), netip.Addr.Compare) {
			if a.Is4() {
				m4.add(a.String(), "")
			} else {
				m6.add(a.String(), "")
			}
		}
		for _, x := range g.prefixes {
			if x.Addr().Is4() {
				n4.add(x.String(), "")
			} else {
				n6.add(x.String(), "")
			}
		}
	}
	return []nftSet{m4, n4, m6, n6}
}

// text renders one rule; with a remote group two, one for each of its sets.
func (r *rulePlan) text() []string {
	head, ip, nets := "meta nfproto ipv4 ", "ip", "4"
	if r.v6 {
		head, ip, nets = "meta nfproto ipv6 ", "ip6", "6"
	}
	side := "saddr"
	if r.egress {
		side = "daddr"
	}
	if r.prefix.IsValid() {
		head = fmt.Sprintf("%s %s %s ", ip, side, r.prefix)
	}
	tail := ""
	if r.proto >= 0 {
		tail = fmt.Sprintf("meta l4proto %d ", r.proto)
	}
	switch {
	case r.hasPorts() && r.lo == r.hi && r.lo >= 0:
		tail += fmt.Sprintf("th dport %d ", r.lo)
	case r.hasPorts() && r.lo >= 0:
		tail += fmt.Sprintf("th dport %d-%d ", r.lo, r.hi)
	case r.proto == 1 || r.proto == 58:
		name := map[int]string{1: "icmp", 58: "icmpv6"}[r.proto]
		if r.lo >= 0 {
			tail += fmt.Sprintf("%s type %d ", name, r.lo)
		}
		if r.hi >= 0 {
			tail += fmt.Sprintf("%s code %d ", name, r.hi)
		}
	}
	if r.group == "" {
		return []string{head + tail + "accept"}
	}
	return []string{
		fmt.Sprintf("%s%s %s @m%s-%s %saccept", head, ip, side, nets, r.group, tail),
		fmt.Sprintf("%s%s %s @n%s-%s %saccept", head, ip, side, nets, r.group, tail),
	}
}

func quote(s string) string { return `"` + s + `"` }

// services are the DHCP addresses of the network, each with its subnet's length.
func (n *netPlan) services() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range n.subnets {
		if s.server.IsValid() {
			out = append(out, netip.PrefixFrom(s.server, s.prefix.Bits()))
		}
	}
	return out
}

func (n *netPlan) hasDHCP() bool { return len(n.services()) > 0 }
