package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// shelf is this node's byte cache: copies of images that an admin asked to have near (Glance's image cache). The rows of image_cached say what is or shall be
// here; files without a row go. A file is whole or has a name that begins with a dot.
type shelf struct {
	s    *Service
	dir  string // "": no cache
	most int64
	kick chan struct{} // wakes Run
}

func newShelf(s *Service) *shelf {
	return &shelf{s: s, dir: s.cfg.CacheDir, most: s.cfg.CacheBytes, kick: make(chan struct{}, 1)}
}

// CachedImage is one row of the cache.
type CachedImage struct {
	ImageID  string  `db:"image_id"`
	State    string  `db:"state"` // queued or cached
	Hits     int64   `db:"hits"`
	Size     int64   `db:"size_bytes"`
	Accessed db.Time `db:"accessed_at"`
	Modified db.Time `db:"modified_at"`
}

// HasCache says whether this node caches.
func (s *Service) HasCache() bool { return s.shelf.dir != "" }

// Node is this node's name, as the cache calls know it.
func (s *Service) Node() string { return s.cfg.Node }

// Cached lists this node's cache and its queue.
func (s *Service) Cached(ctx context.Context) (out []CachedImage, err error) {
	if !s.HasCache() {
		return nil, noCache()
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		return tx.Select(ctx, &out, `SELECT image_id, state, hits, size_bytes, accessed_at, modified_at FROM image_cached WHERE node = ? ORDER BY image_id`, s.cfg.Node)
	})
	return out, err
}

// NodesWith lists the nodes that have an image cached.
func (s *Service) NodesWith(ctx context.Context, id string) (out []string, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		return tx.Select(ctx, &out, `SELECT node FROM image_cached WHERE image_id = ? AND state = 'cached' ORDER BY node`, id)
	})
	return out, err
}

func noCache() error { return fault.NotFound("Caching via API is not supported at this site.") }

// QueueForCache asks this node to take an active image near. 400 for an image without bytes.
func (s *Service) QueueForCache(ctx context.Context, id string) error {
	if !s.HasCache() {
		return noCache()
	}
	img, err := s.ByID(ctx, id)
	if err != nil {
		return err
	}
	if img.Status != Active {
		return fault.Invalid("image_id", "Only images with status active can be targeted for queueing: image %s is %s", id, img.Status)
	}
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO image_cached (node, image_id, state, modified_at) VALUES (?, ?, 'queued', ?) ON CONFLICT (node, image_id) DO NOTHING`, s.cfg.Node, id, db.Now())
		return err
	})
	select {
	case s.shelf.kick <- struct{}{}:
	default:
	}
	return err
}

// Uncache removes one image from cache and queue; 404 when it is in neither.
func (s *Service) Uncache(ctx context.Context, id string) error {
	n, err := s.forgetCached(ctx, `image_id = ?`, id)
	if err == nil && n == 0 {
		err = fault.NotFound("Image %s is neither cached nor queued.", id)
	}
	return errors.Join(err, s.shelf.drop(id))
}

// ClearCache empties the queue, the cache, or ("") both.
func (s *Service) ClearCache(ctx context.Context, what string) error {
	where := map[string]string{"": "1 = 1", "queue": "state = 'queued'", "cache": "state = 'cached'"}[what]
	if where == "" {
		return fault.Invalid("x-image-cache-clear-target", "If provided, the header x-image-cache-clear-target must be 'cache', 'queue' or empty; it is %q", what)
	}
	if _, err := s.forgetCached(ctx, where); err != nil {
		return err
	}
	return s.shelf.collect(ctx)
}

func (s *Service) forgetCached(ctx context.Context, where string, args ...any) (n int64, err error) {
	if !s.HasCache() {
		return 0, noCache()
	}
	err = s.db.Write(ctx, func(tx *db.Tx) (err error) {
		n, err = tx.Exec(ctx, `DELETE FROM image_cached WHERE node = ? AND `+where, append([]any{s.cfg.Node}, args...)...)
		return err
	})
	return n, err
}

// PruneCache removes the images that were used longest ago until the cache is within its bound, and says how many bytes and images went.
func (s *Service) PruneCache(ctx context.Context) (images int, bytes int64, err error) {
	all, err := s.Cached(ctx)
	if err != nil {
		return 0, 0, err
	}
	all = slices.DeleteFunc(all, func(c CachedImage) bool { return c.State != "cached" })
	slices.SortFunc(all, func(a, b CachedImage) int { return a.Accessed.Compare(b.Accessed.Time) })
	var total int64
	for _, c := range all {
		total += c.Size
	}
	for _, c := range all {
		if s.shelf.most <= 0 || total <= s.shelf.most {
			break
		}
		if err := s.Uncache(ctx, c.ImageID); err != nil {
			return images, bytes, err
		}
		total, images, bytes = total-c.Size, images+1, bytes+c.Size
	}
	return images, bytes, nil
}

// CleanCache removes files that belong to no row.
func (s *Service) CleanCache(ctx context.Context) error {
	if !s.HasCache() {
		return noCache()
	}
	return s.shelf.collect(ctx)
}

func (h *shelf) file(id string) string { return filepath.Join(h.dir, id) }

// path is the whole cached file of an image, "" if there is none.
func (h *shelf) path(img Image) string {
	if h.dir == "" {
		return ""
	}
	if st, err := os.Stat(h.file(img.ID)); err != nil || st.Size() != img.SizeBytes {
		return ""
	}
	return h.file(img.ID)
}

// open opens a cached image, nil if it is not here.
func (h *shelf) open(img Image) Blob {
	p := h.path(img)
	if p == "" {
		return nil
	}
	b, err := openBlob(p)
	if err != nil {
		return nil
	}
	return b
}

// Served notes that an image was given out, for the cache's account of hits.
func (s *Service) Served(ctx context.Context, img Image) {
	if s.shelf.path(img) == "" {
		return
	}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE image_cached SET hits = hits + 1, accessed_at = ? WHERE node = ? AND image_id = ?`, db.Now(), s.cfg.Node, img.ID)
		return err
	})
	if err != nil {
		s.log.Debug("cache hit not counted", "image", img.ID, "err", err)
	}
}

func (h *shelf) drop(id string) error {
	if h.dir == "" {
		return nil
	}
	return remove(h.file(id))
}

// fill brings the queued images here. A crash leaves a file with a dot, or a whole file whose row is still queued: it is brought again.
func (h *shelf) fill(ctx context.Context) error {
	all, err := h.s.Cached(ctx)
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.State != "queued" {
			continue
		}
		img, err := h.s.fresh(ctx, c.ImageID)
		if err == nil && img.Status.HasData() {
			err = h.bring(ctx, img)
		} else if err == nil || fault.IsNotFound(err) {
			_, err = h.s.forgetCached(ctx, `image_id = ?`, c.ImageID)
		}
		if err != nil {
			h.s.log.Warn("image not cached; tried again later", "image", c.ImageID, "err", err)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

func (h *shelf) bring(ctx context.Context, img Image) error {
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return err
	}
	part := filepath.Join(h.dir, "."+img.ID+"."+newWord())
	defer os.Remove(part) //nolint:errcheck // gone after the rename
	if err := h.copy(ctx, img, part); err != nil {
		return err
	}
	if err := os.Rename(part, h.file(img.ID)); err != nil {
		return err
	}
	return h.s.db.Write(ctx, func(tx *db.Tx) error {
		now := db.Now()
		_, err := tx.Exec(ctx, `UPDATE image_cached SET state = 'cached', size_bytes = ?, accessed_at = ?, modified_at = ? WHERE node = ? AND image_id = ?`, img.SizeBytes, now, now, h.s.cfg.Node, img.ID)
		return err
	})
}

// copy links where a store keeps the file on this file system, else reads the bytes and holds them against the record.
func (h *shelf) copy(ctx context.Context, img Image, part string) error {
	for _, l := range img.Locations {
		if n, ok := h.s.named(l.Store); ok {
			if p := n.Store.LocalPath(img.ID); p != "" && os.Link(p, part) == nil {
				return nil
			}
		}
	}
	src, err := h.s.openImage(ctx, img)
	if err != nil {
		return err
	}
	defer src.Close()
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o400)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := copyHashed(ctx, f, src, img.SizeBytes, nil, ignore)
	if err == nil && img.HashAlgo == "sha512" && sum.SHA512 != img.HashValue {
		err = fmt.Errorf("the bytes of image %s are not those that its record promises", img.ID)
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o444), f.Sync())
}

// collect removes files that no row owns, and rows whose file is gone.
func (h *shelf) collect(ctx context.Context) error {
	if h.dir == "" {
		return nil
	}
	entries, err := os.ReadDir(h.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all, err := h.s.Cached(ctx)
	if err != nil {
		return err
	}
	rows := map[string]CachedImage{}
	for _, c := range all {
		rows[c.ImageID] = c
	}
	here := map[string]bool{}
	var failed error
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			id, _, _ := strings.Cut(name[1:], ".")
			if rows[id].State == "queued" {
				continue // being brought
			}
		} else if rows[name].State == "cached" {
			here[name] = true
			continue
		}
		if strings.HasPrefix(name, ".") || uuid.Validate(name) == nil {
			failed = errors.Join(failed, remove(h.file(name)))
		}
	}
	for id, c := range rows {
		if c.State == "cached" && !here[id] {
			if _, err := h.s.forgetCached(ctx, `image_id = ?`, id); err != nil {
				failed = errors.Join(failed, err)
			}
		}
	}
	return failed
}
