package api

import (
	"slices"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

type projectJSON struct {
	Name        opt[string]      `json:"name"`
	DomainID    opt[string]      `json:"domain_id"`
	ParentID    opt[string]      `json:"parent_id"`
	IsDomain    opt[bool]        `json:"is_domain"`
	Enabled     opt[bool]        `json:"enabled"`
	Description opt[string]      `json:"description"`
	Tags        opt[[]string]    `json:"tags"`
	Options     identity.Options `json:"options"`
}

func projectView(r *httpapi.Request, p *identity.Project) map[string]any {
	v := domainView(r, p)
	v["links"] = obj{"self": r.Link("projects", p.ID)}
	v["domain_id"], v["is_domain"], v["parent_id"] = null(p.DomainID), p.IsDomain, p.ParentID
	return v
}

func domainView(r *httpapi.Request, p *identity.Project) map[string]any {
	v := view(r, p.Extra.V, "domains", p.ID)
	v["id"], v["name"], v["enabled"], v["description"] = p.ID, p.Name, p.Enabled, p.Description
	v["tags"], v["options"] = tags(p), options(p.Options.V)
	return v
}

func tags(p *identity.Project) []string {
	if p.Tags.V == nil {
		return []string{}
	}
	return p.Tags.V
}

// projectTarget is the project in the path. One that is a domain lies in no domain: its manager may not change it in this way either.
func (f *face) projectTarget(r *httpapi.Request) policy.Target {
	p, err := f.svc.Project(r.Context(), r.Param("id"))
	if err != nil {
		return policy.Target{}
	}
	return policy.Target{"domain_id": p.DomainID, "project_id": p.ID}
}

// newProject puts together what both creates share.
func newProject(in projectJSON, extra identity.Extra) (identity.Project, error) {
	p := identity.Project{Name: in.Name.v, Enabled: in.Enabled.or(true), Description: in.Description.v}
	p.Tags.V, p.Options.V, p.Extra.V = in.Tags.v, mergeOptions(nil, in.Options), extra
	return p, identity.CheckTags(p.Tags.V)
}

func (f *face) createProject(r *httpapi.Request) (any, error) {
	in, extra, err := read[projectJSON](r, "project")
	if err != nil {
		return nil, err
	}
	p, err := newProject(in, extra)
	if err != nil {
		return nil, err
	}
	switch p.IsDomain = in.IsDomain.v; {
	case p.IsDomain && (in.DomainID.v != "" || in.ParentID.v != ""):
		return nil, fault.Invalid("is_domain", "A project acting as a domain can have neither domain_id nor parent_id.")
	case p.IsDomain:
		if err := r.Authorize("identity:create_domain", policy.Target{}); err != nil {
			return nil, err
		}
	case in.ParentID.v != "":
		p.ParentID, p.DomainID = &in.ParentID.v, in.DomainID.v
		if err := f.authorizeParent(r, in.ParentID.v); err != nil {
			return nil, err
		}
	default:
		p.DomainID = in.DomainID.or(ownDomain(r))
	}
	out, err := f.svc.CreateProject(r.Context(), p)
	if err != nil {
		return nil, err
	}
	return created(obj{"project": projectView(r, out)}), nil
}

// authorizeParent keeps a domain's manager from growing a tree of another domain: the rule has seen only what the body says of domain_id.
func (f *face) authorizeParent(r *httpapi.Request, id string) error {
	p, err := f.svc.Project(r.Context(), id)
	if err != nil {
		if fault.IsNotFound(err) {
			return fault.Invalid("parent_id", "Could not find project: %s.", id)
		}
		return err
	}
	domain := p.DomainID
	if p.IsDomain {
		domain = p.ID
	}
	return r.Authorize("identity:create_project", policy.Target{"domain_id": domain})
}

func (f *face) listProjects(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	isDomain := is(flag(r, "is_domain"))
	fl := identity.ProjectFilter{Name: q.Get("name"), ParentID: q.Get("parent_id"), Enabled: flag(r, "enabled"), IsDomain: &isDomain}
	if !isDomain {
		fl.DomainID = listDomain(r)
	} else if !r.Allowed("admin_or_system_reader", policy.Target{}) {
		fl.IDs = []string{r.Creds.DomainID}
	}
	ps, err := f.svc.Projects(r.Context(), fl)
	if err != nil {
		return nil, err
	}
	return list(r, "projects", ps, func(p *identity.Project) map[string]any {
		if !tagsFit(q.Get, p.Tags.V) {
			return nil
		}
		return projectView(r, p)
	})
}

// tagsFit holds the API-WG's tag filters: tags (all), tags-any, not-tags (not all), not-tags-any.
func tagsFit(query func(string) string, have []string) bool {
	has := func(t string) bool { return slices.Contains(have, t) }
	lacks := func(t string) bool { return !has(t) }
	for _, x := range []struct {
		key string
		bad func([]string) bool
	}{
		{"tags", func(want []string) bool { return slices.ContainsFunc(want, lacks) }},
		{"tags-any", func(want []string) bool { return !slices.ContainsFunc(want, has) }},
		{"not-tags", func(want []string) bool { return !slices.ContainsFunc(want, lacks) }},
		{"not-tags-any", func(want []string) bool { return slices.ContainsFunc(want, has) }},
	} {
		if v := query(x.key); v != "" && x.bad(strings.Split(v, ",")) {
			return false
		}
	}
	return true
}

func (f *face) showProject(r *httpapi.Request) (any, error) {
	p, err := f.svc.Project(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	v := projectView(r, p)
	q := r.URL.Query()
	if q.Has("parents_as_list") && q.Has("parents_as_ids") || q.Has("subtree_as_list") && q.Has("subtree_as_ids") {
		return nil, fault.Invalid("", "Cannot use both the _as_list and the _as_ids query parameter at the same time.")
	}
	if is(flag(r, "parents_as_list")) || is(flag(r, "parents_as_ids")) {
		up, err := f.svc.Parents(r.Context(), p.ID)
		if err != nil {
			return nil, err
		}
		if q.Has("parents_as_ids") {
			v["parents"] = chainIDs(up)
		} else if v["parents"], err = f.visible(r, up); err != nil {
			return nil, err
		}
	}
	if is(flag(r, "subtree_as_list")) || is(flag(r, "subtree_as_ids")) {
		down, err := f.svc.Subtree(r.Context(), p.ID)
		if err != nil {
			return nil, err
		}
		if q.Has("subtree_as_ids") {
			v["subtree"] = treeIDs(down, p.ID)
		} else if v["subtree"], err = f.visible(r, down); err != nil {
			return nil, err
		}
	}
	return obj{"project": v}, nil
}

// visible lists those on which the caller has a role, each as {"project": …}.
func (f *face) visible(r *httpapi.Request, ps []identity.Project) ([]obj, error) {
	mine, err := f.svc.UserProjects(r.Context(), r.Creds.UserID, false)
	out := []obj{}
	for i := range ps {
		if slices.ContainsFunc(mine, func(m identity.Project) bool { return m.ID == ps[i].ID }) {
			out = append(out, obj{"project": projectView(r, &ps[i])})
		}
	}
	return out, err
}

// chainIDs nests the parents: {"parent": {"grandparent": null}}.
func chainIDs(up []identity.Project) any {
	if len(up) == 0 {
		return nil
	}
	return obj{up[0].ID: chainIDs(up[1:])}
}

// treeIDs nests the children: {"child": {"grandchild": null}, "other": null}.
func treeIDs(down []identity.Project, id string) any {
	out := obj{}
	for _, p := range down {
		if p.ParentID != nil && *p.ParentID == id {
			out[p.ID] = treeIDs(down, p.ID)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// edit is the PATCH of projects and domains.
func (in *projectJSON) edit(extra identity.Extra) func(*identity.Project) error {
	return func(p *identity.Project) error {
		if in.IsDomain.set && in.IsDomain.v != p.IsDomain {
			return fault.Invalid("is_domain", "Update of `is_domain` is not allowed.")
		}
		if in.DomainID.set && in.DomainID.v != p.DomainID {
			return fault.Invalid("domain_id", "Cannot change project's domain: domain_id is immutable.")
		}
		if in.ParentID.set && (p.ParentID == nil && in.ParentID.v != "" || p.ParentID != nil && in.ParentID.v != *p.ParentID) {
			return fault.Forbidden("Update of `parent_id` is not allowed.")
		}
		in.Name.into(&p.Name)
		in.Enabled.into(&p.Enabled)
		in.Description.into(&p.Description)
		in.Tags.into(&p.Tags.V)
		p.Options.V = mergeOptions(p.Options.V, in.Options)
		p.Extra.V = merge(p.Extra.V, extra)
		return identity.CheckTags(p.Tags.V)
	}
}

func (f *face) updateProject(r *httpapi.Request) (any, error) {
	in, extra, err := read[projectJSON](r, "project")
	if err != nil {
		return nil, err
	}
	p, err := f.svc.UpdateProject(r.Context(), r.Param("id"), in.edit(extra))
	if err != nil {
		return nil, err
	}
	return obj{"project": projectView(r, p)}, nil
}

func (f *face) deleteProject(r *httpapi.Request) (any, error) {
	p, err := f.svc.Project(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	if p.IsDomain && p.Enabled {
		return nil, fault.Invalid("is_domain", "Cannot delete a project that is acting as a domain and enabled; disable it first.")
	}
	return nil, f.svc.DeleteProject(r.Context(), p.ID)
}

func (f *face) listTags(r *httpapi.Request) (any, error) {
	p, err := f.svc.Project(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return f.tagsView(r, p), nil
}

func (f *face) tagsView(r *httpapi.Request, p *identity.Project) any {
	return obj{"tags": tags(p), "links": obj{"self": selfURL(r), "next": nil, "previous": nil}}
}

// setTags changes the tags of the project in the path.
func (f *face) setTags(r *httpapi.Request, edit func([]string) ([]string, error)) (*identity.Project, error) {
	return f.svc.UpdateProject(r.Context(), r.Param("id"), func(p *identity.Project) (err error) {
		if p.Tags.V, err = edit(p.Tags.V); err != nil {
			return err
		}
		return identity.CheckTags(p.Tags.V)
	})
}

func (f *face) replaceTags(r *httpapi.Request) (any, error) {
	var in struct {
		Tags []string `json:"tags"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	p, err := f.setTags(r, func([]string) ([]string, error) { return in.Tags, nil })
	if err != nil {
		return nil, err
	}
	return f.tagsView(r, p), nil
}

func (f *face) deleteTags(r *httpapi.Request) (any, error) {
	_, err := f.setTags(r, func([]string) ([]string, error) { return []string{}, nil })
	return nil, err
}

func (f *face) checkTag(r *httpapi.Request) (any, error) {
	p, err := f.svc.Project(r.Context(), r.Param("id"))
	if err == nil && !slices.Contains(p.Tags.V, r.Param("tag")) {
		err = noTag(r)
	}
	return nil, err
}

func (f *face) addTag(r *httpapi.Request) (any, error) {
	_, err := f.setTags(r, func(have []string) ([]string, error) {
		if slices.Contains(have, r.Param("tag")) {
			return have, nil
		}
		return append(have, r.Param("tag")), nil
	})
	return nil, err
}

func (f *face) removeTag(r *httpapi.Request) (any, error) {
	_, err := f.setTags(r, func(have []string) ([]string, error) {
		i := slices.Index(have, r.Param("tag"))
		if i < 0 {
			return nil, noTag(r)
		}
		return slices.Delete(have, i, i+1), nil
	})
	return nil, err
}

func noTag(r *httpapi.Request) error {
	return fault.NotFound("Could not find project tag: %s.", r.Param("tag"))
}
