package network

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// SecurityGroup is a named set of rules; ports in it may send and receive what any rule of any of their groups allows.
type SecurityGroup struct {
	ID        string `db:"id"`
	ProjectID string `db:"project_id"`
	Name      string `db:"name"`
	IsDefault bool   `db:"is_default"` // made by itself, one per project
	Stateful  bool   `db:"stateful"`
	Standard
}

// Rule is one rule of a group. It is never changed, only made and deleted.
type Rule struct {
	ID           string  `db:"id"`
	GroupID      string  `db:"group_id"`
	ProjectID    string  `db:"project_id"`
	Direction    string  `db:"direction"`
	EtherType    string  `db:"ethertype"`
	Protocol     string  `db:"protocol"` // "" = any
	PortMin      *int    `db:"port_min"`
	PortMax      *int    `db:"port_max"`
	RemotePrefix string  `db:"remote_prefix"`
	RemoteGroup  *string `db:"remote_group"`
	Counted      bool    `db:"counted"` // against the quota; what came with a default group is not
	Standard
}

// SecurityGroupView is a group with its rules.
type SecurityGroupView struct {
	SecurityGroup
	Rules []Rule
}

// RuleView is a rule with what it has from its group.
type RuleView struct {
	Rule
	InDefault bool // the group is its project's default
}

// SecurityGroupPatch is what a create or an update names.
type SecurityGroupPatch struct {
	ProjectID   Opt[string] `json:"project_id"`
	Name        Opt[string] `json:"name"`
	Description Opt[string] `json:"description"`
	Stateful    Opt[bool]   `json:"stateful"`
}

// RulePatch is what a create of a rule names.
type RulePatch struct {
	ProjectID    Opt[string] `json:"project_id"`
	GroupID      Opt[string] `json:"security_group_id"`
	Direction    Opt[string] `json:"direction"`
	EtherType    Opt[string] `json:"ethertype"`
	Protocol     Opt[string] `json:"protocol"`
	PortMin      Opt[int]    `json:"port_range_min"`
	PortMax      Opt[int]    `json:"port_range_max"`
	RemotePrefix Opt[string] `json:"remote_ip_prefix"`
	RemoteGroup  Opt[string] `json:"remote_group_id"`
	Description  Opt[string] `json:"description"`
}

// SecurityGroups lists; the project's default group is made if it is not there yet.
func (s *Service) SecurityGroups(ctx context.Context, sc Scope, q Query) (out []SecurityGroupView, err error) {
	if err := s.EnsureDefaultGroup(ctx, sc.ProjectID); err != nil {
		return nil, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		rows, err := selectAll[SecurityGroup](ctx, tx, "security_groups", q.filter(sc, "project_id = ?"))
		if err != nil {
			return err
		}
		out, err = groupViews(ctx, tx, rows)
		return err
	})
	return out, err
}

func groupViews(ctx context.Context, tx *db.Tx, rows []SecurityGroup) ([]SecurityGroupView, error) {
	out := make([]SecurityGroupView, len(rows))
	at := make(map[string]*SecurityGroupView, len(rows))
	ids := make([]string, len(rows))
	for i, r := range rows {
		out[i] = SecurityGroupView{SecurityGroup: r, Rules: []Rule{}}
		at[r.ID], ids[i] = &out[i], r.ID
	}
	if len(rows) == 0 {
		return out, nil
	}
	f := &filter{}
	if len(ids) <= manyPorts {
		f.in("group_id", ids)
	}
	rules, err := selectAll[Rule](ctx, tx, "security_group_rules", f)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		if v := at[r.GroupID]; v != nil {
			v.Rules = append(v.Rules, r)
		}
	}
	return out, nil
}

// Rules lists.
func (s *Service) Rules(ctx context.Context, sc Scope, q Query) (out []RuleView, err error) {
	if err := s.EnsureDefaultGroup(ctx, sc.ProjectID); err != nil {
		return nil, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		rows, err := selectAll[Rule](ctx, tx, "security_group_rules", q.filter(sc, "project_id = ? OR group_id IN (SELECT id FROM security_groups WHERE project_id = ?)"))
		if err != nil {
			return err
		}
		out, err = ruleViews(ctx, tx, rows)
		return err
	})
	return out, err
}

func ruleViews(ctx context.Context, tx *db.Tx, rows []Rule) ([]RuleView, error) {
	out := make([]RuleView, len(rows))
	if len(rows) == 0 {
		return out, nil
	}
	var defaults []string
	if err := tx.Select(ctx, &defaults, `SELECT id FROM security_groups WHERE is_default = TRUE`); err != nil {
		return nil, err
	}
	is := make(map[string]bool, len(defaults))
	for _, id := range defaults {
		is[id] = true
	}
	for i, r := range rows {
		out[i] = RuleView{r, is[r.GroupID]}
	}
	return out, nil
}

// EnsureDefaultGroup makes the project's default group unless it is there.
func (s *Service) EnsureDefaultGroup(ctx context.Context, projectID string) error {
	if projectID == "" {
		return nil
	}
	if _, ok := s.cache.defaultGroup(projectID); ok {
		return nil
	}
	return s.write(ctx, func(tx *db.Tx) error {
		_, err := s.defaultGroup(ctx, tx, projectID)
		return err
	})
}

// defaultGroup is the id of the project's default group, made here if need be: egress of anything, ingress from the group itself. The rows are
// not refused by quota, as Neutron makes the group whatever the limits.
func (s *Service) defaultGroup(ctx context.Context, tx *db.Tx, projectID string) (string, error) {
	if id, ok := s.cache.defaultGroup(projectID); ok {
		return id, nil
	}
	gen := s.cache.begin()
	var have []string
	const find = `SELECT id FROM security_groups WHERE project_id = ? AND is_default = TRUE`
	if err := tx.Select(ctx, &have, find, projectID); err != nil {
		return "", err
	}
	if len(have) == 0 {
		g := &SecurityGroup{ID: newID(), ProjectID: projectID, Name: "default", IsDefault: true, Stateful: true, Standard: s.newStandard("Default security group")}
		n, err := tx.Exec(ctx, `INSERT INTO security_groups (id, project_id, name, is_default, stateful, description, tags, revision_number, created_at, updated_at)
			VALUES (?, ?, ?, ?, ?, ?, '[]', 1, ?, ?) ON CONFLICT DO NOTHING`, g.ID, g.ProjectID, g.Name, true, true, g.Description, g.Created, g.Updated)
		if err != nil {
			return "", err
		}
		if n == 1 {
			return g.ID, s.fillGroup(ctx, tx, g)
		}
		if err := tx.Select(ctx, &have, find, projectID); err != nil || len(have) == 0 { // made by another transaction a moment ago
			return "", errOr(err, errStale)
		}
	}
	id := have[0]
	tx.OnCommit(func() { s.cache.putDefaultGroup(projectID, id, gen) })
	return id, nil
}

func errOr(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// fillGroup writes a new group's first rules.
func (s *Service) fillGroup(ctx context.Context, tx *db.Tx, g *SecurityGroup) error {
	for _, ether := range []string{"IPv4", "IPv6"} {
		dirs := []string{"egress"}
		if g.IsDefault {
			dirs = append(dirs, "ingress")
		}
		for _, d := range dirs {
			r := Rule{ID: newID(), GroupID: g.ID, ProjectID: g.ProjectID, Direction: d, EtherType: ether, Counted: !g.IsDefault, Standard: s.newStandard("")}
			if d == "ingress" {
				r.RemoteGroup = &g.ID
			}
			if err := tx.Insert(ctx, "security_group_rules", &r); err != nil {
				return err
			}
		}
	}
	return nil
}

// CreateSecurityGroups makes all or none.
func (s *Service) CreateSecurityGroups(ctx context.Context, ps []SecurityGroupPatch) (out []SecurityGroupView, err error) {
	err = s.write(ctx, func(tx *db.Tx) error {
		var rows []SecurityGroup
		for _, p := range ps {
			if _, err := s.defaultGroup(ctx, tx, p.ProjectID.V); err != nil {
				return err
			}
			if strings.EqualFold(p.Name.V, "default") {
				return fault.Conflict("Default security group already exists.").WithType("SecurityGroupDefaultAlreadyExists")
			}
			if err := s.reserve(ctx, tx, p.ProjectID.V, map[string]int64{"security_group": 1, "security_group_rule": 2}); err != nil {
				return err
			}
			g := SecurityGroup{ID: newID(), ProjectID: p.ProjectID.V, Name: p.Name.V, Stateful: p.Stateful.or(true), Standard: s.newStandard(p.Description.V)}
			if err := tx.Insert(ctx, "security_groups", &g); err != nil {
				return err
			}
			if err := s.fillGroup(ctx, tx, &g); err != nil {
				return err
			}
			rows = append(rows, g)
		}
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		out, err = groupViews(ctx, tx, rows)
		return err
	})
	return out, err
}

// UpdateSecurityGroup changes name, description or statefulness.
func (s *Service) UpdateSecurityGroup(ctx context.Context, id string, p SecurityGroupPatch, c *Cond) (out SecurityGroupView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		g, err := byID[SecurityGroup](ctx, tx, "security_groups", id, groupNotFound)
		if err != nil {
			return err
		}
		if err := c.check("security_group", id, g.RevisionNumber); err != nil {
			return err
		}
		if p.Name.Set && p.Name.V != g.Name && (g.IsDefault || strings.EqualFold(p.Name.V, "default")) {
			return fault.Conflict("Updating default security group not allowed.").WithType("SecurityGroupCannotUpdateDefault")
		}
		p.Name.to(&g.Name)
		p.Description.to(&g.Description)
		stateful := g.Stateful
		p.Stateful.to(&g.Stateful)
		var hosts []string
		if g.Stateful != stateful {
			var ports int
			if err := tx.Get(ctx, &ports, `SELECT COUNT(*) FROM port_security_groups WHERE group_id = ?`, id); err != nil {
				return err
			}
			if ports > 0 {
				return fault.Conflict("Security Group %s in use.", id).WithType("SecurityGroupInUse")
			}
		}
		if err := s.save(ctx, tx, g); err != nil {
			return err
		}
		vs, err := groupViews(ctx, tx, []SecurityGroup{*g})
		if err != nil {
			return err
		}
		out = vs[0]
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	return out, err
}

// DeleteSecurityGroup removes a group; fault.KindConflict while ports are in it, and for a default group unless admin.
func (s *Service) DeleteSecurityGroup(ctx context.Context, id string, admin bool) error {
	var mark mark
	err := s.write(ctx, func(tx *db.Tx) error {
		g, err := byID[SecurityGroup](ctx, tx, "security_groups", id, groupNotFound)
		if err != nil {
			return err
		}
		if g.IsDefault && !admin {
			return fault.Conflict("Insufficient rights for removing default security group.").WithType("SecurityGroupCannotRemoveDefault")
		}
		hosts, err := hostsOfGroups(ctx, tx, []string{id})
		if err != nil {
			return err
		}
		var gone []Rule
		if err := tx.Select(ctx, &gone, `DELETE FROM security_group_rules WHERE group_id = ? OR remote_group = ? RETURNING *`, id, id); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `DELETE FROM security_groups WHERE id = ?`, id)
		if db.IsForeignKey(err) {
			return fault.Conflict("Security Group %s in use.", id).WithType("SecurityGroupInUse")
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return groupNotFound(id)
		}
		counted := map[string]int64{}
		for _, r := range gone {
			if r.Counted {
				counted[r.ProjectID]++
			}
		}
		for project, n := range counted {
			if err := s.quotas.Release(ctx, tx, project, map[string]int64{"security_group_rule": n}); err != nil {
				return err
			}
		}
		if !g.IsDefault {
			if err := s.quotas.Release(ctx, tx, g.ProjectID, map[string]int64{"security_group": 1}); err != nil {
				return err
			}
		}
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return err
}

// CreateRules makes all or none; hosts with ports in the groups have the rules when the call returns.
func (s *Service) CreateRules(ctx context.Context, ps []RulePatch) (out []RuleView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		var rows []Rule
		var groups []string
		for i := range ps {
			r, err := s.createRule(ctx, tx, &ps[i])
			if err != nil {
				return err
			}
			rows = append(rows, *r)
			groups = append(groups, r.GroupID)
		}
		if out, err = ruleViews(ctx, tx, rows); err != nil {
			return err
		}
		hosts, err := hostsOfGroups(ctx, tx, groups)
		if err != nil {
			return err
		}
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

func (s *Service) createRule(ctx context.Context, tx *db.Tx, p *RulePatch) (*Rule, error) {
	if err := tx.Lock(ctx, "group/"+p.GroupID.V); err != nil {
		return nil, err
	}
	g, err := byID[SecurityGroup](ctx, tx, "security_groups", p.GroupID.V, groupNotFound)
	if err != nil {
		return nil, err
	}
	r := &Rule{ID: newID(), GroupID: g.ID, ProjectID: p.ProjectID.V, Direction: p.Direction.V, EtherType: "IPv4", Counted: true, Standard: s.newStandard(p.Description.V)}
	r.RevisionNumber = 0
	if strings.EqualFold(p.EtherType.V, "IPv6") {
		r.EtherType = "IPv6"
	}
	if err := r.setMatch(p); err != nil {
		return nil, err
	}
	if r.RemoteGroup != nil {
		if _, err := byID[SecurityGroup](ctx, tx, "security_groups", *r.RemoteGroup, groupNotFound); err != nil {
			return nil, err
		}
	}
	f := &filter{}
	f.in("group_id", []string{g.ID})
	have, err := selectAll[Rule](ctx, tx, "security_group_rules", f)
	if err != nil {
		return nil, err
	}
	for i := range have {
		if have[i].same(r) {
			return nil, fault.Conflict("Security group rule already exists. Rule id is %s.", have[i].ID).WithType("SecurityGroupRuleExists")
		}
	}
	if err := s.reserve(ctx, tx, r.ProjectID, map[string]int64{"security_group_rule": 1}); err != nil {
		return nil, err
	}
	return r, tx.Insert(ctx, "security_group_rules", r)
}

// protocolNames are what Neutron takes besides numbers.
var protocolNames = []string{"ah", "dccp", "egp", "esp", "gre", "icmp", "icmpv6", "igmp", "ipip", "ipv6-encap", "ipv6-frag", "ipv6-icmp", "ipv6-nonxt", "ipv6-opts",
	"ipv6-route", "ospf", "pgm", "rsvp", "sctp", "tcp", "udp", "udplite", "vrrp"}

func (r *Rule) setMatch(p *RulePatch) error {
	proto := strings.ToLower(p.Protocol.V)
	if proto == "any" {
		proto = ""
	}
	if n, err := strconv.Atoi(proto); err == nil {
		if n < 0 || n > 255 {
			return fault.Invalid("protocol", "Security group rule protocol %s not supported. Only protocol values %v and integer representations [0 to 255] are supported.", proto, protocolNames).WithType("SecurityGroupRuleInvalidProtocol")
		}
	} else if proto != "" && !slices.Contains(protocolNames, proto) {
		return fault.Invalid("protocol", "Security group rule protocol %s not supported. Only protocol values %v and integer representations [0 to 255] are supported.", proto, protocolNames).WithType("SecurityGroupRuleInvalidProtocol")
	}
	r.Protocol = proto
	if p.PortMin.Set && !p.PortMin.Null {
		r.PortMin = &p.PortMin.V
	}
	if p.PortMax.Set && !p.PortMax.Null {
		r.PortMax = &p.PortMax.V
	}
	if err := r.checkPorts(); err != nil {
		return err
	}
	if p.RemoteGroup.V != "" {
		r.RemoteGroup = &p.RemoteGroup.V
	}
	if p.RemotePrefix.V == "" {
		return nil
	}
	if r.RemoteGroup != nil {
		return fault.Invalid("remote_ip_prefix", "Only remote_ip_prefix or remote_group_id may be provided.").WithType("SecurityGroupMultipleRemoteIPPrefixes")
	}
	pre, err := netip.ParsePrefix(p.RemotePrefix.V)
	if a, err2 := netip.ParseAddr(p.RemotePrefix.V); err2 == nil {
		pre, err = netip.PrefixFrom(a, a.BitLen()), nil
	}
	if err != nil {
		return invalidInput("remote_ip_prefix", "'%s' is not a valid IP subnet.", p.RemotePrefix.V)
	}
	if pre.Addr().Is4() != (r.EtherType == "IPv4") {
		return fault.Invalid("remote_ip_prefix", "Conflicting value ethertype %s for CIDR %s", r.EtherType, p.RemotePrefix.V).WithType("SecurityGroupRuleParameterConflict")
	}
	r.RemotePrefix = pre.String()
	return nil
}

// checkPorts has Neutron's order and words: each number by itself, then what the protocol makes of the pair.
func (r *Rule) checkPorts() error {
	if r.PortMin == nil && r.PortMax == nil {
		return nil
	}
	for _, v := range []*int{r.PortMin, r.PortMax} {
		if v != nil && (*v < 0 || *v > 65535) {
			return fault.Invalid("port_range_min", "Invalid value for port %d", *v).WithType("SecurityGroupInvalidPortValue")
		}
	}
	switch r.Protocol {
	case "tcp", "udp", "sctp", "dccp", "udplite", "6", "17", "132", "33", "136":
		if r.PortMin == nil || r.PortMax == nil || *r.PortMin > *r.PortMax {
			return fault.Invalid("port_range_min", "For TCP/UDP protocols, port_range_min must be <= port_range_max").WithType("SecurityGroupInvalidPortRange")
		}
		if *r.PortMin == 0 {
			return fault.Invalid("port_range_min", "Invalid value for port 0").WithType("SecurityGroupInvalidPortValue")
		}
	case "icmp", "icmpv6", "ipv6-icmp", "1", "58":
		for i, v := range []*int{r.PortMin, r.PortMax} {
			if v != nil && *v > 255 {
				field := [...]string{"type (port-range-min)", "code (port-range-max)"}[i]
				return fault.Invalid("port_range_min", "Invalid value for ICMP %s %d. It must be 0 to 255.", field, *v).WithType("SecurityGroupInvalidIcmpValue")
			}
		}
		if r.PortMin == nil {
			return fault.Invalid("port_range_min", "ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", *r.PortMax).WithType("SecurityGroupMissingIcmpType")
		}
	case "":
		return fault.Invalid("protocol", "Must also specify protocol if port range is given.").WithType("SecurityGroupProtocolRequiredWithPorts")
	default:
		return fault.Invalid("port_range_min", "Invalid port range for protocol %s: it has no ports.", r.Protocol).WithType("SecurityGroupInvalidProtocolForPort")
	}
	return nil
}

// same says whether two rules of one group match the same packets by the same words.
func (r *Rule) same(o *Rule) bool {
	eq := func(a, b *int) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
	remote := func(x *Rule) string {
		if x.RemoteGroup != nil {
			return *x.RemoteGroup
		}
		return x.RemotePrefix
	}
	return r.Direction == o.Direction && r.EtherType == o.EtherType && r.Protocol == o.Protocol && eq(r.PortMin, o.PortMin) && eq(r.PortMax, o.PortMax) && remote(r) == remote(o)
}

// DeleteRule removes one rule; hosts with ports in the group have forgotten it when the call returns.
func (s *Service) DeleteRule(ctx context.Context, id string) error {
	var mark mark
	err := s.write(ctx, func(tx *db.Tx) error {
		var gone []Rule
		if err := tx.Select(ctx, &gone, `DELETE FROM security_group_rules WHERE id = ? RETURNING *`, id); err != nil {
			return err
		}
		if len(gone) == 0 {
			return ruleNotFound(id)
		}
		if gone[0].Counted {
			if err := s.quotas.Release(ctx, tx, gone[0].ProjectID, map[string]int64{"security_group_rule": 1}); err != nil {
				return err
			}
		}
		hosts, err := hostsOfGroups(ctx, tx, []string{gone[0].GroupID})
		if err != nil {
			return err
		}
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return err
}
