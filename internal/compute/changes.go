package compute

import (
	"context"
	"slices"
	"strconv"
	"time"

	"nephos/internal/db"
)

// The change feed: who follows it reads the rows of servers by the time of their last change, outside any transaction that makes a change, so that it costs these
// nothing. A row shows its latest state; of several changes between two looks the last one is seen. Where reading stopped is a time, kept by the reader: nothing is lost when
// a process dies, and what was read twice is known by id and generation.

// settled is for how long a time of change may belong to a transaction that is not committed yet. SQLite commits at once; on PostgreSQL transactions run side by side.
func settled(d *db.DB) time.Duration {
	if d.Shared() {
		return 10 * time.Second
	}
	return 2 * time.Second
}

// changesAtOnce bounds one look.
const changesAtOnce = 2000

// Follower reads the servers that change, in the order of the times of their changes. Make one with Follow; it is used by one goroutine.
type Follower struct {
	d       *db.DB
	project string // "" for all
	from    db.Time
	seen    map[string]mark // what was handed out within the time that is not settled
	version uint64
	known   bool // version is of the last look
}

type mark struct {
	generation int64
	at         time.Time
}

// Follow begins after a time; project "" follows all.
func (s *Service) Follow(project string, after time.Time) *Follower {
	return &Follower{d: s.DB, project: project, from: db.At(after), seen: map[string]mark{}}
}

// Next gives the servers that have changed since the last call, or none. More may be there when it gives many.
func (f *Follower) Next(ctx context.Context, now time.Time) ([]*Server, error) {
	version, alone := f.d.Version("servers")
	if alone && f.known && version == f.version {
		return nil, nil
	}
	var rows []*Server
	err := f.d.Read(ctx, func(tx *db.Tx) error {
		rows = nil
		if f.project == "" {
			return tx.Select(ctx, &rows, `SELECT * FROM servers WHERE updated_at >= ? ORDER BY updated_at, id LIMIT ?`, f.from, changesAtOnce)
		}
		return tx.Select(ctx, &rows, `SELECT * FROM servers WHERE updated_at >= ? AND project_id = ? ORDER BY updated_at, id LIMIT ?`, f.from, f.project, changesAtOnce)
	})
	if err != nil {
		return nil, err
	}
	full := len(rows) == changesAtOnce
	if full { // the rest comes with the next look, from where this one ended
		f.from = rows[len(rows)-1].Updated
	}
	horizon := now.Add(-settled(f.d))
	if !full {
		f.version, f.known = version, true
		if f.from.Time.Before(horizon) {
			f.from = db.At(horizon)
		}
	}
	rows = slices.DeleteFunc(rows, func(s *Server) bool {
		old, ok := f.seen[s.ID]
		f.seen[s.ID] = mark{s.Generation, s.Updated.Time}
		return ok && old.generation == s.Generation
	})
	for id, m := range f.seen {
		if m.at.Before(f.from.Time) {
			delete(f.seen, id)
		}
	}
	return rows, nil
}

// EventID is the place of a change in the feed: who names it goes on after it.
func (s *Server) EventID() string {
	return strconv.FormatInt(s.Updated.Time.UnixMicro(), 10) + "-" + strconv.FormatInt(s.Generation, 10)
}
