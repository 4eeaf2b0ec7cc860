package api

import (
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

type userJSON struct {
	Name             opt[string]      `json:"name"`
	DomainID         opt[string]      `json:"domain_id"`
	Password         opt[string]      `json:"password"`
	Enabled          opt[bool]        `json:"enabled"`
	DefaultProjectID opt[string]      `json:"default_project_id"`
	Options          identity.Options `json:"options"`
}

func userView(r *httpapi.Request, u *identity.User) map[string]any {
	v := view(r, u.Extra.V, "users", u.ID)
	v["id"], v["name"], v["domain_id"], v["enabled"] = u.ID, u.Name, u.DomainID, u.Enabled
	v["options"], v["password_expires_at"] = options(u.Options.V), expiry(u.PasswordExpiresAt.Time)
	if u.DefaultProjectID != "" {
		v["default_project_id"] = u.DefaultProjectID
	}
	return v
}

// ownDomain is where new things go when the request names no domain: the token's.
func ownDomain(r *httpapi.Request) string {
	switch c := r.Creds; {
	case c.DomainID != "":
		return c.DomainID
	case c.ProjectDomainID != "":
		return c.ProjectDomainID
	}
	return identity.DefaultDomain
}

// bodyDomain is the target of a create: the domain that the body names, or the one that will be taken.
func bodyDomain(key string) func(*httpapi.Request) policy.Target {
	return func(r *httpapi.Request) policy.Target {
		doc, _ := r.Document().(map[string]any)
		inner, _ := doc[key].(map[string]any)
		if d, ok := inner["domain_id"].(string); ok {
			return policy.Target{"domain_id": d}
		}
		return policy.Target{"domain_id": ownDomain(r)}
	}
}

// queryDomain is the target of a list: the domain asked for, or the caller's.
func queryDomain(r *httpapi.Request) policy.Target {
	if d := r.URL.Query().Get("domain_id"); d != "" {
		return policy.Target{"domain_id": d}
	}
	return policy.Target{"domain_id": r.Creds.DomainID}
}

// listDomain is the domain to which a list is confined: what was asked for, or that of a caller who sees only one.
func listDomain(r *httpapi.Request) string {
	if d := r.URL.Query().Get("domain_id"); d != "" || r.Allowed("admin_or_system_reader", policy.Target{}) {
		return d
	}
	return r.Creds.DomainID
}

// userTarget is the user in the path; nothing if there is none, so that only who may see all learns that.
func (f *face) userTarget(r *httpapi.Request) policy.Target {
	u, err := f.svc.User(r.Context(), r.Param("id"))
	if err != nil {
		return policy.Target{}
	}
	return policy.Target{"user_id": u.ID, "domain_id": u.DomainID}
}

func (f *face) listUsers(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	expires, err := comparisons(r, "password_expires_at")
	if err != nil {
		return nil, err
	}
	if q.Has("idp_id") || q.Has("protocol_id") || q.Has("unique_id") {
		return list(r, "users", []identity.User{}, func(*identity.User) map[string]any { return nil }) // there are no federated users
	}
	us, err := f.svc.Users(r.Context(), identity.UserFilter{Name: q.Get("name"), DomainID: listDomain(r), Enabled: flag(r, "enabled"),
		DefaultProjectID: q.Get("default_project_id"), PasswordExpires: expires})
	if err != nil {
		return nil, err
	}
	return list(r, "users", us, func(u *identity.User) map[string]any { return userView(r, u) })
}

func (f *face) createUser(r *httpapi.Request) (any, error) {
	in, extra, err := read[userJSON](r, "user")
	if err != nil {
		return nil, err
	}
	u, err := f.svc.CreateUser(r.Context(), identity.NewUser{Name: in.Name.v, DomainID: in.DomainID.or(ownDomain(r)), Password: in.Password.v,
		DefaultProjectID: in.DefaultProjectID.v, Enabled: in.Enabled.or(true), Options: mergeOptions(nil, in.Options), Extra: extra})
	if err != nil {
		return nil, err
	}
	return created(obj{"user": userView(r, u)}), nil
}

func (f *face) showUser(r *httpapi.Request) (any, error) {
	u, err := f.svc.User(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"user": userView(r, u)}, nil
}

func (f *face) updateUser(r *httpapi.Request) (any, error) {
	in, extra, err := read[userJSON](r, "user")
	if err != nil {
		return nil, err
	}
	var password *string
	if in.Password.set {
		password = &in.Password.v
	}
	u, err := f.svc.UpdateUser(r.Context(), r.Param("id"), password, func(u *identity.User) error {
		in.Name.into(&u.Name)
		in.DomainID.into(&u.DomainID)
		in.Enabled.into(&u.Enabled)
		u.Woken = in.Enabled.set && in.Enabled.v
		in.DefaultProjectID.into(&u.DefaultProjectID)
		u.Options.V = mergeOptions(u.Options.V, in.Options)
		u.Extra.V = merge(u.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"user": userView(r, u)}, nil
}

func (f *face) deleteUser(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteUser(r.Context(), r.Param("id"))
}

// changePassword is POST /v3/users/{id}/password: no token needed, the old password proves who asks.
func (f *face) changePassword(r *httpapi.Request) (any, error) {
	var in struct {
		User struct {
			Old string `json:"original_password"`
			New string `json:"password"`
		} `json:"user"`
	}
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	if in.User.New == "" {
		return nil, fault.Invalid("password", "Invalid input for field 'password': it must not be empty.")
	}
	return nil, f.svc.ChangePassword(r.Context(), r.Param("id"), in.User.Old, in.User.New, clientHost(r))
}

func (f *face) userProjects(r *httpapi.Request) (any, error) {
	if _, err := f.svc.User(r.Context(), r.Param("id")); err != nil {
		return nil, err
	}
	ps, err := f.svc.UserProjects(r.Context(), r.Param("id"), false)
	if err != nil {
		return nil, err
	}
	return list(r, "projects", ps, func(p *identity.Project) map[string]any {
		if e := flag(r, "enabled"); e != nil && *e != p.Enabled {
			return nil
		}
		return projectView(r, p)
	})
}

func (f *face) userGroups(r *httpapi.Request) (any, error) {
	if _, err := f.svc.User(r.Context(), r.Param("id")); err != nil {
		return nil, err
	}
	gs, err := f.svc.Groups(r.Context(), identity.GroupFilter{UserID: r.Param("id"), Name: r.URL.Query().Get("name")})
	if err != nil {
		return nil, err
	}
	return list(r, "groups", gs, func(g *identity.Group) map[string]any { return groupView(r, g) })
}

// comparisons reads the filter `op:time`, of which there may be several; a time alone means eq.
func comparisons(r *httpapi.Request, name string) ([]identity.Comparison, error) {
	var out []identity.Comparison
	for _, v := range r.URL.Query()[name] {
		op, text, ok := strings.Cut(v, ":")
		if !ok || op != "" && op[0] >= '0' && op[0] <= '9' {
			op, text = "eq", v
		}
		at, err := readTime(name, text)
		if err != nil {
			return nil, err
		}
		out = append(out, identity.Comparison{Op: op, At: at.Time})
	}
	return out, nil
}
