package identity

import (
	"context"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Region is a place; its id is chosen by the client.
type Region struct {
	ID          string         `db:"id"`
	Description string         `db:"description"`
	ParentID    *string        `db:"parent_id"`
	Extra       db.JSON[Extra] `db:"extra"`
}

// CatalogService is an API that the cloud offers.
type CatalogService struct {
	ID      string         `db:"id"`
	Type    string         `db:"type"`
	Name    string         `db:"name"`
	Enabled bool           `db:"enabled"`
	Extra   db.JSON[Extra] `db:"extra"` // description
}

// Endpoint is where a service answers.
type Endpoint struct {
	ID        string  `db:"id"`
	ServiceID string  `db:"service_id"`
	Interface string  `db:"interface"` // public, internal, admin
	RegionID  *string `db:"region_id"`
	URL       string  `db:"url"` // may hold %(project_id)s and the like
	// LegacyURL is what the v2.0 catalog shows instead. Clients of 2012 take the compute address as it is, expect /v2/<tenant id> in it and
	// refuse a catalog with two compute endpoints; clients of today look for /v2.1 in the v3 catalog. So one record carries both.
	LegacyURL string         `db:"legacy_url"`
	LegacyID  string         `db:"legacy_id"` // the record of v2.0 that this one is a part of; "" = made with v3
	Enabled   bool           `db:"enabled"`
	Extra     db.JSON[Extra] `db:"extra"`
}

// EndpointFilter selects endpoints; empty fields select all.
type EndpointFilter struct {
	ServiceID string `json:"service_id,omitempty"`
	Interface string `json:"interface,omitempty"`
	RegionID  string `json:"region_id,omitempty"`
	Enabled   *bool  `json:"enabled,omitempty"`
}

// catalogSnapshot is all enabled services with their enabled endpoints.
type catalogSnapshot struct {
	entries []catalogRow
	only    map[string]map[string]bool // by project that was given endpoints: their ids
	gen     uint64
	loaded  time.Time
}

type catalogRow struct {
	service   CatalogService
	endpoints []Endpoint
}

// CatalogEntry is a service as a token shows it, with addresses filled in.
type CatalogEntry struct {
	ID, Type, Name string
	Endpoints      []CatalogEndpoint
}

// CatalogEndpoint is one address.
type CatalogEndpoint struct{ ID, Interface, Region, URL, LegacyURL string }

// Catalog gives what the bearer of t sees: enabled services only, addresses with the project's and user's ids; an address that
// needs a project is left out where there is none.
func (s *Service) Catalog(ctx context.Context, t *Token) ([]CatalogEntry, error) {
	snap, err := s.catalogNow(ctx)
	if err != nil {
		return nil, err
	}
	only, filtered := snap.only[t.ProjectID]
	out := make([]CatalogEntry, 0, len(snap.entries))
	for _, row := range snap.entries {
		e := CatalogEntry{ID: row.service.ID, Type: row.service.Type, Name: row.service.Name, Endpoints: []CatalogEndpoint{}}
		for _, ep := range row.endpoints {
			url, ok := fill(ep.URL, t)
			if !ok || filtered && !only[ep.ID] {
				continue
			}
			legacy, ok := fill(ep.LegacyURL, t)
			if !ok {
				legacy = ""
			}
			c := CatalogEndpoint{ID: ep.ID, Interface: ep.Interface, URL: url, LegacyURL: legacy}
			if ep.RegionID != nil {
				c.Region = *ep.RegionID
			}
			e.Endpoints = append(e.Endpoints, c)
		}
		if filtered && len(e.Endpoints) == 0 {
			continue
		}
		out = append(out, e)
	}
	return out, nil
}

// CatalogStamp is a value that is the same for as long as Catalog gives the same.
func (s *Service) CatalogStamp(ctx context.Context) (any, error) { return s.catalogNow(ctx) }

func (s *Service) catalogNow(ctx context.Context) (*catalogSnapshot, error) {
	if c := s.catalog.Load(); c != nil && c.gen == s.gen.Load() && s.clock.Since(c.loaded) < CacheAge {
		return c, nil
	}
	c := &catalogSnapshot{gen: s.gen.Load(), loaded: s.clock.Now(), only: map[string]map[string]bool{}}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		var services []CatalogService
		if err := tx.Select(ctx, &services, `SELECT * FROM identity_services WHERE enabled ORDER BY type, name, id`); err != nil {
			return err
		}
		var endpoints []Endpoint
		if err := tx.Select(ctx, &endpoints, `SELECT * FROM identity_endpoints WHERE enabled ORDER BY interface, region_id, id`); err != nil {
			return err
		}
		for _, sv := range services {
			row := catalogRow{service: sv}
			for _, e := range endpoints {
				if e.ServiceID == sv.ID {
					row.endpoints = append(row.endpoints, e)
				}
			}
			c.entries = append(c.entries, row)
		}
		return c.filters(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	s.catalog.Store(c)
	return c, nil
}

// filters works out what each project was given by OS-EP-FILTER.
func (c *catalogSnapshot) filters(ctx context.Context, tx *db.Tx) error {
	var projects []string
	if err := tx.Select(ctx, &projects, `SELECT project_id FROM identity_project_endpoints UNION SELECT project_id FROM identity_project_endpoint_groups`); err != nil {
		return err
	}
	for _, p := range projects {
		all, mine, groups, err := endpointsGiven(ctx, tx, p)
		if err != nil {
			return err
		}
		c.only[p] = map[string]bool{}
		for i := range all {
			c.only[p][all[i].ID] = givenTo(&all[i], mine, groups)
		}
	}
	return nil
}

// placeholders are what an address may hold, in both of Keystone's spellings.
var placeholders = []string{"project_id", "tenant_id", "user_id"}

// fill puts ids into an address; false if it needs a project and there is none.
func fill(url string, t *Token) (string, bool) {
	if !strings.ContainsAny(url, "$%") {
		return url, true
	}
	for _, name := range placeholders {
		value := t.ProjectID
		if name == "user_id" {
			value = t.UserID
		}
		for _, sign := range []string{"$", "%"} {
			text := sign + "(" + name + ")s"
			if !strings.Contains(url, text) {
				continue
			}
			if value == "" {
				return "", false
			}
			url = strings.ReplaceAll(url, text, value)
		}
	}
	return url, true
}

// checkURL refuses an address with a placeholder that nobody fills.
func checkURL(url string) error {
	rest := url
	for _, name := range placeholders {
		rest = strings.NewReplacer("$("+name+")s", "", "%("+name+")s", "").Replace(rest)
	}
	if strings.TrimSpace(url) == "" || strings.Contains(rest, "$(") || strings.Contains(rest, "%(") {
		return fault.Invalid("url", "Malformed endpoint URL (%s): it may hold only the placeholders project_id, tenant_id and user_id.", url)
	}
	return nil
}

// CreateRegion makes a region; 409 if the id exists, 404 for an unknown parent.
func (s *Service) CreateRegion(ctx context.Context, r Region) (*Region, error) {
	if r.ID == "" {
		r.ID = newID()
	}
	if len(r.ID) > 255 {
		return nil, fault.Invalid("id", "Invalid input for field 'id': it has more than 255 characters.")
	}
	err := s.write(ctx, func(tx *db.Tx) error {
		if err := checkParentRegion(ctx, tx, r); err != nil {
			return err
		}
		err := tx.Insert(ctx, "identity_regions", r)
		if db.IsUnique(err) {
			return fault.Conflict("Conflict occurred attempting to store region - Duplicate ID, %s.", r.ID)
		}
		return err
	})
	return &r, err
}

func checkParentRegion(ctx context.Context, tx *db.Tx, r Region) error {
	for at := r.ParentID; at != nil; {
		if *at == r.ID {
			return fault.Invalid("parent_region_id", "Unable to create a circle of regions through %s.", r.ID)
		}
		up := Region{}
		if err := get(ctx, tx, &up, "region", *at, `SELECT * FROM identity_regions WHERE id = ?`, *at); err != nil {
			return err
		}
		at = up.ParentID
	}
	return nil
}

// Region looks one up.
func (s *Service) Region(ctx context.Context, id string) (*Region, error) {
	r := &Region{}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return get(ctx, tx, r, "region", id, `SELECT * FROM identity_regions WHERE id = ?`, id)
	})
	return r, err
}

// Regions lists them, all or those below parent.
func (s *Service) Regions(ctx context.Context, parent string) ([]Region, error) {
	var w where
	w.eq("parent_id", parent)
	var out []Region
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM identity_regions`+w.text()+` ORDER BY id`, w.args...)
	})
	return out, err
}

// UpdateRegion changes a region by edit, which must not change the id.
func (s *Service) UpdateRegion(ctx context.Context, id string, edit func(*Region) error) (*Region, error) {
	r := &Region{}
	err := s.write(ctx, func(tx *db.Tx) error {
		if err := get(ctx, tx, r, "region", id, `SELECT * FROM identity_regions WHERE id = ?`, id); err != nil {
			return err
		}
		if err := edit(r); err != nil {
			return err
		}
		if err := checkParentRegion(ctx, tx, *r); err != nil {
			return err
		}
		_, err := tx.NamedExec(ctx, `UPDATE identity_regions SET description = :description, parent_id = :parent_id, extra = :extra WHERE id = :id`, r)
		return err
	})
	return r, err
}

// DeleteRegion removes a region; 403 while other regions or endpoints are in it.
func (s *Service) DeleteRegion(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		var used int
		if err := tx.Get(ctx, &used, `SELECT (SELECT COUNT(*) FROM identity_regions WHERE parent_id = ?) +
				(SELECT COUNT(*) FROM identity_endpoints WHERE region_id = ?) +
				(SELECT COUNT(*) FROM identity_registered_limits WHERE region_id = ?)`, id, id, id); err != nil {
			return err
		}
		if used > 0 {
			return fault.Forbidden("Unable to delete region %s because it or its child regions have associated endpoints.", id)
		}
		n, err := tx.Exec(ctx, `DELETE FROM identity_regions WHERE id = ?`, id)
		return affected(n, err, "region", id)
	})
}

// CreateService makes a service record.
func (s *Service) CreateService(ctx context.Context, c CatalogService) (*CatalogService, error) {
	if strings.TrimSpace(c.Type) == "" {
		return nil, fault.Invalid("type", "Invalid input for field 'type': it must not be empty.")
	}
	c.ID = newID()
	err := s.write(ctx, func(tx *db.Tx) error { return tx.Insert(ctx, "identity_services", c) })
	return &c, err
}

// CatalogService looks one up.
func (s *Service) CatalogService(ctx context.Context, id string) (*CatalogService, error) {
	c := &CatalogService{}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return get(ctx, tx, c, "service", id, `SELECT * FROM identity_services WHERE id = ?`, id)
	})
	return c, err
}

// CatalogServices lists by type; empty arguments select all.
func (s *Service) CatalogServices(ctx context.Context, typ, name string) ([]CatalogService, error) {
	var w where
	w.eq("type", typ)
	w.eq("name", name)
	var out []CatalogService
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM identity_services`+w.text()+` ORDER BY type, name, id`, w.args...)
	})
	return out, err
}

// UpdateService changes a service by edit, which must not change the id.
func (s *Service) UpdateService(ctx context.Context, id string, edit func(*CatalogService) error) (*CatalogService, error) {
	c := &CatalogService{}
	err := s.write(ctx, func(tx *db.Tx) error {
		if err := get(ctx, tx, c, "service", id, `SELECT * FROM identity_services WHERE id = ?`, id); err != nil {
			return err
		}
		if err := edit(c); err != nil {
			return err
		}
		if strings.TrimSpace(c.Type) == "" {
			return fault.Invalid("type", "Invalid input for field 'type': it must not be empty.")
		}
		_, err := tx.NamedExec(ctx, `UPDATE identity_services SET type = :type, name = :name, enabled = :enabled, extra = :extra WHERE id = :id`, c)
		return err
	})
	return c, err
}

// DeleteService removes a service with its endpoints.
func (s *Service) DeleteService(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_services WHERE id = ?`, id)
		return affected(n, err, "service", id)
	})
}

// CreateEndpoint makes an endpoint; 400 for an unknown service or region or a malformed address. With makeRegion an unknown region is made, as
// Keystone does for the attribute `region`.
func (s *Service) CreateEndpoint(ctx context.Context, e Endpoint, makeRegion bool) (*Endpoint, error) {
	e.ID = newID()
	err := s.write(ctx, func(tx *db.Tx) error {
		if err := checkEndpoint(ctx, tx, e, makeRegion); err != nil {
			return err
		}
		return tx.Insert(ctx, "identity_endpoints", e)
	})
	return &e, err
}

// CreateLegacyEndpoint makes what v2.0 sees as one record, all or nothing; a region that is not there is made.
func (s *Service) CreateLegacyEndpoint(ctx context.Context, parts []Endpoint) (id string, made []Endpoint, err error) {
	id = newID()
	err = s.write(ctx, func(tx *db.Tx) error {
		made = nil
		for _, e := range parts {
			e.ID, e.LegacyID = newID(), id
			if err := checkEndpoint(ctx, tx, e, true); err != nil {
				return err
			}
			if err := tx.Insert(ctx, "identity_endpoints", e); err != nil {
				return err
			}
			made = append(made, e)
		}
		return nil
	})
	return id, made, err
}

func checkEndpoint(ctx context.Context, tx *db.Tx, e Endpoint, makeRegion bool) error {
	if err := checkURL(e.URL); err != nil {
		return err
	}
	switch e.Interface {
	case "public", "internal", "admin":
	default:
		return fault.Invalid("interface", "Invalid input for field 'interface': '%s' is not one of public, internal, admin.", e.Interface)
	}
	var n int
	if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM identity_services WHERE id = ?`, e.ServiceID); err != nil {
		return err
	}
	if n == 0 {
		return fault.Invalid("service_id", "Could not find service: %s.", e.ServiceID)
	}
	if e.RegionID == nil {
		return nil
	}
	if makeRegion {
		return ensureRegion(ctx, tx, *e.RegionID)
	}
	if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM identity_regions WHERE id = ?`, *e.RegionID); err != nil {
		return err
	}
	if n == 0 {
		return fault.Invalid("region_id", "Could not find region: %s.", *e.RegionID)
	}
	return nil
}

func ensureRegion(ctx context.Context, tx *db.Tx, id string) error {
	_, err := tx.Exec(ctx, `INSERT INTO identity_regions (id, description) VALUES (?, '') ON CONFLICT DO NOTHING`, id)
	return err
}

// Endpoint looks one up.
func (s *Service) Endpoint(ctx context.Context, id string) (*Endpoint, error) {
	e := &Endpoint{}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return get(ctx, tx, e, "endpoint", id, `SELECT * FROM identity_endpoints WHERE id = ?`, id)
	})
	return e, err
}

// Endpoints lists them.
func (s *Service) Endpoints(ctx context.Context, f EndpointFilter) ([]Endpoint, error) {
	var w where
	w.eq("service_id", f.ServiceID)
	w.eq("interface", f.Interface)
	w.eq("region_id", f.RegionID)
	if f.Enabled != nil {
		w.add("enabled = ?", *f.Enabled)
	}
	var out []Endpoint
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM identity_endpoints`+w.text()+` ORDER BY service_id, interface, id`, w.args...)
	})
	return out, err
}

// UpdateEndpoint changes an endpoint by edit, which must not change the id.
func (s *Service) UpdateEndpoint(ctx context.Context, id string, makeRegion bool, edit func(*Endpoint) error) (*Endpoint, error) {
	e := &Endpoint{}
	err := s.write(ctx, func(tx *db.Tx) error {
		if err := get(ctx, tx, e, "endpoint", id, `SELECT * FROM identity_endpoints WHERE id = ?`, id); err != nil {
			return err
		}
		if err := edit(e); err != nil {
			return err
		}
		if err := checkEndpoint(ctx, tx, *e, makeRegion); err != nil {
			return err
		}
		return storeEndpoint(ctx, tx, e)
	})
	return e, err
}

func storeEndpoint(ctx context.Context, tx *db.Tx, e *Endpoint) error {
	_, err := tx.NamedExec(ctx, `UPDATE identity_endpoints SET service_id = :service_id, interface = :interface, region_id = :region_id,
		url = :url, legacy_url = :legacy_url, enabled = :enabled, extra = :extra WHERE id = :id`, e)
	return err
}

// DeleteEndpoint removes an endpoint.
func (s *Service) DeleteEndpoint(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_endpoints WHERE id = ?`, id)
		return affected(n, err, "endpoint", id)
	})
}
