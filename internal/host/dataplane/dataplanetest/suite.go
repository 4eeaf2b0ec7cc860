package dataplanetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"nephos/internal/fault"
	"nephos/internal/host/dataplane"
	"nephos/internal/hostapi"
)

// Run runs the suite. newHost makes an empty host; what it returns starts one agent process after another on that host. The suite closes
// the planes it starts; newHost cleans up the host.
func Run(t *testing.T, newHost func(t *testing.T) (start func() dataplane.Plane)) {
	for name, test := range map[string]func(*testing.T, func() dataplane.Plane){
		"makes what the document says":        makes,
		"removes what is not in it":           removes,
		"opens taps":                          opensTaps,
		"a bad piece does not stop the rest":  badPiece,
		"a new process adopts and cleans up":  adopts,
		"the newest of many documents counts": newestCounts,
		"an ended context ends the wait":      endedContext,
		"close leaves everything up":          closeLeaves,
		"destroy leaves nothing":              destroys,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newHost(t))
		})
	}
}

// uuid makes an id that differs in its first characters.
func uuid(kind, n int) string { return fmt.Sprintf("%04x%04x-1111-4222-8333-%012x", kind, n, n) }

// Document is a network with a router and n ports, as the suite uses it; other tests may too.
func Document(revision int64, n int) hostapi.NetworkDocument {
	sub := hostapi.SubnetSpec{ID: uuid(2, 0), CIDR: "10.0.0.0/16", Gateway: "10.0.0.1", DHCP: true, DHCPServer: "10.0.0.2", IPVersion: 4}
	doc := hostapi.NetworkDocument{
		Revision: revision,
		Networks: []hostapi.NetworkSpec{{ID: uuid(1, 0), Name: "net", MTU: 1450, PortSecurity: true, Subnets: []hostapi.SubnetSpec{sub}}},
		SecurityGroups: []hostapi.SecurityGroupSpec{{ID: uuid(3, 0), Stateful: true, Rules: []hostapi.RuleSpec{
			{ID: uuid(4, 0), Direction: "egress", EtherType: "IPv4"},
			{ID: uuid(4, 1), Direction: "ingress", EtherType: "IPv4", RemoteGroup: uuid(3, 0)},
		}}},
		Routers: []hostapi.RouterSpec{{ID: uuid(5, 0), AdminUp: true, Interfaces: []hostapi.RouterInterface{
			{PortID: uuid(7, 0), NetworkID: uuid(1, 0), MAC: "fa:16:3e:00:00:01", CIDRs: []string{"10.0.0.1/16"}}}}},
	}
	for i := range n {
		ip := fmt.Sprintf("10.0.%d.%d", 1+i/200, 1+i%200)
		doc.Ports = append(doc.Ports, hostapi.PortSpec{ID: uuid(6, i), NetworkID: uuid(1, 0), ServerID: uuid(8, i), AdminUp: true, PortSecurity: true,
			MAC: fmt.Sprintf("fa:16:3e:01:%02x:%02x", i/256, i%256), SecurityGroups: []string{uuid(3, 0)},
			Addresses: []hostapi.Address{{IP: ip, SubnetID: uuid(2, 0)}}})
		doc.SecurityGroups[0].Members = append(doc.SecurityGroups[0].Members, ip)
	}
	return doc
}

// PortID is the id of Document's port i.
func PortID(i int) string { return uuid(6, i) }

func ids(devices []dataplane.Device) []string {
	var out []string
	for _, d := range devices {
		out = append(out, d.ID)
	}
	slices.Sort(out)
	return out
}

// holds checks that the host has exactly what doc says.
func holds(t *testing.T, p dataplane.Plane, doc hostapi.NetworkDocument) {
	t.Helper()
	inv, err := p.Inventory(t.Context())
	if err != nil {
		t.Fatalf("inventory: %v", err)
	}
	var ports, networks, routers []string
	for _, x := range doc.Ports {
		ports = append(ports, x.ID)
	}
	for _, x := range doc.Networks {
		networks = append(networks, x.ID)
	}
	for _, x := range doc.Routers {
		routers = append(routers, x.ID)
	}
	for what, pair := range map[string][2][]string{"ports": {ids(inv.Ports), ports}, "networks": {ids(inv.Networks), networks}, "routers": {ids(inv.Routers), routers}} {
		slices.Sort(pair[1])
		if !slices.Equal(pair[0], pair[1]) {
			t.Errorf("%s on the host: %v, in the document: %v", what, pair[0], pair[1])
		}
	}
	if len(inv.Problems) > 0 {
		t.Errorf("problems: %v", inv.Problems)
	}
}

func apply(t *testing.T, p dataplane.Plane, doc hostapi.NetworkDocument) {
	t.Helper()
	if err := p.Apply(t.Context(), doc); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

func started(t *testing.T, start func() dataplane.Plane) dataplane.Plane {
	p := start()
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return p
}

func makes(t *testing.T, start func() dataplane.Plane) {
	p := started(t, start)
	holds(t, p, hostapi.NetworkDocument{})
	apply(t, p, Document(1, 3))
	holds(t, p, Document(1, 3))
	apply(t, p, Document(2, 3))
	apply(t, p, Document(2, 5))
	holds(t, p, Document(2, 5))
}

func removes(t *testing.T, start func() dataplane.Plane) {
	p := started(t, start)
	apply(t, p, Document(1, 4))
	apply(t, p, Document(2, 1))
	holds(t, p, Document(2, 1))
	apply(t, p, hostapi.NetworkDocument{Revision: 3})
	holds(t, p, hostapi.NetworkDocument{})
}

func opensTaps(t *testing.T, start func() dataplane.Plane) {
	p := started(t, start)
	if _, err := p.OpenTap(t.Context(), PortID(0)); !fault.IsNotFound(err) {
		t.Errorf("a port that was never applied: %v, want not found", err)
	}
	if _, err := p.Counters(t.Context(), PortID(0)); !fault.IsNotFound(err) {
		t.Errorf("counters of a port that was never applied: %v, want not found", err)
	}
	apply(t, p, Document(1, 1))
	if c, err := p.Counters(t.Context(), PortID(0)); err != nil || c.TxBytes != 0 {
		t.Errorf("counters of a port whose guest never sent: %+v, %v", c, err)
	}
	for range 2 { // a guest that restarts
		f, err := p.OpenTap(t.Context(), PortID(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	holds(t, p, Document(1, 1))
	apply(t, p, Document(2, 0))
	if _, err := p.OpenTap(t.Context(), PortID(0)); !fault.IsNotFound(err) {
		t.Errorf("a port that is gone: %v, want not found", err)
	}
}

func badPiece(t *testing.T, start func() dataplane.Plane) {
	p := started(t, start)
	doc := Document(1, 3)
	doc.Ports[1].NetworkID = uuid(1, 77)
	err := p.Apply(t.Context(), doc)
	if err == nil || !strings.Contains(err.Error(), doc.Ports[1].ID) {
		t.Fatalf("the error does not name the port %s: %v", doc.Ports[1].ID, err)
	}
	good := doc
	good.Ports = []hostapi.PortSpec{doc.Ports[0], doc.Ports[2]}
	holds(t, p, good)
}

func adopts(t *testing.T, start func() dataplane.Plane) {
	first := start()
	apply(t, first, Document(1, 3))
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := started(t, start)
	holds(t, second, Document(1, 3))
	if f, err := second.OpenTap(t.Context(), PortID(2)); err != nil {
		t.Errorf("a tap of the process before: %v", err)
	} else {
		f.Close()
	}
	apply(t, second, Document(1, 2))
	holds(t, second, Document(1, 2))
}

func newestCounts(t *testing.T, start func() dataplane.Plane) {
	p := started(t, start)
	const n = 12
	var wg sync.WaitGroup
	for i := n; i >= 1; i-- {
		wg.Go(func() {
			if err := p.Apply(t.Context(), Document(int64(i), i)); err != nil {
				t.Errorf("apply %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	apply(t, p, Document(n+1, n))
	holds(t, p, Document(n+1, n))
}

func endedContext(t *testing.T, start func() dataplane.Plane) {
	p := started(t, start)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Apply(ctx, Document(1, 1)); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("apply with an ended context: %v", err)
	}
	apply(t, p, Document(2, 2))
	holds(t, p, Document(2, 2))
}

func closeLeaves(t *testing.T, start func() dataplane.Plane) {
	p := start()
	apply(t, p, Document(1, 2))
	for range 2 {
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Apply(t.Context(), Document(2, 2)); fault.KindOf(err) != fault.KindUnavailable {
		t.Errorf("apply after close: %v, want unavailable", err)
	}
	holds(t, started(t, start), Document(1, 2))
}

func destroys(t *testing.T, start func() dataplane.Plane) {
	p := start()
	apply(t, p, Document(1, 2))
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := start().Destroy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p = started(t, start)
	inv, err := p.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(inv.Ports)+len(inv.Networks)+len(inv.Routers)+len(inv.Namespaces)+len(inv.Problems) > 0 {
		t.Errorf("left after destroy: %+v", inv)
	}
}
