package volume

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
	return db.Migrations{Room: "volume", FS: sub}
}

func invalid(field, format string, a ...any) error { return fault.Invalid(field, format, a...) }

const selectVolume = `SELECT v.*, t.name AS type_name FROM volumes v JOIN volume_types t ON t.id = v.type_id `

func getVolume(ctx context.Context, tx *db.Tx, id string) (*Volume, error) {
	v := new(Volume)
	err := tx.Get(ctx, v, selectVolume+`WHERE v.id = ?`, id)
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Volume %s could not be found.", id)
	}
	return v, err
}

func getSnapshot(ctx context.Context, tx *db.Tx, id string) (*Snapshot, error) {
	s := new(Snapshot)
	err := tx.Get(ctx, s, `SELECT * FROM volume_snapshots WHERE id = ?`, id)
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Snapshot %s could not be found.", id)
	}
	return s, err
}

func getAttachment(ctx context.Context, tx *db.Tx, id string) (*Attachment, error) {
	a := new(Attachment)
	err := tx.Get(ctx, a, `SELECT * FROM volume_attachments WHERE id = ?`, id)
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Volume attachment could not be found with filter: attachment_id = %s.", id)
	}
	return a, err
}

// attachmentOf is a volume's attachment, nil if it has none.
func attachmentOf(ctx context.Context, tx *db.Tx, volumeID string) (*Attachment, error) {
	a := new(Attachment)
	err := tx.Get(ctx, a, `SELECT * FROM volume_attachments WHERE volume_id = ?`, volumeID)
	if errors.Is(err, db.ErrNoRows) {
		return nil, nil
	}
	return a, err
}

// row is Volume as its table has it.
type row struct {
	ID            string                     `db:"id"`
	ProjectID     string                     `db:"project_id"`
	UserID        string                     `db:"user_id"`
	Name          string                     `db:"name"`
	Description   string                     `db:"description"`
	SizeGiB       int                        `db:"size_gib"`
	ChargedGiB    int                        `db:"charged_gib"`
	Status        Status                     `db:"status"`
	TypeID        string                     `db:"type_id"`
	Zone          string                     `db:"zone"`
	Host          string                     `db:"host"`
	Bootable      bool                       `db:"bootable"`
	ImageID       string                     `db:"image_id"`
	ImageMetadata db.JSON[map[string]string] `db:"image_metadata"`
	Metadata      db.JSON[map[string]string] `db:"metadata"`
	SnapshotID    string                     `db:"snapshot_id"`
	SourceVolume  string                     `db:"source_volid"`
	Epoch         int64                      `db:"epoch"`
	Created       db.Time                    `db:"created_at"`
}

func insertVolume(ctx context.Context, tx *db.Tx, v *Volume) error {
	return tx.Insert(ctx, "volumes", row{ID: v.ID, ProjectID: v.ProjectID, UserID: v.UserID, Name: v.Name, Description: v.Description, SizeGiB: v.SizeGiB, ChargedGiB: v.SizeGiB, Status: v.Status,
		TypeID: v.TypeID, Zone: v.Zone, Host: v.Host, Bootable: v.Bootable, ImageID: v.ImageID, ImageMetadata: v.ImageMetadata, Metadata: v.Metadata,
		SnapshotID: v.SnapshotID, SourceVolume: v.SourceVolume, Epoch: 1, Created: v.Created})
}

// move is the one way a volume's status changes: compare and set. KindConflict when a later request was faster.
func move(ctx context.Context, tx *db.Tx, v *Volume, to Status) error {
	n, err := tx.Exec(ctx, `UPDATE volumes SET status = ?, updated_at = ? WHERE id = ? AND status = ? AND epoch = ?`, to, db.Now(), v.ID, v.Status, v.Epoch)
	if err != nil {
		return err
	}
	if n != 1 {
		return fault.Conflict("volume %s was changed by another request meanwhile", v.ID)
	}
	v.Status = to
	return nil
}

// raise is move that begins an operation on the host: it raises the epoch.
func raise(ctx context.Context, tx *db.Tx, v *Volume, to Status) error {
	n, err := tx.Exec(ctx, `UPDATE volumes SET status = ?, epoch = epoch + 1, fault = '', updated_at = ? WHERE id = ? AND status = ? AND epoch = ?`, to, db.Now(), v.ID, v.Status, v.Epoch)
	if err != nil {
		return err
	}
	if n != 1 {
		return fault.Conflict("volume %s was changed by another request meanwhile", v.ID)
	}
	v.Status, v.Epoch = to, v.Epoch+1
	return nil
}

// settle is what a workflow writes when it ends: only if its epoch is still the newest.
func settle(ctx context.Context, tx *db.Tx, id string, epoch int64, to Status, why string) error {
	_, err := tx.Exec(ctx, `UPDATE volumes SET status = ?, fault = ?, updated_at = ? WHERE id = ? AND epoch = ?`, to, why, db.Now(), id, epoch)
	return err
}

func settleSnapshot(ctx context.Context, tx *db.Tx, id string, epoch int64, to Status, why string) error {
	_, err := tx.Exec(ctx, `UPDATE volume_snapshots SET status = ?, fault = ?, updated_at = ? WHERE id = ? AND epoch = ?`, to, why, db.Now(), id, epoch)
	return err
}

func snapshotsOf(ctx context.Context, tx *db.Tx, volumeID string) ([]Snapshot, error) {
	var out []Snapshot
	err := tx.Select(ctx, &out, `SELECT * FROM volume_snapshots WHERE volume_id = ? ORDER BY created_at, id`, volumeID)
	return out, err
}

// dependants counts volumes that are being made from a volume or a snapshot right now: their source must stay.
func dependants(ctx context.Context, tx *db.Tx, column, id string) (int, error) {
	var n int
	err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM volumes WHERE `+column+` = ? AND made = FALSE AND status IN ('creating', 'downloading')`, id)
	return n, err
}
