package metadata

import (
	"fmt"
	"net"
	"net/netip"

	"nephos/internal/hostapi"
)

// networkData is network_data.json (Nova's netutils.get_network_metadata; read by cloud-init's openstack network converter).
type networkData struct {
	Links    []link    `json:"links"`
	Networks []netconf `json:"networks"`
	Services []service `json:"services"`
}

type link struct {
	ID    string `json:"id"`
	VIFID string `json:"vif_id"`
	Type  string `json:"type"`
	MTU   *int   `json:"mtu"`
	MAC   string `json:"ethernet_mac_address"`
}

// netconf is one address of one link. With DHCP it has no address: the guest shall ask.
type netconf struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	Link      string    `json:"link"`
	IP        string    `json:"ip_address,omitempty"`
	Netmask   string    `json:"netmask,omitempty"`
	Routes    *[]route  `json:"routes,omitempty"`
	NetworkID string    `json:"network_id"`
	Gateway   string    `json:"gateway,omitempty"`
	Services  []service `json:"services,omitempty"`
}

type route struct {
	Network string `json:"network"`
	Netmask string `json:"netmask"`
	Gateway string `json:"gateway"`
}

type service struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// NetworkData renders network_data.json.
func NetworkData(s *hostapi.InstanceSpec) []byte {
	d := networkData{Links: []link{}, Networks: []netconf{}, Services: []service{}}
	seen := map[string]bool{}
	for _, n := range s.NICs {
		l := link{ID: tapName(n.PortID), VIFID: n.PortID, Type: "bridge", MAC: n.Port.MAC}
		if n.Network.MTU > 0 {
			l.MTU = &n.Network.MTU
		}
		d.Links = append(d.Links, l)
		for _, a := range n.Port.Addresses {
			sub, ok := subnet(n.Network, a.SubnetID)
			if !ok {
				continue
			}
			d.Networks = append(d.Networks, netFor(fmt.Sprintf("network%d", len(d.Networks)), l.ID, n.Network.ID, a, sub))
			for _, dns := range sub.DNS {
				if !seen[dns] {
					seen[dns] = true
					d.Services = append(d.Services, service{"dns", dns})
				}
			}
		}
	}
	return encode(d)
}

// tapName is the name Neutron gives a port's interface; guests read it only as an id that joins links and networks.
func tapName(port string) string { return "tap" + port[:min(11, len(port))] }

func subnet(n hostapi.NetworkSpec, id string) (hostapi.SubnetSpec, bool) {
	for _, s := range n.Subnets {
		if s.ID == id {
			return s, true
		}
	}
	return hostapi.SubnetSpec{}, false
}

func netFor(id, linkID, networkID string, a hostapi.Address, s hostapi.SubnetSpec) netconf {
	n := netconf{ID: id, Link: linkID, NetworkID: networkID, Type: "ipv4"}
	if s.IPVersion == 6 {
		n.Type = "ipv6"
	}
	if s.DHCP {
		n.Type += "_dhcp"
		return n
	}
	n.IP, n.Netmask, n.Gateway = a.IP, netmask(s.CIDR), s.Gateway
	routes := []route{}
	if s.Gateway != "" {
		all := "0.0.0.0"
		if s.IPVersion == 6 {
			all = "::"
		}
		routes = append(routes, route{all, all, s.Gateway})
	}
	for _, r := range s.HostRoutes {
		if p, err := netip.ParsePrefix(r.Destination); err == nil {
			routes = append(routes, route{p.Addr().String(), netmask(r.Destination), r.NextHop})
		}
	}
	n.Routes = &routes
	for _, dns := range s.DNS {
		n.Services = append(n.Services, service{"dns", dns})
	}
	return n
}

// netmask of a prefix in address form: 255.255.255.0, ffff:ffff:ffff:ffff::. Empty for what is no prefix.
func netmask(cidr string) string {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return ""
	}
	return net.IP(net.CIDRMask(p.Bits(), p.Addr().BitLen())).String()
}
