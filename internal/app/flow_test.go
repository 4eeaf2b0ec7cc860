package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/bus"
	"nephos/internal/compute"
	"nephos/internal/config"
	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/image"
	"nephos/internal/network"
	"nephos/internal/policy"
	"nephos/internal/quota"
)

// cloud is a controller with simulated hosts, no listeners.
type cloud struct {
	*controller
	creds *policy.Credentials
	image string
	stop  func()
}

func newCloud(t testing.TB, dbURL, stateDir string, hosts int, set ...func(*config.Config)) *cloud {
	t.Helper()
	ctx := context.Background()
	cfg := config.Default()
	cfg.StateDir, cfg.Driver, cfg.FakeHosts, cfg.Database = stateDir, "fake", hosts, dbURL
	cfg.Identity.BcryptCost = 4
	for _, s := range set {
		s(&cfg)
	}
	log := slog.New(slog.DiscardHandler)
	l := newLifecycle(log)
	b, err := bus.Open(bus.Config{Name: "test", Log: log})
	require.NoError(t, err)
	l.onStop("bus", b.Close)
	c, err := newController(ctx, &cfg, log, b, netip.MustParsePrefix("198.51.100.0/24"))
	require.NoError(t, err)
	c.closeWith(l)
	require.NoError(t, c.bootstrap(ctx, "secret"))
	require.NoError(t, c.start(l))
	require.NoError(t, startHost(ctx, &cfg, nil, b, localImages{c.images}, log, l))
	require.NoError(t, c.awaitHosts(ctx))
	project, err := c.adminProject(ctx)
	require.NoError(t, err)
	stopped := false
	x := &cloud{controller: c, creds: &policy.Credentials{UserID: "u1", ProjectID: project, Roles: []string{"member", "reader"}}, stop: func() {
		if !stopped {
			stopped = true
			l.stop()
		}
	}}
	t.Cleanup(x.stop)
	img, err := c.images.Ensure(ctx, image.CreateParams{ID: "10000000-0000-4000-8000-000000000001", Name: "tiny", Owner: project, Visibility: image.Public, DiskFormat: "raw", ContainerFormat: "bare"}, openBytes(strings.Repeat("x", 4096)))
	require.NoError(t, err)
	x.image = img.ID
	return x
}

func (x *cloud) unlimited(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	require.NoError(t, x.db.Write(ctx, func(tx *db.Tx) error {
		for _, r := range []string{"instances", "cores", "ram", "port"} {
			if err := x.quotas.SetLimit(ctx, tx, x.creds.ProjectID, r, quota.Unlimited); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (x *cloud) request(name string, n int) compute.CreateRequest {
	return compute.CreateRequest{RequestID: "req-test", Name: name, FlavorID: "42", ImageID: x.image, NetworkMode: network.ModeAuto, Min: n, Max: n}
}

// settled waits until no listed server is in the making or has a task.
func (x *cloud) settled(t testing.TB, ids ...string) []*compute.Server {
	t.Helper()
	ctx := context.Background()
	deadline := time.Now().Add(60 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		var out []*compute.Server
		busy := 0
		require.NoError(t, x.db.Read(ctx, func(tx *db.Tx) error {
			for _, id := range ids {
				s, err := compute.GetServer(ctx, tx, id)
				if fault.IsNotFound(err) {
					continue
				}
				if err != nil {
					return err
				}
				if s.TaskState != compute.None || s.VMState == compute.Building {
					busy++
				}
				out = append(out, s)
			}
			return nil
		}))
		if busy == 0 {
			return out
		}
		if time.Now().After(deadline) {
			for _, s := range out {
				t.Logf("%s %s %q", s.ID, s.VMState, s.TaskState)
			}
			t.Fatalf("%d servers do not settle", busy)
		}
	}
	return nil
}

func (x *cloud) clean(t testing.TB) {
	t.Helper()
	var left []string
	require.Eventually(t, func() bool { // an image's bytes go after its row
		report, err := x.Fsck(context.Background())
		require.NoError(t, err)
		left = report.Problems
		return len(left) == 0
	}, 10*time.Second, 20*time.Millisecond, "%v", &left)
}

func ids(servers []*compute.Server) []string {
	var out []string
	for _, s := range servers {
		out = append(out, s.ID)
	}
	return out
}

func eachDB(t *testing.T, fn func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); fn(t, "") })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); fn(t, dbtest.PostgresURL(t)) })
}

func TestServersBecomeActiveAndGo(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		x := newCloud(t, url, t.TempDir(), 3)
		x.unlimited(t)
		ctx := context.Background()
		made, err := x.compute.Create(ctx, x.creds, x.request("many", 20))
		require.NoError(t, err)
		require.Len(t, made.Servers, 20)
		all := x.settled(t, ids(made.Servers)...)
		for _, s := range all {
			require.Equal(t, compute.Active, s.VMState, "%v", s.Fault.V)
			require.NotEmpty(t, s.Host)
		}
		x.clean(t)
		by := compute.By{Creds: x.creds, RequestID: "req-2"}
		one := all[0].ID
		for _, a := range []compute.ActionRule{compute.ActionStop, compute.ActionStart, compute.ActionReboot, compute.ActionPause, compute.ActionUnpause, compute.ActionSuspend, compute.ActionResume, compute.ActionRebootHard} {
			require.NoError(t, x.compute.Power(ctx, by, one, a), a.Name)
			x.settled(t, one)
		}
		require.Equal(t, compute.Active, x.settled(t, one)[0].VMState)
		require.Equal(t, fault.KindConflict, fault.KindOf(x.compute.Power(ctx, by, one, compute.ActionStart)))
		for _, s := range all {
			require.NoError(t, x.compute.Delete(ctx, by, s.ID))
		}
		require.Empty(t, x.settled(t, ids(all)...))
		x.clean(t)
	})
}

// No host has room: the request is accepted, and the server says which filter removed how many hosts.
func TestNoValidHostIsExplained(t *testing.T) {
	t.Parallel()
	x := newCloud(t, "", t.TempDir(), 2)
	x.unlimited(t)
	ctx := context.Background()
	f, err := x.compute.CreateFlavor(ctx, compute.FlavorRow{Name: "huge", VCPUs: 1, RAMMiB: 1 << 20, RootGiB: 1, Public: true})
	require.NoError(t, err)
	r := x.request("big", 1)
	r.FlavorID = f.ID
	made, err := x.compute.Create(ctx, x.creds, r)
	require.NoError(t, err)
	s := x.settled(t, made.Servers[0].ID)[0]
	require.Equal(t, compute.Errored, s.VMState)
	require.Contains(t, s.Fault.V.Message, "No valid host was found. 2 hosts considered: RamFilter removed 2")
	x.clean(t)
	require.NoError(t, x.compute.Delete(ctx, compute.By{Creds: x.creds}, s.ID))
	require.Empty(t, x.settled(t, s.ID))
	x.clean(t)
}

// The process dies in the middle of builds (here: its loops are stopped where they are); the next one ends them.
func TestRestartInTheMiddleOfBuilds(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		dir := t.TempDir()
		x := newCloud(t, url, dir, 2)
		x.unlimited(t)
		ctx := context.Background()
		var all []string
		for i := range 5 {
			made, err := x.compute.Create(ctx, x.creds, x.request(fmt.Sprintf("batch%d", i), 10))
			require.NoError(t, err)
			all = append(all, ids(made.Servers)...)
		}
		x.stop()
		y := newCloud(t, url, dir, 2)
		for _, s := range y.settled(t, all...) {
			require.Equal(t, compute.Active, s.VMState, "%v", s.Fault.V)
		}
		y.clean(t)
	})
}

// Schemas are compiled when they are first needed: here all of them are.
func TestAllSchemasCompile(t *testing.T) {
	t.Parallel()
	all, err := newCloud(t, "", t.TempDir(), 0).services()
	require.NoError(t, err)
	for _, s := range all {
		require.NoError(t, s.svc.CheckSchemas(), s.svc.Name)
	}
}

func TestLastQuotaSlotUnderRace(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		x := newCloud(t, url, t.TempDir(), 2)
		ctx := context.Background()
		made, err := x.compute.Create(ctx, x.creds, x.request("first", 9))
		require.NoError(t, err)
		type answer struct {
			id  string
			err error
		}
		answers := make(chan answer)
		for i := range 50 {
			go func() {
				m, err := x.compute.Create(ctx, x.creds, x.request(fmt.Sprintf("race%d", i), 1))
				if err == nil {
					answers <- answer{id: m.Servers[0].ID}
					return
				}
				answers <- answer{err: err}
			}()
		}
		won := ids(made.Servers)
		for range 50 {
			a := <-answers
			if a.err != nil {
				require.Equal(t, fault.KindQuota, fault.KindOf(a.err), "%v", a.err)
				require.Contains(t, a.err.Error(), "Quota exceeded for instances")
				continue
			}
			won = append(won, a.id)
		}
		require.Len(t, won, 10)
		x.settled(t, won...)
		x.clean(t)
	})
}

// A build that is deleted at any moment leaves nothing.
func TestDeleteDuringBuild(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		x := newCloud(t, url, t.TempDir(), 2)
		x.unlimited(t)
		ctx := context.Background()
		var all []string
		for i := range 10 {
			made, err := x.compute.Create(ctx, x.creds, x.request(fmt.Sprintf("d%d", i), 4))
			require.NoError(t, err)
			for _, s := range made.Servers {
				require.NoError(t, x.compute.Delete(ctx, compute.By{Creds: x.creds}, s.ID))
				all = append(all, s.ID)
			}
		}
		for _, s := range x.settled(t, all...) {
			t.Errorf("left: %s %s %q %v", s.ID, s.VMState, s.TaskState, s.Fault.V)
		}
		x.clean(t)
	})
}

// built waits until no server is in the making, asking rarely: the question must not be what is measured.
func (x *cloud) built(b *testing.B) {
	b.Helper()
	ctx := context.Background()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		var n int
		require.NoError(b, x.db.Read(ctx, func(tx *db.Tx) error {
			return tx.Get(ctx, &n, `SELECT COUNT(*) FROM workflows WHERE status IN ('running', 'undoing')`)
		}))
		if n == 0 {
			return
		}
	}
}

// cpuTime is what this process has used of the processors: unlike the time that passes it does not depend on what else runs on the machine.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkMultiCreate(b *testing.B) {
	const each = 1000
	x := newCloud(b, "", b.TempDir(), 1000)
	x.unlimited(b)
	ctx := context.Background()
	before := cpuTime(b)
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		_, err := x.compute.Create(ctx, x.creds, x.request(fmt.Sprintf("b%d", i), each))
		require.NoError(b, err)
		x.built(b)
	}
	b.ReportMetric(each*float64(b.N)/b.Elapsed().Seconds(), "servers/s")
	b.ReportMetric((cpuTime(b)-before).Seconds()*1e3/(each*float64(b.N)), "cpu-ms/server")
}

func BenchmarkSingleCreate8(b *testing.B) {
	x := newCloud(b, "", b.TempDir(), 1000)
	x.unlimited(b)
	ctx := context.Background()
	before := cpuTime(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	var n atomic.Int64
	for range 8 {
		wg.Go(func() {
			for n.Add(1) <= int64(b.N) {
				if _, err := x.compute.Create(ctx, x.creds, x.request("s", 1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "accepted/s")
	x.built(b)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "active/s")
	b.ReportMetric((cpuTime(b)-before).Seconds()*1e3/float64(b.N), "cpu-ms/server")
}

func openBytes(s string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}
