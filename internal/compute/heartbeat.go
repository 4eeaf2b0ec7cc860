package compute

import (
	"context"
	"maps"
	"slices"
	"time"

	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/scheduler"
)

// seenEvery is how often liveness is written to the rows; between, memory knows it.
const seenEvery = 30 * time.Second

// Sign is what of a heartbeat every controller wants to know.
type Sign struct {
	Host struct {
		Name    string    `json:"name"`
		Gateway bool      `json:"gateway"`
		Started time.Time `json:"started"`
	} `json:"host"`
	NetworkRevision int64 `json:"network_revision"`
}

// Overhear notes a heartbeat that this or another controller answers.
func (h *Hosts) Overhear(ctx context.Context, s Sign) {
	if !h.alive(s.Host.Name) {
		if err := h.Refresh(ctx, s.Host.Name); err != nil {
			return // whoever answers the heartbeat is just writing the row
		}
	}
	if h.Seen != nil {
		h.Seen(ctx, s.Host.Name, s.Host.Gateway, s.NetworkRevision)
	}
}

// alive notes a sign of life; false if the host is not known yet.
func (h *Hosts) alive(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, known := h.rows[name]
	h.seen[name] = h.Clock.Now()
	if !known {
		return false
	}
	if x := h.table.Get(name); x != nil && !x.Up {
		h.table.Change(name, func(x *scheduler.Host) {
			x.Up, x.Why = h.life(r)
			if r.Disabled {
				x.Why = "disabled"
			}
		})
	}
	return true
}

// Heartbeat is the answer of one controller: it registers a new or changed host, puts power states right, and tells the host which instances are not (or no
// longer) its own.
func (h *Hosts) Heartbeat(ctx context.Context, hb hostapi.Heartbeat) (hostapi.HeartbeatReply, error) {
	h.alive(hb.Host.Name)
	h.mu.Lock()
	row, known := h.rows[hb.Host.Name]
	h.mu.Unlock()
	if !known || row.Info.V != hb.Host {
		if err := h.register(ctx, hb.Host); err != nil {
			return hostapi.HeartbeatReply{}, err
		}
	}
	reply := hostapi.HeartbeatReply{Time: h.Clock.Now(), Known: true}
	if h.Seen != nil {
		reply.NetworkRevision, reply.MembersRevision = h.Seen(ctx, hb.Host.Name, hb.Host.Gateway, hb.NetworkRevision)
	}
	var err error
	reply.Destroy, err = h.reconcile(ctx, hb)
	return reply, err
}

// syncPower follows what a guest did by itself (Nova's power sync): a guest that is off while its server is ACTIVE or PAUSED makes it stopped. A guest that runs while its
// server is stopped (the stop was given up because its host did not answer, or the host came back with old state) makes it ACTIVE: Nova stops it, here the server shows
// what is so, and its owner decides; the same with one that is suspended. The condition in the UPDATE lets any act that began meanwhile win.
func (h *Hosts) syncPower(ctx context.Context, s placedServer, power hostapi.PowerState) error {
	to := s.VMState
	switch {
	case (s.VMState == Active || s.VMState == Paused) && (power == hostapi.PowerShutdown || power == hostapi.PowerCrashed):
		to = Stopped
	case s.VMState == Active && power == hostapi.PowerPaused:
		to = Paused
	case (s.VMState == Paused || s.VMState == Stopped) && power == hostapi.PowerRunning:
		to = Active
	case s.VMState == Stopped && power == hostapi.PowerPaused:
		to = Paused
	case (s.VMState == Active || s.VMState == Paused || s.VMState == Stopped) && power == hostapi.PowerSuspended: // a suspension that was given up since its host did not answer, and had come about
		to = Suspended
	case s.VMState == Suspended && power == hostapi.PowerRunning:
		to = Active
	case s.VMState == Suspended && power == hostapi.PowerPaused:
		to = Paused
	case s.VMState == Suspended:
		return nil
	}
	return h.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE servers SET vm_state = ?, power_state = ?, updated_at = ?, generation = generation + 1
			WHERE id = ? AND epoch = ? AND task_state = '' AND vm_state = ? AND deleted = FALSE`, to, power, db.Now(), s.ID, s.Epoch, s.VMState)
		return err
	})
}

// Run keeps the registry fresh until ctx ends: it judges silence, writes liveness now and then, and reads what other controllers did.
func (h *Hosts) Run(ctx context.Context) error {
	tick := h.Clock.NewTicker(hostapi.HeartbeatEvery)
	defer tick.Stop()
	last := h.Clock.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.Chan():
		}
		if h.Clock.Now().Sub(last) >= seenEvery {
			last = h.Clock.Now()
			if err := h.writeSeen(ctx); err != nil && ctx.Err() == nil {
				h.Log.Warn("liveness of hosts not written", "err", err)
			}
			if err := h.Load(ctx); err != nil && ctx.Err() == nil {
				h.Log.Warn("hosts not read", "err", err)
			}
		}
		h.judge()
	}
}

// judge marks hosts that fell silent.
func (h *Hosts) judge() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, r := range h.rows {
		up, why := h.life(r)
		if x := h.table.Get(name); x != nil && x.Up != up {
			h.Log.Info("host changed", "host", name, "up", up, "why", why)
			h.table.Change(name, func(x *scheduler.Host) {
				x.Up = up
				if !r.Disabled {
					x.Why = why
				}
			})
		}
	}
}

// seenAtOnce is how many hosts' liveness one statement, and one transaction, writes: the writer is not held from others for thousands.
const seenAtOnce = 500

// writeSeen writes when hosts were last heard. Those heard in the same second share a statement: the rows know it a second less exactly than memory.
func (h *Hosts) writeSeen(ctx context.Context) error {
	heard := map[time.Time][]string{}
	h.mu.Lock()
	for name, t := range h.seen {
		t = t.Truncate(time.Second)
		heard[t] = append(heard[t], name)
	}
	h.mu.Unlock()
	for _, t := range slices.SortedFunc(maps.Keys(heard), time.Time.Compare) { // in one order, which a simulation gives again
		names := heard[t]
		slices.Sort(names)
		for some := range slices.Chunk(names, seenAtOnce) {
			err := h.DB.Write(ctx, func(tx *db.Tx) error {
				_, err := tx.Exec(ctx, `UPDATE hosts SET seen_at = ? WHERE name IN (?) AND seen_at < ?`, db.At(t), some, db.At(t))
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
