package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Report says what Recover found.
type Report struct {
	Requeued []string // images of this node whose upload had died
	Removed  []Object // bytes without an owner, now gone
	Missing  []string // images without the bytes that their record promises: something outside has taken them
}

// Recover mends what a dead process left: this node's rows in saving, or in uploading without wholly staged bytes, go back to queued;
// then Collect. It must run before this node serves uploads. Imports go on by themselves: they are workflows. Doing it again is harmless.
func (s *Service) Recover(ctx context.Context) (Report, error) {
	var rep Report
	var dead []string
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &dead, `SELECT id FROM images WHERE upload_node = ? AND (status = 'saving' OR status = 'uploading' AND staged = FALSE)`, s.cfg.Node)
	})
	if err != nil {
		return rep, err
	}
	for _, id := range dead {
		_, err := s.change(ctx, nil, id, func(i *Image) error {
			if i.uploadNode == s.cfg.Node && (i.Status == Saving || i.Status == Uploading && !i.staged) {
				i.empty()
			}
			return nil
		})
		if err != nil && !fault.IsNotFound(err) {
			return rep, err
		}
		rep.Requeued = append(rep.Requeued, id)
	}
	if len(rep.Requeued) > 0 {
		s.log.Warn("uploads that had died are queued again", "images", rep.Requeued)
	}
	found, err := s.Collect(ctx)
	rep.Removed, rep.Missing = found.Removed, found.Missing
	return rep, err
}

// Collect removes parts and bytes that no row owns from all stores that can be reached, and names images whose bytes are missing. Uploads under way, of any node, are left
// alone: their rows are written before their parts, and the stores are listed before the rows are read.
func (s *Service) Collect(ctx context.Context) (Report, error) {
	var rep Report
	orphans, missing, err := s.look(ctx)
	for _, o := range orphans {
		var rerr error
		if o.Upload == "" {
			rerr = o.store.Remove(ctx, o.ID)
		} else {
			rerr = o.store.Discard(ctx, o.ID, o.Upload)
		}
		if rerr != nil {
			err = errors.Join(err, rerr)
			continue
		}
		rep.Removed = append(rep.Removed, o.Object)
	}
	rep.Missing = missing
	if len(rep.Removed)+len(rep.Missing) > 0 {
		s.log.Warn("image stores mended", "removed", rep.Removed, "missing", rep.Missing)
	}
	return rep, errors.Join(err, s.shelf.collect(ctx))
}

// Check says in a sentence each what is wrong between rows and stores; it changes nothing (fsck).
func (s *Service) Check(ctx context.Context) (problems []string, objects int, err error) {
	orphans, missing, err := s.look(ctx)
	for _, o := range orphans {
		what := "bytes"
		if o.Upload != "" {
			what = "part " + o.Upload
		}
		problems = append(problems, fmt.Sprintf("image: store %s holds %s of image %s, which no record owns", o.name, what, o.ID))
	}
	for _, id := range missing {
		problems = append(problems, fmt.Sprintf("image: the bytes of image %s are missing", id))
	}
	if err != nil {
		problems = append(problems, "image: "+err.Error())
	}
	var stuck []string
	rerr := s.db.Read(ctx, func(tx *db.Tx) error {
		if err := tx.Get(ctx, &objects, `SELECT COUNT(*) FROM image_locations`); err != nil {
			return err
		}
		return tx.Select(ctx, &stuck, `SELECT id FROM images i WHERE status = 'importing' AND NOT EXISTS (SELECT 1 FROM image_tasks t WHERE t.id = i.import_task AND t.status IN ('pending', 'processing'))`)
	})
	for _, id := range stuck {
		problems = append(problems, fmt.Sprintf("image: image %s is importing and nothing works on it", id))
	}
	return problems, objects, rerr
}

// orphan is an object in a store that no row owns.
type orphan struct {
	Object
	name  string
	store Store
}

// look holds the stores against the rows. A store that cannot be listed is an error beside what the others gave.
func (s *Service) look(ctx context.Context) (orphans []orphan, missing []string, err error) {
	type listing struct {
		n       NamedStore
		objects []Object
	}
	var all []listing
	places := s.stores
	if s.stagingIn == "" {
		places = append(slices.Clone(places), NamedStore{ID: "(staging)", Store: s.staging})
	}
	for _, n := range places {
		if n.ReadOnly {
			continue
		}
		objects, lerr := n.Store.List(ctx)
		if lerr != nil {
			err = errors.Join(err, fmt.Errorf("list image store %s: %w", n.ID, lerr))
			continue
		}
		all = append(all, listing{n, objects})
	}
	owners, oerr := s.owners(ctx)
	if oerr != nil {
		return nil, nil, errors.Join(err, oerr)
	}
	for _, l := range all {
		stored := map[string]bool{}
		for _, o := range l.objects {
			r, ok := owners[o.ID]
			if ok && r.owns(l.n.ID, o) {
				stored[o.ID] = stored[o.ID] || o.Upload == ""
				continue
			}
			orphans = append(orphans, orphan{o, l.n.ID, l.n.Store})
		}
		for id, r := range owners {
			if r.Status.HasData() && r.stores[l.n.ID] && !stored[id] && !hasBytes(ctx, l.n.Store, id) && s.still(ctx, id, l.n.ID) {
				missing = append(missing, id)
			}
		}
	}
	slices.Sort(missing)
	return orphans, slices.Compact(missing), err
}

// owner is a row that may have bytes, with the stores that it has them in.
type owner struct {
	Status     Status `db:"status"`
	UploadID   string `db:"upload_id"`
	ImportTask string `db:"import_task"`
	stores     map[string]bool
}

// owns says whether the row owns an object of that store. Published bytes of a row that is saving or importing belong to another node
// between its publish and its commit, or to an import that will be repeated.
func (r owner) owns(store string, o Object) bool {
	busy := r.Status == Saving || r.Status == Uploading || r.Status == Importing || r.ImportTask != ""
	if o.Upload != "" {
		return busy && r.UploadID == o.Upload
	}
	return busy || r.stores[store]
}

// owners reads who may have bytes: all images with data or with an upload or import under way.
func (s *Service) owners(ctx context.Context) (map[string]owner, error) {
	out := map[string]owner{}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		clear(out)
		var rows []struct {
			ID string `db:"id"`
			owner
		}
		if err := tx.Select(ctx, &rows, `SELECT id, status, upload_id, import_task FROM images WHERE status IN ('active', 'deactivated', 'saving', 'uploading', 'importing')`); err != nil {
			return err
		}
		for _, r := range rows {
			r.stores = map[string]bool{}
			out[r.ID] = r.owner
		}
		var places []locationRow
		if err := tx.Select(ctx, &places, `SELECT * FROM image_locations WHERE store <> ''`); err != nil {
			return err
		}
		for _, p := range places {
			if r, ok := out[p.ImageID]; ok {
				r.stores[p.Store] = true
			}
		}
		return nil
	})
	return out, err
}

func hasBytes(ctx context.Context, store Store, id string) bool {
	b, err := store.Open(ctx, id)
	if err != nil {
		return !errors.Is(err, ErrNoBytes) // a store that cannot be reached has lost nothing yet
	}
	b.Close()
	return true
}

// still says whether the image is promised in that store even now: a delete may have come between listing and reading.
func (s *Service) still(ctx context.Context, id, store string) bool {
	img, err := s.fresh(ctx, id)
	return err == nil && img.InStore(store)
}
