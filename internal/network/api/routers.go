package api

import (
	"net/http"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
	"nephos/internal/policy"
)

var routerSpec = spec{
	name: "router", collection: "routers", path: "routers", kind: network.KindRouter, missing: "RouterNotFound", label: "Router",
	push: []string{"id", "name", "project_id"},
	attrs: append(standard(true), []attr{
		{name: "name", set: both}, {name: "admin_state_up", kind: kBool, set: both}, {name: "status"},
		{name: "external_gateway_info", kind: kObject, set: both, null: true, keys: []string{"network_id", "enable_snat", "external_fixed_ips"}},
		{name: "routes", kind: kObjects, set: put, null: true, keys: []string{"destination", "nexthop"}},
		{name: "availability_zones", kind: kStrings}, {name: "availability_zone_hints", kind: kStrings, set: post},
		{name: "distributed", kind: kBool, set: both, null: true, setRule: adminOnly, getRule: adminOnly, check: single("distributed")},
		{name: "ha", kind: kBool, set: both, null: true, setRule: adminOnly, getRule: adminOnly, check: single("ha")},
	}...),
}

// single refuses kinds of routers that run on more than one host.
func single(name string) func(any) error {
	return func(v any) error {
		if v == true {
			return fault.Invalid(name, "Invalid input for %s. Reason: a router runs on one host here.", name).WithType("HTTPBadRequest")
		}
		return nil
	}
}

func (s *server) routers() *resource[network.RouterPatch, network.RouterView] {
	return &resource[network.RouterPatch, network.RouterView]{
		spec: routerSpec, s: s, extra: s.gatewayFields,
		list: func(r *httpapi.Request, sc network.Scope, q network.Query) ([]network.RouterView, error) {
			return s.svc.Routers(r.Context(), sc, q)
		},
		view: s.routerView,
		create: func(r *httpapi.Request, ps []network.RouterPatch) ([]network.RouterView, error) {
			return s.svc.CreateRouters(r.Context(), ps)
		},
		update: func(r *httpapi.Request, id string, p network.RouterPatch, c *network.Cond) (network.RouterView, error) {
			return s.svc.UpdateRouter(r.Context(), id, p, c)
		},
		remove: func(r *httpapi.Request, id string) error { return s.svc.DeleteRouter(r.Context(), id) },
	}
}

// gatewayFields asks the rules inside external_gateway_info and that its network is one the caller can see.
func (s *server) gatewayFields(r *httpapi.Request, verb string, obj map[string]any, t policy.Target) error {
	g, _ := obj["external_gateway_info"].(map[string]any)
	for _, k := range []string{"enable_snat", "external_fixed_ips"} {
		if _, ok := g[k]; ok {
			if err := allowed(r, verb+"_router:external_gateway_info:"+k, t); err != nil {
				return err
			}
		}
	}
	if len(g) == 0 {
		return nil
	}
	if text(g["network_id"]) == "" {
		return fault.Invalid("external_gateway_info", "Invalid input for external_gateway_info. Reason: Validation of dictionary's keys failed. Expected keys: {'network_id'}.").WithType("HTTPBadRequest")
	}
	return s.networkTarget(r, g, policy.Target{})
}

func (s *server) routerView(v *network.RouterView) map[string]any {
	var gateway any
	if v.Gateway != nil {
		fixed := make([]map[string]any, len(v.Gateway.Fixed))
		for i, f := range v.Gateway.Fixed {
			fixed[i] = map[string]any{"subnet_id": f.SubnetID, "ip_address": f.IP}
		}
		gateway = map[string]any{"network_id": v.Gateway.NetworkID, "enable_snat": v.EnableSNAT, "external_fixed_ips": fixed}
	}
	zones := []string{}
	if v.Host != "" {
		zones = append(zones, s.svc.Zone())
	}
	return stamp(map[string]any{
		"id": v.ID, "name": v.Name, "project_id": v.ProjectID, "admin_state_up": v.AdminStateUp, "status": "ACTIVE", "external_gateway_info": gateway,
		"routes": list(v.Routes.V), "availability_zones": zones, "availability_zone_hints": list(v.ZoneHints.V), "distributed": false, "ha": false,
	}, &v.Standard, true)
}

func (s *server) routerRoutes(x *resource[network.RouterPatch, network.RouterView]) []httpapi.Route {
	act := func(action string, h func(r *httpapi.Request, have map[string]any) (any, error)) httpapi.Route {
		return httpapi.Route{Method: http.MethodPut, Path: "/routers/{id}/" + action, Name: "routers." + action, Handler: func(r *httpapi.Request) (any, error) {
			have, err := x.find(r)
			if err != nil {
				return nil, err
			}
			if err := allowed(r, action, policy.Target{"project_id": text(have["project_id"])}); err != nil {
				return nil, err
			}
			return h(r, have)
		}}
	}
	return []httpapi.Route{
		act("add_router_interface", s.addInterface), act("remove_router_interface", s.removeInterface),
		act("add_extraroutes", func(r *httpapi.Request, _ map[string]any) (any, error) { return s.editRoutes(r, x, true) }),
		act("remove_extraroutes", func(r *httpapi.Request, _ map[string]any) (any, error) { return s.editRoutes(r, x, false) }),
	}
}

// leg reads the body of the interface actions.
func interfaceBody(r *httpapi.Request) (subnet, port string, err error) {
	doc, ok := r.Document().(map[string]any)
	if !ok {
		return "", "", fault.Invalid("", "Bad router request: Missing data.").WithType("BadRequest")
	}
	for _, k := range []string{"subnet_id", "port_id"} {
		v, given := doc[k]
		if !given {
			continue
		}
		id, isText := v.(string)
		if !isText || !uuidForm.MatchString(id) {
			return "", "", fault.Invalid(k, "Invalid input for %s. Reason: '%v' is not a valid UUID.", k, v).WithType("HTTPBadRequest")
		}
		if k == "subnet_id" {
			subnet = id
		} else {
			port = id
		}
	}
	if subnet == "" && port == "" {
		err = fault.Invalid("subnet_id", "Bad router request: Either subnet_id or port_id must be specified.").WithType("BadRequest")
	}
	return subnet, port, err
}

func interfaceView(i network.Interface) map[string]any {
	return map[string]any{"id": i.RouterID, "tenant_id": i.ProjectID, "project_id": i.ProjectID, "port_id": i.PortID, "subnet_id": i.SubnetIDs[0],
		"subnet_ids": i.SubnetIDs, "network_id": i.NetworkID, "tags": []string{}}
}

func (s *server) addInterface(r *httpapi.Request, _ map[string]any) (any, error) {
	subnet, port, err := interfaceBody(r)
	if err == nil && subnet != "" && port != "" {
		err = fault.Invalid("port_id", "Bad router request: Cannot specify both subnet-id and port-id.").WithType("BadRequest")
	}
	if err != nil {
		return nil, err
	}
	i, err := s.svc.AddInterface(r.Context(), scope(r), r.Param("id"), subnet, port)
	if err != nil {
		return nil, err
	}
	return interfaceView(i), nil
}

func (s *server) removeInterface(r *httpapi.Request, _ map[string]any) (any, error) {
	subnet, port, err := interfaceBody(r)
	if err != nil {
		return nil, err
	}
	i, err := s.svc.RemoveInterface(r.Context(), r.Param("id"), subnet, port)
	if err != nil {
		return nil, err
	}
	return interfaceView(i), nil
}

func (s *server) editRoutes(r *httpapi.Request, x *resource[network.RouterPatch, network.RouterView], add bool) (any, error) {
	in, err := x.object(r)
	if err != nil {
		return nil, err
	}
	obj, err := x.body(in, put)
	if err != nil {
		return nil, err
	}
	var p network.RouterPatch
	if err := decode(obj, &p); err != nil {
		return nil, err
	}
	v, err := s.svc.EditRoutes(r.Context(), r.Param("id"), add, p.Routes.V)
	if err != nil {
		return nil, err
	}
	return map[string]any{"router": x.seen(r, &v)}, nil
}
