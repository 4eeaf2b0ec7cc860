package image

import (
	"context"
	"crypto/x509"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/policy"
	"nephos/internal/workflow"
)

// Config is what a Service needs.
type Config struct {
	DB     *db.DB
	Store  Store            // the one store, by the name "file", where Stores is nil
	Stores []NamedStore     // the default first
	Log    *slog.Logger     // nil: slog.Default
	Engine *workflow.Engine // nil: imports are refused as unavailable

	// Staging takes bytes that are to be imported; nil: the default store, which then imports by a rename.
	Staging Store
	// Web says what may be downloaded from where; nil: nothing.
	Web *WebRules
	// Limits gives a project's limits; nil: none.
	Limits func(ctx context.Context, project string) (Limits, error)
	// CacheDir keeps copies of images near; "": no cache. CacheBytes bounds it.
	CacheDir   string
	CacheBytes int64
	// Certificate finds the certificate that an image's signature names; nil: signed images are refused.
	Certificate func(ctx context.Context, id string) (*x509.Certificate, error)

	// Node names this controller, the same after a restart: Recover takes back what an earlier process of this name had begun.
	Node string
	// Region is this cloud's, for glance-download.
	Region string
	// MaxBytes bounds one image; 0: no bound.
	MaxBytes int64
	// InUse, if set, is asked inside the transaction that deletes an image; a non-empty reason refuses the delete (409).
	InUse func(ctx context.Context, tx *db.Tx, id string) (reason string, err error)
	// Changed, if set, is called after each commit that touched an image; with several controllers it tells the others to Forget.
	Changed func(id string)
}

// Service is the room's verbs. Its methods may be called from any goroutine. Credentials of nil mean the program itself, which may do
// everything.
type Service struct {
	cfg       Config
	db        *db.DB
	stores    []NamedStore
	staging   Store
	stagingIn string // the store that staging is, "" if none
	log       *slog.Logger
	cache     cache
	shelf     *shelf
	web       *web
	flow      *workflow.Definition[importState]
}

// staleFor is how long another controller's write may go unseen where several share a PostgreSQL database and no Changed is wired.
const staleFor = 2 * time.Second

// DefaultStore is the name of the first store where nobody gave it another; images from before there were names lie there.
const DefaultStore = "file"

// New makes a Service. Call Recover before serving.
func New(cfg Config) *Service {
	s := &Service{cfg: cfg, db: cfg.DB, stores: cfg.Stores, staging: cfg.Staging, log: cfg.Log}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.stores == nil {
		s.stores = []NamedStore{{ID: DefaultStore, Type: "file", Store: cfg.Store}}
	}
	if s.staging == nil {
		s.staging, s.stagingIn = s.stores[0].Store, s.stores[0].ID
	}
	s.web = newWeb(cfg.Web)
	s.shelf = newShelf(s)
	s.declare()
	if cfg.DB.Shared() {
		s.cache.ttl = staleFor
	}
	return s
}

func newID() string { return uuid.NewString() }

func notFound(id string) error {
	return fault.NotFound("No image found with ID %s", id)
}

// Get is an image as the caller may see it: fault.KindNotFound when absent, deleted, or not for the caller's eyes.
func (s *Service) Get(ctx context.Context, creds *policy.Credentials, id string) (Image, error) {
	img, err := s.ByID(ctx, id)
	if err != nil {
		return Image{}, err
	}
	if !img.VisibleTo(creds) {
		return Image{}, notFound(id)
	}
	return img, nil
}

// ByID is Get for the program itself. It is served from memory when it can.
func (s *Service) ByID(ctx context.Context, id string) (Image, error) {
	if img, ok := s.cache.get(id); ok {
		return img, nil
	}
	gen := s.cache.begin()
	var img Image
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		img, err = load(ctx, tx, id)
		return err
	})
	if err != nil {
		return Image{}, err
	}
	s.cache.put(img, gen)
	return img, nil
}

// Forget drops an image from this process's memory: another controller has changed it.
func (s *Service) Forget(id string) { s.cache.forget(id) }

// List gives the images that the caller may see and that pass the filter, in the filter's order.
func (s *Service) List(ctx context.Context, creds *policy.Credentials, f Filter) ([]Image, error) {
	var out []Image
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		out, err = list(ctx, tx, creds, f)
		return err
	})
	return out, err
}

// bootable are the container formats whose bytes are the disk, kernel or ramdisk itself.
var bootable = map[string]bool{"bare": true, "ami": true, "aki": true, "ari": true}

// Spec is what a host needs to use an image, with its kernel and ramdisk. The image must be active and its bytes a disk by
// themselves (400 otherwise, as Nova answers). A kernel or ramdisk must be visible to the image's owner: a property must not be a way to
// read what the owner could not.
func (s *Service) Spec(ctx context.Context, id string) (hostapi.ImageSpec, error) {
	img, err := s.ByID(ctx, id)
	if err != nil {
		return hostapi.ImageSpec{}, err
	}
	out, err := plainSpec(img)
	if err != nil {
		return hostapi.ImageSpec{}, err
	}
	for _, side := range []struct {
		property string
		into     **hostapi.ImageSpec
	}{{"kernel_id", &out.Kernel}, {"ramdisk_id", &out.Ramdisk}} {
		ref := img.Properties[side.property]
		if ref == "" || ref == "nokernel" {
			continue
		}
		part, err := s.ByID(ctx, ref)
		if err != nil && !fault.IsNotFound(err) {
			return hostapi.ImageSpec{}, err
		}
		if err != nil || !part.visibleToProject(img.Owner) {
			return hostapi.ImageSpec{}, fault.Invalid("imageRef", "Image %s names %s %s, which could not be found.", id, side.property, ref)
		}
		spec, err := plainSpec(part)
		if err != nil {
			return hostapi.ImageSpec{}, err
		}
		*side.into = &spec
	}
	return out, nil
}

func plainSpec(img Image) (hostapi.ImageSpec, error) {
	if img.Status != Active {
		return hostapi.ImageSpec{}, fault.Invalid("imageRef", "Image %s is not active.", img.ID)
	}
	if !bootable[img.ContainerFormat] {
		return hostapi.ImageSpec{}, fault.Invalid("imageRef", "Image %s is unacceptable: its container format %s is not a disk.", img.ID, img.ContainerFormat)
	}
	sum := ""
	if img.HashAlgo == "sha512" {
		sum = img.HashValue
	}
	return hostapi.ImageSpec{ID: img.ID, DiskFormat: img.DiskFormat, SizeBytes: img.SizeBytes, VirtualBytes: img.VirtualBytes, SHA512: sum}, nil
}
