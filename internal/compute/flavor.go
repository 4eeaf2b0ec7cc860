package compute

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// FlavorRow is a flavor as stored.
type FlavorRow struct {
	ID           string                     `db:"id"`
	Name         string                     `db:"name"`
	VCPUs        int                        `db:"vcpus"`
	RAMMiB       int                        `db:"ram_mib"`
	RootGiB      int                        `db:"root_gib"`
	EphemeralGiB int                        `db:"ephemeral_gib"`
	SwapMiB      int                        `db:"swap_mib"`
	RxTxFactor   float64                    `db:"rxtx_factor"`
	Public       bool                       `db:"public"`
	Disabled     bool                       `db:"disabled"`
	Description  *string                    `db:"description"`
	ExtraSpecs   db.JSON[map[string]string] `db:"extra_specs"`
	Created      db.Time                    `db:"created_at"`
	Updated      db.Time                    `db:"updated_at"`
}

// Flavor is the row as servers keep it.
func (f *FlavorRow) Flavor() Flavor {
	return Flavor{ID: f.ID, Name: f.Name, VCPUs: f.VCPUs, RAMMiB: f.RAMMiB, RootGiB: f.RootGiB, EphemeralGiB: f.EphemeralGiB, SwapMiB: f.SwapMiB, RxTxFactor: f.RxTxFactor,
		ExtraSpecs: f.ExtraSpecs.V, Public: f.Public, Disabled: f.Disabled, Description: f.Description}
}

// flavorCache keeps rows that were read; any write of this process empties it. Rows are never changed in place.
type flavorCache struct {
	ttl time.Duration // 0: for ever, because this process is the only writer

	mu    sync.RWMutex
	since time.Time // when the first of what is kept was read
	byID  map[string]*FlavorRow
}

// flavorsStale is how long another controller's change of a flavor may go unseen.
const flavorsStale = 2 * time.Second

func (c *flavorCache) get(id string) *FlavorRow {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.ttl > 0 && time.Since(c.since) > c.ttl {
		return nil
	}
	return c.byID[id]
}

func (c *flavorCache) put(f *FlavorRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil || len(c.byID) > 1000 || c.ttl > 0 && time.Since(c.since) > c.ttl {
		c.byID, c.since = map[string]*FlavorRow{}, time.Now()
	}
	c.byID[f.ID] = f
}

func (c *flavorCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byID = nil
}

// flavorByID reads a flavor, whoever may see it.
func (s *Service) flavorByID(ctx context.Context, id string) (*FlavorRow, error) {
	if f := s.flavors.get(id); f != nil {
		return f, nil
	}
	var f FlavorRow
	err := s.DB.Read(ctx, func(tx *db.Tx) error { return tx.Get(ctx, &f, `SELECT * FROM flavors WHERE id = ?`, id) })
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Flavor %s could not be found.", id)
	}
	if err != nil {
		return nil, err
	}
	s.flavors.put(&f)
	return &f, nil
}

// Flavor reads a flavor that the caller may see: public ones, those its project was given access to, all for an admin.
func (s *Service) Flavor(ctx context.Context, creds *policy.Credentials, id string) (*FlavorRow, error) {
	f, err := s.flavorByID(ctx, id)
	if err != nil || f.Public || creds.IsAdmin() {
		return f, err
	}
	access, err := s.FlavorAccess(ctx, id)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(access, creds.ProjectID) {
		return nil, fault.NotFound("Flavor %s could not be found.", id)
	}
	return f, nil
}

// FlavorForBoot is Flavor for a create: 400 when it cannot be used.
func (s *Service) FlavorForBoot(ctx context.Context, creds *policy.Credentials, id string) (Flavor, error) {
	f, err := s.Flavor(ctx, creds, id)
	if fault.IsNotFound(err) || err == nil && f.Disabled {
		return Flavor{}, fault.Invalid("flavorRef", "Flavor %s could not be found.", id)
	}
	if err != nil {
		return Flavor{}, err
	}
	return f.Flavor(), nil
}

// Flavors lists all flavors by RAM, then id, that the caller may see. public: nil = those visible to the caller's project (all for an admin who asks for
// none in particular), else only public or only private ones (admin).
func (s *Service) Flavors(ctx context.Context, creds *policy.Credentials) ([]FlavorRow, error) {
	var out []FlavorRow
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		if creds.IsAdmin() {
			return tx.Select(ctx, &out, `SELECT * FROM flavors ORDER BY ram_mib, id`)
		}
		return tx.Select(ctx, &out, `SELECT * FROM flavors WHERE public = TRUE OR id IN (SELECT flavor_id FROM flavor_access WHERE project_id = ?) ORDER BY ram_mib, id`, creds.ProjectID)
	})
	return out, err
}

// CreateFlavor stores a new flavor; an empty ID is made here. 409 when id or name is taken.
func (s *Service) CreateFlavor(ctx context.Context, f FlavorRow) (*FlavorRow, error) {
	if f.ID == "" {
		f.ID = uuid.NewString()
	}
	if f.ExtraSpecs.V == nil {
		f.ExtraSpecs.V = map[string]string{}
	}
	f.Created = db.Now()
	f.Updated = f.Created
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		err := tx.Insert(ctx, "flavors", f)
		if db.IsUnique(err) {
			return fault.Conflict("Flavor with name %s or ID %s already exists.", f.Name, f.ID).WithCause(err)
		}
		return err
	})
	return &f, err
}

// EditFlavor changes a flavor's description or extra specs. edit gets a copy whose map it may change.
func (s *Service) EditFlavor(ctx context.Context, id string, edit func(*FlavorRow) error) (*FlavorRow, error) {
	var f FlavorRow
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		err := tx.Get(ctx, &f, `SELECT * FROM flavors WHERE id = ?`, id)
		if errors.Is(err, db.ErrNoRows) {
			return fault.NotFound("Flavor %s could not be found.", id)
		}
		if err != nil {
			return err
		}
		if f.ExtraSpecs.V == nil {
			f.ExtraSpecs.V = map[string]string{}
		}
		if err := edit(&f); err != nil {
			return err
		}
		f.Updated = db.Now()
		_, err = tx.Exec(ctx, `UPDATE flavors SET description = ?, extra_specs = ?, updated_at = ? WHERE id = ?`, f.Description, f.ExtraSpecs, f.Updated, id)
		tx.OnCommit(s.flavors.clear)
		return err
	})
	return &f, err
}

// DeleteFlavor removes a flavor; servers keep their own copy.
func (s *Service) DeleteFlavor(ctx context.Context, id string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM flavors WHERE id = ?`, id)
		if err == nil && n == 0 {
			return fault.NotFound("Flavor %s could not be found.", id)
		}
		tx.OnCommit(s.flavors.clear)
		return err
	})
}

// FlavorAccess lists the projects that may use a private flavor.
func (s *Service) FlavorAccess(ctx context.Context, id string) ([]string, error) {
	var out []string
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT project_id FROM flavor_access WHERE flavor_id = ? ORDER BY project_id`, id)
	})
	return out, err
}

// SetFlavorAccess gives (or takes) a project the use of a private flavor. 409 when it has it already, 404 when there is nothing to take.
func (s *Service) SetFlavorAccess(ctx context.Context, id, projectID string, allow bool) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if allow {
			_, err := tx.Exec(ctx, `INSERT INTO flavor_access (flavor_id, project_id) VALUES (?, ?)`, id, projectID)
			if db.IsUnique(err) {
				return fault.Conflict("Flavor access already exists for flavor %s and project %s combination.", id, projectID)
			}
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM flavor_access WHERE flavor_id = ? AND project_id = ?`, id, projectID)
		if err == nil && n == 0 {
			return fault.NotFound("Flavor access not found for %s / %s combination.", id, projectID)
		}
		return err
	})
}

// firstFlavors are made at first start: Nova's classic five, and two small ones for the demo image.
var firstFlavors = []FlavorRow{
	{ID: "1", Name: "m1.tiny", VCPUs: 1, RAMMiB: 512, RootGiB: 1},
	{ID: "2", Name: "m1.small", VCPUs: 1, RAMMiB: 2048, RootGiB: 20},
	{ID: "3", Name: "m1.medium", VCPUs: 2, RAMMiB: 4096, RootGiB: 40},
	{ID: "4", Name: "m1.large", VCPUs: 4, RAMMiB: 8192, RootGiB: 80},
	{ID: "5", Name: "m1.xlarge", VCPUs: 8, RAMMiB: 16384, RootGiB: 160},
	{ID: "42", Name: "m1.nano", VCPUs: 1, RAMMiB: 128, RootGiB: 1},
	{ID: "84", Name: "m1.micro", VCPUs: 1, RAMMiB: 256, RootGiB: 1},
}

// Bootstrap makes the first flavors when there is none at all.
func (s *Service) Bootstrap(ctx context.Context) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		var n int
		if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM flavors`); err != nil || n > 0 {
			return err
		}
		for _, f := range firstFlavors {
			f.Public, f.RxTxFactor, f.ExtraSpecs = true, 1, db.AsJSON(map[string]string{})
			f.Created = db.Now()
			f.Updated = f.Created
			if err := tx.Insert(ctx, "flavors", f); err != nil {
				return err
			}
		}
		return nil
	})
}
