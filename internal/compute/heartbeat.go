package compute

import (
	"context"
	"errors"
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
	reply := hostapi.HeartbeatReply{Known: true}
	if h.Seen != nil {
		reply.NetworkRevision, reply.MembersRevision = h.Seen(ctx, hb.Host.Name, hb.Host.Gateway, hb.NetworkRevision)
	}
	var err error
	reply.Destroy, err = h.reconcile(ctx, hb)
	return reply, err
}

// lostAfter is how long a server must have been left alone before a host's silence about it means that the host has lost it: the heartbeat may be
// older than the server.
const lostAfter = 2 * downAfter

// placedServer is what reconciliation needs of a server.
type placedServer struct {
	ID      string             `db:"id"`
	Host    string             `db:"host"`
	Epoch   int64              `db:"epoch"`
	VMState VMState            `db:"vm_state"`
	Task    TaskState          `db:"task_state"`
	Power   hostapi.PowerState `db:"power_state"`
	Deleted bool               `db:"deleted"`
}

// reconcile holds what a host has against the rows. An instance whose server is deleted or elsewhere must go, unless the host has seen a newer epoch
// than the row (then a commit is on its way). An id with no row at all is not ours to judge: it is left and logged.
func (h *Hosts) reconcile(ctx context.Context, hb hostapi.Heartbeat) (map[string]int64, error) {
	have := make(map[string]hostapi.InstanceStatus, len(hb.Instances))
	ids := make([]string, 0, len(hb.Instances))
	for _, i := range hb.Instances {
		have[i.ServerID] = i
		ids = append(ids, i.ServerID)
	}
	var rows []placedServer
	err := h.DB.Read(ctx, func(tx *db.Tx) error {
		rows = nil
		if len(ids) > 0 {
			if err := tx.Select(ctx, &rows, `SELECT id, host, epoch, vm_state, task_state, power_state, deleted FROM servers WHERE id IN (?)`, ids); err != nil {
				return err
			}
		}
		var lost []placedServer // should be there, but the host does not have them
		if err := tx.Select(ctx, &lost, `SELECT id, host, epoch, vm_state, task_state, power_state, deleted FROM servers WHERE host = ? AND deleted = FALSE AND vm_state = 'active' AND task_state = '' AND updated_at < ?`,
			hb.Host.Name, db.At(h.Clock.Now().Add(-lostAfter))); err != nil {
			return err
		}
		for _, s := range lost {
			if _, ok := have[s.ID]; !ok {
				rows = append(rows, s)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	destroy := map[string]int64{}
	for _, s := range rows {
		i, there := have[s.ID]
		delete(have, s.ID)
		switch {
		case there && (s.Deleted || s.Host != hb.Host.Name):
			if i.Epoch <= s.Epoch && !i.Busy {
				destroy[s.ID] = s.Epoch
			}
		case there && (i.Busy || i.Epoch != s.Epoch) || s.Task != None: // the heartbeat is older than what has been asked since
		case !there:
			err = errors.Join(err, h.syncPower(ctx, s, hostapi.PowerShutdown))
		case i.Power != s.Power && i.Power != hostapi.PowerNone:
			err = errors.Join(err, h.syncPower(ctx, s, i.Power))
		}
	}
	for id := range have {
		h.Log.Warn("host holds an instance that has no server", "host", hb.Host.Name, "instance", id)
	}
	return destroy, err
}

// syncPower follows what a guest did by itself (Nova's power sync): a guest that is off while its server is ACTIVE makes it stopped. The condition in
// the UPDATE lets any act that began meanwhile win.
func (h *Hosts) syncPower(ctx context.Context, s placedServer, power hostapi.PowerState) error {
	to := s.VMState
	switch {
	case s.VMState == Active && (power == hostapi.PowerShutdown || power == hostapi.PowerCrashed):
		to = Stopped
	case s.VMState == Active && power == hostapi.PowerPaused:
		to = Paused
	case s.VMState == Paused && power == hostapi.PowerRunning:
		to = Active
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

func (h *Hosts) writeSeen(ctx context.Context) error {
	h.mu.Lock()
	seen := make(map[string]time.Time, len(h.seen))
	for name, t := range h.seen {
		seen[name] = t
	}
	h.mu.Unlock()
	return h.DB.Write(ctx, func(tx *db.Tx) error {
		for name, t := range seen {
			if _, err := tx.Exec(ctx, `UPDATE hosts SET seen_at = ? WHERE name = ? AND seen_at < ?`, db.At(t), name, db.At(t)); err != nil {
				return err
			}
		}
		return nil
	})
}
