package image

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
	"nephos/internal/workflow"
)

// The import methods, by Glance's names.
const (
	GlanceDirect   = "glance-direct"   // bytes that were staged
	WebDownload    = "web-download"    // bytes at a URL
	CopyImage      = "copy-image"      // an active image's bytes, to more stores
	GlanceDownload = "glance-download" // the bytes of another image

	fromLocation = "location" // not a method of the import call: a location was added whose bytes are to be hashed
)

// ImportMethods are the methods that this service knows.
var ImportMethods = []string{GlanceDirect, WebDownload, CopyImage, GlanceDownload}

// ImportParams say what to import from where to where.
type ImportParams struct {
	Method  string
	URI     string // web-download
	Source  string // glance-download: the other image's id
	Region  string // glance-download: the region it is in
	Stores  []string
	All     bool            // to all stores that can be written to
	MustAll bool            // one store that fails fails the import
	Request json.RawMessage // what the caller sent, for the task's input
	Kind    string          // of the task; "" by the method
	Input   json.RawMessage // of the task, nil: made of Request
	// RequestID is of the call that asked; the task shows it.
	RequestID string
}

// Import begins to make bytes the image's own: a durable workflow, watched through its task. The image is importing until it is active; when
// the import fails it is queued again (copy-image: stays active), and the task says why. 400 for parameters and missing formats, 404 for an unknown image, 409 for
// a status that the method does not begin with, an unknown store, or an import under way, 413 above the project's limits.
func (s *Service) Import(ctx context.Context, creds *policy.Credentials, id string, p ImportParams) (Task, error) {
	if s.cfg.Engine == nil {
		return Task{}, fault.Unavailable("imports are not run by this process")
	}
	st, err := s.plan(ctx, creds, p)
	if err != nil {
		return Task{}, err
	}
	input, err := json.Marshal(map[string]any{"image_id": id, "import_req": p.Request, "backend": st.Stores})
	if err != nil {
		return Task{}, err
	}
	if p.Input != nil {
		input = p.Input
	}
	var task taskRow
	_, err = s.changeWith(ctx, creds, id, func(tx *db.Tx, img *Image) error {
		st := st
		if err := s.mayImport(ctx, tx, img, &st, p); err != nil {
			return err
		}
		user := ""
		if creds != nil {
			user = creds.UserID
		}
		kind := p.Kind
		switch {
		case kind != "":
		case p.Method == fromLocation:
			kind = "location_import"
		default:
			kind = "api_image_import"
		}
		task = newTask(kind, img.Owner, id, user, p.RequestID, input)
		st.Task, st.Upload = task.ID, newWord()
		if p.Method == GlanceDirect {
			st.Upload = img.uploadID
		}
		if p.Method != CopyImage {
			img.Status = Importing
		}
		img.uploadID, img.uploadNode, img.ImportTask = st.Upload, "", task.ID
		img.Imported, img.ImportingTo, img.ImportFailed = true, st.Stores, nil
		if err := tx.Insert(ctx, "image_tasks", task); err != nil {
			return err
		}
		_, err := workflow.Begin(ctx, tx, s.cfg.Engine, s.flow, workflow.Subject{ID: id, ProjectID: img.Owner, UserID: user, RequestID: p.RequestID}, st, 0)
		return err
	})
	return task.task(), err
}

// plan checks what can be checked without the image.
func (s *Service) plan(ctx context.Context, creds *policy.Credentials, p ImportParams) (importState, error) {
	st := importState{Method: p.Method, URI: p.URI, Source: p.Source, MustAll: p.MustAll}
	if p.All && p.Stores != nil {
		return st, fault.Invalid("stores", "Only one of all_stores and stores may be given.")
	}
	switch p.Method {
	case GlanceDirect, CopyImage:
	case WebDownload:
		if err := s.web.check(p.URI); err != nil {
			return st, err
		}
	case fromLocation:
		return st, s.web.check(p.URI)
	case GlanceDownload:
		if uuid.Validate(p.Source) != nil {
			return st, fault.Invalid("glance_image_id", "Import request requires a valid glance_image_id: image id does not look like a UUID")
		}
		if p.Region == "" {
			return st, fault.Invalid("glance_region", "Import request requires a 'glance_region'")
		}
		// The caller's right to the other image is judged now; whether it is there is the task's to find out, as with a Glance far away.
		if img, err := s.ByID(ctx, p.Source); err == nil && !img.VisibleTo(creds) || p.Region != s.cfg.Region {
			st.Source = ""
		}
	default:
		return st, fault.Invalid("method", "Unknown import method name '%s'.", p.Method)
	}
	switch {
	case p.All:
		for _, n := range s.stores {
			if !n.ReadOnly {
				st.Stores = append(st.Stores, n.ID)
			}
		}
	case p.Stores == nil:
		st.Stores = []string{s.stores[0].ID}
	default:
		for _, id := range p.Stores {
			n, ok := s.named(id)
			if !ok {
				return st, fault.Conflict("Store %q is not one of this service's stores: %s.", cut(id), strings.Join(s.storeIDs(), ", "))
			}
			if n.ReadOnly {
				return st, fault.Conflict("Store %s is read-only.", id)
			}
			if !slices.Contains(st.Stores, id) {
				st.Stores = append(st.Stores, id)
			}
		}
		if len(st.Stores) == 0 {
			return st, fault.Invalid("stores", "The list of stores is empty.")
		}
	}
	return st, nil
}

// mayImport checks the image against the method and the limits.
func (s *Service) mayImport(ctx context.Context, tx *db.Tx, img *Image, st *importState, p ImportParams) error {
	if img.ImportTask != "" {
		return fault.Conflict("Image %s is being imported already.", img.ID)
	}
	conflict := func(want Status) error {
		return fault.Conflict("Image %s needs to be in '%s' state before '%s' method can be used: its status is %s", img.ID, want, p.Method, img.Status)
	}
	switch p.Method {
	case GlanceDirect:
		if err := img.formatsSet(); err != nil {
			return err
		}
		if img.Status != Uploading || !img.staged {
			return fault.Conflict("Image %s needs to be staged before 'glance-direct' method can be used: its status is %s", img.ID, img.Status)
		}
		st.Sum = digests{img.SizeBytes, img.MD5, img.HashValue}
		if err := s.mayGrow(ctx, tx, img.Owner, img.SizeBytes*int64(len(st.Stores))); err != nil {
			return err
		}
		return nil
	case CopyImage:
		if img.Status != Active {
			return conflict(Active)
		}
		left := slices.DeleteFunc(slices.Clone(st.Stores), img.InStore)
		if len(left) < len(st.Stores) && !p.All {
			return fault.Conflict("Image %s is already in one of the stores %s.", img.ID, strings.Join(st.Stores, ", "))
		}
		st.Stores = left
		st.Sum = digests{img.SizeBytes, img.MD5, img.HashValue}
		return s.mayGrow(ctx, tx, img.Owner, img.SizeBytes*int64(len(left)))
	}
	if p.Method != fromLocation {
		if err := img.formatsSet(); err != nil {
			return err
		}
	}
	if img.Status != Queued {
		return conflict(Queued)
	}
	room, err := s.mayUpload(ctx, tx, img.Owner, false, -1)
	st.Room = room
	return err
}

// abandonImport ends the import of an image that is being deleted, in the deleting transaction.
func (s *Service) abandonImport(ctx context.Context, tx *db.Tx, img Image) error {
	if img.ImportTask == "" || s.cfg.Engine == nil {
		return nil
	}
	if _, err := s.cfg.Engine.Cancel(ctx, tx, img.ID); err != nil {
		return err
	}
	return endTask(ctx, tx, img.ImportTask, TaskFailure, "", "The image was deleted during the import.")
}
