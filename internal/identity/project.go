package identity

import (
	"context"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// MaxProjectDepth is Keystone's max_project_tree_depth: levels of projects below a domain.
const MaxProjectDepth = 5

// Project is what owns resources, or a domain (IsDomain), which owns projects, users and groups.
type Project struct {
	ID          string            `db:"id"`
	Name        string            `db:"name"`
	DomainID    string            `db:"domain_id"` // "" for a domain
	ParentID    *string           `db:"parent_id"` // the domain for top-level projects; nil for a domain
	IsDomain    bool              `db:"is_domain"`
	Enabled     bool              `db:"enabled"`
	Description string            `db:"description"`
	Epoch       int64             `db:"epoch"` // tokens of another epoch are void
	Tags        db.JSON[[]string] `db:"tags"`
	Options     db.JSON[Options]  `db:"options"`
	Extra       db.JSON[Extra]    `db:"extra"`
}

func (p *Project) noun() string {
	if p.IsDomain {
		return "domain"
	}
	return "project"
}

// ProjectFilter selects projects or domains; empty fields select all.
type ProjectFilter struct {
	Name, DomainID, ParentID string
	IDs                      []string // nil: any
	Enabled, IsDomain        *bool
}

// CreateProject makes a project or, with IsDomain, a domain. The id is chosen here. ParentID nil means the domain itself.
// 400: unknown or disabled parent, or one of another domain; 403: too deep; 409: the name is taken in the domain.
func (s *Service) CreateProject(ctx context.Context, p Project) (*Project, error) {
	if err := checkName("name", p.Name, 64); err != nil {
		return nil, err
	}
	p.ID = newID()
	err := s.write(ctx, func(tx *db.Tx) error {
		if !p.IsDomain {
			if err := adopt(ctx, tx, &p); err != nil {
				return err
			}
		}
		return duplicate(tx.Insert(ctx, "identity_projects", p), p.noun(), p.Name)
	})
	return &p, err
}

// adopt checks a new project's place and fills in what follows from it.
func adopt(ctx context.Context, tx *db.Tx, p *Project) error {
	if p.ParentID == nil {
		if err := checkDomain(ctx, tx, p.DomainID); err != nil {
			return err
		}
		domain := p.DomainID
		p.ParentID = &domain
	}
	up, err := ancestors(ctx, tx, *p.ParentID)
	if err != nil {
		return err
	}
	if len(up) == 0 {
		return fault.Invalid("parent_id", "Could not find project: %s.", *p.ParentID)
	}
	domain := up[len(up)-1].ID
	if p.DomainID == "" {
		p.DomainID = domain
	}
	if p.DomainID != domain {
		return fault.Invalid("domain_id", "Project cannot be in domain %s: its parent %s is in domain %s.", p.DomainID, *p.ParentID, domain)
	}
	if len(up) > MaxProjectDepth {
		return fault.Forbidden("Max hierarchy depth reached for %s branch.", *p.ParentID)
	}
	for _, a := range up {
		if !a.Enabled {
			return fault.Invalid("parent_id", "Cannot create project in a branch containing a disabled %s: %s", a.noun(), a.ID)
		}
	}
	return nil
}

// Project looks up a project or a domain.
func (s *Service) Project(ctx context.Context, id string) (*Project, error) {
	var p *Project
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		p, err = projectByID(ctx, tx, id)
		return err
	})
	return p, err
}

// Domain looks up a domain only.
func (s *Service) Domain(ctx context.Context, id string) (*Project, error) {
	p, err := s.Project(ctx, id)
	if fault.IsNotFound(err) || err == nil && !p.IsDomain {
		return nil, notFound("domain", id)
	}
	return p, err
}

// Projects lists by name.
func (s *Service) Projects(ctx context.Context, f ProjectFilter) ([]Project, error) {
	var w where
	w.eq("name", f.Name)
	w.eq("domain_id", f.DomainID)
	w.eq("parent_id", f.ParentID)
	if f.Enabled != nil {
		w.add("enabled = ?", *f.Enabled)
	}
	if f.IsDomain != nil {
		w.add("is_domain = ?", *f.IsDomain)
	}
	if f.IDs != nil {
		if len(f.IDs) == 0 {
			return nil, nil
		}
		w.add("id IN (?)", f.IDs)
	}
	var out []Project
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, "SELECT * FROM identity_projects"+w.text()+" ORDER BY name, id", w.args...)
	})
	return out, err
}

// Parents gives the projects above id, nearest first, the domain last.
func (s *Service) Parents(ctx context.Context, id string) ([]Project, error) {
	var out []Project
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		out, err = ancestors(ctx, tx, id)
		return err
	})
	if len(out) > 0 {
		out = out[1:]
	}
	return out, err
}

// Subtree gives all projects below id, without itself, parents before children.
func (s *Service) Subtree(ctx context.Context, id string) ([]Project, error) {
	var out []Project
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `WITH RECURSIVE down(id, depth) AS (
				SELECT id, 1 FROM identity_projects WHERE parent_id = ?
				UNION ALL SELECT p.id, d.depth + 1 FROM identity_projects p JOIN down d ON p.parent_id = d.id)
			SELECT p.* FROM identity_projects p JOIN down d ON p.id = d.id ORDER BY d.depth, p.name, p.id`, id)
	})
	return out, err
}

// UpdateProject changes a project or domain by edit, which must not change ids, place or IsDomain. Disabling voids the tokens scoped to
// it and, of a domain, those of its users and projects.
func (s *Service) UpdateProject(ctx context.Context, id string, edit func(*Project) error) (*Project, error) {
	var p *Project
	err := s.write(ctx, func(tx *db.Tx) (err error) {
		if p, err = projectByID(ctx, tx, id); err != nil {
			return err
		}
		before := *p
		if err := edit(p); err != nil {
			return err
		}
		if err := immutable(before.Options.V, p.Options.V, p.noun(), id); err != nil {
			return err
		}
		if err := checkName("name", p.Name, 64); err != nil {
			return err
		}
		if before.Enabled != p.Enabled {
			if err := checkSwitch(ctx, tx, p); err != nil {
				return err
			}
			p.Epoch++
			if !p.Enabled {
				if err := s.revokeEvent(ctx, tx, scopeEvent(p)); err != nil {
					return err
				}
			}
		}
		_, err = tx.NamedExec(ctx, `UPDATE identity_projects SET name = :name, enabled = :enabled, description = :description,
			epoch = :epoch, tags = :tags, options = :options, extra = :extra WHERE id = :id`, p)
		return duplicate(err, p.noun(), p.Name)
	})
	return p, err
}

// scopeEvent tells that the tokens of a project or domain have ended.
func scopeEvent(p *Project) RevokeEvent {
	if p.IsDomain {
		return RevokeEvent{DomainID: p.ID}
	}
	return RevokeEvent{ProjectID: p.ID}
}

// checkSwitch keeps the tree sound: nothing enabled below something disabled. A domain may always be switched.
func checkSwitch(ctx context.Context, tx *db.Tx, p *Project) error {
	if p.IsDomain {
		if p.ID == DefaultDomain && !p.Enabled {
			return fault.Forbidden("Cannot disable the default domain.")
		}
		return nil
	}
	if p.Enabled {
		up, err := ancestors(ctx, tx, *p.ParentID)
		for _, a := range up {
			if !a.Enabled && !a.IsDomain {
				return fault.Forbidden("Cannot enable project %s since it has disabled parents.", p.ID)
			}
		}
		return err
	}
	var n int
	if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM identity_projects WHERE parent_id = ? AND enabled = ?`, p.ID, true); err != nil {
		return err
	}
	if n > 0 {
		return fault.Forbidden("Cannot disable project %s since its subtree contains enabled projects.", p.ID)
	}
	return nil
}

// DeleteProject removes a project without children, or a disabled domain with all that is in it.
func (s *Service) DeleteProject(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		p, err := projectByID(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := immutable(p.Options.V, nil, p.noun(), id); err != nil {
			return err
		}
		if p.IsDomain {
			if err := checkDomainDelete(p); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `DELETE FROM identity_roles WHERE domain_id = ?`, id); err != nil {
				return err
			}
		} else {
			var n int
			if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM identity_projects WHERE parent_id = ?`, id); err != nil {
				return err
			}
			if n > 0 {
				return fault.Forbidden("Cannot delete the project %s since it is not a leaf in the hierarchy.", id)
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE identity_users SET default_project_id = '' WHERE default_project_id IN
				(SELECT id FROM identity_projects WHERE id = ? OR domain_id = ?)`, id, id); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM identity_credentials WHERE project_id IN
				(SELECT id FROM identity_projects WHERE id = ? OR domain_id = ?)`, id, id); err != nil {
			return err
		}
		if err := s.revokeEvent(ctx, tx, scopeEvent(p)); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM identity_projects WHERE id = ?`, id)
		return err
	})
}

func checkDomainDelete(p *Project) error {
	if p.ID == DefaultDomain {
		return fault.Forbidden("You are not authorized to perform the requested action: delete the default domain.")
	}
	if p.Enabled {
		return fault.Forbidden("Cannot delete a domain that is enabled, please disable it first.")
	}
	return nil
}

func projectByID(ctx context.Context, tx *db.Tx, id string) (*Project, error) {
	p := &Project{}
	if err := get(ctx, tx, p, "project", id, `SELECT * FROM identity_projects WHERE id = ?`, id); err != nil {
		return nil, err
	}
	return p, nil
}

// ancestors gives id itself first, its domain last; nothing if id is unknown.
func ancestors(ctx context.Context, tx *db.Tx, id string) ([]Project, error) {
	var out []Project
	err := tx.Select(ctx, &out, `WITH RECURSIVE up(id, parent_id, depth) AS (
			SELECT id, parent_id, 0 FROM identity_projects WHERE id = ?
			UNION ALL SELECT p.id, p.parent_id, u.depth + 1 FROM identity_projects p JOIN up u ON p.id = u.parent_id)
		SELECT p.* FROM identity_projects p JOIN up u ON p.id = u.id ORDER BY u.depth`, id)
	return out, err
}

// checkDomain says 400 unless id is a domain.
func checkDomain(ctx context.Context, tx *db.Tx, id string) error {
	p, err := projectByID(ctx, tx, id)
	if fault.IsNotFound(err) || err == nil && !p.IsDomain {
		return fault.Invalid("domain_id", "Could not find domain: %s.", id)
	}
	return err
}

// CheckTags holds Keystone's rules: at most 80 tags of 1 to 255 characters without comma and slash, each once.
func CheckTags(tags []string) error {
	if len(tags) > 80 {
		return fault.Invalid("tags", "Invalid input for field 'tags': a project may have at most 80 tags.")
	}
	seen := map[string]bool{}
	for _, t := range tags {
		if n := len([]rune(t)); n == 0 || n > 255 || strings.ContainsAny(t, ",/") {
			return fault.Invalid("tags", "Invalid input for field 'tags': '%s' must have 1 to 255 characters, none of them ',' or '/'.", t)
		}
		if seen[t] {
			return fault.Invalid("tags", "Invalid input for field 'tags': '%s' is given twice.", t)
		}
		seen[t] = true
	}
	return nil
}
