package image_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/image"
	"nephos/internal/policy"
)

var (
	admin = &policy.Credentials{ProjectID: "p-admin", Roles: []string{"admin", "member", "reader"}}
	alice = &policy.Credentials{ProjectID: "p-alice", Roles: []string{"member", "reader"}}
	bob   = &policy.Credentials{ProjectID: "p-bob", Roles: []string{"member", "reader"}}
)

var quiet = slog.New(slog.DiscardHandler)

type room struct {
	*image.Service
	store image.Store
	dir   string
	d     *db.DB
}

func newRoom(t testing.TB, d *db.DB, edit func(*image.Config)) room {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "images")
	store, err := image.NewDirStore(dir, 0)
	require.NoError(t, err)
	cfg := image.Config{DB: d, Store: store, Node: "n1", Log: quiet}
	if edit != nil {
		edit(&cfg)
	}
	return room{image.New(cfg), cfg.Store, dir, d}
}

func each(t *testing.T, fn func(t *testing.T, r room)) {
	t.Helper()
	dbtest.Each(t, []db.Migrations{image.Migrations()}, func(t *testing.T, d *db.DB) { fn(t, newRoom(t, d, nil)) })
}

func (r room) files(t *testing.T) []string {
	t.Helper()
	es, err := os.ReadDir(r.dir)
	require.NoError(t, err)
	out := []string{}
	for _, e := range es {
		out = append(out, e.Name())
	}
	return out
}

func raw(name string) image.CreateParams {
	return image.CreateParams{Name: name, DiskFormat: "raw", ContainerFormat: "bare"}
}

func kind(t *testing.T, want fault.Kind, err error) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, want, fault.KindOf(err), "%v", err)
}

func TestUploadRoundTrip(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r room) {
		ctx := context.Background()
		data := bytes.Repeat([]byte("0123456789abcdef"), 300_001) // several buffers and a rest
		img, err := r.CreateFromFile(ctx, alice, raw("disk"), iotest.HalfReader(bytes.NewReader(data)))
		require.NoError(t, err)
		m, h := md5.Sum(data), sha512.Sum512(data)
		require.Equal(t, image.Active, img.Status)
		require.Equal(t, int64(len(data)), img.SizeBytes)
		require.Equal(t, int64(len(data)), img.VirtualBytes)
		require.Equal(t, hex.EncodeToString(m[:]), img.MD5)
		require.Equal(t, hex.EncodeToString(h[:]), img.HashValue)
		require.Equal(t, "p-alice", img.Owner)
		require.Equal(t, image.Shared, img.Visibility)
		b, size, err := r.Open(ctx, img.ID)
		require.NoError(t, err)
		defer b.Close()
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		require.Equal(t, int64(len(got)), size)
		require.True(t, bytes.Equal(data, got))
		st, err := os.Stat(r.store.LocalPath(img.ID))
		require.NoError(t, err)
		require.EqualValues(t, 0o400, st.Mode().Perm(), "published bytes are immutable")

		require.NoError(t, r.Delete(ctx, alice, img.ID))
		kind(t, fault.KindNotFound, r.Delete(ctx, alice, img.ID))
		_, err = r.ByID(ctx, img.ID)
		kind(t, fault.KindNotFound, err)
		require.Empty(t, r.files(t))
		p := raw("again")
		p.ID = img.ID
		_, err = r.Create(ctx, alice, p)
		kind(t, fault.KindConflict, err)
	})
}

func TestUploadFailuresLeaveTheImageQueuedAndNoBytes(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{image.Migrations()}, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		big := bytes.Repeat([]byte{7}, 3<<20)
		qcow := append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 1<<20)...)
		for _, c := range []struct {
			name   string
			format string
			data   io.Reader
			size   int64
			most   int64
			want   fault.Kind
			text   string
		}{
			{"cut off", "raw", io.MultiReader(bytes.NewReader(big), iotest.ErrReader(io.ErrUnexpectedEOF)), -1, 0, fault.KindInvalid, "broke off"},
			{"cut off early", "raw", iotest.ErrReader(errors.New("reset")), -1, 0, fault.KindInvalid, "broke off"},
			{"shorter than announced", "raw", bytes.NewReader(big), 4 << 20, 0, fault.KindInvalid, "differs from the size announced"},
			{"longer than announced", "raw", bytes.NewReader(big), 5, 0, fault.KindInvalid, "differs from the size announced"},
			{"announced above the cap", "raw", bytes.NewReader(big), 3 << 20, 2 << 20, fault.KindTooLarge, "maximum image size of 2097152"},
			{"turns out above the cap", "raw", bytes.NewReader(big), -1, 2 << 20, fault.KindTooLarge, "maximum image size of 2097152"},
			{"no room", "raw", bytes.NewReader(big), 1 << 60, 0, fault.KindTooLarge, "not enough disk space"},
			{"qcow2 declared raw", "raw", bytes.NewReader(qcow), -1, 0, fault.KindInvalid, "its content is qcow2"},
			{"raw declared qcow2", "qcow2", bytes.NewReader(big), -1, 0, fault.KindInvalid, "its content is raw"},
			{"short raw declared qcow2", "qcow2", strings.NewReader("hello"), -1, 0, fault.KindInvalid, "its content is raw"},
		} {
			r := newRoom(t, d, func(cfg *image.Config) { cfg.MaxBytes = c.most })
			p := raw(c.name)
			p.DiskFormat = c.format
			img, err := r.Create(ctx, alice, p)
			require.NoError(t, err)
			err = r.Upload(ctx, alice, img.ID, c.data, c.size)
			kind(t, c.want, err)
			require.Contains(t, fault.Message(err), c.text, c.name)
			got, err := r.ByID(ctx, img.ID)
			require.NoError(t, err)
			require.Equal(t, image.Queued, got.Status, c.name)
			require.Empty(t, r.files(t), c.name)
			require.NoError(t, r.Upload(ctx, alice, img.ID, bytes.NewReader(validFor(c.format)), -1), "%s: a second upload works", c.name)
		}
	})
}

// validFor makes a small sound image.
func validFor(format string) []byte {
	if format != "qcow2" {
		return []byte("bytes")
	}
	h := make([]byte, 4*65536)
	copy(h, "QFI\xfb\x00\x00\x00\x03")
	h[23] = 16                                   // cluster bits
	copy(h[24:], []byte{0, 0, 0, 0, 0x40})       // 1 GiB
	h[39] = 2                                    // L1 entries
	copy(h[40:], []byte{0, 0, 0, 0, 0, 3, 0, 0}) // L1 table
	copy(h[48:], []byte{0, 0, 0, 0, 0, 1, 0, 0}) // refcount table
	h[59], h[99], h[103] = 1, 4, 104             // its clusters, refcount order, header length
	return h
}

type blockingReader struct {
	started, free chan struct{}
	once          sync.Once
}

func (b *blockingReader) Read(p []byte) (int, error) {
	b.once.Do(func() { close(b.started) })
	<-b.free
	return 0, io.EOF
}

func TestOneUploadWinsAndDeleteDuringUploadIsGone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r room) {
		ctx := context.Background()
		img, err := r.Create(ctx, alice, raw("x"))
		require.NoError(t, err)
		b := &blockingReader{started: make(chan struct{}), free: make(chan struct{})}
		first := make(chan error, 1)
		go func() { first <- r.Upload(ctx, alice, img.ID, b, -1) }()
		<-b.started
		got, err := r.ByID(ctx, img.ID)
		require.NoError(t, err)
		require.Equal(t, image.Saving, got.Status)
		kind(t, fault.KindConflict, r.Upload(ctx, alice, img.ID, strings.NewReader("y"), -1))
		require.NoError(t, r.Delete(ctx, alice, img.ID))
		close(b.free)
		kind(t, fault.KindGone, <-first)
		require.Empty(t, r.files(t))
	})
}

func TestVisibility(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r room) {
		ctx := context.Background()
		ids := map[image.Visibility]string{}
		for _, v := range []image.Visibility{image.Public, image.Community, image.Shared, image.Private} {
			p := raw(string(v))
			p.Visibility = v
			img, err := r.Create(ctx, alice, p)
			require.NoError(t, err)
			ids[v] = img.ID
		}
		sees := func(c *policy.Credentials) (out []string) {
			for _, v := range []image.Visibility{image.Public, image.Community, image.Shared, image.Private} {
				if _, err := r.Get(ctx, c, ids[v]); err == nil {
					out = append(out, string(v))
				} else {
					kind(t, fault.KindNotFound, err)
				}
			}
			return out
		}
		lists := func(c *policy.Credentials, f image.Filter) []string {
			f.Sort = []image.SortKey{{Key: "name"}}
			got, err := r.List(ctx, c, f)
			require.NoError(t, err)
			out := []string{}
			for _, i := range got {
				out = append(out, i.Name)
			}
			return out
		}
		all := []string{"public", "community", "shared", "private"}
		require.Equal(t, all, sees(nil))
		require.Equal(t, all, sees(admin))
		require.Equal(t, all, sees(alice))
		require.Equal(t, all[:2], sees(bob))
		require.Equal(t, all[:2], sees(&policy.Credentials{}))
		require.Equal(t, []string{"public"}, lists(bob, image.Filter{}))
		require.Equal(t, []string{"community", "public"}, lists(bob, image.Filter{Visibility: "all"}))
		require.Equal(t, []string{"community"}, lists(bob, image.Filter{Visibility: "community"}))
		require.Equal(t, []string{"private", "public", "shared"}, lists(admin, image.Filter{}))
		require.Len(t, lists(alice, image.Filter{}), 4)
		require.Len(t, lists(nil, image.Filter{}), 4)

		_, err := r.AddMember(ctx, bob, ids[image.Shared], "p-bob")
		kind(t, fault.KindNotFound, err)
		_, err = r.AddMember(ctx, alice, ids[image.Private], "p-bob")
		kind(t, fault.KindForbidden, err)
		_, err = r.AddMember(ctx, alice, ids[image.Shared], "p-bob")
		require.NoError(t, err)
		_, err = r.AddMember(ctx, alice, ids[image.Shared], "p-bob")
		kind(t, fault.KindConflict, err)
		require.Equal(t, all[:3], sees(bob), "the cache forgets on commit")
		require.Equal(t, []string{"public"}, lists(bob, image.Filter{}))
		require.Equal(t, []string{"public", "shared"}, lists(bob, image.Filter{MemberStatus: image.Pending}))
		_, err = r.AnswerMember(ctx, alice, ids[image.Shared], "p-bob", image.Accepted)
		kind(t, fault.KindForbidden, err)
		_, err = r.AnswerMember(ctx, bob, ids[image.Shared], "p-bob", image.Accepted)
		require.NoError(t, err)
		require.Equal(t, []string{"public", "shared"}, lists(bob, image.Filter{}))
		kind(t, fault.KindForbidden, r.RemoveMember(ctx, bob, ids[image.Shared], "p-bob"))
		kind(t, fault.KindForbidden, r.Delete(ctx, bob, ids[image.Shared]))
		require.NoError(t, r.RemoveMember(ctx, alice, ids[image.Shared], "p-bob"))
		require.Equal(t, all[:2], sees(bob))
	})
}

func TestSpecResolvesKernelAndRamdiskOnlyForTheOwner(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r room) {
		ctx := context.Background()
		make := func(c *policy.Credentials, format string, props map[string]string) image.Image {
			img, err := r.CreateFromFile(ctx, c, image.CreateParams{Name: format, DiskFormat: format, ContainerFormat: format, Visibility: image.Private, Properties: props}, strings.NewReader(format))
			require.NoError(t, err)
			return img
		}
		aki, ari, foreign := make(alice, "aki", nil), make(alice, "ari", nil), make(bob, "aki", nil)
		ami := make(alice, "ami", map[string]string{"kernel_id": aki.ID, "ramdisk_id": ari.ID})
		spec, err := r.Spec(ctx, ami.ID)
		require.NoError(t, err)
		require.Equal(t, aki.ID, spec.Kernel.ID)
		require.Equal(t, ari.HashValue, spec.Ramdisk.SHA512)
		thief := make(alice, "ami", map[string]string{"kernel_id": foreign.ID})
		_, err = r.Spec(ctx, thief.ID)
		kind(t, fault.KindInvalid, err)
		require.NoError(t, r.Deactivate(ctx, alice, aki.ID))
		_, err = r.Spec(ctx, ami.ID)
		kind(t, fault.KindInvalid, err)
		require.NoError(t, r.Reactivate(ctx, alice, aki.ID))
		_, err = r.Spec(ctx, ami.ID)
		require.NoError(t, err)
	})
}

func TestUpdateRules(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r room) {
		ctx := context.Background()
		img, err := r.Create(ctx, alice, raw("a"))
		require.NoError(t, err)
		got, err := r.Update(ctx, alice, img.ID, func(i *image.Image) error {
			i.ID, i.Status, i.HashValue = "other", image.Active, "x"
			i.Name, i.DiskFormat, i.Tags = "b", "qcow2", []string{"z", "a", "z"}
			i.Properties["k"] = "v"
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, []any{img.ID, image.Queued, "", "b", "qcow2", []string{"a", "z"}, "v"},
			[]any{got.ID, got.Status, got.HashValue, got.Name, got.DiskFormat, got.Tags, got.Properties["k"]})
		read, err := r.ByID(ctx, img.ID)
		require.NoError(t, err)
		require.Equal(t, got.Properties, read.Properties)
		for _, c := range []struct {
			who  *policy.Credentials
			fn   func(*image.Image)
			want fault.Kind
		}{
			{bob, func(*image.Image) {}, fault.KindNotFound},
			{alice, func(i *image.Image) { i.Owner = "p-bob" }, fault.KindForbidden},
			{alice, func(i *image.Image) { i.Name = strings.Repeat("x", 256) }, fault.KindInvalid},
			{alice, func(i *image.Image) { i.Name = "a\x00b" }, fault.KindInvalid},
			{alice, func(i *image.Image) { i.Properties["k"] = "\xff" }, fault.KindInvalid},
			{alice, func(i *image.Image) { i.DiskFormat = "floppy" }, fault.KindInvalid},
			{alice, func(i *image.Image) { i.MinRAMMiB = -1 }, fault.KindInvalid},
			{alice, func(i *image.Image) { i.MinDiskGiB = 1 << 40 }, fault.KindInvalid},
			{alice, func(i *image.Image) {
				for k := range 200 {
					i.Tags = append(i.Tags, strings.Repeat("t", k+1))
				}
			}, fault.KindQuota},
			{alice, func(i *image.Image) {
				for k := range 200 {
					i.Properties[strings.Repeat("t", k+1)] = ""
				}
			}, fault.KindQuota},
		} {
			_, err := r.Update(ctx, c.who, img.ID, func(i *image.Image) error { c.fn(i); return nil })
			kind(t, c.want, err)
		}
		again, err := r.ByID(ctx, img.ID)
		require.NoError(t, err)
		require.Equal(t, read, again, "nothing of a refused update stays")
	})
}

func TestInUseHookRefusesDelete(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t, image.Migrations())
	r := newRoom(t, d, func(c *image.Config) {
		c.InUse = func(context.Context, *db.Tx, string) (string, error) { return "volume v1", nil }
	})
	img, err := r.CreateFromFile(context.Background(), alice, raw("x"), strings.NewReader("x"))
	require.NoError(t, err)
	kind(t, fault.KindConflict, r.Delete(context.Background(), alice, img.ID))
	require.FileExists(t, r.store.LocalPath(img.ID))
}

func TestEnsureIsIdempotentAndDoesNotBringBackTheDeleted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r room) {
		ctx := context.Background()
		p := raw("demo")
		p.ID, p.Owner, p.Visibility = uuid.NewString(), "p-admin", image.Public
		opened := 0
		open := func() (io.ReadCloser, error) { opened++; return io.NopCloser(strings.NewReader("demo")), nil }
		_, err := r.Ensure(ctx, p, func() (io.ReadCloser, error) { return nil, errors.New("unreadable") })
		require.Error(t, err)
		for range 2 {
			img, err := r.Ensure(ctx, p, open)
			require.NoError(t, err)
			require.Equal(t, image.Active, img.Status)
		}
		require.Equal(t, 1, opened)
		require.NoError(t, r.Delete(ctx, admin, p.ID))
		_, err = r.Ensure(ctx, p, open)
		kind(t, fault.KindNotFound, err)
	})
}

// A page walk by any order and page size gives every image that passes the filter once, in order.
func TestPagesCoverTheListProperty(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, r room) {
		ctx := context.Background()
		for k := range 23 {
			p := raw([]string{"a", "b", "", "c"}[k%4])
			p.DiskFormat = []string{"raw", "qcow2", ""}[k%3]
			p.Tags = [][]string{nil, {"t"}, {"t", "u"}}[k%3]
			p.Properties = map[string]string{"n": []string{"0", "1"}[k%2]}
			p.Hidden = k%5 == 0
			_, err := r.Create(ctx, alice, p)
			require.NoError(t, err)
		}
		rapid.Check(t, func(t *rapid.T) {
			f := image.Filter{}
			for range rapid.IntRange(0, 3).Draw(t, "keys") {
				f.Sort = append(f.Sort, image.SortKey{Key: rapid.SampledFrom([]string{"name", "status", "disk_format", "container_format", "size", "id", "created_at", "updated_at"}).Draw(t, "key"), Desc: rapid.Bool().Draw(t, "desc")})
			}
			if rapid.Bool().Draw(t, "by tag") {
				f.Tags = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"t", "u"}), 1, 2, rapid.ID).Draw(t, "tags")
			}
			if rapid.Bool().Draw(t, "by property") {
				f.Properties = map[string]string{"n": rapid.SampledFrom([]string{"0", "1", "2"}).Draw(t, "n")}
			}
			if rapid.Bool().Draw(t, "by name") {
				f.Names = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "zz"}), 1, 3).Draw(t, "names")
			}
			if rapid.Bool().Draw(t, "by hidden") {
				h := rapid.Bool().Draw(t, "hidden")
				f.Hidden = &h
			}
			whole, err := r.List(ctx, alice, f)
			require.NoError(t, err)
			everything, err := r.List(ctx, alice, image.Filter{})
			require.NoError(t, err)
			want := 0
			for _, i := range everything {
				if passes(i, f) {
					want++
				}
			}
			require.Len(t, whole, want)
			f.Limit = rapid.IntRange(1, 9).Draw(t, "limit")
			var walked []image.Image
			for {
				page, err := r.List(ctx, alice, f)
				require.NoError(t, err)
				walked = append(walked, page...)
				if len(page) < f.Limit {
					break
				}
				f.Marker = page[len(page)-1].ID
			}
			require.Equal(t, len(whole), len(walked))
			for k := range whole {
				require.Equal(t, whole[k].ID, walked[k].ID)
			}
		})
	})
}

// passes is the filter said again, in Go.
func passes(i image.Image, f image.Filter) bool {
	has := func(list []string, x string) bool {
		return strings.Contains("|"+strings.Join(list, "|")+"|", "|"+x+"|")
	}
	for _, t := range f.Tags {
		if !has(i.Tags, t) {
			return false
		}
	}
	for k, v := range f.Properties {
		if i.Properties[k] != v {
			return false
		}
	}
	return (f.Names == nil || has(f.Names, i.Name)) && (f.Hidden == nil || *f.Hidden == i.Hidden)
}
