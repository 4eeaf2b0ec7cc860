package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"nephos/internal/fault"
	"nephos/internal/faultpoint"
	"nephos/internal/hostapi"
)

// onCommand runs a Command once and answers every repetition of it.
func (a *Agent) onCommand(ctx context.Context, data []byte) (any, error) {
	var cmd hostapi.Command
	if err := json.Unmarshal(data, &cmd); err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	if !cmd.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, cmd.Deadline)
		defer cancel()
	}
	switch cmd.Op {
	case hostapi.OpVolumeCreate, hostapi.OpVolumeDelete, hostapi.OpVolumeExtend, hostapi.OpSnapshotCreate, hostapi.OpSnapshotDelete, hostapi.OpVolumeReimage, hostapi.OpImageCache:
		res := a.storage(ctx, cmd)
		if res.Err != "" && stopping(ctx) {
			return nil, ctx.Err()
		}
		return res, nil
	case hostapi.OpLiveAbort, hostapi.OpLiveForce:
		return a.interfere(ctx, cmd), nil
	}
	res, err := a.command(ctx, cmd)
	if err == nil && res.Err != "" && stopping(ctx) {
		err = ctx.Err()
	}
	if err != nil { // no answer is better than a wrong one; the command comes again
		return nil, err
	}
	return res, nil
}

// stopping says that ctx ended because the agent ends, not because the command's deadline passed. What fails then has not failed: the next agent goes on
// with it.
func stopping(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// command is onCommand for instances.
func (a *Agent) command(ctx context.Context, cmd hostapi.Command) (hostapi.Result, error) {
	in, refusal := a.admit(cmd)
	if in == nil {
		if cmd.Op == hostapi.OpDestroy { // nothing is here, and nothing older may come any more
			a.dig(cmd.Subject, cmd.Epoch)
		}
		return refusal, nil
	}
	fctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f, mine, recorded := in.board(cmd, cancel)
	if recorded != nil {
		return *recorded, nil
	}
	if f == nil {
		return a.refuse(cmd, hostapi.ErrStaleEpoch, "a newer command has been seen"), nil
	}
	if !mine {
		select {
		case <-f.done:
			return f.result, nil
		case <-ctx.Done():
			return hostapi.Result{}, ctx.Err()
		}
	}
	select {
	case in.run <- struct{}{}:
	case <-fctx.Done():
		return in.land(cmd, f, a.failed(cmd, &steps{}, errors.New("cancelled before it began"))), nil
	}
	_ = faultpoint.Hit(fctx, "agent", string(cmd.Op), "command", "begin")
	if cmd.Op == hostapi.OpDestroy {
		a.dig(in.id, cmd.Epoch)
	}
	res := a.execute(fctx, in, cmd)
	_ = faultpoint.Hit(fctx, "agent", string(cmd.Op), "command", "done")
	if cmd.Op == hostapi.OpDestroy && res.Err == "" {
		a.bury(in, cmd.Epoch)
		a.fillIn()
	}
	if res.Err == "" || !stopping(ctx) {
		in.record(res) // before the next operation may begin: it may remove the directory
	}
	_ = faultpoint.Hit(fctx, "agent", string(cmd.Op), "command", "recorded")
	<-in.run
	return in.land(cmd, f, res), nil
}

// admit finds the instance of a command, making it for a build.
func (a *Agent) admit(cmd hostapi.Command) (*instance, hostapi.Result) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if in := a.instances[cmd.Subject]; in != nil {
		return in, hostapi.Result{}
	}
	if g, ok := a.graves[cmd.Subject]; ok && cmd.Op != hostapi.OpDestroy && cmd.Epoch <= g.Epoch {
		return nil, a.refuse(cmd, hostapi.ErrStaleEpoch, "the instance was destroyed by a newer command")
	}
	switch cmd.Op {
	case hostapi.OpBuild, hostapi.OpMoveIn, hostapi.OpLiveTarget:
		in := a.newInstance(cmd.Subject)
		a.instances[cmd.Subject] = in
		return in, hostapi.Result{}
	case hostapi.OpDestroy:
		a.graves[cmd.Subject] = grave{max(cmd.Epoch, a.graves[cmd.Subject].Epoch), time.Now()}
		return nil, hostapi.Result{CommandID: cmd.ID, Host: a.cfg.Info.Name}
	}
	return nil, a.refuse(cmd, hostapi.ErrAbsent, "the instance is not on this host")
}

func (a *Agent) refuse(cmd hostapi.Command, kind hostapi.ErrKind, why string) hostapi.Result {
	return hostapi.Result{CommandID: cmd.ID, Host: a.cfg.Info.Name, Err: why, ErrKind: kind}
}

// board decides about a command on an instance: the recorded result, the flight to join (mine false), a new flight (mine true), or none at
// all: fenced. A newer epoch or turn cancels older flights.
func (in *instance) board(cmd hostapi.Command, cancel context.CancelFunc) (f *flight, mine bool, recorded *hostapi.Result) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for i := range in.state.Results {
		if in.state.Results[i].CommandID == cmd.ID {
			return nil, false, &in.state.Results[i]
		}
	}
	if f := in.flights[cmd.ID]; f != nil {
		return f, false, nil
	}
	if in.state.fences(cmd) {
		return nil, false, nil
	}
	if cmd.Epoch > in.state.Epoch || cmd.Turn > in.state.Turn {
		for _, other := range in.flights {
			if other.epoch < cmd.Epoch || other.turn < cmd.Turn {
				other.cancel()
			}
		}
		in.state.Epoch, in.state.Turn = cmd.Epoch, cmd.Turn
	}
	f = &flight{epoch: cmd.Epoch, turn: cmd.Turn, cancel: cancel, done: make(chan struct{})}
	in.flights[cmd.ID] = f
	return f, true, nil
}

// record keeps the result for repetitions of the command. Not being able to write it costs only a run that finds its work done.
func (in *instance) record(res hostapi.Result) {
	if res.ErrKind != hostapi.ErrStaleEpoch {
		_ = in.setState(func(s *instanceState) { s.Results = append(s.Results, res) })
	}
}

// land ends a flight and wakes those who joined.
func (in *instance) land(cmd hostapi.Command, f *flight, res hostapi.Result) hostapi.Result {
	in.mu.Lock()
	delete(in.flights, cmd.ID)
	in.mu.Unlock()
	f.result = res
	close(f.done)
	return res
}

// steps collects what was done, with its times.
type steps struct {
	list  []hostapi.StepTime
	name  string                          // of the one that failed
	begin func(name string)               // told when a step begins; may be nil
	point func(step, moment string) error // the command's fault points; nil in builds without
}

// do runs one named step.
func (s *steps) do(name string, fn func() (detail string, err error)) error {
	if s.begin != nil {
		s.begin(name)
	}
	st := hostapi.StepTime{Name: name, Started: time.Now()}
	detail, err := s.pass(name, fn)
	st.Finished, st.Detail = time.Now(), detail
	if err != nil {
		st.Err, s.name = fault.Reason(err), name
	}
	s.list = append(s.list, st)
	return err
}

// pass runs fn between the step's fault points.
func (s *steps) pass(name string, fn func() (string, error)) (string, error) {
	if s.point == nil {
		return fn()
	}
	if err := s.point(name, "before"); err != nil {
		return "", err
	}
	detail, err := fn()
	if err == nil {
		err = s.point(name, "after")
	}
	return detail, err
}

// points are the fault points of a command; nil in builds without.
func points(ctx context.Context, op hostapi.Op) func(step, moment string) error {
	if !faultpoint.Enabled {
		return nil
	}
	return func(step, moment string) error { return faultpoint.Hit(ctx, "agent", string(op), step, moment) }
}

// comes says that an operation brings an instance to a host that had nothing of it.
func comes(op hostapi.Op) bool {
	return op == hostapi.OpBuild || op == hostapi.OpMoveIn || op == hostapi.OpLiveTarget
}

// execute runs the operation. The instance is held.
func (a *Agent) execute(ctx context.Context, in *instance, cmd hostapi.Command) hostapi.Result {
	in.mu.Lock()
	stale := in.state.fences(cmd)
	gone := in.gone
	in.mu.Unlock()
	if stale {
		return a.refuse(cmd, hostapi.ErrStaleEpoch, "a newer command has been seen")
	}
	if gone && cmd.Op != hostapi.OpDestroy {
		return a.refuse(cmd, hostapi.ErrAbsent, "the instance was destroyed meanwhile")
	}
	if !comes(cmd.Op) && cmd.Op != hostapi.OpDestroy && in.currentSpec() == nil {
		return a.refuse(cmd, hostapi.ErrAbsent, "the instance was never built on this host")
	}
	if spec := in.currentSpec(); cmd.Grace > 0 && cmd.Op != hostapi.OpRebootSoft && spec != nil && spec.Machine.ShutdownTime > 0 {
		cmd.Grace = time.Duration(spec.Machine.ShutdownTime) * time.Second
	}
	st := steps{point: points(ctx, cmd.Op)}
	if cmd.Op == hostapi.OpBuild {
		st.begin = func(name string) { // a lost word costs only a less fine task_state
			_ = a.cfg.Bus.Publish(hostapi.SubjectProgress, hostapi.Progress{Subject: cmd.Subject, Epoch: cmd.Epoch, Op: cmd.Op, Step: name})
		}
	}
	res := hostapi.Result{CommandID: cmd.ID, Host: a.cfg.Info.Name}
	if err := a.operate(ctx, in, cmd, &st, &res); err != nil {
		a.cfg.Log.Warn("command failed", "op", cmd.Op, "server", cmd.Subject, "step", st.name, "err", err, "request_id", cmd.Trace)
		return a.failed(cmd, &st, err)
	}
	res.Steps = st.list
	if s, err := a.cfg.Driver.Status(ctx, in.id); err == nil {
		res.Power = s.Power
	}
	return res
}

// operate picks the operation.
func (a *Agent) operate(ctx context.Context, in *instance, cmd hostapi.Command, st *steps, res *hostapi.Result) error {
	switch cmd.Op {
	case hostapi.OpBuild:
		return a.build(ctx, in, cmd, st)
	case hostapi.OpDestroy:
		return a.destroy(ctx, in, st)
	case hostapi.OpStart:
		return a.start(ctx, in, cmd, st)
	case hostapi.OpStop:
		return st.do("shutdown", func() (string, error) { return "", a.cfg.Driver.Shutdown(ctx, in.id, cmd.Grace) })
	case hostapi.OpRebootSoft:
		return st.do("reboot", func() (string, error) { return "", a.cfg.Driver.SoftReboot(ctx, in.id, cmd.Grace) })
	case hostapi.OpRebootHard:
		return a.rebootHard(ctx, in, cmd, st)
	case hostapi.OpPause:
		return st.do("pause", func() (string, error) { return "", a.cfg.Driver.Pause(ctx, in.id) })
	case hostapi.OpUnpause:
		return st.do("unpause", func() (string, error) { return "", a.cfg.Driver.Unpause(ctx, in.id) })
	case hostapi.OpSuspend:
		return a.suspend(ctx, in, st)
	case hostapi.OpResume:
		return a.resume(ctx, in, cmd, st)
	case hostapi.OpAttachVolume:
		return a.attachVolume(ctx, in, cmd, st)
	case hostapi.OpDetachVolume:
		return a.detachVolume(ctx, in, cmd, st)
	case hostapi.OpAttachInterface:
		return a.attachInterface(ctx, in, cmd, st)
	case hostapi.OpDetachInterface:
		return a.detachInterface(ctx, in, cmd, st)
	case hostapi.OpUpdateMetadata:
		if cmd.Spec == nil {
			return fault.Invalid("spec", "new metadata without a spec")
		}
		return in.editSpec(func(s *hostapi.InstanceSpec) { s.Metadata.Meta = cmd.Spec.Metadata.Meta })
	}
	if known, err := a.act(ctx, in, cmd, st); known {
		return err
	}
	return fault.Invalid("op", "this host does not know the operation %q", cmd.Op)
}

// failed makes the Result of an error: what kind it is decides whether another host is tried.
func (a *Agent) failed(cmd hostapi.Command, st *steps, err error) hostapi.Result {
	kind := hostapi.ErrHost
	switch fault.KindOf(err) {
	case fault.KindInvalid, fault.KindNotFound:
		kind = hostapi.ErrPermanent
	case fault.KindConflict:
		kind = hostapi.ErrState
	}
	if cmd.Op == hostapi.OpBuild && kind == hostapi.ErrState {
		kind = hostapi.ErrHost
	}
	return hostapi.Result{CommandID: cmd.ID, Host: a.cfg.Info.Name, Err: fault.Reason(err), ErrStep: st.name, ErrKind: kind, Steps: st.list}
}

// storage runs a volume operation; they are idempotent by themselves, so nothing is recorded.
func (a *Agent) storage(ctx context.Context, cmd hostapi.Command) hostapi.Result {
	a.mu.Lock()
	lock := a.volumes[cmd.Subject]
	if lock == nil {
		lock = &sync.Mutex{}
		a.volumes[cmd.Subject] = lock
	}
	a.mu.Unlock()
	lock.Lock()
	defer lock.Unlock()
	st := steps{point: points(ctx, cmd.Op)}
	if cmd.Task == nil {
		return a.failed(cmd, &st, fault.Invalid("task", "a storage operation without a task"))
	}
	removes := cmd.Op == hostapi.OpVolumeDelete || cmd.Op == hostapi.OpSnapshotDelete
	switch {
	case removes: // before the bytes go: what comes later and is older must not bring them back
		a.dig(cmd.Subject, cmd.Epoch)
		a.mu.Lock()
		a.graves[cmd.Subject] = grave{max(cmd.Epoch, a.graves[cmd.Subject].Epoch), time.Now()}
		a.mu.Unlock()
	case a.buried(cmd):
		return a.refuse(cmd, hostapi.ErrStaleEpoch, "it was deleted by a newer command")
	}
	res := hostapi.Result{CommandID: cmd.ID, Host: a.cfg.Info.Name}
	err := st.do(string(cmd.Op), func() (string, error) {
		v, err := a.cfg.Disks.Do(ctx, cmd.Op, *cmd.Task)
		res.Volume = &v
		return "", err
	})
	if err != nil {
		return a.failed(cmd, &st, err)
	}
	if removes {
		a.fillIn()
	}
	res.Steps = st.list
	return res
}
