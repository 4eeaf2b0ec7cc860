package network_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/network"
	"nephos/internal/quota"
)

// TestMain keeps the property test short; -rapid.checks says otherwise.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("30"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// TestAddressesAreExact lets servers come, go and fail in any order on a small network: no address is given twice, none outside the pools, none is
// refused while one is free, and quota is what exists.
func TestAddressesAreExact(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t, rooms...)
	f := newFixture(t, d)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		first, size := rapid.IntRange(2, 60).Draw(rt, "first"), rapid.IntRange(1, 6).Draw(rt, "size")
		gap, more := rapid.IntRange(1, 5).Draw(rt, "gap"), rapid.IntRange(0, 4).Draw(rt, "more")
		at := func(n int) string { return fmt.Sprintf("10.50.%d.%d", round%250, n) }
		pools := []network.Range{{Start: at(first), End: at(first + size - 1)}}
		if more > 0 {
			pools = append(pools, network.Range{Start: at(first + size + gap), End: at(first + size + gap + more - 1)})
		}
		n, sub := f.network(fmt.Sprint("n", round), fmt.Sprintf("10.50.%d.0/24", round%250), pools...)
		capacity := size + more
		held := map[string]string{} // server → address
		serial := 0
		plan, err := f.Resolve(f.in, demo, []network.Request{{NetworkID: n.ID}}, network.ModeExplicit)
		require.NoError(rt, err)
		boot := func(commit bool) {
			serial++
			id := fmt.Sprintf("r%d-%d", round, serial)
			var nics []hostapi.NICSpec
			err := d.Write(f.in, func(tx *db.Tx) (err error) {
				if nics, err = f.AllocatePorts(f.in, tx, network.Allocation{ServerID: id, ProjectID: demoProject, Host: "h1", Plan: plan}); err == nil && !commit {
					err = errRollback
				}
				return err
			})
			switch {
			case len(held) == capacity:
				require.Equal(rt, fault.KindConflict, fault.KindOf(err), "full: %v", err)
			case !commit:
				require.ErrorIs(rt, err, errRollback)
			default:
				require.NoError(rt, err, "%d of %d held", len(held), capacity)
				ip := netip.MustParseAddr(nics[0].Port.Addresses[0].IP)
				inside := false
				for _, p := range pools {
					inside = inside || netip.MustParseAddr(p.Start).Compare(ip) <= 0 && ip.Compare(netip.MustParseAddr(p.End)) <= 0
				}
				require.True(rt, inside, "%s is outside %v", ip, pools)
				for _, o := range held {
					require.NotEqual(rt, o, ip.String())
				}
				held[id] = ip.String()
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"boot":     func(*rapid.T) { boot(true) },
			"rollback": func(*rapid.T) { boot(false) },
			"release": func(rt *rapid.T) {
				for id := range held {
					f.release(id)
					delete(held, id)
					break
				}
			},
		})
		for id := range held {
			f.release(id)
		}
		f.exact()
		require.NoError(rt, f.DeleteSubnet(f.in, sub.ID))
		require.NoError(rt, f.DeleteNetwork(f.in, n.ID))
	})
}

var errRollback = fmt.Errorf("rolled back on purpose")

// TestNearlyFullSixteenBits wants the last addresses of a /16 to be found quickly, and a full one to be refused.
func TestNearlyFullSixteenBits(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t, rooms...)
	f := newFixture(t, d)
	n, sub := f.network("wide", "10.60.0.0/16")
	filler, err := f.CreatePorts(f.in, demoSees, []network.PortPatch{{ProjectID: network.Some(demoProject), NetworkID: network.Some(n.ID), FixedIPs: network.Some([]network.FixedIP{})}})
	require.NoError(t, err)
	free := map[string]bool{"10.60.0.77": true, "10.60.120.3": true, "10.60.255.254": true}
	require.NoError(t, d.Write(f.in, func(tx *db.Tx) error {
		taken, err := tx.Exec(f.in, `WITH RECURSIVE host (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM host WHERE n < 65534)
			INSERT INTO ip_allocations (subnet_id, address, port_id) SELECT ?, '10.60.' || (n / 256) || '.' || (n % 256), ? FROM host WHERE n NOT IN (77, 30723, 65534)`, sub.ID, filler[0].ID)
		require.EqualValues(t, 65530, taken)
		return err
	}))
	for i := range 3 {
		ip := f.mustBoot(fmt.Sprint("s", i), demo, "h1", network.Request{NetworkID: n.ID})[0].Port.Addresses[0].IP
		require.True(t, free[ip], ip)
		delete(free, ip)
	}
	for range 50 {
		_, err := f.boot("x", demo, "h1", network.Request{NetworkID: n.ID})
		require.Equal(t, fault.KindConflict, fault.KindOf(err), "%v", err)
	}
	f.release("s1")
	f.mustBoot("s9", demo, "h1", network.Request{NetworkID: n.ID})
}

// TestWideIPv6PoolsAreChosenFromAtRandom covers pools that have no map.
func TestWideIPv6PoolsAreChosenFromAtRandom(t *testing.T) {
	each(t, func(f *fixture) {
		n, _ := f.network("six", "10.61.0.0/24")
		six, err := f.CreateSubnets(f.in, []network.SubnetPatch{{ProjectID: network.Some(demoProject), NetworkID: network.Some(n.ID), IPVersion: network.Some(6), CIDR: network.Some("2001:db8:1::/64")}})
		require.NoError(t, err)
		seen := map[string]bool{}
		for i := range 20 {
			as := f.mustBoot(fmt.Sprint("s", i), demo, "h1", network.Request{NetworkID: n.ID})[0].Port.Addresses
			require.Len(t, as, 2)
			require.Equal(t, six[0].ID, as[1].SubnetID)
			require.False(t, seen[as[1].IP])
			seen[as[1].IP] = true
		}
		f.exact()
	})
}

func BenchmarkAllocatePorts(b *testing.B) {
	d := dbtest.SQLite(b, rooms...)
	f := benchFixture(b, d)
	plan, err := f.Resolve(b.Context(), demo, nil, network.ModeUnspecified)
	require.NoError(b, err)
	serial := 0
	for b.Loop() {
		var ids []string
		require.NoError(b, d.Write(b.Context(), func(tx *db.Tx) error {
			for range 100 {
				serial++
				id := fmt.Sprint("s", serial)
				ids = append(ids, id)
				if _, err := f.AllocatePorts(b.Context(), tx, network.Allocation{ServerID: id, ProjectID: demoProject, Host: "h1", Zone: "nova", Hostname: "vm", Plan: plan}); err != nil {
					return err
				}
			}
			return nil
		}))
		b.StopTimer()
		require.NoError(b, d.Write(b.Context(), func(tx *db.Tx) error {
			for _, id := range ids {
				if err := f.ReleaseServer(b.Context(), tx, id); err != nil {
					return err
				}
			}
			return nil
		}))
		b.StartTimer()
	}
	b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "servers/s")
}

// BenchmarkDocument renders a host with one server of a project that has a thousand on other hosts.
func BenchmarkDocument(b *testing.B) {
	d := dbtest.SQLite(b, rooms...)
	q := quota.New()
	wide := network.New(network.Deps{DB: d, Quotas: q, Config: network.Config{Private: netip.MustParsePrefix("10.0.0.0/16")}})
	require.NoError(b, wide.Bootstrap(b.Context(), adminProject))
	plan, err := wide.Resolve(b.Context(), demo, nil, network.ModeUnspecified)
	require.NoError(b, err)
	require.NoError(b, d.Write(b.Context(), func(tx *db.Tx) error {
		if err := q.SetLimit(b.Context(), tx, demoProject, "port", quota.Unlimited); err != nil {
			return err
		}
		for i := range 1000 {
			if _, err := wide.AllocatePorts(b.Context(), tx, network.Allocation{ServerID: fmt.Sprint("s", i), ProjectID: demoProject, Host: fmt.Sprint("h", i), Plan: plan}); err != nil {
				return err
			}
		}
		return nil
	}))
	for b.Loop() {
		_, err := wide.Document(b.Context(), "h500")
		require.NoError(b, err)
	}
}
