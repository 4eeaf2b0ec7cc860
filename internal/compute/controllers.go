package compute

import (
	"context"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
)

const (
	controllerEvery     = 20 * time.Second
	controllerDownAfter = 3 * controllerEvery // Nova's service_down_time
)

// Controller is one process that decides and keeps workflows going: what Nova calls a conductor and a scheduler.
type Controller struct {
	Name        string  `db:"name"`
	ConductorID string  `db:"conductor_id"` // os-services uuids
	SchedulerID string  `db:"scheduler_id"`
	Seen        db.Time `db:"seen_at"`
	Created     db.Time `db:"created_at"`
}

// Up says whether the controller has given a sign of life lately.
func (c *Controller) Up(now time.Time) bool { return now.Sub(c.Seen.Time) < controllerDownAfter }

// SeenController writes a sign of life of the controller of that name. The row outlives the process: a controller that does not come back is shown as down until
// an admin deletes it.
func (s *Service) SeenController(ctx context.Context, name string) error {
	now := db.At(s.Clock.Now())
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO controllers (name, conductor_id, scheduler_id, seen_at, created_at) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET seen_at = excluded.seen_at`, name, uuid.NewString(), uuid.NewString(), now, now)
		return err
	})
}

// RunController gives this controller's signs of life until ctx ends, and clears consoles nobody may open any more.
func (s *Service) RunController(ctx context.Context, name string) error {
	tick := s.Clock.NewTicker(controllerEvery)
	defer tick.Stop()
	for {
		if err := s.SeenController(ctx, name); err != nil && ctx.Err() == nil {
			s.Log.Warn("controller cannot note that it lives", "controller", name, "err", err)
		}
		if err := s.dropExpiredConsoles(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("expired console tokens stay", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.Chan():
		}
	}
}

// Controllers lists all controllers by name.
func Controllers(ctx context.Context, tx *db.Tx) ([]Controller, error) {
	var out []Controller
	return out, tx.Select(ctx, &out, `SELECT * FROM controllers ORDER BY name`)
}

// RemoveController forgets a controller; one that lives comes back with its next sign.
func (s *Service) RemoveController(ctx context.Context, name string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM controllers WHERE name = ?`, name)
		if err == nil && n == 0 {
			return fault.NotFound("Host '%s' could not be found.", name)
		}
		return err
	})
}

// HeldOfHost is what one project's servers take of a host.
type HeldOfHost struct {
	Project                string
	VCPUs, RAMMiB, DiskGiB int
}

// HeldOn adds up by project what the servers of a host take by their flavors, in the order of the project ids.
func HeldOn(ctx context.Context, tx *db.Tx, host string) ([]HeldOfHost, error) {
	var rows []struct {
		Project string          `db:"project_id"`
		Flavor  db.JSON[Flavor] `db:"flavor"`
	}
	if err := tx.Select(ctx, &rows, `SELECT project_id, flavor FROM servers WHERE host = ? AND deleted = FALSE ORDER BY project_id`, host); err != nil {
		return nil, err
	}
	var out []HeldOfHost
	for _, r := range rows {
		if len(out) == 0 || out[len(out)-1].Project != r.Project {
			out = append(out, HeldOfHost{Project: r.Project})
		}
		x, f := &out[len(out)-1], r.Flavor.V
		x.VCPUs, x.RAMMiB, x.DiskGiB = x.VCPUs+f.VCPUs, x.RAMMiB+f.RAMMiB, x.DiskGiB+f.RootGiB+f.EphemeralGiB
	}
	return out, nil
}
