package volume

import (
	"context"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/workflow"
)

// SnapshotParams are what a caller may choose.
type SnapshotParams struct {
	VolumeID          string
	Name, Description string
	Force             bool // also of a volume in use
	Metadata          map[string]string
}

// CreateSnapshot writes a snapshot, its quota and the workflow that copies the bytes.
func (s *Service) CreateSnapshot(ctx context.Context, by By, p SnapshotParams) (*Snapshot, error) {
	var sn *Snapshot
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		sn, err = s.CreateSnapshotIn(ctx, tx, by, p)
		return err
	})
	return sn, err
}

// CreateSnapshotIn is CreateSnapshot inside the caller's transaction.
func (s *Service) CreateSnapshotIn(ctx context.Context, tx *db.Tx, by By, p SnapshotParams) (*Snapshot, error) {
	if err := tx.Lock(ctx, "volume:"+p.VolumeID); err != nil {
		return nil, err
	}
	v, err := visible(ctx, tx, by, p.VolumeID)
	if err != nil {
		return nil, err
	}
	if v.Status != Available && !(p.Force && v.Status == InUse) || !v.Made {
		return nil, fault.Invalid("", "Invalid volume: Volume %s status must be available, but current status is: %s.", v.ID, v.Status)
	}
	server, err := holder(ctx, tx, v)
	if err != nil {
		return nil, err
	}
	sn := &Snapshot{ID: uuid.NewString(), VolumeID: v.ID, ProjectID: v.ProjectID, UserID: by.user(), Name: p.Name, Description: p.Description, SizeGiB: v.SizeGiB,
		Status: Creating, Host: v.Host, Metadata: db.AsJSON(nonNil(p.Metadata)), Epoch: 1, Created: db.Now()}
	if err := s.Quotas.Reserve(ctx, tx, sn.ProjectID, snapshotCharge(sn)); err != nil {
		return nil, err
	}
	if err := tx.Insert(ctx, "volume_snapshots", sn); err != nil {
		return nil, err
	}
	_, err = workflow.Begin(ctx, tx, s.Engine, s.flows.snapshot, by.subject(sn.ID, sn.ProjectID),
		copyState{VolumeID: v.ID, Host: v.Host, Epoch: 1, SizeGiB: v.SizeGiB, InUseBy: server}, 0)
	return sn, err
}

// snapshotCharge is a snapshot's quota: Cinder counts its size with the gigabytes too.
func snapshotCharge(sn *Snapshot) map[string]int64 {
	return map[string]int64{"snapshots": 1, "gigabytes": int64(sn.SizeGiB)}
}

// UpdateSnapshot changes a snapshot's words.
func (s *Service) UpdateSnapshot(ctx context.Context, by By, id string, p Patch) (*Snapshot, error) {
	return s.editSnapshot(ctx, by, id, func(sn *Snapshot) error {
		if p.Name != nil {
			sn.Name = *p.Name
		}
		if p.Description != nil {
			sn.Description = *p.Description
		}
		if p.Metadata != nil {
			sn.Metadata = db.AsJSON(p.Metadata)
		}
		return nil
	})
}

// SetSnapshotMetadata merges (or replaces) a snapshot's metadata and gives what is there now.
func (s *Service) SetSnapshotMetadata(ctx context.Context, by By, id string, m map[string]string, replace bool) (map[string]string, error) {
	sn, err := s.editSnapshot(ctx, by, id, func(sn *Snapshot) error {
		sn.Metadata = db.AsJSON(merge(sn.Metadata.V, m, replace))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sn.Metadata.V, nil
}

// DropSnapshotMetadata removes one key; a missing one is KindNotFound.
func (s *Service) DropSnapshotMetadata(ctx context.Context, by By, id, key string) error {
	_, err := s.editSnapshot(ctx, by, id, func(sn *Snapshot) (err error) {
		sn.Metadata.V, err = without(sn.Metadata.V, key)
		return err
	})
	return err
}

func (s *Service) editSnapshot(ctx context.Context, by By, id string, change func(*Snapshot) error) (*Snapshot, error) {
	var sn *Snapshot
	err := s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if err := tx.Lock(ctx, "snapshot:"+id); err != nil {
			return err
		}
		if sn, err = visibleSnapshot(ctx, tx, by, id); err != nil {
			return err
		}
		if err := change(sn); err != nil {
			return err
		}
		sn.Updated = db.Now()
		_, err = tx.Exec(ctx, `UPDATE volume_snapshots SET name = ?, description = ?, metadata = ?, updated_at = ? WHERE id = ?`,
			sn.Name, sn.Description, sn.Metadata, sn.Updated, id)
		return err
	})
	return sn, err
}

// ResetSnapshotStatus sets a status by hand.
func (s *Service) ResetSnapshotStatus(ctx context.Context, by By, id, status string) error {
	if !Status(status).in(Creating, Available, Deleting, Errored, ErrorDeleting) {
		return fault.Invalid("status", "Invalid status: '%s'", status)
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := visibleSnapshot(ctx, tx, by, id); err != nil {
			return err
		}
		if _, err := s.Engine.Cancel(ctx, tx, id); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE volume_snapshots SET status = ?, epoch = epoch + 1, updated_at = ? WHERE id = ?`, status, db.Now(), id)
		return err
	})
}

// DeleteSnapshot begins the deletion of a snapshot. Force deletes whatever its status.
func (s *Service) DeleteSnapshot(ctx context.Context, by By, id string, force bool) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error { return s.deleteSnapshot(ctx, tx, by, id, force) })
}

// DeleteSnapshotIn begins the deletion of a snapshot whatever its status, inside the caller's transaction. No error when it is gone.
func (s *Service) DeleteSnapshotIn(ctx context.Context, tx *db.Tx, by By, id string) error {
	err := s.deleteSnapshot(ctx, tx, by, id, true)
	if fault.IsNotFound(err) {
		return nil
	}
	return err
}

func (s *Service) deleteSnapshot(ctx context.Context, tx *db.Tx, by By, id string, force bool) error {
	if err := tx.Lock(ctx, "snapshot:"+id); err != nil {
		return err
	}
	sn, err := visibleSnapshot(ctx, tx, by, id)
	if err != nil {
		return err
	}
	if err := s.enterSnapshotDelete(ctx, tx, sn, force); err != nil {
		return err
	}
	_, err = workflow.Begin(ctx, tx, s.Engine, s.flows.unsnapshot, by.subject(id, sn.ProjectID),
		copyState{VolumeID: sn.VolumeID, Host: sn.Host, Epoch: sn.Epoch}, 0)
	return err
}

// enterSnapshotDelete marks a snapshot as being deleted, with a new epoch.
func (s *Service) enterSnapshotDelete(ctx context.Context, tx *db.Tx, sn *Snapshot, force bool) error {
	if !force && !sn.Status.in(Available, Errored, ErrorDeleting) {
		return fault.Invalid("", "Invalid snapshot: Snapshot %s status must be available or error, but current status is: %s.", sn.ID, sn.Status)
	}
	if n, err := dependants(ctx, tx, "snapshot_id", sn.ID); err != nil || n > 0 {
		if err == nil {
			err = fault.Invalid("", "Invalid snapshot: Snapshot %s is being copied to %d volumes.", sn.ID, n)
		}
		return err
	}
	if _, err := s.Engine.Cancel(ctx, tx, sn.ID); err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `UPDATE volume_snapshots SET status = ?, epoch = epoch + 1, fault = '', updated_at = ? WHERE id = ? AND epoch = ? AND status = ?`,
		Deleting, db.Now(), sn.ID, sn.Epoch, sn.Status)
	if err == nil && n != 1 {
		err = fault.Conflict("snapshot %s was changed by another request meanwhile", sn.ID)
	}
	sn.Status, sn.Epoch = Deleting, sn.Epoch+1
	return err
}
