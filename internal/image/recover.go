package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"nephos/internal/db"
)

// Report says what Recover found.
type Report struct {
	Requeued []string // images of this node whose upload had died
	Removed  []Object // bytes without an owner, now gone
	Missing  []string // active images without bytes: something outside has taken them
}

// Recover mends what a dead process left: this node's rows in saving, or in uploading without wholly staged bytes, go back to queued;
// parts and bytes that no row owns are removed. It must run before this node serves uploads. Other nodes' uploads are left alone: their
// rows are written before their parts, and the store is listed before the rows are read. Doing it again is harmless.
func (s *Service) Recover(ctx context.Context) (Report, error) {
	var rep Report
	objects, err := s.store.List(ctx)
	if err != nil {
		return rep, fmt.Errorf("list image store: %w", err)
	}
	var dead []string
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &dead, `SELECT id FROM images WHERE upload_node = ? AND (status = 'saving' OR status = 'uploading' AND staged = FALSE)`, s.cfg.Node)
	})
	if err != nil {
		return rep, err
	}
	for _, id := range dead {
		_, err := s.change(ctx, nil, id, func(i *Image) error {
			if i.uploadNode == s.cfg.Node && (i.Status == Saving || i.Status == Uploading && !i.staged) {
				i.Status, i.uploadID, i.uploadNode = Queued, "", ""
			}
			return nil
		})
		if err != nil {
			return rep, err
		}
		rep.Requeued = append(rep.Requeued, id)
	}
	owners, err := s.owners(ctx)
	if err != nil {
		return rep, err
	}
	stored := map[string]bool{}
	var failed []error
	for _, o := range objects {
		if owns(owners[o.ID], o) {
			stored[o.ID] = stored[o.ID] || o.Upload == ""
			continue
		}
		if o.Upload == "" {
			err = s.store.Remove(ctx, o.ID)
		} else {
			err = s.store.Discard(ctx, o.ID, o.Upload)
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		rep.Removed = append(rep.Removed, o)
	}
	for id, r := range owners {
		if r.Status.HasData() && !stored[id] && !s.hasBytes(ctx, id) {
			rep.Missing = append(rep.Missing, id)
		}
	}
	slices.Sort(rep.Missing)
	if len(rep.Requeued)+len(rep.Removed)+len(rep.Missing) > 0 {
		s.log.Warn("image store mended", "requeued", rep.Requeued, "removed", rep.Removed, "missing", rep.Missing)
	}
	return rep, errors.Join(failed...)
}

// owners reads who may have bytes: all images with data or with an upload under way.
func (s *Service) owners(ctx context.Context) (map[string]row, error) {
	var rows []row
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &rows, `SELECT * FROM images WHERE status IN ('active', 'deactivated', 'saving', 'uploading')`)
	})
	out := make(map[string]row, len(rows))
	for _, r := range rows {
		out[r.ID] = r
	}
	return out, err
}

// owns says whether a row (zero: there is none) owns a stored object. Published bytes of a row that is saving or uploading belong to another
// node between its publish and its commit, or to an import that will be repeated.
func owns(r row, o Object) bool {
	if o.Upload == "" {
		return r.Status != ""
	}
	return (r.Status == Saving || r.Status == Uploading) && r.UploadID == o.Upload
}

func (s *Service) hasBytes(ctx context.Context, id string) bool {
	b, err := s.store.Open(ctx, id)
	if err != nil {
		return false
	}
	b.Close()
	return true
}
