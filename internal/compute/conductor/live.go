package conductor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// aborted tells by its words that a live migration was given up on request: a failure is kept as text.
func aborted(f workflow.Failure) bool {
	return strings.Contains(fault.Message(f.Err), hostapi.AbortedMove)
}

// declareLive: the destination waits, the guest goes over, the source is cleaned. In the step "send" it is decided: before it the guest is the source's and everything can be taken back,
// after it the destination's, and nothing may be taken back any more: the copy at the source is not the guest's state of now.
func (c *Conductor) declareLive() *workflow.Definition[moveState] {
	return &workflow.Definition[moveState]{
		Kind: "server.live-migration", Deadline: moveDeadline,
		Steps: []workflow.Step[moveState]{
			{Name: "schedule", Commit: c.claimDest(compute.Migrating, compute.MigrationPreparing), UndoCommit: c.unclaimDest},
			{Name: "prepare", Do: c.prepareLive, Commit: func(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
				return compute.SetMigration(ctx, tx, r.State.Migration, compute.MigrationRunning, "")
			}, Undo: func(ctx context.Context, r *workflow.Run[moveState]) error {
				return c.discard(ctx, r, r.State.Dest, "unprepare")
			}},
			{Name: "send", Do: c.sendLive, Commit: c.sentLive, Undo: c.keepLive, Final: true},
			{Name: "clean", Do: func(ctx context.Context, r *workflow.Run[moveState]) error {
				return c.discard(ctx, r, r.State.Source, "clean")
			}, Commit: c.cleanedLive},
		},
		Fail: func(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState], f workflow.Failure) error {
			if r.State.Gone { // only the cleaning of the source failed: its next heartbeat is told to let go
				return c.cleanedLive(ctx, tx, r)
			}
			return c.settleMove(ctx, tx, r, f)
		},
	}
}

// BeginLive implements compute.Mover.
func (c *Conductor) BeginLive(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, m *compute.Migration) error {
	return c.beginMove(ctx, tx, c.moves.live, s, by, m, "")
}

func (c *Conductor) prepareLive(ctx context.Context, r *workflow.Run[moveState]) error {
	spec, err := c.moveSpec(ctx, r, oldFlavor)
	if err != nil {
		return err
	}
	_, err = c.ask(ctx, r, r.State.Dest, "prepare", hostapi.OpLiveTarget, spec, hostapi.MoveTask{Peer: r.State.Source})
	return err
}

// sendLive has the source send the guest and the destination take it. The destination has the last word: it alone knows whether the guest has come. A source that
// fell silent in the middle may have sent it; while neither says anything there is nothing to do but to ask again.
func (c *Conductor) sendLive(ctx context.Context, r *workflow.Run[moveState]) error {
	_, serr := c.ask(ctx, r, r.State.Source, "send", hostapi.OpLiveSend, nil, hostapi.MoveTask{Peer: r.State.Dest, Address: c.Hosts.TransferAddress(r.State.Dest)})
	var down *hostDown
	if serr != nil && !errors.As(serr, &down) {
		return serr
	}
	if serr != nil {
		c.Log.Info("source fell silent in a live migration: asking the destination", "server", r.Subject, "source", r.State.Source, "err", serr)
	}
	// Each try is a command of its own: what failed once may work now, and the guest is there or lost.
	res, err := c.ask(ctx, r, r.State.Dest, fmt.Sprintf("finish-%d", time.Now().UnixNano()), hostapi.OpLiveFinish, nil, hostapi.MoveTask{PowerOn: r.State.From == compute.Active})
	switch {
	case err == nil:
		return nil
	case errors.As(err, &down) && c.Hosts.Fenced(r.State.Dest): // what was there is lost
		return err
	case res.ErrKind == hostapi.ErrAbsent || res.ErrKind == hostapi.ErrPermanent: // it has not come and will not: the last bytes were lost on the way, or the process there has died
		return err
	}
	return fault.Unavailable("host %s does not say that the guest has come from host %s", r.State.Dest, r.State.Source).WithCause(errors.Join(err, serr))
}

// keepLive has the guest go on at the source. There it runs as ever, unless it had left: then what was sent stands there still, and goes on only with the destination's word that it
// has nothing. A source that is down is not waited for: what it has shows when it is back.
func (c *Conductor) keepLive(ctx context.Context, r *workflow.Run[moveState]) error {
	unsure := c.dropDest(ctx, r) // until the source says otherwise the guest has left
	spec, err := c.moveSpec(ctx, r, oldFlavor)
	if err != nil {
		return err
	}
	for _, again := range []struct {
		step string
		op   hostapi.Op
		when bool
	}{{"keep", hostapi.OpMoveBack, true}, {"keep paused", hostapi.OpPause, r.State.From == compute.Paused}} {
		if !again.when {
			continue
		}
		_, err := c.ask(ctx, r, r.State.Source, again.step, again.op, spec, hostapi.MoveTask{PowerOn: true, Peer: r.State.Dest, Alone: unsure == nil})
		var down *hostDown
		if errors.As(err, &down) {
			break
		}
		if err != nil {
			return errors.Join(err, unsure)
		}
	}
	r.State.Unsure = false
	return nil
}

// sentLive: the guest runs at the destination.
func (c *Conductor) sentLive(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	if err := compute.Move(ctx, tx, r.Subject, r.State.Epoch, `host = ?, zone = ?`, r.State.Dest, c.Hosts.Zone(r.State.Dest)); err != nil {
		return err
	}
	r.State.Gone = true
	c.Hosts.Built(tx, r.State.Dest, r.Subject)
	return c.rebound(ctx, tx, r.Subject, r.State.Dest)
}

func (c *Conductor) cleanedLive(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	s, m, err := place(ctx, tx, r)
	if err != nil {
		return err
	}
	if err := compute.LeaveSource(ctx, tx, c.Hosts, c.Quotas, s, m, compute.MigrationCompleted); err != nil {
		return err
	}
	return compute.Move(ctx, tx, s.ID, s.Epoch, `vm_state = ?, task_state = ?, fault = ''`, r.State.From, compute.None)
}

// AbortLive implements compute.Mover: the source's own command then ends with a failure, and the workflow undoes.
func (c *Conductor) AbortLive(ctx context.Context, s *compute.Server, m *compute.Migration) error {
	return c.reach(ctx, s, m, hostapi.OpLiveAbort)
}

// ForceLive implements compute.Mover.
func (c *Conductor) ForceLive(ctx context.Context, s *compute.Server, m *compute.Migration) error {
	return c.reach(ctx, s, m, hostapi.OpLiveForce)
}

func (c *Conductor) reach(ctx context.Context, s *compute.Server, m *compute.Migration, op hostapi.Op) error {
	res, err := c.Client.Do(ctx, m.Source, hostapi.Command{ID: string(op) + ":" + m.UUID, Subject: s.ID, Epoch: s.Epoch, Op: op, Move: &hostapi.MoveTask{Key: m.UUID}})
	if err != nil {
		return err
	}
	return hostError(res)
}
