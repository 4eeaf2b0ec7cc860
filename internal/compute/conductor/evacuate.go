package conductor

import (
	"context"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// declareEvacuate makes a server anew on another host. Its old host is not asked: it is down. The epoch keeps it from doing anything with the server, and its first heartbeat is answered
// with the order to let go of its copy.
func (c *Conductor) declareEvacuate() *workflow.Definition[moveState] {
	return &workflow.Definition[moveState]{
		Kind: "server.evacuate", Deadline: moveDeadline,
		Steps: []workflow.Step[moveState]{
			{Name: "schedule", Commit: c.claimEvacuation, UndoCommit: c.unclaimEvacuation},
			{Name: "spawn", Do: c.spawnAnew, Commit: c.evacuated, Undo: func(ctx context.Context, r *workflow.Run[moveState]) error {
				return c.discard(ctx, r, r.State.Dest, "unspawn")
			}},
		},
		Fail: c.settleMove,
	}
}

// BeginEvacuate implements compute.Mover.
func (c *Conductor) BeginEvacuate(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, m *compute.Migration, adminPass string) error {
	return c.beginMove(ctx, tx, c.moves.evacuate, s, by, m, adminPass)
}

// claimEvacuation also hands the server over: whatever its old host still does with it is of an older epoch.
func (c *Conductor) claimEvacuation(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	if err := c.claimDest(compute.RebuildSpawning, compute.MigrationPre)(ctx, tx, r); err != nil {
		return err
	}
	if err := compute.Move(ctx, tx, r.Subject, r.State.Epoch, `host = ?, zone = ?, epoch = epoch + 1`, r.State.Dest, c.Hosts.Zone(r.State.Dest)); err != nil {
		return err
	}
	r.State.Epoch++
	return c.Networks.Rebind(ctx, tx, r.Subject, r.State.Dest)
}

// unclaimEvacuation names the old host again: the server can be evacuated once more, or is found there when the host returns.
func (c *Conductor) unclaimEvacuation(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	if err := c.unclaimDest(ctx, tx, r); err != nil {
		return err
	}
	if err := compute.Move(ctx, tx, r.Subject, r.State.Epoch, `host = ?, zone = ?`, r.State.Source, c.Hosts.Zone(r.State.Source)); err != nil {
		return err
	}
	return c.Networks.Rebind(ctx, tx, r.Subject, r.State.Source)
}

func (c *Conductor) spawnAnew(ctx context.Context, r *workflow.Run[moveState]) error {
	spec, err := c.moveSpec(ctx, r, newFlavor)
	if err != nil {
		return err
	}
	spec.Metadata.AdminPass = r.State.AdminPass
	_, err = c.ask(ctx, r, r.State.Dest, "spawn", hostapi.OpMoveIn, spec, hostapi.MoveTask{PowerOn: r.State.From != compute.Stopped, Fresh: true})
	return err
}

func (c *Conductor) evacuated(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	s, m, err := place(ctx, tx, r)
	if err != nil {
		return err
	}
	if err := compute.LeaveSource(ctx, tx, c.Hosts, c.Quotas, s, m, compute.MigrationDone); err != nil {
		return err
	}
	to, power := compute.Active, hostapi.PowerRunning
	if r.State.From == compute.Stopped {
		to, power = compute.Stopped, hostapi.PowerShutdown
	}
	c.Hosts.Built(tx, r.State.Dest, r.Subject)
	r.State.AdminPass = ""
	if err := compute.Move(ctx, tx, s.ID, s.Epoch, `vm_state = ?, task_state = ?, power_state = ?, launched_at = ?, fault = ''`, to, compute.None, power, db.Now()); err != nil {
		return err
	}
	return c.Networks.PortsActive(ctx, tx, s.ID)
}
