package imagecache

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// store is a Source with scripted behaviour.
type store struct {
	mu      sync.Mutex
	data    map[string][]byte
	fetches atomic.Int32
	gate    chan struct{} // when set, Fetch waits for it half way, or for ctx
}

func (s *store) Fetch(ctx context.Context, id string, w io.Writer) error {
	s.fetches.Add(1)
	s.mu.Lock()
	b, ok := s.data[id]
	s.mu.Unlock()
	if !ok {
		return fault.NotFound("image %s has no data", id)
	}
	if _, err := w.Write(b[:len(b)/2]); err != nil {
		return err
	}
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, err := w.Write(b[len(b)/2:])
	return err
}

func (s *store) put(id string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[id] = b
}

type linkStore struct {
	store
	dir string
}

func (s *linkStore) Link(_ context.Context, id, path string) (bool, error) {
	return LinkFile(id, filepath.Join(s.dir, id), path)
}

func rawSpec(id string, b []byte) hostapi.ImageSpec {
	sum := sha512.Sum512(b)
	return hostapi.ImageSpec{ID: id, DiskFormat: "raw", SizeBytes: int64(len(b)), SHA512: hex.EncodeToString(sum[:])}
}

func open(t *testing.T, dir string, src Source, opt Options) *Cache {
	t.Helper()
	c, err := Open(dir, src, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func leftovers(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestOneDownloadForMany(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := append(make([]byte, 3<<20), "the end"...)
	s := &store{data: map[string][]byte{"i": data}}
	c := open(t, dir, s, Options{})
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			base, err := c.Get(t.Context(), rawSpec("i", data))
			if err != nil || base.Path != c.Path("i") || base.Format != "raw" || base.VirtualBytes != int64(len(data)) {
				t.Error(base, err)
			}
		})
	}
	wg.Wait()
	if s.fetches.Load() != 1 {
		t.Errorf("%d downloads", s.fetches.Load())
	}
	got, err := os.ReadFile(c.Path("i"))
	if err != nil || !bytes.Equal(got, data) {
		t.Fatal("content differs", err)
	}
	var st unix.Stat_t
	unix.Stat(c.Path("i"), &st)
	if st.Mode&0o777 != 0o400 || st.Blocks*512 > 1<<20 {
		t.Errorf("mode %o, %d blocks", st.Mode, st.Blocks)
	}
	// A new process finds it by looking.
	c2 := open(t, dir, &store{}, Options{})
	if base, err := c2.Get(t.Context(), rawSpec("i", data)); err != nil || !base.Hit {
		t.Fatal(base, err)
	}
	leftovers(t, dir)
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := []byte("some bytes of a kernel")
	q := append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 65536*4)...)
	s := &store{data: map[string][]byte{"good": good, "q": q}}
	c := open(t, dir, s, Options{})
	edit := func(id string, b []byte, f func(*hostapi.ImageSpec)) hostapi.ImageSpec {
		spec := rawSpec(id, b)
		f(&spec)
		return spec
	}
	for _, x := range []struct {
		name string
		spec hostapi.ImageSpec
		kind fault.Kind
	}{
		{"not there", rawSpec("absent", good), fault.KindNotFound},
		{"longer than its record", edit("good", good, func(s *hostapi.ImageSpec) { s.SizeBytes-- }), fault.KindInvalid},
		{"shorter than its record", edit("good", good, func(s *hostapi.ImageSpec) { s.SizeBytes++ }), fault.KindInternal},
		{"other sum", edit("good", good, func(s *hostapi.ImageSpec) { s.SHA512 = "00" + s.SHA512[2:] }), fault.KindInternal},
		{"qcow2 as raw", rawSpec("q", q), fault.KindInvalid},
		{"raw as qcow2", edit("good", good, func(s *hostapi.ImageSpec) { s.DiskFormat = "qcow2" }), fault.KindInvalid},
		{"vmdk", edit("good", good, func(s *hostapi.ImageSpec) { s.DiskFormat = "vmdk" }), fault.KindInvalid},
		{"path as id", edit("../good", good, func(*hostapi.ImageSpec) {}), fault.KindInvalid},
	} {
		if _, err := c.Get(t.Context(), x.spec); err == nil || fault.KindOf(err) != x.kind {
			t.Errorf("%s: %v (%v)", x.name, err, fault.KindOf(err))
		}
	}
	if ids, err := c.List(); err != nil || len(ids) != 0 {
		t.Error(ids, err)
	}
	leftovers(t, dir)
	set, err := c.GetSet(t.Context(), func() hostapi.ImageSpec {
		spec := rawSpec("good", good)
		spec.DiskFormat = "ami"
		spec.Kernel = &hostapi.ImageSpec{ID: "k", DiskFormat: "aki"}
		return spec
	}())
	if fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("a missing kernel: %v %v", set, err)
	}
	s.put("k", []byte("kernel"))
	spec := rawSpec("good", good)
	spec.Kernel = &hostapi.ImageSpec{ID: "k", DiskFormat: "aki"}
	if set, err := c.GetSet(t.Context(), spec); err != nil || set.Kernel == nil || set.Kernel.Path != c.Path("k") || set.Ramdisk != nil {
		t.Errorf("%v %v", set, err)
	}
}

func TestCallersThatGiveUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := []byte("0123456789")
	s := &store{data: map[string][]byte{"i": data}, gate: make(chan struct{})}
	c := open(t, dir, s, Options{})
	synced := func(ctx context.Context) chan error {
		ch := make(chan error, 1)
		go func() { _, err := c.Get(ctx, rawSpec("i", data)); ch <- err }()
		return ch
	}
	ctx1, stop1 := context.WithCancel(t.Context())
	ctx2, stop2 := context.WithCancel(t.Context())
	defer stop2()
	a, b := synced(ctx1), synced(ctx2)
	waitFor(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.flight["i"] != nil && c.flight["i"].waiting == 2
	})
	stop1()
	if err := <-a; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	close(s.gate)
	if err := <-b; err != nil {
		t.Fatal("the other caller suffered:", err)
	}

	s.put("j", data)
	s.gate = make(chan struct{})
	ctx3, stop3 := context.WithCancel(t.Context())
	ch := make(chan error, 1)
	go func() { _, err := c.Get(ctx3, rawSpec("j", data)); ch <- err }()
	waitFor(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.flight["j"] != nil && c.flight["j"].waiting == 1
	})
	stop3()
	<-ch
	c.Close() // waits for the abandoned download
	leftovers(t, dir)
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestLinkAndLeftovers(t *testing.T) {
	t.Parallel()
	dir, stored := t.TempDir(), t.TempDir()
	data := []byte("shared with the store")
	for name, b := range map[string][]byte{"i": data, "bad": []byte("flipped with the store")} {
		if err := os.WriteFile(filepath.Join(stored, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	os.MkdirAll(filepath.Join(dir, ".x.part123"), 0o700)
	os.WriteFile(filepath.Join(dir, ".x.part123", "image"), nil, 0o600)
	s := &linkStore{dir: stored}
	c := open(t, dir, s, Options{})
	leftovers(t, dir)
	if _, err := c.Get(t.Context(), rawSpec("i", data)); err != nil {
		t.Fatal(err)
	}
	a, _ := os.Stat(filepath.Join(stored, "i"))
	b, _ := os.Stat(c.Path("i"))
	if !os.SameFile(a, b) || s.fetches.Load() != 0 {
		t.Error("not linked")
	}
	if _, err := c.Get(t.Context(), rawSpec("bad", data)); err == nil {
		t.Error("a rotten file of the store was taken")
	}
	if _, err := c.Get(t.Context(), rawSpec("gone", data)); fault.KindOf(err) != fault.KindNotFound {
		t.Error(err)
	}
	leftovers(t, dir)
}

func TestEviction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := &store{data: map[string][]byte{}}
		used := []string{"a"}
		c, err := Open(dir, s, Options{Used: func(context.Context) ([]string, error) { return used, nil }, MaxBytes: 3 << 20, MaxIdle: time.Hour, Grace: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for _, id := range []string{"a", "b", "c", "d"} {
			s.put(id, bytes.Repeat([]byte(id), 1<<20))
			if _, err := c.Get(t.Context(), rawSpec(id, s.data[id])); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		evict := func(want string) {
			t.Helper()
			gone, err := c.Evict(t.Context())
			if got := fmt.Sprint(gone); got != want || err != nil {
				t.Fatalf("%s went, want %s (%v)", got, want, err)
			}
		}
		evict("[]") // within grace, though above the budget
		time.Sleep(2 * time.Minute)
		if _, err := c.Get(t.Context(), rawSpec("b", s.data["b"])); err != nil {
			t.Fatal(err)
		}
		evict("[c]") // a is used, b was asked for, c is the oldest of the rest and enough
		time.Sleep(2 * time.Hour)
		used = []string{"a", "d"}
		evict("[b]") // idle
		if fault.KindOf(c.Drop(t.Context(), "a")) != fault.KindConflict {
			t.Error("dropped a used image")
		}
		used = nil
		if err := c.Drop(t.Context(), "a"); err != nil {
			t.Error(err)
		}
		if ids, _ := c.List(); fmt.Sprint(ids) != "[d]" {
			t.Error(ids)
		}
		before := s.fetches.Load()
		if _, err := c.Get(t.Context(), rawSpec("c", s.data["c"])); err != nil || s.fetches.Load() != before+1 {
			t.Error("an evicted image does not come back", err)
		}
	})
}

// TestUnknownUsersKeepEverything: when who uses what cannot be told, nothing may go.
func TestUnknownUsersKeepEverything(t *testing.T) {
	t.Parallel()
	c := open(t, t.TempDir(), &store{}, Options{Used: func(context.Context) ([]string, error) { return nil, errors.New("cannot look") }})
	if _, err := c.Evict(t.Context()); err == nil {
		t.Error("evicted without looking")
	}
	if err := c.Drop(t.Context(), "x"); err == nil {
		t.Error("dropped without looking")
	}
}
