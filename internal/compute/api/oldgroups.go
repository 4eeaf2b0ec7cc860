package api

import (
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
)

// oldGroupRoutes let clients before 2.36 manage security groups here. They know incoming rules only.
func (f *face) oldGroupRoutes() []httpapi.Route {
	const rule = "os_compute_api:os-security-groups:"
	body := always(open(must("security_group", open(must("name", sAny), must("description", sAny)))))
	row := func(method, path, name, what string, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, Name: name, Max: v(35), Rule: rule + what, Handler: h}
	}
	create, update := row(post, "/os-security-groups", "secgroups.create", "create", f.createOldGroup), row(put, "/os-security-groups/{id}", "secgroups.update", "update", f.updateOldGroup)
	create.Body, update.Body = body, body
	addRule := row(post, "/os-security-group-rules", "secgroups.rules.create", "rule:create", f.createOldRule)
	addRule.Body = always(open(must("security_group_rule", open(must("parent_group_id", sAny)))))
	gone, ruleGone := row(del, "/os-security-groups/{id}", "secgroups.delete", "delete", f.deleteOldGroup), row(del, "/os-security-group-rules/{id}", "secgroups.rules.delete", "rule:delete", f.deleteOldRule)
	gone.Status, ruleGone.Status = accepted, accepted
	return []httpapi.Route{create, update, gone, addRule, ruleGone}
}

// oldGroup finds a group of the caller; an id that is none is 400 (Nova).
func (f *face) oldGroup(r *httpapi.Request, id string) (*network.SecurityGroupView, error) {
	if uuid.Validate(id) != nil {
		return nil, fault.Invalid("id", "Security group id should be uuid")
	}
	all, err := f.deps.Networks.SecurityGroups(r.Context(), scope(r), network.Query{IDs: []string{id}})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fault.NotFound("Security group %s not found.", id)
	}
	return &all[0], nil
}

func (f *face) oldGroupPatch(r *httpapi.Request) (out network.SecurityGroupPatch, err error) {
	given, _ := r.Document().(map[string]any)["security_group"].(map[string]any)
	for key, to := range map[string]*network.Opt[string]{"name": &out.Name, "description": &out.Description} {
		s, ok := given[key].(string)
		if !ok {
			return out, fault.Invalid(key, "Security group %s is not a string or unicode", key)
		}
		if key == "name" && strings.TrimSpace(s) == "" {
			return out, fault.Invalid(key, "Security group %s cannot be empty.", key)
		}
		if len([]rune(s)) > 255 {
			return out, fault.Invalid(key, "Security group %s should not be greater than 255 characters.", key)
		}
		*to = network.Some(s)
	}
	return out, nil
}

func (f *face) createOldGroup(r *httpapi.Request) (any, error) {
	p, err := f.oldGroupPatch(r)
	if err != nil {
		return nil, err
	}
	p.ProjectID = network.Some(r.Creds.ProjectID)
	made, err := f.deps.Networks.CreateSecurityGroups(r.Context(), []network.SecurityGroupPatch{p})
	if err != nil {
		return nil, oldNetworkFault(err)
	}
	return obj{"security_group": groupView(&made[0], nil)}, nil
}

// oldNetworkFault turns the network's conflicts into what these calls answered: 400.
func oldNetworkFault(err error) error {
	if fault.KindOf(err) == fault.KindConflict {
		return fault.Invalid("", "%s", fault.Message(err)).WithCause(err)
	}
	return err
}

func (f *face) updateOldGroup(r *httpapi.Request) (any, error) {
	g, err := f.oldGroup(r, r.Param("id"))
	if err != nil {
		return nil, err
	}
	p, err := f.oldGroupPatch(r)
	if err != nil {
		return nil, err
	}
	if g.IsDefault && p.Name.V != g.Name {
		return nil, fault.Invalid("name", "Unable to update system group '%s'", g.Name)
	}
	now, err := f.deps.Networks.UpdateSecurityGroup(r.Context(), g.ID, p, nil)
	if err != nil {
		return nil, oldNetworkFault(err)
	}
	return obj{"security_group": groupView(&now, nil)}, nil
}

func (f *face) deleteOldGroup(r *httpapi.Request) (any, error) {
	g, err := f.oldGroup(r, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return nil, oldNetworkFault(f.deps.Networks.DeleteSecurityGroup(r.Context(), g.ID, false))
}

// oldRule reads a rule as Nova took it: protocol and ports all together or none of them, and whence: a network or a group.
func oldRule(given map[string]any) (p network.RulePatch, err error) {
	word := func(key string) (string, bool) {
		x, ok := given[key]
		if !ok || x == nil {
			return "", false
		}
		if s, ok := x.(string); ok {
			return s, s != ""
		}
		return strings.Trim(textOf(x), `"`), true
	}
	proto, hasProto := word("ip_protocol")
	from, hasFrom := word("from_port")
	to, hasTo := word("to_port")
	group, hasGroup := word("group_id")
	cidr, hasCIDR := word("cidr")
	p.Direction, p.EtherType = network.Some("ingress"), network.Some("IPv4")
	if hasGroup {
		p.RemoteGroup = network.Some(group)
	} else if hasCIDR {
		p.RemotePrefix = network.Some(cidr)
		if strings.Contains(cidr, ":") {
			p.EtherType = network.Some("IPv6")
		}
	}
	switch {
	case hasProto && hasFrom && hasTo:
	case hasGroup && !hasFrom && !hasTo:
		if !hasProto {
			return p, nil
		}
		from, to = "-1", "-1"
		if !strings.EqualFold(proto, "icmp") {
			from, to = "1", "65535"
		}
	default:
		return p, fault.Invalid("security_group_rule", "Not enough parameters to build a valid rule.")
	}
	proto = strings.ToLower(proto)
	if !slices.Contains([]string{"tcp", "udp", "icmp"}, proto) {
		return p, fault.Invalid("ip_protocol", "Invalid IP protocol %s.", proto)
	}
	a, err1 := strconv.Atoi(from)
	b, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil {
		return p, fault.Invalid("from_port", "Invalid input received: To and From ports must be integers")
	}
	most, least := 65535, 1
	if proto == "icmp" {
		most, least = 255, -1
	}
	if a < least || b < least || a > most || b > most || a > b && proto != "icmp" {
		return p, fault.Invalid("from_port", "Invalid port range %d:%d. Valid %s ports should be between %d and %d.", a, b, strings.ToUpper(proto), least, most)
	}
	p.Protocol = network.Some(proto)
	if a >= 0 {
		p.PortMin = network.Some(a)
	}
	if b >= 0 {
		p.PortMax = network.Some(b)
	}
	return p, nil
}

func (f *face) createOldRule(r *httpapi.Request) (any, error) {
	given, _ := r.Document().(map[string]any)["security_group_rule"].(map[string]any)
	parent, _ := given["parent_group_id"].(string)
	g, err := f.oldGroup(r, parent)
	if err != nil {
		return nil, err
	}
	p, err := oldRule(given)
	if err != nil {
		return nil, err
	}
	var others []network.SecurityGroupView
	if p.RemoteGroup.Set {
		other, err := f.oldGroup(r, p.RemoteGroup.V)
		if err != nil {
			return nil, err
		}
		others = append(others, *other)
	}
	p.ProjectID, p.GroupID = network.Some(g.ProjectID), network.Some(g.ID)
	made, err := f.deps.Networks.CreateRules(r.Context(), []network.RulePatch{p})
	if err != nil {
		return nil, oldNetworkFault(err)
	}
	return obj{"security_group_rule": oldRuleView(g, &made[0].Rule, others)}, nil
}

func (f *face) deleteOldRule(r *httpapi.Request) (any, error) {
	id := r.Param("id")
	if uuid.Validate(id) != nil {
		return nil, fault.Invalid("id", "Rule id should be uuid")
	}
	all, err := f.deps.Networks.Rules(r.Context(), scope(r), network.Query{IDs: []string{id}})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, fault.NotFound("Security group rule %s not found.", id)
	}
	return nil, f.deps.Networks.DeleteRule(r.Context(), id)
}

// oldRuleView is a rule in the form of nova-network: a protocol without ports shows all of them.
func oldRuleView(g *network.SecurityGroupView, x *network.Rule, others []network.SecurityGroupView) obj {
	out := obj{"id": x.ID, "parent_group_id": g.ID, "ip_protocol": orNil(x.Protocol), "from_port": nil, "to_port": nil, "group": obj{}, "ip_range": obj{}}
	switch {
	case x.PortMin != nil || x.PortMax != nil:
		out["from_port"], out["to_port"] = orMinus(x.PortMin), orMinus(x.PortMax)
	case x.Protocol == "tcp" || x.Protocol == "udp":
		out["from_port"], out["to_port"] = 1, 65535
	case x.Protocol != "":
		out["from_port"], out["to_port"] = -1, -1
	}
	switch {
	case x.RemoteGroup != nil:
		who := g
		for i := range others {
			if others[i].ID == *x.RemoteGroup {
				who = &others[i]
			}
		}
		if who.ID == *x.RemoteGroup {
			out["group"] = obj{"name": who.Name, "tenant_id": who.ProjectID}
		}
	case x.RemotePrefix != "":
		out["ip_range"] = obj{"cidr": x.RemotePrefix}
	case x.EtherType == "IPv6":
		out["ip_range"] = obj{"cidr": "::/0"}
	default:
		out["ip_range"] = obj{"cidr": "0.0.0.0/0"}
	}
	return out
}

func orMinus(n *int) int {
	if n == nil {
		return -1
	}
	return *n
}

// groupView is a security group as this API showed it: only what comes in. others are the groups that its rules may name.
func groupView(g *network.SecurityGroupView, others []network.SecurityGroupView) obj {
	rules := []obj{}
	for i := range g.Rules {
		if g.Rules[i].Direction == "ingress" {
			rules = append(rules, oldRuleView(g, &g.Rules[i], others))
		}
	}
	return obj{"id": g.ID, "name": g.Name, "description": g.Description, "tenant_id": g.ProjectID, "rules": rules}
}

func (f *face) listSecurityGroups(r *httpapi.Request) (any, error) {
	page, err := r.Page(maxLimit)
	if err != nil {
		return nil, err
	}
	from, err := offset(r)
	if err != nil {
		return nil, err
	}
	q := network.Query{ProjectIDs: []string{r.Creds.ProjectID}}
	if every, _ := parseBool(r.URL.Query().Get("all_tenants")); every && r.Creds.IsAdmin() {
		q.ProjectIDs = nil
	}
	all, err := f.deps.Networks.SecurityGroups(r.Context(), scope(r), q)
	out := []obj{}
	for i := range all {
		if i >= from && len(out) < page.Limit {
			out = append(out, groupView(&all[i], all))
		}
	}
	return obj{"security_groups": out}, err
}

func (f *face) showSecurityGroup(r *httpapi.Request) (any, error) {
	g, err := f.oldGroup(r, r.Param("id"))
	if err != nil {
		return nil, err
	}
	all, err := f.deps.Networks.SecurityGroups(r.Context(), scope(r), network.Query{ProjectIDs: []string{g.ProjectID}})
	return obj{"security_group": groupView(g, all)}, err
}
