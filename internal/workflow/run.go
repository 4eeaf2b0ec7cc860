package workflow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/faultpoint"
)

// Undo has its own time: it must run also when the deadline has passed. When it is used up the undo is recorded as not done and the
// workflow goes on to its end: fences and the host's reconciliation clean later, and nothing hangs.
const undoFor = 2 * time.Minute

// Bounds of the pause before an attempt is repeated.
const (
	pauseMin = 50 * time.Millisecond
	pauseMax = 5 * time.Second
)

// exec is one workflow being run by this process.
type exec[S any] struct {
	e *Engine
	d *Definition[S]
	w row
	r *Run[S]
}

func (d *Definition[S]) run(ctx context.Context, e *Engine, w row) {
	x := &exec[S]{e: e, d: d, w: w, r: &Run[S]{ID: w.ID, Subject: w.Subject, ProjectID: w.ProjectID, UserID: w.UserID, RequestID: w.RequestID,
		Try: w.Try, Deadline: w.Deadline.Time}}
	log := e.opts.Log.With("kind", w.Kind, "subject", w.Subject, "workflow", w.ID, "request_id", w.RequestID)
	if err := json.Unmarshal([]byte(w.State), &x.r.State); err != nil {
		log.Error("state of the workflow cannot be read", "err", err)
		return
	}
	for x.w.Status == statusRunning || x.w.Status == statusUndoing {
		var err error
		if x.w.Status == statusRunning {
			err = x.forward(ctx)
		} else {
			err = x.backward(ctx)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, errLost) || errors.Is(err, db.ErrClosed):
			log.Debug("workflow left", "step", x.w.StepName, "err", err)
			return
		default:
			// The database refused progress for a reason that is not the step's: the lease runs out and a rescuer tries again.
			log.Error("workflow cannot be recorded", "step", x.w.StepName, "err", err)
			return
		}
	}
	log.Debug("workflow ended", "status", x.w.Status, "try", x.w.Try, "err", x.w.Err)
}

// forward does one step, or turns around.
func (x *exec[S]) forward(ctx context.Context) error {
	step := &x.d.Steps[x.w.Step]
	x.r.Try, x.r.turn, x.r.again, x.r.host, x.r.detail, x.r.subs = x.w.Try, 2*x.w.Try-2, 0, "", "", nil
	started := x.e.now()
	cause := x.point(ctx, step.Name, "before")
	if cause == nil {
		cause = x.do(ctx, step)
	}
	if cause == nil {
		cause = x.point(ctx, step.Name, "effect")
	}
	if cause == nil {
		cause = x.commit(ctx, step, started)
		if cause == nil {
			_ = x.point(ctx, step.Name, "committed") // what is committed does not fail any more
			return nil
		}
	}
	if ctx.Err() != nil || errors.Is(cause, errLost) || errors.Is(cause, db.ErrClosed) {
		return cause
	}
	return x.turn(ctx, step, started, cause)
}

// do runs Do until it succeeds, fails for good, or the deadline passes.
func (x *exec[S]) do(ctx context.Context, step *Step[S]) error {
	if step.Do == nil {
		return nil
	}
	pause := pauseMin
	for {
		left := x.w.Deadline.Sub(x.e.opts.Clock.Now())
		if left <= 0 {
			return fault.Unavailable("the deadline passed")
		}
		if step.Timeout > 0 && step.Timeout < left {
			left = step.Timeout
		}
		sctx, cancel := context.WithTimeout(ctx, left)
		x.r.subs = nil
		err := guard(func() error { return step.Do(sctx, x.r) })
		timedOut := sctx.Err() != nil && ctx.Err() == nil
		cancel()
		var back *Back
		switch {
		case err == nil || ctx.Err() != nil:
			return err
		case errors.As(err, &back), timedOut, fault.KindOf(err) != fault.KindUnavailable:
			return err
		}
		select {
		case <-x.e.opts.Clock.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(pause*2, pauseMax)
	}
}

// commit records the step as finished together with its effect on SQL.
func (x *exec[S]) commit(ctx context.Context, step *Step[S], started db.Time) error {
	state := x.r.State
	w := x.w
	detail, host, subs := x.r.detail, x.r.host, x.r.subs
	err := x.locked(ctx, func(tx *db.Tx) error {
		w = x.w // the closure may run more than once
		x.r.State, x.r.detail, x.r.host, x.r.subs = state, detail, host, subs
		if step.Commit != nil {
			if err := guard(func() error { return step.Commit(ctx, tx, x.r) }); err != nil {
				return err
			}
		}
		now := x.e.now()
		w.Step++
		if w.Step == len(x.d.Steps) {
			w.Status, w.Finished = statusDone, now
		} else {
			w.StepName = x.d.Steps[w.Step].Name
		}
		return x.write(ctx, tx, &w, x.entries(step.Name, "do", started, now, nil))
	})
	if err != nil {
		x.r.State = state
		return err
	}
	x.w = w
	return nil
}

// locked is Write with the subject's lock held.
func (x *exec[S]) locked(ctx context.Context, fn func(tx *db.Tx) error) error {
	return x.e.opts.DB.Write(ctx, func(tx *db.Tx) error {
		if err := Lock(ctx, tx, x.w.Subject); err != nil {
			return err
		}
		return fn(tx)
	})
}

// entries are the journal lines of a step: itself and its parts.
func (x *exec[S]) entries(name, phase string, started, finished db.Time, cause error) []Entry {
	e := Entry{Step: name, Phase: phase, Try: x.w.Try, Host: x.r.host, Started: started, Finished: finished, Detail: x.r.detail}
	if cause != nil {
		e.Err = reason(cause)
	}
	out := []Entry{e}
	for _, s := range x.r.subs {
		s.Parent, s.Phase, s.Try = name, phase, x.w.Try
		if s.Host == "" {
			s.Host = x.r.host
		}
		out = append(out, s)
	}
	return out
}

func (x *exec[S]) write(ctx context.Context, tx *db.Tx, w *row, entries []Entry) error {
	b, err := json.Marshal(x.r.State)
	if err != nil {
		return err
	}
	now := x.e.now()
	w.State, w.Updated, w.LeaseUntil = string(b), now, db.At(now.Add(x.e.opts.LeaseFor))
	if err := w.journal(ctx, tx, entries); err != nil {
		return err
	}
	return w.save(ctx, tx)
}

// turn records that the step failed and that the workflow is now being undone. The failed step's own Undo runs first, in backward.
func (x *exec[S]) turn(ctx context.Context, step *Step[S], started db.Time, cause error) error {
	w := x.w
	to := -1
	var back *Back
	if errors.As(cause, &back) && x.e.opts.Clock.Now().Before(x.w.Deadline.Time) {
		to = x.d.Index(back.To)
	}
	err := x.locked(ctx, func(tx *db.Tx) error {
		w = x.w
		w.Status, w.BackTo, w.ErrStep, w.Err = statusUndoing, to, step.Name, reason(cause)
		return x.write(ctx, tx, &w, x.entries(step.Name, "do", started, x.e.now(), cause))
	})
	if err == nil {
		x.w = w
		x.e.opts.Log.Info("workflow step failed", "kind", w.Kind, "subject", w.Subject, "step", step.Name, "try", w.Try, "err", cause)
	}
	return err
}

// backward undoes one step, or ends the undoing. Right after turn, w.Step is the failed step: its Commit never happened, so only Undo runs; the
// error step's name tells the two apart.
func (x *exec[S]) backward(ctx context.Context) error {
	if x.w.Step < x.floor() {
		return x.settle(ctx)
	}
	step := &x.d.Steps[x.w.Step]
	failedOne := step.Name == x.w.ErrStep
	x.r.Try, x.r.turn, x.r.again, x.r.host, x.r.detail, x.r.subs = x.w.Try, 2*x.w.Try-1, 0, "", "", nil
	started := x.e.now()
	uerr := x.point(ctx, step.Name, "undo")
	if uerr == nil {
		uerr = x.undo(ctx, step)
	}
	if uerr == nil {
		uerr = x.point(ctx, step.Name, "undone")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	state, host, detail := x.r.State, x.r.host, x.r.detail
	w := x.w
	err := x.locked(ctx, func(tx *db.Tx) error {
		w = x.w
		x.r.State, x.r.host, x.r.detail = state, host, detail
		if step.UndoCommit != nil && !failedOne {
			if err := guard(func() error { return step.UndoCommit(ctx, tx, x.r) }); err != nil {
				return err
			}
		}
		w.Step--
		var entries []Entry
		if step.Undo != nil || step.UndoCommit != nil && !failedOne {
			entries = x.entries(step.Name, "undo", started, x.e.now(), uerr)
		}
		return x.write(ctx, tx, &w, entries)
	})
	if err == nil {
		x.w = w
	}
	return err
}

// floor is the first step that is undone: where the workflow goes back to, and never one that is not after the last finished step without a way back.
func (x *exec[S]) floor() int {
	floor := max(x.w.BackTo, 0)
	for i := x.d.Index(x.w.ErrStep) - 1; i >= floor; i-- {
		if x.d.Steps[i].Final {
			return i + 1
		}
	}
	return floor
}

func (x *exec[S]) undo(ctx context.Context, step *Step[S]) error {
	if step.Undo == nil {
		return nil
	}
	uctx, cancel := context.WithTimeout(ctx, undoFor)
	defer cancel()
	pause := pauseMin
	for x.r.again = 0; ; {
		err := guard(func() error { return step.Undo(uctx, x.r) })
		if err == nil || uctx.Err() != nil {
			return err
		}
		if fault.KindOf(err) != fault.KindUnavailable {
			x.r.again++
		}
		select {
		case <-x.e.opts.Clock.After(pause):
		case <-uctx.Done():
			return err
		}
		pause = min(pause*2, pauseMax)
	}
}

// settle ends the undoing: forward again from BackTo as the next try, or failed.
func (x *exec[S]) settle(ctx context.Context) error {
	w := x.w
	state := x.r.State
	_ = x.point(ctx, "", "fail")
	err := x.locked(ctx, func(tx *db.Tx) error {
		w = x.w
		x.r.State = state
		if w.BackTo >= 0 {
			w.Status, w.Step, w.StepName, w.BackTo = statusRunning, w.BackTo, x.d.Steps[w.BackTo].Name, -1
			w.Try++
			return x.write(ctx, tx, &w, nil)
		}
		if x.d.Fail != nil {
			f := Failure{Step: w.ErrStep, Err: fault.New(fault.KindConflict, "%s", w.Err)}
			if err := guard(func() error { return x.d.Fail(ctx, tx, x.r, f) }); err != nil {
				return err
			}
		}
		w.Status, w.Finished = statusFailed, x.e.now()
		return x.write(ctx, tx, &w, nil)
	})
	if err == nil {
		x.w = w
		_ = x.point(ctx, "", "failed")
	}
	return err
}

// point is a place where a test may have the process die, wait or fail; in builds without fault points it is nothing.
func (x *exec[S]) point(ctx context.Context, step, moment string) error {
	return faultpoint.Hit(ctx, "workflow", x.d.Kind, step, moment)
}

// reason is what the journal and the user read: a fault's words, or the bare error (it comes from a step, not from a request).
func reason(err error) string {
	var back *Back
	if errors.As(err, &back) {
		return reason(back.Err)
	}
	var f *fault.Fault
	if errors.As(err, &f) {
		return f.Msg
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "the deadline passed"
	}
	return err.Error()
}

// guard turns a panic of a step into an error, so that one bad step ends its own workflow and not the process.
func guard(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}
