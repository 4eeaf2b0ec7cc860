package conductor

import (
	"context"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

type deleteState struct {
	Host  string `json:"host"`
	Other string `json:"other,omitempty"` // where a migration under way has a copy
	Epoch int64  `json:"epoch"`
}

// declareDelete: first the machine goes, then in one transaction all that the server owns. If the process dies between the two, the second is done by
// whoever takes over; the host answers a repeated destroy with success.
func (c *Conductor) declareDelete() *workflow.Definition[deleteState] {
	return &workflow.Definition[deleteState]{
		Kind:     "server.delete",
		Deadline: 10 * time.Minute,
		Steps: []workflow.Step[deleteState]{
			{Name: "destroy", Do: c.destroyServer, Commit: c.releaseServer},
		},
		Fail: c.deleteFailed,
	}
}

// BeginDelete implements compute.Conductor.
func (c *Conductor) BeginDelete(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject) error {
	state := deleteState{Host: s.Host, Epoch: s.Epoch}
	if s.MigrationID != "" {
		m, err := compute.OpenMigration(ctx, tx, s)
		if err != nil {
			return err
		}
		if state.Other = m.Source; state.Other == s.Host {
			state.Other = m.Dest
		}
	}
	_, err := workflow.Begin(ctx, tx, c.Engine, c.remove, subject(s, by), state, 0)
	return err
}

// destroyServer removes guest, disks and taps. A host that is down is not waited for (Nova's local delete): its next heartbeat is told to let go.
func (c *Conductor) destroyServer(ctx context.Context, r *workflow.Run[deleteState]) error {
	if other := r.State.Other; other != "" && other != r.State.Host {
		err := c.destroy(ctx, other, hostapi.Command{ID: r.CommandID("destroy-copy"), Subject: r.Subject, Epoch: r.State.Epoch, Turn: r.Turn(), Op: hostapi.OpDestroy, Trace: r.RequestID})
		if err != nil {
			return err
		}
	}
	r.OnHost(r.State.Host)
	if r.State.Host == "" {
		return nil
	}
	return c.destroy(ctx, r.State.Host, hostapi.Command{ID: r.CommandID("destroy"), Subject: r.Subject, Epoch: r.State.Epoch, Turn: r.Turn(), Op: hostapi.OpDestroy, Trace: r.RequestID})
}

func (c *Conductor) releaseServer(ctx context.Context, tx *db.Tx, r *workflow.Run[deleteState]) error {
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil {
		return err
	}
	if shelf := s.Shelf.V; shelf != nil && shelf.ImageID != "" {
		if err := c.Images.DeleteIn(ctx, tx, shelf.ImageID); err != nil {
			return err
		}
	}
	if err := compute.Forget(ctx, tx, c.Hosts, c.Quotas, s); err != nil {
		return err
	}
	if err := c.Networks.ReleaseServer(ctx, tx, s.ID); err != nil {
		return err
	}
	if err := c.releaseVolumes(ctx, tx, s.ID); err != nil {
		return err
	}
	return compute.Move(ctx, tx, s.ID, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = 0, deleted = TRUE, terminated_at = ?`, compute.Deleted, compute.None, db.Now())
}

func (c *Conductor) deleteFailed(ctx context.Context, tx *db.Tx, r *workflow.Run[deleteState], f workflow.Failure) error {
	why := compute.Fault{Code: 500, Message: "The server could not be deleted: " + fault.Message(f.Err), Details: "step " + f.Step, Created: db.Now()}
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, fault = ?`, compute.Errored, compute.None, db.AsJSON(&why))
}
