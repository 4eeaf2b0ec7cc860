package identity

import (
	"context"
	"errors"
	"fmt"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Enforcement models of unified limits. In the flat one each project stands for itself. In the strict one a tree has two levels, domains
// and their projects, and no project's limit is above its domain's.
const (
	LimitsFlat   = "flat"
	LimitsStrict = "strict_two_level"
)

var limitTexts = map[string]string{
	LimitsFlat:   "Limit enforcement and validation does not take project hierarchy into consideration.",
	LimitsStrict: "This model requires project hierarchy never exceeds a depth of two",
}

func limitsModel(name string) (string, error) {
	if name == "" {
		name = LimitsFlat
	}
	if limitTexts[name] == "" {
		return "", fmt.Errorf("limits: model %q is neither %s nor %s", name, LimitsFlat, LimitsStrict)
	}
	return name, nil
}

// LimitsModel gives the model in force and its description.
func (s *Service) LimitsModel() (name, text string) { return s.limits, limitTexts[s.limits] }

// RegisteredLimit is what every project may have of a resource unless a Limit says otherwise.
type RegisteredLimit struct {
	ID           string  `db:"id"`
	ServiceID    string  `db:"service_id"`
	RegionID     *string `db:"region_id"`
	ResourceName string  `db:"resource_name"`
	Default      int64   `db:"default_limit"` // -1: unlimited
	Description  *string `db:"description"`
}

// Limit is what one project, or domain, may have.
type Limit struct {
	ID           string  `db:"id"`
	RegisteredID string  `db:"registered_id"`
	OwnerID      string  `db:"owner_id"`
	Value        int64   `db:"resource_limit"`
	Description  *string `db:"description"`

	// Of the registered limit and the owner; filled in by reads.
	ServiceID     string  `db:"service_id"`
	RegionID      *string `db:"region_id"`
	ResourceName  string  `db:"resource_name"`
	OwnerIsDomain bool    `db:"owner_is_domain"`
}

// LimitFilter selects limits of both kinds; empty fields select all. Owner means limits of that project or domain.
type LimitFilter struct{ ServiceID, RegionID, ResourceName, ProjectID, DomainID string }

const limitsFrom = `SELECT l.*, r.service_id, r.region_id, r.resource_name, p.is_domain AS owner_is_domain FROM identity_limits l
	JOIN identity_registered_limits r ON r.id = l.registered_id JOIN identity_projects p ON p.id = l.owner_id`

func (f LimitFilter) where(table string) where {
	var w where
	w.eq(table+"service_id", f.ServiceID)
	w.eq(table+"region_id", f.RegionID)
	w.eq(table+"resource_name", f.ResourceName)
	return w
}

// CreateRegisteredLimits makes all or none. 400: unknown service or region; 409: there is one already.
func (s *Service) CreateRegisteredLimits(ctx context.Context, in []RegisteredLimit) ([]RegisteredLimit, error) {
	err := s.write(ctx, func(tx *db.Tx) error {
		for i := range in {
			in[i].ID = newID()
			if err := checkRegistered(ctx, tx, &in[i]); err != nil {
				return err
			}
			if err := duplicateLimit(tx.Insert(ctx, "identity_registered_limits", in[i]), "registered_limit"); err != nil {
				return err
			}
		}
		return nil
	})
	return in, err
}

func duplicateLimit(err error, what string) error {
	if db.IsUnique(err) {
		return fault.Conflict("Conflict occurred attempting to store %s - Duplicate entry.", what).WithCause(err)
	}
	return err
}

func checkRegistered(ctx context.Context, tx *db.Tx, r *RegisteredLimit) error {
	var n int
	if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM identity_services WHERE id = ?`, r.ServiceID); err != nil {
		return err
	}
	if n == 0 {
		return fault.Invalid("service_id", "Could not find service: %s.", r.ServiceID)
	}
	if r.RegionID == nil {
		return nil
	}
	if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM identity_regions WHERE id = ?`, *r.RegionID); err != nil {
		return err
	}
	if n == 0 {
		return fault.Invalid("region_id", "Could not find region: %s.", *r.RegionID)
	}
	return nil
}

// RegisteredLimits lists them.
func (s *Service) RegisteredLimits(ctx context.Context, f LimitFilter) ([]RegisteredLimit, error) {
	w := f.where("")
	var out []RegisteredLimit
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `SELECT * FROM identity_registered_limits`+w.text()+` ORDER BY service_id, resource_name, id`, w.args...)
	})
	return out, err
}

// RegisteredLimit looks one up.
func (s *Service) RegisteredLimit(ctx context.Context, id string) (*RegisteredLimit, error) {
	r := &RegisteredLimit{}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return get(ctx, tx, r, "registered_limit", id, `SELECT * FROM identity_registered_limits WHERE id = ?`, id)
	})
	return r, err
}

// UpdateRegisteredLimit changes one by edit. What limits refer to (service, region, resource) stays while there are any: 403.
func (s *Service) UpdateRegisteredLimit(ctx context.Context, id string, edit func(*RegisteredLimit) error) (*RegisteredLimit, error) {
	r := &RegisteredLimit{}
	err := s.write(ctx, func(tx *db.Tx) error {
		*r = RegisteredLimit{}
		if err := get(ctx, tx, r, "registered_limit", id, `SELECT * FROM identity_registered_limits WHERE id = ?`, id); err != nil {
			return err
		}
		before := *r
		if err := edit(r); err != nil {
			return err
		}
		if before.ServiceID != r.ServiceID || before.ResourceName != r.ResourceName || text(before.RegionID) != text(r.RegionID) {
			if err := notUsed(ctx, tx, id, "update"); err != nil {
				return err
			}
		}
		if err := checkRegistered(ctx, tx, r); err != nil {
			return err
		}
		_, err := tx.NamedExec(ctx, `UPDATE identity_registered_limits SET service_id = :service_id, region_id = :region_id,
			resource_name = :resource_name, default_limit = :default_limit, description = :description WHERE id = :id`, r)
		return duplicateLimit(err, "registered_limit")
	})
	return r, err
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func notUsed(ctx context.Context, tx *db.Tx, id, verb string) error {
	var n int
	if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM identity_limits WHERE registered_id = ?`, id); err != nil {
		return err
	}
	if n > 0 {
		return fault.Forbidden("Unable to %s registered limit %s because there are project limits associated with it.", verb, id)
	}
	return nil
}

// DeleteRegisteredLimit removes one; 403 while limits refer to it.
func (s *Service) DeleteRegisteredLimit(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if err := notUsed(ctx, tx, id, "delete"); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM identity_registered_limits WHERE id = ?`, id)
		return affected(n, err, "registered_limit", id)
	})
}

// NewLimit is what CreateLimits needs of each: one of ProjectID and DomainID.
type NewLimit struct {
	ServiceID, ResourceName, ProjectID, DomainID string
	RegionID, Description                        *string
	Value                                        int64
}

// CreateLimits makes all or none. 400: unknown project or domain; 403: no registered limit fits, or the model forbids the value; 409: there is one.
func (s *Service) CreateLimits(ctx context.Context, in []NewLimit) ([]Limit, error) {
	var out []Limit
	err := s.write(ctx, func(tx *db.Tx) error {
		out = nil
		for _, n := range in {
			l, err := s.createLimit(ctx, tx, n)
			if err != nil {
				return err
			}
			out = append(out, *l)
		}
		return nil
	})
	return out, err
}

func (s *Service) createLimit(ctx context.Context, tx *db.Tx, n NewLimit) (*Limit, error) {
	owner, what := n.ProjectID, "project"
	if n.DomainID != "" {
		owner, what = n.DomainID, "domain"
	}
	p, err := projectByID(ctx, tx, owner)
	if fault.IsNotFound(err) || err == nil && p.IsDomain != (n.DomainID != "") {
		return nil, fault.Invalid(what+"_id", "Could not find %s: %s.", what, owner)
	}
	if err != nil {
		return nil, err
	}
	var reg RegisteredLimit
	err = tx.Get(ctx, &reg, `SELECT * FROM identity_registered_limits WHERE service_id = ? AND resource_name = ? AND COALESCE(region_id, '') = ?`,
		n.ServiceID, n.ResourceName, text(n.RegionID))
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.Forbidden("Unable to create a limit that has no corresponding registered limit.")
	}
	if err != nil {
		return nil, err
	}
	row := struct {
		ID           string  `db:"id"`
		RegisteredID string  `db:"registered_id"`
		OwnerID      string  `db:"owner_id"`
		Value        int64   `db:"resource_limit"`
		Description  *string `db:"description"`
	}{newID(), reg.ID, owner, n.Value, n.Description}
	if err := s.checkModel(ctx, tx, reg, p, n.Value); err != nil {
		return nil, err
	}
	if err := duplicateLimit(tx.Insert(ctx, "identity_limits", row), "limit"); err != nil {
		return nil, err
	}
	l := &Limit{}
	return l, tx.Get(ctx, l, limitsFrom+` WHERE l.id = ?`, row.ID)
}

// checkModel holds the strict model: of a project, at most its domain's limit; of a domain, at least that of each of its projects. -1 is
// above everything.
func (s *Service) checkModel(ctx context.Context, tx *db.Tx, reg RegisteredLimit, p *Project, value int64) error {
	if s.limits != LimitsStrict {
		return nil
	}
	above := func(a, b int64) bool { return b != -1 && (a == -1 || a > b) }
	refused := func(reason string) error {
		return fault.Forbidden("Unable to set the limit of %s %s to %d: %s.", p.noun(), p.ID, value, reason)
	}
	if !p.IsDomain {
		top := reg.Default
		err := tx.Get(ctx, &top, `SELECT resource_limit FROM identity_limits WHERE registered_id = ? AND owner_id = ?`, reg.ID, p.DomainID)
		if err != nil && !errors.Is(err, db.ErrNoRows) {
			return err
		}
		if above(value, top) {
			return refused(fmt.Sprintf("its domain has %d", top))
		}
		return nil
	}
	var below []int64
	if err := tx.Select(ctx, &below, `SELECT l.resource_limit FROM identity_limits l JOIN identity_projects p ON p.id = l.owner_id
			WHERE l.registered_id = ? AND p.domain_id = ?`, reg.ID, p.ID); err != nil {
		return err
	}
	for _, b := range below {
		if above(b, value) {
			return refused(fmt.Sprintf("one of its projects has %d", b))
		}
	}
	return nil
}

// Limits lists them.
func (s *Service) Limits(ctx context.Context, f LimitFilter) ([]Limit, error) {
	w := f.where("r.")
	w.eq("l.owner_id", f.ProjectID)
	w.eq("l.owner_id", f.DomainID)
	if f.DomainID != "" {
		w.add("p.is_domain")
	}
	if f.ProjectID != "" {
		w.add("NOT p.is_domain")
	}
	var out []Limit
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, limitsFrom+w.text()+` ORDER BY l.owner_id, r.resource_name, l.id`, w.args...)
	})
	return out, err
}

// Limit looks one up.
func (s *Service) Limit(ctx context.Context, id string) (*Limit, error) {
	l := &Limit{}
	err := s.db.Read(ctx, func(tx *db.Tx) error { return get(ctx, tx, l, "limit", id, limitsFrom+` WHERE l.id = ?`, id) })
	return l, err
}

// UpdateLimit sets value and description; nil leaves them.
func (s *Service) UpdateLimit(ctx context.Context, id string, value *int64, description **string) (*Limit, error) {
	l := &Limit{}
	err := s.write(ctx, func(tx *db.Tx) error {
		*l = Limit{}
		if err := get(ctx, tx, l, "limit", id, limitsFrom+` WHERE l.id = ?`, id); err != nil {
			return err
		}
		if description != nil {
			l.Description = *description
		}
		if value != nil {
			l.Value = *value
			reg := RegisteredLimit{}
			if err := tx.Get(ctx, &reg, `SELECT * FROM identity_registered_limits WHERE id = ?`, l.RegisteredID); err != nil {
				return err
			}
			p, err := projectByID(ctx, tx, l.OwnerID)
			if err != nil {
				return err
			}
			if err := s.checkModel(ctx, tx, reg, p, l.Value); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, `UPDATE identity_limits SET resource_limit = ?, description = ? WHERE id = ?`, l.Value, l.Description, id)
		return err
	})
	return l, err
}

// DeleteLimit removes one: the registered limit holds again.
func (s *Service) DeleteLimit(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_limits WHERE id = ?`, id)
		return affected(n, err, "limit", id)
	})
}
