package s3store

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/stretchr/testify/require"

	"nephos/internal/db/dbtest"
	"nephos/internal/image"
	"nephos/internal/workflow"
)

// server is an S3 server in this process.
func server(t testing.TB) (*httptest.Server, *store) {
	t.Helper()
	srv := httptest.NewServer(gofakes3.New(s3mem.New(), gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(srv.Close)
	made, err := New(Config{Endpoint: srv.URL, Bucket: "images", Prefix: "nephos/", AccessKey: "k", SecretKey: "s"})
	require.NoError(t, err)
	s := made.(*store)
	s.part = 5 << 20 // the least that S3 takes
	require.NoError(t, s.c.MakeBucket(context.Background(), "images", minio.MakeBucketOptions{}))
	return srv, s
}

// Both stores keep the same promises.
func TestStorePromises(t *testing.T) {
	t.Parallel()
	_, s3 := server(t)
	dir, err := image.NewDirStore(filepath.Join(t.TempDir(), "d"), 0)
	require.NoError(t, err)
	for name, s := range map[string]image.Store{"s3": s3, "dir": dir} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			id := uuid.NewString()
			data := make([]byte, 12<<20+7) // several parts
			rnd := rand.New(rand.NewPCG(1, 2))
			for k := range data {
				data[k] = byte(rnd.Uint32())
			}
			_, err := s.Open(ctx, id)
			require.ErrorIs(t, err, image.ErrNoBytes)
			_, err = s.OpenPart(ctx, id, "u1")
			require.ErrorIs(t, err, image.ErrNoBytes)
			require.ErrorIs(t, s.Publish(ctx, id, "u1"), image.ErrNoBytes)
			require.NoError(t, s.Discard(ctx, id, "u1"))
			require.NoError(t, s.Remove(ctx, id))

			p, err := s.Create(ctx, id, "u1")
			require.NoError(t, err)
			for c := range slices.Chunk(data, 1<<20) {
				n, err := p.Write(c)
				require.NoError(t, err)
				require.Len(t, c, n)
			}
			_, err = s.Open(ctx, id)
			require.ErrorIs(t, err, image.ErrNoBytes, "not published")
			require.NoError(t, p.Seal())
			require.NoError(t, p.Close())
			b, err := s.OpenPart(ctx, id, "u1")
			require.NoError(t, err)
			require.EqualValues(t, len(data), b.Size())
			require.NoError(t, b.Close())
			all, err := s.List(ctx)
			require.NoError(t, err)
			require.Equal(t, []image.Object{{ID: id, Upload: "u1"}}, all)
			require.NoError(t, s.Publish(ctx, id, "u1"))
			require.NoError(t, s.Publish(ctx, id, "u1"), "again")
			all, err = s.List(ctx)
			require.NoError(t, err)
			require.Equal(t, []image.Object{{ID: id}}, all)

			b, err = s.Open(ctx, id)
			require.NoError(t, err)
			got, err := io.ReadAll(b)
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, got))
			part := make([]byte, 100)
			n, err := b.ReadAt(part, int64(len(data))-50)
			require.Equal(t, 50, n)
			require.ErrorIs(t, err, io.EOF)
			require.Equal(t, data[len(data)-50:], part[:50])
			at, err := b.Seek(1<<20, io.SeekStart)
			require.NoError(t, err)
			require.EqualValues(t, 1<<20, at)
			_, err = io.ReadFull(b, part)
			require.NoError(t, err)
			require.Equal(t, data[1<<20:1<<20+100], part)
			require.NoError(t, b.Close())

			given, err := s.Create(ctx, id, "u2")
			require.NoError(t, err)
			_, err = given.Write(data[:6<<20])
			require.NoError(t, err)
			require.NoError(t, given.Close(), "given up")
			require.NoError(t, s.Discard(ctx, id, "u2"))
			require.NoError(t, s.Remove(ctx, id))
			all, err = s.List(ctx)
			require.NoError(t, err)
			require.Empty(t, all)
		})
	}
}

func TestImagesInABucket(t *testing.T) {
	t.Parallel()
	srv, s3 := server(t)
	ctx := context.Background()
	d := dbtest.SQLite(t, workflow.Migrations(), image.Migrations())
	staging, err := image.NewDirStore(t.TempDir(), 0)
	require.NoError(t, err)
	r := image.New(image.Config{DB: d, Stores: []image.NamedStore{{ID: "bucket", Type: "s3", Store: s3}}, Staging: staging, Node: "n", Log: slog.New(slog.DiscardHandler)})
	data := bytes.Repeat([]byte("bytes in a bucket"), 500_000)
	img, err := r.CreateFromFile(ctx, nil, image.CreateParams{Name: "x", Owner: "p", DiskFormat: "raw", ContainerFormat: "bare"}, bytes.NewReader(data))
	require.NoError(t, err)
	require.Equal(t, []string{"bucket"}, img.Stores())
	require.Empty(t, r.LocalPath(ctx, img.ID))
	b, n, err := r.Open(ctx, img.ID)
	require.NoError(t, err)
	require.EqualValues(t, len(data), n)
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.True(t, bytes.Equal(data, got))

	p, err := s3.Create(ctx, img.ID, "dead")
	require.NoError(t, err)
	_, err = p.Write(data)
	require.NoError(t, err)
	require.NoError(t, p.Seal())
	problems, _, err := r.Check(ctx)
	require.NoError(t, err)
	require.Len(t, problems, 1, "a part that no upload owns: %v", problems)
	rep, err := r.Collect(ctx)
	require.NoError(t, err)
	require.Equal(t, []image.Object{{ID: img.ID, Upload: "dead"}}, rep.Removed)

	require.NoError(t, r.Delete(ctx, nil, img.ID))
	all, err := s3.List(ctx)
	require.NoError(t, err)
	require.Empty(t, all)
	srv.Config.Handler = http.NotFoundHandler()
	srv.Close()
	_, err = r.CreateFromFile(ctx, nil, image.CreateParams{Name: "x", Owner: "p", DiskFormat: "raw", ContainerFormat: "bare"}, bytes.NewReader(data))
	require.Error(t, err, "the object store is gone")
	problems, _, err = r.Check(ctx)
	require.NoError(t, err)
	require.Len(t, problems, 1, "it cannot be listed")
}
