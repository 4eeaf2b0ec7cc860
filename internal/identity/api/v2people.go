package api

import (
	"encoding/json"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
)

// v2Routes are tokens and what else a client without administrator's rights uses.
func (f *face) v2Routes() []httpapi.Route {
	return []httpapi.Route{
		{Method: "GET", Path: "/v2.0", Name: "v2", Public: true, Handler: f.v2Version},
		{Method: "POST", Path: "/v2.0/tokens", Name: "v2.tokens.create", Public: true, Login: true, Body: v2AuthBody, Handler: f.v2Token},
		{Method: "GET", Path: "/v2.0/tokens/{token}", Name: "v2.tokens.show", Rule: "identity:v2_validate_token", Target: hideToken, Handler: f.v2ShowToken},
		{Method: "HEAD", Path: "/v2.0/tokens/{token}", Name: "v2.tokens.check", Rule: "identity:v2_validate_token", Target: hideToken, Handler: f.v2CheckToken},
		{Method: "DELETE", Path: "/v2.0/tokens/{token}", Name: "v2.tokens.revoke", Rule: "identity:v2_revoke_token", Target: hideToken, Handler: f.v2RevokeToken},
		{Method: "GET", Path: "/v2.0/tokens/{token}/endpoints", Name: "v2.tokens.endpoints", Rule: "identity:v2_validate_token", Target: hideToken, Handler: f.v2TokenEndpoints},
		{Method: "GET", Path: "/v2.0/tokens/revoked", Name: "v2.tokens.revoked", Rule: "admin_required", Handler: noPKI},
		{Method: "GET", Path: "/v2.0/certificates/{which}", Name: "v2.certificates", Public: true, Handler: noPKI},
		{Method: "GET", Path: "/v2.0/extensions", Name: "v2.extensions.list", Public: true, Handler: f.v2Extensions},
		{Method: "GET", Path: "/v2.0/extensions/{alias}", Name: "v2.extensions.show", Public: true, Handler: f.v2Extension},
		{Method: "GET", Path: "/v2.0/tenants", Name: "v2.tenants.list", Handler: f.v2Tenants},
		{Method: "PATCH", Path: "/v2.0/OS-KSCRUD/users/{id}", Name: "v2.users.own-password", Target: pathUser, Rule: "self", Body: body("user", obj{"password": str, "original_password": str}, "password", "original_password"), Handler: f.v2OwnPassword},
		{Method: "POST", Path: "/v2.0/ec2tokens", Name: "v2.ec2tokens", Rule: "identity:ec2_validate", Body: signedBody, Handler: f.v2EC2Token},
		{Method: "GET", Path: "/v2.0/users/{id}/credentials/OS-EC2", Name: "v2.ec2.list", Rule: "identity:ec2_list_credentials", Target: pathUser, Handler: f.listEC2},
		{Method: "POST", Path: "/v2.0/users/{id}/credentials/OS-EC2", Name: "v2.ec2.create", Rule: "identity:ec2_create_credential", Target: pathUser, Body: ec2Body, Handler: f.createEC2},
		{Method: "GET", Path: "/v2.0/users/{id}/credentials/OS-EC2/{access}", Name: "v2.ec2.show", Rule: "identity:ec2_get_credential", Target: pathUser, Handler: f.showEC2},
		{Method: "DELETE", Path: "/v2.0/users/{id}/credentials/OS-EC2/{access}", Name: "v2.ec2.delete", Rule: "identity:ec2_delete_credential", Target: pathUser, Handler: f.deleteEC2},
	}
}

func noPKI(*httpapi.Request) (any, error) {
	return nil, fault.New(fault.KindGone, "PKI tokens and their certificates are not supported: tokens are Fernet tokens.")
}

// v2PeopleRoutes are the admin side's tenants, users and roles (OS-KSADM), with Folsom's codes: 200 also for what is made, 204 for what is gone.
func (f *face) v2PeopleRoutes() []httpapi.Route {
	row := func(method, path, name string, b httpapi.Schemas, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: method, Path: "/v2.0" + path, Name: "v2." + name, Rule: "admin_required", Body: b, Handler: h}
	}
	tenant, newTenant := optionalBody("tenant", v2TenantAttrs), body("tenant", v2TenantAttrs, "name")
	user, newUser := optionalBody("user", v2UserAttrs), body("user", v2UserAttrs, "name")
	const onTenant, onUser = "/tenants/{target}/users/{actor}/roles", "/users/{actor}/roles"
	return []httpapi.Route{
		row("POST", "/tenants", "tenants.create", newTenant, f.v2CreateTenant),
		row("GET", "/tenants/{id}", "tenants.show", nil, f.v2ShowTenant),
		row("POST", "/tenants/{id}", "tenants.update", tenant, f.v2UpdateTenant),
		row("PUT", "/tenants/{id}", "tenants.put", tenant, f.v2UpdateTenant),
		row("DELETE", "/tenants/{id}", "tenants.delete", nil, f.v2DeleteTenant),
		row("GET", "/tenants/{id}/users", "tenants.users", nil, f.v2TenantUsers),

		row("GET", "/users", "users.list", nil, f.v2Users),
		row("POST", "/users", "users.create", newUser, f.v2CreateUser),
		row("GET", "/users/{id}", "users.show", nil, f.v2ShowUser),
		row("PUT", "/users/{id}", "users.update", user, f.v2UpdateUser),
		row("DELETE", "/users/{id}", "users.delete", nil, f.v2DeleteUser),
		row("PUT", "/users/{id}/password", "users.password", user, f.v2UpdateUser),
		row("PUT", "/users/{id}/tenant", "users.tenant", user, f.v2UpdateUser),
		row("PUT", "/users/{id}/enabled", "users.enabled", user, f.v2UpdateUser),
		row("PUT", "/users/{id}/OS-KSADM/password", "users.ksadm-password", user, f.v2UpdateUser),
		row("PUT", "/users/{id}/OS-KSADM/tenant", "users.ksadm-tenant", user, f.v2UpdateUser),
		row("PUT", "/users/{id}/OS-KSADM/enabled", "users.ksadm-enabled", user, f.v2UpdateUser),

		row("GET", "/OS-KSADM/roles", "roles.list", nil, f.v2Roles),
		row("POST", "/OS-KSADM/roles", "roles.create", body("role", obj{"name": anyName}, "name"), f.v2CreateRole),
		row("GET", "/OS-KSADM/roles/{id}", "roles.show", nil, f.v2ShowRole),
		row("DELETE", "/OS-KSADM/roles/{id}", "roles.delete", nil, f.v2DeleteRole),
		row("GET", onTenant, "grants.list", nil, f.v2Grants),
		row("PUT", onTenant+"/OS-KSADM/{role}", "grants.add", nil, f.v2Grant),
		row("DELETE", onTenant+"/OS-KSADM/{role}", "grants.remove", nil, f.v2Ungrant),
		row("GET", onUser, "user-roles.list", nil, f.v2GlobalRoles),
		row("PUT", onUser+"/OS-KSADM/{role}", "user-roles.add", nil, f.v2NoGlobalRoles),
		row("DELETE", onUser+"/OS-KSADM/{role}", "user-roles.remove", nil, f.v2NoGlobalRoles),
		row("GET", "/users/{actor}/roleRefs", "role-refs.list", nil, f.v2RoleRefs),
	}
}

type v2TenantJSON struct {
	Name        opt[string] `json:"name"`
	Description opt[string] `json:"description"`
	Enabled     opt[bool]   `json:"enabled"`
}

func v2TenantView(p *identity.Project) obj {
	v := obj{}
	for k, x := range p.Extra.V {
		v[k] = x
	}
	v["id"], v["name"], v["description"], v["enabled"] = p.ID, p.Name, p.Description, p.Enabled
	return v
}

// v2Tenant is the tenant of an id: a project of the default domain.
func (f *face) v2Tenant(r *httpapi.Request, id string) (*identity.Project, error) {
	p, err := f.svc.Project(r.Context(), id)
	if err == nil && (p.IsDomain || p.DomainID != identity.DefaultDomain) {
		err = fault.NotFound("Could not find project: %s.", id)
	}
	return p, err
}

// v2Tenants is GET /v2.0/tenants: those that the token's user may use, all of them for an administrator, who alone is answered on the admin side; with a name, that one.
func (f *face) v2Tenants(r *httpapi.Request) (any, error) {
	var ps []identity.Project
	var err error
	name := r.URL.Query().Get("name")
	if onAdminSide(r.Context()) {
		if err := r.Authorize("admin_required", r.OwnTarget()); err != nil {
			return nil, err
		}
	}
	if r.Allowed("admin_required", userIs(r.Creds.UserID)) {
		no := false
		ps, err = f.svc.Projects(r.Context(), identity.ProjectFilter{DomainID: identity.DefaultDomain, Name: name, IsDomain: &no})
	} else {
		ps, err = f.svc.UserProjects(r.Context(), r.Creds.UserID, true)
	}
	if err != nil {
		return nil, err
	}
	ps = slices.DeleteFunc(ps, func(p identity.Project) bool {
		return p.DomainID != identity.DefaultDomain || name != "" && p.Name != name
	})
	if name != "" {
		if len(ps) == 0 {
			return nil, fault.NotFound("Could not find project: %s.", name)
		}
		return obj{"tenant": v2TenantView(&ps[0])}, nil
	}
	page, err := r.Page(maxList)
	if err != nil {
		return nil, err
	}
	if page.Marker != "" {
		at := slices.IndexFunc(ps, func(p identity.Project) bool { return p.ID == page.Marker })
		if at < 0 {
			return nil, fault.Invalid("marker", "Marker could not be found")
		}
		ps = ps[at+1:]
	}
	out := []obj{}
	for i := range ps[:min(len(ps), page.Limit)] {
		out = append(out, v2TenantView(&ps[i]))
	}
	return obj{"tenants": out, "tenants_links": []obj{}}, nil
}

func (f *face) v2CreateTenant(r *httpapi.Request) (any, error) {
	in, extra, err := read[v2TenantJSON](r, "tenant")
	if err != nil {
		return nil, err
	}
	p := identity.Project{Name: in.Name.v, DomainID: identity.DefaultDomain, Description: in.Description.v, Enabled: in.Enabled.or(true)}
	p.Extra.V = extra
	out, err := f.svc.CreateProject(r.Context(), p)
	if err != nil {
		return nil, err
	}
	return obj{"tenant": v2TenantView(out)}, nil
}

func (f *face) v2ShowTenant(r *httpapi.Request) (any, error) {
	p, err := f.v2Tenant(r, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"tenant": v2TenantView(p)}, nil
}

func (f *face) v2UpdateTenant(r *httpapi.Request) (any, error) {
	in, extra, err := read[v2TenantJSON](r, "tenant")
	if err != nil {
		return nil, err
	}
	if _, err := f.v2Tenant(r, r.Param("id")); err != nil {
		return nil, err
	}
	p, err := f.svc.UpdateProject(r.Context(), r.Param("id"), func(p *identity.Project) error {
		in.Name.into(&p.Name)
		in.Description.into(&p.Description)
		in.Enabled.into(&p.Enabled)
		p.Extra.V = merge(p.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"tenant": v2TenantView(p)}, nil
}

func (f *face) v2DeleteTenant(r *httpapi.Request) (any, error) {
	if _, err := f.v2Tenant(r, r.Param("id")); err != nil {
		return nil, err
	}
	return nil, f.svc.DeleteProject(r.Context(), r.Param("id"))
}

// v2TenantUsers are those with a role on the tenant.
func (f *face) v2TenantUsers(r *httpapi.Request) (any, error) {
	if _, err := f.v2Tenant(r, r.Param("id")); err != nil {
		return nil, err
	}
	as, err := f.svc.Assignments(r.Context(), identity.AssignmentFilter{ProjectID: r.Param("id"), Effective: true})
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for _, a := range as {
		has[a.UserID] = true
	}
	return f.v2UserList(r, func(u *identity.User) bool { return has[u.ID] })
}

type v2UserJSON struct {
	Name     opt[string] `json:"name"`
	Password opt[string] `json:"password"`
	TenantID opt[string] `json:"tenantId"`
	Enabled  opt[bool]   `json:"enabled"`
}

func v2UserView(u *identity.User) obj {
	v := obj{}
	for k, x := range u.Extra.V {
		v[k] = x
	}
	v["id"], v["name"], v["username"], v["enabled"] = u.ID, u.Name, u.Name, u.Enabled
	if _, ok := v["email"]; !ok {
		v["email"] = nil
	}
	if u.DefaultProjectID != "" {
		v["tenantId"] = u.DefaultProjectID
	}
	return v
}

func (f *face) v2UserList(r *httpapi.Request, want func(*identity.User) bool) (any, error) {
	us, err := f.svc.Users(r.Context(), identity.UserFilter{DomainID: identity.DefaultDomain})
	out := []obj{}
	for i := range us {
		if want(&us[i]) {
			out = append(out, v2UserView(&us[i]))
		}
	}
	return obj{"users": out, "users_links": []obj{}}, err
}

// v2Users is GET /v2.0/users: all, or with `name` the one; `tenantId` those who have that tenant.
func (f *face) v2Users(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	if name := q.Get("name"); name != "" {
		us, err := f.svc.Users(r.Context(), identity.UserFilter{DomainID: identity.DefaultDomain, Name: name})
		if err != nil {
			return nil, err
		}
		if len(us) == 0 {
			return nil, fault.NotFound("Could not find user: %s.", name)
		}
		return obj{"user": v2UserView(&us[0])}, nil
	}
	return f.v2UserList(r, func(u *identity.User) bool { return !q.Has("tenantId") || u.DefaultProjectID == q.Get("tenantId") })
}

func (f *face) v2User(r *httpapi.Request, id string) (*identity.User, error) {
	u, err := f.svc.User(r.Context(), id)
	if err == nil && u.DomainID != identity.DefaultDomain {
		err = fault.NotFound("Could not find user: %s.", id)
	}
	return u, err
}

// v2CreateUser makes a user; with a tenant also a member of it, as Folsom did.
func (f *face) v2CreateUser(r *httpapi.Request) (any, error) {
	in, extra, err := read[v2UserJSON](r, "user")
	if err != nil {
		return nil, err
	}
	if in.TenantID.v != "" {
		if _, err := f.v2Tenant(r, in.TenantID.v); err != nil {
			return nil, err
		}
	}
	delete(extra, "username")
	u, err := f.svc.CreateUser(r.Context(), identity.NewUser{Name: in.Name.v, DomainID: identity.DefaultDomain, Password: in.Password.v, DefaultProjectID: in.TenantID.v,
		Enabled: in.Enabled.or(true), Extra: extra})
	if err != nil {
		return nil, err
	}
	if in.TenantID.v != "" {
		if err := f.v2Member(r, u.ID, in.TenantID.v, true); err != nil {
			return nil, err
		}
	}
	return obj{"user": v2UserView(u)}, nil
}

// v2Member makes a user a member of a tenant, or takes that away.
func (f *face) v2Member(r *httpapi.Request, user, tenant string, join bool) error {
	rs, err := f.svc.Roles(r.Context(), identity.RoleFilter{Name: "member"})
	if err != nil || len(rs) == 0 {
		return err
	}
	g := identity.Grant{UserID: user, Target: identity.OnProject, TargetID: tenant, RoleID: rs[0].ID}
	if join {
		return f.svc.AddGrant(r.Context(), g)
	}
	if err := f.svc.RemoveGrant(r.Context(), g); !fault.IsNotFound(err) {
		return err
	}
	return nil
}

func (f *face) v2ShowUser(r *httpapi.Request) (any, error) {
	u, err := f.v2User(r, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"user": v2UserView(u)}, nil
}

// v2UpdateUser is also the calls for one attribute each. Another tenant means that the user is a member there and no longer of the old one.
func (f *face) v2UpdateUser(r *httpapi.Request) (any, error) {
	in, extra, err := read[v2UserJSON](r, "user")
	if err != nil {
		return nil, err
	}
	before, err := f.v2User(r, r.Param("id"))
	if err != nil {
		return nil, err
	}
	moved := in.TenantID.set && in.TenantID.v != before.DefaultProjectID
	if moved && in.TenantID.v != "" {
		if _, err := f.v2Tenant(r, in.TenantID.v); err != nil {
			return nil, err
		}
		if err := f.v2Member(r, before.ID, in.TenantID.v, true); err != nil {
			return nil, err
		}
	}
	delete(extra, "username")
	u, err := f.svc.UpdateUser(r.Context(), before.ID, in.Password.pointer(), func(u *identity.User) error {
		in.Name.into(&u.Name)
		in.Enabled.into(&u.Enabled)
		u.Woken = in.Enabled.set && in.Enabled.v
		in.TenantID.into(&u.DefaultProjectID)
		u.Extra.V = merge(u.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if moved && before.DefaultProjectID != "" {
		if err := f.v2Member(r, u.ID, before.DefaultProjectID, false); err != nil && !fault.IsNotFound(err) {
			return nil, err
		}
	}
	return obj{"user": v2UserView(u)}, nil
}

func (f *face) v2DeleteUser(r *httpapi.Request) (any, error) {
	if _, err := f.v2User(r, r.Param("id")); err != nil {
		return nil, err
	}
	return nil, f.svc.DeleteUser(r.Context(), r.Param("id"))
}

// v2OwnPassword is PATCH /v2.0/OS-KSCRUD/users/{id}: a new token comes back, because the old ones end.
func (f *face) v2OwnPassword(r *httpapi.Request) (any, error) {
	var in struct {
		User struct {
			Old string `json:"original_password"`
			New string `json:"password"`
		} `json:"user"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	t, err := f.bearer(r)
	if err != nil {
		return nil, err
	}
	if err := f.svc.ChangePassword(r.Context(), r.Param("id"), in.User.Old, in.User.New, clientHost(r)); err != nil {
		return nil, err
	}
	req := identity.AuthRequest{Methods: []string{"password"}, User: identity.UserRef{ID: t.UserID}, Password: in.User.New, From: clientHost(r)}
	if t.ProjectID != "" {
		req.Scope.Project = &identity.ProjectRef{ID: t.ProjectID}
	}
	id, fresh, err := f.svc.IssueToken(r.Context(), req)
	if err != nil {
		return nil, err
	}
	return f.accessView(r, id, fresh)
}

func (f *face) v2EC2Token(r *httpapi.Request) (any, error) {
	id, t, err := f.signedEC2(r)
	if err != nil {
		return nil, err
	}
	return f.accessView(r, id, t)
}

// v2Extended are the extensions that are there.
var v2Extended = []struct{ alias, name, text string }{
	{"OS-KSADM", "OpenStack Keystone Admin", "OpenStack extensions to Identity v2.0 API enabling Administrative Operations."},
	{"OS-KSCRUD", "OpenStack Keystone User CRUD", "OpenStack extensions to Identity v2.0 API enabling User Operations."},
	{"OS-EC2", "OpenStack EC2 API", "OpenStack EC2 Credentials backend."},
}

func extensionView(i int) obj {
	x := v2Extended[i]
	return obj{"alias": x.alias, "name": x.name, "description": x.text, "namespace": "https://docs.openstack.org/identity/api/ext/" + x.alias + "/v1.0",
		"updated": "2013-07-11T17:14:00-00:00", "links": []obj{}}
}

func (f *face) v2Extensions(*httpapi.Request) (any, error) {
	out := []obj{}
	for i := range v2Extended {
		out = append(out, extensionView(i))
	}
	return obj{"extensions": obj{"values": out}}, nil
}

func (f *face) v2Extension(r *httpapi.Request) (any, error) {
	for i := range v2Extended {
		if v2Extended[i].alias == r.Param("alias") {
			return obj{"extension": extensionView(i)}, nil
		}
	}
	return nil, fault.NotFound("Could not find extension: %s.", r.Param("alias"))
}

// text of an extra attribute, "" if it is none.
func extraText(x identity.Extra, key string) string {
	var s string
	if json.Unmarshal(x[key], &s) != nil {
		return ""
	}
	return s
}
