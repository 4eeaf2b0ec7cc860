package api

import (
	"nephos/internal/httpapi"
	"nephos/internal/network"
	"nephos/internal/policy"
)

var floatingSpec = spec{
	name: "floatingip", collection: "floatingips", path: "floatingips", kind: network.KindFloatingIP, missing: "FloatingIPNotFound", label: "Floating IP",
	push: []string{"id", "project_id"},
	attrs: append(standard(true), []attr{
		{name: "floating_network_id", kind: kUUID, set: post, required: true}, {name: "subnet_id", kind: kUUID, set: post, null: true},
		{name: "floating_ip_address", kind: kIP, set: post, null: true, setRule: "rule:project_manager_or_admin", setIf: func(v any) bool { return v != nil }},
		{name: "port_id", kind: kUUID, set: both, null: true}, {name: "fixed_ip_address", kind: kIP, set: both, null: true},
		{name: "router_id"}, {name: "status"}, {name: "port_details", kind: kObject},
	}...),
}

func (s *server) floatingIPs() *resource[network.FloatingIPPatch, network.FloatingIPView] {
	return &resource[network.FloatingIPPatch, network.FloatingIPView]{
		spec: floatingSpec, s: s,
		extra: func(r *httpapi.Request, verb string, obj map[string]any, _ policy.Target) error {
			if verb != "create" {
				return nil
			}
			return s.networkTarget(r, map[string]any{"network_id": obj["floating_network_id"]}, policy.Target{})
		},
		list: func(r *httpapi.Request, sc network.Scope, q network.Query) ([]network.FloatingIPView, error) {
			return s.svc.FloatingIPs(r.Context(), sc, q)
		},
		view: floatingView,
		create: func(r *httpapi.Request, ps []network.FloatingIPPatch) ([]network.FloatingIPView, error) {
			return s.svc.CreateFloatingIPs(r.Context(), scope(r), ps)
		},
		update: func(r *httpapi.Request, id string, p network.FloatingIPPatch, c *network.Cond) (network.FloatingIPView, error) {
			return s.svc.UpdateFloatingIP(r.Context(), scope(r), id, p, c)
		},
		remove: func(r *httpapi.Request, id string) error { return s.svc.DeleteFloatingIP(r.Context(), id) },
	}
}

func floatingView(v *network.FloatingIPView) map[string]any {
	var details any
	if p := v.Port; p != nil {
		details = map[string]any{"name": p.Name, "network_id": p.NetworkID, "mac_address": p.MAC, "admin_state_up": p.AdminStateUp, "status": p.Status,
			"device_id": p.DeviceID, "device_owner": p.DeviceOwner}
	}
	return stamp(map[string]any{
		"id": v.ID, "project_id": v.ProjectID, "floating_network_id": v.NetworkID, "floating_ip_address": v.Address, "port_id": deref(v.FixedPort),
		"fixed_ip_address": orNull(v.FixedAddress), "router_id": deref(v.RouterID), "status": v.Status, "port_details": details,
	}, &v.Standard, true)
}
