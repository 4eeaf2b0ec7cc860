package network_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/network"
	"nephos/internal/policy"
	"nephos/internal/quota"
)

const (
	adminProject = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	demoProject  = "dddddddddddddddddddddddddddddddd"
	otherProject = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
)

var (
	rooms    = []db.Migrations{quota.Migrations(), network.Migrations()}
	admin    = &policy.Credentials{ProjectID: adminProject, Roles: []string{"admin", "member", "reader"}}
	demo     = &policy.Credentials{ProjectID: demoProject, Roles: []string{"member", "reader"}}
	demoSees = network.Scope{ProjectID: demoProject}
)

type fixture struct {
	*network.Service
	t  *testing.T
	d  *db.DB
	q  *quota.Service
	in context.Context
}

func each(t *testing.T, fn func(f *fixture)) {
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) { fn(newFixture(t, d)) })
}

func newFixture(t *testing.T, d *db.DB) *fixture {
	q := quota.New()
	f := &fixture{Service: network.New(network.Deps{DB: d, Quotas: q}), t: t, d: d, q: q, in: t.Context()}
	require.NoError(t, f.Bootstrap(f.in, adminProject))
	return f
}

func benchFixture(b *testing.B, d *db.DB) *network.Service {
	s := network.New(network.Deps{DB: d, Quotas: quota.New()})
	require.NoError(b, s.Bootstrap(b.Context(), adminProject))
	return s
}

// boot resolves and allocates as compute does.
func (f *fixture) boot(server string, creds *policy.Credentials, host string, reqs ...network.Request) ([]hostapi.NICSpec, error) {
	mode := network.ModeExplicit
	if len(reqs) == 0 {
		mode = network.ModeUnspecified
	}
	plan, err := f.Resolve(f.in, creds, reqs, mode)
	if err != nil {
		return nil, err
	}
	var nics []hostapi.NICSpec
	err = f.d.Write(f.in, func(tx *db.Tx) (err error) {
		nics, err = f.AllocatePorts(f.in, tx, network.Allocation{ServerID: server, ProjectID: creds.ProjectID, Host: host, Zone: "nova", Hostname: "vm", Plan: plan})
		return err
	})
	return nics, err
}

func (f *fixture) mustBoot(server string, creds *policy.Credentials, host string, reqs ...network.Request) []hostapi.NICSpec {
	f.t.Helper()
	nics, err := f.boot(server, creds, host, reqs...)
	require.NoError(f.t, err)
	return nics
}

func (f *fixture) release(server string) {
	f.t.Helper()
	require.NoError(f.t, f.d.Write(f.in, func(tx *db.Tx) error { return f.ReleaseServer(f.in, tx, server) }))
}

// network makes a network with one subnet.
func (f *fixture) network(name, cidr string, pools ...network.Range) (network.NetworkView, network.SubnetView) {
	f.t.Helper()
	n, err := f.CreateNetworks(f.in, []network.NetworkPatch{{ProjectID: network.Some(demoProject), Name: network.Some(name)}})
	require.NoError(f.t, err)
	p := network.SubnetPatch{ProjectID: network.Some(demoProject), NetworkID: network.Some(n[0].ID), IPVersion: network.Some(4), CIDR: network.Some(cidr), EnableDHCP: network.Some(false)}
	if len(pools) > 0 {
		p.Pools = network.Some(pools)
	}
	sub, err := f.CreateSubnets(f.in, []network.SubnetPatch{p})
	require.NoError(f.t, err)
	return n[0], sub[0]
}

// exact proves that quota usage is what exists.
func (f *fixture) exact() {
	f.t.Helper()
	require.NoError(f.t, f.d.Read(f.in, func(tx *db.Tx) error {
		held, err := f.Held(f.in, tx)
		require.NoError(f.t, err)
		diff, err := f.q.Check(f.in, tx, quota.NetworkResources, held)
		require.NoError(f.t, err)
		require.Empty(f.t, diff)
		return nil
	}))
}

func (f *fixture) named(name string) network.NetworkView {
	f.t.Helper()
	ns, err := f.Networks(f.in, network.Scope{Admin: true}, network.Query{Names: []string{name}})
	require.NoError(f.t, err)
	require.Len(f.t, ns, 1)
	return ns[0]
}

func TestBootstrapTwiceMakesOneOfEach(t *testing.T) {
	each(t, func(f *fixture) {
		require.NoError(t, f.Bootstrap(f.in, adminProject))
		public, private := f.named(network.PublicName), f.named(network.PrivateName)
		require.True(t, public.External)
		require.True(t, public.IsDefault)
		require.False(t, public.Shared)
		require.Equal(t, 1500, public.MTU)
		require.True(t, private.Shared)
		require.Equal(t, 1450, private.MTU)
		rs, err := f.Routers(f.in, network.Scope{Admin: true}, network.Query{})
		require.NoError(t, err)
		require.Len(t, rs, 1)
		require.Equal(t, public.ID, rs[0].Gateway.NetworkID)
		f.exact()
	})
}

func TestServerWithoutNetworksGetsTheSharedOne(t *testing.T) {
	each(t, func(f *fixture) {
		nics := f.mustBoot("s1", demo, "h1")
		require.Len(t, nics, 1)
		require.Equal(t, "private", nics[0].Network.Name)
		require.Equal(t, "s1", nics[0].Port.ServerID)
		require.Len(t, nics[0].Port.Addresses, 1)
		require.Len(t, nics[0].Port.SecurityGroups, 1)
		require.Regexp(t, `^fa:16:3e:`, nics[0].Port.MAC)
		sub := nics[0].Network.Subnets[0]
		require.True(t, sub.DHCP)
		require.NotEmpty(t, sub.DHCPServer)
		require.NotEqual(t, sub.DHCPServer, nics[0].Port.Addresses[0].IP)
		require.NoError(t, f.d.Write(f.in, func(tx *db.Tx) error {
			again, err := f.NICSpecs(f.in, tx, "s1")
			require.NoError(t, err)
			require.Equal(t, nics, again)
			addrs, err := f.Addresses(f.in, tx, []string{"s1", "s2"})
			require.NoError(t, err)
			require.Len(t, addrs["s1"], 1)
			require.Equal(t, "fixed", addrs["s1"][0].Type)
			groups, err := f.ServerSecurityGroups(f.in, tx, []string{"s1"})
			require.NoError(t, err)
			require.Equal(t, "default", groups["s1"][0].Name)
			return f.PortsActive(f.in, tx, "s1")
		}))
		f.exact()
		f.release("s1")
		f.exact()
		ports, err := f.Ports(f.in, demoSees, network.Query{})
		require.NoError(t, err)
		require.Empty(t, ports)
	})
}

func TestResolveRefusals(t *testing.T) {
	each(t, func(f *fixture) {
		public := f.named("public")
		taken := f.mustBoot("s0", demo, "h1")[0].Port.Addresses[0].IP
		private := f.named("private")
		used := f.mustBoot("s1", demo, "h1")[0].PortID
		empty, err := f.CreateNetworks(f.in, []network.NetworkPatch{{ProjectID: network.Some(otherProject), Name: network.Some("empty")}})
		require.NoError(t, err)
		other := &policy.Credentials{ProjectID: otherProject, Roles: []string{"member"}}
		free, err := f.CreatePorts(f.in, demoSees, []network.PortPatch{{ProjectID: network.Some(demoProject), NetworkID: network.Some(private.ID)}})
		require.NoError(t, err)
		for name, c := range map[string]struct {
			creds *policy.Credentials
			reqs  []network.Request
			kind  fault.Kind
			says  string
		}{
			"unknown network":     {demo, []network.Request{{NetworkID: "nope"}}, fault.KindInvalid, "could not be found"},
			"other's network":     {demo, []network.Request{{NetworkID: empty[0].ID}}, fault.KindInvalid, "could not be found"},
			"external network":    {demo, []network.Request{{NetworkID: public.ID}}, fault.KindForbidden, "external network"},
			"no subnet":           {other, []network.Request{{NetworkID: empty[0].ID}}, fault.KindInvalid, "requires a subnet"},
			"unknown port":        {demo, []network.Request{{PortID: "nope"}}, fault.KindInvalid, "could not be found"},
			"other's port":        {other, []network.Request{{PortID: free[0].ID}}, fault.KindInvalid, "could not be found"},
			"port in use":         {demo, []network.Request{{PortID: used}}, fault.KindConflict, "still in use"},
			"duplicate ports":     {demo, []network.Request{{PortID: free[0].ID}, {PortID: free[0].ID}}, fault.KindInvalid, "more than once"},
			"address outside":     {demo, []network.Request{{NetworkID: private.ID, FixedIP: "10.9.0.5"}}, fault.KindInvalid, "not a valid ip"},
			"address taken":       {demo, []network.Request{{NetworkID: private.ID, FixedIP: taken}}, fault.KindInvalid, "already in use"},
			"several, none named": {other, nil, fault.KindConflict, "Multiple possible networks"},
		} {
			_, err := f.boot("x", c.creds, "h1", c.reqs...)
			require.Error(t, err, name)
			require.Equal(t, c.kind, fault.KindOf(err), "%s: %v", name, err)
			require.Contains(t, err.Error(), c.says, name)
		}
		_, err = f.ResolveSecurityGroups(f.in, demoProject, []string{"nope"})
		require.ErrorContains(t, err, "Security group nope not found for project "+demoProject)
		refs, err := f.ResolveSecurityGroups(f.in, demoProject, nil)
		require.NoError(t, err)
		require.Equal(t, "default", refs[0].Name)
		f.exact()
	})
}

func TestTwoServersRaceForOnePort(t *testing.T) {
	each(t, func(f *fixture) {
		private := f.named("private")
		p, err := f.CreatePorts(f.in, demoSees, []network.PortPatch{{ProjectID: network.Some(demoProject), NetworkID: network.Some(private.ID)}})
		require.NoError(t, err)
		plan, err := f.Resolve(f.in, demo, []network.Request{{PortID: p[0].ID}}, network.ModeExplicit)
		require.NoError(t, err)
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				errs[i] = f.d.Write(f.in, func(tx *db.Tx) error {
					_, err := f.AllocatePorts(f.in, tx, network.Allocation{ServerID: fmt.Sprint("s", i), ProjectID: demoProject, Host: "h1", Plan: plan})
					return err
				})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else {
				require.Equal(t, fault.KindConflict, fault.KindOf(err), "%v", err)
			}
		}
		require.Equal(t, 1, won)
		f.exact()
	})
}

func TestRaceForTheLastAddress(t *testing.T) {
	each(t, func(f *fixture) {
		n, _ := f.network("small", "10.7.0.0/24", network.Range{Start: "10.7.0.10", End: "10.7.0.14"})
		plan, err := f.Resolve(f.in, demo, []network.Request{{NetworkID: n.ID}}, network.ModeExplicit)
		require.NoError(t, err)
		errs := make([]error, 40)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				errs[i] = f.d.Write(f.in, func(tx *db.Tx) error {
					_, err := f.AllocatePorts(f.in, tx, network.Allocation{ServerID: fmt.Sprint("s", i), ProjectID: demoProject, Host: "h1", Plan: plan})
					return err
				})
			})
		}
		wg.Wait()
		won := -1
		count := 0
		for i, err := range errs {
			if err == nil {
				won = i
				count++
			} else {
				require.Equal(t, fault.KindConflict, fault.KindOf(err), "%v", err)
			}
		}
		require.Equal(t, 5, count)
		f.exact()
		f.release(fmt.Sprint("s", won)) // released at once
		f.mustBoot("late", demo, "h1", network.Request{NetworkID: n.ID})
		f.exact()
	})
}

func TestRolledBackAddressIsFreeAgain(t *testing.T) {
	each(t, func(f *fixture) {
		n, _ := f.network("one", "10.7.0.0/24", network.Range{Start: "10.7.0.10", End: "10.7.0.10"})
		plan, err := f.Resolve(f.in, demo, []network.Request{{NetworkID: n.ID}}, network.ModeExplicit)
		require.NoError(t, err)
		for range 3 {
			require.ErrorIs(t, f.d.Write(f.in, func(tx *db.Tx) error {
				_, err := f.AllocatePorts(f.in, tx, network.Allocation{ServerID: "s", ProjectID: demoProject, Plan: plan})
				require.NoError(t, err)
				return context.Canceled
			}), context.Canceled)
		}
		f.mustBoot("s", demo, "h1", network.Request{NetworkID: n.ID})
		f.exact()
	})
}

func TestFloatingIP(t *testing.T) {
	each(t, func(f *fixture) {
		require.NoError(t, f.HostSeen(f.in, "h1", true, 0))
		nic := f.mustBoot("s1", demo, "h1")[0]
		public := f.named("public")
		fips, err := f.CreateFloatingIPs(f.in, demoSees, []network.FloatingIPPatch{{ProjectID: network.Some(demoProject), NetworkID: network.Some(public.ID)}})
		require.NoError(t, err)
		require.Equal(t, "DOWN", fips[0].Status)
		require.True(t, netip.MustParsePrefix("172.24.4.0/24").Contains(netip.MustParseAddr(fips[0].Address)))
		got, err := f.UpdateFloatingIP(f.in, demoSees, fips[0].ID, network.FloatingIPPatch{PortID: network.Some(nic.PortID)}, nil)
		require.NoError(t, err)
		require.Equal(t, "ACTIVE", got.Status)
		doc, err := f.Document(f.in, "h1")
		require.NoError(t, err)
		require.Len(t, doc.Routers, 1)
		require.Equal(t, []hostapi.FloatingSpec{{ID: got.ID, Floating: got.Address, Fixed: nic.Port.Addresses[0].IP}}, doc.Routers[0].FloatingIPs)
		require.Equal(t, "172.24.4.1", doc.Routers[0].Gateway.NextHop)
		require.Equal(t, []string{"10.0.0.1/24"}, doc.Routers[0].Interfaces[0].CIDRs)
		require.Len(t, doc.Networks, 2)
		require.Len(t, doc.Ports, 1)
		require.Len(t, doc.SecurityGroups, 1)
		require.Equal(t, hostapi.Addresses{nic.Port.Addresses[0].IP}, doc.SecurityGroups[0].Members)
		require.Len(t, doc.SecurityGroups[0].Rules, 4)
		// a second one on the same address is refused
		_, err = f.CreateFloatingIPs(f.in, demoSees, []network.FloatingIPPatch{{ProjectID: network.Some(demoProject), NetworkID: network.Some(public.ID), PortID: network.Some(nic.PortID)}})
		require.Equal(t, fault.KindConflict, fault.KindOf(err), "%v", err)
		f.exact()
		require.NoError(t, f.d.Read(f.in, func(tx *db.Tx) error {
			a, err := f.Addresses(f.in, tx, []string{"s1"})
			require.NoError(t, err)
			require.Len(t, a["s1"], 2)
			require.Equal(t, "floating", a["s1"][1].Type)
			return nil
		}))
		// the server goes, the floating address stays and is free
		f.release("s1")
		left, err := f.FloatingIPs(f.in, demoSees, network.Query{})
		require.NoError(t, err)
		require.Equal(t, "DOWN", left[0].Status)
		require.Nil(t, left[0].FixedPort)
		require.NoError(t, f.DeleteFloatingIP(f.in, got.ID))
		f.exact()
	})
}

// pusher records documents; a host in silent does not answer.
type pusher struct {
	mu     sync.Mutex
	docs   map[string]hostapi.NetworkDocument
	silent map[string]bool
	pushed chan string
	wrong  bool // a sum was not that of the members
}

func (p *pusher) Push(ctx context.Context, host string, doc hostapi.NetworkDocument) (int64, error) {
	p.mu.Lock()
	silent := p.silent[host]
	if !silent {
		p.docs[host] = doc
	}
	p.mu.Unlock()
	if silent {
		return 0, fault.Unavailable("host %s is silent", host)
	}
	select {
	case p.pushed <- host:
	default:
	}
	return doc.Revision, nil
}

// TellMembers does what a host does that hears everything.
func (p *pusher) TellMembers(c hostapi.MemberChange) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for host, d := range p.docs {
		d.SecurityGroups = slices.Clone(d.SecurityGroups) // a document that was handed out stays as it was
		p.docs[host] = d
		for i := range d.SecurityGroups {
			g := &d.SecurityGroups[i]
			if g.ID != c.GroupID || g.MembersAt >= c.Revision {
				continue
			}
			g.Members = slices.DeleteFunc(slices.Clone(g.Members), func(m string) bool { return slices.Contains(c.Removed, m) })
			for _, m := range c.Added {
				if !slices.Contains(g.Members, m) {
					g.Members = append(g.Members, m)
				}
			}
			slices.Sort(g.Members)
			g.MembersAt = c.Revision
			p.wrong = p.wrong || hostapi.SumOf(g.Members) != c.Sum
		}
	}
	select {
	case p.pushed <- "":
	default:
	}
	return nil
}

func (p *pusher) doc(host string) hostapi.NetworkDocument {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.docs[host]
}

func run(t *testing.T, s *network.Service) *pusher {
	p := &pusher{docs: map[string]hostapi.NetworkDocument{}, silent: map[string]bool{}, pushed: make(chan string, 1000)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Publisher().Run(ctx, p) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		require.False(t, p.wrong, "the sum of a change of members")
	})
	return p
}

func (p *pusher) wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-p.pushed:
		case <-limit:
			t.Fatalf("never seen: %s", what)
		}
	}
}

func revision(document, _ int64) int64 { return document }

func TestChangeIsOnTheHostWhenTheCallReturns(t *testing.T) {
	each(t, func(f *fixture) {
		p := run(t, f.Service)
		require.NoError(t, f.HostSeen(f.in, "h1", true, 0))
		require.NoError(t, f.HostSeen(f.in, "h2", false, 0))
		nic := f.mustBoot("s1", demo, "h2")[0]
		group := nic.Port.SecurityGroups[0]
		rules, err := f.CreateRules(f.in, []network.RulePatch{{ProjectID: network.Some(demoProject), GroupID: network.Some(group), Direction: network.Some("ingress"),
			Protocol: network.Some("tcp"), PortMin: network.Some(22), PortMax: network.Some(22)}})
		require.NoError(t, err)
		has := func() bool {
			for _, g := range p.doc("h2").SecurityGroups {
				for _, r := range g.Rules {
					if r.ID == rules[0].ID {
						return true
					}
				}
			}
			return false
		}
		require.True(t, has())
		require.True(t, slices.ContainsFunc(f.mustBoot("s0", demo, "h3")[0].Groups, func(g hostapi.SecurityGroupSpec) bool {
			return slices.ContainsFunc(g.Rules, func(r hostapi.RuleSpec) bool { return r.ID == rules[0].ID })
		}), "a server made now has the rule in its own spec")
		require.NoError(t, f.DeleteRule(f.in, rules[0].ID))
		require.False(t, has())
		fips, err := f.CreateFloatingIPs(f.in, demoSees, []network.FloatingIPPatch{{ProjectID: network.Some(demoProject), NetworkID: network.Some(f.named("public").ID), PortID: network.Some(nic.PortID)}})
		require.NoError(t, err)
		require.Equal(t, fips[0].ID, p.doc("h1").Routers[0].FloatingIPs[0].ID)
		require.Equal(t, p.doc("h1").Revision, revision(f.Publisher().Revision("h1")))
		// a member on another host reaches the first host's document without anybody waiting
		late := f.mustBoot("s2", demo, "h3")[0].Port.Addresses[0].IP
		p.wait(t, "member "+late+" on h2", func() bool {
			for _, g := range p.doc("h2").SecurityGroups {
				for _, m := range g.Members {
					if m == late {
						return true
					}
				}
			}
			return false
		})
	})
}

func TestSilentHostIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t, dbtest.SQLite(t, rooms...))
	p := run(t, f.Service)
	require.NoError(t, f.HostSeen(f.in, "h1", true, 0))
	p.wait(t, "first document", func() bool { return p.doc("h1").Revision > 0 })
	p.mu.Lock()
	p.silent["h1"] = true
	p.mu.Unlock()
	rs, err := f.Routers(f.in, network.Scope{Admin: true}, network.Query{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(f.in, 300*time.Millisecond)
	defer cancel()
	_, err = f.UpdateRouter(ctx, rs[0].ID, network.RouterPatch{AdminStateUp: network.Some(false)}, nil)
	require.NoError(t, err, "the change is committed whether the host answers or not")
	p.mu.Lock()
	p.silent["h1"] = false
	p.mu.Unlock()
	p.wait(t, "the change", func() bool { return len(p.doc("h1").Routers) == 1 && !p.doc("h1").Routers[0].AdminUp })
}

func TestRouterMovesWhenItsHostIsGone(t *testing.T) {
	each(t, func(f *fixture) {
		require.NoError(t, f.HostSeen(f.in, "h1", true, 0))
		require.NoError(t, f.HostSeen(f.in, "h2", true, 0))
		doc, err := f.Document(f.in, "h1")
		require.NoError(t, err)
		require.Len(t, doc.Routers, 1)
		require.NoError(t, f.HostGone(f.in, "h1"))
		doc, err = f.Document(f.in, "h2")
		require.NoError(t, err)
		require.Len(t, doc.Routers, 1)
		require.Len(t, doc.Routers[0].Interfaces, 1)
		require.NotNil(t, doc.Routers[0].Gateway)
	})
}
