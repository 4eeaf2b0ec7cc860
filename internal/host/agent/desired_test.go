package agent

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/hostapi"
)

// TestDesired is the rules by which the controller's document and the instances that are here become one document.
func TestDesired(t *testing.T) {
	t.Parallel()
	type (
		doc  = hostapi.NetworkDocument
		net  = hostapi.NetworkSpec
		port = hostapi.PortSpec
		grp  = hostapi.SecurityGroupSpec
	)
	addr := func(ip string) []hostapi.Address { return []hostapi.Address{{IP: ip, SubnetID: "sub"}} }
	here := func(id string, ports ...port) *hostapi.InstanceSpec {
		s := &hostapi.InstanceSpec{ServerID: id}
		for _, p := range ports {
			s.NICs = append(s.NICs, hostapi.NICSpec{PortID: p.ID, Port: p, Network: net{ID: p.NetworkID, MTU: 1000, Revision: 1}, Groups: []grp{{ID: "g", Rules: []hostapi.RuleSpec{{ID: "from spec"}}}}})
		}
		return s
	}
	for _, x := range []struct {
		name  string
		doc   doc
		specs []*hostapi.InstanceSpec
		want  doc
	}{
		{"nothing", doc{Revision: 3}, nil, doc{Revision: 3}},
		{"an instance that the document does not know brings port, network and rules",
			doc{Revision: 3}, []*hostapi.InstanceSpec{here("s1", port{ID: "p1", NetworkID: "n1", Addresses: addr("10.0.0.5"), SecurityGroups: []string{"g"}})},
			doc{Revision: 3, Networks: []net{{ID: "n1", MTU: 1000, Revision: 1}},
				Ports:          []port{{ID: "p1", NetworkID: "n1", ServerID: "s1", Addresses: addr("10.0.0.5"), SecurityGroups: []string{"g"}}},
				SecurityGroups: []grp{{ID: "g", Rules: []hostapi.RuleSpec{{ID: "from spec"}}, Members: []string{"10.0.0.5"}}}}},
		{"the document's groups are newer, its members and the local ones count",
			doc{SecurityGroups: []grp{{ID: "g", Rules: []hostapi.RuleSpec{{ID: "from document"}}, Members: []string{"10.0.0.5", "10.0.0.9"}}}},
			[]*hostapi.InstanceSpec{here("s1", port{ID: "p1", NetworkID: "n1", Addresses: addr("10.0.0.5"), SecurityGroups: []string{"g"}})},
			doc{Networks: []net{{ID: "n1", MTU: 1000, Revision: 1}}, Ports: []port{{ID: "p1", NetworkID: "n1", ServerID: "s1", Addresses: addr("10.0.0.5"), SecurityGroups: []string{"g"}}},
				SecurityGroups: []grp{{ID: "g", Rules: []hostapi.RuleSpec{{ID: "from document"}}, Members: []string{"10.0.0.5", "10.0.0.9"}}}}},
		{"of two versions of a port the newer; the document's when they are equal",
			doc{Networks: []net{{ID: "n1", MTU: 2000, Revision: 2}}, Ports: []port{{ID: "p1", NetworkID: "n1", ServerID: "s1", Revision: 7, MAC: "document"}, {ID: "p2", NetworkID: "n1", ServerID: "s1", Revision: 1, MAC: "document"}, {ID: "p3", NetworkID: "n1", ServerID: "s1", Revision: 1, MAC: "document"}}},
			[]*hostapi.InstanceSpec{here("s1", port{ID: "p1", NetworkID: "n1", Revision: 6, MAC: "spec"}, port{ID: "p2", NetworkID: "n1", Revision: 2, MAC: "spec"}, port{ID: "p3", NetworkID: "n1", Revision: 1, MAC: "spec"})},
			doc{Networks: []net{{ID: "n1", MTU: 2000, Revision: 2}},
				Ports:          []port{{ID: "p1", NetworkID: "n1", ServerID: "s1", Revision: 7, MAC: "document"}, {ID: "p2", NetworkID: "n1", ServerID: "s1", Revision: 2, MAC: "spec"}, {ID: "p3", NetworkID: "n1", ServerID: "s1", Revision: 1, MAC: "document"}},
				SecurityGroups: []grp{{ID: "g", Rules: []hostapi.RuleSpec{{ID: "from spec"}}}}}},
		{"of two versions of a network the newer",
			doc{Networks: []net{{ID: "n1", MTU: 500, Revision: 0}}}, []*hostapi.InstanceSpec{here("s1", port{ID: "p1", NetworkID: "n1"})},
			doc{Networks: []net{{ID: "n1", MTU: 1000, Revision: 1}}, Ports: []port{{ID: "p1", NetworkID: "n1", ServerID: "s1"}}, SecurityGroups: []grp{{ID: "g", Rules: []hostapi.RuleSpec{{ID: "from spec"}}}}}},
		{"a port of a server that is not here is left out, and its network with it; one without a server stays",
			doc{Networks: []net{{ID: "n1"}, {ID: "n2"}}, Ports: []port{{ID: "p1", NetworkID: "n1", ServerID: "elsewhere"}, {ID: "p2", NetworkID: "n2"}}}, nil,
			doc{Networks: []net{{ID: "n2"}}, Ports: []port{{ID: "p2", NetworkID: "n2"}}}},
		{"a router's networks stay",
			doc{Networks: []net{{ID: "n1"}, {ID: "n2"}, {ID: "n3"}}, Routers: []hostapi.RouterSpec{{ID: "r", Interfaces: []hostapi.RouterInterface{{NetworkID: "n1"}}, Gateway: &hostapi.RouterGateway{NetworkID: "n3"}}}}, nil,
			doc{Networks: []net{{ID: "n1"}, {ID: "n3"}}, Routers: []hostapi.RouterSpec{{ID: "r", Interfaces: []hostapi.RouterInterface{{NetworkID: "n1"}}, Gateway: &hostapi.RouterGateway{NetworkID: "n3"}}}}},
		{"two new neighbours are members of their group at once",
			doc{}, []*hostapi.InstanceSpec{here("s2", port{ID: "p2", NetworkID: "n1", Addresses: addr("10.0.0.6"), SecurityGroups: []string{"g"}}), here("s1", port{ID: "p1", NetworkID: "n1", Addresses: addr("10.0.0.5"), SecurityGroups: []string{"g"}}), nil},
			doc{Networks: []net{{ID: "n1", MTU: 1000, Revision: 1}},
				Ports:          []port{{ID: "p1", NetworkID: "n1", ServerID: "s1", Addresses: addr("10.0.0.5"), SecurityGroups: []string{"g"}}, {ID: "p2", NetworkID: "n1", ServerID: "s2", Addresses: addr("10.0.0.6"), SecurityGroups: []string{"g"}}},
				SecurityGroups: []grp{{ID: "g", Rules: []hostapi.RuleSpec{{ID: "from spec"}}, Members: []string{"10.0.0.5", "10.0.0.6"}}}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			a := New(Config{})
			a.doc = x.doc
			before := len(x.doc.SecurityGroups)
			for i, s := range x.specs {
				in := a.newInstance(string(rune('a' + i)))
				in.spec = s
				a.instances[in.id] = in
			}
			for range 2 { // working it out changes nothing
				got := a.desired()
				for i := range got.SecurityGroups {
					if len(got.SecurityGroups[i].Members) == 0 {
						got.SecurityGroups[i].Members = nil
					}
				}
				require.Equal(t, len(x.want.Networks), len(got.Networks), "%+v", got.Networks)
				require.ElementsMatch(t, x.want.Networks, got.Networks)
				require.ElementsMatch(t, x.want.Ports, got.Ports)
				require.ElementsMatch(t, x.want.SecurityGroups, got.SecurityGroups)
				require.Equal(t, x.want.Routers, got.Routers)
				require.Equal(t, x.want.Revision, got.Revision)
				require.Len(t, a.doc.SecurityGroups, before)
			}
		})
	}
}
