package image

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
	"nephos/internal/workflow"
)

// CreateParams are the attributes of a new image; zero values are Glance's defaults.
type CreateParams struct {
	ID              string // "": a new one
	Name            string
	Owner           string     // "": the caller's project; another only for an admin
	Visibility      Visibility // "": shared
	DiskFormat      string
	ContainerFormat string
	MinDiskGiB      int64
	MinRAMMiB       int64
	Protected       bool
	Hidden          bool
	Tags            []string
	Properties      map[string]string
}

// Create makes a record in status queued. 400 for a bad attribute, 403 for another's owner, 409 for an id ever used, 413 for too many tags
// or properties.
func (s *Service) Create(ctx context.Context, creds *policy.Credentials, p CreateParams) (Image, error) {
	img, err := s.draft(creds, p)
	if err != nil {
		return Image{}, err
	}
	if _, err := s.limits(ctx, img.Owner); err != nil { // read outside of the transaction; inside it is known
		return Image{}, err
	}
	err = s.write(ctx, img.ID, func(tx *db.Tx) error {
		if err := s.mayCount(ctx, tx, img.Owner); err != nil {
			return err
		}
		return insert(ctx, tx, img)
	})
	if db.IsUnique(err) {
		return Image{}, fault.Conflict("Image ID %s already exists!", img.ID)
	}
	return img, err
}

// draft is the record that p asks for.
func (s *Service) draft(creds *policy.Credentials, p CreateParams) (Image, error) {
	now := db.Now().Time
	img := Image{ID: p.ID, Name: p.Name, Owner: p.Owner, Status: Queued, Visibility: p.Visibility, DiskFormat: p.DiskFormat,
		ContainerFormat: p.ContainerFormat, MinDiskGiB: p.MinDiskGiB, MinRAMMiB: p.MinRAMMiB, Protected: p.Protected, Hidden: p.Hidden,
		Tags: tagSet(p.Tags), Properties: maps.Clone(p.Properties), CreatedAt: now, UpdatedAt: now}
	if img.Properties == nil {
		img.Properties = map[string]string{}
	}
	if img.ID == "" {
		img.ID = newID()
	} else if u, err := uuid.Parse(img.ID); err != nil || u.String() != img.ID {
		return Image{}, fault.Invalid("id", "Invalid image id format: %q is not a UUID in lower case", img.ID)
	}
	if img.Visibility == "" {
		img.Visibility = Shared
	}
	if img.Owner == "" && creds != nil {
		img.Owner = creds.ProjectID
	}
	if creds != nil && !creds.IsAdmin() && (img.Owner != creds.ProjectID || img.Owner == "") {
		return Image{}, fault.Forbidden("You are not permitted to create images owned by '%s'.", img.Owner)
	}
	return img, img.check()
}

// write runs fn and, once it is committed, lets nobody see the image as it was. The lock of the image's workflow comes first, as everywhere.
func (s *Service) write(ctx context.Context, id string, fn func(*db.Tx) error) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		if s.cfg.Engine != nil {
			if err := workflow.Lock(ctx, tx, id); err != nil {
				return err
			}
		}
		return s.writeIn(ctx, tx, id, fn)
	})
}

// writeIn is write inside a transaction that holds the workflow's lock.
func (s *Service) writeIn(ctx context.Context, tx *db.Tx, id string, fn func(*db.Tx) error) error {
	if err := lock(ctx, tx, id); err != nil {
		return err
	}
	s.cache.hold(id)
	if err := fn(tx); err != nil {
		return err
	}
	tx.OnCommit(func() {
		s.cache.forget(id)
		if s.cfg.Changed != nil {
			s.cfg.Changed(id)
		}
	})
	return nil
}

// tagSet sorts and drops repeats.
func tagSet(tags []string) []string {
	out := slices.Clone(tags)
	slices.Sort(out)
	return slices.Compact(out)
}

// check is what every stored image fulfils.
func (i *Image) check() error {
	if utf8.RuneCountInString(i.Name) > MaxName {
		return fault.Invalid("name", "Invalid value for attribute name: it may have at most %d characters", MaxName)
	}
	if utf8.RuneCountInString(i.Owner) > MaxName {
		return fault.Invalid("owner", "Invalid value for attribute owner: it may have at most %d characters", MaxName)
	}
	if !slices.Contains(visibilities, i.Visibility) {
		return fault.Invalid("visibility", "Invalid value '%s' for attribute visibility: it must be public, community, shared or private", i.Visibility)
	}
	if i.DiskFormat != "" && !slices.Contains(DiskFormats, i.DiskFormat) {
		return fault.Invalid("disk_format", "Invalid disk format '%s' for image: it must be one of %s", i.DiskFormat, strings.Join(DiskFormats, ", "))
	}
	if i.ContainerFormat != "" && !slices.Contains(ContainerFormats, i.ContainerFormat) {
		return fault.Invalid("container_format", "Invalid container format '%s' for image: it must be one of %s", i.ContainerFormat, strings.Join(ContainerFormats, ", "))
	}
	const intMost = 1<<31 - 1
	if i.MinDiskGiB < 0 || i.MinDiskGiB > intMost {
		return fault.Invalid("min_disk", "Invalid value for attribute min_disk: %d is not between 0 and %d", i.MinDiskGiB, intMost)
	}
	if i.MinRAMMiB < 0 || i.MinRAMMiB > intMost {
		return fault.Invalid("min_ram", "Invalid value for attribute min_ram: %d is not between 0 and %d", i.MinRAMMiB, intMost)
	}
	if len(i.Tags) > MaxTags {
		return fault.Quota("The limit has been exceeded on the number of allowed image tags. Attempted: %d, Maximum: %d", len(i.Tags), MaxTags)
	}
	for _, t := range i.Tags {
		if n := utf8.RuneCountInString(t); n == 0 || n > MaxName {
			return fault.Invalid("tags", "Invalid value for attribute tags: a tag has 1 to %d characters", MaxName)
		}
	}
	if len(i.Properties) > MaxProperties {
		return fault.Quota("The limit has been exceeded on the number of allowed image properties. Attempted: %d, Maximum: %d", len(i.Properties), MaxProperties)
	}
	for name, value := range i.Properties {
		if n := utf8.RuneCountInString(name); n == 0 || n > MaxName {
			return fault.Invalid(name, "Invalid property name %q: a name has 1 to %d characters", name, MaxName)
		}
		if len(value) > MaxText {
			return fault.Invalid(name, "Invalid value for property %s: it may have at most %d bytes", name, MaxText)
		}
	}
	for what, text := range map[string]string{"name": i.Name, "owner": i.Owner} {
		if err := storable(what, text); err != nil {
			return err
		}
	}
	for _, t := range i.Tags {
		if err := storable("tags", t); err != nil {
			return err
		}
	}
	for name, value := range i.Properties {
		if err := storable(name, name+value); err != nil {
			return err
		}
	}
	return nil
}

// storable refuses what PostgreSQL cannot keep as text.
func storable(field, text string) error {
	if strings.ContainsRune(text, 0) || !utf8.ValidString(text) {
		return fault.Invalid(field, "Invalid value for attribute %s: it must be valid UTF-8 without NUL", field)
	}
	return nil
}

// change loads an image under lock, lets fn change a copy, and stores it.
func (s *Service) change(ctx context.Context, creds *policy.Credentials, id string, fn func(*Image) error) (out Image, err error) {
	return s.changeWith(ctx, creds, id, func(_ *db.Tx, img *Image) error { return fn(img) })
}

// changeWith is change with the transaction for fn.
func (s *Service) changeWith(ctx context.Context, creds *policy.Credentials, id string, fn func(*db.Tx, *Image) error) (out Image, err error) {
	err = s.write(ctx, id, func(tx *db.Tx) (err error) {
		out, err = changeLocked(ctx, tx, creds, id, fn)
		return err
	})
	return out, err
}

// changeIn is changeWith inside a transaction that holds the workflow's lock.
func (s *Service) changeIn(ctx context.Context, tx *db.Tx, id string, fn func(*db.Tx, *Image) error) (out Image, err error) {
	err = s.writeIn(ctx, tx, id, func(tx *db.Tx) (err error) {
		out, err = changeLocked(ctx, tx, nil, id, fn)
		return err
	})
	return out, err
}

func changeLocked(ctx context.Context, tx *db.Tx, creds *policy.Credentials, id string, fn func(*db.Tx, *Image) error) (Image, error) {
	img, err := owned(ctx, tx, creds, id)
	if err != nil {
		return Image{}, err
	}
	if err := fn(tx, &img); err != nil {
		return Image{}, err
	}
	img.Tags = tagSet(img.Tags)
	img.UpdatedAt = db.Now().Time
	if err := img.check(); err != nil {
		return Image{}, err
	}
	return img, save(ctx, tx, img)
}

// owned loads an image that the caller may change: 404 when it may not even be seen, 403 when it is another's.
func owned(ctx context.Context, tx *db.Tx, creds *policy.Credentials, id string) (Image, error) {
	img, err := load(ctx, tx, id)
	if err != nil {
		return Image{}, err
	}
	if !img.VisibleTo(creds) {
		return Image{}, notFound(id)
	}
	if !img.ownedBy(creds) {
		return Image{}, fault.Forbidden("You are not permitted to modify image %s: it belongs to another project.", id)
	}
	return img, nil
}

// Update lets fn change the user's attributes of an image and stores the result; nothing is stored when fn fails. fn gets a copy, may run
// more than once and must not use the database. What fn does to id, status, bytes, members or times is undone; the formats may change
// only while the image is queued (403, as Glance).
func (s *Service) Update(ctx context.Context, creds *policy.Credentials, id string, fn func(*Image) error) (Image, error) {
	return s.change(ctx, creds, id, func(img *Image) error {
		was := img.Clone()
		if err := fn(img); err != nil {
			return err
		}
		if was.Status != Queued {
			if img.DiskFormat != was.DiskFormat {
				return fault.Forbidden("Attribute disk_format can be only replaced for a queued image.")
			}
			if img.ContainerFormat != was.ContainerFormat {
				return fault.Forbidden("Attribute container_format can be only replaced for a queued image.")
			}
		}
		if creds != nil && !creds.IsAdmin() && img.Owner != was.Owner {
			return fault.Forbidden("You are not permitted to set the owner of image %s.", id)
		}
		kept := *img
		*img = was
		img.Name, img.Owner, img.Visibility, img.DiskFormat, img.ContainerFormat = kept.Name, kept.Owner, kept.Visibility, kept.DiskFormat, kept.ContainerFormat
		img.MinDiskGiB, img.MinRAMMiB, img.Protected, img.Hidden = kept.MinDiskGiB, kept.MinRAMMiB, kept.Protected, kept.Hidden
		img.Tags, img.Properties = kept.Tags, kept.Properties
		return nil
	})
}

// Deactivate keeps the bytes from all but admins, Reactivate gives them back; both are idempotent. Other statuses are 403 (Glance).
func (s *Service) Deactivate(ctx context.Context, creds *policy.Credentials, id string) error {
	return s.toggle(ctx, creds, id, Deactivated, "deactivate")
}

// Reactivate is the opposite of Deactivate.
func (s *Service) Reactivate(ctx context.Context, creds *policy.Credentials, id string) error {
	return s.toggle(ctx, creds, id, Active, "reactivate")
}

func (s *Service) toggle(ctx context.Context, creds *policy.Credentials, id string, to Status, verb string) error {
	_, err := s.change(ctx, creds, id, func(img *Image) error {
		if !img.Status.HasData() {
			return fault.Forbidden("Not allowed to %s image in status '%s'", verb, img.Status)
		}
		img.Status = to
		return nil
	})
	return err
}

// Delete ends an image: 403 when protected, 409 when in use. The row is marked first, so a crash before the bytes go leaves bytes
// without an owner, which Recover collects. An upload under way fails with KindGone.
func (s *Service) Delete(ctx context.Context, creds *policy.Credentials, id string) error {
	var was Image
	err := s.write(ctx, id, func(tx *db.Tx) error {
		img, err := owned(ctx, tx, creds, id)
		if err != nil {
			return err
		}
		if img.Protected {
			return fault.Forbidden("Image %s is protected and cannot be deleted.", id)
		}
		if s.cfg.InUse != nil {
			reason, err := s.cfg.InUse(ctx, tx, id)
			if err != nil {
				return err
			}
			if reason != "" {
				return fault.Conflict("Image %s could not be deleted because it is in use: %s", id, reason)
			}
		}
		was = img
		if err := s.abandonImport(ctx, tx, img); err != nil {
			return err
		}
		return erase(ctx, tx, id)
	})
	if err != nil {
		return err
	}
	s.dropBytes(context.WithoutCancel(ctx), was)
	return nil
}

// erase marks the row.
func erase(ctx context.Context, tx *db.Tx, id string) error {
	now := db.Now()
	if _, err := tx.Exec(ctx, `UPDATE images SET status = 'deleted', deleted_at = ?, updated_at = ?, upload_id = '', import_task = '', staged = FALSE WHERE id = ?`, now, now, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM image_cached WHERE image_id = ?`, id); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM image_members WHERE image_id = ?`, id); err != nil {
		return err
	}
	return dropExtras(ctx, tx, id)
}

// dropBytes removes what a row no longer owns: from its stores, and from all of them when an upload was under way. A failure is only logged: the
// collector tries again.
func (s *Service) dropBytes(ctx context.Context, img Image) {
	id, upload := img.ID, img.uploadID
	var err error
	for _, n := range s.stores {
		if n.ReadOnly || upload == "" && !img.InStore(n.ID) {
			continue
		}
		err = errors.Join(err, n.Store.Remove(ctx, id))
		if upload != "" {
			err = errors.Join(err, n.Store.Discard(ctx, id, upload))
		}
	}
	if upload != "" && s.stagingIn == "" {
		err = errors.Join(err, s.staging.Discard(ctx, id, upload))
	}
	err = errors.Join(err, s.shelf.drop(id))
	if err != nil {
		s.log.Error("image bytes not removed; collected later", "image", id, "err", err)
	}
}

// CreateFromFile creates an image and uploads r into it; if the upload fails the image is deleted again and the upload's error
// returned.
func (s *Service) CreateFromFile(ctx context.Context, creds *policy.Credentials, p CreateParams, r io.Reader) (Image, error) {
	img, err := s.Create(ctx, creds, p)
	if err != nil {
		return Image{}, err
	}
	if err := s.Upload(ctx, creds, img.ID, r, -1); err != nil {
		if derr := s.undo(context.WithoutCancel(ctx), img.ID); derr != nil {
			s.log.Error("image of a failed upload not deleted", "image", img.ID, "err", derr)
		}
		return Image{}, err
	}
	return s.ByID(ctx, img.ID)
}

// undo deletes an image that was just made, protected or not.
func (s *Service) undo(ctx context.Context, id string) error {
	if _, err := s.change(ctx, nil, id, func(i *Image) error { i.Protected = false; return nil }); err != nil {
		return err
	}
	return s.Delete(ctx, nil, id)
}

// Ensure makes the image p.ID (which must be given) at first start: absent, it is created and uploaded from open(); queued, because an
// earlier start died in the upload, it is uploaded; otherwise left as it is. An image that was deleted stays deleted: Ensure then returns
// fault.KindNotFound.
func (s *Service) Ensure(ctx context.Context, p CreateParams, open func() (io.ReadCloser, error)) (Image, error) {
	if p.ID == "" {
		return Image{}, errors.New("image to ensure has no id")
	}
	img, err := s.ByID(ctx, p.ID)
	if fault.IsNotFound(err) {
		if img, err = s.Create(ctx, nil, p); fault.KindOf(err) == fault.KindConflict {
			return Image{}, notFound(p.ID)
		}
	}
	if err != nil || img.Status != Queued {
		return img, err
	}
	r, err := open()
	if err != nil {
		return Image{}, err
	}
	defer r.Close()
	if err := s.Upload(ctx, nil, p.ID, r, -1); err != nil {
		return Image{}, err
	}
	return s.ByID(ctx, p.ID)
}
