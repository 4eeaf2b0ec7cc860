package hostapi

import "strings"

// NetworkDocument is the desired networking of one host, whole. The agent merges the NICs of its own instances into it (a document
// written before an instance existed must not take its port away) and makes the host match. What is not in it goes.
type NetworkDocument struct {
	Revision       int64               `json:"revision"` // grows with every committed change that touches the host
	Networks       []NetworkSpec       `json:"networks"`
	Ports          []PortSpec          `json:"ports"` // ports bound to this host
	SecurityGroups []SecurityGroupSpec `json:"security_groups"`
	Routers        []RouterSpec        `json:"routers"`          // routers that run on this host
	Tunnel         *TunnelSpec         `json:"tunnel,omitempty"` // nil on a single host
}

// TunnelSpec joins the networks of several hosts by VXLAN; each network uses its own VNI, unknown destinations flood to the peers.
type TunnelSpec struct {
	LocalIP string   `json:"local_ip"`
	Peers   []string `json:"peers"`
}

// NetworkSpec is one L2 network as this host sees it.
type NetworkSpec struct {
	ID           string       `json:"id"`
	Name         string       `json:"name"`
	ProjectID    string       `json:"project_id"`
	MTU          int          `json:"mtu"`
	VNI          int          `json:"vni"`
	External     bool         `json:"external"` // the bridge is joined to the host's uplink (see the dataplane's configuration)
	PortSecurity bool         `json:"port_security"`
	Subnets      []SubnetSpec `json:"subnets"`
	Revision     int64        `json:"revision"`
}

// SubnetSpec is one subnet; addresses are text (netip.Addr/Prefix forms).
type SubnetSpec struct {
	ID         string   `json:"id"`
	CIDR       string   `json:"cidr"`
	Gateway    string   `json:"gateway,omitempty"`
	DHCP       bool     `json:"dhcp"`
	DHCPServer string   `json:"dhcp_server,omitempty"` // the address the DHCP and metadata service answers from
	DNS        []string `json:"dns,omitempty"`
	HostRoutes []Route  `json:"host_routes,omitempty"`
	IPVersion  int      `json:"ip_version"` // 4 or 6
}

// Route is one static route.
type Route struct {
	Destination string `json:"destination"`
	NextHop     string `json:"nexthop"`
}

// PortSpec is one port bound to this host.
type PortSpec struct {
	ID             string            `json:"id"`
	NetworkID      string            `json:"network_id"`
	ServerID       string            `json:"server_id,omitempty"`
	ProjectID      string            `json:"project_id"`
	MAC            string            `json:"mac"`
	Addresses      []Address         `json:"addresses"`
	AllowedPairs   []Pair            `json:"allowed_pairs,omitempty"`
	SecurityGroups []string          `json:"security_groups,omitempty"` // ids into NetworkDocument.SecurityGroups
	PortSecurity   bool              `json:"port_security"`             // false: no anti-spoofing and no filtering
	AdminUp        bool              `json:"admin_up"`
	DNSName        string            `json:"dns_name,omitempty"`
	DHCPOptions    map[string]string `json:"dhcp_options,omitempty"`
	In             Bandwidth         `json:"in,omitzero"` // what the server that has it may receive and send by it; the agent fills both in from Limits
	Out            Bandwidth         `json:"out,omitzero"`
	Revision       int64             `json:"revision"`
}

// Address is one fixed address of a port.
type Address struct {
	IP       string `json:"ip"`
	SubnetID string `json:"subnet_id"`
}

// Pair is an allowed address pair: IP (address or prefix) and MAC (empty: the port's own).
type Pair struct {
	IP  string `json:"ip"`
	MAC string `json:"mac,omitempty"`
}

// SecurityGroupSpec is one group with its rules and the addresses of all its members on any host (for rules of other groups
// that name it as remote).
type SecurityGroupSpec struct {
	ID      string     `json:"id"`
	Rules   []RuleSpec `json:"rules"`
	Members Addresses  `json:"members"` // sorted, each once
	// MembersAt is the document revision at which the members were read: a MemberChange that is not newer is already in them.
	MembersAt int64 `json:"members_at"`
	Stateful  bool  `json:"stateful"`
}

// MemberChange tells all hosts how the members of a group have changed. A host that keeps no members of the group ignores it. One whose members then do not have
// the Sum has missed a change, and fetches its document.
type MemberChange struct {
	GroupID  string    `json:"group_id"`
	Revision int64     `json:"revision"`
	Added    Addresses `json:"added,omitempty"`
	Removed  Addresses `json:"removed,omitempty"`
	Sum      uint64    `json:"sum"` // SumOf the members after the change
}

// SumOf is a fingerprint of a set of addresses, whatever their order: the sum of their hashes, modulo 2^64. The hash is 64-bit FNV-1a, whose values for texts that differ
// in the last letter lie in steps (those of .4 and .7 add up to those of .2 and .9), and then the finalizer of SplitMix64, which scatters them.
func SumOf(addresses []string) (sum uint64) {
	for _, a := range addresses {
		h := uint64(14695981039346656037)
		for i := range len(a) {
			h = (h ^ uint64(a[i])) * 1099511628211
		}
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		sum += h ^ h>>31
	}
	return sum
}

// Addresses is a list of addresses that travels as one text with spaces between them: a group's thousands of members go to a thousand hosts, and a JSON list of
// them takes ten times as long to read.
type Addresses []string

// MarshalText implements encoding.TextMarshaler.
func (a Addresses) MarshalText() ([]byte, error) { return []byte(strings.Join(a, " ")), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Addresses) UnmarshalText(b []byte) error {
	*a = strings.Fields(string(b))
	return nil
}

// RuleSpec is one security group rule; zero values mean any.
type RuleSpec struct {
	ID           string `json:"id"`
	Direction    string `json:"direction"`          // ingress or egress
	EtherType    string `json:"ethertype"`          // IPv4 or IPv6
	Protocol     string `json:"protocol,omitempty"` // tcp udp icmp icmpv6 … or a number; empty = any
	PortMin      *int   `json:"port_min,omitempty"` // icmp: type
	PortMax      *int   `json:"port_max,omitempty"` // icmp: code
	RemotePrefix string `json:"remote_prefix,omitempty"`
	RemoteGroup  string `json:"remote_group,omitempty"`
}

// RouterSpec is one router with everything it does on this host.
type RouterSpec struct {
	ID          string            `json:"id"`
	AdminUp     bool              `json:"admin_up"`
	Interfaces  []RouterInterface `json:"interfaces"`
	Gateway     *RouterGateway    `json:"gateway,omitempty"`
	FloatingIPs []FloatingSpec    `json:"floating_ips"`
	Routes      []Route           `json:"routes,omitempty"`
	Revision    int64             `json:"revision"`
}

// RouterInterface is an inner leg.
type RouterInterface struct {
	PortID    string   `json:"port_id"`
	NetworkID string   `json:"network_id"`
	MAC       string   `json:"mac"`
	CIDRs     []string `json:"cidrs"` // own address with prefix length, e.g. 10.0.0.1/24
}

// RouterGateway is the outer leg on an external network.
type RouterGateway struct {
	PortID    string   `json:"port_id"`
	NetworkID string   `json:"network_id"`
	MAC       string   `json:"mac"`
	CIDRs     []string `json:"cidrs"`
	NextHop   string   `json:"nexthop,omitempty"`
	SNAT      bool     `json:"snat"`
}

// FloatingSpec maps an outer address one to one to a fixed address.
type FloatingSpec struct {
	ID       string `json:"id"`
	Floating string `json:"floating"`
	Fixed    string `json:"fixed"`
}
