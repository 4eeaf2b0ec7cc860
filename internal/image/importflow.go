package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/diskformat"
	"nephos/internal/fault"
	"nephos/internal/workflow"
)

// importDeadline bounds an import: at 10 MB/s it is 400 GB.
const importDeadline = 12 * time.Hour

// importState is what an import remembers.
type importState struct {
	Task    string          `json:"task"`
	Upload  string          `json:"upload"` // names the parts
	Method  string          `json:"method"`
	URI     string          `json:"uri,omitempty"`
	Source  string          `json:"source,omitempty"` // glance-download: the other image; "" when there is none that may be read
	Stores  []string        `json:"stores"`
	MustAll bool            `json:"must_all"`
	Room    int64           `json:"room"` // bytes that the limits leave, -1 for any number
	Sum     digests         `json:"sum"`
	Info    diskformat.Info `json:"info"`
	Failed  []string        `json:"failed,omitempty"`
	Formats [2]string       `json:"formats"` // glance-download: disk and container format of the other image
	Extra   []extra         `json:"extra,omitempty"`
}

type extra struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// copied are the properties that glance-download takes along, by their beginning (Glance's default extra_properties).
var copied = []string{"hw_", "trait:", "os_distro", "os_secure_boot", "os_type"}

type importRun = workflow.Run[importState]

// declare is the order of an import on one page.
func (s *Service) declare() {
	s.flow = &workflow.Definition[importState]{Kind: "image.import", Deadline: importDeadline, Fail: s.importFailed, Steps: []workflow.Step[importState]{
		{Name: "start", Commit: s.importStarted, Undo: s.importDrop}, // what was staged before the import goes with it, however early that ends
		{Name: "fetch", Do: s.importFetch, Undo: s.importDrop},       // bytes are staged whole, inspected and known by their sums
		{Name: "store", Do: s.importStore, Undo: s.importDrop},       // and lie in the stores
		{Name: "clean", Do: s.importClean},
		{Name: "finish", Commit: s.importFinish}, // the last, so that an image that is active can be imported again at once
	}}
	if s.cfg.Engine != nil {
		workflow.Register(s.cfg.Engine, s.flow)
	}
}

func (s *Service) importStarted(ctx context.Context, tx *db.Tx, r *importRun) error {
	_, err := tx.Exec(ctx, `UPDATE image_tasks SET status = 'processing', updated_at = ? WHERE id = ? AND status = 'pending'`, db.Now(), r.State.Task)
	return err
}

// mine reads the image while it is this import's.
func (s *Service) mine(ctx context.Context, r *importRun) (Image, error) {
	img, err := s.fresh(ctx, r.Subject)
	if err == nil && img.ImportTask != r.State.Task {
		err = gone(r.Subject)
	}
	return img, err
}

// final keeps the engine from trying again until the deadline: only what the database refuses is worth that.
func final(err error) error {
	if fault.KindOf(err) == fault.KindUnavailable {
		return fmt.Errorf("%s", fault.Message(err))
	}
	return err
}

// importFetch is done when the staged part is whole. A part that an earlier try left is made anew; staged and stored bytes are only inspected.
func (s *Service) importFetch(ctx context.Context, r *importRun) error {
	img, err := s.mine(ctx, r)
	if err != nil {
		return err
	}
	switch r.State.Method {
	case CopyImage:
		return nil
	case GlanceDirect:
		r.State.Info, err = s.inspectPart(ctx, s.staging, img)
		return final(err)
	case fromLocation:
		return final(s.hashLocation(ctx, r, img))
	}
	src, size, err := s.importSource(ctx, r, &img)
	if err != nil {
		return final(err)
	}
	defer src.Close()
	if err := s.staging.Discard(ctx, img.ID, img.uploadID); err != nil {
		return final(err)
	}
	if r.State.Sum, err = s.ingest(ctx, s.staging, img, src, size, r.State.Room); err != nil {
		s.unstage(ctx, img.ID, img.uploadID)
		return final(err)
	}
	r.State.Info, err = s.inspectPart(ctx, s.staging, img)
	return final(err)
}

// importSource opens what is to be fetched; size -1: unknown. glance-download gives img the other image's formats.
func (s *Service) importSource(ctx context.Context, r *importRun, img *Image) (io.ReadCloser, int64, error) {
	if r.State.Method == WebDownload {
		resp, err := s.web.get(ctx, "GET", r.State.URI, 0)
		if err != nil {
			return nil, 0, err
		}
		return resp.Body, resp.ContentLength, nil
	}
	if r.State.Source == "" {
		return nil, 0, fault.NotFound("the image to be imported was not found in a region whose images can be read from here")
	}
	src, err := s.fresh(ctx, r.State.Source)
	if err != nil {
		return nil, 0, err
	}
	if src.Status != Active {
		return nil, 0, fault.Conflict("image %s is %s, not active", src.ID, src.Status)
	}
	r.State.Formats, r.State.Extra = [2]string{src.DiskFormat, src.ContainerFormat}, nil
	for name, value := range src.Properties {
		if slices.ContainsFunc(copied, func(p string) bool { return strings.HasPrefix(name, p) }) {
			r.State.Extra = append(r.State.Extra, extra{name, value})
		}
	}
	img.DiskFormat, img.ContainerFormat = src.DiskFormat, src.ContainerFormat
	b, err := s.openImage(ctx, src)
	if err != nil {
		return nil, 0, err
	}
	return b, b.Size(), nil
}

// hashLocation reads a location's bytes once, to know what they are; nothing is kept.
func (s *Service) hashLocation(ctx context.Context, r *importRun, img Image) error {
	resp, err := s.web.get(ctx, "GET", r.State.URI, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	signed, err := s.signature(ctx, img)
	if err != nil {
		return err
	}
	most := s.cfg.MaxBytes
	if most == 0 {
		most = -1
	}
	var seen *diskformat.Inspector
	sum, err := copyHashed(ctx, io.Discard, resp.Body, most, signed.hash(), func(ins *diskformat.Inspector, _ int64) error { seen = ins; return nil })
	if errors.Is(err, errTooLarge) {
		return tooLarge(img.ID, most)
	}
	if err != nil {
		return s.storeFault(img.ID, err)
	}
	if err := signed.verify(); err != nil {
		return err
	}
	if img.HashAlgo == "sha512" && img.HashValue != "" && img.HashValue != sum.SHA512 {
		return fault.Invalid("validation_data", "the data at %s has another SHA-512 than was said", cut(r.State.URI))
	}
	r.State.Sum = sum
	if seen != nil && img.inspected() {
		r.State.Info = seen.Info()
		if img.DiskFormat != "" {
			return diskformat.Accept(img.DiskFormat, r.State.Info)
		}
	}
	return nil
}

// importStore fills the stores one after the other, the staging store last, by a rename. Doing it again overwrites what is there with the same bytes.
func (s *Service) importStore(ctx context.Context, r *importRun) error {
	if r.State.Method == fromLocation {
		return nil
	}
	left := slices.Clone(r.State.Stores)
	slices.SortStableFunc(left, func(a, b string) int { return rank(a == s.stagingIn) - rank(b == s.stagingIn) })
	var failed []string
	for len(left) > 0 {
		img, err := s.mine(ctx, r)
		if err != nil {
			return err
		}
		if err := s.importOne(ctx, r, img, left[0]); err != nil {
			if ctx.Err() != nil || r.State.MustAll {
				return final(fmt.Errorf("store %s: %w", left[0], err))
			}
			s.log.Warn("import into a store failed", "image", img.ID, "store", left[0], "err", err)
			failed = append(failed, left[0])
		}
		left = left[1:]
		if _, err := s.change(ctx, nil, img.ID, func(i *Image) error {
			if i.ImportTask != r.State.Task {
				return gone(i.ID)
			}
			i.ImportingTo, i.ImportFailed = slices.Clone(left), slices.Clone(failed)
			return nil
		}); err != nil {
			return err
		}
	}
	r.State.Failed = failed
	if len(failed) > 0 && len(failed) == len(r.State.Stores) && r.State.Method != CopyImage {
		return fmt.Errorf("none of the stores %s took the image", strings.Join(failed, ", "))
	}
	return nil
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s *Service) importOne(ctx context.Context, r *importRun, img Image, store string) error {
	n, err := s.writable(store)
	if err != nil {
		return err
	}
	if store == s.stagingIn && r.State.Method != CopyImage {
		return n.Store.Publish(ctx, img.ID, img.uploadID)
	}
	src, err := s.importBytes(ctx, r, img)
	if err != nil {
		return err
	}
	defer src.Close()
	if err := n.Store.Discard(ctx, img.ID, img.uploadID); err != nil {
		return err
	}
	if err := s.roomFor(ctx, n.Store, img.ID, 0, src.Size()); err != nil {
		return err
	}
	if err := s.copyInto(ctx, n.Store, img, src, r.State.Sum); err != nil {
		if derr := n.Store.Discard(context.WithoutCancel(ctx), img.ID, img.uploadID); derr != nil {
			s.log.Warn("part of a failed import not removed; collected later", "image", img.ID, "store", store, "err", derr)
		}
		return err
	}
	return n.Store.Publish(ctx, img.ID, img.uploadID)
}

// importBytes opens what is to be stored: the staged part, or what an earlier try made of it, or the image itself.
func (s *Service) importBytes(ctx context.Context, r *importRun, img Image) (Blob, error) {
	if r.State.Method == CopyImage {
		return s.openImage(ctx, img)
	}
	b, err := s.staging.OpenPart(ctx, img.ID, img.uploadID)
	if errors.Is(err, ErrNoBytes) && slices.Contains(r.State.Stores, s.stagingIn) {
		b, err = s.staging.Open(ctx, img.ID)
	}
	return b, err
}

// copyInto writes src into a sealed part and makes sure that it is what it should be.
func (s *Service) copyInto(ctx context.Context, store Store, img Image, src io.Reader, want digests) error {
	part, err := store.Create(ctx, img.ID, img.uploadID)
	if err != nil {
		return err
	}
	defer part.Close()
	sum, err := copyHashed(ctx, part, src, -1, nil, ignore)
	if err != nil {
		return err
	}
	if want.SHA512 != "" && sum != want {
		return fmt.Errorf("the bytes of image %s are not those that its record promises", img.ID)
	}
	return part.Seal()
}

func (s *Service) importFinish(ctx context.Context, tx *db.Tx, r *importRun) error {
	st := r.State
	_, err := s.changeIn(ctx, tx, r.Subject, func(tx *db.Tx, i *Image) error {
		if i.ImportTask != st.Task {
			return gone(i.ID)
		}
		if st.Method != fromLocation {
			if err := s.mayGrow(ctx, tx, i.Owner, st.Sum.Size*int64(len(st.Stores)-len(st.Failed))); err != nil {
				return err
			}
		}
		if st.Method != CopyImage {
			i.Status = Active
			i.has(st.Sum, st.Info)
			i.Locations = nil
		}
		if st.Method == fromLocation {
			i.Locations = []Location{{URL: st.URI}}
		}
		for _, id := range st.Stores {
			if st.Method != fromLocation && !slices.Contains(st.Failed, id) && !i.InStore(id) {
				i.Locations = append(i.Locations, Location{Store: id})
			}
		}
		if st.Formats[0] != "" {
			i.DiskFormat, i.ContainerFormat = st.Formats[0], st.Formats[1]
			for _, e := range st.Extra {
				i.Properties[e.Name] = e.Value
			}
		}
		i.uploadID, i.uploadNode, i.staged, i.ImportTask, i.ImportingTo, i.ImportFailed = "", "", false, "", nil, st.Failed
		return nil
	})
	if err != nil {
		return err
	}
	return endTask(ctx, tx, st.Task, TaskSuccess, `{"image_id": "`+r.Subject+`"}`, fmt.Sprintf("Copied %d MiB", st.Sum.Size>>20))
}

// importClean removes what was staged: the stores have it. It never fails, for the collector finds what stays.
func (s *Service) importClean(ctx context.Context, r *importRun) error {
	s.unstage(ctx, r.Subject, r.State.Upload)
	return nil
}

func (s *Service) unstage(ctx context.Context, id, upload string) {
	if err := s.staging.Discard(context.WithoutCancel(ctx), id, upload); err != nil {
		s.log.Warn("staged bytes not removed; collected later", "image", id, "err", err)
	}
}

// importDrop takes back what a step put into stores: all that the record does not promise. Bytes that stay behind an error are the collector's.
func (s *Service) importDrop(ctx context.Context, r *importRun) error {
	img, err := s.mine(ctx, r)
	if fault.IsNotFound(err) || fault.KindOf(err) == fault.KindGone {
		return nil // a delete has seen to it
	}
	if err != nil {
		return err
	}
	for _, id := range r.State.Stores {
		n, ok := s.named(id)
		if !ok || n.ReadOnly {
			continue
		}
		err := n.Store.Discard(ctx, img.ID, r.State.Upload)
		if !img.InStore(id) {
			err = errors.Join(err, n.Store.Remove(ctx, img.ID))
		}
		if err != nil {
			s.log.Warn("bytes of a failed import not removed; collected later", "image", img.ID, "store", id, "err", err)
		}
	}
	s.unstage(ctx, img.ID, r.State.Upload)
	return nil
}

// importFailed ends the import: the image is queued again, or, where it had bytes before, is as it was.
func (s *Service) importFailed(ctx context.Context, tx *db.Tx, r *importRun, f workflow.Failure) error {
	why := fault.Message(f.Err)
	_, err := s.changeIn(ctx, tx, r.Subject, func(_ *db.Tx, i *Image) error {
		if i.ImportTask != r.State.Task {
			return nil
		}
		if r.State.Method != CopyImage {
			i.empty()
		}
		i.uploadID, i.uploadNode, i.staged, i.ImportTask, i.ImportingTo, i.ImportFailed = "", "", false, "", nil, r.State.Stores
		return nil
	})
	if err != nil && !fault.IsNotFound(err) {
		return err
	}
	return endTask(ctx, tx, r.State.Task, TaskFailure, "", why)
}
