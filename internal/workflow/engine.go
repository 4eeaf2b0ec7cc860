package workflow

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jonboulle/clockwork"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Options of an Engine.
type Options struct {
	DB    *db.DB
	Clock clockwork.Clock
	Log   *slog.Logger
	// LeaseFor is how long a workflow stays with a process that gives no sign of life; 0: 15 s.
	LeaseFor time.Duration
	// Alone says that no other process uses this database (one-machine mode): leases found at start are dead ones.
	Alone bool
}

// Engine runs workflows. Register all definitions before Run.
type Engine struct {
	opts  Options
	owner string
	kinds map[string]runner

	mu     sync.Mutex // guards what follows; never held across I/O
	ctx    context.Context
	active map[string]*activeRun // by workflow id: those this process runs
	wg     sync.WaitGroup
}

type activeRun struct {
	subject string
	cancel  context.CancelFunc
	done    chan struct{}
}

// runner is a Definition with its type erased.
type runner interface {
	run(ctx context.Context, e *Engine, w row)
	declared() Declared
}

// New makes an Engine; Run starts it.
func New(o Options) *Engine {
	if o.LeaseFor == 0 {
		o.LeaseFor = 15 * time.Second
	}
	return &Engine{opts: o, owner: uuid.NewString(), kinds: map[string]runner{}, active: map[string]*activeRun{}}
}

// Register makes a definition known, so that the rescuer can go on with its workflows. A second one of the same kind is a bug.
func Register[S any](e *Engine, d *Definition[S]) {
	if _, ok := e.kinds[d.Kind]; ok {
		panic("workflow: two definitions of " + d.Kind)
	}
	e.kinds[d.Kind] = d
}

// Subject says what a new workflow is about and who asked for it.
type Subject struct {
	ID        string
	ProjectID string
	UserID    string
	RequestID string
}

// Lock takes the subject's lock until tx ends: every transaction that changes a subject and its workflow takes it first, so that on PostgreSQL two of them wait
// for each other instead of deadlocking on the two rows. Step commits, Begin and Cancel take it by themselves.
func Lock(ctx context.Context, tx *db.Tx, subject string) error {
	return tx.Lock(ctx, "workflow:"+subject)
}

// Begin writes a new workflow in tx; it starts to run when tx is committed. Steps before from are taken as done by the caller in this same
// transaction, journalled by entries. fault.KindConflict when another workflow is active on the subject.
func Begin[S any](ctx context.Context, tx *db.Tx, e *Engine, d *Definition[S], s Subject, state S, from int, entries ...Entry) (string, error) {
	b, err := json.Marshal(state)
	if err != nil {
		return "", err
	}
	now := e.now()
	w := row{ID: db.NewID(), Kind: d.Kind, Subject: s.ID, ProjectID: s.ProjectID, UserID: s.UserID, RequestID: s.RequestID, Status: statusRunning,
		Step: from, StepName: d.Steps[from].Name, BackTo: -1, Try: 1, State: string(b), Owner: e.owner, Epoch: 1, LeaseUntil: db.At(now.Add(e.opts.LeaseFor)),
		Deadline: db.At(now.Add(d.Deadline)), Created: now, Updated: now}
	w.NextSeq = int64(len(entries))
	if err := tx.Insert(ctx, "workflows", w); err != nil {
		if db.IsUnique(err) {
			return "", fault.Conflict("another operation is under way on %s", s.ID).WithCause(err)
		}
		return "", err
	}
	w.NextSeq = 0
	for i := range entries {
		entries[i].Phase, entries[i].Try = "do", 1
	}
	if err := w.journal(ctx, tx, entries); err != nil {
		return "", err
	}
	tx.OnCommit(func() { e.launch(w) })
	return w.ID, nil
}

// Cancel ends the active workflow of a subject, if any, without undoing it: the caller's own workflow takes over the cleaning.
// It returns the kind of what was cancelled, "" for nothing.
func (e *Engine) Cancel(ctx context.Context, tx *db.Tx, subject string) (string, error) {
	var w struct {
		ID   string `db:"id"`
		Kind string `db:"kind"`
	}
	if err := Lock(ctx, tx, subject); err != nil {
		return "", err
	}
	now := e.now()
	err := tx.Get(ctx, &w, `UPDATE workflows SET status = 'cancelled', epoch = epoch + 1, updated_at = ?, finished_at = ?, err = 'cancelled by a later request'
		WHERE subject = ? AND status IN ('running', 'undoing') RETURNING id, kind`, now, now, subject)
	if err == db.ErrNoRows { //nolint:errorlint // Get returns it bare
		return "", nil
	}
	if err != nil {
		return "", err
	}
	tx.OnCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if a := e.active[w.ID]; a != nil {
			a.cancel()
		}
	})
	return w.Kind, nil
}

// launch runs w on a goroutine of its own, unless the engine is not running: then the next rescuer takes it.
func (e *Engine) launch(w row) {
	r := e.kinds[w.Kind]
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ctx == nil || e.ctx.Err() != nil || e.active[w.ID] != nil {
		return
	}
	if r == nil {
		e.opts.Log.Error("workflow of unknown kind", "kind", w.Kind, "id", w.ID)
		return
	}
	ctx, cancel := context.WithCancel(e.ctx)
	a := &activeRun{subject: w.Subject, cancel: cancel, done: make(chan struct{})}
	e.active[w.ID] = a
	e.wg.Add(1)
	go func() {
		defer e.wg.Done()
		defer func() {
			cancel()
			e.mu.Lock()
			delete(e.active, w.ID)
			e.mu.Unlock()
			close(a.done)
		}()
		r.run(ctx, e, w)
	}()
}

// Run keeps leases and rescues until ctx ends, then stops all workflows where they are (their leases are given up, so that the
// next process goes on at once) and returns.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	e.ctx = ctx
	e.mu.Unlock()
	tick := e.opts.Clock.NewTicker(e.opts.LeaseFor / 3)
	defer tick.Stop()
	e.rescue(ctx, e.opts.Alone)
	for {
		select {
		case <-ctx.Done():
			e.wg.Wait()
			return e.opts.DB.Write(context.WithoutCancel(ctx), func(tx *db.Tx) error {
				_, err := tx.Exec(context.WithoutCancel(ctx), `UPDATE workflows SET lease_until = 0 WHERE owner = ? AND status IN ('running', 'undoing')`, e.owner)
				return err
			})
		case <-tick.Chan():
			e.renew(ctx)
			e.rescue(ctx, false)
		}
	}
}

// renew extends the leases of what this process really runs.
func (e *Engine) renew(ctx context.Context) {
	e.mu.Lock()
	n := len(e.active)
	e.mu.Unlock()
	if n == 0 {
		return
	}
	err := e.opts.DB.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE workflows SET lease_until = ? WHERE owner = ? AND status IN ('running', 'undoing')`,
			db.At(e.now().Add(e.opts.LeaseFor)), e.owner)
		return err
	})
	if err != nil && ctx.Err() == nil {
		e.opts.Log.Warn("leases not renewed", "err", err)
	}
}

// rescue takes over workflows whose lease has run out (all foreign ones when everything is ours), and our own that no goroutine runs
// (committed while the engine was not running).
func (e *Engine) rescue(ctx context.Context, all bool) {
	now := e.now()
	var found []row
	err := e.opts.DB.Read(ctx, func(tx *db.Tx) error {
		found = nil
		return tx.Select(ctx, &found, `SELECT * FROM workflows WHERE status IN ('running', 'undoing') AND (lease_until < ? OR ? OR (owner = ? AND updated_at < ?)) ORDER BY created_at LIMIT 1000`,
			now, all, e.owner, db.At(now.Add(-e.opts.LeaseFor/5)))
	})
	if err != nil {
		if ctx.Err() == nil {
			e.opts.Log.Warn("rescuer", "err", err)
		}
		return
	}
	for _, w := range found {
		e.mu.Lock()
		running := e.active[w.ID] != nil
		e.mu.Unlock()
		if running {
			continue
		}
		taken := false
		err := e.opts.DB.Write(ctx, func(tx *db.Tx) error {
			n, err := tx.Exec(ctx, `UPDATE workflows SET owner = ?, epoch = epoch + 1, lease_until = ? WHERE id = ? AND epoch = ? AND status IN ('running', 'undoing')`,
				e.owner, db.At(now.Add(e.opts.LeaseFor)), w.ID, w.Epoch)
			taken = n == 1
			return err
		})
		if err != nil || !taken {
			continue
		}
		w.Epoch++
		e.opts.Log.Info("workflow taken over", "kind", w.Kind, "subject", w.Subject, "step", w.StepName, "status", w.Status, "owner_before", w.Owner)
		w.Owner = e.owner
		e.launch(w)
	}
}

// Wait blocks until the workflow has ended and returns its record.
func (e *Engine) Wait(ctx context.Context, id string) (Record, error) {
	for {
		e.mu.Lock()
		a := e.active[id]
		e.mu.Unlock()
		if a != nil {
			select {
			case <-a.done:
			case <-ctx.Done():
				return Record{}, ctx.Err()
			}
		}
		var r Record
		err := e.opts.DB.Read(ctx, func(tx *db.Tx) error {
			return tx.Get(ctx, &r, `SELECT id, kind, subject, project_id, user_id, request_id, status, step_name, try, err_step, err, created_at, updated_at, finished_at FROM workflows WHERE id = ?`, id)
		})
		if err != nil {
			return r, fmt.Errorf("workflow %s: %w", id, err)
		}
		if !r.Active() {
			return r, nil
		}
		select { // run by another process, or not yet launched
		case <-e.opts.Clock.After(50 * time.Millisecond):
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
}

// Busy is how many workflows this process runs.
func (e *Engine) Busy() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.active)
}

func (e *Engine) now() db.Time { return db.At(e.opts.Clock.Now()) }
