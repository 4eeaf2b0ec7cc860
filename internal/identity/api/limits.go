package api

import (
	"encoding/json"

	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

func (f *face) limitRoutes() []httpapi.Route {
	return []httpapi.Route{
		{Method: "GET", Path: "/registered_limits", Name: "registered-limits.list", Rule: "identity:list_registered_limits", Handler: f.listRegistered},
		{Method: "POST", Path: "/registered_limits", Name: "registered-limits.create", Rule: "identity:create_registered_limits", Body: registeredBody, Handler: f.createRegistered},
		{Method: "GET", Path: "/registered_limits/{id}", Name: "registered-limits.show", Rule: "identity:get_registered_limit", Handler: f.showRegistered},
		{Method: "PATCH", Path: "/registered_limits/{id}", Name: "registered-limits.update", Rule: "identity:update_registered_limit", Body: strictBody("registered_limit", registeredAttrs), Handler: f.updateRegistered},
		{Method: "DELETE", Path: "/registered_limits/{id}", Name: "registered-limits.delete", Rule: "identity:delete_registered_limit", Handler: f.deleteRegistered},

		{Method: "GET", Path: "/limits", Name: "limits.list", Rule: "identity:list_limits", Handler: f.listLimits},
		{Method: "POST", Path: "/limits", Name: "limits.create", Rule: "identity:create_limits", Body: limitsBody, Handler: f.createLimits},
		{Method: "GET", Path: "/limits/model", Name: "limits.model", Rule: "identity:get_limit_model", Handler: f.limitsModel},
		{Method: "GET", Path: "/limits/{id}", Name: "limits.show", Rule: "identity:get_limit", Target: f.limitTarget, Handler: f.showLimit},
		{Method: "PATCH", Path: "/limits/{id}", Name: "limits.update", Rule: "identity:update_limit", Body: strictBody("limit", obj{"resource_limit": limitValue, "description": nullStr}), Handler: f.updateLimit},
		{Method: "DELETE", Path: "/limits/{id}", Name: "limits.delete", Rule: "identity:delete_limit", Handler: f.deleteLimit},
	}
}

func registeredView(r *httpapi.Request, x *identity.RegisteredLimit) map[string]any {
	return obj{"id": x.ID, "service_id": x.ServiceID, "region_id": x.RegionID, "resource_name": x.ResourceName, "default_limit": x.Default, "description": x.Description,
		"links": obj{"self": r.Link("registered_limits", x.ID)}}
}

func limitView(r *httpapi.Request, x *identity.Limit) map[string]any {
	v := obj{"id": x.ID, "service_id": x.ServiceID, "region_id": x.RegionID, "resource_name": x.ResourceName, "resource_limit": x.Value, "description": x.Description,
		"project_id": nil, "domain_id": nil, "links": obj{"self": r.Link("limits", x.ID)}}
	if x.OwnerIsDomain {
		v["domain_id"] = x.OwnerID
	} else {
		v["project_id"] = x.OwnerID
	}
	return v
}

func limitFilter(r *httpapi.Request) identity.LimitFilter {
	q := r.URL.Query()
	return identity.LimitFilter{ServiceID: q.Get("service_id"), RegionID: q.Get("region_id"), ResourceName: q.Get("resource_name"), ProjectID: q.Get("project_id"), DomainID: q.Get("domain_id")}
}

func (f *face) listRegistered(r *httpapi.Request) (any, error) {
	xs, err := f.svc.RegisteredLimits(r.Context(), limitFilter(r))
	if err != nil {
		return nil, err
	}
	return list(r, "registered_limits", xs, func(x *identity.RegisteredLimit) map[string]any { return registeredView(r, x) })
}

type registeredJSON struct {
	ServiceID    opt[string] `json:"service_id"`
	RegionID     opt[string] `json:"region_id"`
	ResourceName opt[string] `json:"resource_name"`
	Default      opt[int64]  `json:"default_limit"`
	Description  opt[string] `json:"description"`
}

// pointer is the value, or nil for null and for nothing.
func (o opt[T]) pointer() *T {
	if !o.set || o.null {
		return nil
	}
	return &o.v
}

func (f *face) createRegistered(r *httpapi.Request) (any, error) {
	var in struct {
		Limits []registeredJSON `json:"registered_limits"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	rows := make([]identity.RegisteredLimit, len(in.Limits))
	for i, x := range in.Limits {
		rows[i] = identity.RegisteredLimit{ServiceID: x.ServiceID.v, RegionID: x.RegionID.pointer(), ResourceName: x.ResourceName.v, Default: x.Default.v, Description: x.Description.pointer()}
	}
	rows, err := f.svc.CreateRegisteredLimits(r.Context(), rows)
	if err != nil {
		return nil, err
	}
	out := make([]obj, len(rows))
	for i := range rows {
		out[i] = registeredView(r, &rows[i])
	}
	return created(obj{"registered_limits": out}), nil
}

func (f *face) showRegistered(r *httpapi.Request) (any, error) {
	x, err := f.svc.RegisteredLimit(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"registered_limit": registeredView(r, x)}, nil
}

func (f *face) updateRegistered(r *httpapi.Request) (any, error) {
	var in struct {
		L registeredJSON `json:"registered_limit"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	x, err := f.svc.UpdateRegisteredLimit(r.Context(), r.Param("id"), func(x *identity.RegisteredLimit) error {
		in.L.ServiceID.into(&x.ServiceID)
		in.L.ResourceName.into(&x.ResourceName)
		in.L.Default.into(&x.Default)
		if in.L.RegionID.set {
			x.RegionID = in.L.RegionID.pointer()
		}
		if in.L.Description.set {
			x.Description = in.L.Description.pointer()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"registered_limit": registeredView(r, x)}, nil
}

func (f *face) deleteRegistered(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteRegisteredLimit(r.Context(), r.Param("id"))
}

func (f *face) limitTarget(r *httpapi.Request) policy.Target {
	x, err := f.svc.Limit(r.Context(), r.Param("id"))
	switch {
	case err != nil:
		return policy.Target{"user_id": r.Creds.UserID}
	case x.OwnerIsDomain:
		return policy.Target{"domain_id": x.OwnerID}
	}
	t := policy.Target{"project_id": x.OwnerID}
	if p, err := f.svc.Project(r.Context(), x.OwnerID); err == nil {
		t["domain_id"] = p.DomainID
	}
	return t
}

// listLimits: whoever may not see all sees those of the token's project, or of its domain and the projects in it.
func (f *face) listLimits(r *httpapi.Request) (any, error) {
	xs, err := f.svc.Limits(r.Context(), limitFilter(r))
	if err != nil {
		return nil, err
	}
	all := r.Allowed("admin_or_system_reader", policy.Target{})
	mine := map[string]bool{}
	if !all && r.Creds.DomainID != "" {
		ps, err := f.svc.Projects(r.Context(), identity.ProjectFilter{DomainID: r.Creds.DomainID})
		if err != nil {
			return nil, err
		}
		mine[r.Creds.DomainID] = true
		for _, p := range ps {
			mine[p.ID] = true
		}
	} else if r.Creds.ProjectID != "" {
		mine[r.Creds.ProjectID] = true
	}
	return list(r, "limits", xs, func(x *identity.Limit) map[string]any {
		if !all && !mine[x.OwnerID] {
			return nil
		}
		return limitView(r, x)
	})
}

func (f *face) createLimits(r *httpapi.Request) (any, error) {
	var in struct {
		Limits []struct {
			ServiceID    string  `json:"service_id"`
			RegionID     *string `json:"region_id"`
			ResourceName string  `json:"resource_name"`
			Value        int64   `json:"resource_limit"`
			ProjectID    string  `json:"project_id"`
			DomainID     string  `json:"domain_id"`
			Description  *string `json:"description"`
		} `json:"limits"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	rows := make([]identity.NewLimit, len(in.Limits))
	for i, x := range in.Limits {
		rows[i] = identity.NewLimit{ServiceID: x.ServiceID, RegionID: x.RegionID, ResourceName: x.ResourceName, Value: x.Value, ProjectID: x.ProjectID, DomainID: x.DomainID, Description: x.Description}
	}
	made, err := f.svc.CreateLimits(r.Context(), rows)
	if err != nil {
		return nil, err
	}
	out := make([]obj, len(made))
	for i := range made {
		out[i] = limitView(r, &made[i])
	}
	return created(obj{"limits": out}), nil
}

func (f *face) limitsModel(*httpapi.Request) (any, error) {
	name, text := f.svc.LimitsModel()
	return obj{"model": obj{"name": name, "description": text}}, nil
}

func (f *face) showLimit(r *httpapi.Request) (any, error) {
	x, err := f.svc.Limit(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"limit": limitView(r, x)}, nil
}

func (f *face) updateLimit(r *httpapi.Request) (any, error) {
	var in struct {
		L struct {
			Value       *int64          `json:"resource_limit"`
			Description json.RawMessage `json:"description"`
		} `json:"limit"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	var text **string
	if in.L.Description != nil {
		var s *string
		if err := json.Unmarshal(in.L.Description, &s); err != nil {
			return nil, err
		}
		text = &s
	}
	x, err := f.svc.UpdateLimit(r.Context(), r.Param("id"), in.L.Value, text)
	if err != nil {
		return nil, err
	}
	return obj{"limit": limitView(r, x)}, nil
}

func (f *face) deleteLimit(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteLimit(r.Context(), r.Param("id"))
}
