package identity

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Target kinds of an assignment.
const (
	OnProject = "project"
	OnDomain  = "domain"
	OnSystem  = "system"
)

// Grant is one assignment: a role for a user or a group on a project, a domain or the system. Inherited ones count not on the target
// but on all projects below it.
type Grant struct {
	UserID    string `db:"user_id"`
	GroupID   string `db:"group_id"`
	Target    string `db:"target"` // OnProject, OnDomain, OnSystem
	TargetID  string `db:"target_id"`
	RoleID    string `db:"role_id"`
	Inherited bool   `db:"inherited"`
}

const grantColumns = `COALESCE(user_id, '') AS user_id, COALESCE(group_id, '') AS group_id, target, COALESCE(target_id, '') AS target_id, role_id, inherited`

// where gives the condition that finds exactly this grant, without the role if there is none.
func (g Grant) where() where {
	var w where
	w.add("COALESCE(user_id, '') = ?", g.UserID)
	w.add("COALESCE(group_id, '') = ?", g.GroupID)
	w.add("target = ?", g.Target)
	w.add("COALESCE(target_id, '') = ?", g.TargetID)
	w.add("inherited = ?", g.Inherited)
	w.eq("role_id", g.RoleID)
	return w
}

// check says 404 for whatever the grant names that does not exist.
func (g Grant) check(ctx context.Context, tx *db.Tx) error {
	if g.UserID != "" {
		if _, err := userByID(ctx, tx, g.UserID); err != nil {
			return err
		}
	} else if _, err := groupByID(ctx, tx, g.GroupID); err != nil {
		return err
	}
	if g.Target != OnSystem {
		p, err := projectByID(ctx, tx, g.TargetID)
		if fault.IsNotFound(err) || err == nil && g.Target == OnDomain && !p.IsDomain {
			return notFound(g.Target, g.TargetID)
		}
		if err != nil {
			return err
		}
	}
	if g.RoleID == "" {
		return nil
	}
	_, err := roleByID(ctx, tx, g.RoleID)
	return err
}

// AddGrant assigns; again changes nothing. 404 for what does not exist, 403 for a domain's role outside of its domain.
func (s *Service) AddGrant(ctx context.Context, g Grant) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if err := g.check(ctx, tx); err != nil {
			return err
		}
		r, err := roleByID(ctx, tx, g.RoleID)
		if err != nil {
			return err
		}
		if r.DomainID != "" {
			up, err := ancestors(ctx, tx, g.TargetID)
			if err != nil {
				return err
			}
			if len(up) == 0 || up[len(up)-1].ID != r.DomainID {
				return fault.Forbidden("Domain-specific role %s cannot be assigned outside of its domain.", r.ID)
			}
		}
		return addGrant(ctx, tx, g)
	})
}

func addGrant(ctx context.Context, tx *db.Tx, g Grant) error {
	_, err := tx.Exec(ctx, `INSERT INTO identity_assignments (user_id, group_id, target, target_id, role_id, inherited)
		VALUES (NULLIF(?, ''), NULLIF(?, ''), ?, NULLIF(?, ''), ?, ?) ON CONFLICT DO NOTHING`,
		g.UserID, g.GroupID, g.Target, g.TargetID, g.RoleID, g.Inherited)
	return err
}

// RemoveGrant takes an assignment away; 404 if it is not there. What tokens drew from it ends at once.
func (s *Service) RemoveGrant(ctx context.Context, g Grant) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if err := g.check(ctx, tx); err != nil {
			return err
		}
		w := g.where()
		n, err := tx.Exec(ctx, `DELETE FROM identity_assignments`+w.text(), w.args...)
		if err == nil && n == 0 {
			return noGrant(g)
		}
		if err != nil || g.UserID == "" {
			return err
		}
		e := RevokeEvent{UserID: g.UserID, RoleID: g.RoleID}
		switch g.Target {
		case OnProject:
			e.ProjectID = g.TargetID
		case OnDomain:
			e.DomainID = g.TargetID
		}
		return s.revokeEvent(ctx, tx, e)
	})
}

// HasGrant says nil if exactly this assignment is there, else 404.
func (s *Service) HasGrant(ctx context.Context, g Grant) error {
	roles, err := s.GrantRoles(ctx, g)
	if err == nil && len(roles) == 0 {
		return noGrant(g)
	}
	return err
}

// GrantRoles lists the roles assigned directly to g's actor on its target; with RoleID only that one.
func (s *Service) GrantRoles(ctx context.Context, g Grant) ([]Role, error) {
	var out []Role
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		if err := g.check(ctx, tx); err != nil {
			return err
		}
		w := g.where()
		return tx.Select(ctx, &out, `SELECT * FROM identity_roles WHERE id IN (SELECT role_id FROM identity_assignments`+w.text()+`) ORDER BY name, id`, w.args...)
	})
	return out, err
}

func noGrant(g Grant) error {
	actor, target := "user "+g.UserID, g.Target+" "+g.TargetID
	if g.GroupID != "" {
		actor = "group " + g.GroupID
	}
	return fault.NotFound("Could not find role assignment with role: %s, %s, %s.", g.RoleID, actor, target)
}

// myGrants are the assignments that reach a user by name or through a group. Arguments: the user's id, twice.
const myGrants = `SELECT target, target_id, role_id, inherited FROM identity_assignments
	WHERE user_id = ? OR group_id IN (SELECT group_id FROM identity_memberships WHERE user_id = ?)`

type heldRole struct {
	ID   string `db:"id"`
	Name string `db:"name"`
}

// heldRoles gives the global roles a user has on a scope, implied ones included, by name.
func heldRoles(ctx context.Context, tx *db.Tx, user string, kind scopeKind, id string) ([]heldRole, error) {
	var direct string
	var args []any
	switch kind {
	case projectScope: // what is given on the project, or inherited from above it
		direct = `SELECT m.role_id FROM mine m JOIN up u ON m.target_id = u.id
			WHERE u.depth = 0 AND m.target = 'project' AND NOT m.inherited OR u.depth > 0 AND m.inherited`
	case domainScope:
		direct = `SELECT m.role_id FROM mine m JOIN up u ON m.target_id = u.id WHERE u.depth = 0 AND m.target = 'domain' AND NOT m.inherited`
	default:
		direct = `SELECT m.role_id FROM mine m WHERE m.target = 'system'`
	}
	args = append(args, id, user, user)
	var out []heldRole
	err := tx.Select(ctx, &out, `WITH RECURSIVE
		up(id, parent_id, depth) AS (
			SELECT id, parent_id, 0 FROM identity_projects WHERE id = ?
			UNION ALL SELECT p.id, p.parent_id, u.depth + 1 FROM identity_projects p JOIN up u ON p.id = u.parent_id),
		mine AS (`+myGrants+`),
		held(role_id) AS (`+direct+`
			UNION SELECT i.implied_id FROM identity_implied_roles i JOIN held h ON i.prior_id = h.role_id)
		SELECT r.id, r.name FROM identity_roles r JOIN held h ON r.id = h.role_id WHERE r.domain_id = '' ORDER BY r.name`, args...)
	return out, err
}

// UserProjects lists the projects on which a user has a role, by name; with enabledOnly those that can be used (also their domain is enabled).
func (s *Service) UserProjects(ctx context.Context, user string, enabledOnly bool) ([]Project, error) {
	var out []Project
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `WITH RECURSIVE
			mine AS (`+myGrants+`),
			down(id) AS (
				SELECT p.id FROM identity_projects p JOIN mine m ON p.parent_id = m.target_id WHERE m.inherited
				UNION SELECT p.id FROM identity_projects p JOIN down d ON p.parent_id = d.id)
			SELECT p.* FROM identity_projects p LEFT JOIN identity_projects d ON d.id = p.domain_id
			WHERE (p.id IN (SELECT target_id FROM mine WHERE target = 'project' AND NOT inherited) OR p.id IN (SELECT id FROM down))
				AND (? OR p.enabled AND COALESCE(d.enabled, p.enabled)) ORDER BY p.name, p.id`, user, user, !enabledOnly)
	})
	return out, err
}

// UserDomains lists the enabled domains on which a user has a role.
func (s *Service) UserDomains(ctx context.Context, user string) ([]Project, error) {
	var out []Project
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, `WITH mine AS (`+myGrants+`) SELECT p.* FROM identity_projects p
			WHERE p.is_domain AND p.enabled AND p.id IN (SELECT target_id FROM mine WHERE target = 'domain' AND NOT inherited)
			ORDER BY p.name, p.id`, user, user)
	})
	return out, err
}

// HasSystemRole says whether the user has any role on the system.
func (s *Service) HasSystemRole(ctx context.Context, user string) (bool, error) {
	var held []heldRole
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		held, err = heldRoles(ctx, tx, user, systemScope, "")
		return err
	})
	return len(held) > 0, err
}

// AssignmentFilter selects assignments; empty fields select all.
type AssignmentFilter struct {
	UserID, GroupID, RoleID, ProjectID, DomainID string
	System, InheritedOnly                        bool
	Effective                                    bool // groups become their members, inherited and implied roles are worked out
	Subtree                                      bool // of ProjectID too
}

// Assignment is a Grant with where it came from, if Effective worked it out.
type Assignment struct {
	Grant
	ViaGroup string // the group through which the user has it
	ViaRole  string // the prior role that implies this one
	Origin   Grant  // the stored assignment behind it
}

// Assignments lists them in the form Keystone's GET /role_assignments has.
func (s *Service) Assignments(ctx context.Context, f AssignmentFilter) ([]Assignment, error) {
	var out []Assignment
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		var stored []Grant
		if err := tx.Select(ctx, &stored, `SELECT `+grantColumns+` FROM identity_assignments
			ORDER BY target, target_id, user_id, group_id, role_id, inherited`); err != nil {
			return err
		}
		all := make([]Assignment, len(stored))
		for i, g := range stored {
			all[i] = Assignment{Grant: g, Origin: g}
		}
		if f.Effective {
			x, err := newExpansion(ctx, tx)
			if err != nil {
				return err
			}
			all = x.effective(all)
		}
		projects := map[string]bool{f.ProjectID: true}
		if f.Subtree {
			var below []Project
			if err := tx.Select(ctx, &below, `SELECT * FROM identity_projects WHERE NOT is_domain`); err != nil {
				return err
			}
			for grown := true; grown; { // at most MaxProjectDepth rounds
				grown = false
				for _, p := range below {
					if projects[*p.ParentID] && !projects[p.ID] {
						projects[p.ID], grown = true, true
					}
				}
			}
		}
		for _, a := range all {
			if f.matches(a, projects) {
				out = append(out, a)
			}
		}
		return nil
	})
	return out, err
}

func (f AssignmentFilter) matches(a Assignment, projects map[string]bool) bool {
	anySet := func(want, have string) bool { return want == "" || want == have }
	return anySet(f.UserID, a.UserID) && anySet(f.GroupID, a.GroupID) && anySet(f.RoleID, a.RoleID) &&
		(f.ProjectID == "" || a.Target == OnProject && projects[a.TargetID]) &&
		(f.DomainID == "" || a.Target == OnDomain && a.TargetID == f.DomainID) &&
		(!f.System || a.Target == OnSystem) && (!f.InheritedOnly || a.Inherited)
}

// expansion holds what turns stored assignments into effective ones.
type expansion struct {
	members  map[string][]string // group → users
	children map[string][]string // project or domain → projects right below
	rules    []implication
	private  map[string]bool // roles of domains: they mean what they imply, and never reach a token
}

func newExpansion(ctx context.Context, tx *db.Tx) (*expansion, error) {
	x := &expansion{members: map[string][]string{}, children: map[string][]string{}, private: map[string]bool{}}
	var pairs []struct {
		A string `db:"a"`
		B string `db:"b"`
	}
	if err := tx.Select(ctx, &pairs, `SELECT group_id AS a, user_id AS b FROM identity_memberships ORDER BY group_id, user_id`); err != nil {
		return nil, err
	}
	for _, p := range pairs {
		x.members[p.A] = append(x.members[p.A], p.B)
	}
	pairs = nil
	if err := tx.Select(ctx, &pairs, `SELECT parent_id AS a, id AS b FROM identity_projects WHERE parent_id IS NOT NULL ORDER BY name, id`); err != nil {
		return nil, err
	}
	for _, p := range pairs {
		x.children[p.A] = append(x.children[p.A], p.B)
	}
	var private []string
	if err := tx.Select(ctx, &private, `SELECT id FROM identity_roles WHERE domain_id <> ''`); err != nil {
		return nil, err
	}
	for _, id := range private {
		x.private[id] = true
	}
	var err error
	x.rules, err = implications(ctx, tx)
	return x, err
}

// effective replaces groups by members, inherited assignments by what they mean below, and adds implied roles; each result once. Roles of
// domains are left out, as from tokens.
func (x *expansion) effective(in []Assignment) []Assignment {
	var out []Assignment
	seen := map[Grant]bool{}
	emit := func(a Assignment) {
		if !seen[a.Grant] && !x.private[a.RoleID] {
			seen[a.Grant] = true
			out = append(out, a)
		}
	}
	for _, a := range in {
		for _, u := range x.users(a) {
			for _, t := range x.targets(u) {
				emit(t)
				for _, implied := range closure(x.rules, t.RoleID) {
					i := t
					i.RoleID, i.ViaRole = implied, t.RoleID
					emit(i)
				}
			}
		}
	}
	return out
}

func (x *expansion) users(a Assignment) []Assignment {
	if a.GroupID == "" {
		return []Assignment{a}
	}
	var out []Assignment
	for _, user := range x.members[a.GroupID] {
		m := a
		m.UserID, m.GroupID, m.ViaGroup = user, "", a.GroupID
		out = append(out, m)
	}
	return out
}

func (x *expansion) targets(a Assignment) []Assignment {
	if !a.Inherited {
		return []Assignment{a}
	}
	var out []Assignment
	for queue := x.children[a.TargetID]; len(queue) > 0; queue = queue[1:] {
		t := a
		t.Target, t.TargetID, t.Inherited = OnProject, queue[0], false
		out = append(out, t)
		queue = append(queue[:len(queue):len(queue)], x.children[queue[0]]...)
	}
	return out
}
