package conductor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/workflow"
)

// moveState is what the moves of a server remember.
type moveState struct {
	Migration string          `json:"migration"`
	Kind      string          `json:"kind"`
	Source    string          `json:"source"`
	Dest      string          `json:"dest,omitempty"`
	Epoch     int64           `json:"epoch"`
	From      compute.VMState `json:"from"`
	Token     string          `json:"token,omitempty"`  // what one agent shows to the other; worth nothing once the move has ended
	Gone      bool            `json:"gone,omitempty"`   // there is no way back any more
	Unsure    bool            `json:"unsure,omitempty"` // the way back was taken without the destination's word that nothing runs there: the guest does not run at the source either
	AdminPass string          `json:"admin_pass,omitempty"`
}

func (s *moveState) same() bool { return s.Source == s.Dest }

// moves are the declared workflows of this file's neighbours.
type moves struct {
	resize, migrate, live, evacuate, confirm, revert *workflow.Definition[moveState]
}

func (c *Conductor) declareMoves() {
	c.moves = moves{resize: c.declareMove("server.resize"), migrate: c.declareMove("server.migrate"), live: c.declareLive(), evacuate: c.declareEvacuate(),
		confirm: c.declareConfirm(), revert: c.declareRevert()}
	m := c.moves
	for _, d := range []*workflow.Definition[moveState]{m.resize, m.migrate, m.live, m.evacuate, m.confirm, m.revert} {
		workflow.Register(c.Engine, d)
	}
}

func (c *Conductor) beginMove(ctx context.Context, tx *db.Tx, d *workflow.Definition[moveState], s *compute.Server, by workflow.Subject, m *compute.Migration, pass string) error {
	state := moveState{Migration: m.UUID, Kind: string(m.Kind), Source: m.Source, Dest: m.Dest, Epoch: s.Epoch, From: m.OldState, Token: rand.Text(), AdminPass: pass}
	_, err := workflow.Begin(ctx, tx, c.Engine, d, subject(s, by), state, 0)
	return err
}

// place reads a server with its migration, both as they are for a step at the state's epoch.
func place(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) (*compute.Server, *compute.Migration, error) {
	s, err := compute.GetServer(ctx, tx, r.Subject)
	if err != nil {
		return nil, nil, err
	}
	if s.Epoch != r.State.Epoch {
		return nil, nil, fault.Conflict("server %s was taken over by a later request", r.Subject)
	}
	m, err := compute.FindMigration(ctx, tx, r.State.Migration)
	return s, m, err
}

// claimDest chooses where the server goes and takes its share there, while the migration keeps the share of where it is. next is what the server and the
// migration are shown as afterwards.
func (c *Conductor) claimDest(next compute.TaskState, status compute.MigrationStatus) func(context.Context, *db.Tx, *workflow.Run[moveState]) error {
	return func(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
		s, m, err := place(ctx, tx, r)
		if err != nil {
			return err
		}
		if err := shrinks(s, m); err != nil {
			return err
		}
		n := *s
		n.Flavor, n.ForcedHost = m.NewFlavor, "" // as in Nova, the host that a server was forced to holds for its making alone
		tied, err := c.tiedHost(ctx, tx, s)
		if err != nil {
			return err
		}
		var exclude []string
		for {
			req, err := compute.ScheduleRequest(ctx, tx, &n, tied, exclude)
			if err != nil {
				return err
			}
			req.Target = m.Want
			if m.Kind != compute.KindResize || !c.ResizeToSameHost {
				req.Leave = m.Source
			}
			choice := c.Hosts.Schedule(req, 1)[0]
			r.Explain(choice.Explanation.String())
			if choice.Host == "" {
				return fault.NoCapacity("%s", choice.Explanation.String())
			}
			if err := compute.ClaimMove(ctx, tx, c.Hosts, s, m, choice.Host); err != nil {
				if fault.KindOf(err) != fault.KindNoCapacity {
					return err
				}
				exclude = append(exclude, choice.Host) // the snapshot was stale about it
				continue
			}
			r.OnHost(choice.Host)
			r.State.Dest = choice.Host
			if err := compute.SetMigration(ctx, tx, m.UUID, status, choice.Host); err != nil {
				return err
			}
			return compute.Move(ctx, tx, s.ID, s.Epoch, `task_state = ?`, next)
		}
	}
}

// shrinks refuses what would cut off data: Nova's libvirt driver does it on the host, with these words.
func shrinks(s *compute.Server, m *compute.Migration) error {
	from, to := m.OldFlavor.V, m.NewFlavor.V
	if !s.VolumeBooted() && to.RootGiB < from.RootGiB || to.EphemeralGiB < from.EphemeralGiB {
		return fault.Invalid("flavorRef", "Instance rollback performed due to: Resize error: Unable to resize disk down.")
	}
	return nil
}

// unclaimDest is claimDest's undo.
func (c *Conductor) unclaimDest(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState]) error {
	s, m, err := place(ctx, tx, r)
	if err != nil {
		return err
	}
	return compute.Unclaim(ctx, tx, c.Hosts, s, m, true)
}

// settleMove is the end of a move that did not come about: the server is where and what it was, and the migration says that it failed.
func (c *Conductor) settleMove(ctx context.Context, tx *db.Tx, r *workflow.Run[moveState], f workflow.Failure) error {
	s, m, err := place(ctx, tx, r)
	if err != nil {
		return err
	}
	status := compute.MigrationError
	if r.State.Kind == string(compute.KindLive) && aborted(f) {
		status = compute.MigrationCancelled
	}
	if err := compute.LeaveDest(ctx, tx, c.Hosts, c.Quotas, s, m, status); err != nil {
		return err
	}
	to, cause := r.State.From, why(f)
	switch {
	case r.State.Unsure:
		to = compute.Errored
		cause.Message += fmt.Sprintf(" Host %s is down and may still run the guest; it lets go of it when it is back. When that host is known to be dead, a hard reboot starts the server on host %s.",
			r.State.Dest, r.State.Source)
	case r.State.Kind == string(compute.KindEvacuation):
		to = compute.Errored
	}
	return compute.Move(ctx, tx, s.ID, s.Epoch, `vm_state = ?, task_state = ?, fault = ?`, to, compute.None, db.AsJSON(cause))
}

// why is a failure as a server shows it.
func why(f workflow.Failure) *compute.Fault {
	return &compute.Fault{Code: 500, Message: fault.Message(f.Err), Details: "step " + f.Step, Created: db.Now()}
}

// moveSpec is the server as the destination shall make it.
func (c *Conductor) moveSpec(ctx context.Context, r *workflow.Run[moveState], flavor func(*compute.Migration) db.JSON[compute.Flavor]) (*hostapi.InstanceSpec, error) {
	var s *compute.Server
	var m *compute.Migration
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		s, m, err = place(ctx, tx, r)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.Flavor = flavor(m)
	return c.spec(ctx, s)
}

func newFlavor(m *compute.Migration) db.JSON[compute.Flavor] { return m.NewFlavor }
func oldFlavor(m *compute.Migration) db.JSON[compute.Flavor] { return m.OldFlavor }

// ask sends one command of a move to a host and takes a host that is down for a failure.
func (c *Conductor) ask(ctx context.Context, r *workflow.Run[moveState], host, step string, op hostapi.Op, spec *hostapi.InstanceSpec, t hostapi.MoveTask) (hostapi.Result, error) {
	r.OnHost(host)
	t.Key, t.Same, t.Token = r.State.Migration, r.State.same(), r.State.Token
	res, err := c.command(ctx, host, hostapi.Command{ID: r.CommandID(step), Subject: r.Subject, Epoch: r.State.Epoch, Turn: r.Turn(), Op: op, Spec: spec, Move: &t, Grace: guestGrace, Trace: r.RequestID})
	var down *hostDown
	if errors.As(err, &down) {
		return res, fault.Conflict("%v", err).WithCause(err)
	}
	if err != nil {
		return res, err
	}
	r.Record(parts(res)...)
	return res, hostError(res)
}

// discard destroys what a host has of the server; a host that is down is told at its next heartbeat.
func (c *Conductor) discard(ctx context.Context, r *workflow.Run[moveState], host, step string) error {
	r.OnHost(host)
	return c.destroy(ctx, host, hostapi.Command{ID: r.CommandID(step), Subject: r.Subject, Epoch: r.State.Epoch, Turn: r.Turn(), Op: hostapi.OpDestroy, Trace: r.RequestID})
}

// dropDest has the destination let go, and wants its word for it: nobody knows what runs on a host that is down, and two hosts must not run one server. An operator who has
// forced the host down has given the word in its place. While there is none the error is fault.KindUnavailable and State.Unsure is set.
func (c *Conductor) dropDest(ctx context.Context, r *workflow.Run[moveState]) error {
	r.State.Unsure = false
	res, err := c.ask(ctx, r, r.State.Dest, "drop destination", hostapi.OpDestroy, nil, hostapi.MoveTask{})
	var down *hostDown
	switch {
	case res.ErrKind == hostapi.ErrAbsent:
		return nil
	case !errors.As(err, &down):
		r.State.Unsure = err != nil
		return err
	case c.Hosts.Fenced(r.State.Dest):
		return nil // its first heartbeat is told to let go
	}
	r.State.Unsure = true
	return fault.Unavailable("host %s does not say that it has let go", r.State.Dest).WithCause(err)
}

// moveDeadline bounds the copying of a server's disks.
const moveDeadline = 2 * time.Hour
