package linux

import (
	"testing"
)

// TestGuestsByHand walks through what a tenant sees.
func TestScene(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	doc := scene()
	h.apply(networksOnly(doc))
	g := map[string]*guest{}
	for _, p := range doc.Ports {
		g[p.DNSName] = h.plug(p)
	}
	h.apply(doc)

	t.Run("dhcp", func(t *testing.T) {
		for _, x := range g {
			x.dhcp()
			if got := x.ack.YourIPAddr.String(); got != x.port.Addresses[0].IP {
				t.Errorf("%s got %s, want %s", x.port.DNSName, got, x.port.Addresses[0].IP)
			}
		}
		t.Log(g["a1"].ack.Summary())
	})
	t.Run("gateway", func(t *testing.T) {
		if !g["a1"].ping("10.0.0.1", soon) {
			t.Error("a1 does not reach its gateway")
		}
	})
	t.Run("groups", func(t *testing.T) {
		g["a1"].serve(t, 8080)
		g["b1"].serve(t, 8080)
		g["a1"].serve(t, 9999)
		if got := g["a2"].whoami(t, "10.0.0.11", 8080); got != "10.0.0.12" {
			t.Errorf("a1 sees %s", got)
		}
		if got := g["b2"].whoami(t, "10.0.0.11", 8080); got != "10.0.0.2" {
			t.Errorf("b1 sees %s", got)
		}
		if !g["a2"].ping("10.0.0.11", soon) {
			t.Error("remote group rule does not let ping in")
		}
		if _, err := g["a2"].dial("10.0.0.11", 9999, never); err == nil {
			t.Error("a port without a rule is open")
		}
		if _, err := g["a3"].dial("10.0.0.11", 8080, never); err == nil {
			t.Error("a guest outside the remote group gets in")
		}
		if g["a2"].ping("10.0.0.3", never) {
			t.Error("a group without ingress rules lets ping in")
		}
	})
	t.Run("metadata", func(t *testing.T) {
		for _, name := range []string{"a1", "a2", "a3", "b1", "b2"} {
			if got, want := g[name].metadata(t), id(name)+" "+id("server-"+name); got != want {
				t.Errorf("metadata of %s is for %q, want %q", name, got, want)
			}
		}
	})
}
