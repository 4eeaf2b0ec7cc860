package image

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"nephos/internal/fault"
)

// NamedStore is one of the cloud's stores. The first that is configured is the default.
type NamedStore struct {
	ID          string // letters, digits, '-', '_'; images keep it
	Type        string // "file", "s3": for people
	Description string
	ReadOnly    bool // nothing is written to it or removed from it
	Weight      int  // bytes are read from the store with the greatest weight first
	Properties  map[string]string
	Store       Store
}

// Stores are the configured stores, the default first.
func (s *Service) Stores() []NamedStore { return slices.Clone(s.stores) }

func (s *Service) named(id string) (NamedStore, bool) {
	for _, n := range s.stores {
		if n.ID == id {
			return n, true
		}
	}
	return NamedStore{}, false
}

// writable is the store of that name ("": the default) if it may be written to.
func (s *Service) writable(id string) (NamedStore, error) {
	if id == "" {
		return s.stores[0], nil
	}
	n, ok := s.named(id)
	switch {
	case !ok:
		return n, fault.Invalid("store", "Store for image_id %q not found: the stores are %v", id, s.storeIDs())
	case n.ReadOnly:
		return n, fault.Forbidden("Store %s is read-only.", id)
	}
	return n, nil
}

func (s *Service) storeIDs() []string {
	out := make([]string, len(s.stores))
	for k, n := range s.stores {
		out[k] = n.ID
	}
	return out
}

// LocationURL is how a location is shown to those who may see it.
func (s *Service) LocationURL(id string, l Location) string {
	if l.Store == "" {
		return l.URL
	}
	if n, ok := s.named(l.Store); ok {
		return n.Store.URL(id)
	}
	return l.Store + "://" + id
}

// Open opens an image's bytes for reading from the start; the size is in bytes. ErrNoBytes when there are none. Whether the caller may
// have them is for the caller of Open to know. Where a store fails the next one is tried.
func (s *Service) Open(ctx context.Context, id string) (Blob, int64, error) {
	img, err := s.ByID(ctx, id)
	if fault.IsNotFound(err) {
		return nil, 0, ErrNoBytes
	}
	if err != nil {
		return nil, 0, err
	}
	b, err := s.openImage(ctx, img)
	if err != nil && !errors.Is(err, ErrNoBytes) {
		return nil, 0, fault.Unavailable("the bytes of image %s cannot be read now", id).WithCause(err)
	}
	if err != nil {
		return nil, 0, err
	}
	return b, b.Size(), nil
}

func (s *Service) openImage(ctx context.Context, img Image) (Blob, error) {
	if b := s.shelf.open(img); b != nil {
		return b, nil
	}
	places := slices.Clone(img.Locations)
	weight := func(l Location) int {
		if n, ok := s.named(l.Store); ok {
			return n.Weight
		}
		return -1 << 30 // URLs of others come last
	}
	slices.SortStableFunc(places, func(a, b Location) int { return weight(b) - weight(a) })
	failed := error(ErrNoBytes)
	for _, l := range places {
		var b Blob
		var err error
		if n, ok := s.named(l.Store); ok {
			b, err = n.Store.Open(ctx, img.ID)
		} else if l.URL != "" {
			b, err = s.web.blob(ctx, l.URL)
		} else {
			err = fmt.Errorf("store %s of image %s is not configured any more", l.Store, img.ID)
		}
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, ErrNoBytes) {
			failed = err
			s.log.Warn("a place of an image cannot be read", "image", img.ID, "store", l.Store, "err", err)
		}
	}
	return nil, failed
}

// LocalPath is the immutable file with an active image's bytes, or "" where this machine has none.
func (s *Service) LocalPath(ctx context.Context, id string) string {
	img, err := s.ByID(ctx, id)
	if err != nil || !img.Status.HasData() {
		return ""
	}
	for _, l := range img.Locations {
		if n, ok := s.named(l.Store); ok {
			if p := n.Store.LocalPath(id); p != "" {
				return p
			}
		}
	}
	return s.shelf.path(img)
}

// RemoveFromStore takes an image's copy out of one store. 404 when it is not there, 403 for the last copy, for a protected image and for a read-only
// store, 409 while an import is under way. The row goes first: what a crash leaves is collected.
func (s *Service) RemoveFromStore(ctx context.Context, id, store string) error {
	n, ok := s.named(store)
	if !ok {
		return fault.NotFound("Store %s could not be found.", store)
	}
	if n.ReadOnly {
		return fault.Forbidden("Store %s is read-only.", store)
	}
	_, err := s.change(ctx, nil, id, func(img *Image) error {
		at := slices.IndexFunc(img.Locations, func(l Location) bool { return l.Store == store })
		switch {
		case at < 0:
			return fault.NotFound("Image %s could not be found in store %s.", id, store)
		case img.Protected:
			return fault.Forbidden("Image %s is protected and cannot be deleted from a store.", id)
		case img.ImportTask != "":
			return fault.Conflict("Image %s is being imported.", id)
		case len(img.Locations) == 1:
			return fault.Forbidden("Cannot delete image from its last store: store %s holds the only copy of image %s.", store, id)
		}
		img.Locations = slices.Delete(img.Locations, at, at+1)
		return nil
	})
	if err != nil {
		return err
	}
	if err := n.Store.Remove(context.WithoutCancel(ctx), id); err != nil {
		s.log.Error("copy of an image not removed; collected later", "image", id, "store", store, "err", err)
	}
	return nil
}
