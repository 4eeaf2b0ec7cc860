package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/diskformat"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// settleTime bounds what an upload still does to the row and the store when its caller has gone.
const settleTime = 30 * time.Second

// freeEvery is how many bytes pass between two looks at the free space.
const freeEvery = 64 << 20

// Upload is UploadTo the default store.
func (s *Service) Upload(ctx context.Context, creds *policy.Credentials, id string, r io.Reader, size int64) error {
	return s.UploadTo(ctx, creds, id, "", r, size)
}

// UploadTo gives a queued image its bytes, in the store of that name ("": the default), and makes it active. size is what the sender announced, -1 if
// nothing; other bytes than announced are refused. The image is queued again after any failure. 409 when it is not queued, 400 without formats, for
// an unknown store, or when the bytes are what diskformat.Accept refuses or not what the image's signature signs, 413 above the size cap, the free space
// or the project's limits, 410 when it was deleted meanwhile.
func (s *Service) UploadTo(ctx context.Context, creds *policy.Credentials, id, store string, r io.Reader, size int64) (err error) {
	n, err := s.writable(store)
	if err != nil {
		return err
	}
	img, room, err := s.claim(ctx, creds, id, Saving, n.Store, size)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = s.requeue(ctx, img, err)
		}
	}()
	sum, err := s.ingest(ctx, n.Store, img, r, size, room)
	if err != nil {
		return err
	}
	return s.publish(ctx, n, img, sum)
}

// publish makes a sealed part the image's bytes, if they are what the record says.
func (s *Service) publish(ctx context.Context, n NamedStore, img Image, sum digests) error {
	info, err := s.inspectPart(ctx, n.Store, img)
	if err != nil {
		return err
	}
	if err := n.Store.Publish(ctx, img.ID, img.uploadID); err != nil {
		return err
	}
	return s.settle(ctx, img, func(tx *db.Tx, i *Image) error {
		if err := s.mayGrow(ctx, tx, i.Owner, sum.Size); err != nil {
			return err
		}
		i.Status, i.uploadID, i.uploadNode = Active, "", ""
		i.has(sum, info)
		i.Locations = []Location{{Store: n.ID}}
		return nil
	})
}

// has notes what the bytes were found to be.
func (i *Image) has(sum digests, info diskformat.Info) {
	i.SizeBytes, i.MD5, i.HashAlgo, i.HashValue, i.VirtualBytes = sum.Size, sum.MD5, "sha512", sum.SHA512, info.VirtualBytes
}

// Stage takes a queued image's bytes without looking into them, to be imported later: status uploading.
func (s *Service) Stage(ctx context.Context, creds *policy.Credentials, id string, r io.Reader, size int64) (err error) {
	img, room, err := s.claim(ctx, creds, id, Uploading, s.staging, size)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = s.requeue(ctx, img, err)
		}
	}()
	sum, err := s.ingest(ctx, s.staging, img, r, size, room)
	if err != nil {
		return err
	}
	return s.settle(ctx, img, func(_ *db.Tx, i *Image) error {
		i.staged, i.SizeBytes, i.MD5, i.HashAlgo, i.HashValue = true, sum.Size, sum.MD5, "sha512", sum.SHA512
		return nil
	})
}

func (i *Image) formatsSet() error {
	for _, x := range []struct{ field, value string }{{"disk_format", i.DiskFormat}, {"container_format", i.ContainerFormat}} {
		if x.value == "" {
			return fault.Invalid(x.field, "Properties disk_format, container_format must be set prior to saving data: %s of image %s is not set.", x.field, i.ID)
		}
	}
	return nil
}

func newWord() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

// claim takes a queued row for one new upload. room is how many bytes the project's limits leave it, -1 for any number.
func (s *Service) claim(ctx context.Context, creds *policy.Credentials, id string, to Status, store Store, size int64) (img Image, room int64, err error) {
	if err := s.roomFor(ctx, store, id, 0, size); err != nil {
		return Image{}, 0, err
	}
	if creds != nil {
		if _, err := s.limits(ctx, creds.ProjectID); err != nil { // as in Create
			return Image{}, 0, err
		}
	}
	word := newWord()
	img, err = s.changeWith(ctx, creds, id, func(tx *db.Tx, img *Image) error {
		if to == Saving {
			if err := img.formatsSet(); err != nil {
				return err
			}
		}
		if !img.Status.CanBecome(to) {
			return fault.Conflict("Image %s is in status %s; data can be uploaded only while it is queued", id, img.Status)
		}
		var err error
		if room, err = s.mayUpload(ctx, tx, img.Owner, to == Uploading, size); err != nil {
			return err
		}
		img.Status, img.uploadID, img.uploadNode, img.staged = to, word, s.cfg.Node, false
		return nil
	})
	return img, room, err
}

// roomFor refuses what the size cap or the free space does not allow: have bytes have been written, want (-1: unknown) are announced.
func (s *Service) roomFor(ctx context.Context, store Store, id string, have, want int64) error {
	if most := s.cfg.MaxBytes; most > 0 && want > most {
		return tooLarge(id, most)
	}
	free, err := store.Free(ctx)
	if err != nil {
		return fault.Unavailable("the image store cannot be reached").WithCause(err)
	}
	if free < 0 {
		return nil
	}
	if need := max(want-have, 1); need > free {
		if want < 0 {
			return fault.TooLarge("There is not enough disk space on the image storage media for image %s: %d bytes are free.", id, free)
		}
		return fault.TooLarge("There is not enough disk space on the image storage media for image %s: %d bytes are needed, %d are free.", id, need, free)
	}
	return nil
}

func tooLarge(id string, most int64) error {
	return fault.TooLarge("Image %s exceeds the maximum image size of %d bytes.", id, most)
}

// ingest streams into the upload's part in a store and makes it durable. Nothing is published. room bounds the bytes by the project's limits (-1: no bound).
func (s *Service) ingest(ctx context.Context, store Store, img Image, r io.Reader, size, room int64) (digests, error) {
	signed, err := s.signature(ctx, img)
	if err != nil {
		return digests{}, err
	}
	part, err := store.Create(ctx, img.ID, img.uploadID)
	if err != nil {
		return digests{}, s.storeFault(img.ID, err)
	}
	defer part.Close()
	most := int64(-1)
	if s.cfg.MaxBytes > 0 {
		most = s.cfg.MaxBytes
	}
	overQuota := room >= 0 && (most < 0 || room < most)
	if overQuota {
		most = room
	}
	seenAt, looked := int64(0), false
	sum, err := copyHashed(ctx, part, r, most, signed.hash(), func(ins *diskformat.Inspector, n int64) error {
		if !looked && ins.HeadSeen() {
			looked = true
			if err := img.early(ins.Info()); err != nil {
				return err
			}
		}
		if n-seenAt >= freeEvery {
			seenAt = n
			return s.roomFor(ctx, store, img.ID, n, -1)
		}
		return nil
	})
	switch {
	case errors.Is(err, errTooLarge) && overQuota:
		return digests{}, overLimit("the size of project %s's images would go above its limit", img.Owner)
	case errors.Is(err, errTooLarge):
		return digests{}, tooLarge(img.ID, most)
	case err != nil:
		return digests{}, s.storeFault(img.ID, err)
	case size >= 0 && sum.Size != size:
		return digests{}, fault.Invalid("", "Size of uploaded data (%d bytes) differs from the size announced (%d bytes) for image %s.", sum.Size, size, img.ID)
	}
	if err := signed.verify(); err != nil {
		return digests{}, err
	}
	if err := part.Seal(); err != nil {
		return digests{}, s.storeFault(img.ID, err)
	}
	return sum, nil
}

func (s *Service) storeFault(id string, err error) error {
	var src *sourceError
	switch {
	case errors.Is(err, ErrStoreFull):
		return fault.TooLarge("There is not enough disk space on the image storage media for image %s.", id).WithCause(err)
	case errors.As(err, &src):
		return fault.Invalid("", "the data of image %s broke off before its end", id).WithCause(src.err)
	}
	return err
}

// inspected says whether the bytes must be what disk_format says. In other containers than a bare disk (an OVA is a tar) they are not.
func (i *Image) inspected() bool { return bootable[i.ContainerFormat] }

// early refuses after the first bytes what can no longer become right, so that a client need not send the rest. Problems of the header are
// left to the end: only the whole size tells whether a table lies outside the file. A fixed VHD shows only at its end.
func (i *Image) early(info diskformat.Info) error {
	if i.Status != Saving || !i.inspected() || i.DiskFormat == "vhd" {
		return nil
	}
	info.Problem = ""
	return diskformat.Accept(i.DiskFormat, info)
}

// inspectPart looks into the sealed part, or, where an earlier import died after publishing, into the published bytes.
func (s *Service) inspectPart(ctx context.Context, store Store, img Image) (diskformat.Info, error) {
	b, err := store.OpenPart(ctx, img.ID, img.uploadID)
	if errors.Is(err, ErrNoBytes) && img.staged {
		b, err = store.Open(ctx, img.ID)
	}
	if err != nil {
		return diskformat.Info{}, fmt.Errorf("inspect image %s: %w", img.ID, err)
	}
	defer b.Close()
	if !img.inspected() {
		return diskformat.Info{}, nil
	}
	info, err := diskformat.Inspect(b, b.Size())
	if err != nil {
		return info, err
	}
	return info, diskformat.Accept(img.DiskFormat, info)
}

// settle changes the row if it still belongs to the upload. If it does not, the image was deleted meanwhile (or taken back): the bytes go, and
// the answer is 410.
func (s *Service) settle(ctx context.Context, img Image, fn func(*db.Tx, *Image) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	_, err := s.changeWith(ctx, nil, img.ID, func(tx *db.Tx, i *Image) error {
		if i.uploadID != img.uploadID {
			return gone(img.ID)
		}
		return fn(tx, i)
	})
	if fault.IsNotFound(err) {
		err = gone(img.ID)
	}
	if fault.KindOf(err) == fault.KindGone {
		s.lost(ctx, img)
	}
	return err
}

func gone(id string) error {
	return fault.New(fault.KindGone, "Image %s could not be found after upload. The image may have been deleted during the upload.", id)
}

// lost removes the bytes of an upload whose row went away. Published bytes go only if no other upload of the row has put them there.
func (s *Service) lost(ctx context.Context, img Image) {
	if _, err := s.fresh(ctx, img.ID); fault.IsNotFound(err) {
		s.dropBytes(ctx, img)
		return
	}
	for _, n := range s.stores {
		if n.ReadOnly {
			continue
		}
		if err := n.Store.Discard(ctx, img.ID, img.uploadID); err != nil {
			s.log.Error("bytes of a lost upload not removed; collected later", "image", img.ID, "err", err)
		}
	}
}

// requeue ends a failed upload: the bytes go, the row is queued again, and the cause is returned. Published bytes are touched only while the
// row is still this upload's, for then nobody else can have published. A crash in between leaves a part, or bytes whose row is not active:
// Recover collects both.
func (s *Service) requeue(ctx context.Context, img Image, cause error) error {
	if fault.KindOf(cause) == fault.KindGone {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	s.log.Info("image upload refused or broken off", "image", img.ID, "err", cause)
	now, err := s.fresh(ctx, img.ID)
	if err != nil && !fault.IsNotFound(err) {
		s.log.Error("image of a failed upload not queued again; the next start does it", "image", img.ID, "err", err)
		return cause
	}
	if err != nil || now.uploadID != img.uploadID {
		s.lost(ctx, img)
		return gone(img.ID) // a delete takes the part away under the upload, which may then fail in any way
	}
	s.dropBytes(ctx, img)
	err = s.settle(ctx, img, func(_ *db.Tx, i *Image) error { i.empty(); return nil })
	if err != nil && fault.KindOf(err) != fault.KindGone {
		s.log.Error("image of a failed upload not queued again; the next start does it", "image", img.ID, "err", err)
	}
	return cause
}

// empty makes an image queued again, with nothing known of bytes.
func (i *Image) empty() {
	i.Status, i.uploadID, i.uploadNode, i.staged, i.ImportTask = Queued, "", "", false, ""
	i.SizeBytes, i.VirtualBytes, i.MD5, i.HashAlgo, i.HashValue, i.Locations = 0, 0, "", "", "", nil
}

// fresh reads an image past the cache.
func (s *Service) fresh(ctx context.Context, id string) (img Image, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) (err error) {
		img, err = load(ctx, tx, id)
		return err
	})
	return img, err
}
