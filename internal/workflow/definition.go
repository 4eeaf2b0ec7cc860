package workflow

import (
	"context"
	"fmt"
	"time"

	"nephos/internal/db"
)

// Definition declares one kind of operation. S is its state: small, JSON, kept with every committed step. Values reachable through S must not be
// changed in place by Commit (it may run twice); assign new ones.
type Definition[S any] struct {
	Kind     string        // "server.build"
	Deadline time.Duration // for all steps and tries together, not for the undo
	Steps    []Step[S]
	// Fail settles the subject in the transaction that ends the workflow as failed, after everything was undone.
	Fail func(ctx context.Context, tx *db.Tx, r *Run[S], f Failure) error
}

// Step is one named step. All functions may be nil.
type Step[S any] struct {
	Name    string
	Timeout time.Duration // of one Do; 0: the workflow's deadline alone
	// Do has effects outside SQL. It may be run again after a crash and must then find and finish its own work. An error of kind
	// fault.KindUnavailable is tried again until the deadline; Back goes to an earlier step; any other error undoes the workflow.
	Do func(ctx context.Context, r *Run[S]) error
	// Commit runs in the transaction that records the step as finished. Its fault errors undo the workflow like Do's.
	Commit func(ctx context.Context, tx *db.Tx, r *Run[S]) error
	// Undo takes back Do's effects, half-made ones too, and succeeds when there are none.
	Undo func(ctx context.Context, r *Run[S]) error
	// UndoCommit takes back Commit's, in the transaction that records the undo.
	UndoCommit func(ctx context.Context, tx *db.Tx, r *Run[S]) error
	// Final says that once this step is finished there is no way back: when a later one fails, this step and those before it are not undone, and Fail settles the
	// subject where it then is.
	Final bool
}

// Run is a workflow as its steps see it.
type Run[S any] struct {
	ID        string
	Subject   string
	ProjectID string
	UserID    string
	RequestID string
	Try       int // 1 for the first
	Deadline  time.Time
	State     S

	turn   int // Turn
	again  int // failures of the Undo under way, in this process
	host   string
	detail string
	subs   []Entry
}

// Turn grows whenever the workflow turns around: to undo, or forward again for the next try. A command that it sent before such a turn may still be on its way, and must not be taken for
// one of now: the host refuses it by the turn, as it refuses other workflows' commands by the epoch.
func (r *Run[S]) Turn() int { return r.turn }

// CommandID names what a step asks of a host: the same for every repetition, so that the host does it once, and another one after the host has said no to an undo:
// it would give its recorded answer for ever.
func (r *Run[S]) CommandID(name string) string {
	if r.again > 0 {
		return fmt.Sprintf("%s:%s:%d:%d", r.ID, name, r.Try, r.again)
	}
	return fmt.Sprintf("%s:%s:%d", r.ID, name, r.Try)
}

// OnHost labels the current step's journal entry with the host it runs on.
func (r *Run[S]) OnHost(name string) { r.host = name }

// Explain adds words to the current step's journal entry.
func (r *Run[S]) Explain(detail string) { r.detail = detail }

// Record adds finished parts of the current step to the journal, written with its commit.
func (r *Run[S]) Record(parts ...Entry) { r.subs = append(r.subs, parts...) }

// Failure says why a workflow is being undone.
type Failure struct {
	Step string
	Err  error
}

// Back is the error by which a step sends the workflow back to an earlier one: what lies between is undone, then To runs again as a
// new try.
type Back struct {
	To  string
	Err error
}

func (b *Back) Error() string { return fmt.Sprintf("%v (going back to %s)", b.Err, b.To) }

func (b *Back) Unwrap() error { return b.Err }

// Index finds a step by name; -1 if there is none.
func (d *Definition[S]) Index(name string) int {
	for i := range d.Steps {
		if d.Steps[i].Name == name {
			return i
		}
	}
	return -1
}

// Entry is one line of the journal.
type Entry struct {
	WorkflowID string  `db:"workflow_id"`
	Seq        int64   `db:"seq"`
	Step       string  `db:"step"`
	Parent     string  `db:"parent"` // the step this is a part of; empty for a step itself
	Phase      string  `db:"phase"`  // do or undo
	Try        int     `db:"try"`
	Host       string  `db:"host"`
	Started    db.Time `db:"started_at"`
	Finished   db.Time `db:"finished_at"`
	Err        string  `db:"err"`
	Detail     string  `db:"detail"`
}

// Record is one workflow with its journal, for instance actions and traces.
type Record struct {
	ID        string  `db:"id"`
	Kind      string  `db:"kind"`
	Subject   string  `db:"subject"`
	ProjectID string  `db:"project_id"`
	UserID    string  `db:"user_id"`
	RequestID string  `db:"request_id"`
	Status    string  `db:"status"`
	StepName  string  `db:"step_name"` // being run, or the last
	Try       int     `db:"try"`
	ErrStep   string  `db:"err_step"`
	Err       string  `db:"err"`
	Created   db.Time `db:"created_at"`
	Updated   db.Time `db:"updated_at"`
	Finished  db.Time `db:"finished_at"`
	Steps     []Entry `db:"-"`
}

// Active says that the workflow has not ended.
func (r *Record) Active() bool { return r.Status == statusRunning || r.Status == statusUndoing }
