package api

import (
	"net/http"
	"net/url"

	"nephos/internal/httpapi"
	"nephos/internal/identity"
)

func (f *face) oauthRoutes() []httpapi.Route {
	const tokens = "/users/{id}/OS-OAUTH1/access_tokens"
	return []httpapi.Route{
		{Method: "GET", Path: "/OS-OAUTH1/consumers", Name: "consumers.list", Rule: "identity:list_consumers", Handler: f.listConsumers},
		{Method: "POST", Path: "/OS-OAUTH1/consumers", Name: "consumers.create", Rule: "identity:create_consumer", Body: optionalBody("consumer", obj{"description": nullStr}), Handler: f.createConsumer},
		{Method: "GET", Path: "/OS-OAUTH1/consumers/{id}", Name: "consumers.show", Rule: "identity:get_consumer", Handler: f.showConsumer},
		{Method: "PATCH", Path: "/OS-OAUTH1/consumers/{id}", Name: "consumers.update", Rule: "identity:update_consumer", Body: body("consumer", obj{"description": nullStr}), Handler: f.updateConsumer},
		{Method: "DELETE", Path: "/OS-OAUTH1/consumers/{id}", Name: "consumers.delete", Rule: "identity:delete_consumer", Handler: f.deleteConsumer},

		{Method: "POST", Path: "/OS-OAUTH1/request_token", Name: "oauth.request", Public: true, Login: true, Stream: true, Handler: f.requestToken},
		{Method: "PUT", Path: "/OS-OAUTH1/authorize/{id}", Name: "oauth.authorize", Rule: "identity:authorize_request_token", Body: authorizeBody, Handler: f.authorizeRequest},
		{Method: "POST", Path: "/OS-OAUTH1/access_token", Name: "oauth.access", Public: true, Login: true, Stream: true, Handler: f.accessToken},
		{Method: "GET", Path: tokens, Name: "access-tokens.list", Rule: "identity:list_access_tokens", Target: pathUser, Handler: f.listAccessTokens},
		{Method: "GET", Path: tokens + "/{token}", Name: "access-tokens.show", Rule: "identity:get_access_token", Target: pathUser, Handler: f.showAccessToken},
		{Method: "DELETE", Path: tokens + "/{token}", Name: "access-tokens.delete", Rule: "identity:delete_access_token", Target: pathUser, Handler: f.deleteAccessToken},
		{Method: "GET", Path: tokens + "/{token}/roles", Name: "access-tokens.roles", Rule: "identity:list_access_token_roles", Target: pathUser, Handler: f.accessTokenRoles},
		{Method: "GET", Path: tokens + "/{token}/roles/{role}", Name: "access-tokens.role", Rule: "identity:get_access_token_role", Target: pathUser, Handler: f.accessTokenRole},
	}
}

type consumerJSON struct {
	Description opt[string] `json:"description"`
}

func consumerView(r *httpapi.Request, c *identity.Consumer) map[string]any {
	v := view(r, c.Extra.V, "OS-OAUTH1", "consumers", c.ID)
	v["id"], v["description"] = c.ID, c.Description
	return v
}

func (f *face) listConsumers(r *httpapi.Request) (any, error) {
	cs, err := f.svc.Consumers(r.Context())
	if err != nil {
		return nil, err
	}
	return list(r, "consumers", cs, func(c *identity.Consumer) map[string]any { return consumerView(r, c) })
}

func (f *face) createConsumer(r *httpapi.Request) (any, error) {
	in, extra, err := read[consumerJSON](r, "consumer")
	if err != nil {
		return nil, err
	}
	c := identity.Consumer{Description: in.Description.pointer()}
	delete(extra, "secret")
	c.Extra.V = extra
	out, err := f.svc.CreateConsumer(r.Context(), c)
	if err != nil {
		return nil, err
	}
	v := consumerView(r, out)
	v["secret"] = out.Secret
	return created(obj{"consumer": v}), nil
}

func (f *face) showConsumer(r *httpapi.Request) (any, error) {
	c, err := f.svc.Consumer(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"consumer": consumerView(r, c)}, nil
}

func (f *face) updateConsumer(r *httpapi.Request) (any, error) {
	in, extra, err := read[consumerJSON](r, "consumer")
	if err != nil {
		return nil, err
	}
	delete(extra, "secret")
	c, err := f.svc.UpdateConsumer(r.Context(), r.Param("id"), func(c *identity.Consumer) error {
		if in.Description.set {
			c.Description = in.Description.pointer()
		}
		c.Extra.V = merge(c.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"consumer": consumerView(r, c)}, nil
}

func (f *face) deleteConsumer(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteConsumer(r.Context(), r.Param("id"))
}

// signedRequest is the OAuth signature of a request; nil without one.
func signedRequest(r *httpapi.Request) *identity.SignedRequest {
	return identity.ParseOAuth(r.Method, r.HostURL()+r.Mount.Prefix+r.URL.Path, r.Header.Get("Authorization"), r.URL.Query())
}

// form answers as OAuth wants it: urlencoded, not JSON.
func form(r *httpapi.Request, v url.Values) (any, error) {
	r.W.Header().Set("Content-Type", "application/x-www-form-urlencoded")
	r.W.WriteHeader(http.StatusCreated)
	_, err := r.W.Write([]byte(v.Encode()))
	return nil, err
}

func (f *face) requestToken(r *httpapi.Request) (any, error) {
	id, secret, expires, err := f.svc.RequestToken(r.Context(), signedRequest(r), r.Header.Get("Requested-Project-Id"))
	if err != nil {
		return nil, err
	}
	return form(r, url.Values{"oauth_token": {id}, "oauth_token_secret": {secret}, "oauth_expires_at": {stamp(expires)}})
}

func (f *face) authorizeRequest(r *httpapi.Request) (any, error) {
	var in struct {
		Roles []roleRefJSON `json:"roles"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	t, err := f.bearer(r)
	if err != nil {
		return nil, err
	}
	verifier, err := f.svc.AuthorizeRequest(r.Context(), t, r.Param("id"), roleRefs(in.Roles))
	if err != nil {
		return nil, err
	}
	return obj{"token": obj{"oauth_verifier": verifier}}, nil
}

func (f *face) accessToken(r *httpapi.Request) (any, error) {
	a, err := f.svc.TradeRequest(r.Context(), signedRequest(r))
	if err != nil {
		return nil, err
	}
	return form(r, url.Values{"oauth_token": {a.ID}, "oauth_token_secret": {a.Secret}, "oauth_expires_at": {stamp(a.ExpiresAt.Time)}})
}

func accessTokenView(r *httpapi.Request, a *identity.AccessToken) map[string]any {
	base := []string{"users", a.UserID, "OS-OAUTH1", "access_tokens", a.ID}
	v := obj{"id": a.ID, "consumer_id": a.ConsumerID, "project_id": a.ProjectID, "authorizing_user_id": a.UserID, "expires_at": nil,
		"links": obj{"self": r.Link(base...), "roles": r.Link(append(base, "roles")...)}}
	if !a.ExpiresAt.IsZero() {
		v["expires_at"] = stamp(a.ExpiresAt.Time)
	}
	return v
}

func (f *face) listAccessTokens(r *httpapi.Request) (any, error) {
	as, err := f.svc.AccessTokens(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return list(r, "access_tokens", as, func(a *identity.AccessToken) map[string]any { return accessTokenView(r, a) })
}

func (f *face) showAccessToken(r *httpapi.Request) (any, error) {
	a, _, err := f.svc.AccessToken(r.Context(), r.Param("id"), r.Param("token"))
	if err != nil {
		return nil, err
	}
	return obj{"access_token": accessTokenView(r, a)}, nil
}

func (f *face) deleteAccessToken(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteAccessToken(r.Context(), r.Param("id"), r.Param("token"))
}

func (f *face) accessTokenRoles(r *httpapi.Request) (any, error) {
	_, roles, err := f.svc.AccessToken(r.Context(), r.Param("id"), r.Param("token"))
	if err != nil {
		return nil, err
	}
	return list(r, "roles", roles, func(x *identity.Role) map[string]any { return roleView(r, x) })
}

func (f *face) accessTokenRole(r *httpapi.Request) (any, error) {
	_, roles, err := f.svc.AccessToken(r.Context(), r.Param("id"), r.Param("token"))
	if err != nil {
		return nil, err
	}
	return oneRole(r, roles)
}
