package api

import (
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
	"nephos/internal/policy"
)

var networkSpec = spec{
	name: "network", collection: "networks", path: "networks", kind: network.KindNetwork, missing: "NetworkNotFound", label: "Network",
	push: []string{"id", "name", "project_id"},
	attrs: append(standard(true), []attr{
		{name: "name", set: both}, {name: "admin_state_up", kind: kBool, set: both}, {name: "status"}, {name: "subnets", kind: kStrings},
		{name: "shared", kind: kBool, set: both, setRule: adminOnly}, {name: "router:external", kind: kBool, set: both, setRule: adminOnly},
		{name: "is_default", kind: kBool, set: both, setRule: adminOnly, setIf: func(v any) bool { return v == true }},
		{name: "mtu", kind: kInt, set: both}, {name: "port_security_enabled", kind: kBool, set: both},
		{name: "availability_zones", kind: kStrings}, {name: "availability_zone_hints", kind: kStrings, set: post},
		{name: "provider:network_type", set: post, setRule: adminOnly, getRule: adminOnly, max: 32},
		{name: "provider:physical_network", set: post, null: true, setRule: adminOnly, getRule: adminOnly, max: 64},
		{name: "provider:segmentation_id", kind: kInt, set: post, null: true, setRule: adminOnly, getRule: adminOnly},
	}...),
}

func (s *server) networks() *resource[network.NetworkPatch, network.NetworkView] {
	return &resource[network.NetworkPatch, network.NetworkView]{
		spec: networkSpec, s: s,
		list: func(r *httpapi.Request, sc network.Scope, q network.Query) ([]network.NetworkView, error) {
			return s.svc.Networks(r.Context(), sc, q)
		},
		view: s.networkView,
		create: func(r *httpapi.Request, ps []network.NetworkPatch) ([]network.NetworkView, error) {
			return s.svc.CreateNetworks(r.Context(), ps)
		},
		update: func(r *httpapi.Request, id string, p network.NetworkPatch, c *network.Cond) (network.NetworkView, error) {
			return s.svc.UpdateNetwork(r.Context(), id, p, c)
		},
		remove: func(r *httpapi.Request, id string) error { return s.svc.DeleteNetwork(r.Context(), id) },
	}
}

func (s *server) networkView(v *network.NetworkView) map[string]any {
	var physical, segment any
	if v.NetworkType == "vxlan" {
		segment = v.VNI
	}
	physical = orNull(v.PhysicalNetwork)
	zones := []string{}
	if len(v.SubnetIDs) > 0 {
		zones = append(zones, s.svc.Zone())
	}
	return stamp(map[string]any{
		"id": v.ID, "name": v.Name, "project_id": v.ProjectID, "admin_state_up": v.AdminStateUp, "status": "ACTIVE", "shared": v.Shared,
		"subnets": list(v.SubnetIDs), "router:external": v.External, "is_default": v.IsDefault, "mtu": v.MTU, "port_security_enabled": v.PortSecurity,
		"availability_zones": zones, "availability_zone_hints": list(v.ZoneHints.V),
		"provider:network_type": v.NetworkType, "provider:physical_network": physical, "provider:segmentation_id": segment,
	}, &v.Standard, true)
}

// networkTarget adds the owner and the sharing of the network that a subnet or port is on. The caller must be able to see the network.
func (s *server) networkTarget(r *httpapi.Request, obj map[string]any, t policy.Target) error {
	id := text(obj["network_id"])
	ns, err := s.svc.Networks(r.Context(), scope(r), network.Query{IDs: []string{id}})
	if err != nil {
		return err
	}
	if len(ns) == 0 {
		return fault.NotFound("Network %s could not be found.", id).WithType("NetworkNotFound")
	}
	t["network_project_id"] = ns[0].ProjectID
	if ns[0].Shared {
		t["network_shared"] = "True"
	}
	return nil
}
