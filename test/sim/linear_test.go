package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"nephos/internal/app"
	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	fakeplane "nephos/internal/host/dataplane/fake"
	fakehv "nephos/internal/host/hypervisor/fake"
	"nephos/internal/image"
	"nephos/internal/network"
	"nephos/internal/policy"
	"nephos/internal/quota"
	"nephos/internal/workflow"
)

// calm is a cloud in real time where nothing goes wrong: two controllers on one database, which take requests in turn.
type calm struct {
	t     *testing.T
	db    *db.DB
	ctl   []*control
	by    compute.By
	began time.Time
}

func newCalm(t *testing.T, d *db.DB, private string, hosts int, limits map[string]int64) *calm {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	w := newWire(1, func(string, ...any) {}, func(string) string { return "" })
	require.NoError(t, app.Migrate(ctx, d))
	c := &calm{t: t, db: d, began: time.Now()}
	for i := range controlCount {
		x := &control{name: fmt.Sprintf("c%d", i+1), base: d, wire: w, log: slog.New(slog.DiscardHandler), dir: dir, private: private}
		require.NoError(t, x.ready())
		c.ctl = append(c.ctl, x)
	}
	first := c.ctl[0].rooms
	project, err := first.Bootstrap(ctx, "secret")
	require.NoError(t, err)
	c.by = compute.By{Creds: &policy.Credentials{UserID: "u1", ProjectID: project, Roles: []string{"member", "reader"}}, RequestID: "req-1"}
	_, err = first.Images.Ensure(ctx, image.CreateParams{ID: imageID, Name: "tiny", Owner: project, Visibility: image.Public, DiskFormat: "raw", ContainerFormat: "bare"},
		func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil })
	require.NoError(t, err)
	require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
		for _, r := range []string{"instances", "cores", "ram", "port"} {
			n, ok := limits[r]
			if !ok {
				n = quota.Unlimited
			}
			if err := first.Quotas.SetLimit(ctx, tx, project, r, n); err != nil {
				return err
			}
		}
		return nil
	}))
	for _, x := range c.ctl {
		require.NoError(t, x.run(ctx))
	}
	var all []*host
	for i := range hosts {
		h := &host{name: fmt.Sprintf("h%d", i+1), dir: filepath.Join(dir), wire: w, log: slog.New(slog.DiscardHandler), kernel: &fakeplane.Host{}, script: &fakehv.Script{}, off: time.Duration(i) * time.Second}
		h.dir = t.TempDir()
		require.NoError(t, h.start(ctx))
		all = append(all, h)
	}
	t.Cleanup(func() {
		for _, h := range all {
			h.kill()
		}
		for _, x := range c.ctl {
			x.kill()
		}
		w.close()
	})
	require.Eventually(t, func() bool {
		return !slices.ContainsFunc(c.ctl, func(x *control) bool { return len(x.rooms.Registry.Snapshot().Hosts()) < hosts })
	}, 30*time.Second, 10*time.Millisecond)
	return c
}

func (c *calm) rooms(i int) *app.Rooms { return c.ctl[i%len(c.ctl)].rooms }

func (c *calm) create(i int, flavor string) (*compute.Server, error) {
	out, err := c.rooms(i).Compute.Create(context.Background(), c.by.Creds, compute.CreateRequest{RequestID: "req-1", Name: fmt.Sprintf("s%d", i), FlavorID: flavor, ImageID: imageID,
		NetworkMode: network.ModeAuto, Min: 1, Max: 1})
	if err != nil {
		return nil, err
	}
	return out.Servers[0], nil
}

// idle waits until nothing is under way on a server and gives its state; Deleted when it is gone.
func (c *calm) idle(i int, id string) (compute.VMState, error) {
	for {
		s, err := c.rooms(i).Compute.Get(context.Background(), c.by.Creds, id)
		if fault.IsNotFound(err) {
			return compute.Deleted, nil
		}
		if err != nil {
			return "", err
		}
		if s.TaskState == compute.None && s.VMState != compute.Building {
			return s.VMState, nil
		}
		time.Sleep(2 * time.Millisecond) // polls a state, as a client does
	}
}

// history gathers what clients did, for porcupine.
type history struct {
	mu  sync.Mutex
	ops []porcupine.Operation
}

func (h *history) do(client int, began time.Time, input any, fn func() any) any {
	call := time.Since(began).Nanoseconds()
	out := fn()
	ret := time.Since(began).Nanoseconds()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: input, Call: call, Output: out, Return: ret})
	return out
}

func (c *calm) clean() {
	c.t.Helper()
	problems, err := c.ctl[0].rooms.FsckRows(c.t.Context())
	require.NoError(c.t, err)
	require.Empty(c.t, problems)
}

// slots is the model of a quota: a create takes one or is refused because all are taken, a delete that is done gives one back.
func slots(limit int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			used := state.(int)
			switch {
			case input == "delete":
				return used > 0, used - 1
			case output == true:
				return used < limit, used + 1
			}
			return used == limit, used
		},
	}
}

func TestLastQuotaSlots(t *testing.T) {
	t.Parallel()
	const limit, clients, rounds = 3, 8, 4
	dbtest.Each(t, nil, func(t *testing.T, d *db.DB) {
		c := newCalm(t, d, "10.0.0.0/24", 2, map[string]int64{"instances": limit})
		var h history
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for range rounds {
					var s *compute.Server
					got := h.do(i, c.began, "create", func() any {
						var err error
						if s, err = c.create(i, "42"); err != nil && fault.KindOf(err) != fault.KindQuota {
							t.Errorf("create: %v", err)
						}
						return err == nil
					})
					if got == true {
						h.do(i, c.began, "delete", func() any {
							if err := c.rooms(i+1).Compute.Delete(context.Background(), c.by, s.ID); err != nil {
								t.Errorf("delete: %v", err)
							}
							if state, err := c.idle(i, s.ID); err != nil || state != compute.Deleted {
								t.Errorf("deleted server is %s: %v", state, err)
							}
							return nil
						})
					}
				}
			})
		}
		wg.Wait()
		for i := range limit + 1 { // one after the other: all slots, and one more
			h.do(i, c.began, "create", func() any {
				_, err := c.create(i, "42")
				return err == nil
			})
		}
		require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(slots(limit), h.ops, time.Minute))
		h.ops[len(h.ops)-1].Output = true
		require.Equal(t, porcupine.Illegal, porcupine.CheckOperationsTimeout(slots(limit), h.ops, time.Minute), "one server too many is not found")
		c.clean()
	})
}

// One host, memory for so many servers: exactly so many become ACTIVE, and the others say why not.
func TestLastMemoryOfAHost(t *testing.T) {
	t.Parallel()
	const fit = (hostRAM - 512) / 512
	dbtest.Each(t, nil, func(t *testing.T, d *db.DB) {
		c := newCalm(t, d, "10.0.0.0/24", 1, nil)
		var wg sync.WaitGroup
		states := make([]compute.VMState, 4*fit)
		for i := range states {
			wg.Go(func() {
				s, err := c.create(i, "1")
				if err == nil {
					states[i], err = c.idle(i, s.ID)
				}
				if err != nil {
					t.Errorf("create: %v", err)
				}
			})
		}
		wg.Wait()
		active, failed := 0, 0
		for _, s := range states {
			switch s {
			case compute.Active:
				active++
			case compute.Errored:
				failed++
			}
		}
		require.Equal(t, fit, active)
		require.Equal(t, len(states)-fit, failed)
		c.clean()
	})
}

func TestLastAddressOfAPool(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, nil, func(t *testing.T, d *db.DB) {
		c := newCalm(t, d, "10.0.0.0/28", 2, nil)
		const pool = 13 // .2 to .14: .1 is the gateway
		count := func() (n int) {
			require.NoError(t, d.Read(t.Context(), func(tx *db.Tx) error {
				return tx.Get(t.Context(), &n, `SELECT COUNT(DISTINCT address) FROM ip_allocations i JOIN ports p ON p.id = i.port_id WHERE address LIKE '%10.0.0.%' OR p.device_owner LIKE 'compute:%'`)
			}))
			return n
		}
		before := count()
		var mu sync.Mutex
		var wg sync.WaitGroup
		made := 0
		for i := range pool + 6 {
			wg.Go(func() {
				_, err := c.create(i, "42")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					made++
				case fault.KindOf(err) == fault.KindInternal:
					t.Errorf("create: %v", err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, before+made, count(), "as many addresses as ports")
		require.GreaterOrEqual(t, made, pool-2, "the pool was not used up")
		_, err := c.create(1, "42")
		require.Error(t, err)
		c.clean()
	})
}

// machine is a server as its clients may see it. After an accepted act it may be busy until it is seen idle.
type machine struct {
	state compute.VMState
	busy  bool
}

type seen struct {
	accepted bool
	state    compute.VMState // of a look
}

var acts = map[string]struct {
	rule compute.ActionRule
	to   compute.VMState
}{"stop": {compute.ActionStop, compute.Stopped}, "start": {compute.ActionStart, compute.Active}, "pause": {compute.ActionPause, compute.Paused}, "unpause": {compute.ActionUnpause, compute.Active}}

// oneServer is the model of a server's actions: an act is accepted only when no other is under way and the state allows it, a refused one had a reason, and a look at the idle server
// shows where the last accepted act led.
var oneServer = porcupine.Model{
	Init: func() any { return machine{state: compute.Active} },
	Step: func(state, input, output any) (bool, any) {
		m, out := state.(machine), output.(seen)
		switch a, isAct := acts[input.(string)]; {
		case !isAct:
			return m.state == out.state, machine{state: m.state}
		case out.accepted:
			return slices.Contains(a.rule.From, m.state), machine{a.to, true}
		default:
			return m.busy || !slices.Contains(a.rule.From, m.state), m
		}
	},
}

func TestOneServersActions(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, nil, func(t *testing.T, d *db.DB) {
		c := newCalm(t, d, "10.0.0.0/24", 1, nil)
		s, err := c.create(0, "42")
		require.NoError(t, err)
		_, err = c.idle(0, s.ID)
		require.NoError(t, err)
		var h history
		var wg sync.WaitGroup
		names := []string{"stop", "start", "pause", "unpause", "look"}
		accepted := 0
		for i := range 6 {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			wg.Go(func() {
				for range 25 {
					name := names[r.IntN(len(names))]
					out := h.do(i, c.began, name, func() any {
						if name == "look" {
							state, err := c.idle(i, s.ID)
							if err != nil {
								t.Errorf("look: %v", err)
							}
							return seen{state: state}
						}
						err := c.rooms(r.IntN(2)).Compute.Power(context.Background(), c.by, s.ID, acts[name].rule)
						if err != nil && fault.KindOf(err) != fault.KindConflict {
							t.Errorf("%s: %v", name, err)
						}
						return seen{accepted: err == nil}
					})
					if out.(seen).accepted {
						h.mu.Lock()
						accepted++
						h.mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		if porcupine.CheckOperationsTimeout(oneServer, h.ops, time.Minute) != porcupine.Ok {
			slices.SortFunc(h.ops, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
			for _, op := range h.ops {
				t.Logf("%6d..%6d us client %d %s %+v", op.Call/1000, op.Return/1000, op.ClientId, op.Input, op.Output)
			}
			require.NoError(t, d.Read(t.Context(), func(tx *db.Tx) error {
				all, err := workflow.History(t.Context(), tx, s.ID)
				for _, w := range all {
					t.Logf("%s %s %s %s", w.Created.Format("05.000000"), w.Kind, w.Status, w.Err)
				}
				return err
			}))
			t.Fatal("the history is not that of one server")
		}
		require.Greater(t, accepted, 2)
		// Deletes of one server: all are accepted or find it gone, and it goes once.
		var gone sync.WaitGroup
		for i := range 8 {
			gone.Go(func() {
				if err := c.rooms(i).Compute.Delete(context.Background(), c.by, s.ID); err != nil && !fault.IsNotFound(err) {
					t.Errorf("delete: %v", err)
				}
			})
		}
		gone.Wait()
		state, err := c.idle(0, s.ID)
		require.NoError(t, err)
		require.Equal(t, compute.Deleted, state)
		c.clean()
	})
}
