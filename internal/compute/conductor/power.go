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

// powerAction is one command to the host and the state it leads to.
type powerAction struct {
	name     string // compute.ActionRule.Name
	kind     string // workflow kind: the instance action's name
	op       hostapi.Op
	withSpec bool // the host gets the whole spec: the guest starts from it
	to       compute.VMState
	power    hostapi.PowerState
	grace    time.Duration // for the guest to end by itself
}

// guestGrace is how long a guest may take to shut down by itself (Nova's shutdown_timeout).
const guestGrace = 60 * time.Second

var powerActions = []powerAction{
	{name: "start", kind: "server.start", op: hostapi.OpStart, withSpec: true, to: compute.Active, power: hostapi.PowerRunning},
	{name: "stop", kind: "server.stop", op: hostapi.OpStop, to: compute.Stopped, power: hostapi.PowerShutdown, grace: guestGrace},
	{name: "reboot", kind: "server.reboot", op: hostapi.OpRebootSoft, withSpec: true, to: compute.Active, power: hostapi.PowerRunning, grace: guestGrace},
	{name: "reboot-hard", kind: "server.reboot-hard", op: hostapi.OpRebootHard, withSpec: true, to: compute.Active, power: hostapi.PowerRunning},
	{name: "pause", kind: "server.pause", op: hostapi.OpPause, to: compute.Paused, power: hostapi.PowerPaused},
	{name: "unpause", kind: "server.unpause", op: hostapi.OpUnpause, to: compute.Active, power: hostapi.PowerRunning},
	{name: "suspend", kind: "server.suspend", op: hostapi.OpSuspend, to: compute.Suspended, power: hostapi.PowerShutdown},
	{name: "resume", kind: "server.resume", op: hostapi.OpResume, withSpec: true, to: compute.Active, power: hostapi.PowerRunning},
}

type powerState struct {
	Host  string          `json:"host"`
	Epoch int64           `json:"epoch"`
	From  compute.VMState `json:"from"`
}

func (c *Conductor) declarePower(p powerAction) *workflow.Definition[powerState] {
	return &workflow.Definition[powerState]{
		Kind:     p.kind,
		Deadline: 5 * time.Minute,
		Steps: []workflow.Step[powerState]{{
			Name: p.name,
			Do:   func(ctx context.Context, r *workflow.Run[powerState]) error { return c.powerCommand(ctx, r, p) },
			Commit: func(ctx context.Context, tx *db.Tx, r *workflow.Run[powerState]) error {
				return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, power_state = ?, fault = ''`, p.to, compute.None, p.power)
			},
		}},
		Fail: func(ctx context.Context, tx *db.Tx, r *workflow.Run[powerState], f workflow.Failure) error {
			// The server is as it was, as far as the host can tell; its power state is put right by the next heartbeat. The failure is
			// kept as the instance action's error, and as the fault that an ERROR server shows.
			why := compute.Fault{Code: 500, Message: fault.Message(f.Err), Details: "step " + f.Step, Created: db.Now()}
			return compute.Move(ctx, tx, r.Subject, r.State.Epoch, `vm_state = ?, task_state = ?, fault = ?`, r.State.From, compute.None, db.AsJSON(&why))
		},
	}
}

// BeginPower implements compute.Conductor. s carries the new epoch already.
func (c *Conductor) BeginPower(ctx context.Context, tx *db.Tx, s *compute.Server, by workflow.Subject, a compute.ActionRule) error {
	def, ok := c.power[a.Name]
	if !ok {
		return fault.NotImplemented("action %s is not available", a.Name)
	}
	_, err := workflow.Begin(ctx, tx, c.Engine, def, subject(s, by), powerState{Host: s.Host, Epoch: s.Epoch, From: s.VMState}, 0)
	return err
}

func (c *Conductor) powerCommand(ctx context.Context, r *workflow.Run[powerState], p powerAction) error {
	r.OnHost(r.State.Host)
	s, err := c.load(ctx, r.Subject, r.State.Epoch)
	if err != nil {
		return err
	}
	cmd := hostapi.Command{ID: r.CommandID(p.name), Subject: s.ID, Epoch: s.Epoch, Turn: r.Turn(), Op: p.op, Grace: p.grace, Trace: r.RequestID}
	if p.withSpec {
		if cmd.Spec, err = c.spec(ctx, s); err != nil {
			return err
		}
	}
	res, err := c.command(ctx, s.Host, cmd)
	var down *hostDown
	if errors.As(err, &down) {
		return fault.Conflict("%v", err)
	}
	if err != nil {
		return err
	}
	r.Record(parts(res)...)
	return hostError(res)
}
