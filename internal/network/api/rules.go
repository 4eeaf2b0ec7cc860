package api

import (
	"maps"

	"nephos/internal/policy"
)

// What the tables' rules are made of. Targets carry project_id (the owner) and, for subnets and ports, network_project_id and network_shared.
const (
	member      = "rule:project_member_or_admin"
	adminOnly   = "rule:admin"
	service     = "rule:admin or role:service"
	netOwner    = "rule:admin or rule:network_member"
	netOwnerSvc = "rule:admin or role:service or rule:network_member"
	netUser     = "rule:admin or role:service or rule:network_member or rule:network_shared"
)

// Rules are Neutron's default policies for what is here, the attributes' from the resources' own tables.
var Rules = allRules()

func allRules() policy.Rules {
	out := policy.Rules{
		"network_member": "role:member and project_id:%(network_project_id)s",
		"network_shared": "role:member and 'True':%(network_shared)s",

		"get_agent": adminOnly, "get_availability_zone": "role:reader or rule:admin",
		"get_quota": "rule:project_reader_or_admin", "update_quota": adminOnly, "delete_quota": adminOnly, "list_quota": adminOnly,
		"add_router_interface": member, "remove_router_interface": member, "add_extraroutes": member, "remove_extraroutes": member,
	}
	verbs := map[string][3]string{ // create, update, delete
		"network": {member, member, member}, "subnet": {netOwner, "rule:project_member_or_admin or rule:network_member", "rule:project_member_or_admin or rule:network_member"},
		"port":           {netUser, "rule:project_member_or_admin or role:service", "rule:project_member_or_admin or role:service or rule:network_member"},
		"security_group": {member, member, member}, "security_group_rule": {member, member, member},
		"router": {member, member, member}, "floatingip": {member, member, member},
	}
	for _, s := range specs() {
		v := verbs[s.name]
		maps.Copy(out, policy.Rules{"create_" + s.name: v[0], "update_" + s.name: v[1], "delete_" + s.name: v[2], "get_" + s.name + ":any": "role:reader or rule:admin"})
		for _, a := range s.attrs {
			if a.setRule != "" {
				out["create_"+s.name+":"+a.name], out["update_"+s.name+":"+a.name] = a.setRule, a.setRule
			}
			if a.getRule != "" {
				out["get_"+s.name+":"+a.name] = a.getRule
			}
		}
	}
	for _, a := range []string{"enable_snat", "external_fixed_ips"} {
		out["create_router:external_gateway_info:"+a], out["update_router:external_gateway_info:"+a] = adminOnly, adminOnly
	}
	out["create_port:fixed_ips"], out["create_port:fixed_ips:ip_address"], out["update_port:fixed_ips"] = netUser, netOwnerSvc, netOwnerSvc
	return out
}

func specs() []*spec {
	return []*spec{&networkSpec, &subnetSpec, &portSpec, &groupSpec, &ruleSpec, &routerSpec, &floatingSpec}
}
