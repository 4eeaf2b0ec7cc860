// Package linux is the data plane on a Linux kernel: bridges, taps, VXLAN, network namespaces, nftables, NAT, DHCP and metadata.
//
// How a host looks:
//
//	root namespace            nph-<net>  the external subnet's gateway address; table ip nephos_<instance> (masquerade)
//	                              │ veth
//	nephos-<instance>         br-<net> ── tap<port> …   one bridge per network, one tap per guest port, vx-<net> to other hosts,
//	  (the fabric)                │ veth                 the DHCP address and 169.254.169.254 on the bridge, all filtering
//	nephos-<instance>-r<id>   rp<port> …                 one namespace per router: forwarding, SNAT, floating IPs
//
// Every device says whose it is in its alias ("nephos port <id> 7"), a namespace in the alias of its lo. The numbers there
// (conntrack zone of a network, mark of a port) are thereby as durable as the device: a new process adopts both.
//
// Filtering. Family bridge ties each tap to its MAC, addresses and allowed pairs, and marks frames with the source port's number on the way in
// and the destination port's on the way out. br_netfilter then shows the same packets to family inet, where the mark selects the port's
// profile (the rules of its set of groups): the sender's egress rules in prerouting, the receiver's ingress rules in forward. Each network
// is a conntrack zone of its own, so overlapping addresses never meet. Mid-stream pick-up of TCP is off, so that a connection whose
// entry was deleted (rule taken away) stays dead.
//
// Pure parts, with golden tests: plan.go (document → names, numbers, parsed pieces), ruleset.go, fabricrules.go, routerrules.go,
// hostrules.go (plan → nft text), evaluate.go (would this flow be let in now).
//
// Goroutines: Plane.render, one while documents wait, owned by Plane and ended by Close; for each network one DHCP and one
// metadata accept loop, owned by services and ended when the network goes or at Close. A namespace is entered only inside namespace.do,
// on a locked OS thread, for as long as it takes to open a socket or start nft; nothing else of the process runs in one.
//
// Never here: QEMU, instances, what metadata says, which host a port belongs to.
package linux
