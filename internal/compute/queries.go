package compute

import (
	"context"
	"embed"
	"errors"
	"io/fs"

	"nephos/internal/db"
	"nephos/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are this room's tables.
func Migrations() db.Migrations {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the path is embedded above
	}
	return db.Migrations{Room: "compute", FS: sub}
}

// GetServer reads a server that is not deleted; fault.KindNotFound otherwise.
func GetServer(ctx context.Context, tx *db.Tx, id string) (*Server, error) {
	var s Server
	err := tx.Get(ctx, &s, `SELECT * FROM servers WHERE id = ? AND deleted = FALSE`, id)
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Instance %s could not be found.", id)
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// BlockDevices lists a server's block devices, root first, then by device name.
func BlockDevices(ctx context.Context, tx *db.Tx, serverID string) ([]BlockDevice, error) {
	var out []BlockDevice
	err := tx.Select(ctx, &out, `SELECT * FROM block_devices WHERE server_id = ? ORDER BY CASE WHEN boot_index = 0 THEN 0 ELSE 1 END, device, created_at, id`, serverID)
	return out, err
}

// BlockDevicesOf lists the volumes attached to many servers, for views.
func BlockDevicesOf(ctx context.Context, tx *db.Tx, serverIDs []string) (map[string][]BlockDevice, error) {
	out := map[string][]BlockDevice{}
	if len(serverIDs) == 0 {
		return out, nil
	}
	var rows []BlockDevice
	if err := tx.Select(ctx, &rows, `SELECT * FROM block_devices WHERE server_id IN (?) AND volume_id <> '' ORDER BY device, created_at, id`, serverIDs); err != nil {
		return nil, err
	}
	for _, b := range rows {
		out[b.ServerID] = append(out[b.ServerID], b)
	}
	return out, nil
}

// move is the one way to change a server's states: it names the epoch it belongs to, and loses if a later command has taken over.
func move(ctx context.Context, tx *db.Tx, id string, epoch int64, set string, args ...any) error {
	q := `UPDATE servers SET ` + set + `, updated_at = ?, generation = generation + 1 WHERE id = ? AND epoch = ? AND deleted = FALSE`
	n, err := tx.Exec(ctx, q, append(args, db.Now(), id, epoch)...)
	if err == nil && n == 0 {
		return fault.Conflict("server %s was taken over by a later request", id)
	}
	return err
}

// Move changes columns of a server at the given epoch, for the conductor's step commits; fault.KindConflict when the epoch has moved on. set is
// a constant list of assignments.
func Move(ctx context.Context, tx *db.Tx, id string, epoch int64, set string, args ...any) error {
	return move(ctx, tx, id, epoch, set, args...)
}
