package api

import (
	"net/http"
	"time"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

func (f *face) revokeRoutes() []httpapi.Route {
	gone := func(*httpapi.Request) (any, error) {
		return nil, fault.New(fault.KindGone, "PKI tokens and their certificates are not supported: tokens are Fernet tokens.")
	}
	return []httpapi.Route{
		{Method: "GET", Path: "/OS-REVOKE/events", Name: "revoke.events", Rule: "identity:list_revoke_events", Handler: f.revokeEvents},
		{Method: "GET", Path: "/auth/tokens/OS-PKI/revoked", Name: "tokens.revoked", Rule: "identity:revocation_list", Handler: gone},
		{Method: "GET", Path: "/OS-SIMPLE-CERT/ca", Name: "simple-cert.ca", Public: true, Handler: gone},
		{Method: "GET", Path: "/OS-SIMPLE-CERT/certificates", Name: "simple-cert.certificates", Public: true, Handler: gone},
	}
}

// revokeEvents is GET /v3/OS-REVOKE/events, with `since`.
func (f *face) revokeEvents(r *httpapi.Request) (any, error) {
	since, err := readTime("since", r.URL.Query().Get("since"))
	if err != nil {
		return nil, err
	}
	es, err := f.svc.RevokeEvents(r.Context(), since.Time)
	if err != nil {
		return nil, err
	}
	out := []obj{}
	for _, e := range es {
		v := obj{"issued_before": e.IssuedBefore.UTC().Format(time.RFC3339Nano)}
		for key, value := range map[string]string{"user_id": e.UserID, "project_id": e.ProjectID, "domain_id": e.DomainID, "role_id": e.RoleID,
			"OS-TRUST:trust_id": e.TrustID, "OS-OAUTH1:access_token_id": e.AccessTokenID, "OS-OAUTH1:consumer_id": e.ConsumerID, "audit_id": e.AuditID} {
			if value != "" {
				v[key] = value
			}
		}
		out = append(out, v)
	}
	return &httpapi.Response{Status: http.StatusOK, Body: obj{"events": out, "links": obj{"self": selfURL(r), "next": nil, "previous": nil}}}, nil
}
