package api

import (
	"encoding/json"
	"net/http"
	"time"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

// micros is Keystone's form of times in tokens.
const micros = "2006-01-02T15:04:05.000000Z"

type refJSON struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Domain *refJSON `json:"domain"`
}

func (r *refJSON) domain() identity.DomainRef {
	if r == nil {
		return identity.DomainRef{}
	}
	return identity.DomainRef{ID: r.ID, Name: r.Name}
}

type scopeJSON struct {
	Project  *refJSON        `json:"project"`
	Domain   *refJSON        `json:"domain"`
	System   json.RawMessage `json:"system"`
	Unscoped json.RawMessage `json:"unscoped"`
	Trust    json.RawMessage `json:"OS-TRUST:trust"`
}

type authJSON struct {
	Auth struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password *struct {
				User struct {
					refJSON
					Password string `json:"password"`
				} `json:"user"`
			} `json:"password"`
			Token *struct {
				ID string `json:"id"`
			} `json:"token"`
		} `json:"identity"`
		Scope json.RawMessage `json:"scope"`
	} `json:"auth"`
}

// issueToken is POST /v3/auth/tokens.
func (f *face) issueToken(r *httpapi.Request) (any, error) {
	var in authJSON
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	id := in.Auth.Identity
	req := identity.AuthRequest{Methods: id.Methods}
	for _, m := range id.Methods {
		switch {
		case m == "password" && id.Password != nil:
			u := id.Password.User
			req.User = identity.UserRef{ID: u.ID, Name: u.Name, Domain: u.Domain.domain()}
			req.Password = u.Password
		case m == "token" && id.Token != nil:
			req.Token = id.Token.ID
		case m == "password" || m == "token":
			return nil, fault.Invalid("identity", "Expecting to find %s in identity. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.", m)
		}
	}
	var err error
	if req.Scope, err = readScope(in.Auth.Scope); err != nil {
		return nil, err
	}
	token, t, err := f.svc.IssueToken(r.Context(), req)
	if err != nil {
		return nil, err
	}
	body, err := f.tokenView(r, t)
	if err != nil {
		return nil, err
	}
	return &httpapi.Response{Status: http.StatusCreated, Header: http.Header{"X-Subject-Token": {token}}, Body: body}, nil
}

// readScope: exactly one form, or none at all.
func readScope(raw json.RawMessage) (identity.Scope, error) {
	var sc identity.Scope
	if len(raw) == 0 {
		return sc, nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil {
		if word != "unscoped" {
			return sc, fault.Invalid("scope", "Invalid input for field 'scope': '%s' is not 'unscoped'.", word)
		}
		sc.Unscoped = true
		return sc, nil
	}
	var in scopeJSON
	if err := json.Unmarshal(raw, &in); err != nil {
		return sc, fault.Invalid("scope", "Invalid input for field 'scope': %v", err)
	}
	forms := 0
	if in.Project != nil {
		forms++
		sc.Project = &identity.ProjectRef{ID: in.Project.ID, Name: in.Project.Name, Domain: in.Project.Domain.domain()}
	}
	if in.Domain != nil {
		forms++
		d := in.Domain.domain()
		sc.Domain = &d
	}
	if in.System != nil {
		forms++
		sc.System = true
	}
	if in.Unscoped != nil {
		forms++
		sc.Unscoped = true
	}
	if in.Trust != nil {
		return sc, fault.NotImplemented("Scoping to a trust is not supported by this cloud.")
	}
	if forms != 1 {
		return sc, fault.Invalid("scope", "Invalid input for field 'scope': exactly one of project, domain, system, unscoped is expected.")
	}
	return sc, nil
}

// subject gives the token in X-Subject-Token; 404 if there is none or it is not valid.
func (f *face) subject(r *httpapi.Request) (*identity.Token, error) {
	token := r.Header.Get("X-Subject-Token")
	if token == "" {
		return nil, fault.NotFound("No token in the request")
	}
	return f.svc.Subject(r.Context(), token, is(flag(r, "allow_expired")) && (r.Creds.IsAdmin() || r.Creds.HasRole("service")))
}

// subjectTarget is whose token it is. One that is not valid is anybody's: the handler answers 404, as Keystone, which looks a token up before
// it asks the policy (a client that has revoked its token asks whether it is gone).
func (f *face) subjectTarget(r *httpapi.Request) policy.Target {
	t, err := f.subject(r)
	if err != nil {
		return policy.Target{"user_id": r.Creds.UserID}
	}
	return policy.Target{"user_id": t.UserID}
}

// showToken is GET and HEAD /v3/auth/tokens.
func (f *face) showToken(r *httpapi.Request) (any, error) {
	t, err := f.subject(r)
	if err != nil {
		return nil, err
	}
	body, err := f.tokenView(r, t)
	if err != nil {
		return nil, err
	}
	return &httpapi.Response{Header: http.Header{"X-Subject-Token": {r.Header.Get("X-Subject-Token")}}, Body: body}, nil
}

// revokeToken is DELETE /v3/auth/tokens.
func (f *face) revokeToken(r *httpapi.Request) (any, error) {
	if _, err := f.subject(r); err != nil {
		return nil, err
	}
	return nil, f.svc.Revoke(r.Context(), r.Header.Get("X-Subject-Token"))
}

// tokenView is the body of a token: {"token": {…}}.
func (f *face) tokenView(r *httpapi.Request, t *identity.Token) (any, error) {
	v := obj{"methods": t.Methods, "audit_ids": t.AuditIDs, "issued_at": stamp(t.IssuedAt), "expires_at": stamp(t.ExpiresAt),
		"user": obj{"id": t.UserID, "name": t.UserName, "domain": obj{"id": t.UserDomainID, "name": t.UserDomainName}, "password_expires_at": nil}}
	switch {
	case t.ProjectID != "":
		domain := obj{"id": null(t.ProjectDomainID), "name": null(t.ProjectDomainName)}
		v["project"] = obj{"id": t.ProjectID, "name": t.ProjectName, "domain": domain}
		v["is_domain"] = t.IsDomain
	case t.DomainID != "":
		v["domain"] = obj{"id": t.DomainID, "name": t.DomainName}
	case t.System:
		v["system"] = obj{"all": true}
	}
	if t.Scoped() {
		roles := make([]obj, len(t.Roles))
		for i := range t.Roles {
			roles[i] = obj{"id": t.RoleIDs[i], "name": t.Roles[i]}
		}
		v["roles"] = roles
		if !is(flag(r, "nocatalog")) {
			catalog, err := f.catalogView(r, t)
			if err != nil {
				return nil, err
			}
			v["catalog"] = catalog
		}
	}
	return obj{"token": v}, nil
}

func stamp(t time.Time) string { return t.UTC().Format(micros) }

// catalogView is the v3 catalog.
func (f *face) catalogView(r *httpapi.Request, t *identity.Token) ([]obj, error) {
	entries, err := f.svc.Catalog(r.Context(), t)
	if err != nil {
		return nil, err
	}
	out := make([]obj, len(entries))
	for i, e := range entries {
		eps := make([]obj, len(e.Endpoints))
		for j, p := range e.Endpoints {
			eps[j] = obj{"id": p.ID, "interface": p.Interface, "region": null(p.Region), "region_id": null(p.Region), "url": p.URL}
		}
		out[i] = obj{"id": e.ID, "type": e.Type, "name": e.Name, "endpoints": eps}
	}
	return out, nil
}

// bearer is the caller's own token in clear.
func (f *face) bearer(r *httpapi.Request) (*identity.Token, error) {
	return f.svc.Validate(r.Context(), r.Header.Get("X-Auth-Token"))
}

// ownCatalog is GET /v3/auth/catalog.
func (f *face) ownCatalog(r *httpapi.Request) (any, error) {
	t, err := f.bearer(r)
	if err != nil {
		return nil, err
	}
	if !t.Scoped() {
		return nil, fault.Forbidden("You are not authorized to perform the requested action: an unscoped token has no catalog.")
	}
	catalog, err := f.catalogView(r, t)
	return obj{"catalog": catalog, "links": obj{"self": selfURL(r), "next": nil, "previous": nil}}, err
}

// ownProjects is GET /v3/auth/projects.
func (f *face) ownProjects(r *httpapi.Request) (any, error) {
	ps, err := f.svc.UserProjects(r.Context(), r.Creds.UserID, true)
	if err != nil {
		return nil, err
	}
	return list(r, "projects", ps, func(p *identity.Project) map[string]any { return projectView(r, p) })
}

// ownDomains is GET /v3/auth/domains.
func (f *face) ownDomains(r *httpapi.Request) (any, error) {
	ps, err := f.svc.UserDomains(r.Context(), r.Creds.UserID)
	if err != nil {
		return nil, err
	}
	return list(r, "domains", ps, func(p *identity.Project) map[string]any { return domainView(r, p) })
}

// ownSystem is GET /v3/auth/system.
func (f *face) ownSystem(r *httpapi.Request) (any, error) {
	has, err := f.svc.HasSystemRole(r.Context(), r.Creds.UserID)
	out := []obj{}
	if has {
		out = append(out, obj{"all": true})
	}
	return obj{"system": out, "links": obj{"self": selfURL(r)}}, err
}
