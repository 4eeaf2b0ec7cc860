package linux

// hostRules renders the one table in the root namespace: external addresses leave the machine as the uplink's. Pure.
func hostRules(cfg *Config, p *plan) ruleset {
	from := nftSet{kind: "set", name: "external", spec: "type ipv4_addr; flags interval;"}
	ends := nftSet{kind: "set", name: "links", spec: "type ifname;"}
	var all []subnetPlan
	for _, n := range p.networks {
		if n.hostEnd == "" {
			continue
		}
		ends.add(quote(n.hostEnd), "")
		all = append(all, n.subnets...)
	}
	for _, x := range outermost(v4Prefixes(all)) {
		from.add(x.String(), "")
	}
	return ruleset{{family: "ip", name: cfg.hostTable(), sets: []nftSet{from, ends}, chains: []nftChain{{
		name: "postrouting", hook: "type nat hook postrouting priority srcnat; policy accept;",
		rules: []string{"oifname != @links ip saddr @external masquerade"},
	}}}}
}
