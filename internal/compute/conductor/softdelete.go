package conductor

import (
	"context"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// softStop stops a server that is deleted for later. A host that is down has stopped it, or stops it when it is reclaimed.
func (c *Conductor) softStop(ctx context.Context, r *actRun) error {
	return c.undo(ctx, r, "stop", hostapi.Command{Op: hostapi.OpStop, Grace: guestGrace})
}

// softDeleted gives the quota back, as Nova does; everything else stays for the restore.
func (c *Conductor) softDeleted(ctx context.Context, tx *db.Tx, r *actRun) error {
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil {
		return err
	}
	if err := c.Quotas.Release(ctx, tx, s.ProjectID, s.Charge()); err != nil {
		return err
	}
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, soft_deleted_at = ?`, compute.SoftDeleted, compute.None, hostapi.PowerShutdown, db.Now())
}

func (c *Conductor) startAgain(ctx context.Context, r *actRun) error {
	_, spec, err := c.specOf(ctx, r)
	if err != nil {
		return err
	}
	return c.tell(ctx, r, "start", hostapi.Command{Op: hostapi.OpStart, Spec: spec})
}

func (c *Conductor) restored(ctx context.Context, tx *db.Tx, r *actRun) error {
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, soft_deleted_at = 0, fault = ''`, compute.Active, compute.None, hostapi.PowerRunning)
}

// restoreFailed gives back the quota that the request took: the server stays deleted.
func (c *Conductor) restoreFailed(ctx context.Context, tx *db.Tx, r *actRun, f workflow.Failure) error {
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil {
		return err
	}
	if err := c.Quotas.Release(ctx, tx, s.ProjectID, s.Charge()); err != nil {
		return err
	}
	return c.actFailed(ctx, tx, r, f)
}
