package workflow_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/workflow"
)

// state is carried by the test workflows.
type state struct {
	Marks []string `json:"marks"`
}

// bench holds what a test's steps did outside SQL.
type bench struct {
	mu  sync.Mutex
	did []string
}

func (b *bench) add(s string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.did = append(b.did, s)
}

func (b *bench) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.did)
}

// step records every function of its life in b; do may be replaced.
func (b *bench) step(name string, do func(ctx context.Context, r *workflow.Run[state]) error) workflow.Step[state] {
	return workflow.Step[state]{
		Name: name,
		Do: func(ctx context.Context, r *workflow.Run[state]) error {
			b.add("do " + name)
			if do != nil {
				return do(ctx, r)
			}
			return nil
		},
		Commit: func(_ context.Context, _ *db.Tx, r *workflow.Run[state]) error {
			r.State.Marks = append(slices.Clone(r.State.Marks), name)
			return nil
		},
		Undo: func(context.Context, *workflow.Run[state]) error { b.add("undo " + name); return nil },
		UndoCommit: func(_ context.Context, _ *db.Tx, r *workflow.Run[state]) error {
			r.State.Marks = slices.DeleteFunc(slices.Clone(r.State.Marks), func(m string) bool { return m == name })
			return nil
		},
	}
}

func start(t *testing.T, d *db.DB, defs ...*workflow.Definition[state]) (*workflow.Engine, func()) {
	t.Helper()
	e := workflow.New(workflow.Options{DB: d, Clock: clockwork.NewRealClock(), Log: slog.New(slog.DiscardHandler), LeaseFor: 300 * time.Millisecond})
	for _, def := range defs {
		workflow.Register(e, def)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); e.Run(ctx) }() //nolint:errcheck // the test looks at the rows
	stop := sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return e, stop
}

func begin(t *testing.T, d *db.DB, e *workflow.Engine, def *workflow.Definition[state], subject string) string {
	t.Helper()
	var id string
	ctx := context.Background()
	require.NoError(t, d.Write(ctx, func(tx *db.Tx) (err error) {
		id, err = workflow.Begin(ctx, tx, e, def, workflow.Subject{ID: subject}, state{}, 0)
		return err
	}))
	return id
}

func wait(t *testing.T, e *workflow.Engine, id string) workflow.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := e.Wait(ctx, id)
	require.NoError(t, err)
	return r
}

func history(t *testing.T, d *db.DB, subject string) []workflow.Record {
	t.Helper()
	var out []workflow.Record
	ctx := context.Background()
	require.NoError(t, d.Read(ctx, func(tx *db.Tx) (err error) { out, err = workflow.History(ctx, tx, subject); return err }))
	return out
}

func TestStepsRunInOrderAndAreJournalled(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{workflow.Migrations()}, func(t *testing.T, d *db.DB) {
		var b bench
		def := &workflow.Definition[state]{Kind: "k", Deadline: time.Minute, Steps: []workflow.Step[state]{b.step("a", nil), b.step("b", func(_ context.Context, r *workflow.Run[state]) error {
			r.OnHost("h1")
			r.Explain("why")
			r.Record(workflow.Entry{Step: "part", Started: db.Now(), Finished: db.Now()})
			return nil
		})}}
		e, _ := start(t, d, def)
		r := wait(t, e, begin(t, d, e, def, "s1"))
		require.Equal(t, "done", r.Status)
		require.Equal(t, []string{"do a", "do b"}, b.all())
		h := history(t, d, "s1")
		require.Len(t, h, 1)
		require.Len(t, h[0].Steps, 3)
		require.Equal(t, "h1", h[0].Steps[1].Host)
		require.Equal(t, "why", h[0].Steps[1].Detail)
		require.Equal(t, "b", h[0].Steps[2].Parent)
	})
}

func TestFailureUndoesInReverse(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{workflow.Migrations()}, func(t *testing.T, d *db.DB) {
		var b bench
		var failed workflow.Failure
		var left []string
		def := &workflow.Definition[state]{Kind: "k", Deadline: time.Minute, Steps: []workflow.Step[state]{b.step("a", nil), b.step("b", nil),
			b.step("c", func(context.Context, *workflow.Run[state]) error { return fault.Conflict("no luck") })},
			Fail: func(_ context.Context, _ *db.Tx, r *workflow.Run[state], f workflow.Failure) error {
				failed, left = f, r.State.Marks
				return nil
			}}
		e, _ := start(t, d, def)
		r := wait(t, e, begin(t, d, e, def, "s1"))
		require.Equal(t, "failed", r.Status)
		require.Equal(t, "c", failed.Step)
		require.EqualError(t, failed.Err, "no luck")
		require.Empty(t, left)
		require.Equal(t, []string{"do a", "do b", "do c", "undo c", "undo b", "undo a"}, b.all())
	})
}

func TestNothingIsUndoneBeyondAFinalStep(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{workflow.Migrations()}, func(t *testing.T, d *db.DB) {
		var b bench
		var left []string
		final := b.step("b", nil)
		final.Final = true
		bad := b.step("d", func(context.Context, *workflow.Run[state]) error { return fault.Conflict("no luck") })
		def := &workflow.Definition[state]{Kind: "k", Deadline: time.Minute, Steps: []workflow.Step[state]{b.step("a", nil), final, b.step("c", nil), bad},
			Fail: func(_ context.Context, _ *db.Tx, r *workflow.Run[state], _ workflow.Failure) error {
				left = r.State.Marks
				return nil
			}}
		e, _ := start(t, d, def)
		require.Equal(t, "failed", wait(t, e, begin(t, d, e, def, "s1")).Status)
		require.Equal(t, []string{"a", "b"}, left)
		require.Equal(t, []string{"do a", "do b", "do c", "do d", "undo d", "undo c"}, b.all())
	})
	dbtest.Each(t, []db.Migrations{workflow.Migrations()}, func(t *testing.T, d *db.DB) { // the final step itself fails: it is not finished
		var b bench
		final := b.step("b", func(context.Context, *workflow.Run[state]) error { return fault.Conflict("no luck") })
		final.Final = true
		def := &workflow.Definition[state]{Kind: "k", Deadline: time.Minute, Steps: []workflow.Step[state]{b.step("a", nil), final}}
		e, _ := start(t, d, def)
		require.Equal(t, "failed", wait(t, e, begin(t, d, e, def, "s1")).Status)
		require.Equal(t, []string{"do a", "do b", "undo b", "undo a"}, b.all())
	})
}

func TestBackTriesAgainFromAnEarlierStep(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{workflow.Migrations()}, func(t *testing.T, d *db.DB) {
		var b bench
		def := &workflow.Definition[state]{Kind: "k", Deadline: time.Minute, Steps: []workflow.Step[state]{b.step("x", nil), b.step("claim", nil),
			b.step("spawn", func(_ context.Context, r *workflow.Run[state]) error {
				if r.Try < 3 {
					return &workflow.Back{To: "claim", Err: errors.New("host is broken")}
				}
				return nil
			})}}
		e, _ := start(t, d, def)
		r := wait(t, e, begin(t, d, e, def, "s1"))
		require.Equal(t, "done", r.Status)
		require.Equal(t, 3, r.Try)
		round := []string{"do claim", "do spawn", "undo spawn", "undo claim"}
		require.Equal(t, slices.Concat([]string{"do x"}, round, round, []string{"do claim", "do spawn"}), b.all())
	})
}

// A process that dies (here: an engine that is stopped) inside Do: another goes on from the last finished step.
func TestTakeoverAfterDeath(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{workflow.Migrations()}, func(t *testing.T, d *db.DB) {
		var b bench
		inB := make(chan struct{})
		var once sync.Once
		def := &workflow.Definition[state]{Kind: "k", Deadline: time.Minute, Steps: []workflow.Step[state]{b.step("a", nil), b.step("b", func(ctx context.Context, _ *workflow.Run[state]) error {
			first := false
			once.Do(func() { first = true; close(inB) })
			if first {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}), b.step("c", nil)}}
		e1, stop := start(t, d, def)
		id := begin(t, d, e1, def, "s1")
		<-inB
		stop()
		e2, _ := start(t, d, def)
		require.Equal(t, "done", wait(t, e2, id).Status)
		require.Equal(t, []string{"do a", "do b", "do b", "do c"}, b.all())
	})
}

func TestOneActiveWorkflowPerSubjectAndCancel(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{workflow.Migrations()}, func(t *testing.T, d *db.DB) {
		var b bench
		ctx := context.Background()
		inA := make(chan struct{})
		slow := &workflow.Definition[state]{Kind: "slow", Deadline: time.Minute, Steps: []workflow.Step[state]{b.step("a", func(ctx context.Context, _ *workflow.Run[state]) error {
			close(inA)
			<-ctx.Done()
			return ctx.Err()
		})}}
		quick := &workflow.Definition[state]{Kind: "quick", Deadline: time.Minute, Steps: []workflow.Step[state]{b.step("q", nil)}}
		e, _ := start(t, d, slow, quick)
		id := begin(t, d, e, slow, "s1")
		<-inA
		err := d.Write(ctx, func(tx *db.Tx) error {
			_, err := workflow.Begin(ctx, tx, e, quick, workflow.Subject{ID: "s1"}, state{}, 0)
			return err
		})
		require.Equal(t, fault.KindConflict, fault.KindOf(err))
		var next string
		require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
			kind, err := e.Cancel(ctx, tx, "s1")
			if err != nil {
				return err
			}
			require.Equal(t, "slow", kind)
			next, err = workflow.Begin(ctx, tx, e, quick, workflow.Subject{ID: "s1"}, state{}, 0)
			return err
		}))
		require.Equal(t, "done", wait(t, e, next).Status)
		require.Equal(t, "cancelled", wait(t, e, id).Status)
		require.NotContains(t, b.all(), "undo a")
	})
}

func TestDeadlineEndsAStepThatHangs(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{workflow.Migrations()}, func(t *testing.T, d *db.DB) {
		var b bench
		def := &workflow.Definition[state]{Kind: "k", Deadline: 150 * time.Millisecond, Steps: []workflow.Step[state]{
			b.step("wait", func(ctx context.Context, _ *workflow.Run[state]) error { <-ctx.Done(); return ctx.Err() })}}
		e, _ := start(t, d, def)
		r := wait(t, e, begin(t, d, e, def, "s1"))
		require.Equal(t, "failed", r.Status)
		require.Equal(t, "wait", r.ErrStep)
		require.Contains(t, r.Err, "deadline")
	})
}

func TestUnavailableIsTriedAgain(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{workflow.Migrations()}, func(t *testing.T, d *db.DB) {
		var b bench
		n := 0
		def := &workflow.Definition[state]{Kind: "k", Deadline: time.Minute, Steps: []workflow.Step[state]{b.step("a", func(context.Context, *workflow.Run[state]) error {
			if n++; n < 3 {
				return fault.Unavailable("nobody there")
			}
			return nil
		})}}
		e, _ := start(t, d, def)
		require.Equal(t, "done", wait(t, e, begin(t, d, e, def, "s1")).Status)
		require.Equal(t, 3, n)
	})
}
