package api

import (
	"encoding/json"
	"slices"
	"strings"

	"nephos/internal/httpapi"
	"nephos/internal/network"
	"nephos/internal/policy"
)

func serviceOwner(v any) bool { return strings.HasPrefix(text(v), "network:") }

var portSpec = spec{
	name: "port", collection: "ports", path: "ports", kind: network.KindPort, missing: "PortNotFound", label: "Port",
	push: []string{"id", "name", "project_id", "network_id", "device_id"},
	attrs: append(standard(false), []attr{
		{name: "tags", kind: kStrings, set: post},
		{name: "name", set: both}, {name: "network_id", kind: kUUID, set: post, required: true}, {name: "admin_state_up", kind: kBool, set: both}, {name: "status"},
		{name: "mac_address", kind: kMAC, set: both, setRule: netOwnerSvc},
		{name: "fixed_ips", kind: kObjects, set: both, null: true, keys: []string{"subnet_id", "ip_address"}},
		{name: "device_id", set: both}, {name: "device_owner", set: both, setRule: netOwnerSvc, setIf: serviceOwner},
		{name: "security_groups", kind: kUUIDs, set: both, null: true},
		{name: "port_security_enabled", kind: kBool, set: both, setRule: netOwnerSvc},
		{name: "allowed_address_pairs", kind: kObjects, set: both, null: true, keys: []string{"ip_address", "mac_address"}, setRule: netOwnerSvc},
		{name: "extra_dhcp_opts", kind: kObjects, set: both, null: true, keys: []string{"opt_name", "opt_value", "ip_version"}},
		{name: "binding:host_id", set: both, null: true, setRule: service, getRule: service},
		{name: "binding:vnic_type", set: both, null: true},
		{name: "binding:profile", kind: kObject, set: both, null: true, setRule: service, getRule: service},
		{name: "binding:vif_type", getRule: service}, {name: "binding:vif_details", kind: kObject, getRule: service},
	}...),
}

func (s *server) ports() *resource[network.PortPatch, network.PortView] {
	return &resource[network.PortPatch, network.PortView]{
		spec: portSpec, s: s, target: s.networkTarget,
		extra: portAddresses,
		list: func(r *httpapi.Request, sc network.Scope, q network.Query) ([]network.PortView, error) {
			return s.svc.Ports(r.Context(), sc, q)
		},
		view: portView,
		create: func(r *httpapi.Request, ps []network.PortPatch) ([]network.PortView, error) {
			return s.svc.CreatePorts(r.Context(), scope(r), ps)
		},
		update: func(r *httpapi.Request, id string, p network.PortPatch, c *network.Cond) (network.PortView, error) {
			return s.svc.UpdatePort(r.Context(), scope(r), id, p, c)
		},
		remove: func(r *httpapi.Request, id string) error { return s.svc.DeletePort(r.Context(), id) },
	}
}

// portAddresses asks who may choose addresses: on a shared network anybody the subnet, but only the network's owner an address.
func portAddresses(r *httpapi.Request, verb string, obj map[string]any, t policy.Target) error {
	fixed, ok := obj["fixed_ips"].([]any)
	if !ok {
		return nil
	}
	rule := verb + "_port:fixed_ips"
	for _, f := range fixed {
		if m, _ := f.(map[string]any); m["ip_address"] != nil && verb == "create" {
			rule = "create_port:fixed_ips:ip_address"
		}
	}
	return allowed(r, rule, t)
}

func portView(v *network.PortView) map[string]any {
	fixed := make([]map[string]any, len(v.Fixed))
	for i, f := range v.Fixed {
		fixed[i] = map[string]any{"subnet_id": f.SubnetID, "ip_address": f.IP}
	}
	pairs := make([]map[string]any, len(v.Pairs.V))
	for i, p := range v.Pairs.V {
		mac := p.MAC
		if mac == "" {
			mac = v.MAC
		}
		pairs[i] = map[string]any{"ip_address": p.IP, "mac_address": mac}
	}
	profile := v.Profile.V
	if len(profile) == 0 {
		profile = json.RawMessage("{}")
	}
	details := map[string]any{}
	if v.Host != "" {
		details["port_filter"] = true
	}
	groups := slices.Clone(v.Groups)
	return stamp(map[string]any{
		"id": v.ID, "name": v.Name, "project_id": v.ProjectID, "network_id": v.NetworkID, "admin_state_up": v.AdminStateUp, "status": v.Status, "mac_address": v.MAC,
		"fixed_ips": fixed, "device_id": v.DeviceID, "device_owner": v.DeviceOwner, "security_groups": list(groups), "port_security_enabled": v.PortSecurity,
		"allowed_address_pairs": pairs, "extra_dhcp_opts": list(v.DHCPOpts.V), "binding:host_id": v.Host, "binding:vnic_type": v.VNICType, "binding:profile": profile,
		"binding:vif_type": v.VIFType(), "binding:vif_details": details,
	}, &v.Standard, true)
}
