package api

import (
	"slices"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

// grantAt reads a grant from a path .../{target}/{users|groups}/{actor}/roles[/{role}].
type grantAt struct {
	target    string // identity.OnProject …
	group     bool
	inherited bool
}

func (g grantAt) read(r *httpapi.Request) identity.Grant {
	out := identity.Grant{Target: g.target, TargetID: r.Param("target"), RoleID: r.Param("role"), Inherited: g.inherited}
	if g.group {
		out.GroupID = r.Param("actor")
	} else {
		out.UserID = r.Param("actor")
	}
	return out
}

// personas are the roles that a domain's manager may give.
var personas = []string{"manager", "member", "reader"}

// policyTarget names a domain only if actor and target are both in it.
func (g grantAt) policyTarget(f *face) func(*httpapi.Request) policy.Target {
	return func(r *httpapi.Request) policy.Target {
		ctx, gr := r.Context(), g.read(r)
		actor, place := "", ""
		if g.group {
			if x, err := f.svc.Group(ctx, gr.GroupID); err == nil {
				actor = x.DomainID
			}
		} else if x, err := f.svc.User(ctx, gr.UserID); err == nil {
			actor = x.DomainID
		}
		if p, err := f.svc.Project(ctx, gr.TargetID); g.target != identity.OnSystem && err == nil {
			if place = p.DomainID; p.IsDomain {
				place = p.ID
			}
		}
		t := policy.Target{}
		if actor == place {
			t["domain_id"] = actor
		}
		if x, err := f.svc.Role(ctx, gr.RoleID); gr.RoleID != "" && err == nil && x.DomainID == "" && slices.Contains(personas, x.Name) {
			t["persona"] = "yes"
		}
		return t
	}
}

// grantRoutes are the rows of one way to name a grant: list, check, put, delete.
func (f *face) grantRoutes(prefix, suffix, name string, g grantAt) []httpapi.Route {
	one, many := "grant", "grants"
	actor, who := "/users/{actor}/roles", "_for_user"
	if g.group {
		actor, who = "/groups/{actor}/roles", "_for_group"
	}
	if g.target == identity.OnSystem {
		one, many = "system_grant"+who, "system_grants"+who
	}
	base := prefix + actor
	target := g.policyTarget(f)
	rows := []httpapi.Route{
		{Method: "GET", Path: base + "/{role}" + suffix, Name: name + ".check", Rule: "identity:check_" + one, Target: target,
			Handler: func(r *httpapi.Request) (any, error) { return nil, f.svc.HasGrant(r.Context(), g.read(r)) }},
		{Method: "PUT", Path: base + "/{role}" + suffix, Name: name + ".add", Rule: "identity:create_" + one, Target: target,
			Handler: func(r *httpapi.Request) (any, error) { return nil, f.svc.AddGrant(r.Context(), g.read(r)) }},
		{Method: "DELETE", Path: base + "/{role}" + suffix, Name: name + ".remove", Rule: "identity:revoke_" + one, Target: target,
			Handler: func(r *httpapi.Request) (any, error) { return nil, f.svc.RemoveGrant(r.Context(), g.read(r)) }},
	}
	if g.inherited && g.target == identity.OnProject {
		return rows // Keystone has no list there
	}
	return append(rows, httpapi.Route{Method: "GET", Path: base + suffix, Name: name + ".list", Rule: "identity:list_" + many, Target: target,
		Handler: func(r *httpapi.Request) (any, error) {
			rs, err := f.svc.GrantRoles(r.Context(), g.read(r))
			if err != nil {
				return nil, err
			}
			return list(r, "roles", rs, func(x *identity.Role) map[string]any { return roleView(r, x) })
		}})
}

func (f *face) allGrantRoutes() []httpapi.Route {
	var out []httpapi.Route
	for _, group := range []bool{false, true} {
		who := "user"
		if group {
			who = "group"
		}
		for _, x := range []struct{ kind, path string }{{identity.OnProject, "/projects/{target}"}, {identity.OnDomain, "/domains/{target}"}, {identity.OnSystem, "/system"}} {
			out = append(out, f.grantRoutes(x.path, "", x.kind+"-"+who+"-grants", grantAt{target: x.kind, group: group})...)
			if x.kind != identity.OnSystem {
				out = append(out, f.grantRoutes("/OS-INHERIT"+x.path, "/inherited_to_projects", x.kind+"-"+who+"-inherited-grants",
					grantAt{target: x.kind, group: group, inherited: true})...)
			}
		}
	}
	return out
}

// listAssignments is GET /v3/role_assignments.
func (f *face) listAssignments(r *httpapi.Request) (any, error) {
	fl, err := assignmentFilter(r)
	if err != nil {
		return nil, err
	}
	as, err := f.svc.Assignments(r.Context(), fl)
	if err != nil {
		return nil, err
	}
	n, err := f.names(r)
	if err != nil {
		return nil, err
	}
	only := "" // the one domain that the caller may see
	if !r.Allowed("admin_or_system_reader", policy.Target{}) {
		only = r.Creds.DomainID
	}
	named := is(flag(r, "include_names"))
	return list(r, "role_assignments", as, func(a *identity.Assignment) map[string]any {
		p := n.projects[a.TargetID]
		if only != "" && (a.Target == identity.OnSystem || p.ID != only && p.DomainID != only) {
			return nil
		}
		return n.assignmentView(r, a, named)
	})
}

func assignmentFilter(r *httpapi.Request) (identity.AssignmentFilter, error) {
	q := r.URL.Query()
	fl := identity.AssignmentFilter{UserID: q.Get("user.id"), GroupID: q.Get("group.id"), RoleID: q.Get("role.id"), ProjectID: q.Get("scope.project.id"),
		DomainID: q.Get("scope.domain.id"), System: is(flag(r, "scope.system")) && q.Get("scope.system") != "",
		InheritedOnly: q.Has("scope.OS-INHERIT:inherited_to"), Effective: is(flag(r, "effective")), Subtree: is(flag(r, "include_subtree"))}
	switch {
	case fl.UserID != "" && fl.GroupID != "":
		return fl, fault.Invalid("user.id", "Specify a user or group, not both")
	case fl.DomainID != "" && fl.ProjectID != "":
		return fl, fault.Invalid("scope", "Specify a domain or project, not both")
	case fl.System && (fl.DomainID != "" || fl.ProjectID != ""):
		return fl, fault.Invalid("scope", "Specify system scope or a domain or project, not both")
	case fl.Effective && fl.GroupID != "":
		return fl, fault.Invalid("effective", "Combining effective and group filter will always result in an empty list.")
	case fl.Effective && fl.InheritedOnly:
		return fl, fault.Invalid("effective", "Combining effective with inherited_to will always result in an empty list.")
	case fl.Subtree && fl.ProjectID == "":
		return fl, fault.Invalid("include_subtree", "scope.project.id must be specified if include_subtree is also specified")
	}
	return fl, nil
}

// nameBook holds what assignments refer to.
type nameBook struct {
	users    map[string]identity.User
	groups   map[string]identity.Group
	roles    map[string]identity.Role
	projects map[string]identity.Project
}

func (f *face) names(r *httpapi.Request) (*nameBook, error) {
	ctx := r.Context()
	n := &nameBook{map[string]identity.User{}, map[string]identity.Group{}, map[string]identity.Role{}, map[string]identity.Project{}}
	us, err := f.svc.Users(ctx, identity.UserFilter{})
	if err != nil {
		return nil, err
	}
	gs, err := f.svc.Groups(ctx, identity.GroupFilter{})
	if err != nil {
		return nil, err
	}
	rs, err := f.svc.Roles(ctx, identity.RoleFilter{AnyDomain: true})
	if err != nil {
		return nil, err
	}
	ps, err := f.svc.Projects(ctx, identity.ProjectFilter{})
	if err != nil {
		return nil, err
	}
	for _, x := range us {
		n.users[x.ID] = x
	}
	for _, x := range gs {
		n.groups[x.ID] = x
	}
	for _, x := range rs {
		n.roles[x.ID] = x
	}
	for _, x := range ps {
		n.projects[x.ID] = x
	}
	return n, nil
}

// ref is {"id"}, or with names {"id", "name", "domain": {"id", "name"}}.
func (n *nameBook) ref(id, name, domain string, named bool) obj {
	if !named {
		return obj{"id": id}
	}
	out := obj{"id": id, "name": name}
	if domain != "" {
		out["domain"] = obj{"id": domain, "name": n.projects[domain].Name}
	}
	return out
}

func (n *nameBook) assignmentView(r *httpapi.Request, a *identity.Assignment, named bool) map[string]any {
	role := n.roles[a.RoleID]
	v := obj{"role": n.ref(role.ID, role.Name, role.DomainID, named)}
	if a.UserID != "" {
		u := n.users[a.UserID]
		v["user"] = n.ref(u.ID, u.Name, u.DomainID, named)
	} else {
		g := n.groups[a.GroupID]
		v["group"] = n.ref(g.ID, g.Name, g.DomainID, named)
	}
	p := n.projects[a.TargetID]
	scope := obj{}
	switch a.Target {
	case identity.OnSystem:
		scope["system"] = obj{"all": true}
	default:
		scope[a.Target] = n.ref(p.ID, p.Name, p.DomainID, named)
	}
	if a.Inherited {
		scope["OS-INHERIT:inherited_to"] = "projects"
	}
	v["scope"] = scope
	links := obj{"assignment": assignmentLink(r, a.Origin)}
	if a.ViaGroup != "" {
		links["membership"] = r.Link("groups", a.ViaGroup, "users", a.UserID)
	}
	if a.ViaRole != "" {
		links["prior_role"] = r.Link("roles", a.ViaRole, "implies", a.RoleID)
	}
	v["links"] = links
	return v
}

// assignmentLink is where the stored assignment itself is.
func assignmentLink(r *httpapi.Request, g identity.Grant) string {
	var s []string
	if g.Inherited {
		s = append(s, "OS-INHERIT")
	}
	switch g.Target {
	case identity.OnSystem:
		s = append(s, "system")
	default:
		s = append(s, g.Target+"s", g.TargetID)
	}
	if g.UserID != "" {
		s = append(s, "users", g.UserID)
	} else {
		s = append(s, "groups", g.GroupID)
	}
	s = append(s, "roles", g.RoleID)
	if g.Inherited {
		s = append(s, "inherited_to_projects")
	}
	return r.Link(s...)
}
