package identity

import (
	"context"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Role is a name that policy rules ask for. DomainID "" is global; only global roles appear in tokens.
type Role struct {
	ID          string           `db:"id"`
	Name        string           `db:"name"`
	DomainID    string           `db:"domain_id"`
	Description string           `db:"description"`
	Options     db.JSON[Options] `db:"options"`
	Extra       db.JSON[Extra]   `db:"extra"`
}

// RoleFilter selects roles; DomainID "" selects the global ones, AnyDomain all.
type RoleFilter struct {
	Name, DomainID string
	AnyDomain      bool
}

// Inference says that who has Prior has Implied too.
type Inference struct{ Prior, Implied Role }

// CreateRole makes a role; its id is chosen here.
func (s *Service) CreateRole(ctx context.Context, r Role) (*Role, error) {
	if err := checkName("name", r.Name, 255); err != nil {
		return nil, err
	}
	r.ID = newID()
	err := s.write(ctx, func(tx *db.Tx) error {
		if r.DomainID != "" {
			if err := checkDomain(ctx, tx, r.DomainID); err != nil {
				return err
			}
		}
		return duplicate(tx.Insert(ctx, "identity_roles", r), "role", r.Name)
	})
	return &r, err
}

// Role looks one up.
func (s *Service) Role(ctx context.Context, id string) (*Role, error) {
	var r *Role
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		r, err = roleByID(ctx, tx, id)
		return err
	})
	return r, err
}

// Roles lists by name.
func (s *Service) Roles(ctx context.Context, f RoleFilter) ([]Role, error) {
	var w where
	w.eq("name", f.Name)
	if !f.AnyDomain {
		w.add("domain_id = ?", f.DomainID)
	}
	var out []Role
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, "SELECT * FROM identity_roles"+w.text()+" ORDER BY name, id", w.args...)
	})
	return out, err
}

// UpdateRole changes a role by edit, which must not change ids.
func (s *Service) UpdateRole(ctx context.Context, id string, edit func(*Role) error) (*Role, error) {
	var r *Role
	err := s.write(ctx, func(tx *db.Tx) (err error) {
		if r, err = roleByID(ctx, tx, id); err != nil {
			return err
		}
		before := *r
		if err := edit(r); err != nil {
			return err
		}
		if r.DomainID != before.DomainID {
			return fault.Invalid("domain_id", "Cannot change role's domain: domain_id is immutable.")
		}
		if err := immutable(before.Options.V, r.Options.V, "role", id); err != nil {
			return err
		}
		if err := checkName("name", r.Name, 255); err != nil {
			return err
		}
		_, err = tx.NamedExec(ctx, `UPDATE identity_roles SET name = :name, description = :description, options = :options, extra = :extra
			WHERE id = :id`, r)
		return duplicate(err, "role", r.Name)
	})
	return r, err
}

// DeleteRole removes a role with its assignments and implications.
func (s *Service) DeleteRole(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		r, err := roleByID(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := immutable(r.Options.V, nil, "role", id); err != nil {
			return err
		}
		if err := s.revokeEvent(ctx, tx, RevokeEvent{RoleID: id}); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM identity_roles WHERE id = ?`, id)
		return err
	})
}

// Imply makes prior imply implied; again changes nothing. A global role cannot imply a domain's role, and no role itself (Keystone).
func (s *Service) Imply(ctx context.Context, priorID, impliedID string) (*Inference, error) {
	var out *Inference
	err := s.write(ctx, func(tx *db.Tx) (err error) {
		if out, err = inference(ctx, tx, priorID, impliedID); err != nil {
			return err
		}
		if out.Prior.DomainID == "" && out.Implied.DomainID != "" || priorID == impliedID {
			return fault.Forbidden("%s cannot be an implied role of %s.", impliedID, priorID)
		}
		_, err = tx.Exec(ctx, `INSERT INTO identity_implied_roles (prior_id, implied_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, priorID, impliedID)
		return err
	})
	return out, err
}

// Implied gives one implication, 404 if it is not there.
func (s *Service) Implied(ctx context.Context, priorID, impliedID string) (*Inference, error) {
	var out *Inference
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		if out, err = inference(ctx, tx, priorID, impliedID); err != nil {
			return err
		}
		var n int
		if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM identity_implied_roles WHERE prior_id = ? AND implied_id = ?`, priorID, impliedID); err != nil {
			return err
		}
		if n == 0 {
			return fault.NotFound("%s does not imply %s", priorID, impliedID)
		}
		return nil
	})
	return out, err
}

// Unimply removes an implication.
func (s *Service) Unimply(ctx context.Context, priorID, impliedID string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_implied_roles WHERE prior_id = ? AND implied_id = ?`, priorID, impliedID)
		if err == nil && n == 0 {
			return fault.NotFound("%s does not imply %s", priorID, impliedID)
		}
		return err
	})
}

// Inferences lists all direct implications, or those of one prior role.
func (s *Service) Inferences(ctx context.Context, priorID string) ([]Inference, error) {
	roles := map[string]Role{}
	var rules []implication
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		if priorID != "" {
			if _, err := roleByID(ctx, tx, priorID); err != nil {
				return err
			}
		}
		if rules, err = implications(ctx, tx); err != nil {
			return err
		}
		var all []Role
		if err := tx.Select(ctx, &all, `SELECT * FROM identity_roles`); err != nil {
			return err
		}
		for _, r := range all {
			roles[r.ID] = r
		}
		return nil
	})
	var out []Inference
	for _, x := range rules {
		if priorID == "" || x.Prior == priorID {
			out = append(out, Inference{Prior: roles[x.Prior], Implied: roles[x.Implied]})
		}
	}
	return out, err
}

type implication struct {
	Prior   string `db:"prior_id"`
	Implied string `db:"implied_id"`
}

func implications(ctx context.Context, tx *db.Tx) ([]implication, error) {
	var out []implication
	err := tx.Select(ctx, &out, `SELECT prior_id, implied_id FROM identity_implied_roles ORDER BY prior_id, implied_id`)
	return out, err
}

// closure gives all roles that id implies, directly or not, without id itself; circles end.
func closure(rules []implication, id string) []string {
	seen := []string{id}
	for i := 0; i < len(seen); i++ {
		for _, r := range rules {
			if r.Prior == seen[i] && !slices.Contains(seen, r.Implied) {
				seen = append(seen, r.Implied)
			}
		}
	}
	return seen[1:]
}

func inference(ctx context.Context, tx *db.Tx, priorID, impliedID string) (*Inference, error) {
	prior, err := roleByID(ctx, tx, priorID)
	if err != nil {
		return nil, err
	}
	implied, err := roleByID(ctx, tx, impliedID)
	if err != nil {
		return nil, err
	}
	return &Inference{Prior: *prior, Implied: *implied}, nil
}

func roleByID(ctx context.Context, tx *db.Tx, id string) (*Role, error) {
	r := &Role{}
	if err := get(ctx, tx, r, "role", id, `SELECT * FROM identity_roles WHERE id = ?`, id); err != nil {
		return nil, err
	}
	return r, nil
}
