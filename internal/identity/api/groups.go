package api

import (
	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

type groupJSON struct {
	Name        opt[string] `json:"name"`
	DomainID    opt[string] `json:"domain_id"`
	Description opt[string] `json:"description"`
}

func groupView(r *httpapi.Request, g *identity.Group) map[string]any {
	v := view(r, g.Extra.V, "groups", g.ID)
	v["id"], v["name"], v["domain_id"], v["description"] = g.ID, g.Name, g.DomainID, g.Description
	return v
}

func (f *face) groupTarget(r *httpapi.Request) policy.Target {
	g, err := f.svc.Group(r.Context(), r.Param("id"))
	if err != nil {
		return policy.Target{}
	}
	return policy.Target{"domain_id": g.DomainID}
}

// memberTarget names a domain only if group and user are both in it.
func (f *face) memberTarget(r *httpapi.Request) policy.Target {
	t := f.groupTarget(r)
	if u, err := f.svc.User(r.Context(), r.Param("user")); err != nil || u.DomainID != t["domain_id"] {
		return policy.Target{}
	}
	return t
}

func (f *face) listGroups(r *httpapi.Request) (any, error) {
	gs, err := f.svc.Groups(r.Context(), identity.GroupFilter{Name: r.URL.Query().Get("name"), DomainID: listDomain(r)})
	if err != nil {
		return nil, err
	}
	return list(r, "groups", gs, func(g *identity.Group) map[string]any { return groupView(r, g) })
}

func (f *face) createGroup(r *httpapi.Request) (any, error) {
	in, extra, err := read[groupJSON](r, "group")
	if err != nil {
		return nil, err
	}
	g := identity.Group{Name: in.Name.v, DomainID: in.DomainID.or(ownDomain(r)), Description: in.Description.v}
	g.Extra.V = extra
	out, err := f.svc.CreateGroup(r.Context(), g)
	if err != nil {
		return nil, err
	}
	return created(obj{"group": groupView(r, out)}), nil
}

func (f *face) showGroup(r *httpapi.Request) (any, error) {
	g, err := f.svc.Group(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"group": groupView(r, g)}, nil
}

func (f *face) updateGroup(r *httpapi.Request) (any, error) {
	in, extra, err := read[groupJSON](r, "group")
	if err != nil {
		return nil, err
	}
	g, err := f.svc.UpdateGroup(r.Context(), r.Param("id"), func(g *identity.Group) error {
		in.Name.into(&g.Name)
		in.DomainID.into(&g.DomainID)
		in.Description.into(&g.Description)
		g.Extra.V = merge(g.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"group": groupView(r, g)}, nil
}

func (f *face) deleteGroup(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeleteGroup(r.Context(), r.Param("id"))
}

func (f *face) groupUsers(r *httpapi.Request) (any, error) {
	if _, err := f.svc.Group(r.Context(), r.Param("id")); err != nil {
		return nil, err
	}
	us, err := f.svc.Users(r.Context(), identity.UserFilter{GroupID: r.Param("id"), Name: r.URL.Query().Get("name"), Enabled: flag(r, "enabled")})
	if err != nil {
		return nil, err
	}
	return list(r, "users", us, func(u *identity.User) map[string]any { return userView(r, u) })
}

func (f *face) addMember(r *httpapi.Request) (any, error) {
	return nil, f.svc.AddMember(r.Context(), r.Param("id"), r.Param("user"))
}

func (f *face) removeMember(r *httpapi.Request) (any, error) {
	return nil, f.svc.RemoveMember(r.Context(), r.Param("id"), r.Param("user"))
}

func (f *face) checkMember(r *httpapi.Request) (any, error) {
	return nil, f.svc.IsMember(r.Context(), r.Param("id"), r.Param("user"))
}
