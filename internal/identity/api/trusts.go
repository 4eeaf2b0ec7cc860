package api

import (
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

func (f *face) trustRoutes() []httpapi.Route {
	const base = "/OS-TRUST/trusts"
	return []httpapi.Route{
		{Method: "GET", Path: base, Name: "trusts.list", Rule: "identity:list_trusts", Target: trustQuery, Handler: f.listTrusts},
		{Method: "POST", Path: base, Name: "trusts.create", Rule: "identity:create_trust", Target: trustorInBody, Body: trustBody, Handler: f.createTrust},
		{Method: "GET", Path: base + "/{id}", Name: "trusts.show", Rule: "identity:get_trust", Target: f.trustTarget, Handler: f.showTrust},
		{Method: "DELETE", Path: base + "/{id}", Name: "trusts.delete", Rule: "identity:delete_trust", Target: f.trustTarget, Handler: f.deleteTrust},
		{Method: "GET", Path: base + "/{id}/roles", Name: "trusts.roles", Rule: "identity:list_roles_for_trust", Target: f.trustTarget, Handler: f.listTrustRoles},
		{Method: "GET", Path: base + "/{id}/roles/{role}", Name: "trusts.role", Rule: "identity:get_role_for_trust", Target: f.trustTarget, Handler: f.showTrustRole},
	}
}

// readTime reads the forms of ISO 8601 that clients send; "" is no time.
func readTime(field, text string) (db.Time, error) {
	if text == "" {
		return db.Time{}, nil
	}
	for _, form := range []string{"2006-01-02T15:04:05.999999Z07:00", "2006-01-02T15:04:05.999999", "2006-01-02 15:04:05.999999", "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if t, err := time.Parse(form, text); err == nil {
			return db.At(t), nil
		}
	}
	return db.Time{}, fault.Invalid(field, "Invalid input for field '%s': '%s' is not a time in ISO 8601, such as 2030-01-31T12:00:00Z.", field, text)
}

// sameUser refuses to act for somebody else with one's own token, which policy may allow but cannot mean.
func sameUser(r *httpapi.Request, t *identity.Token) error {
	if r.Param("id") != t.UserID {
		return fault.Forbidden("You are not authorized to perform the requested action: only the user can delegate rights.")
	}
	return nil
}

func trustView(r *httpapi.Request, t *identity.Trust, roles bool) map[string]any {
	v := view(r, t.Extra.V, "OS-TRUST", "trusts", t.ID)
	v["id"], v["trustor_user_id"], v["trustee_user_id"], v["project_id"], v["impersonation"] = t.ID, t.TrustorUserID, t.TrusteeUserID, t.ProjectID, t.Impersonation
	v["expires_at"], v["remaining_uses"], v["redelegation_count"], v["deleted_at"] = nil, t.RemainingUses, t.RedelegationCount, nil
	if !t.ExpiresAt.IsZero() {
		v["expires_at"] = stamp(t.ExpiresAt.Time)
	}
	if t.RedelegatedTrustID != nil {
		v["redelegated_trust_id"] = *t.RedelegatedTrustID
	}
	if roles {
		rs := []obj{}
		for i := range t.Roles {
			rs = append(rs, roleView(r, &t.Roles[i]))
		}
		v["roles"] = rs
		v["roles_links"] = obj{"self": r.Link("OS-TRUST", "trusts", t.ID, "roles"), "next": nil, "previous": nil}
	}
	return v
}

func trustQuery(r *httpapi.Request) policy.Target {
	q := r.URL.Query()
	t := policy.Target{}
	for key, name := range map[string]string{"trustor_user_id": "trustor_user_id", "trustee_user_id": "trustee_user_id"} {
		if v := q.Get(key); v != "" {
			t[name] = v
		}
	}
	return t
}

func trustorInBody(r *httpapi.Request) policy.Target {
	doc, _ := r.Document().(map[string]any)
	inner, _ := doc["trust"].(map[string]any)
	trustor, _ := inner["trustor_user_id"].(string)
	return policy.Target{"trustor_user_id": trustor}
}

// trustTarget is the trust in the path. One that is not there is anybody's: the handler answers 404, as Keystone, which loads it first.
func (f *face) trustTarget(r *httpapi.Request) policy.Target {
	t, err := f.svc.Trust(r.Context(), r.Param("id"))
	if err != nil {
		return policy.Target{"trustor_user_id": r.Creds.UserID}
	}
	return policy.Target{"trustor_user_id": t.TrustorUserID, "trustee_user_id": t.TrusteeUserID}
}

func (f *face) createTrust(r *httpapi.Request) (any, error) {
	type trustJSON struct {
		Trustor           string        `json:"trustor_user_id"`
		Trustee           string        `json:"trustee_user_id"`
		ProjectID         *string       `json:"project_id"`
		Impersonation     bool          `json:"impersonation"`
		ExpiresAt         string        `json:"expires_at"`
		RemainingUses     *int64        `json:"remaining_uses"`
		Roles             []roleRefJSON `json:"roles"`
		AllowRedelegation bool          `json:"allow_redelegation"`
		RedelegationCount *int64        `json:"redelegation_count"`
	}
	in, extra, err := read[trustJSON](r, "trust")
	if err != nil {
		return nil, err
	}
	expires, err := readTime("expires_at", in.ExpiresAt)
	if err != nil {
		return nil, err
	}
	t, err := f.bearer(r)
	if err != nil {
		return nil, err
	}
	n := identity.NewTrust{RoleRefs: roleRefs(in.Roles), AllowRedelegation: in.AllowRedelegation, RedelegationCount: in.RedelegationCount,
		Trust: identity.Trust{TrustorUserID: in.Trustor, TrusteeUserID: in.Trustee, ProjectID: in.ProjectID, Impersonation: in.Impersonation, ExpiresAt: expires, RemainingUses: in.RemainingUses}}
	n.Extra.V = extra
	out, err := f.svc.CreateTrust(r.Context(), t, n)
	if err != nil {
		return nil, err
	}
	return created(obj{"trust": trustView(r, out, true)}), nil
}

// listTrusts: without a filter only for who may see all.
func (f *face) listTrusts(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	ts, err := f.svc.Trusts(r.Context(), identity.TrustFilter{TrustorUserID: q.Get("trustor_user_id"), TrusteeUserID: q.Get("trustee_user_id")})
	if err != nil {
		return nil, err
	}
	return list(r, "trusts", ts, func(t *identity.Trust) map[string]any { return trustView(r, t, false) })
}

func (f *face) showTrust(r *httpapi.Request) (any, error) {
	t, err := f.svc.Trust(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"trust": trustView(r, t, true)}, nil
}

func (f *face) deleteTrust(r *httpapi.Request) (any, error) {
	t, err := f.bearer(r)
	if err != nil {
		return nil, err
	}
	return nil, f.svc.DeleteTrust(r.Context(), t, r.Param("id"))
}

func (f *face) listTrustRoles(r *httpapi.Request) (any, error) {
	t, err := f.svc.Trust(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return list(r, "roles", t.Roles, func(x *identity.Role) map[string]any { return roleView(r, x) })
}

func (f *face) showTrustRole(r *httpapi.Request) (any, error) {
	t, err := f.svc.Trust(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return oneRole(r, t.Roles)
}

// oneRole is that of the path among roles, or 404.
func oneRole(r *httpapi.Request, roles []identity.Role) (any, error) {
	for i := range roles {
		if roles[i].ID == r.Param("role") {
			return obj{"role": roleView(r, &roles[i])}, nil
		}
	}
	return nil, fault.NotFound("Could not find role: %s.", r.Param("role"))
}
