package app

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/network"
)

// one makes a server and waits for it.
func (x *cloud) one(t testing.TB) *compute.Server {
	t.Helper()
	made, err := x.compute.Create(context.Background(), x.creds, x.request("mover", 1))
	require.NoError(t, err)
	s := x.settled(t, made.Servers[0].ID)[0]
	require.Equal(t, compute.Active, s.VMState, "%v", s.Fault.V)
	return s
}

func (x *cloud) admin() compute.By {
	c := *x.creds
	c.Roles = []string{"admin", "manager", "member", "reader"}
	return compute.By{Creds: &c, RequestID: "req-move"}
}

func (x *cloud) flavor(t testing.TB, name string, vcpus, ram int) string {
	t.Helper()
	f, err := x.compute.CreateFlavor(context.Background(), compute.FlavorRow{Name: name, VCPUs: vcpus, RAMMiB: ram, RootGiB: 4, Public: true})
	require.NoError(t, err)
	return f.ID
}

func (x *cloud) usage(t testing.TB) map[string]int64 {
	t.Helper()
	var u map[string]int64
	require.NoError(t, x.db.Read(context.Background(), func(tx *db.Tx) (err error) {
		u, err = x.quotas.Usage(context.Background(), tx, x.creds.ProjectID)
		return err
	}))
	return u
}

func (x *cloud) migrationsOf(t testing.TB, id string) []compute.Migration {
	t.Helper()
	var all []compute.Migration
	require.NoError(t, x.db.Read(context.Background(), func(tx *db.Tx) (err error) {
		all, err = compute.ListMigrations(context.Background(), tx, compute.MigrationFilter{Server: id})
		return err
	}))
	return all
}

func TestResizeConfirmRevert(t *testing.T) {
	t.Parallel()
	for name, hosts := range map[string]int{"one host": 1, "three hosts": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachDB(t, func(t *testing.T, url string) {
				x := newCloud(t, url, t.TempDir(), hosts)
				ctx, by := context.Background(), x.admin()
				s := x.one(t)
				before := x.usage(t)
				big := x.flavor(t, "bigger-"+t.Name(), 4, 4096)

				require.NoError(t, x.compute.Resize(ctx, by, s.ID, big, nil))
				r := x.settled(t, s.ID)[0]
				require.Equal(t, compute.Resized, r.VMState, "%v", r.Fault.V)
				require.Equal(t, 4, r.Flavor.V.VCPUs)
				require.Equal(t, int64(4), x.usage(t)["cores"])
				x.clean(t)
				require.Equal(t, fault.KindConflict, fault.KindOf(x.compute.Resize(ctx, by, s.ID, big, nil)))

				require.NoError(t, x.compute.Revert(ctx, by, s.ID))
				r = x.settled(t, s.ID)[0]
				require.Equal(t, compute.Active, r.VMState, "%v", r.Fault.V)
				require.Equal(t, s.Host, r.Host)
				require.Equal(t, s.Flavor.V, r.Flavor.V)
				require.Equal(t, before, x.usage(t))
				require.Equal(t, compute.MigrationReverted, x.migrationsOf(t, s.ID)[0].Status)
				x.clean(t)

				require.NoError(t, x.compute.Power(ctx, by, s.ID, compute.ActionStop))
				x.settled(t, s.ID)
				require.NoError(t, x.compute.Resize(ctx, by, s.ID, big, nil))
				x.settled(t, s.ID)
				require.NoError(t, x.compute.Confirm(ctx, by, s.ID))
				r = x.settled(t, s.ID)[0]
				require.Equal(t, compute.Stopped, r.VMState, "%v", r.Fault.V)
				require.Equal(t, int64(4096), x.usage(t)["ram"])
				x.clean(t)

				// From large to small and deleted in VERIFY_RESIZE: the larger of the two was held, nothing is left.
				require.NoError(t, x.compute.Resize(ctx, by, s.ID, x.flavor(t, "smaller-"+t.Name(), 1, 64), nil))
				r = x.settled(t, s.ID)[0]
				require.Equal(t, compute.Resized, r.VMState, "%v", r.Fault.V)
				require.Equal(t, int64(4), x.usage(t)["cores"])
				x.clean(t)
				require.NoError(t, x.compute.Delete(ctx, by, s.ID))
				require.Empty(t, x.settled(t, s.ID))
				require.Equal(t, int64(0), x.usage(t)["cores"])
				x.clean(t)
			})
		})
	}
}

// A resize that finds no host, or would cut a disk, leaves the server as it was.
func TestResizeThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	x := newCloud(t, "", t.TempDir(), 2)
	x.unlimited(t)
	ctx, by := context.Background(), x.admin()
	s := x.one(t)
	before := x.usage(t)
	require.NoError(t, x.compute.Resize(ctx, by, s.ID, x.flavor(t, "huge", 1, 1<<20), nil))
	r := x.settled(t, s.ID)[0]
	require.Equal(t, compute.Active, r.VMState)
	require.Equal(t, before, x.usage(t))
	m := x.migrationsOf(t, s.ID)
	require.Equal(t, compute.MigrationError, m[0].Status)
	x.clean(t)
	require.Equal(t, fault.KindInvalid, fault.KindOf(x.compute.Migrate(ctx, by, s.ID, s.Host)))
	require.Equal(t, fault.KindInvalid, fault.KindOf(x.compute.Migrate(ctx, by, s.ID, "nowhere")))
	require.Equal(t, compute.None, x.settled(t, s.ID)[0].TaskState)
	x.clean(t)
}

func TestMigrateLiveAndEvacuate(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		x := newCloud(t, url, t.TempDir(), 3)
		ctx, by := context.Background(), x.admin()
		s := x.one(t)
		ports := func(host string) {
			all, err := x.networks.Ports(ctx, network.Scope{Admin: true}, network.Query{DeviceIDs: []string{s.ID}})
			require.NoError(t, err)
			for _, p := range all {
				require.Equal(t, host, p.Host)
				require.Equal(t, "ACTIVE", p.Status)
			}
		}

		require.NoError(t, x.compute.Migrate(ctx, by, s.ID, ""))
		r := x.settled(t, s.ID)[0]
		require.Equal(t, compute.Resized, r.VMState, "%v", r.Fault.V)
		require.NotEqual(t, s.Host, r.Host)
		ports(r.Host)
		x.clean(t)
		require.NoError(t, x.compute.Confirm(ctx, by, s.ID))
		require.Equal(t, compute.Active, x.settled(t, s.ID)[0].VMState)
		x.clean(t)

		require.NoError(t, x.compute.LiveMigrate(ctx, by, s.ID, compute.LiveRequest{Host: s.Host}))
		r = x.settled(t, s.ID)[0]
		require.Equal(t, compute.Active, r.VMState)
		require.Equal(t, s.Host, r.Host, "%v", r.Fault.V)
		ports(r.Host)
		require.Equal(t, compute.MigrationCompleted, x.migrationsOf(t, s.ID)[0].Status)
		x.clean(t)

		require.NoError(t, x.compute.Power(ctx, by, s.ID, compute.ActionPause))
		x.settled(t, s.ID)
		require.NoError(t, x.compute.LiveMigrate(ctx, by, s.ID, compute.LiveRequest{}))
		r = x.settled(t, s.ID)[0]
		require.Equal(t, compute.Paused, r.VMState, "%v", r.Fault.V)
		require.NotEqual(t, s.Host, r.Host)
		require.NoError(t, x.compute.Power(ctx, by, s.ID, compute.ActionUnpause))
		x.settled(t, s.ID)

		_, err := x.compute.Evacuate(ctx, by, s.ID, compute.EvacuateRequest{})
		require.Equal(t, fault.KindInvalid, fault.KindOf(err), "a host that is up is not evacuated")
		require.NoError(t, x.registry.Update(ctx, r.Host, func(h *compute.HostRow) { h.ForcedDown = true }))
		_, err = x.compute.Evacuate(ctx, by, s.ID, compute.EvacuateRequest{Stop: true})
		require.NoError(t, err)
		e := x.settled(t, s.ID)[0]
		require.Equal(t, compute.Stopped, e.VMState, "%v", e.Fault.V)
		require.NotEqual(t, r.Host, e.Host)
		require.NoError(t, x.registry.Update(ctx, r.Host, func(h *compute.HostRow) { h.ForcedDown = false }))
		require.Eventually(t, func() bool { // the old host is told at its next heartbeat
			rep, err := x.Fsck(ctx)
			return err == nil && len(rep.Problems) == 0
		}, 20*time.Second, 100*time.Millisecond)
		require.NoError(t, x.compute.Delete(ctx, by, s.ID))
		require.Empty(t, x.settled(t, s.ID))
		x.clean(t)
	})
}

// The process ends in the middle of moves; the next one brings them to an end.
func TestRestartInTheMiddleOfMoves(t *testing.T) {
	t.Parallel()
	eachDB(t, func(t *testing.T, url string) {
		dir := t.TempDir()
		x := newCloud(t, url, dir, 3)
		x.unlimited(t)
		ctx, by := context.Background(), x.admin()
		made, err := x.compute.Create(ctx, x.creds, x.request("many", 8))
		require.NoError(t, err)
		all := ids(made.Servers)
		x.settled(t, all...)
		for i, id := range all {
			if i%2 == 0 {
				require.NoError(t, x.compute.Migrate(ctx, by, id, ""))
			} else {
				require.NoError(t, x.compute.LiveMigrate(ctx, by, id, compute.LiveRequest{}))
			}
		}
		x.stop()
		y := newCloud(t, url, dir, 3)
		for _, s := range y.settled(t, all...) {
			require.Contains(t, []compute.VMState{compute.Active, compute.Resized}, s.VMState, "%v", s.Fault.V)
		}
		y.clean(t)
	})
}

func TestResizeConfirmsItself(t *testing.T) {
	t.Parallel()
	x := newCloud(t, "", t.TempDir(), 1)
	ctx, by := context.Background(), x.admin()
	s := x.one(t)
	require.NoError(t, x.compute.Resize(ctx, by, s.ID, x.flavor(t, "other", 1, 128), nil))
	x.settled(t, s.ID)
	n, err := x.compute.ConfirmOld(ctx, time.Hour)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = x.compute.ConfirmOld(ctx, 0)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, compute.Active, x.settled(t, s.ID)[0].VMState)
	x.clean(t)
}
