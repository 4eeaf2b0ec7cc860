package api

import (
	"nephos/internal/httpapi"
	"nephos/internal/identity"
	"nephos/internal/policy"
)

type roleJSON struct {
	Name        opt[string]      `json:"name"`
	DomainID    opt[string]      `json:"domain_id"`
	Description opt[string]      `json:"description"`
	Options     identity.Options `json:"options"`
}

func roleView(r *httpapi.Request, x *identity.Role) map[string]any {
	v := view(r, x.Extra.V, "roles", x.ID)
	v["id"], v["name"], v["domain_id"], v["description"], v["options"] = x.ID, x.Name, null(x.DomainID), null(x.Description), options(x.Options.V)
	return v
}

func (f *face) listRoles(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	domain := q.Get("domain_id")
	if domain == "None" || domain == "null" {
		domain = ""
	}
	if err := domainRole(r, "list_domain_roles", domain); err != nil {
		return nil, err
	}
	rs, err := f.svc.Roles(r.Context(), identity.RoleFilter{Name: q.Get("name"), DomainID: domain})
	if err != nil {
		return nil, err
	}
	return list(r, "roles", rs, func(x *identity.Role) map[string]any { return roleView(r, x) })
}

func (f *face) createRole(r *httpapi.Request) (any, error) {
	in, extra, err := read[roleJSON](r, "role")
	if err != nil {
		return nil, err
	}
	if err := domainRole(r, "create_domain_role", in.DomainID.v); err != nil {
		return nil, err
	}
	x := identity.Role{Name: in.Name.v, DomainID: in.DomainID.v, Description: in.Description.v}
	x.Options.V, x.Extra.V = mergeOptions(nil, in.Options), extra
	out, err := f.svc.CreateRole(r.Context(), x)
	if err != nil {
		return nil, err
	}
	return created(obj{"role": roleView(r, out)}), nil
}

func (f *face) showRole(r *httpapi.Request) (any, error) {
	x, err := f.svc.Role(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	if err := domainRole(r, "get_domain_role", x.DomainID); err != nil {
		return nil, err
	}
	return obj{"role": roleView(r, x)}, nil
}

func (f *face) updateRole(r *httpapi.Request) (any, error) {
	in, extra, err := read[roleJSON](r, "role")
	if err != nil {
		return nil, err
	}
	x, err := f.svc.UpdateRole(r.Context(), r.Param("id"), func(x *identity.Role) error {
		if err := domainRole(r, "update_domain_role", x.DomainID); err != nil {
			return err
		}
		in.Name.into(&x.Name)
		in.DomainID.into(&x.DomainID)
		in.Description.into(&x.Description)
		x.Options.V = mergeOptions(x.Options.V, in.Options)
		x.Extra.V = merge(x.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"role": roleView(r, x)}, nil
}

func (f *face) deleteRole(r *httpapi.Request) (any, error) {
	if x, err := f.svc.Role(r.Context(), r.Param("id")); err == nil {
		if err := domainRole(r, "delete_domain_role", x.DomainID); err != nil {
			return nil, err
		}
	}
	return nil, f.svc.DeleteRole(r.Context(), r.Param("id"))
}

// brief is a role inside of an inference.
func brief(r *httpapi.Request, x identity.Role) obj {
	return obj{"id": x.ID, "name": x.Name, "links": obj{"self": r.Link("roles", x.ID)}}
}

func (f *face) listImplied(r *httpapi.Request) (any, error) {
	prior, err := f.svc.Role(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	all, err := f.svc.Inferences(r.Context(), prior.ID)
	implies := []obj{}
	for _, x := range all {
		implies = append(implies, brief(r, x.Implied))
	}
	return obj{"role_inference": obj{"prior_role": brief(r, *prior), "implies": implies}, "links": obj{"self": selfURL(r)}}, err
}

func inferenceView(r *httpapi.Request, x *identity.Inference) any {
	return obj{"role_inference": obj{"prior_role": brief(r, x.Prior), "implies": brief(r, x.Implied)}, "links": obj{"self": selfURL(r)}}
}

func (f *face) imply(r *httpapi.Request) (any, error) {
	x, err := f.svc.Imply(r.Context(), r.Param("id"), r.Param("implied"))
	if err != nil {
		return nil, err
	}
	return created(inferenceView(r, x)), nil
}

func (f *face) showImplied(r *httpapi.Request) (any, error) {
	x, err := f.svc.Implied(r.Context(), r.Param("id"), r.Param("implied"))
	if err != nil {
		return nil, err
	}
	return inferenceView(r, x), nil
}

func (f *face) checkImplied(r *httpapi.Request) (any, error) {
	_, err := f.svc.Implied(r.Context(), r.Param("id"), r.Param("implied"))
	return nil, err
}

func (f *face) unimply(r *httpapi.Request) (any, error) {
	return nil, f.svc.Unimply(r.Context(), r.Param("id"), r.Param("implied"))
}

func (f *face) listInferences(r *httpapi.Request) (any, error) {
	all, err := f.svc.Inferences(r.Context(), "")
	if err != nil {
		return nil, err
	}
	out := []obj{}
	for i := 0; i < len(all); {
		prior, implies := all[i].Prior, []obj{}
		for ; i < len(all) && all[i].Prior.ID == prior.ID; i++ {
			implies = append(implies, brief(r, all[i].Implied))
		}
		out = append(out, obj{"prior_role": brief(r, prior), "implies": implies})
	}
	return obj{"role_inferences": out, "links": obj{"self": selfURL(r)}}, nil
}

// domainRole holds the rule for roles of domains, which Keystone names apart, besides that of the route.
func domainRole(r *httpapi.Request, rule, domain string) error {
	if domain == "" {
		return nil
	}
	return r.Authorize("identity:"+rule, policy.Target{"domain_id": domain})
}
