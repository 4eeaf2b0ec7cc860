package api

import (
	"slices"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
)

// v2CatalogRoutes are the admin side's services (OS-KSADM) and endpoints.
func (f *face) v2CatalogRoutes() []httpapi.Route {
	row := func(method, path, name string, b httpapi.Schemas, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: method, Path: "/v2.0" + path, Name: "v2." + name, Rule: "admin_required", Body: b, Handler: h}
	}
	return []httpapi.Route{
		row("GET", "/OS-KSADM/services", "services.list", nil, f.v2Services),
		row("POST", "/OS-KSADM/services", "services.create", body("OS-KSADM:service", obj{"name": str, "type": anyName, "description": nullStr}, "type"), f.v2CreateService),
		row("GET", "/OS-KSADM/services/{id}", "services.show", nil, f.v2ShowService),
		row("DELETE", "/OS-KSADM/services/{id}", "services.delete", nil, f.v2DeleteService),
		row("GET", "/endpoints", "endpoints.list", nil, f.v2Endpoints),
		row("POST", "/endpoints", "endpoints.create", body("endpoint", v2EndpointAttrs, "service_id", "publicurl"), f.v2CreateEndpoint),
		row("GET", "/endpoints/{id}", "endpoints.show", nil, f.v2ShowEndpoint),
		row("DELETE", "/endpoints/{id}", "endpoints.delete", nil, f.v2DeleteEndpoint),
	}
}

func v2ServiceView(x *identity.CatalogService) obj {
	return obj{"id": x.ID, "name": x.Name, "type": x.Type, "description": null(extraText(x.Extra.V, "description"))}
}

func (f *face) v2Services(r *httpapi.Request) (any, error) {
	xs, err := f.svc.CatalogServices(r.Context(), "", "")
	out := []obj{}
	for i := range xs {
		out = append(out, v2ServiceView(&xs[i]))
	}
	return obj{"OS-KSADM:services": out}, err
}

func (f *face) v2CreateService(r *httpapi.Request) (any, error) {
	in, extra, err := read[serviceJSON](r, "OS-KSADM:service")
	if err != nil {
		return nil, err
	}
	x := identity.CatalogService{Type: in.Type.v, Name: in.Name.v, Enabled: true}
	x.Extra.V = extra
	out, err := f.svc.CreateService(r.Context(), x)
	if err != nil {
		return nil, err
	}
	return obj{"OS-KSADM:service": v2ServiceView(out)}, nil
}

func (f *face) v2ShowService(r *httpapi.Request) (any, error) {
	x, err := f.svc.CatalogService(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"OS-KSADM:service": v2ServiceView(x)}, nil
}

func (f *face) v2DeleteService(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteService(r.Context(), r.Param("id"))
}

// v2Endpoint is a service's addresses in a region, as v2.0 sees them: one record of up to three of v3's.
type v2Endpoint struct {
	id    string
	parts []identity.Endpoint
}

// v2EndpointRecords joins what was made by one v2.0 call; of what was made with v3, the endpoints of a service in a region, under the public one's id.
func (f *face) v2EndpointRecords(r *httpapi.Request) ([]v2Endpoint, error) {
	all, err := f.svc.Endpoints(r.Context(), identity.EndpointFilter{})
	if err != nil {
		return nil, err
	}
	var out []v2Endpoint
	for _, e := range all {
		i := slices.IndexFunc(out, func(x v2Endpoint) bool {
			p := x.parts[0]
			return p.LegacyID == e.LegacyID && p.ServiceID == e.ServiceID && (p.RegionID == nil) == (e.RegionID == nil) && (p.RegionID == nil || *p.RegionID == *e.RegionID)
		})
		if i < 0 {
			out, i = append(out, v2Endpoint{id: e.ID}), len(out)
		}
		out[i].parts = append(out[i].parts, e)
		switch {
		case e.LegacyID != "":
			out[i].id = e.LegacyID
		case e.Interface == "public":
			out[i].id = e.ID
		}
	}
	return out, nil
}

func (x *v2Endpoint) view() obj {
	v := obj{"id": x.id, "service_id": x.parts[0].ServiceID, "region": x.parts[0].RegionID, "enabled": false, "publicurl": nil, "adminurl": nil, "internalurl": nil}
	for _, p := range x.parts {
		url := p.URL
		if p.LegacyURL != "" {
			url = p.LegacyURL
		}
		v[p.Interface+"url"] = url
		if p.Enabled {
			v["enabled"] = true
		}
	}
	return v
}

func (f *face) v2Endpoints(r *httpapi.Request) (any, error) {
	xs, err := f.v2EndpointRecords(r)
	out := []obj{}
	for i := range xs {
		out = append(out, xs[i].view())
	}
	return obj{"endpoints": out}, err
}

func (f *face) v2CreateEndpoint(r *httpapi.Request) (any, error) {
	var in struct {
		E struct {
			ServiceID string  `json:"service_id"`
			Region    string  `json:"region"`
			Public    string  `json:"publicurl"`
			Admin     *string `json:"adminurl"`
			Internal  *string `json:"internalurl"`
		} `json:"endpoint"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	var parts []identity.Endpoint
	for _, x := range []struct {
		iface string
		url   *string
	}{{"public", &in.E.Public}, {"admin", in.E.Admin}, {"internal", in.E.Internal}} {
		if x.url == nil || *x.url == "" {
			continue
		}
		e := identity.Endpoint{ServiceID: in.E.ServiceID, Interface: x.iface, URL: *x.url, Enabled: true}
		if in.E.Region != "" {
			e.RegionID = &in.E.Region
		}
		parts = append(parts, e)
	}
	id, made, err := f.svc.CreateLegacyEndpoint(r.Context(), parts)
	if err != nil {
		return nil, err
	}
	v := (&v2Endpoint{id: id, parts: made}).view()
	delete(v, "enabled")
	return obj{"endpoint": v}, nil
}

func (f *face) v2FindEndpoint(r *httpapi.Request) (*v2Endpoint, error) {
	xs, err := f.v2EndpointRecords(r)
	if err != nil {
		return nil, err
	}
	for i := range xs {
		if xs[i].id == r.Param("id") {
			return &xs[i], nil
		}
	}
	return nil, fault.NotFound("Could not find endpoint: %s.", r.Param("id"))
}

func (f *face) v2ShowEndpoint(r *httpapi.Request) (any, error) {
	x, err := f.v2FindEndpoint(r)
	if err != nil {
		return nil, err
	}
	return obj{"endpoint": x.view()}, nil
}

func (f *face) v2DeleteEndpoint(r *httpapi.Request) (any, error) {
	x, err := f.v2FindEndpoint(r)
	if err != nil {
		return nil, err
	}
	for _, p := range x.parts {
		if err := f.svc.DeleteEndpoint(r.Context(), p.ID); err != nil && !fault.IsNotFound(err) {
			return nil, err
		}
	}
	return nil, nil //nolint:nilnil // 204
}

func v2RoleView(x *identity.Role) obj { return obj{"id": x.ID, "name": x.Name} }

func (f *face) v2Roles(r *httpapi.Request) (any, error) {
	rs, err := f.svc.Roles(r.Context(), identity.RoleFilter{})
	return obj{"roles": v2RoleViews(rs)}, err
}

func v2RoleViews(rs []identity.Role) []obj {
	out := []obj{}
	for i := range rs {
		out = append(out, v2RoleView(&rs[i]))
	}
	return out
}

func (f *face) v2CreateRole(r *httpapi.Request) (any, error) {
	in, extra, err := read[roleJSON](r, "role")
	if err != nil {
		return nil, err
	}
	x := identity.Role{Name: in.Name.v, Description: in.Description.v}
	x.Extra.V = extra
	out, err := f.svc.CreateRole(r.Context(), x)
	if err != nil {
		return nil, err
	}
	return obj{"role": v2RoleView(out)}, nil
}

func (f *face) v2ShowRole(r *httpapi.Request) (any, error) {
	x, err := f.svc.Role(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"role": v2RoleView(x)}, nil
}

func (f *face) v2DeleteRole(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteRole(r.Context(), r.Param("id"))
}

func v2GrantOf(r *httpapi.Request) identity.Grant {
	return grantAt{target: identity.OnProject}.read(r)
}

// v2Grants are the roles of a user on a tenant, given directly.
func (f *face) v2Grants(r *httpapi.Request) (any, error) {
	rs, err := f.svc.GrantRoles(r.Context(), v2GrantOf(r))
	return obj{"roles": v2RoleViews(rs), "roles_links": []obj{}}, err
}

// v2Grant gives a role; once more is a 409, as in Folsom.
func (f *face) v2Grant(r *httpapi.Request) (any, error) {
	g := v2GrantOf(r)
	if err := f.svc.HasGrant(r.Context(), g); err == nil {
		return nil, fault.Conflict("Conflict occurred attempting to store role grant - User %s already has role %s in tenant %s", g.UserID, g.RoleID, g.TargetID)
	}
	if err := f.svc.AddGrant(r.Context(), g); err != nil {
		return nil, err
	}
	x, err := f.svc.Role(r.Context(), g.RoleID)
	if err != nil {
		return nil, err
	}
	return obj{"role": v2RoleView(x)}, nil
}

func (f *face) v2Ungrant(r *httpapi.Request) (any, error) {
	return nil, f.svc.RemoveGrant(r.Context(), v2GrantOf(r))
}

// v2GlobalRoles: roles without a tenant were never kept, and listing them was not done in Folsom either.
func (f *face) v2GlobalRoles(*httpapi.Request) (any, error) {
	return nil, fault.NotImplemented("User roles not supported: tenant ID required.")
}

func (f *face) v2NoGlobalRoles(*httpapi.Request) (any, error) {
	return nil, fault.NotImplemented("User roles not supported: tenant ID required.")
}

// v2RoleRefs are a user's roles on all tenants, in the form of the API before this one.
func (f *face) v2RoleRefs(r *httpapi.Request) (any, error) {
	if _, err := f.v2User(r, r.Param("actor")); err != nil {
		return nil, err
	}
	as, err := f.svc.Assignments(r.Context(), identity.AssignmentFilter{UserID: r.Param("actor")})
	out := []obj{}
	for _, a := range as {
		if a.Target == identity.OnProject {
			out = append(out, obj{"id": a.RoleID, "roleId": a.RoleID, "tenantId": a.TargetID, "userId": a.UserID})
		}
	}
	return obj{"roles": out}, err
}
