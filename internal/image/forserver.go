package image

import (
	"context"
	"errors"
	"io"
	"os"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// The verbs of an image that is made of a server: its record begins and, if nothing comes of it, ends together with the server's workflow.

// CreateIn is Create inside the caller's transaction.
func (s *Service) CreateIn(ctx context.Context, tx *db.Tx, creds *policy.Credentials, p CreateParams) (Image, error) {
	img, err := s.draft(creds, p)
	if err != nil {
		return Image{}, err
	}
	return img, s.writeIn(ctx, tx, img.ID, func(tx *db.Tx) error {
		if err := s.mayCount(ctx, tx, img.Owner); err != nil {
			return err
		}
		return insert(ctx, tx, img)
	})
}

// WholeIn makes a queued image without bytes active, inside the caller's transaction: its properties say all (a server's volumes).
func (s *Service) WholeIn(ctx context.Context, tx *db.Tx, id string) error {
	return s.writeIn(ctx, tx, id, func(tx *db.Tx) error {
		img, err := load(ctx, tx, id)
		if err != nil || img.Status == Active {
			return err
		}
		if img.Status != Queued {
			return fault.Conflict("image %s is %s", id, img.Status)
		}
		img.Status, img.UpdatedAt = Active, db.Now().Time
		return save(ctx, tx, img)
	})
}

// AbandonIn deletes, inside the caller's transaction, an image that has not become whole; one that has stays, and none is no error. Bytes that came meanwhile go
// after the commit.
func (s *Service) AbandonIn(ctx context.Context, tx *db.Tx, id string) error {
	return s.endIn(ctx, tx, id, func(img Image) bool { return !img.Status.HasData() })
}

// DeleteIn deletes an image inside the caller's transaction, whatever its state; none is no error.
func (s *Service) DeleteIn(ctx context.Context, tx *db.Tx, id string) error {
	return s.endIn(ctx, tx, id, func(Image) bool { return true })
}

func (s *Service) endIn(ctx context.Context, tx *db.Tx, id string, fits func(Image) bool) error {
	return s.writeIn(ctx, tx, id, func(tx *db.Tx) error {
		img, err := load(ctx, tx, id)
		if fault.IsNotFound(err) || err == nil && !fits(img) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.abandonImport(ctx, tx, img); err != nil {
			return err
		}
		if err := erase(ctx, tx, id); err != nil {
			return err
		}
		tx.OnCommit(func() { s.dropBytes(context.WithoutCancel(ctx), img) })
		return nil
	})
}

// Linker is a Store that can take a file of this machine as a part without copying it.
type Linker interface {
	// Link makes path, which nobody writes to any more, a part; the part is sealed. False when the store cannot share that file.
	Link(ctx context.Context, id, upload, path string) (bool, error)
}

// UploadFile is Upload from a file of this machine, which may from then on be shared with the store: nobody may write to it. An image that is whole already is
// left so.
func (s *Service) UploadFile(ctx context.Context, id, path string) (err error) {
	if now, err := s.fresh(ctx, id); err != nil || now.Status.HasData() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n := s.stores[0]
	store, ok := n.Store.(Linker)
	if !ok {
		return s.Upload(ctx, nil, id, f, -1)
	}
	img, room, err := s.claim(ctx, nil, id, Saving, n.Store, -1)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = s.requeue(ctx, img, err)
		}
	}()
	linked, err := store.Link(ctx, id, img.uploadID, path)
	if err != nil {
		return err
	}
	var sum digests
	if linked {
		sum, err = copyHashed(ctx, io.Discard, f, -1, nil, ignore)
	} else {
		sum, err = s.ingest(ctx, n.Store, img, f, -1, room)
	}
	if err != nil {
		return err
	}
	return s.publish(ctx, n, img, sum)
}

// Link implements Linker by a hard link.
func (s *dirStore) Link(_ context.Context, id, upload, path string) (bool, error) {
	to := s.part(id, upload)
	if err := os.Link(path, to); err != nil {
		return false, nil //nolint:nilerr // another file system, or links are not allowed there: it is copied instead
	}
	f, err := os.OpenFile(to, os.O_RDONLY, 0)
	if err != nil {
		return false, errors.Join(err, remove(to))
	}
	defer f.Close()
	if err := errors.Join(f.Chown(os.Geteuid(), os.Getegid()), f.Chmod(0o400), f.Sync()); err != nil {
		return false, errors.Join(err, remove(to))
	}
	return true, s.syncDir()
}
