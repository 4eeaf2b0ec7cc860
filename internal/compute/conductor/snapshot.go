package conductor

import (
	"context"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/volume"
)

// snapshotTask is what the host needs to make and send the image.
func (c *Conductor) snapshotTask(r *actRun) *hostapi.SnapshotTask {
	t := r.State.Image
	if c.UploadURL != nil {
		t.URL = c.UploadURL(r.Subject, t.ImageID)
	}
	return &t
}

// snapshotDisk copies the root disk on its host. Of a volume-backed server the volumes' own snapshots are waited for; a shelved one needs neither.
func (c *Conductor) snapshotDisk(ctx context.Context, r *actRun) error {
	switch {
	case len(r.State.Volumes) > 0:
		return c.awaitSnapshots(ctx, r.State.Volumes)
	case r.State.Image.ImageID == "":
		return nil
	}
	return c.tell(ctx, r, "snapshot", hostapi.Command{Op: hostapi.OpSnapshot, Snapshot: c.snapshotTask(r)})
}

// awaitSnapshots waits for workflows of the volume room that were begun together with this one.
func (c *Conductor) awaitSnapshots(ctx context.Context, ids []string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		left := 0
		err := c.DB.Read(ctx, func(tx *db.Tx) error {
			left = 0
			for _, id := range ids {
				sn, err := c.Volumes.Snapshot(ctx, tx, id)
				switch {
				case err != nil:
					return err
				case sn.Status == volume.Creating:
					left++
				case sn.Status != volume.Available:
					return fault.Conflict("snapshot %s of volume %s: %s", id, sn.VolumeID, sn.Fault)
				}
			}
			return nil
		})
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// dropSnapshot removes what snapshotDisk left on the host. Snapshots of volumes go in dropVolumeSnapshots' transaction.
func (c *Conductor) dropSnapshot(ctx context.Context, r *actRun) error {
	if len(r.State.Volumes) > 0 {
		return c.DB.Write(ctx, func(tx *db.Tx) error {
			for _, id := range r.State.Volumes {
				if err := c.Volumes.DeleteSnapshotIn(ctx, tx, volume.By{RequestID: r.RequestID}, id); err != nil && fault.KindOf(err) != fault.KindConflict {
					return err
				}
			}
			return nil
		})
	}
	if r.State.Image.ImageID == "" {
		return nil
	}
	return c.undo(ctx, r, "snapshot", hostapi.Command{Op: hostapi.OpSnapshotDrop, Snapshot: c.snapshotTask(r)})
}

// uploadImage has the host send the copy. What counts is the image room's word: an answer that was lost has not undone what was sent.
func (c *Conductor) uploadImage(ctx context.Context, r *actRun) error {
	if len(r.State.Volumes) > 0 || r.State.Image.ImageID == "" {
		return nil
	}
	whole, err := compute.ImageWhole(ctx, c.Images, r.State.Image.ImageID)
	if err != nil || whole {
		return err
	}
	if err := c.tell(ctx, r, "upload", hostapi.Command{Op: hostapi.OpUpload, Snapshot: c.snapshotTask(r)}); err != nil {
		return err
	}
	whole, err = compute.ImageWhole(ctx, c.Images, r.State.Image.ImageID)
	if err == nil && !whole {
		err = fault.Conflict("image %s did not become active", r.State.Image.ImageID)
	}
	return err
}

// rotate deletes backups that are too old. A backup that cannot be deleted does not undo the new one.
func (c *Conductor) rotate(ctx context.Context, r *actRun) error {
	if r.State.Backup == nil {
		return nil
	}
	if err := compute.RotateBackups(ctx, c.Images, r.Subject, *r.State.Backup); err != nil {
		c.Log.Warn("old backups not deleted", "server", r.Subject, "err", err)
		r.Explain("old backups were not deleted: " + fault.Message(err))
	}
	return nil
}

func (c *Conductor) imageMade(ctx context.Context, tx *db.Tx, r *actRun) error {
	if len(r.State.Volumes) > 0 {
		if err := c.Images.WholeIn(ctx, tx, r.State.Image.ImageID); err != nil {
			return err
		}
	}
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `task_state = ?, making = ''`, compute.None)
}
