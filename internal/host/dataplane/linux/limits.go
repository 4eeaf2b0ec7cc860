package linux

import (
	"fmt"

	"nephos/internal/hostapi"
)

// leastBurst, in KiB, is the largest packet that a guest hands over at once (segmentation offload): a bucket that never holds it would let none of them pass.
const leastBurst = 64

// limitPorts adds what drops the frames of ports that go beyond their bandwidth, behind the checks of what they may send and before the security groups. Each direction of
// a port has one chain, whichever hook the frames come by, so that they draw on one bucket. The buckets are full again after a render: a guest may then go faster for a second.
func limitPorts(p *plan, t *nftTable) {
	from := nftSet{kind: "map", name: "limits-from", spec: "type ifname : verdict;"}
	to := nftSet{kind: "map", name: "limits-to", spec: "type ifname : verdict;"}
	var chains []nftChain
	for _, port := range p.ports {
		for _, way := range []struct {
			set   *nftSet
			name  string
			limit hostapi.Bandwidth
		}{{&from, "from-" + port.dev, port.spec.Out}, {&to, "to-" + port.dev, port.spec.In}} {
			if way.limit.Average > 0 {
				way.set.add(quote(port.dev), "jump "+way.name)
				chains = append(chains, nftChain{name: way.name, rules: bandwidthRules(way.limit)})
			}
		}
	}
	if len(chains) == 0 {
		return
	}
	t.sets = append(t.sets, from, to)
	t.chains = append(t.chains, chains...)
	t.chains = append(t.chains,
		nftChain{name: "limit-from", hook: "type filter hook prerouting priority -250; policy accept;", rules: []string{"iifname vmap @limits-from"}},
		nftChain{name: "limit-to", hook: "type filter hook forward priority -150; policy accept;", rules: []string{"oifname vmap @limits-to"}},
		nftChain{name: "limit-to-own", hook: "type filter hook output priority -150; policy accept;", rules: []string{"oifname vmap @limits-to"}})
}

// bandwidthRules are the buckets of one direction. The kernel's bucket holds what the rate brings in a second, and the burst.
func bandwidthRules(b hostapi.Bandwidth) []string {
	rule := func(rate, burst int64) string {
		return fmt.Sprintf("limit rate over %d kbytes/second burst %d kbytes drop", rate, max(burst, leastBurst))
	}
	rules := []string{rule(b.Average, b.Burst)}
	if b.Peak > 0 {
		rules = append(rules, rule(b.Peak, 0))
	}
	return rules
}
