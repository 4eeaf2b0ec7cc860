package api

import (
	"log/slog"
	"net/http"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

// Deps is what the face needs besides the service.
type Deps struct {
	Log     *slog.Logger     // nil: discard
	Policy  *policy.Enforcer // with DefaultRules in it; nil: made of them and Rules
	AuthURI string           // for WWW-Authenticate: http://host:5000/v3
	Rules   policy.Rules     // override DefaultRules
	NoV2    bool             // the v2.0 API is not there: 404
}

// face holds the handlers.
type face struct {
	svc     *identity.Service
	authURI string
	v2      bool
}

// New gives the service's table; Compile makes its handler.
func New(svc *identity.Service, d Deps) (*httpapi.Service, error) {
	if d.Policy == nil {
		var err error
		if d.Policy, err = policy.New(policy.Base, DefaultRules, d.Rules); err != nil {
			return nil, err
		}
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	f := &face{svc: svc, authURI: d.AuthURI, v2: !d.NoV2}
	return &httpapi.Service{
		Name: "identity", Auth: svc, AuthURI: d.AuthURI, Policy: d.Policy, Errors: errorStyle, Log: d.Log,
		Mounts: []httpapi.Mount{{Prefix: "/v3"}},
		Routes: varying(f.v3Routes()),
		Root:   varying(f.rootRoutes()),
	}, nil
}

// varying adds Vary to all answers of the handlers, as Keystone does: what is told depends on the token.
func varying(routes []httpapi.Route) []httpapi.Route {
	for i := range routes {
		next := routes[i].Handler
		routes[i].Handler = func(r *httpapi.Request) (any, error) {
			r.W.Header().Set("Vary", "X-Auth-Token")
			return next(r)
		}
	}
	return routes
}

// errorStyle is Keystone's body; a refusal by policy gets Keystone's words instead of oslo.policy's.
func errorStyle(e httpapi.ErrorInfo) (int, any) {
	if e.Kind == fault.KindForbidden {
		if rest, ok := strings.CutPrefix(e.Message, "Policy doesn't allow "); ok {
			e.Message = "You are not authorized to perform the requested action: " + strings.TrimSuffix(rest, " to be performed.") + "."
		}
	}
	return httpapi.KeystoneErrors(e)
}

// created is a 201 with a body.
func created(body any) *httpapi.Response {
	return &httpapi.Response{Status: http.StatusCreated, Body: body}
}
