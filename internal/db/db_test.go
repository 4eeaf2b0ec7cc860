package db_test

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
)

//go:embed testdata/m/*.sql
var files embed.FS

func rooms(t testing.TB) []db.Migrations {
	sub, err := fs.Sub(files, "testdata/m")
	require.NoError(t, err)
	return []db.Migrations{{Room: "test", FS: sub}}
}

type counter struct {
	ID   string                  `db:"id"`
	Used int64                   `db:"used"`
	Lim  int64                   `db:"lim"`
	At   db.Time                 `db:"at"`
	Flag bool                    `db:"flag"`
	Doc  db.JSON[map[string]int] `db:"doc"`
	Raw  []byte                  `db:"raw"`
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms(t), func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		in := counter{ID: "a", Used: 1, Lim: 5, At: db.Now(), Flag: true, Doc: db.AsJSON(map[string]int{"x": 3}), Raw: []byte{0, 255}}
		require.NoError(t, d.Write(ctx, func(tx *db.Tx) error { return tx.Insert(ctx, "counters", in) }))
		var out counter
		require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
			return tx.Get(ctx, &out, `SELECT * FROM counters WHERE id IN (?) AND flag = ?`, []string{"a", "b"}, true)
		}))
		require.Equal(t, in, out)
		require.ErrorIs(t, d.Read(ctx, func(tx *db.Tx) error { return tx.Get(ctx, &out, `SELECT * FROM counters WHERE id = ?`, "zz") }), db.ErrNoRows)
	})
}

func TestConstraintKinds(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms(t), func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		ins := func(c counter) error {
			return d.Write(ctx, func(tx *db.Tx) error { return tx.Insert(ctx, "counters", c) })
		}
		require.NoError(t, ins(counter{ID: "a", Lim: 1}))
		require.True(t, db.IsUnique(ins(counter{ID: "a", Lim: 1})))
		require.True(t, db.IsCheck(ins(counter{ID: "b", Used: 2, Lim: 1})))
		err := d.Write(ctx, func(tx *db.Tx) error { _, err := tx.Exec(ctx, `INSERT INTO kids VALUES ('k', 'nobody')`); return err })
		require.True(t, db.IsForeignKey(err), "%v", err)
		require.Error(t, d.Read(ctx, func(tx *db.Tx) error { _, err := tx.Exec(ctx, `DELETE FROM counters`); return err }), "a reader cannot write")
	})
}

// One slot, many takers: exactly the limit is given out, and a failing neighbour in the same batch takes nothing with it.
func TestConditionalUpdateIsExactUnderRace(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms(t), func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		require.NoError(t, d.Write(ctx, func(tx *db.Tx) error { return tx.Insert(ctx, "counters", counter{ID: "q", Lim: 7}) }))
		var won, committed atomic.Int64
		var wg sync.WaitGroup
		errFull := errors.New("full")
		for range 60 {
			wg.Go(func() {
				err := d.Write(ctx, func(tx *db.Tx) error {
					n, err := tx.Exec(ctx, `UPDATE counters SET used = used + 1 WHERE id = ? AND used + 1 <= lim`, "q")
					if err != nil {
						return err
					}
					if n == 0 {
						return errFull
					}
					tx.OnCommit(func() { committed.Add(1) })
					return nil
				})
				if err == nil {
					won.Add(1)
				} else {
					require.ErrorIs(t, err, errFull)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 7, won.Load())
		require.EqualValues(t, 7, committed.Load())
	})
}

func TestPanicRollsBackAndReachesTheCaller(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms(t), func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		require.PanicsWithValue(t, "boom", func() {
			d.Write(ctx, func(tx *db.Tx) error { //nolint:errcheck // it panics
				if err := tx.Insert(ctx, "counters", counter{ID: "p", Lim: 1}); err != nil {
					return err
				}
				panic("boom")
			})
		})
		var n int
		require.NoError(t, d.Read(ctx, func(tx *db.Tx) error { return tx.Get(ctx, &n, `SELECT COUNT(*) FROM counters`) }))
		require.Zero(t, n)
	})
}

func TestReopenKeepsAndCloseIsFinal(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "n.db")
	d, err := db.Open(ctx, path)
	require.NoError(t, err)
	require.NoError(t, d.Migrate(ctx, rooms(t)...))
	require.NoError(t, d.Write(ctx, func(tx *db.Tx) error {
		return tx.Insert(ctx, "counters", counter{ID: "a", Lim: 1, At: db.At(time.Unix(9, 0))})
	}))
	require.NoError(t, d.Close())
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Write(ctx, func(*db.Tx) error { return nil }), db.ErrClosed)
	d, err = db.Open(ctx, path)
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.Migrate(ctx, rooms(t)...))
	var n int
	require.NoError(t, d.Read(ctx, func(tx *db.Tx) error { return tx.Get(ctx, &n, `SELECT COUNT(*) FROM counters`) }))
	require.Equal(t, 1, n)
}

func BenchmarkWrite(b *testing.B) {
	d := dbtest.SQLite(b, rooms(b)...)
	ctx := context.Background()
	require.NoError(b, d.Write(ctx, func(tx *db.Tx) error { return tx.Insert(ctx, "counters", counter{ID: "q", Lim: 1 << 40}) }))
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			err := d.Write(ctx, func(tx *db.Tx) error {
				_, err := tx.Exec(ctx, `UPDATE counters SET used = used + 1 WHERE id = ? AND used + 1 <= lim`, "q")
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A write that is refused for what another one of the same batch did is answered when that is committed, not before: whoever has the answer finds the reason.
func TestRefusalIsNotToldBeforeItsReasonIsCommitted(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t, db.Migrations{Room: "taken", FS: fstest.MapFS{"00001_taken.sql": {Data: []byte("-- +goose Up\nCREATE TABLE taken (id BIGINT PRIMARY KEY);\n-- +goose Down\nDROP TABLE taken;\n")}}})
	ctx := context.Background()
	var wg sync.WaitGroup
	for i := range 200 {
		for range 4 {
			wg.Go(func() {
				err := d.Write(ctx, func(tx *db.Tx) error {
					_, err := tx.Exec(ctx, `INSERT INTO taken (id) VALUES (?)`, i)
					return err
				})
				if err == nil {
					return
				}
				if !db.IsUnique(err) {
					t.Error(err)
				}
				var n int
				if err := d.Read(ctx, func(tx *db.Tx) error { return tx.Get(ctx, &n, `SELECT COUNT(*) FROM taken WHERE id = ?`, i) }); err != nil || n != 1 {
					t.Errorf("refused for row %d, of which there are %d (%v)", i, n, err)
				}
			})
		}
	}
	wg.Wait()
}

// Whatever stands beside it in a batch, a closure that was refused, panicked or was given up by its caller leaves nothing, and one that was accepted is there, once.
func TestCrowdKeepsWhatWasAcceptedAndNothingElse(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms(t), func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		require.NoError(t, d.Write(ctx, func(tx *db.Tx) error { return tx.Insert(ctx, "counters", counter{ID: "sum", Lim: 1000}) }))
		refusal := errors.New("refused")
		gone, leave := context.WithCancel(ctx)
		leave()
		var accepted, after, there atomic.Int64
		var wg sync.WaitGroup
		for w := range 16 {
			wg.Go(func() {
				for i := range 12 {
					kind := (w*7 + i*3) % 11 // most are accepted, refusals come alone and together
					what := ctx
					if kind == 2 {
						what = gone
					}
					err := func() (err error) {
						defer func() {
							if p := recover(); p != nil {
								err = refusal
							}
						}()
						return d.Write(what, func(tx *db.Tx) error {
							if err := tx.Insert(ctx, "counters", counter{ID: fmt.Sprintf("%d-%d", w, i), Lim: 1}); err != nil {
								return err
							}
							if _, err := tx.Exec(ctx, `UPDATE counters SET used = used + 1 WHERE id = 'sum'`); err != nil {
								return err
							}
							tx.OnCommit(func() { after.Add(1) })
							there.Add(1)
							tx.OnRollback(func() { there.Add(-1) })
							switch kind {
							case 0:
								return refusal
							case 1:
								panic("boom")
							}
							return nil
						})
					}()
					if err == nil {
						accepted.Add(1)
					} else if !errors.Is(err, refusal) && !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		var rows, sum int64
		require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
			if err := tx.Get(ctx, &rows, `SELECT COUNT(*) FROM counters WHERE id <> 'sum'`); err != nil {
				return err
			}
			return tx.Get(ctx, &sum, `SELECT used FROM counters WHERE id = 'sum'`)
		}))
		require.Positive(t, accepted.Load())
		n := accepted.Load()
		require.Equal(t, []int64{n, n, n, n}, []int64{rows, sum, after.Load(), there.Load()})
	})
}
