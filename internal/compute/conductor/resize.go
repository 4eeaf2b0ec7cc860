package conductor

import (
	"context"
	"errors"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// declareMove is a resize or a cold migration up to VERIFY_RESIZE. Until its end the source has everything that it takes to go back.
func (c *Conductor) declareMove(kind string) *workflow.Definition[moveState] {
	return &workflow.Definition[moveState]{
		Kind: kind, Deadline: moveDeadline,
		Steps: []workflow.Step[moveState]{
			{Name: "schedule", Commit: c.claimDest(compute.ResizeMigrating, compute.MigrationMoving), UndoCommit: c.unclaimDest},
			{Name: "leave", Do: c.leave, Commit: c.left, Undo: c.comeBack, UndoCommit: c.notLeft},
			{Name: "arrive", Do: c.arrive, Commit: c.arrived, Undo: c.neverArrived},
		},
		Fail: c.settleMove,
	}
}

// BeginMove implements compute.Mover.
func (c *Conductor) BeginMove(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, m *compute.Migration) error {
	d := c.moves.migrate
	if m.Kind == compute.KindResize {
		d = c.moves.resize
	}
	return c.beginMove(ctx, tx, d, s, by, m, "")
}

// leave ends the guest on the source, which keeps its disks and offers them to the destination.
func (c *Conductor) leave(ctx context.Context, r *workflow.Run[moveState]) error {
	_, err := c.ask(ctx, r, r.State.Source, "leave", hostapi.OpMoveOut, nil, hostapi.MoveTask{Peer: r.State.Dest})
	return err
}

// left hands the server over: from here on it is the destination's, and the source's epoch is too old to do anything with it.
func (c *Conductor) left(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	if err := compute.SetMigration(ctx, tx, r.State.Migration, compute.MigrationPost, ""); err != nil {
		return err
	}
	err := compute.Move(ctx, tx, r.Subject, r.State.Epoch, `host = ?, zone = ?, task_state = ?, power_state = ?, epoch = epoch + 1`, r.State.Dest, c.Hosts.Zone(r.State.Dest), compute.ResizeFinish,
		hostapi.PowerShutdown)
	if err != nil {
		return err
	}
	r.State.Epoch++
	return c.Networks.Rebind(ctx, tx, r.Subject, r.State.Dest)
}

// comeBack has the source run the server again, from the disks that it kept; only when nothing can run elsewhere.
func (c *Conductor) comeBack(ctx context.Context, r *workflow.Run[moveState]) error {
	spec, err := c.moveSpec(ctx, r, oldFlavor)
	if err != nil {
		return err
	}
	_, err = c.ask(ctx, r, r.State.Source, "come back", hostapi.OpMoveBack, spec, hostapi.MoveTask{PowerOn: r.State.From == compute.Active && !r.State.Unsure, Alone: true})
	return err
}

func (c *Conductor) notLeft(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	power := hostapi.PowerShutdown
	if r.State.From == compute.Active && !r.State.Unsure {
		power = hostapi.PowerRunning
	}
	if err := compute.Move(ctx, tx, r.Subject, r.State.Epoch, `host = ?, zone = ?, power_state = ?`, r.State.Source, c.Hosts.Zone(r.State.Source), power); err != nil {
		return err
	}
	return c.rebound(ctx, tx, r.Subject, r.State.Source)
}

// rebound is Rebind to a host where the ports are plugged already.
func (c *Conductor) rebound(ctx context.Context, tx *db.Tx, serverID, host string) error {
	if err := c.Networks.Rebind(ctx, tx, serverID, host); err != nil {
		return err
	}
	return c.Networks.PortsActive(ctx, tx, serverID)
}

// arrive makes the server on the destination.
func (c *Conductor) arrive(ctx context.Context, r *workflow.Run[moveState]) error {
	spec, err := c.moveSpec(ctx, r, newFlavor)
	if err != nil {
		return err
	}
	_, err = c.ask(ctx, r, r.State.Dest, "arrive", hostapi.OpMoveIn, spec,
		hostapi.MoveTask{PowerOn: r.State.From == compute.Active, Peer: r.State.Source, Address: c.Hosts.TransferAddress(r.State.Source)})
	return err
}

// neverArrived takes off the destination what came about there. On one host the source's undo does it.
func (c *Conductor) neverArrived(ctx context.Context, r *workflow.Run[moveState]) error {
	if r.State.same() {
		return nil
	}
	return c.dropDest(ctx, r)
}

// arrived is VERIFY_RESIZE.
func (c *Conductor) arrived(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	_, m, err := place(ctx, tx, r)
	if err != nil {
		return err
	}
	power := hostapi.PowerShutdown
	if r.State.From == compute.Active {
		power = hostapi.PowerRunning
	}
	if err := compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, flavor = ?, flavor_id = ?, fault = ''`, compute.Resized, compute.None, power,
		m.NewFlavor, m.NewFlavor.V.ID); err != nil {
		return err
	}
	if err := c.Networks.PortsActive(ctx, tx, r.Subject); err != nil {
		return err
	}
	c.Hosts.Built(tx, r.State.Dest, r.Subject)
	return compute.SetMigration(ctx, tx, r.State.Migration, compute.MigrationFinished, "")
}

// returnTime bounds the wait for the source of a reverted move.
const returnTime = 5 * time.Minute

// settleDeadline bounds what comes after VERIFY_RESIZE.
const settleDeadline = 10 * time.Minute

// declareConfirm: what was kept for the way back goes, then what was held for it. The destination is asked first: one that has lost the server (it came back with old records) has the
// resize stay unconfirmed, for then the source has the only copy, and a revert brings it back.
func (c *Conductor) declareConfirm() *workflow.Definition[moveState] {
	return &workflow.Definition[moveState]{
		Kind: "server.confirmResize", Deadline: settleDeadline,
		Steps: []workflow.Step[moveState]{
			{Name: "confirm", Do: func(ctx context.Context, r *workflow.Run[moveState]) error {
				_, err := c.ask(ctx, r, r.State.Dest, "confirm", hostapi.OpMoveDone, nil, hostapi.MoveTask{})
				return err
			}},
			{Name: "drop source", Do: func(ctx context.Context, r *workflow.Run[moveState]) error {
				if r.State.same() {
					return nil
				}
				return c.discard(ctx, r, r.State.Source, "drop source")
			}, Commit: c.confirmed},
		},
		Fail: func(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState], f workflow.Failure) error {
			return c.stillResized(ctx, tx, r, f, compute.MigrationFinished)
		},
	}
}

// BeginConfirm implements compute.Mover.
func (c *Conductor) BeginConfirm(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, m *compute.Migration) error {
	return c.beginMove(ctx, tx, c.moves.confirm, s, by, m, "")
}

func (c *Conductor) confirmed(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	s, m, err := place(ctx, tx, r)
	if err != nil {
		return err
	}
	if err := compute.LeaveSource(ctx, tx, c.Hosts, c.Quotas, s, m, compute.MigrationConfirmed); err != nil {
		return err
	}
	to := compute.Active
	if s.PowerState == hostapi.PowerShutdown || s.PowerState == hostapi.PowerCrashed {
		to = compute.Stopped
	}
	return compute.Move(ctx, tx, s.ID, s.Epoch, `vm_state = ?, task_state = ?, fault = ''`, to, compute.None)
}

// stillResized leaves the server in VERIFY_RESIZE, so that what failed can be asked for again.
func (c *Conductor) stillResized(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState], f workflow.Failure, status compute.MigrationStatus) error {
	if err := compute.SetMigration(ctx, tx, r.State.Migration, status, ""); err != nil {
		return err
	}
	return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, fault = ?`, compute.Resized, compute.None, db.AsJSON(why(f)))
}

// declareRevert: the destination lets go, and from then on there is only the way back. Whoever gives up in the middle of that cannot know what the destination still has: the server
// stays in VERIFY_RESIZE, its migration in "reverting", and the revert alone can be asked for again (a confirmation would throw away the only whole copy). A destination that is
// down is not passed over: nobody knows whether the guest runs there still, and two hosts must not run it.
func (c *Conductor) declareRevert() *workflow.Definition[moveState] {
	return &workflow.Definition[moveState]{
		Kind: "server.revertResize", Deadline: moveDeadline,
		Steps: []workflow.Step[moveState]{
			{Name: "drop destination", Do: func(ctx context.Context, r *workflow.Run[moveState]) error {
				if r.State.same() {
					return nil
				}
				err := c.dropDest(ctx, r)
				if r.State.Unsure = false; fault.KindOf(err) == fault.KindUnavailable {
					err = fault.Conflict("%s", fault.Message(err)).WithCause(err) // the revert can be asked for again: nobody waits for a host that is down
				}
				return err
			}, Commit: c.handedBack, Final: true},
			// The source alone has the server now: one that is away for moments is waited for.
			{Name: "return", Timeout: returnTime, Do: func(ctx context.Context, r *workflow.Run[moveState]) error {
				err := c.comeBack(ctx, r)
				var down *hostDown
				if errors.As(err, &down) {
					err = fault.Unavailable("%v", down).WithCause(err)
				}
				return err
			}, Commit: c.reverted},
		},
		Fail: func(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState], f workflow.Failure) error {
			if !r.State.Gone {
				return c.stillResized(ctx, tx, r, f, compute.MigrationReverting)
			}
			if err := compute.SetMigration(ctx, tx, r.State.Migration, compute.MigrationError, ""); err != nil {
				return err
			}
			return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, fault = ?`, compute.Errored, compute.None, db.AsJSON(why(f)))
		},
	}
}

// BeginRevert implements compute.Mover.
func (c *Conductor) BeginRevert(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, m *compute.Migration) error {
	return c.beginMove(ctx, tx, c.moves.revert, s, by, m, "")
}

// handedBack makes the server the source's again, with the flavor and the claim that it had. The migration has ended with that, whatever becomes of the rest: a delete in between finds
// none that it could end.
func (c *Conductor) handedBack(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	s, m, err := place(ctx, tx, r)
	if err != nil {
		return err
	}
	if err := compute.LeaveDest(ctx, tx, c.Hosts, c.Quotas, s, m, compute.MigrationReverted); err != nil {
		return err
	}
	if err := compute.Move(ctx, tx, s.ID, s.Epoch, `host = ?, zone = ?, flavor = ?, flavor_id = ?, power_state = ?`, m.Source, c.Hosts.Zone(m.Source), m.OldFlavor, m.OldFlavor.V.ID,
		hostapi.PowerShutdown); err != nil {
		return err
	}
	r.State.Gone = true
	return c.Networks.Rebind(ctx, tx, s.ID, m.Source)
}

func (c *Conductor) reverted(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	to, power := compute.Stopped, hostapi.PowerShutdown
	if r.State.From == compute.Active {
		to, power = compute.Active, hostapi.PowerRunning
	}
	if err := compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, fault = ''`, to, compute.None, power); err != nil {
		return err
	}
	return c.Networks.PortsActive(ctx, tx, r.Subject)
}
