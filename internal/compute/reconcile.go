package compute

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"nephos/internal/db"
	"nephos/internal/hostapi"
)

// lostAfter is how long a server must have been left alone, when the host had its last answer, before the host's silence about it means that it has lost it: a heartbeat
// may be older than the server, however late it comes, but not older than the answer to the one before it. The time is for controllers whose clocks differ.
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
	Updated db.Time            `db:"updated_at"`
	Moving  string             `db:"migration_id"`
}

// judgeEvery is how long a host whose heartbeat says nothing new is not held against the rows again: most heartbeats of most hosts say nothing new.
const judgeEvery = 20 * time.Second

// verdict is when a host was last found to be as the rows say, and by which heartbeat.
type verdict struct {
	at   time.Time
	said uint64 // sayings of the instances it told of
}

// sayings is the fingerprint of what a heartbeat says of instances. They come in the order of their ids.
func sayings(all []hostapi.InstanceStatus) uint64 {
	h := fnv.New64a()
	for _, i := range all {
		fmt.Fprintf(h, "%s %d %d %t\n", i.ServerID, i.Epoch, i.Power, i.Busy)
	}
	return h.Sum64()
}

// settled says that the host told the same a moment ago and all was well.
func (h *Hosts) settled(host string, said uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.verdicts[host]
	return ok && v.said == said && h.Clock.Now().Sub(v.at) < judgeEvery
}

// settle notes the outcome of a look at the rows.
func (h *Hosts) settle(host string, said uint64, well bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if well {
		h.verdicts[host] = verdict{h.Clock.Now(), said}
	} else {
		delete(h.verdicts, host)
	}
}

const placedColumns = `id, host, epoch, vm_state, task_state, power_state, deleted, updated_at, migration_id`

// reconcile holds what a host has against the rows. An instance whose server is deleted or elsewhere must go, unless the host has seen a newer epoch
// than the row (then a commit is on its way). An id with no row at all is not ours to judge: it is left and logged.
func (h *Hosts) reconcile(ctx context.Context, hb hostapi.Heartbeat) (map[string]int64, error) {
	said := sayings(hb.Instances)
	if h.settled(hb.Host.Name, said) {
		return nil, nil
	}
	have := make(map[string]hostapi.InstanceStatus, len(hb.Instances))
	for _, i := range hb.Instances {
		have[i.ServerID] = i
	}
	lost := hb.Answered.Add(-lostAfter)
	var rows []placedServer
	var kept map[string]bool
	err := h.DB.Read(ctx, func(tx *db.Tx) error {
		rows = nil
		var here []placedServer
		if err := tx.Select(ctx, &here, `SELECT `+placedColumns+` FROM servers WHERE host = ? AND deleted = FALSE`, hb.Host.Name); err != nil {
			return err
		}
		ours := make(map[string]bool, len(here))
		for _, s := range here {
			ours[s.ID] = true
			_, has := have[s.ID]
			if has || (s.VMState == Active || s.VMState == Paused) && s.Task == None && s.Updated.Before(lost) { // should be there, but the host does not have it
				rows = append(rows, s)
			}
		}
		var strange []string
		for id := range have {
			if !ours[id] {
				strange = append(strange, id)
			}
		}
		if len(strange) == 0 {
			return nil
		}
		var others []placedServer
		err := tx.Select(ctx, &others, `SELECT `+placedColumns+` FROM servers WHERE id IN (?)`, strange)
		rows = append(rows, others...)
		if err != nil {
			return err
		}
		kept, err = keptCopies(ctx, tx, hb.Host.Name, others)
		return err
	})
	if err != nil {
		return nil, err
	}
	destroy := map[string]int64{}
	well := true
	for _, s := range rows {
		i, there := have[s.ID]
		delete(have, s.ID)
		switch {
		case there && kept[s.ID]:
			well = false // when the move ends it may have to go
		case there && (s.Deleted || s.Host != hb.Host.Name):
			well = false
			if i.Epoch <= s.Epoch && !i.Busy {
				destroy[s.ID] = s.Epoch
			}
		case there && (i.Busy || i.Epoch > s.Epoch) || s.Task != None:
			well = false
		case there && i.Epoch < s.Epoch && !s.Updated.Before(lost):
			// The heartbeat is older than what has been asked since. When the row has been left alone for long, it is the command that never came to the host, or a
			// host that has come back without its memory of it: then what the host says of the guest counts.
			well = false
		case !there:
			well = false
			err = errors.Join(err, h.syncPower(ctx, s, hostapi.PowerShutdown))
		case i.Power != s.Power && i.Power != hostapi.PowerNone:
			well = false
			err = errors.Join(err, h.syncPower(ctx, s, i.Power))
		}
	}
	for id := range have {
		well = false
		h.Log.Warn("host holds an instance that has no server", "host", hb.Host.Name, "instance", id)
	}
	h.settle(hb.Host.Name, said, well && err == nil)
	return destroy, err
}

// keptCopies are the servers among others that are not here but may have a copy here, since they are being moved from or to this host. An evacuated server's old
// host is no such place: what it still has must go, whoever thought it dead.
func keptCopies(ctx context.Context, tx *db.Tx, host string, others []placedServer) (map[string]bool, error) {
	var moving []string
	for _, s := range others {
		if s.Host != host && s.Moving != "" && !s.Deleted {
			moving = append(moving, s.Moving)
		}
	}
	if len(moving) == 0 {
		return nil, nil
	}
	var kept []string
	err := tx.Select(ctx, &kept, `SELECT server_id FROM migrations WHERE uuid IN (?) AND (dest_host = ? OR source_host = ? AND kind <> ?)`, moving, host, host, KindEvacuation)
	out := make(map[string]bool, len(kept))
	for _, id := range kept {
		out[id] = true
	}
	return out, err
}
