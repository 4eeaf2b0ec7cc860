package image_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/image"
)

var errDied = errors.New("the process is dead")

// mortal is a store whose process dies at a chosen call: from then on nothing of that process reaches store or database.
type mortal struct {
	image.Store
	mu     sync.Mutex
	at     string // name of the call, "+" after it: the call is done before the death
	dead   bool
	killed func()
}

func (m *mortal) step(name string, do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return errDied
	}
	if m.at == name {
		m.dead = true
		m.killed()
		return errDied
	}
	err := do()
	if err == nil && m.at == name+"+" {
		m.dead = true
		m.killed()
		return errDied
	}
	return err
}

type mortalPart struct {
	image.Part
	m *mortal
}

func (m *mortal) Create(ctx context.Context, id, up string) (p image.Part, err error) {
	err = m.step("create", func() error { p, err = m.Store.Create(ctx, id, up); return err })
	return mortalPart{p, m}, err
}
func (p mortalPart) Write(b []byte) (n int, err error) {
	err = p.m.step("write", func() error { n, err = p.Part.Write(b); return err })
	return n, err
}
func (p mortalPart) Seal() error { return p.m.step("seal", p.Part.Seal) }
func (m *mortal) Publish(ctx context.Context, id, up string) error {
	return m.step("publish", func() error { return m.Store.Publish(ctx, id, up) })
}
func (m *mortal) Remove(ctx context.Context, id string) error {
	return m.step("remove", func() error { return m.Store.Remove(ctx, id) })
}
func (m *mortal) Discard(ctx context.Context, id, up string) error {
	return m.step("discard", func() error { return m.Store.Discard(ctx, id, up) })
}

// A process that dies anywhere in an upload, a staging or a delete leaves what the next start mends: nothing without an owner, no
// image that can neither be used nor uploaded again.
func TestDeathAtEveryStep(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, c := range []struct {
		verb, at string
		status   image.Status // after Recover; "" deleted
		files    int
	}{
		{"upload", "create", image.Queued, 0},
		{"upload", "create+", image.Queued, 0},
		{"upload", "write", image.Queued, 0},
		{"upload", "write+", image.Queued, 0},
		{"upload", "seal+", image.Queued, 0},
		{"upload", "publish", image.Queued, 0},
		{"upload", "publish+", image.Queued, 0},
		{"stage", "write+", image.Queued, 0},
		{"stage", "seal+", image.Queued, 0},
		{"delete", "remove", "", 0},
		{"delete", "remove+", "", 0},
	} {
		t.Run(c.verb+" "+c.at, func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, []db.Migrations{image.Migrations()}, func(t *testing.T, d *db.DB) {
				r := newRoom(t, d, nil)
				img, err := r.Create(ctx, alice, raw("x"))
				require.NoError(t, err)
				switch c.verb {
				case "delete":
					require.NoError(t, r.Upload(ctx, alice, img.ID, strings.NewReader("bytes"), -1))
				}
				// Death is simulated at the store: afterwards the row is put back as the dead process left it.
				dying := r
				m := &mortal{Store: r.store, at: c.at}
				var before savedRow
				m.killed = func() { before = rowOf(t, d, img.ID) }
				dying.Service = image.New(image.Config{DB: d, Store: m, Node: "n1", Log: quiet})
				switch c.verb {
				case "upload":
					err = dying.Upload(ctx, alice, img.ID, strings.NewReader("bytes"), -1)
				case "stage":
					err = dying.Stage(ctx, alice, img.ID, strings.NewReader("bytes"), -1)
				case "delete":
					err = dying.Delete(ctx, alice, img.ID)
				}
				if c.verb != "delete" {
					require.ErrorIs(t, err, errDied)
				}
				putBack(t, d, img.ID, before)

				next := image.New(image.Config{DB: d, Store: r.store, Node: "n1", Log: quiet})
				_, err = next.Recover(ctx)
				require.NoError(t, err)
				require.Len(t, r.files(t), c.files)
				rep, err := next.Recover(ctx)
				require.NoError(t, err)
				require.Equal(t, image.Report{}, rep, "a second recovery finds nothing to do")
				got, err := next.ByID(ctx, img.ID)
				if c.status == "" {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				require.Equal(t, c.status, got.Status)
				require.NoError(t, next.Upload(ctx, alice, img.ID, strings.NewReader("bytes"), -1))
				require.Equal(t, []string{img.ID}, r.files(t))
				b, _, err := next.Open(ctx, img.ID)
				require.NoError(t, err)
				defer b.Close()
				all, err := io.ReadAll(b)
				require.NoError(t, err)
				require.Equal(t, "bytes", string(all))
			})
		})
	}
}

type savedRow struct {
	Status   string `db:"status"`
	UploadID string `db:"upload_id"`
	Node     string `db:"upload_node"`
	Staged   bool   `db:"staged"`
}

func rowOf(t *testing.T, d *db.DB, id string) savedRow {
	t.Helper()
	var s savedRow
	require.NoError(t, d.Read(context.Background(), func(tx *db.Tx) error {
		return tx.Get(context.Background(), &s, `SELECT status, upload_id, upload_node, staged FROM images WHERE id = ?`, id)
	}))
	return s
}

// putBack undoes what the "dead" process still wrote: its clean-up.
func putBack(t *testing.T, d *db.DB, id string, was savedRow) {
	t.Helper()
	require.NoError(t, d.Write(context.Background(), func(tx *db.Tx) error {
		_, err := tx.Exec(context.Background(), `UPDATE images SET status = ?, upload_id = ?, upload_node = ?, staged = ? WHERE id = ?`, was.Status, was.UploadID, was.Node, was.Staged, id)
		return err
	}))
}

func TestRecoverSparesOtherNodesAndStrangers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r room) {
		ctx := context.Background()
		img, err := r.Create(ctx, alice, raw("x"))
		require.NoError(t, err)
		b := &blockingReader{started: make(chan struct{}), free: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- r.Upload(ctx, alice, img.ID, b, -1) }()
		<-b.started
		orphan := uuid.NewString()
		require.NoError(t, os.WriteFile(r.store.LocalPath(orphan), []byte("x"), 0o600))
		require.NoError(t, os.WriteFile(r.store.LocalPath(orphan)+".abc.part", []byte("x"), 0o600))
		require.NoError(t, os.WriteFile(r.store.LocalPath("README"), []byte("x"), 0o600))
		other := image.New(image.Config{DB: r.d, Store: r.store, Node: "n2", Log: quiet})
		rep, err := other.Recover(ctx)
		require.NoError(t, err)
		require.Empty(t, rep.Requeued)
		require.ElementsMatch(t, []image.Object{{ID: orphan}, {ID: orphan, Upload: "abc"}}, rep.Removed)
		close(b.free)
		require.NoError(t, <-done)
		require.ElementsMatch(t, []string{img.ID, "README"}, r.files(t))
		require.NoError(t, os.Remove(r.store.LocalPath(img.ID)))
		rep, err = other.Recover(ctx)
		require.NoError(t, err)
		require.Equal(t, []string{img.ID}, rep.Missing)
	})
}
