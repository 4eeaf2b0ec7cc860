package api

import (
	"encoding/json"
	"errors"
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
	Trust    *refJSON        `json:"OS-TRUST:trust"`
}

func (r *refJSON) user() identity.UserRef {
	if r == nil {
		return identity.UserRef{}
	}
	return identity.UserRef{ID: r.ID, Name: r.Name, Domain: r.Domain.domain()}
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
			TOTP *struct {
				User struct {
					refJSON
					Passcode string `json:"passcode"`
				} `json:"user"`
			} `json:"totp"`
			AppCred *struct {
				ID     string   `json:"id"`
				Name   string   `json:"name"`
				Secret string   `json:"secret"`
				User   *refJSON `json:"user"`
			} `json:"application_credential"`
			OAuth1 json.RawMessage `json:"oauth1"`
		} `json:"identity"`
		Scope json.RawMessage `json:"scope"`
	} `json:"auth"`
}

// request is what identity is asked for. A method that is named but not described is a 400; one that nobody knows is left to identity, which refuses it.
func (in *authJSON) request(r *httpapi.Request) (identity.AuthRequest, error) {
	id := in.Auth.Identity
	req := identity.AuthRequest{Methods: id.Methods, From: clientHost(r), Receipt: r.Header.Get("Openstack-Auth-Receipt")}
	for _, m := range id.Methods {
		there := true
		switch m {
		case "password":
			if there = id.Password != nil; there {
				req.User, req.Password = id.Password.User.user(), id.Password.User.Password
			}
		case "token":
			if there = id.Token != nil; there {
				req.Token = id.Token.ID
			}
		case "totp":
			if there = id.TOTP != nil; there {
				req.TOTP = identity.TOTPLogIn{User: id.TOTP.User.user(), Passcode: id.TOTP.User.Passcode}
			}
		case "application_credential":
			if there = id.AppCred != nil; there {
				a := id.AppCred
				req.AppCred = identity.AppCredLogIn{ID: a.ID, Name: a.Name, Secret: a.Secret, User: a.User.user()}
			}
		case "oauth1":
			req.OAuth = signedRequest(r)
		}
		if !there {
			return req, fault.Invalid("identity", "Expecting to find %s in identity. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.", m)
		}
	}
	var err error
	req.Scope, err = readScope(in.Auth.Scope)
	return req, err
}

// issueToken is POST /v3/auth/tokens.
func (f *face) issueToken(r *httpapi.Request) (any, error) {
	var in authJSON
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	req, err := in.request(r)
	if err != nil {
		return nil, err
	}
	token, t, err := f.svc.IssueToken(r.Context(), req)
	var more *identity.MoreMethodsError
	if errors.As(err, &more) {
		return f.receiptReply(more), nil
	}
	if err != nil {
		return nil, err
	}
	return f.tokenReply(r, http.StatusCreated, token, t)
}

// tokenReply is a new token: its text in the header, what it says in the body.
func (f *face) tokenReply(r *httpapi.Request, status int, id string, t *identity.Token) (any, error) {
	body, err := f.tokenView(r, t)
	if err != nil {
		return nil, err
	}
	return &httpapi.Response{Status: status, Header: http.Header{"X-Subject-Token": {id}}, Body: body}, nil
}

// receiptReply is the 401 that asks for more factors.
func (f *face) receiptReply(e *identity.MoreMethodsError) *httpapi.Response {
	u := e.User
	return &httpapi.Response{Status: http.StatusUnauthorized,
		Header: http.Header{"Openstack-Auth-Receipt": {e.Receipt}, "Www-Authenticate": {`Keystone uri="` + f.authURI + `"`}},
		Body: obj{"required_auth_methods": e.Required, "receipt": obj{"methods": e.Methods, "issued_at": stamp(e.IssuedAt), "expires_at": stamp(e.ExpiresAt),
			"user": obj{"id": u.ID, "name": u.Name, "domain": obj{"id": u.DomainID, "name": e.DomainName}}}}}
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
		forms++
		sc.Trust = in.Trust.ID
	}
	if forms != 1 {
		return sc, fault.Invalid("scope", "Invalid input for field 'scope': exactly one of project, domain, system, OS-TRUST:trust, unscoped is expected.")
	}
	return sc, nil
}

// subject gives the token in X-Subject-Token; 404 if there is none or it is not valid.
func (f *face) subject(r *httpapi.Request) (*identity.Token, error) {
	token := r.Header.Get("X-Subject-Token")
	if token == "" {
		return nil, fault.NotFound("No token in the request")
	}
	t, err := f.svc.Subject(r.Context(), token, is(flag(r, "allow_expired")) && (r.Creds.IsAdmin() || r.Creds.HasRole("service")))
	if err == nil && t.Ruled && r.Header.Get("Openstack-Identity-Access-Rules") == "" {
		// A service that does not know access rules would let the token do everything.
		return nil, fault.NotFound("Could not find token: it has access rules, and the request does not say that they are understood.")
	}
	return t, err
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

// showToken is GET /v3/auth/tokens.
func (f *face) showToken(r *httpapi.Request) (any, error) {
	t, err := f.subject(r)
	if err != nil {
		return nil, err
	}
	return f.tokenReply(r, http.StatusOK, r.Header.Get("X-Subject-Token"), t)
}

// checkToken is HEAD /v3/auth/tokens: the answer without a body.
func (f *face) checkToken(r *httpapi.Request) (any, error) {
	if _, err := f.subject(r); err != nil {
		return nil, err
	}
	return &httpapi.Response{Status: http.StatusOK, Header: http.Header{"X-Subject-Token": {r.Header.Get("X-Subject-Token")}}}, nil
}

// revokeToken is DELETE /v3/auth/tokens.
func (f *face) revokeToken(r *httpapi.Request) (any, error) {
	if _, err := f.subject(r); err != nil {
		return nil, err
	}
	return nil, f.svc.Revoke(r.Context(), r.Header.Get("X-Subject-Token"))
}

// tokenView is the body of a token: {"token": {…}}. With the catalog it is kept as text in the token for as long as the catalog is the same: most
// validations are of tokens that were validated a moment ago.
func (f *face) tokenView(r *httpapi.Request, t *identity.Token) (any, error) {
	bare := is(flag(r, "nocatalog"))
	at, err := f.svc.CatalogStamp(r.Context())
	if err != nil {
		return nil, err
	}
	if kept := t.Body.Load(); !bare && kept != nil && kept.Catalog == at {
		return json.RawMessage(kept.JSON), nil
	}
	v, err := f.tokenDoc(r, t, bare)
	if bare || err != nil {
		return v, err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	t.Body.Store(&identity.TokenBody{Catalog: at, JSON: text})
	return json.RawMessage(text), nil
}

func (f *face) tokenDoc(r *httpapi.Request, t *identity.Token, bare bool) (any, error) {
	user := obj{"id": t.UserID, "name": t.UserName, "domain": obj{"id": t.UserDomainID, "name": t.UserDomainName}, "password_expires_at": expiry(t.PasswordExpiresAt)}
	v := obj{"methods": t.Methods, "audit_ids": t.AuditIDs, "issued_at": stamp(t.IssuedAt), "expires_at": stamp(t.ExpiresAt), "user": user}
	borrowedView(v, t)
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
		if !bare {
			catalog, err := f.catalogView(r, t)
			if err != nil {
				return nil, err
			}
			v["catalog"] = catalog
		}
	}
	return obj{"token": v}, nil
}

// borrowedView adds what the rights are borrowed from.
func borrowedView(v obj, t *identity.Token) {
	if x := t.Trust; x != nil {
		v["OS-TRUST:trust"] = obj{"id": x.ID, "impersonation": x.Impersonation, "trustor_user": obj{"id": x.TrustorID}, "trustee_user": obj{"id": x.TrusteeID}}
	}
	if x := t.AppCredential; x != nil {
		a := obj{"id": x.ID, "name": x.Name, "restricted": x.Restricted}
		if t.Ruled {
			rules := []obj{}
			for _, r := range t.AccessRules {
				rules = append(rules, obj{"id": r.ID, "service": r.Service, "method": r.Method, "path": r.Path})
			}
			a["access_rules"] = rules
		}
		v["application_credential"] = a
	}
	if t.AccessTokenID != "" {
		v["OS-OAUTH1"] = obj{"access_token_id": t.AccessTokenID, "consumer_id": t.ConsumerID}
	}
}

// expiry is when a password ends, in Keystone's form without a zone; null for never.
func expiry(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
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
