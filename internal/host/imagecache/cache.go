package imagecache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"nephos/internal/diskformat"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// Base is a cached image. Path stays valid while an instance refers to the image.
type Base struct {
	ImageID      string
	Path         string
	Format       string // raw or qcow2
	VirtualBytes int64
	Hit          bool // it was here already
}

// Set is the image of a server with its kernel and ramdisk, where it has them.
type Set struct {
	Root            Base
	Kernel, Ramdisk *Base
}

// Options of a Cache. Zero values mean: no limit of bytes, MaxIdle 24 h, Grace 10 min.
type Options struct {
	// Used lists the ids of the images that instances of this host refer to (also as kernel or ramdisk), found by looking at them.
	Used     func(ctx context.Context) ([]string, error)
	MaxBytes int64         // allocated bytes the cache may hold before unused images go
	MaxIdle  time.Duration // an unused image goes after this
	Grace    time.Duration // nothing goes sooner after it was last asked for
	Now      func() time.Time
}

// Cache is the images of one host. One process per directory.
type Cache struct {
	dir string
	src Source
	opt Options

	life   context.Context // ends with Close
	end    context.CancelFunc
	wg     sync.WaitGroup // downloads
	mu     sync.Mutex
	known  map[string]Base      // guarded by mu; verified files
	asked  map[string]time.Time // guarded by mu; last Get; the start of the process for images found at Open
	flight map[string]*flight   // guarded by mu
}

// flight is a download under way.
type flight struct {
	done    chan struct{} // closed when base and err are set
	base    Base
	err     error
	waiting int // guarded by Cache.mu
	cancel  context.CancelFunc
}

// Open makes the directory, removes unfinished downloads and takes in what is there.
func Open(dir string, src Source, opt Options) (*Cache, error) {
	if opt.MaxIdle == 0 {
		opt.MaxIdle = 24 * time.Hour
	}
	if opt.Grace == 0 {
		opt.Grace = 10 * time.Minute
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if err := os.MkdirAll(dir, 0o711); err != nil { // QEMU's user reaches a base by its path
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	c := &Cache{dir: dir, src: src, opt: opt, known: map[string]Base{}, asked: map[string]time.Time{}, flight: map[string]*flight{}}
	c.life, c.end = context.WithCancel(context.Background())
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		c.asked[e.Name()] = opt.Now()
	}
	return c, nil
}

// Close ends the downloads and waits for them.
func (c *Cache) Close() {
	c.end()
	c.wg.Wait()
}

// Path is where an image lies once it is cached.
func (c *Cache) Path(id string) string { return filepath.Join(c.dir, id) }

// Get gives the cached base of an image, fetching it when it is not here. Callers for one image share one download; a caller that
// gives up does not end it for the others. Errors: KindInvalid when the image cannot be used anywhere (not what its record says, a
// format this host does not boot), KindNotFound when the store has it no more, KindNoCapacity when the disk is full, else trouble
// of this host or of the way to the store.
func (c *Cache) Get(ctx context.Context, spec hostapi.ImageSpec) (Base, error) {
	if err := checkSpec(spec); err != nil {
		return Base{}, err
	}
	c.mu.Lock()
	c.asked[spec.ID] = c.opt.Now()
	base, err := c.cached(spec)
	if base.Path != "" || err != nil {
		c.mu.Unlock()
		return base, err
	}
	f := c.flight[spec.ID]
	if f == nil {
		f = c.launch(spec)
	}
	f.waiting++
	c.mu.Unlock()

	select {
	case <-f.done:
		return f.base, f.err
	case <-ctx.Done():
		c.mu.Lock()
		defer c.mu.Unlock()
		if f.waiting--; f.waiting == 0 {
			f.cancel()
			// The next Get must not join a download that is being given up.
			if c.flight[spec.ID] == f {
				delete(c.flight, spec.ID)
			}
		}
		return Base{}, fmt.Errorf("waiting for image %s: %w", spec.ID, ctx.Err())
	}
}

// GetSet gets an image with its kernel and ramdisk, side by side.
func (c *Cache) GetSet(ctx context.Context, spec hostapi.ImageSpec) (Set, error) {
	var set Set
	g, ctx := errgroup.WithContext(ctx)
	get := func(spec hostapi.ImageSpec, to *Base) {
		g.Go(func() (err error) { *to, err = c.Get(ctx, spec); return err })
	}
	get(spec, &set.Root)
	if spec.Kernel != nil {
		set.Kernel = new(Base)
		get(*spec.Kernel, set.Kernel)
	}
	if spec.Ramdisk != nil {
		set.Ramdisk = new(Base)
		get(*spec.Ramdisk, set.Ramdisk)
	}
	return set, g.Wait()
}

// cached answers from the disk, with mu held: a stat for a known image, a look at the header the first time after a start.
func (c *Cache) cached(spec hostapi.ImageSpec) (Base, error) {
	path := c.Path(spec.ID)
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		delete(c.known, spec.ID)
		return Base{}, nil
	}
	if err != nil {
		return Base{}, err
	}
	if spec.SizeBytes > 0 && st.Size() != spec.SizeBytes {
		return Base{}, fmt.Errorf("cached image %s has %d bytes instead of %d", spec.ID, st.Size(), spec.SizeBytes)
	}
	base, ok := c.known[spec.ID]
	if !ok {
		if base, err = inspect(path, spec); err != nil {
			return Base{}, err
		}
		c.known[spec.ID] = base
	}
	base.Hit = true
	return base, nil
}

// launch starts the download of an image, with mu held.
func (c *Cache) launch(spec hostapi.ImageSpec) *flight {
	ctx, cancel := context.WithCancel(c.life)
	f := &flight{done: make(chan struct{}), cancel: cancel}
	c.flight[spec.ID] = f
	c.wg.Go(func() {
		defer cancel()
		base, err := c.fetch(ctx, spec)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			err = fault.NoCapacity("this host has no space left for image %s", spec.ID).WithCause(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		f.base, f.err = base, err
		if err == nil {
			c.known[spec.ID] = base
		}
		if c.flight[spec.ID] == f {
			delete(c.flight, spec.ID)
		}
		close(f.done)
	})
	return f
}

// Drop removes an image, whatever the limits, unless an instance uses it or it is being fetched. An absent image is no error.
func (c *Cache) Drop(ctx context.Context, id string) error {
	used, err := c.used(ctx)
	if err != nil {
		return err
	}
	if used[id] {
		return fault.Conflict("image %s is used by a server of this host", id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drop(id)
}

func (c *Cache) drop(id string) error {
	delete(c.known, id)
	delete(c.asked, id)
	if err := os.Remove(c.Path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c *Cache) used(ctx context.Context) (map[string]bool, error) {
	used := map[string]bool{}
	if c.opt.Used == nil {
		return nil, errors.New("who uses which image cannot be told")
	}
	ids, err := c.opt.Used(ctx)
	for _, id := range ids {
		used[id] = true
	}
	return used, err
}

// Evict removes what the limits no longer allow and tells which images went. The agent calls it from its periodic round. A base that
// is unlinked while an unseen reader holds it stays readable for that reader.
func (c *Cache) Evict(ctx context.Context) ([]string, error) {
	// Looked at before the candidates: an image that comes into use after this look was asked for within Grace.
	used, err := c.used(ctx)
	if err != nil {
		return nil, err
	}
	files, total, err := c.files()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(files, func(a, b file) int { return a.asked.Compare(b.asked) })
	var gone []string
	for _, f := range files {
		over := c.opt.MaxBytes > 0 && total > c.opt.MaxBytes
		if used[f.id] {
			continue
		}
		c.mu.Lock()
		idle := c.opt.Now().Sub(c.asked[f.id]) // again under the lock: someone may just have asked
		if idle < c.opt.Grace || !over && idle < c.opt.MaxIdle {
			c.mu.Unlock()
			continue
		}
		err := c.drop(f.id)
		c.mu.Unlock()
		if err != nil {
			return gone, err
		}
		gone, total = append(gone, f.id), total-f.bytes
	}
	return gone, nil
}

type file struct {
	id    string
	bytes int64 // allocated
	asked time.Time
}

func (c *Cache) files() (files []file, total int64, err error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		var st unix.Stat_t
		if strings.HasPrefix(e.Name(), ".") || unix.Stat(c.Path(e.Name()), &st) != nil {
			continue
		}
		files = append(files, file{e.Name(), st.Blocks * 512, c.asked[e.Name()]})
		total += st.Blocks * 512
	}
	return files, total, nil
}

// List gives the ids of the cached images, for the inventory.
func (c *Cache) List() ([]string, error) {
	files, _, err := c.files()
	ids := make([]string, len(files))
	for k, f := range files {
		ids[k] = f.id
	}
	return ids, err
}

func inspect(path string, spec hostapi.ImageSpec) (Base, error) {
	f, err := os.Open(path)
	if err != nil {
		return Base{}, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return Base{}, err
	}
	info, err := diskformat.Inspect(f, st.Size())
	if err != nil {
		return Base{}, fmt.Errorf("image %s: %w", spec.ID, err)
	}
	return judge(path, spec, info)
}

// judge says what base an image's content makes, or why none.
func judge(path string, spec hostapi.ImageSpec, info diskformat.Info) (Base, error) {
	if err := diskformat.Check(spec.DiskFormat, info); err != nil {
		return Base{}, fmt.Errorf("image %s: %w", spec.ID, err)
	}
	base := Base{ImageID: spec.ID, Path: path, Format: "raw", VirtualBytes: info.VirtualBytes}
	if strings.EqualFold(spec.DiskFormat, "qcow2") {
		base.Format = "qcow2"
	}
	return base, nil
}

func checkSpec(spec hostapi.ImageSpec) error {
	if spec.ID == "" || len(spec.ID) > 64 || strings.ContainsFunc(spec.ID, func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_')
	}) {
		return fault.Invalid("image", "image id %q is not fit for a file name", spec.ID)
	}
	switch strings.ToLower(spec.DiskFormat) {
	case "raw", "qcow2", "ami", "aki", "ari", "iso":
		return nil
	default:
		return fault.Invalid("disk_format", "image %s has disk format %q, which this host does not boot", spec.ID, spec.DiskFormat)
	}
}
