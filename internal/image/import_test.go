package image_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/image"
	"nephos/internal/workflow"
)

var both = []db.Migrations{workflow.Migrations(), image.Migrations()}

// process is one controller's image room with its engine.
type process struct {
	*image.Service
	stop func()
}

// launch starts a process on stores that outlive it.
func launch(t testing.TB, d *db.DB, stores []image.NamedStore, edit func(*image.Config)) process {
	t.Helper()
	e := workflow.New(workflow.Options{DB: d, Clock: clockwork.NewRealClock(), Log: quiet, LeaseFor: 200 * time.Millisecond, Alone: true})
	cfg := image.Config{DB: d, Stores: stores, Node: "n1", Log: quiet, Engine: e, Region: "RegionOne"}
	if edit != nil {
		edit(&cfg)
	}
	s := image.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }() //nolint:errcheck // the rows tell
	p := process{s, sync.OnceFunc(func() { cancel(); <-done })}
	t.Cleanup(p.stop)
	return p
}

func twoStores(t testing.TB) ([]image.NamedStore, []string) {
	t.Helper()
	var out []image.NamedStore
	var dirs []string
	for _, id := range []string{"file", "archive"} {
		dir := filepath.Join(t.TempDir(), id)
		s, err := image.NewDirStore(dir, 0)
		require.NoError(t, err)
		out, dirs = append(out, image.NamedStore{ID: id, Type: "file", Store: s}), append(dirs, dir)
	}
	return out, dirs
}

// ended waits for an image's newest task.
func (p process) ended(t testing.TB, id string) image.Task {
	t.Helper()
	var last image.Task
	require.Eventually(t, func() bool {
		all, err := p.TasksOf(context.Background(), nil, id)
		if err != nil || len(all) == 0 {
			return false
		}
		last = all[len(all)-1]
		return last.Status == image.TaskSuccess || last.Status == image.TaskFailure
	}, 20*time.Second, 5*time.Millisecond)
	return last
}

func (p process) bytesOf(t testing.TB, id string) string {
	t.Helper()
	b, _, err := p.Open(context.Background(), id)
	require.NoError(t, err)
	defer b.Close()
	all, err := io.ReadAll(b)
	require.NoError(t, err)
	return string(all)
}

func (p process) clean(t testing.TB) {
	t.Helper()
	problems, _, err := p.Check(context.Background())
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestImportIntoStores(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, both, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		stores, dirs := twoStores(t)
		p := launch(t, d, stores, nil)
		data := strings.Repeat("payload!", 400_000)
		img, err := p.Create(ctx, alice, raw("x"))
		require.NoError(t, err)
		_, err = p.Import(ctx, alice, img.ID, image.ImportParams{Method: image.GlanceDirect})
		kind(t, fault.KindConflict, err)
		require.NoError(t, p.Stage(ctx, alice, img.ID, strings.NewReader(data), -1))
		_, err = p.Import(ctx, alice, img.ID, image.ImportParams{Method: image.GlanceDirect, Stores: []string{"nowhere"}})
		kind(t, fault.KindConflict, err)
		_, err = p.Import(ctx, alice, img.ID, image.ImportParams{Method: image.GlanceDirect, Stores: []string{"file"}, All: true})
		kind(t, fault.KindInvalid, err)
		task, err := p.Import(ctx, alice, img.ID, image.ImportParams{Method: image.GlanceDirect, All: true, MustAll: true, RequestID: "req-1", Request: []byte(`{"method":{"name":"glance-direct"}}`)})
		require.NoError(t, err)
		end := p.ended(t, img.ID)
		require.Equal(t, []any{task.ID, image.TaskSuccess, "req-1", "p-alice"}, []any{end.ID, end.Status, end.RequestID, end.Owner}, "%s", end.Message)
		require.Contains(t, string(end.Input), `"glance-direct"`)
		got, err := p.ByID(ctx, img.ID)
		require.NoError(t, err)
		sum := md5.Sum([]byte(data))
		require.Equal(t, []any{image.Active, int64(len(data)), hex.EncodeToString(sum[:]), []string{"archive", "file"}, true, ""},
			[]any{got.Status, got.SizeBytes, got.MD5, got.Stores(), got.Imported, got.ImportTask})
		require.Equal(t, data, p.bytesOf(t, img.ID))
		for _, dir := range dirs {
			require.FileExists(t, filepath.Join(dir, img.ID))
		}
		p.clean(t)

		require.NoError(t, p.RemoveFromStore(ctx, img.ID, "file"))
		require.NoFileExists(t, filepath.Join(dirs[0], img.ID))
		require.Equal(t, data, p.bytesOf(t, img.ID), "from the other store")
		kind(t, fault.KindForbidden, p.RemoveFromStore(ctx, img.ID, "archive"))
		kind(t, fault.KindNotFound, p.RemoveFromStore(ctx, img.ID, "file"))
		_, err = p.Import(ctx, alice, img.ID, image.ImportParams{Method: image.CopyImage, Stores: []string{"archive"}})
		kind(t, fault.KindConflict, err)
		_, err = p.Import(ctx, alice, img.ID, image.ImportParams{Method: image.CopyImage, All: true})
		require.NoError(t, err)
		require.Equal(t, image.TaskSuccess, p.ended(t, img.ID).Status)
		got, err = p.ByID(ctx, img.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"archive", "file"}, got.Stores())
		require.NoError(t, p.Delete(ctx, alice, img.ID))
		for _, dir := range dirs {
			require.NoFileExists(t, filepath.Join(dir, img.ID))
		}
		p.clean(t)
	})
}

// failing is a store that takes nothing.
type failing struct{ image.Store }

func (failing) Create(context.Context, string, string) (image.Part, error) {
	return nil, fmt.Errorf("the disk is gone")
}

func TestImportWhenOneStoreFails(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, both, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		stores, dirs := twoStores(t)
		stores[1].Store = failing{stores[1].Store}
		p := launch(t, d, stores, nil)
		for _, must := range []bool{true, false} {
			img, err := p.Create(ctx, alice, raw("x"))
			require.NoError(t, err)
			require.NoError(t, p.Stage(ctx, alice, img.ID, strings.NewReader("bytes"), -1))
			_, err = p.Import(ctx, alice, img.ID, image.ImportParams{Method: image.GlanceDirect, All: true, MustAll: must})
			require.NoError(t, err)
			end := p.ended(t, img.ID)
			got, err := p.ByID(ctx, img.ID)
			require.NoError(t, err)
			if must {
				require.Equal(t, image.TaskFailure, end.Status)
				require.Contains(t, end.Message, "archive")
				require.Equal(t, []any{image.Queued, []string{"file", "archive"}}, []any{got.Status, got.ImportFailed})
				require.NoFileExists(t, filepath.Join(dirs[0], img.ID))
				require.NoError(t, p.Upload(ctx, alice, img.ID, strings.NewReader("again"), -1), "its owner can act on it")
			} else {
				require.Equal(t, image.TaskSuccess, end.Status)
				require.Equal(t, []any{image.Active, []string{"archive"}, []string{"file"}}, []any{got.Status, got.ImportFailed, got.Stores()})
				require.Equal(t, "bytes", p.bytesOf(t, img.ID))
			}
		}
		p.clean(t)
	})
}

// A process that dies anywhere in an import is followed by one that goes on.
func TestImportSurvivesDeathAtEveryStep(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for _, method := range []string{image.GlanceDirect, image.GlanceDownload, image.CopyImage} {
		for _, victim := range []int{0, 1} {
			for _, at := range []string{"create", "write+", "seal+", "publish", "publish+"} {
				if method == image.GlanceDirect && victim == 0 && !strings.HasPrefix(at, "publish") || method == image.CopyImage && victim == 0 {
					continue // not on the way
				}
				t.Run(fmt.Sprintf("%s store %d %s", method, victim, at), func(t *testing.T) {
					t.Parallel()
					d := dbtest.SQLite(t, both...)
					stores, _ := twoStores(t)
					setup := launch(t, d, stores, nil)
					source, err := setup.CreateFromFile(ctx, alice, raw("source"), strings.NewReader("bytes"))
					require.NoError(t, err)
					img := source
					if method != image.CopyImage {
						img, err = setup.Create(ctx, alice, raw("x"))
						require.NoError(t, err)
					}
					if method == image.GlanceDirect {
						require.NoError(t, setup.Stage(ctx, alice, img.ID, strings.NewReader("bytes"), -1))
					}
					setup.stop()

					dying := append([]image.NamedStore{}, stores...)
					dead := make(chan struct{})
					m := &mortal{Store: stores[victim].Store, at: at, killed: func() { close(dead) }}
					dying[victim].Store = m
					ectx, cancel := context.WithCancel(ctx)
					defer cancel()
					e := workflow.New(workflow.Options{DB: d, Clock: clockwork.NewRealClock(), Log: quiet, Alone: true})
					first := image.New(image.Config{DB: d, Stores: dying, Node: "n1", Log: quiet, Engine: e, Region: "RegionOne"})
					m.killed = func() { cancel(); close(dead) }
					ended := make(chan struct{})
					go func() { defer close(ended); e.Run(ectx) }() //nolint:errcheck // it is killed
					_, err = first.Import(ctx, alice, img.ID, image.ImportParams{Method: method, All: true, MustAll: true, Source: source.ID, Region: "RegionOne"})
					require.NoError(t, err)
					select {
					case <-dead:
					case <-time.After(10 * time.Second):
						t.Fatal("the step was not reached")
					}
					<-ended

					next := launch(t, d, stores, nil)
					_, err = next.Recover(ctx)
					require.NoError(t, err)
					require.Equal(t, image.TaskSuccess, next.ended(t, img.ID).Status)
					require.Equal(t, "bytes", next.bytesOf(t, img.ID))
					got, err := next.ByID(ctx, img.ID)
					require.NoError(t, err)
					require.Equal(t, []any{image.Active, []string{"archive", "file"}}, []any{got.Status, got.Stores()})
					require.Eventually(t, func() bool {
						_, err := next.Collect(ctx)
						problems, _, cerr := next.Check(ctx)
						return err == nil && cerr == nil && len(problems) == 0
					}, 10*time.Second, 10*time.Millisecond)
				})
			}
		}
	}
}

func TestDeleteDuringImport(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, both, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		stores, _ := twoStores(t)
		began, free := make(chan struct{}, 1), make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte("first")) //nolint:errcheck // a test's server
			w.(http.Flusher).Flush()
			began <- struct{}{}
			select {
			case <-free:
			case <-r.Context().Done():
			}
		}))
		defer srv.Close()
		defer close(free)
		p := launch(t, d, stores, webTo(t, srv.URL))
		img, err := p.Create(ctx, alice, raw("x"))
		require.NoError(t, err)
		task, err := p.Import(ctx, alice, img.ID, image.ImportParams{Method: image.WebDownload, URI: srv.URL + "/image"})
		require.NoError(t, err)
		<-began
		got, err := p.ByID(ctx, img.ID)
		require.NoError(t, err)
		require.Equal(t, image.Importing, got.Status)
		kind(t, fault.KindConflict, p.Upload(ctx, alice, img.ID, strings.NewReader("x"), -1))
		require.NoError(t, p.Delete(ctx, alice, img.ID))
		got2, err := p.TaskByID(ctx, nil, task.ID)
		require.NoError(t, err)
		require.Equal(t, image.TaskFailure, got2.Status)
		require.Eventually(t, func() bool { p.Collect(ctx); problems, _, err := p.Check(ctx); return err == nil && len(problems) == 0 }, 10*time.Second, 10*time.Millisecond) //nolint:errcheck // asked again
	})
}

// webTo allows a test's server on loopback, and only its port.
func webTo(t testing.TB, urls ...string) func(*image.Config) {
	t.Helper()
	var ports []int
	for _, s := range urls {
		u, err := url.Parse(s)
		require.NoError(t, err)
		n, err := strconv.Atoi(u.Port())
		require.NoError(t, err)
		ports = append(ports, n)
	}
	return func(c *image.Config) {
		c.Web = &image.WebRules{Ports: ports, Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	}
}

func TestWebDownload(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, both, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		stores, _ := twoStores(t)
		data := bytes.Repeat([]byte("0123456789"), 300_000)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/image":
				w.Write(data) //nolint:errcheck // a test's server
			case "/moved":
				http.Redirect(w, r, "/image", http.StatusFound)
			case "/inside":
				http.Redirect(w, r, "http://127.0.0.2:"+r.URL.Port()+"/image", http.StatusFound)
			case "/metadata":
				http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusFound)
			case "/file":
				http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
			case "/loop":
				http.Redirect(w, r, "/loop", http.StatusFound)
			case "/short":
				w.Header().Set("Content-Length", "1000")
				w.Write([]byte("short")) //nolint:errcheck // a test's server
			case "/backed":
				w.Write([]byte("QFI\xfb\x00\x00\x00\x03" + strings.Repeat("\xff", 200))) //nolint:errcheck // a test's server
			default:
				http.NotFound(w, r)
			}
		}))
		defer srv.Close()
		p := launch(t, d, stores, webTo(t, srv.URL))
		for path, why := range map[string]string{"/image": "", "/moved": "", "/inside": "not allowed", "/metadata": "not", "/file": "scheme", "/loop": "redirects", "/short": "broke off", "/none": "404", "/backed": "qcow2"} {
			img, err := p.Create(ctx, alice, raw(path))
			require.NoError(t, err)
			_, err = p.Import(ctx, alice, img.ID, image.ImportParams{Method: image.WebDownload, URI: srv.URL + path, MustAll: true})
			require.NoError(t, err, path)
			end := p.ended(t, img.ID)
			got, err := p.ByID(ctx, img.ID)
			require.NoError(t, err)
			if why == "" {
				require.Equal(t, image.TaskSuccess, end.Status, "%s: %s", path, end.Message)
				require.Equal(t, image.Active, got.Status)
				require.Equal(t, string(data), p.bytesOf(t, img.ID))
				continue
			}
			require.Equal(t, []any{image.TaskFailure, image.Queued}, []any{end.Status, got.Status}, path)
			require.Contains(t, end.Message, why, path)
		}
		img, err := p.Create(ctx, alice, raw("x"))
		require.NoError(t, err)
		for _, uri := range []string{"", "x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://10.0.0.1/x", "http://[::1]/x", "http://[::ffff:10.0.0.1]/x", "http://169.254.169.254/", "http://0.0.0.0/",
			"http://user:secret@198.41.0.4/", "http://198.41.0.4:22/", "http://2130706433/", "http:///x", "gopher://x/"} {
			_, err := p.Import(ctx, alice, img.ID, image.ImportParams{Method: image.WebDownload, URI: uri})
			if uri == "http://2130706433/" { // only the resolver knows that this is loopback, if it does: refused by address
				continue
			}
			kind(t, fault.KindInvalid, err)
		}
		p.clean(t)
	})
}

func TestLocations(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, both, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		stores, _ := twoStores(t)
		data := strings.Repeat("0123456789", 100_000)
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "x", time.Time{}, strings.NewReader(data))
		}))
		defer srv.Close()
		p := launch(t, d, stores, webTo(t, srv.URL))
		img, err := p.Create(ctx, alice, raw("x"))
		require.NoError(t, err)
		_, err = p.Locate(ctx, alice, img.ID, image.Location{URL: "gopher://x"}, image.Validation{}, -1)
		kind(t, fault.KindInvalid, err)
		got, err := p.Locate(ctx, alice, img.ID, image.Location{URL: srv.URL + "/a", Metadata: []byte(`{"k":"v"}`)}, image.Validation{MD5: strings.Repeat("1", 32), Algo: "sha512", Value: strings.Repeat("ab", 64)}, -1)
		require.NoError(t, err)
		require.Equal(t, []any{image.Active, int64(len(data)), "sha512"}, []any{got.Status, got.SizeBytes, got.HashAlgo})
		require.Equal(t, data, p.bytesOf(t, img.ID))
		b, _, err := p.Open(ctx, img.ID)
		require.NoError(t, err)
		tail := make([]byte, 20)
		n, err := b.ReadAt(tail, int64(len(data))-10)
		require.Equal(t, []any{10, io.EOF, "0123456789"}, []any{n, err, string(tail[:n])})
		require.NoError(t, b.Close())
		_, err = p.Locate(ctx, alice, img.ID, image.Location{URL: srv.URL + "/b"}, image.Validation{MD5: strings.Repeat("2", 32)}, -1)
		kind(t, fault.KindConflict, err)
		_, err = p.Locate(ctx, alice, img.ID, image.Location{URL: srv.URL + "/b"}, image.Validation{Algo: "sha256", Value: strings.Repeat("ab", 64)}, -1)
		require.Equal(t, fault.KindConflict, fault.KindOf(err), "another algorithm's name over the known sum differs from it: %v", err)
		_, err = p.Locate(ctx, alice, img.ID, image.Location{URL: srv.URL + "/b"}, image.Validation{}, -1)
		require.NoError(t, err)
		_, err = p.Relocate(ctx, alice, img.ID, []string{srv.URL + "/a"}, []json.RawMessage{json.RawMessage(`{}`)})
		kind(t, fault.KindInvalid, err)
		got, err = p.Relocate(ctx, alice, img.ID, []string{srv.URL + "/a", srv.URL + "/b"}, []json.RawMessage{json.RawMessage(`{"x":1}`), json.RawMessage(`{}`)})
		require.NoError(t, err)
		require.JSONEq(t, `{"x":1}`, string(got.Locations[0].Metadata))
		_, err = p.Unlocate(ctx, alice, img.ID, 0)
		require.NoError(t, err)
		_, err = p.Unlocate(ctx, alice, img.ID, 0)
		kind(t, fault.KindForbidden, err)

		hashed, err := p.Create(ctx, alice, raw("y"))
		require.NoError(t, err)
		_, err = p.AddLocation(ctx, alice, hashed.ID, srv.URL+"/a", image.Validation{}, "req-2")
		require.NoError(t, err)
		end := p.ended(t, hashed.ID)
		require.Equal(t, []any{image.TaskSuccess, "location_import"}, []any{end.Status, end.Type}, end.Message)
		got, err = p.ByID(ctx, hashed.ID)
		require.NoError(t, err)
		sum := md5.Sum([]byte(data))
		require.Equal(t, []any{image.Active, hex.EncodeToString(sum[:]), 1}, []any{got.Status, got.MD5, len(got.Locations)})
		lied, err := p.Create(ctx, alice, raw("z"))
		require.NoError(t, err)
		_, err = p.AddLocation(ctx, alice, lied.ID, srv.URL+"/a", image.Validation{Algo: "sha512", Value: strings.Repeat("ab", 64)}, "")
		require.NoError(t, err)
		require.Equal(t, image.TaskFailure, p.ended(t, lied.ID).Status)
	})
}

func TestLimitsHoldExactly(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, both, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		stores, _ := twoStores(t)
		lim := image.Limits{TotalMiB: 3, StageMiB: 1, Count: 4, Uploading: 1}
		p := launch(t, d, stores, func(c *image.Config) {
			c.Limits = func(context.Context, string) (image.Limits, error) { return lim, nil }
		})
		mib := func(n int) io.Reader { return bytes.NewReader(make([]byte, n<<20)) }
		var ids []string
		var wg sync.WaitGroup
		var mu sync.Mutex
		refused := 0
		for range 8 {
			wg.Go(func() {
				img, err := p.Create(ctx, alice, raw("x"))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					refused++
					require.Equal(t, fault.KindQuota, fault.KindOf(err), "%v", err)
					return
				}
				ids = append(ids, img.ID)
			})
		}
		wg.Wait()
		require.Equal(t, []any{4, 4}, []any{len(ids), refused}, "not one too many in a race")
		kind(t, fault.KindQuota, p.Stage(ctx, alice, ids[0], mib(2), 2<<20))
		kind(t, fault.KindQuota, p.Stage(ctx, alice, ids[0], mib(2), -1))
		require.NoError(t, p.Upload(ctx, alice, ids[0], mib(2), -1))
		kind(t, fault.KindQuota, p.Upload(ctx, alice, ids[1], mib(2), -1))
		require.NoError(t, p.Upload(ctx, alice, ids[1], mib(1), -1))
		kind(t, fault.KindQuota, p.Upload(ctx, alice, ids[2], strings.NewReader("x"), -1))
		_, u, err := p.Usage(ctx, "p-alice")
		require.NoError(t, err)
		require.Equal(t, image.Usage{TotalBytes: 3 << 20, Count: 4}, u)
		_, err = p.Import(ctx, alice, ids[0], image.ImportParams{Method: image.CopyImage, Stores: []string{"archive"}})
		kind(t, fault.KindQuota, err)
		require.NoError(t, p.Delete(ctx, alice, ids[1]))
		b := &blockingReader{started: make(chan struct{}), free: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- p.Upload(ctx, alice, ids[2], b, -1) }()
		<-b.started
		kind(t, fault.KindQuota, p.Upload(ctx, alice, ids[3], strings.NewReader("x"), -1))
		close(b.free)
		require.NoError(t, <-done)
		p.clean(t)
	})
}
