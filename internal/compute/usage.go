package compute

import (
	"context"
	"time"

	"nephos/internal/db"
)

// UsedServer is a server as os-simple-tenant-usage counts it: it uses what its flavor names from its launch to its end.
type UsedServer struct {
	ID         string          `db:"id"`
	ProjectID  string          `db:"project_id"`
	Name       string          `db:"name"`
	Flavor     db.JSON[Flavor] `db:"flavor"`
	VMState    VMState         `db:"vm_state"`
	Launched   db.Time         `db:"launched_at"`
	Terminated db.Time         `db:"terminated_at"`
}

// UsedBetween lists the servers that ran at some moment of [start, end), deleted ones too, by project and launch; projectID "" means all.
func UsedBetween(ctx context.Context, tx *db.Tx, projectID string, start, end time.Time) ([]UsedServer, error) {
	q := `SELECT id, project_id, name, flavor, vm_state, launched_at, terminated_at FROM servers
		WHERE launched_at > 0 AND launched_at < ? AND (terminated_at = 0 OR terminated_at > ?)`
	args := []any{db.At(end), db.At(start)}
	if projectID != "" {
		q, args = q+` AND project_id = ?`, append(args, projectID)
	}
	var out []UsedServer
	err := tx.Select(ctx, &out, q+` ORDER BY project_id, launched_at, id`, args...)
	return out, err
}

// Hours is how long the server ran in [start, end).
func (u *UsedServer) Hours(start, end time.Time) float64 {
	from, to := u.Launched.Time, end
	if from.Before(start) {
		from = start
	}
	if !u.Terminated.IsZero() && u.Terminated.Time.Before(end) {
		to = u.Terminated.Time
	}
	if !to.After(from) {
		return 0
	}
	return to.Sub(from).Hours()
}
