package dataplane

import (
	"net/netip"
	"testing"

	"nephos/internal/hostapi"
)

func TestDirectory(t *testing.T) {
	t.Parallel()
	dir := NewDirectory(hostapi.NetworkDocument{Ports: []hostapi.PortSpec{
		{ID: "p1", NetworkID: "a", ServerID: "s1", Addresses: []hostapi.Address{{IP: "10.0.0.5"}, {IP: "fd00::5"}, {IP: "broken"}}},
		{ID: "p2", NetworkID: "b", ServerID: "s2", Addresses: []hostapi.Address{{IP: "10.0.0.5"}}},
	}})
	for _, c := range []struct{ network, addr, port string }{
		{"a", "10.0.0.5", "p1"}, {"b", "10.0.0.5", "p2"}, {"a", "::ffff:10.0.0.5", "p1"}, {"a", "fd00::5", "p1"}, {"b", "fd00::5", ""}, {"c", "10.0.0.5", ""},
	} {
		g, ok := dir.Find(c.network, netip.MustParseAddr(c.addr))
		if g.PortID != c.port || ok != (c.port != "") {
			t.Errorf("%s on %s: %+v %v, want %q", c.addr, c.network, g, ok, c.port)
		}
	}
	var none *Directory
	if _, ok := none.Find("a", netip.MustParseAddr("10.0.0.5")); ok {
		t.Error("an empty directory finds someone")
	}
}

func TestGuestTravelsInTheContext(t *testing.T) {
	t.Parallel()
	if _, _, ok := PortFromContext(t.Context()); ok {
		t.Error("a plain context has a port")
	}
	port, server, ok := PortFromContext(WithGuest(t.Context(), Guest{PortID: "p", ServerID: "s"}))
	if port != "p" || server != "s" || !ok {
		t.Errorf("%s %s %v", port, server, ok)
	}
}
