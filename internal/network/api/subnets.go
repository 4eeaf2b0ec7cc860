package api

import (
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
)

// static refuses what needs router advertisements: addresses are static here.
func static(name string) func(any) error {
	return func(v any) error {
		if v == nil {
			return nil
		}
		return fault.Invalid(name, "Invalid input for %s. Reason: IPv6 addresses are static here, without router advertisements; leave the attribute out.", name).WithType("HTTPBadRequest")
	}
}

func noPool(v any) error {
	if v == nil {
		return nil
	}
	return fault.Invalid("subnetpool_id", "Subnet pool %v could not be found: subnet pools are not part of this cloud.", v).WithType("SubnetPoolNotFound")
}

var subnetSpec = spec{
	name: "subnet", collection: "subnets", path: "subnets", kind: network.KindSubnet, missing: "SubnetNotFound", label: "Subnet",
	push: []string{"id", "name", "project_id", "network_id"},
	attrs: append(standard(true), []attr{
		{name: "name", set: both}, {name: "network_id", kind: kUUID, set: post, required: true},
		{name: "ip_version", kind: kInt, set: post, required: true, min: 4, max: 6},
		{name: "cidr", kind: kCIDR, set: post, null: true}, {name: "gateway_ip", kind: kIP, set: both, null: true},
		{name: "enable_dhcp", kind: kBool, set: both},
		{name: "allocation_pools", kind: kObjects, set: both, keys: []string{"start", "end"}},
		{name: "dns_nameservers", kind: kStrings, set: both, null: true},
		{name: "host_routes", kind: kObjects, set: both, null: true, keys: []string{"destination", "nexthop"}},
		{name: "ipv6_ra_mode", set: post, null: true, check: static("ipv6_ra_mode")},
		{name: "ipv6_address_mode", set: post, null: true, check: static("ipv6_address_mode")},
		{name: "subnetpool_id", set: post, null: true, check: noPool}, {name: "router:external", kind: kBool},
	}...),
}

func (s *server) subnets() *resource[network.SubnetPatch, network.SubnetView] {
	return &resource[network.SubnetPatch, network.SubnetView]{
		spec: subnetSpec, s: s, target: s.networkTarget,
		list: func(r *httpapi.Request, sc network.Scope, q network.Query) ([]network.SubnetView, error) {
			return s.svc.Subnets(r.Context(), sc, q)
		},
		view: subnetView,
		create: func(r *httpapi.Request, ps []network.SubnetPatch) ([]network.SubnetView, error) {
			return s.svc.CreateSubnets(r.Context(), ps)
		},
		update: func(r *httpapi.Request, id string, p network.SubnetPatch, c *network.Cond) (network.SubnetView, error) {
			return s.svc.UpdateSubnet(r.Context(), id, p, c)
		},
		remove: func(r *httpapi.Request, id string) error { return s.svc.DeleteSubnet(r.Context(), id) },
	}
}

func subnetView(v *network.SubnetView) map[string]any {
	return stamp(map[string]any{
		"id": v.ID, "name": v.Name, "project_id": v.ProjectID, "network_id": v.NetworkID, "ip_version": v.IPVersion, "cidr": v.CIDR, "gateway_ip": orNull(v.Gateway),
		"enable_dhcp": v.EnableDHCP, "allocation_pools": list(v.Pools.V), "dns_nameservers": list(v.DNS.V), "host_routes": list(v.HostRoutes.V),
		"ipv6_ra_mode": nil, "ipv6_address_mode": nil, "subnetpool_id": nil, "router:external": v.External,
	}, &v.Standard, true)
}
