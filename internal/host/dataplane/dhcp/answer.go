package dhcp

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// LeaseTime is what clients are told; half of it is their renewal time (RFC 2131, 4.4.5). Neutron's default is the same day.
const LeaseTime = 86400 * time.Second

// Table is everything the service of one network knows. It is replaced whole and never changed after it was handed over.
type Table struct {
	Hosts  map[MAC]Host
	Domain string // domain name told to clients; empty: none
	MTU    int    // bytes
}

// MAC is a client's Ethernet address.
type MAC [6]byte

// Host is one known client.
type Host struct {
	Hostname string
	Offers   []Offer           // one for each address; the first is offered
	Options  map[string]string // extra options by name or number, as Neutron's extra_dhcp_opts
}

// Offer is one address with all that goes with its subnet.
type Offer struct {
	Address netip.Addr
	Subnet  netip.Prefix
	Server  netip.Addr // the service's own address on the subnet
	Gateway netip.Addr // zero: none
	DNS     []netip.Addr
	Routes  []Route // classless static routes besides the default route (RFC 3442)
}

// Route is one classless static route.
type Route struct {
	Destination netip.Prefix
	NextHop     netip.Addr
}

// Answer gives the reply to req, or nil where silence is right: an unknown client, a choice of another server, RELEASE and DECLINE
// (the address stays the port's), relayed requests. Known clients that ask for a wrong address get a NAK: this service is the authority
// for them (RFC 2131, 4.3.2).
func Answer(t *Table, req *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	if req.OpCode != dhcpv4.OpcodeBootRequest || len(req.ClientHWAddr) != 6 || (req.GatewayIPAddr != nil && !req.GatewayIPAddr.IsUnspecified()) {
		return nil, nil
	}
	host, known := t.Hosts[MAC(req.ClientHWAddr)]
	if !known || len(host.Offers) == 0 {
		return nil, nil
	}
	asked := address(req.RequestedIPAddress())
	switch req.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return reply(t, &host, pick(host.Offers, asked), req, dhcpv4.MessageTypeOffer)
	case dhcpv4.MessageTypeRequest:
		if asked == (netip.Addr{}) {
			asked = address(req.ClientIPAddr) // RENEWING and REBINDING name it here
		}
		if id := address(req.ServerIdentifier()); id.IsValid() && !slices.ContainsFunc(host.Offers, func(o Offer) bool { return o.Server == id }) {
			return nil, nil
		}
		for i := range host.Offers {
			if host.Offers[i].Address == asked {
				return reply(t, &host, &host.Offers[i], req, dhcpv4.MessageTypeAck)
			}
		}
		return nak(&host.Offers[0], req)
	case dhcpv4.MessageTypeInform:
		return reply(t, &host, pick(host.Offers, address(req.ClientIPAddr)), req, dhcpv4.MessageTypeAck)
	}
	return nil, nil
}

func address(ip net.IP) netip.Addr {
	a, ok := netip.AddrFromSlice(ip)
	if !ok || a.Unmap().IsUnspecified() {
		return netip.Addr{}
	}
	return a.Unmap()
}

func pick(offers []Offer, want netip.Addr) *Offer {
	for i := range offers {
		if offers[i].Address == want {
			return &offers[i]
		}
	}
	return &offers[0]
}

func nak(o *Offer, req *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	r, err := dhcpv4.NewReplyFromRequest(req, dhcpv4.WithMessageType(dhcpv4.MessageTypeNak),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(o.Server.AsSlice())))
	if err == nil {
		r.ClientIPAddr = net.IPv4zero
	}
	return r, err
}

func reply(t *Table, h *Host, o *Offer, req *dhcpv4.DHCPv4, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	r, err := dhcpv4.NewReplyFromRequest(req, dhcpv4.WithMessageType(kind), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(o.Server.AsSlice())))
	if err != nil {
		return nil, err
	}
	r.ServerIPAddr = o.Server.AsSlice()
	if req.MessageType() == dhcpv4.MessageTypeInform {
		r.ClientIPAddr = req.ClientIPAddr // an INFORM gets no address and no lease (RFC 2131, 4.3.5)
	} else {
		r.YourIPAddr = o.Address.AsSlice()
		r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(LeaseTime))
		r.UpdateOption(dhcpv4.OptRenewTimeValue(LeaseTime / 2))
		r.UpdateOption(dhcpv4.OptRebindingTimeValue(LeaseTime * 7 / 8))
	}
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(o.Subnet.Bits(), 32)))
	r.UpdateOption(dhcpv4.OptBroadcastAddress(broadcast(o.Subnet)))
	if o.Gateway.IsValid() {
		r.UpdateOption(dhcpv4.OptRouter(o.Gateway.AsSlice()))
	}
	if len(o.DNS) > 0 {
		ips := make([]net.IP, len(o.DNS))
		for i, d := range o.DNS {
			ips[i] = d.AsSlice()
		}
		r.UpdateOption(dhcpv4.OptDNS(ips...))
	}
	if t.MTU > 0 {
		r.UpdateOption(dhcpv4.Option{Code: dhcpv4.OptionInterfaceMTU, Value: dhcpv4.Uint16(t.MTU)})
	}
	if h.Hostname != "" {
		r.UpdateOption(dhcpv4.OptHostName(h.Hostname))
	}
	if t.Domain != "" {
		r.UpdateOption(dhcpv4.OptDomainName(t.Domain))
	}
	if routes := classless(o); len(routes) > 0 {
		r.UpdateOption(dhcpv4.OptClasslessStaticRoute(routes...))
	}
	for name, value := range h.Options {
		if opt, ok := extraOption(name, value); ok {
			r.UpdateOption(opt)
		}
	}
	return r, nil
}

func broadcast(p netip.Prefix) net.IP {
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	return net.IP(b[:])
}

// classless lists the subnet's routes; a client that reads option 121 ignores the router option, so the default route is among
// them (RFC 3442).
func classless(o *Offer) []*dhcpv4.Route {
	var out []*dhcpv4.Route
	add := func(dst netip.Prefix, via netip.Addr) {
		out = append(out, &dhcpv4.Route{Dest: &net.IPNet{IP: dst.Masked().Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), 32)}, Router: via.AsSlice()})
	}
	hasDefault := false
	for _, r := range o.Routes {
		add(r.Destination, r.NextHop)
		hasDefault = hasDefault || r.Destination.Bits() == 0
	}
	if o.Gateway.IsValid() && !hasDefault {
		add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), o.Gateway)
	}
	return out
}

// optionCodes are the names Neutron users know from dnsmasq.
var optionCodes = map[string]uint8{
	"netmask": 1, "router": 3, "dns-server": 6, "log-server": 7, "hostname": 12, "domain-name": 15, "mtu": 26,
	"ntp-server": 42, "tftp-server": 66, "tftp-server-name": 66, "server-ip-address": 150, "bootfile-name": 67, "path-prefix": 210, "reboot-time": 211,
}

// addressOptions take a list of IPv4 addresses separated by commas; all options not named here are text.
var addressOptions = []uint8{1, 3, 6, 7, 42, 150}

func extraOption(name, value string) (dhcpv4.Option, bool) {
	code, ok := optionCodes[name]
	if !ok {
		n, err := strconv.ParseUint(strings.TrimPrefix(name, "option:"), 10, 8)
		if err != nil || n == 0 || n == 255 {
			return dhcpv4.Option{}, false
		}
		code = uint8(n)
	}
	if code == 26 {
		n, err := strconv.ParseUint(value, 10, 16)
		return dhcpv4.Option{Code: dhcpv4.OptionInterfaceMTU, Value: dhcpv4.Uint16(n)}, err == nil
	}
	if slices.Contains(addressOptions, code) {
		var ips dhcpv4.IPs
		for part := range strings.SplitSeq(value, ",") {
			a, err := netip.ParseAddr(strings.TrimSpace(part))
			if err != nil || !a.Is4() {
				return dhcpv4.Option{}, false
			}
			ips = append(ips, a.AsSlice())
		}
		return dhcpv4.Option{Code: dhcpv4.GenericOptionCode(code), Value: ips}, true
	}
	return dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(code), []byte(value)), true
}
