package api

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

// The v2.0 API as clients of 2012 speak it (checked against novaclient 2.9.0 and keystoneclient 0.1). It knows one domain, the default one.

// v2Token is POST /v2.0/tokens: 200, exactly.
func (f *face) v2Token(r *httpapi.Request) (any, error) {
	var in struct {
		Auth struct {
			Password *struct {
				Username, UserID, Password string
			} `json:"passwordCredentials"`
			Token *struct {
				ID string `json:"id"`
			} `json:"token"`
			TenantName string `json:"tenantName"`
			TenantID   string `json:"tenantId"`
		} `json:"auth"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	def := identity.DomainRef{ID: identity.DefaultDomain}
	req := identity.AuthRequest{From: clientHost(r)}
	if p := in.Auth.Password; p != nil {
		req.Methods, req.Password = []string{"password"}, p.Password
		req.User = identity.UserRef{ID: p.UserID, Name: p.Username, Domain: def}
	} else {
		req.Methods, req.Token = []string{"token"}, in.Auth.Token.ID
	}
	if in.Auth.TenantID != "" || in.Auth.TenantName != "" {
		req.Scope.Project = &identity.ProjectRef{ID: in.Auth.TenantID, Name: in.Auth.TenantName, Domain: def}
	}
	id, t, err := f.svc.IssueToken(r.Context(), req)
	if fault.IsNotFound(err) { // v3 tells a token that is no more from a log-in that failed; v2.0 did not
		err = fault.Unauthorized("The request you have made requires authentication.").WithCause(err)
	}
	if err == nil && (t.UserDomainID != identity.DefaultDomain || t.ProjectID != "" && t.ProjectDomainID != identity.DefaultDomain) {
		// v2.0 cannot say which domain, so it shows nothing of the others; a log-in by id is no way around that.
		err = fault.Unauthorized("The request you have made requires authentication.")
	}
	if err != nil {
		if fault.KindOf(err) == fault.KindUnauthorized && in.Auth.Password != nil {
			return nil, fault.Unauthorized("Invalid user / password").WithCause(err)
		}
		return nil, err
	}
	return f.accessView(r, id, t)
}

// accessView is {"access": {…}}.
func (f *face) accessView(r *httpapi.Request, id string, t *identity.Token) (any, error) {
	token := obj{"id": id, "expires": t.ExpiresAt.UTC().Format(time.RFC3339), "issued_at": t.IssuedAt.UTC().Format("2006-01-02T15:04:05.000000")}
	catalog := []obj{}
	if t.ProjectID != "" {
		token["tenant"] = obj{"id": t.ProjectID, "name": t.ProjectName, "description": t.ProjectDescription, "enabled": true}
		entries, err := f.svc.Catalog(r.Context(), t)
		if err != nil {
			return nil, err
		}
		catalog = legacyCatalog(entries)
	}
	roles := make([]obj, len(t.Roles))
	for i, name := range t.Roles {
		roles[i] = obj{"name": name}
	}
	ids := t.RoleIDs
	if ids == nil {
		ids = []string{}
	}
	return obj{"access": obj{
		"token":          token,
		"serviceCatalog": catalog,
		"user":           obj{"id": t.UserID, "name": t.UserName, "username": t.UserName, "roles": roles, "roles_links": []obj{}},
		"metadata":       obj{"is_admin": 0, "roles": ids},
	}}, nil
}

// legacyEndpoint is one region's addresses of a service.
type legacyEndpoint struct{ id, region, public, internal, admin string }

// legacyEndpoints folds the three interfaces of a region into one; the id is that of the public one.
func legacyEndpoints(e identity.CatalogEntry) []legacyEndpoint {
	var out []legacyEndpoint
	for _, p := range e.Endpoints {
		i := slices.IndexFunc(out, func(x legacyEndpoint) bool { return x.region == p.Region })
		if i < 0 {
			i = len(out)
			out = append(out, legacyEndpoint{id: p.ID, region: p.Region})
		}
		x, url := &out[i], p.URL
		if p.LegacyURL != "" {
			url = p.LegacyURL
		}
		switch p.Interface {
		case "public":
			x.public, x.id = url, p.ID
		case "internal":
			x.internal = url
		case "admin":
			x.admin = url
		}
	}
	return out
}

func (x legacyEndpoint) view() obj {
	v := obj{"id": x.id, "region": x.region}
	for key, url := range map[string]string{"publicURL": x.public, "internalURL": x.internal, "adminURL": x.admin} {
		if url != "" {
			v[key] = url
		}
	}
	return v
}

func legacyCatalog(entries []identity.CatalogEntry) []obj {
	out := []obj{}
	for _, e := range entries {
		eps := []obj{}
		for _, x := range legacyEndpoints(e) {
			eps = append(eps, x.view())
		}
		if len(eps) > 0 {
			out = append(out, obj{"type": e.Type, "name": e.Name, "endpoints": eps, "endpoints_links": []obj{}})
		}
	}
	return out
}

// hideToken takes the token out of the path before anything logs it; the wildcard's value has been read by then.
func hideToken(r *httpapi.Request) policy.Target {
	r.URL.Path = strings.Replace(r.URL.Path, r.Param("token"), "{token}", 1)
	return r.OwnTarget()
}

// v2Subject is the token in the path.
func (f *face) v2Subject(r *httpapi.Request) (*identity.Token, error) {
	t, err := f.svc.Subject(r.Context(), r.Param("token"), false)
	if err != nil {
		return nil, err
	}
	if want := r.URL.Query().Get("belongsTo"); want != "" && want != t.ProjectID {
		return nil, fault.Unauthorized("Token does not belong to specified tenant.")
	}
	return t, nil
}

func (f *face) v2ShowToken(r *httpapi.Request) (any, error) {
	t, err := f.v2Subject(r)
	if err != nil {
		return nil, err
	}
	return f.accessView(r, r.Param("token"), t)
}

func (f *face) v2CheckToken(r *httpapi.Request) (any, error) {
	if _, err := f.v2Subject(r); err != nil {
		return nil, err
	}
	return &httpapi.Response{Status: http.StatusOK}, nil
}

func (f *face) v2RevokeToken(r *httpapi.Request) (any, error) {
	if _, err := f.v2Subject(r); err != nil {
		return nil, err
	}
	return nil, f.svc.Revoke(r.Context(), r.Param("token"))
}

func (f *face) v2TokenEndpoints(r *httpapi.Request) (any, error) {
	t, err := f.v2Subject(r)
	if err != nil {
		return nil, err
	}
	out := []obj{}
	if t.ProjectID != "" {
		entries, err := f.svc.Catalog(r.Context(), t)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			for _, x := range legacyEndpoints(e) {
				v := x.view()
				v["name"], v["type"] = e.Name, e.Type
				out = append(out, v)
			}
		}
	}
	return obj{"endpoints": out, "endpoints_links": []obj{}}, nil
}
