package api

import (
	"strconv"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

func groupBody(version int) string {
	switch {
	case version >= 64:
		return wrap("server_group", object(must("name", sName), must("policy", `{"enum":["anti-affinity","affinity","soft-anti-affinity","soft-affinity"]}`), opt("rules", object(opt("max_server_per_host", sInt1)))))
	case version >= 15:
		return wrap("server_group", object(must("name", sName), must("policies", array(`{"enum":["anti-affinity","affinity","soft-anti-affinity","soft-affinity"]}`, `,"minItems":1,"maxItems":1`))))
	}
	return wrap("server_group", object(must("name", sName), must("policies", array(`{"enum":["anti-affinity","affinity"]}`, `,"minItems":1,"maxItems":1`))))
}

func (f *face) groupRoutes() []httpapi.Route {
	const rule = "os_compute_api:os-server-groups:"
	return []httpapi.Route{
		{Method: get, Path: "/os-server-groups", Name: "groups.list", Query: query(75, "all_projects", "limit", "offset"), Rule: rule + "index", Resource: "server_group", Handler: f.listGroups},
		{Method: post, Path: "/os-server-groups", Name: "groups.create", Rule: rule + "create", Body: at(groupBody, 1, 15, 64), Resource: "server_group", Handler: f.createGroup},
		{Method: get, Path: "/os-server-groups/{id}", Name: "groups.show", Rule: rule + "show", Resource: "server_group", Handler: f.showGroup},
		{Method: del, Path: "/os-server-groups/{id}", Name: "groups.delete", Rule: rule + "delete", Status: noContent, Handler: func(r *httpapi.Request) (any, error) {
			return nil, f.svc.DeleteServerGroup(r.Context(), r.Creds, r.Param("id"))
		}},
	}
}

func serverGroupView(g *compute.ServerGroup, members []string) obj {
	rules := obj{}
	if g.MaxServerPerHost > 0 {
		rules["max_server_per_host"] = g.MaxServerPerHost
	}
	return obj{"id": g.ID, "name": g.Name, "policy": g.Policy, "rules": rules, "members": orNone(members), "project_id": g.ProjectID, "user_id": g.UserID}
}

func (f *face) listGroups(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	if q.Has("all_projects") {
		if err := r.Authorize("os_compute_api:os-server-groups:index:all_projects", r.OwnTarget()); err != nil {
			return nil, err
		}
	}
	all, err := f.svc.ServerGroups(r.Context(), r.Creds, q.Has("all_projects"))
	if err != nil {
		return nil, err
	}
	page, err := r.Page(maxLimit)
	if err != nil {
		return nil, err
	}
	offset := 0
	if s := q.Get("offset"); s != "" {
		if offset, err = strconv.Atoi(s); err != nil || offset < 0 {
			return nil, fault.Invalid("offset", "Invalid input for query parameters offset. Value: %s. It must be an integer >= 0", s)
		}
	}
	all = all[min(offset, len(all)):]
	all = all[:min(page.Limit, len(all))]
	ids := make([]string, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	var members map[string][]string
	if err := f.read(r, func(tx *db.Tx) error { members, err = compute.GroupMembers(r.Context(), tx, ids); return err }); err != nil {
		return nil, err
	}
	out := make([]obj, len(all))
	for i := range all {
		out[i] = serverGroupView(&all[i], members[all[i].ID])
	}
	return obj{"server_groups": out}, nil
}

func (f *face) showGroup(r *httpapi.Request) (any, error) {
	g, members, err := f.svc.ServerGroup(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"server_group": serverGroupView(g, members)}, nil
}

func (f *face) createGroup(r *httpapi.Request) (any, error) {
	var b struct {
		Group struct {
			Name     string   `json:"name"`
			Policies []string `json:"policies"`
			Policy   string   `json:"policy"`
			Rules    struct {
				Max flexInt `json:"max_server_per_host"`
			} `json:"rules"`
		} `json:"server_group"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	clean, err := name(r, "name", b.Group.Name)
	if err != nil {
		return nil, err
	}
	policy := b.Group.Policy
	if len(b.Group.Policies) > 0 && !r.Version.AtLeast(v(64)) {
		policy = b.Group.Policies[0]
	}
	g, err := f.svc.CreateServerGroup(r.Context(), r.Creds, compute.ServerGroup{Name: clean, Policy: policy, MaxServerPerHost: int(b.Group.Rules.Max)})
	if err != nil {
		return nil, err
	}
	return obj{"server_group": serverGroupView(g, nil)}, nil
}
