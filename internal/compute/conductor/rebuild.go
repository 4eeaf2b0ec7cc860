package conductor

import (
	"context"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// rebuildTask is the same for every repetition of the rebuild and for its undo. A guest whose root volume is about to get new bytes only ends here; it starts with
// them.
func rebuildTask(r *actRun) *hostapi.RebuildTask {
	b := r.State.Rebuild
	return &hostapi.RebuildTask{Key: r.ID, KeepEphemeral: b.KeepEphemeral, PowerOn: r.State.From != compute.Stopped && b.VolumeID == ""}
}

func (c *Conductor) rebuildDisks(ctx context.Context, r *actRun) error {
	_, spec, err := c.specOf(ctx, r)
	if err != nil {
		return err
	}
	return c.tell(ctx, r, "rebuild", hostapi.Command{Op: hostapi.OpRebuild, Spec: spec, Rebuild: rebuildTask(r), Grace: guestGrace})
}

// unrebuildDisks has the old disks again, with the spec of the server as it was.
func (c *Conductor) unrebuildDisks(ctx context.Context, r *actRun) error {
	s, err := c.load(ctx, r.Subject, r.State.Epoch)
	if err != nil {
		return err
	}
	was := *s
	w := r.State.Rebuild.Was
	was.Name, was.Description, was.Hostname, was.ImageID, was.Image, was.Metadata = w.Name, w.Description, w.Hostname, w.ImageID, w.Image, w.Metadata
	was.KeyName, was.PublicKey, was.UserData, was.AdminPass = w.KeyName, w.PublicKey, w.UserData, ""
	spec, err := c.spec(ctx, &was)
	if err != nil {
		return err
	}
	task := rebuildTask(r)
	task.PowerOn = r.State.From != compute.Stopped
	return c.undo(ctx, r, "rebuild", hostapi.Command{Op: hostapi.OpRebuildUndo, Spec: spec, Rebuild: task})
}

// reimageVolume gives the root volume its new bytes and starts the server with them. The volume's old bytes are gone once they are there: whatever fails
// before that leaves them.
func (c *Conductor) reimageVolume(ctx context.Context, r *actRun) error {
	b := r.State.Rebuild
	if b.VolumeID == "" {
		return nil
	}
	if err := c.Volumes.Reimage(ctx, b.VolumeID, *b.Reimage, r.ID); err != nil {
		return err
	}
	if r.State.From == compute.Stopped {
		return nil
	}
	_, spec, err := c.specOf(ctx, r)
	if err != nil {
		return err
	}
	return c.tell(ctx, r, "start", hostapi.Command{Op: hostapi.OpStart, Spec: spec})
}

func (c *Conductor) cleanRebuild(ctx context.Context, r *actRun) error {
	return c.tell(ctx, r, "clean", hostapi.Command{Op: hostapi.OpRebuildDone, Rebuild: rebuildTask(r)})
}

func (c *Conductor) rebuilt(ctx context.Context, tx *db.Tx, r *actRun) error {
	to, power := compute.Active, hostapi.PowerRunning
	if r.State.From == compute.Stopped {
		to, power = compute.Stopped, hostapi.PowerShutdown
	}
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, fault = '', launched_at = ?, admin_pass = '', personality = '[]'`, to, compute.None, power, db.Now())
}

// rebuildFailed has the row as it was. Nova's clients wait for ACTIVE and would take the old server for the new one, so it is in ERROR; a hard reboot ends that.
func (c *Conductor) rebuildFailed(ctx context.Context, tx *db.Tx, r *actRun, f workflow.Failure) error {
	if err := compute.SetIdentity(ctx, tx, r.Subject, r.State.Epoch, r.State.Rebuild.Was, `admin_pass = '', personality = '[]'`); err != nil {
		return err
	}
	return c.settle(ctx, tx, r, f, compute.Errored)
}
