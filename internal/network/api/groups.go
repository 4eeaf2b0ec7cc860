package api

import (
	"net/netip"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
	"nephos/internal/policy"
)

var groupSpec = spec{
	name: "security_group", collection: "security_groups", path: "security-groups", kind: network.KindSecurityGroup, missing: "SecurityGroupNotFound", label: "Security group",
	push: []string{"id", "name", "project_id"},
	attrs: append(standard(true), []attr{
		{name: "name", set: both, required: true}, {name: "stateful", kind: kBool, set: both}, {name: "shared", kind: kBool}, {name: "security_group_rules", kind: kObjects},
	}...),
}

var ruleSpec = spec{
	name: "security_group_rule", collection: "security_group_rules", path: "security-group-rules", missing: "SecurityGroupRuleNotFound", label: "Security group rule",
	push: []string{"id", "project_id"},
	attrs: append(standard(false), []attr{
		{name: "security_group_id", set: post, required: true},
		{name: "direction", set: post, required: true, enum: []string{"ingress", "egress"}},
		{name: "ethertype", set: post, enum: []string{"IPv4", "IPv6"}}, {name: "protocol", set: post, null: true},
		{name: "port_range_min", kind: kInt, set: post, null: true}, {name: "port_range_max", kind: kInt, set: post, null: true},
		{name: "remote_ip_prefix", kind: kCIDR, set: post, null: true}, {name: "remote_group_id", set: post, null: true},
		{name: "remote_address_group_id", set: post, null: true, check: func(v any) error {
			if v == nil {
				return nil
			}
			return fault.NotFound("Address group %v could not be found.", v).WithType("AddressGroupNotFound")
		}},
		{name: "normalized_cidr"}, {name: "belongs_to_default_sg", kind: kBool},
	}...),
}

func (s *server) groups() *resource[network.SecurityGroupPatch, network.SecurityGroupView] {
	return &resource[network.SecurityGroupPatch, network.SecurityGroupView]{
		spec: groupSpec, s: s,
		list: func(r *httpapi.Request, sc network.Scope, q network.Query) ([]network.SecurityGroupView, error) {
			return s.svc.SecurityGroups(r.Context(), sc, q)
		},
		view: groupView,
		create: func(r *httpapi.Request, ps []network.SecurityGroupPatch) ([]network.SecurityGroupView, error) {
			return s.svc.CreateSecurityGroups(r.Context(), ps)
		},
		update: func(r *httpapi.Request, id string, p network.SecurityGroupPatch, c *network.Cond) (network.SecurityGroupView, error) {
			return s.svc.UpdateSecurityGroup(r.Context(), id, p, c)
		},
		remove: func(r *httpapi.Request, id string) error {
			return s.svc.DeleteSecurityGroup(r.Context(), id, r.Creds.IsAdmin())
		},
	}
}

func groupView(v *network.SecurityGroupView) map[string]any {
	rules := make([]map[string]any, len(v.Rules))
	for i := range v.Rules {
		rules[i] = ruleView(&network.RuleView{Rule: v.Rules[i], InDefault: v.IsDefault})
		rules[i]["tenant_id"] = rules[i]["project_id"]
	}
	return stamp(map[string]any{
		"id": v.ID, "name": v.Name, "project_id": v.ProjectID, "stateful": v.Stateful, "shared": false, "security_group_rules": rules,
	}, &v.Standard, true)
}

func (s *server) rules() *resource[network.RulePatch, network.RuleView] {
	return &resource[network.RulePatch, network.RuleView]{
		spec: ruleSpec, s: s,
		target: func(r *httpapi.Request, obj map[string]any, t policy.Target) error {
			id := text(obj["security_group_id"])
			gs, err := s.svc.SecurityGroups(r.Context(), scope(r), network.Query{IDs: []string{id}})
			if err == nil && len(gs) == 0 {
				err = fault.NotFound("Security group %s does not exist", id).WithType("SecurityGroupNotFound")
			}
			if err == nil {
				t["project_id"] = gs[0].ProjectID
			}
			return err
		},
		list: func(r *httpapi.Request, sc network.Scope, q network.Query) ([]network.RuleView, error) {
			return s.svc.Rules(r.Context(), sc, q)
		},
		view: ruleView,
		create: func(r *httpapi.Request, ps []network.RulePatch) ([]network.RuleView, error) {
			return s.svc.CreateRules(r.Context(), ps)
		},
		remove: func(r *httpapi.Request, id string) error { return s.svc.DeleteRule(r.Context(), id) },
	}
}

func ruleView(v *network.RuleView) map[string]any {
	var normal any
	if p, err := netip.ParsePrefix(v.RemotePrefix); err == nil {
		normal = p.Masked().String()
	}
	return stamp(map[string]any{
		"id": v.ID, "project_id": v.ProjectID, "security_group_id": v.GroupID, "direction": v.Direction, "ethertype": v.EtherType, "protocol": orNull(v.Protocol),
		"port_range_min": deref(v.PortMin), "port_range_max": deref(v.PortMax), "remote_ip_prefix": orNull(v.RemotePrefix), "normalized_cidr": normal,
		"remote_group_id": deref(v.RemoteGroup), "remote_address_group_id": nil, "belongs_to_default_sg": v.InDefault,
	}, &v.Standard, false)
}
