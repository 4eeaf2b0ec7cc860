package dhcp

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var (
	client = net.HardwareAddr{0xfa, 0x16, 0x3e, 0, 0, 1}
	server = netip.MustParseAddr("10.0.0.2")
)

func table() *Table {
	offer := func(ip string) Offer {
		return Offer{Address: netip.MustParseAddr(ip), Subnet: netip.MustParsePrefix("10.0.0.0/22"), Server: server, Gateway: netip.MustParseAddr("10.0.0.1"),
			DNS:    []netip.Addr{netip.MustParseAddr("10.0.0.53")},
			Routes: []Route{{netip.MustParsePrefix("169.254.169.254/32"), server}}}
	}
	return &Table{MTU: 1450, Domain: "example.test", Hosts: map[MAC]Host{
		MAC(client): {Hostname: "web", Offers: []Offer{offer("10.0.0.5"), offer("10.0.0.6")},
			Options: map[string]string{"tftp-server": "10.0.0.9", "150": "10.0.0.9", "bogus": "x", "router": "not an address"}},
	}}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	ip := func(s string) net.IP { return net.ParseIP(s).To4() }
	for name, c := range map[string]struct {
		kind  dhcpv4.MessageType
		mods  []dhcpv4.Modifier
		want  dhcpv4.MessageType // none: silence
		yours string
	}{
		"discover":                {dhcpv4.MessageTypeDiscover, nil, dhcpv4.MessageTypeOffer, "10.0.0.5"},
		"discover with a wish":    {dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip("10.0.0.6")))}, dhcpv4.MessageTypeOffer, "10.0.0.6"},
		"discover, foreign wish":  {dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip("10.9.9.9")))}, dhcpv4.MessageTypeOffer, "10.0.0.5"},
		"select":                  {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip("10.0.0.5"))), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip("10.0.0.2")))}, dhcpv4.MessageTypeAck, "10.0.0.5"},
		"select of another":       {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip("10.0.0.5"))), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(ip("10.0.0.77")))}, dhcpv4.MessageTypeNone, ""},
		"reboot":                  {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip("10.0.0.5")))}, dhcpv4.MessageTypeAck, "10.0.0.5"},
		"reboot, another network": {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip("192.168.1.5")))}, dhcpv4.MessageTypeNak, "0.0.0.0"},
		"renew":                   {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{dhcpv4.WithClientIP(ip("10.0.0.6"))}, dhcpv4.MessageTypeAck, "10.0.0.6"},
		"renew of a lost address": {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{dhcpv4.WithClientIP(ip("10.0.0.7"))}, dhcpv4.MessageTypeNak, "0.0.0.0"},
		"request of nothing":      {dhcpv4.MessageTypeRequest, nil, dhcpv4.MessageTypeNak, "0.0.0.0"},
		"inform":                  {dhcpv4.MessageTypeInform, []dhcpv4.Modifier{dhcpv4.WithClientIP(ip("10.0.0.5"))}, dhcpv4.MessageTypeAck, "0.0.0.0"},
		"decline":                 {dhcpv4.MessageTypeDecline, nil, dhcpv4.MessageTypeNone, ""},
		"release":                 {dhcpv4.MessageTypeRelease, nil, dhcpv4.MessageTypeNone, ""},
		"unknown client":          {dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, 9})}, dhcpv4.MessageTypeNone, ""},
		"relayed":                 {dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{dhcpv4.WithGatewayIP(ip("10.0.0.1"))}, dhcpv4.MessageTypeNone, ""},
		"a reply":                 {dhcpv4.MessageTypeOffer, []dhcpv4.Modifier{func(d *dhcpv4.DHCPv4) { d.OpCode = dhcpv4.OpcodeBootReply }}, dhcpv4.MessageTypeNone, ""},
	} {
		req, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(client), dhcpv4.WithMessageType(c.kind)}, c.mods...)...)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := Answer(table(), req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if resp == nil {
			if c.want != dhcpv4.MessageTypeNone {
				t.Errorf("%s: silence", name)
			}
			continue
		}
		if resp.MessageType() != c.want || resp.YourIPAddr.String() != c.yours {
			t.Errorf("%s: %s %s, want %s %s", name, resp.MessageType(), resp.YourIPAddr, c.want, c.yours)
		}
		if lease := resp.IPAddressLeaseTime(0); (lease == LeaseTime) != (c.want == dhcpv4.MessageTypeOffer || c.want == dhcpv4.MessageTypeAck && c.kind != dhcpv4.MessageTypeInform) {
			t.Errorf("%s: lease time %v", name, lease)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	req, err := dhcpv4.NewDiscovery(client)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Answer(table(), req)
	if err != nil || r == nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"mask":      {net.IP(r.SubnetMask()).String(), "255.255.252.0"},
		"broadcast": {r.BroadcastAddress().String(), "10.0.3.255"},
		"router":    {r.Router()[0].String(), "10.0.0.1"},
		"dns":       {r.DNS()[0].String(), "10.0.0.53"},
		"hostname":  {r.HostName(), "web"},
		"domain":    {r.DomainName(), "example.test"},
		"tftp":      {r.TFTPServerName(), "10.0.0.9"},
		"option150": {net.IP(r.Options.Get(dhcpv4.GenericOptionCode(150))).String(), "10.0.0.9"},
		"mtu":       {string(r.Options.Get(dhcpv4.OptionInterfaceMTU)), string([]byte{1450 >> 8, 1450 & 0xff})},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	routes := r.ClasslessStaticRoute()
	if len(routes) != 2 || routes[0].String() != "route to 169.254.169.254/32 via 10.0.0.2" || routes[1].String() != "route to 0.0.0.0/0 via 10.0.0.1" {
		t.Errorf("routes %v", routes)
	}
}

// frames collects what a server sends.
type frames chan []byte

func (f frames) WriteFrame(b []byte) error { f <- b; return nil }

// TestServer runs the loop over loopback UDP and takes the frame apart.
func TestServer(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := make(frames, 1)
	s := NewServer(conn, out, MAC{2, 0, 0, 0, 0, 2}, &Table{}, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- s.Serve() }()
	s.SetTable(table())
	peer, err := net.Dial("udp4", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	req, err := dhcpv4.NewDiscovery(client)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{{1, 2, 3}, req.ToBytes()} { // rubbish is passed over
		if _, err := peer.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	var f []byte
	select {
	case f = <-out:
	case <-time.After(5 * time.Second):
		t.Fatal("no answer")
	}
	if got := net.HardwareAddr(f[6:12]).String(); got != "02:00:00:00:00:02" {
		t.Errorf("sent from %s", got)
	}
	if sum(0, f[14:34]) != 0xffff {
		t.Error("IPv4 checksum is wrong")
	}
	pseudo := append(append([]byte{}, f[26:34]...), 0, 17, f[38], f[39])
	if sum(uint32(sum(0, pseudo)), f[34:]) != 0xffff {
		t.Error("UDP checksum is wrong")
	}
	if resp, err := dhcpv4.FromBytes(f[42:]); err != nil || resp.TransactionID != req.TransactionID {
		t.Errorf("payload: %v %v", resp, err)
	}
	conn.Close()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}

func TestFrameDestination(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mods    []dhcpv4.Modifier
		mac, ip string
	}{
		"no address yet": {nil, client.String(), "10.0.0.5"},
		"broadcast flag": {[]dhcpv4.Modifier{dhcpv4.WithBroadcast(true)}, "ff:ff:ff:ff:ff:ff", "255.255.255.255"},
		"renewal":        {[]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithClientIP(net.IPv4(10, 0, 0, 5))}, client.String(), "10.0.0.5"},
		"nak":            {[]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest), dhcpv4.WithClientIP(net.IPv4(10, 0, 0, 77))}, "ff:ff:ff:ff:ff:ff", "255.255.255.255"},
	} {
		req, err := dhcpv4.NewDiscovery(client, c.mods...)
		if err != nil {
			t.Fatal(err)
		}
		req.SetUnicast()
		if name == "broadcast flag" {
			req.SetBroadcast()
		}
		resp, err := Answer(table(), req)
		if err != nil || resp == nil {
			t.Fatalf("%s: %v", name, err)
		}
		f := Frame(MAC{}, req, resp)
		if got := net.HardwareAddr(f[:6]).String(); got != c.mac {
			t.Errorf("%s: to %s, want %s", name, got, c.mac)
		}
		if got := net.IP(f[30:34]).String(); got != c.ip {
			t.Errorf("%s: to %s, want %s", name, got, c.ip)
		}
	}
}
