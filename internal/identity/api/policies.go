package api

import (
	"nephos/internal/httpapi"
	"nephos/internal/identity"
)

func (f *face) policyRoutes() []httpapi.Route {
	rows := []httpapi.Route{
		{Method: "GET", Path: "/policies", Name: "policies.list", Rule: "identity:list_policies", Handler: f.listPolicies},
		{Method: "POST", Path: "/policies", Name: "policies.create", Rule: "identity:create_policy", Body: body("policy", policyAttrs, "blob", "type"), Handler: f.createPolicy},
		{Method: "GET", Path: "/policies/{id}", Name: "policies.show", Rule: "identity:get_policy", Handler: f.showPolicy},
		{Method: "PATCH", Path: "/policies/{id}", Name: "policies.update", Rule: "identity:update_policy", Body: body("policy", policyAttrs), Handler: f.updatePolicy},
		{Method: "DELETE", Path: "/policies/{id}", Name: "policies.delete", Rule: "identity:delete_policy", Handler: f.deletePolicy},
		{Method: "GET", Path: "/policies/{id}/OS-ENDPOINT-POLICY/endpoints", Name: "policies.endpoints", Rule: "identity:list_endpoints_for_policy", Handler: f.policyEndpoints},
		{Method: "GET", Path: "/endpoints/{id}/OS-ENDPOINT-POLICY/policy", Name: "endpoints.policy", Rule: "identity:get_policy_for_endpoint", Handler: f.endpointPolicy},
	}
	const base = "/policies/{id}/OS-ENDPOINT-POLICY/"
	for _, x := range []struct{ path, name, rule string }{
		{"endpoints/{endpoint}", "policies.endpoint", "endpoint"}, {"services/{service}", "policies.service", "service"},
		{"services/{service}/regions/{region}", "policies.region", "region_and_service"}} {
		rows = append(rows,
			httpapi.Route{Method: "GET", Path: base + x.path, Name: x.name + "-check", Rule: "identity:check_policy_association_for_" + x.rule,
				Handler: func(r *httpapi.Request) (any, error) {
					return nil, f.svc.PolicyAssociated(r.Context(), r.Param("id"), policyTargetOf(r))
				}},
			httpapi.Route{Method: "PUT", Path: base + x.path, Name: x.name + "-put", Rule: "identity:create_policy_association_for_" + x.rule,
				Handler: func(r *httpapi.Request) (any, error) {
					return nil, f.svc.AssociatePolicy(r.Context(), r.Param("id"), policyTargetOf(r))
				}},
			httpapi.Route{Method: "DELETE", Path: base + x.path, Name: x.name + "-delete", Rule: "identity:delete_policy_association_for_" + x.rule,
				Handler: func(r *httpapi.Request) (any, error) {
					return nil, f.svc.DissociatePolicy(r.Context(), r.Param("id"), policyTargetOf(r))
				}})
	}
	return rows
}

func policyTargetOf(r *httpapi.Request) identity.PolicyTarget {
	return identity.PolicyTarget{EndpointID: r.Param("endpoint"), ServiceID: r.Param("service"), RegionID: r.Param("region")}
}

type policyJSON struct {
	Type opt[string] `json:"type"`
	Blob opt[string] `json:"blob"`
}

func policyView(r *httpapi.Request, p *identity.PolicyBlob) map[string]any {
	v := view(r, p.Extra.V, "policies", p.ID)
	v["id"], v["type"], v["blob"] = p.ID, p.Type, p.Blob
	return v
}

func (f *face) listPolicies(r *httpapi.Request) (any, error) {
	ps, err := f.svc.Policies(r.Context(), r.URL.Query().Get("type"))
	if err != nil {
		return nil, err
	}
	return list(r, "policies", ps, func(p *identity.PolicyBlob) map[string]any { return policyView(r, p) })
}

func (f *face) createPolicy(r *httpapi.Request) (any, error) {
	in, extra, err := read[policyJSON](r, "policy")
	if err != nil {
		return nil, err
	}
	p := identity.PolicyBlob{Type: in.Type.v, Blob: in.Blob.v}
	p.Extra.V = extra
	out, err := f.svc.CreatePolicy(r.Context(), p)
	if err != nil {
		return nil, err
	}
	return created(obj{"policy": policyView(r, out)}), nil
}

func (f *face) showPolicy(r *httpapi.Request) (any, error) {
	p, err := f.svc.Policy(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"policy": policyView(r, p)}, nil
}

func (f *face) updatePolicy(r *httpapi.Request) (any, error) {
	in, extra, err := read[policyJSON](r, "policy")
	if err != nil {
		return nil, err
	}
	p, err := f.svc.UpdatePolicy(r.Context(), r.Param("id"), func(p *identity.PolicyBlob) error {
		in.Type.into(&p.Type)
		in.Blob.into(&p.Blob)
		p.Extra.V = merge(p.Extra.V, extra)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return obj{"policy": policyView(r, p)}, nil
}

func (f *face) deletePolicy(r *httpapi.Request) (any, error) {
	return nil, f.svc.DeletePolicy(r.Context(), r.Param("id"))
}

func (f *face) policyEndpoints(r *httpapi.Request) (any, error) {
	xs, err := f.svc.PolicyEndpoints(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return list(r, "endpoints", xs, func(x *identity.Endpoint) map[string]any { return endpointView(r, x) })
}

func (f *face) endpointPolicy(r *httpapi.Request) (any, error) {
	p, err := f.svc.EndpointPolicy(r.Context(), r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"policy": policyView(r, p)}, nil
}
