package api

import (
	"nephos/internal/db"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
)

func (f *face) appCredRoutes() []httpapi.Route {
	const base = "/users/{id}/application_credentials"
	return []httpapi.Route{
		{Method: "GET", Path: base, Name: "appcreds.list", Rule: "identity:list_application_credentials", Target: pathUser, Handler: f.listAppCreds},
		{Method: "POST", Path: base, Name: "appcreds.create", Rule: "identity:create_application_credential", Target: pathUser, Body: appCredBody, Handler: f.createAppCred},
		{Method: "GET", Path: base + "/{credential}", Name: "appcreds.show", Rule: "identity:get_application_credential", Target: pathUser, Handler: f.showAppCred},
		{Method: "DELETE", Path: base + "/{credential}", Name: "appcreds.delete", Rule: "identity:delete_application_credential", Target: pathUser, Handler: f.deleteAppCred},

		{Method: "GET", Path: "/users/{id}/access_rules", Name: "accessrules.list", Rule: "identity:list_access_rules", Target: pathUser, Handler: f.listAccessRules},
		{Method: "GET", Path: "/users/{id}/access_rules/{rule}", Name: "accessrules.show", Rule: "identity:get_access_rule", Target: pathUser, Handler: f.showAccessRule},
		{Method: "DELETE", Path: "/users/{id}/access_rules/{rule}", Name: "accessrules.delete", Rule: "identity:delete_access_rule", Target: pathUser, Handler: f.deleteAccessRule},
	}
}

// naive is a time as Keystone shows that of an application credential: no zone, microseconds only where there are any.
func naive(t db.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.999999")
}

func appCredView(r *httpapi.Request, a *identity.AppCredential) map[string]any {
	roles := []obj{}
	for _, x := range a.Roles {
		roles = append(roles, obj{"id": x.ID, "name": x.Name, "domain_id": null(x.DomainID)})
	}
	v := obj{"id": a.ID, "name": a.Name, "description": null(a.Description), "project_id": a.ProjectID, "user_id": a.UserID, "expires_at": naive(a.ExpiresAt), "roles": roles,
		"unrestricted": a.Unrestricted, "system": nil, "links": obj{"self": r.Link("users", a.UserID, "application_credentials", a.ID)}}
	if a.Ruled {
		rules := []obj{}
		for i := range a.Rules {
			x := &a.Rules[i]
			rules = append(rules, obj{"id": x.ID, "path": x.Path, "method": x.Method, "service": x.Service})
		}
		v["access_rules"] = rules
	}
	return v
}

type roleRefJSON struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

func roleRefs(in []roleRefJSON) []identity.RoleRef {
	out := make([]identity.RoleRef, len(in))
	for i, x := range in {
		out[i] = identity.RoleRef(x)
	}
	return out
}

type accessRuleJSON struct {
	ID      string `json:"id"`
	Path    string `json:"path"`
	Method  string `json:"method"`
	Service string `json:"service"`
}

func (f *face) createAppCred(r *httpapi.Request) (any, error) {
	var in struct {
		C struct {
			Name         string           `json:"name"`
			Description  string           `json:"description"`
			Secret       string           `json:"secret"`
			ExpiresAt    string           `json:"expires_at"`
			Roles        []roleRefJSON    `json:"roles"`
			Unrestricted bool             `json:"unrestricted"`
			Rules        []accessRuleJSON `json:"access_rules"`
		} `json:"application_credential"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	expires, err := readTime("expires_at", in.C.ExpiresAt)
	if err != nil {
		return nil, err
	}
	t, err := f.bearer(r)
	if err != nil {
		return nil, err
	}
	if err := sameUser(r, t); err != nil {
		return nil, err
	}
	n := identity.NewAppCredential{Name: in.C.Name, Description: in.C.Description, Secret: in.C.Secret, Roles: roleRefs(in.C.Roles), ExpiresAt: expires,
		Unrestricted: in.C.Unrestricted, Ruled: in.C.Rules != nil}
	for _, x := range in.C.Rules {
		n.Rules = append(n.Rules, identity.AccessRule{ID: x.ID, Path: x.Path, Method: x.Method, Service: x.Service})
	}
	a, err := f.svc.CreateAppCredential(r.Context(), t, n)
	if err != nil {
		return nil, err
	}
	v := appCredView(r, a)
	v["secret"] = a.Secret
	return created(obj{"application_credential": v}), nil
}

func (f *face) listAppCreds(r *httpapi.Request) (any, error) {
	as, err := f.svc.AppCredentials(r.Context(), r.Param("id"), r.URL.Query().Get("name"))
	if err != nil {
		return nil, err
	}
	return list(r, "application_credentials", as, func(a *identity.AppCredential) map[string]any { return appCredView(r, a) })
}

func (f *face) showAppCred(r *httpapi.Request) (any, error) {
	a, err := f.svc.AppCredential(r.Context(), r.Param("id"), r.Param("credential"))
	if err != nil {
		return nil, err
	}
	return obj{"application_credential": appCredView(r, a)}, nil
}

func (f *face) deleteAppCred(r *httpapi.Request) (any, error) {
	t, err := f.bearer(r)
	if err != nil {
		return nil, err
	}
	return nil, f.svc.DeleteAppCredential(r.Context(), t, r.Param("id"), r.Param("credential"))
}

func accessRuleView(r *httpapi.Request, x *identity.AccessRule) map[string]any {
	return obj{"id": x.ID, "path": x.Path, "method": x.Method, "service": x.Service, "links": obj{"self": r.Link("users", x.UserID, "access_rules", x.ID)}}
}

func (f *face) listAccessRules(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	xs, err := f.svc.AccessRules(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return list(r, "access_rules", xs, func(x *identity.AccessRule) map[string]any {
		for key, have := range map[string]string{"service": x.Service, "path": x.Path, "method": x.Method} {
			if q.Has(key) && q.Get(key) != have {
				return nil
			}
		}
		return accessRuleView(r, x)
	})
}

func (f *face) showAccessRule(r *httpapi.Request) (any, error) {
	x, err := f.svc.AccessRule(r.Context(), r.Param("id"), r.Param("rule"))
	if err != nil {
		return nil, err
	}
	return obj{"access_rule": accessRuleView(r, x)}, nil
}

func (f *face) deleteAccessRule(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteAccessRule(r.Context(), r.Param("id"), r.Param("rule"))
}
