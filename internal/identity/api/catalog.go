package api

import (
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
)

type regionJSON struct {
	ID          opt[string] `json:"id"`
	Description opt[string] `json:"description"`
	ParentID    opt[string] `json:"parent_region_id"`
}

func regionView(r *httpapi.Request, x *identity.Region) map[string]any {
	v := view(r, x.Extra.V, "regions", x.ID)
	v["id"], v["description"], v["parent_region_id"] = x.ID, x.Description, x.ParentID
	return v
}

func (f *face) listRegions(r *httpapi.Request) (any, error) {
	rs, err := f.svc.Regions(r.Context(), r.URL.Query().Get("parent_region_id"))
	if err != nil {
		return nil, err
	}
	return list(r, "regions", rs, func(x *identity.Region) map[string]any { return regionView(r, x) })
}

// createRegion is POST /regions, and PUT /regions/{id} where the path names the id.
func (f *face) createRegion(r *httpapi.Request) (any, error) {
	in, extra, err := read[regionJSON](r, "region")
	if err != nil {
		return nil, err
	}
	x := identity.Region{ID: in.ID.v, Description: in.Description.v}
	if id := r.Param("id"); id != "" {
		x.ID = id
	}
	if in.ParentID.v != "" {
		x.ParentID = &in.ParentID.v
	}
	x.Extra.V = extra
	out, err := f.svc.CreateRegion(r.Context(), x)
	if err != nil {
		return nil, err
	}
	return created(obj{"region": regionView(r, out)}), nil
}

func (f *face) showRegion(r *httpapi.Request) (any, error) {
	x, err := f.svc.Region(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"region": regionView(r, x)}, nil
}

func (f *face) updateRegion(r *httpapi.Request) (any, error) {
	in, extra, err := read[regionJSON](r, "region")
	if err != nil {
		return nil, err
	}
	x, err := f.svc.UpdateRegion(r.Context(), r.Param("id"), func(x *identity.Region) error {
		in.Description.into(&x.Description)
		if in.ParentID.set {
			if x.ParentID = nil; in.ParentID.v != "" {
				x.ParentID = &in.ParentID.v
			}
		}
		x.Extra.V = merge(x.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"region": regionView(r, x)}, nil
}

func (f *face) deleteRegion(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteRegion(r.Context(), r.Param("id"))
}

type serviceJSON struct {
	Type    opt[string] `json:"type"`
	Name    opt[string] `json:"name"`
	Enabled opt[bool]   `json:"enabled"`
}

func serviceView(r *httpapi.Request, x *identity.CatalogService) map[string]any {
	v := view(r, x.Extra.V, "services", x.ID)
	v["id"], v["type"], v["name"], v["enabled"] = x.ID, x.Type, x.Name, x.Enabled
	return v
}

func (f *face) listServices(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	xs, err := f.svc.CatalogServices(r.Context(), q.Get("type"), q.Get("name"))
	if err != nil {
		return nil, err
	}
	return list(r, "services", xs, func(x *identity.CatalogService) map[string]any { return serviceView(r, x) })
}

func (f *face) createService(r *httpapi.Request) (any, error) {
	in, extra, err := read[serviceJSON](r, "service")
	if err != nil {
		return nil, err
	}
	x := identity.CatalogService{Type: in.Type.v, Name: in.Name.v, Enabled: in.Enabled.or(true)}
	x.Extra.V = extra
	out, err := f.svc.CreateService(r.Context(), x)
	if err != nil {
		return nil, err
	}
	return created(obj{"service": serviceView(r, out)}), nil
}

func (f *face) showService(r *httpapi.Request) (any, error) {
	x, err := f.svc.CatalogService(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"service": serviceView(r, x)}, nil
}

func (f *face) updateService(r *httpapi.Request) (any, error) {
	in, extra, err := read[serviceJSON](r, "service")
	if err != nil {
		return nil, err
	}
	x, err := f.svc.UpdateService(r.Context(), r.Param("id"), func(x *identity.CatalogService) error {
		in.Type.into(&x.Type)
		in.Name.into(&x.Name)
		in.Enabled.into(&x.Enabled)
		x.Extra.V = merge(x.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"service": serviceView(r, x)}, nil
}

func (f *face) deleteService(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteService(r.Context(), r.Param("id"))
}

type endpointJSON struct {
	Interface opt[string] `json:"interface"`
	ServiceID opt[string] `json:"service_id"`
	URL       opt[string] `json:"url"`
	LegacyURL opt[string] `json:"legacy_url"`
	RegionID  opt[string] `json:"region_id"`
	Region    opt[string] `json:"region"` // the name of old: a region that is not there is made
	Enabled   opt[bool]   `json:"enabled"`
}

// region gives what the body says of it, and whether it may be made.
func (in *endpointJSON) region(have *string) (*string, bool) {
	for _, x := range []struct {
		field opt[string]
		mk    bool
	}{{in.RegionID, false}, {in.Region, true}} {
		if x.field.v != "" {
			return &x.field.v, x.mk
		}
		if x.field.null {
			return nil, false
		}
	}
	return have, false
}

// endpointView leaves legacy_url out where there is none: it is no attribute of Keystone's.
func endpointView(r *httpapi.Request, x *identity.Endpoint) map[string]any {
	v := view(r, x.Extra.V, "endpoints", x.ID)
	v["id"], v["interface"], v["service_id"], v["url"], v["enabled"] = x.ID, x.Interface, x.ServiceID, x.URL, x.Enabled
	v["region"], v["region_id"] = x.RegionID, x.RegionID
	if x.LegacyURL != "" {
		v["legacy_url"] = x.LegacyURL
	}
	return v
}

func (f *face) listEndpoints(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	xs, err := f.svc.Endpoints(r.Context(), identity.EndpointFilter{ServiceID: q.Get("service_id"), Interface: q.Get("interface"), RegionID: q.Get("region_id")})
	if err != nil {
		return nil, err
	}
	return list(r, "endpoints", xs, func(x *identity.Endpoint) map[string]any { return endpointView(r, x) })
}

func (f *face) createEndpoint(r *httpapi.Request) (any, error) {
	in, extra, err := read[endpointJSON](r, "endpoint")
	if err != nil {
		return nil, err
	}
	region, mk := in.region(nil)
	x := identity.Endpoint{ServiceID: in.ServiceID.v, Interface: in.Interface.v, RegionID: region, URL: in.URL.v, LegacyURL: in.LegacyURL.v, Enabled: in.Enabled.or(true)}
	x.Extra.V = extra
	out, err := f.svc.CreateEndpoint(r.Context(), x, mk)
	if err != nil {
		return nil, err
	}
	return created(obj{"endpoint": endpointView(r, out)}), nil
}

func (f *face) showEndpoint(r *httpapi.Request) (any, error) {
	x, err := f.svc.Endpoint(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"endpoint": endpointView(r, x)}, nil
}

func (f *face) updateEndpoint(r *httpapi.Request) (any, error) {
	in, extra, err := read[endpointJSON](r, "endpoint")
	if err != nil {
		return nil, err
	}
	_, mk := in.region(nil)
	x, err := f.svc.UpdateEndpoint(r.Context(), r.Param("id"), mk, func(x *identity.Endpoint) error {
		if in.URL.set && in.URL.v == "" {
			return fault.Invalid("url", "Invalid input for field 'url': it must not be empty.")
		}
		in.ServiceID.into(&x.ServiceID)
		in.Interface.into(&x.Interface)
		in.URL.into(&x.URL)
		in.LegacyURL.into(&x.LegacyURL)
		in.Enabled.into(&x.Enabled)
		x.RegionID, _ = in.region(x.RegionID)
		x.Extra.V = merge(x.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"endpoint": endpointView(r, x)}, nil
}

func (f *face) deleteEndpoint(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteEndpoint(r.Context(), r.Param("id"))
}
