package api

import (
	"net/http"

	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

func (f *face) credentialRoutes() []httpapi.Route {
	return []httpapi.Route{
		{Method: "GET", Path: "/credentials", Name: "credentials.list", Rule: "identity:list_credentials", Target: queryUser, Handler: f.listCredentials},
		{Method: "POST", Path: "/credentials", Name: "credentials.create", Rule: "identity:create_credential", Target: bodyUser("credential"), Body: body("credential", credentialAttrs, "blob", "type"), Handler: f.createCredential},
		{Method: "GET", Path: "/credentials/{id}", Name: "credentials.show", Rule: "identity:get_credential", Target: f.credentialTarget, Handler: f.showCredential},
		{Method: "PATCH", Path: "/credentials/{id}", Name: "credentials.update", Rule: "identity:update_credential", Target: f.credentialTarget, Body: body("credential", credentialAttrs), Handler: f.updateCredential},
		{Method: "DELETE", Path: "/credentials/{id}", Name: "credentials.delete", Rule: "identity:delete_credential", Target: f.credentialTarget, Handler: f.deleteCredential},

		{Method: "GET", Path: "/users/{id}/credentials/OS-EC2", Name: "ec2.list", Rule: "identity:ec2_list_credentials", Target: pathUser, Handler: f.listEC2},
		{Method: "POST", Path: "/users/{id}/credentials/OS-EC2", Name: "ec2.create", Rule: "identity:ec2_create_credential", Target: pathUser, Body: ec2Body, Status: http.StatusCreated, Handler: f.createEC2},
		{Method: "GET", Path: "/users/{id}/credentials/OS-EC2/{access}", Name: "ec2.show", Rule: "identity:ec2_get_credential", Target: pathUser, Handler: f.showEC2},
		{Method: "DELETE", Path: "/users/{id}/credentials/OS-EC2/{access}", Name: "ec2.delete", Rule: "identity:ec2_delete_credential", Target: pathUser, Handler: f.deleteEC2},
		{Method: "POST", Path: "/ec2tokens", Name: "ec2tokens", Rule: "identity:ec2_validate", Body: signedBody, Handler: f.ec2Token},
		{Method: "POST", Path: "/s3tokens", Name: "s3tokens", Rule: "identity:s3_validate", Body: signedBody, Handler: f.s3Token},
	}
}

type credentialJSON struct {
	Blob      opt[string] `json:"blob"`
	Type      opt[string] `json:"type"`
	UserID    opt[string] `json:"user_id"`
	ProjectID opt[string] `json:"project_id"`
}

func credentialView(r *httpapi.Request, c *identity.Credential) map[string]any {
	v := view(r, c.Extra.V, "credentials", c.ID)
	v["id"], v["user_id"], v["project_id"], v["type"], v["blob"] = c.ID, c.UserID, null(c.ProjectID), c.Type, c.Blob
	return v
}

// pathUser is the target "the user in the path", whether there is one or not.
func pathUser(r *httpapi.Request) policy.Target { return userIs(r.Param("id")) }

func userIs(id string) policy.Target { return policy.Target{"user_id": id} }

// queryUser is the user whose things are listed: the one asked for, or the caller.
func queryUser(r *httpapi.Request) policy.Target {
	if u := r.URL.Query().Get("user_id"); u != "" {
		return userIs(u)
	}
	return userIs(r.Creds.UserID)
}

// bodyUser is the user that the body names, or the caller.
func bodyUser(key string) func(*httpapi.Request) policy.Target {
	return func(r *httpapi.Request) policy.Target {
		doc, _ := r.Document().(map[string]any)
		inner, _ := doc[key].(map[string]any)
		if u, ok := inner["user_id"].(string); ok && u != "" {
			return userIs(u)
		}
		return userIs(r.Creds.UserID)
	}
}

func (f *face) credentialTarget(r *httpapi.Request) policy.Target {
	c, err := f.svc.Credential(r.Context(), r.Param("id"))
	if err != nil {
		return policy.Target{}
	}
	return userIs(c.UserID)
}

func (f *face) listCredentials(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	fl := identity.CredentialFilter{UserID: q.Get("user_id"), Type: q.Get("type"), ProjectID: q.Get("project_id")}
	if fl.UserID == "" && !r.Allowed("admin_or_system_reader", policy.Target{}) {
		fl.UserID = r.Creds.UserID
	}
	cs, err := f.svc.Credentials(r.Context(), fl)
	if err != nil {
		return nil, err
	}
	return list(r, "credentials", cs, func(c *identity.Credential) map[string]any { return credentialView(r, c) })
}

func (f *face) createCredential(r *httpapi.Request) (any, error) {
	in, extra, err := read[credentialJSON](r, "credential")
	if err != nil {
		return nil, err
	}
	t, err := f.bearer(r)
	if err != nil {
		return nil, err
	}
	c := identity.Credential{Blob: in.Blob.v, Type: in.Type.v, UserID: in.UserID.or(r.Creds.UserID), ProjectID: in.ProjectID.v}
	if t.Trust != nil {
		c.TrustID = t.Trust.ID // what it borrowed, the credential borrows too
	}
	if t.AppCredential != nil {
		c.AppCredentialID = t.AppCredential.ID
	}
	c.Extra.V = extra
	out, err := f.svc.CreateCredential(r.Context(), c)
	if err != nil {
		return nil, err
	}
	return created(obj{"credential": credentialView(r, out)}), nil
}

func (f *face) showCredential(r *httpapi.Request) (any, error) {
	c, err := f.svc.Credential(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"credential": credentialView(r, c)}, nil
}

func (f *face) updateCredential(r *httpapi.Request) (any, error) {
	in, extra, err := read[credentialJSON](r, "credential")
	if err != nil {
		return nil, err
	}
	if in.UserID.set { // not to somebody else, unless that is allowed too
		if err := r.Authorize("identity:update_credential", userIs(in.UserID.v)); err != nil {
			return nil, err
		}
	}
	c, err := f.svc.UpdateCredential(r.Context(), r.Param("id"), func(c *identity.Credential) error {
		in.Blob.into(&c.Blob)
		in.Type.into(&c.Type)
		in.UserID.into(&c.UserID)
		in.ProjectID.into(&c.ProjectID)
		c.Extra.V = merge(c.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"credential": credentialView(r, c)}, nil
}

func (f *face) deleteCredential(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteCredential(r.Context(), r.Param("id"))
}

func ec2View(r *httpapi.Request, p *identity.EC2Pair) map[string]any {
	return obj{"user_id": p.UserID, "tenant_id": p.ProjectID, "access": p.Access, "secret": p.Secret, "trust_id": null(p.TrustID),
		"links": obj{"self": r.Link("users", p.UserID, "credentials", "OS-EC2", p.Access)}}
}

func (f *face) listEC2(r *httpapi.Request) (any, error) {
	ps, err := f.svc.EC2Pairs(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return list(r, "credentials", ps, func(p *identity.EC2Pair) map[string]any { return ec2View(r, p) })
}

func (f *face) createEC2(r *httpapi.Request) (any, error) {
	var in struct {
		TenantID string `json:"tenant_id"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	t, err := f.bearer(r)
	if err != nil {
		return nil, err
	}
	p, err := f.svc.CreateEC2(r.Context(), t, r.Param("id"), in.TenantID)
	if err != nil {
		return nil, err
	}
	return obj{"credential": ec2View(r, p)}, nil
}

func (f *face) showEC2(r *httpapi.Request) (any, error) {
	p, err := f.svc.EC2Pair(r.Context(), r.Param("id"), r.Param("access"))
	if err != nil {
		return nil, err
	}
	return obj{"credential": ec2View(r, p)}, nil
}

func (f *face) deleteEC2(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteEC2(r.Context(), r.Param("id"), r.Param("access"))
}

// ec2Token is POST /v3/ec2tokens: 200, in Keystone's way.
func (f *face) ec2Token(r *httpapi.Request) (any, error) {
	id, t, err := f.signedEC2(r)
	if err != nil {
		return nil, err
	}
	return f.tokenReply(r, http.StatusOK, id, t)
}

func (f *face) signedEC2(r *httpapi.Request) (string, *identity.Token, error) {
	var in struct {
		Credentials    *identity.EC2Request `json:"credentials"`
		EC2Credentials *identity.EC2Request `json:"ec2Credentials"`
	}
	if err := r.Decode(&in); err != nil {
		return "", nil, err
	}
	if in.Credentials == nil {
		in.Credentials = in.EC2Credentials
	}
	return f.svc.EC2Token(r.Context(), *in.Credentials)
}

func (f *face) s3Token(r *httpapi.Request) (any, error) {
	var in struct {
		Credentials identity.S3Request `json:"credentials"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	id, t, err := f.svc.S3Token(r.Context(), in.Credentials)
	if err != nil {
		return nil, err
	}
	return f.tokenReply(r, http.StatusOK, id, t)
}
