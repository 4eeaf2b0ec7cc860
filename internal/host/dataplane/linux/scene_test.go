package linux

import (
	"crypto/sha256"
	"fmt"

	"nephos/internal/hostapi"
)

// id makes a uuid-like id from a name, the same each time.
func id(name string) string {
	h := fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:32]
}

func mac(name string) string {
	h := sha256.Sum256([]byte(name))
	return fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", h[0], h[1], h[2])
}

func network(name, cidr, gateway, server string) hostapi.NetworkSpec {
	return hostapi.NetworkSpec{ID: id(name), Name: name, MTU: 1450, PortSecurity: true, Subnets: []hostapi.SubnetSpec{{
		ID: id(name + "-sub"), CIDR: cidr, Gateway: gateway, DHCP: server != "", DHCPServer: server, IPVersion: 4}}}
}

func port(name, network, ip string, groups ...string) hostapi.PortSpec {
	p := hostapi.PortSpec{ID: id(name), NetworkID: id(network), ServerID: id("server-" + name), MAC: mac(name), PortSecurity: true, AdminUp: true,
		DNSName: name, Addresses: []hostapi.Address{{IP: ip, SubnetID: id(network + "-sub")}}}
	for _, g := range groups {
		p.SecurityGroups = append(p.SecurityGroups, id(g))
	}
	return p
}

func intp(n int) *int { return &n }

func rule(g string, dir, proto string, portNo int, prefix, remote string) hostapi.RuleSpec {
	r := hostapi.RuleSpec{ID: id(fmt.Sprint(g, dir, proto, portNo, prefix, remote)), Direction: dir, EtherType: "IPv4", Protocol: proto, RemotePrefix: prefix}
	if portNo > 0 {
		r.PortMin, r.PortMax = intp(portNo), intp(portNo)
	}
	if remote != "" {
		r.RemoteGroup = id(remote)
	}
	return r
}

// group allows all egress, as the API's default does, and the rules.
func group(name string, members []string, rules ...hostapi.RuleSpec) hostapi.SecurityGroupSpec {
	all := append([]hostapi.RuleSpec{
		{ID: id(name + "e4"), Direction: "egress", EtherType: "IPv4"},
		{ID: id(name + "e6"), Direction: "egress", EtherType: "IPv6"},
	}, rules...)
	return hostapi.SecurityGroupSpec{ID: id(name), Rules: all, Members: members, Stateful: true}
}

// scene is the document of most tests. Network a and b have the same addresses; a has a router to the external network.
//
//	a1 10.0.0.11 (web)  a2 10.0.0.12 (client)  a3 10.0.0.3 (closed)   on a, DHCP 10.0.0.2
//	b1 10.0.0.11 (web)  b2 10.0.0.2 (client)                          on b, DHCP 10.0.0.3
//	floating: 198.51.100.11 → a1, 198.51.100.12 → a2
func scene() hostapi.NetworkDocument {
	ext := network("ext", "198.51.100.0/24", "198.51.100.1", "")
	ext.External = true
	a := network("a", "10.0.0.0/24", "10.0.0.1", "10.0.0.2")
	a.Subnets[0].DNS = []string{"198.51.100.53"}
	a.Subnets[0].HostRoutes = []hostapi.Route{{Destination: "10.77.0.0/16", NextHop: "10.0.0.12"}}
	b := network("b", "10.0.0.0/24", "", "10.0.0.3")
	return hostapi.NetworkDocument{
		Revision: 1,
		Networks: []hostapi.NetworkSpec{a, b, ext},
		Ports: []hostapi.PortSpec{
			port("a1", "a", "10.0.0.11", "web"), port("a2", "a", "10.0.0.12", "client"), port("a3", "a", "10.0.0.3", "closed"),
			port("b1", "b", "10.0.0.11", "web"), port("b2", "b", "10.0.0.2", "client"),
		},
		SecurityGroups: []hostapi.SecurityGroupSpec{
			group("web", []string{"10.0.0.11"}, rule("web", "ingress", "icmp", 0, "", "client"), rule("web", "ingress", "tcp", 8080, "", "client"),
				rule("web", "ingress", "tcp", 8081, "", ""), rule("web", "ingress", "tcp", 8082, "198.51.100.0/24", "")),
			group("client", []string{"10.0.0.12", "10.0.0.2"}, rule("client", "ingress", "icmp", 0, "0.0.0.0/0", "")),
			group("closed", []string{"10.0.0.3"}),
		},
		Routers: []hostapi.RouterSpec{{
			ID: id("r"), AdminUp: true,
			Interfaces:  []hostapi.RouterInterface{{PortID: id("r-a"), NetworkID: id("a"), MAC: mac("r-a"), CIDRs: []string{"10.0.0.1/24"}}},
			Gateway:     &hostapi.RouterGateway{PortID: id("r-gw"), NetworkID: id("ext"), MAC: mac("r-gw"), CIDRs: []string{"198.51.100.10/24"}, NextHop: "198.51.100.1", SNAT: true},
			FloatingIPs: []hostapi.FloatingSpec{{ID: id("f1"), Floating: "198.51.100.11", Fixed: "10.0.0.11"}, {ID: id("f2"), Floating: "198.51.100.12", Fixed: "10.0.0.12"}},
		}},
	}
}

// networksOnly is doc without ports: applied first, so that guests can be plugged.
func networksOnly(doc hostapi.NetworkDocument) hostapi.NetworkDocument {
	doc.Ports = nil
	return doc
}
