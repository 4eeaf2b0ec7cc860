package api

import (
	"net/http"

	"nephos/internal/httpapi"
	"nephos/internal/identity"
)

func (f *face) endpointFilterRoutes() []httpapi.Route {
	const group, project = "/OS-EP-FILTER/endpoint_groups", "/OS-EP-FILTER/projects/{project}"
	rows := []httpapi.Route{
		{Method: "GET", Path: group, Name: "endpoint-groups.list", Rule: "identity:list_endpoint_groups", Handler: f.listEndpointGroups},
		{Method: "POST", Path: group, Name: "endpoint-groups.create", Rule: "identity:create_endpoint_group", Body: body("endpoint_group", endpointGroupAttrs, "name", "filters"), Handler: f.createEndpointGroup},
		{Method: "GET", Path: group + "/{id}", Name: "endpoint-groups.show", Rule: "identity:get_endpoint_group", Handler: f.showEndpointGroup},
		{Method: "PATCH", Path: group + "/{id}", Name: "endpoint-groups.update", Rule: "identity:update_endpoint_group", Body: body("endpoint_group", endpointGroupAttrs), Handler: f.updateEndpointGroup},
		{Method: "DELETE", Path: group + "/{id}", Name: "endpoint-groups.delete", Rule: "identity:delete_endpoint_group", Handler: f.deleteEndpointGroup},
		{Method: "GET", Path: group + "/{id}/endpoints", Name: "endpoint-groups.endpoints", Rule: "identity:list_endpoints_associated_with_endpoint_group", Handler: f.groupEndpoints},
		{Method: "GET", Path: group + "/{id}/projects", Name: "endpoint-groups.projects", Rule: "identity:list_projects_associated_with_endpoint_group", Handler: f.projectsGiven(true)},
		{Method: "GET", Path: "/OS-EP-FILTER/endpoints/{id}/projects", Name: "endpoint-filter.projects", Rule: "identity:list_projects_for_endpoint", Handler: f.projectsGiven(false)},
		{Method: "GET", Path: project + "/endpoint_groups", Name: "endpoint-filter.groups", Rule: "identity:list_endpoint_groups_for_project", Handler: f.projectEndpointGroups},
		{Method: "GET", Path: project + "/endpoints", Name: "endpoint-filter.endpoints", Rule: "identity:list_endpoints_for_project", Handler: f.projectEndpoints},
	}
	for _, x := range []struct {
		path, name, check, add, remove string
		group                          bool
	}{
		{project + "/endpoints/{id}", "endpoint-filter", "check_endpoint_in_project", "add_endpoint_to_project", "remove_endpoint_from_project", false},
		{group + "/{id}/projects/{project}", "endpoint-groups.project", "get_endpoint_group_in_project", "add_endpoint_group_to_project", "remove_endpoint_group_from_project", true},
	} {
		rows = append(rows,
			httpapi.Route{Method: "PUT", Path: x.path, Name: x.name + "-add", Rule: "identity:" + x.add, Handler: func(r *httpapi.Request) (any, error) {
				return nil, f.svc.GiveEndpoint(r.Context(), r.Param("project"), r.Param("id"), x.group)
			}},
			httpapi.Route{Method: "DELETE", Path: x.path, Name: x.name + "-remove", Rule: "identity:" + x.remove, Handler: func(r *httpapi.Request) (any, error) {
				return nil, f.svc.TakeEndpoint(r.Context(), r.Param("project"), r.Param("id"), x.group)
			}},
			httpapi.Route{Method: "GET", Path: x.path, Name: x.name + "-check", Rule: "identity:" + x.check, Handler: func(r *httpapi.Request) (any, error) {
				return f.checkGiven(r, x.group)
			}})
	}
	return rows
}

// checkGiven is 204 for an endpoint; for a group 200 with the association, as Keystone.
func (f *face) checkGiven(r *httpapi.Request, group bool) (any, error) {
	id, project := r.Param("id"), r.Param("project")
	if err := f.svc.EndpointGiven(r.Context(), project, id, group); err != nil || !group {
		return nil, err
	}
	return &httpapi.Response{Status: http.StatusOK, Body: obj{"project_endpoint_group": obj{"endpoint_group_id": id, "project_id": project}}}, nil
}

type endpointGroupJSON struct {
	Name        opt[string]                  `json:"name"`
	Description opt[string]                  `json:"description"`
	Filters     opt[identity.EndpointFilter] `json:"filters"`
}

func endpointGroupView(r *httpapi.Request, g *identity.EndpointGroup) map[string]any {
	return obj{"id": g.ID, "name": g.Name, "description": g.Description, "filters": g.Filters.V,
		"links": obj{"self": r.Link("OS-EP-FILTER", "endpoint_groups", g.ID)}}
}

func (f *face) listEndpointGroups(r *httpapi.Request) (any, error) {
	gs, err := f.svc.EndpointGroups(r.Context(), "", r.URL.Query().Get("name"))
	if err != nil {
		return nil, err
	}
	return list(r, "endpoint_groups", gs, func(g *identity.EndpointGroup) map[string]any { return endpointGroupView(r, g) })
}

func (f *face) projectEndpointGroups(r *httpapi.Request) (any, error) {
	gs, err := f.svc.EndpointGroups(r.Context(), r.Param("project"), "")
	if err != nil {
		return nil, err
	}
	return list(r, "endpoint_groups", gs, func(g *identity.EndpointGroup) map[string]any { return endpointGroupView(r, g) })
}

func (f *face) createEndpointGroup(r *httpapi.Request) (any, error) {
	in, _, err := read[endpointGroupJSON](r, "endpoint_group")
	if err != nil {
		return nil, err
	}
	g := identity.EndpointGroup{Name: in.Name.v, Description: in.Description.pointer()}
	g.Filters.V = in.Filters.v
	out, err := f.svc.CreateEndpointGroup(r.Context(), g)
	if err != nil {
		return nil, err
	}
	return created(obj{"endpoint_group": endpointGroupView(r, out)}), nil
}

func (f *face) showEndpointGroup(r *httpapi.Request) (any, error) {
	g, err := f.svc.EndpointGroup(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"endpoint_group": endpointGroupView(r, g)}, nil
}

func (f *face) updateEndpointGroup(r *httpapi.Request) (any, error) {
	in, _, err := read[endpointGroupJSON](r, "endpoint_group")
	if err != nil {
		return nil, err
	}
	g, err := f.svc.UpdateEndpointGroup(r.Context(), r.Param("id"), func(g *identity.EndpointGroup) error {
		in.Name.into(&g.Name)
		in.Filters.into(&g.Filters.V)
		if in.Description.set {
			g.Description = in.Description.pointer()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"endpoint_group": endpointGroupView(r, g)}, nil
}

func (f *face) deleteEndpointGroup(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteEndpointGroup(r.Context(), r.Param("id"))
}

func (f *face) groupEndpoints(r *httpapi.Request) (any, error) {
	xs, err := f.svc.GroupEndpoints(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return list(r, "endpoints", xs, func(x *identity.Endpoint) map[string]any { return endpointView(r, x) })
}

func (f *face) projectEndpoints(r *httpapi.Request) (any, error) {
	xs, err := f.svc.ProjectEndpoints(r.Context(), r.Param("project"))
	if err != nil {
		return nil, err
	}
	return list(r, "endpoints", xs, func(x *identity.Endpoint) map[string]any { return endpointView(r, x) })
}

func (f *face) projectsGiven(group bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		ps, err := f.svc.ProjectsGiven(r.Context(), r.Param("id"), group)
		if err != nil {
			return nil, err
		}
		return list(r, "projects", ps, func(p *identity.Project) map[string]any { return projectView(r, p) })
	}
}
