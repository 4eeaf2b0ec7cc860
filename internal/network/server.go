package network

import (
	"context"
	"net/netip"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// Allocation asks for the ports of one server.
type Allocation struct {
	ServerID         string
	ProjectID        string
	Host             string // "" while the server has no host yet
	Zone             string // for device_owner
	Hostname         string // becomes the ports' DNS name
	SecurityGroupIDs []string
	Plan             Plan
}

// AllocatePorts makes or claims the ports of a new server, with addresses and quota, as part of the caller's transaction. Of two servers that
// claim one port one gets it, the other fault.KindConflict. Networks come from the Plan; per port it runs three statements (port,
// address, security group), per server three more (quota's two, the clock).
//
// The server's own host is not told of the ports (its build command carries them), only of security groups it does not have yet; hosts whose
// rules look at the groups' members hear of them later.
func (s *Service) AllocatePorts(ctx context.Context, tx *db.Tx, a Allocation) ([]hostapi.NICSpec, error) {
	if len(a.Plan.nics) == 0 {
		return nil, nil
	}
	return s.allocatePorts(ctx, tx, &a, 0)
}

// AttachPort is AllocatePorts for one more interface of a server.
func (s *Service) AttachPort(ctx context.Context, tx *db.Tx, a Allocation) (hostapi.NICSpec, error) {
	if len(a.Plan.nics) != 1 {
		return hostapi.NICSpec{}, fault.Invalid("networks", "exactly one interface can be attached at a time, not %d", len(a.Plan.nics))
	}
	var next int
	if err := tx.Get(ctx, &next, `SELECT COALESCE(MAX(nic_index) + 1, 0) FROM ports WHERE device_id = ?`, a.ServerID); err != nil {
		return hostapi.NICSpec{}, err
	}
	nics, err := s.allocatePorts(ctx, tx, &a, next)
	if err != nil {
		return hostapi.NICSpec{}, err
	}
	return nics[0], nil
}

func (s *Service) allocatePorts(ctx context.Context, tx *db.Tx, a *Allocation, first int) ([]hostapi.NICSpec, error) {
	if n := a.Plan.NewPorts(); n > 0 {
		if err := s.quotas.Reserve(ctx, tx, a.ProjectID, map[string]int64{"port": int64(n)}); err != nil {
			if fault.KindOf(err) == fault.KindQuota {
				return nil, fault.Quota("Maximum number of ports exceeded").WithType("PortLimitExceeded").WithCause(err)
			}
			return nil, err
		}
	}
	groups := a.SecurityGroupIDs
	if len(groups) == 0 {
		g, err := s.defaultGroup(ctx, tx, a.ProjectID)
		if err != nil {
			return nil, err
		}
		groups = []string{g}
	}
	out := make([]hostapi.NICSpec, 0, len(a.Plan.nics))
	for i, x := range a.Plan.nics {
		var v *PortView
		var err error
		if x.req.PortID != "" {
			v, err = s.claimPort(ctx, tx, a, x, first+i)
		} else {
			v, err = s.makePort(ctx, tx, a, x, first+i, groups)
		}
		if err != nil {
			return nil, err
		}
		rules, err := s.ruleSpecs(ctx, tx, v.Groups)
		if err != nil {
			return nil, err
		}
		out = append(out, hostapi.NICSpec{PortID: v.ID, Port: portSpec(v), Network: x.net.spec, Tag: x.req.Tag, Groups: rules})
		s.lazyOnCommit(tx, v.Groups)
		if a.Host != "" && len(v.Groups) > 0 {
			tx.OnCommit(func() { s.pub.needs(a.Host, v.Groups) })
		}
	}
	return out, tick(ctx, tx)
}

// ruleSpecs are groups with their rules and without members, from the cache where it has them.
func (s *Service) ruleSpecs(ctx context.Context, tx *db.Tx, ids []string) ([]hostapi.SecurityGroupSpec, error) {
	out := make([]hostapi.SecurityGroupSpec, 0, len(ids))
	for _, id := range ids {
		g, ok := lookup(&s.cache, s.cache.ruleMap, id)
		if !ok {
			gen := s.cache.begin()
			read, err := readRules(ctx, tx, []string{id})
			if err != nil {
				return nil, err
			}
			g = read[id].spec
			g.Members = []string{}
			if !s.db.Shared() { // with another controller what this transaction reads may already be older than another's commit
				keep(&s.cache, s.cache.ruleMap, id, g, gen)
			}
		}
		out = append(out, g)
	}
	return out, nil
}

func (s *Service) makePort(ctx context.Context, tx *db.Tx, a *Allocation, x planned, index int, groups []string) (*PortView, error) {
	p := &Port{NetworkID: x.net.ID, ProjectID: a.ProjectID, AdminStateUp: true, Status: "DOWN", DeviceID: a.ServerID, DeviceOwner: OwnerCompute + a.Zone,
		Host: a.Host, PortSecurity: x.net.PortSecurity, DNSName: a.Hostname, NovaMade: true, NICIndex: index, NICTag: x.req.Tag}
	if err := s.insertPort(ctx, tx, p); err != nil {
		return nil, err
	}
	v := &PortView{Port: *p}
	var err error
	var reqs []FixedIP
	if x.req.FixedIP != "" {
		reqs = []FixedIP{{IP: x.req.FixedIP}}
	}
	if v.Fixed, err = s.allocate(ctx, tx, x.net.ID, x.net.subnets, p.ID, reqs, len(reqs) > 0, 0); err != nil {
		return nil, err
	}
	if len(v.Fixed) == 0 {
		return nil, fault.Invalid("networks", "Network %s requires a subnet in order to boot instances on.", x.net.ID)
	}
	if p.PortSecurity {
		v.Groups = groups
		err = setGroups(ctx, tx, p.ID, groups)
	}
	return v, err
}

// claimPort takes a user's port for the server if it is free.
func (s *Service) claimPort(ctx context.Context, tx *db.Tx, a *Allocation, x planned, index int) (*PortView, error) {
	n, err := tx.Exec(ctx, `UPDATE ports SET device_id = ?, device_owner = ?, host = ?, status = 'DOWN', nic_index = ?, nic_tag = ?, dns_name = CASE WHEN dns_name = '' THEN ? ELSE dns_name END,
		revision_number = revision_number + 1, updated_at = ? WHERE id = ? AND device_id = ''`,
		a.ServerID, OwnerCompute+a.Zone, a.Host, index, x.req.Tag, a.Hostname, db.At(s.clock.Now()), x.req.PortID)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, portInUse(x.req.PortID)
	}
	p, err := portRow(ctx, tx, x.req.PortID)
	if err != nil {
		return nil, err
	}
	v, err := portView(ctx, tx, p)
	return &v, err
}

// DetachPort takes one interface off a server: a port made for it is deleted, a user's port is free again. fault.KindNotFound if the server
// does not have it.
func (s *Service) DetachPort(ctx context.Context, tx *db.Tx, serverID, portID string) error {
	return s.release(ctx, tx, serverID, portID)
}

// ReleaseServer takes all interfaces off a server that goes away. It is no error when there are none.
func (s *Service) ReleaseServer(ctx context.Context, tx *db.Tx, serverID string) error {
	return s.release(ctx, tx, serverID, "")
}

func (s *Service) release(ctx context.Context, tx *db.Tx, serverID, portID string) error {
	q, args := `SELECT * FROM ports WHERE device_id = ? ORDER BY id`, []any{serverID}
	if portID != "" {
		q, args = `SELECT * FROM ports WHERE device_id = ? AND id = ?`, []any{serverID, portID}
	}
	var ports []Port
	if err := tx.Select(ctx, &ports, q, args...); err != nil {
		return err
	}
	if len(ports) == 0 {
		if portID != "" {
			return portNotFound(portID)
		}
		return nil
	}
	var made []Port
	var hosts []string
	for _, p := range ports {
		hosts = append(hosts, p.Host)
		if p.NovaMade {
			made = append(made, p)
			continue
		}
		if _, err := tx.Exec(ctx, `UPDATE ports SET device_id = '', device_owner = '', host = '', status = 'DOWN', nic_index = 0, nic_tag = '',
			revision_number = revision_number + 1, updated_at = ? WHERE id = ? AND device_id = ?`, db.At(s.clock.Now()), p.ID, serverID); err != nil {
			return err
		}
	}
	routers, err := s.removePorts(ctx, tx, made)
	if err != nil {
		return err
	}
	if err := tick(ctx, tx); err != nil {
		return err
	}
	tx.OnCommit(func() {
		s.pub.dirty(routers, 0)
		s.pub.pace(compactHosts(hosts), promptDelay)
	})
	return nil
}

func compactHosts(hosts []string) []string {
	return slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(hosts))), func(h string) bool { return h == "" })
}

// Rebind moves a server's ports to another host ("" : to none), where they are down until PortsActive.
func (s *Service) Rebind(ctx context.Context, tx *db.Tx, serverID, host string) error {
	var was []struct {
		ID   string `db:"id"`
		Host string `db:"host"`
	}
	if err := tx.Select(ctx, &was, `SELECT id, host FROM ports WHERE device_id = ?`, serverID); err != nil || len(was) == 0 {
		return err
	}
	if _, err := tx.Exec(ctx, `UPDATE ports SET host = ?, status = 'DOWN', revision_number = revision_number + 1, updated_at = ? WHERE device_id = ?`, host, db.At(s.clock.Now()), serverID); err != nil {
		return err
	}
	var groups []string
	if err := tx.Select(ctx, &groups, `SELECT DISTINCT g.group_id FROM port_security_groups g JOIN ports p ON p.id = g.port_id WHERE p.device_id = ?`, serverID); err != nil {
		return err
	}
	if err := tick(ctx, tx); err != nil {
		return err
	}
	old := make([]string, 0, len(was))
	for _, w := range was {
		if w.Host != host {
			old = append(old, w.Host)
		}
	}
	tx.OnCommit(func() {
		s.pub.pace(compactHosts(old), promptDelay)
		if host != "" {
			s.pub.needs(host, groups)
		}
	})
	return nil
}

// PortsActive marks the server's ports as plugged; its host has said so.
func (s *Service) PortsActive(ctx context.Context, tx *db.Tx, serverID string) error {
	_, err := tx.Exec(ctx, `UPDATE ports SET status = 'ACTIVE', revision_number = revision_number + 1, updated_at = ? WHERE device_id = ? AND status <> 'ACTIVE'`,
		db.At(s.clock.Now()), serverID)
	return err
}

// NICSpecs are the server's interfaces in their order, as its host must make them.
func (s *Service) NICSpecs(ctx context.Context, tx *db.Tx, serverID string) ([]hostapi.NICSpec, error) {
	var rows []Port
	if err := tx.Select(ctx, &rows, `SELECT * FROM ports WHERE device_id = ? ORDER BY nic_index, created_at, id`, serverID); err != nil || len(rows) == 0 {
		return nil, err
	}
	ports, err := portViews(ctx, tx, rows)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, p := range ports {
		ids = append(ids, p.NetworkID)
	}
	slices.Sort(ids)
	nets, err := s.netInfos(ctx, tx, slices.Compact(ids))
	if err != nil {
		return nil, err
	}
	out := make([]hostapi.NICSpec, 0, len(ports))
	for i := range ports {
		p := &ports[i]
		j := slices.IndexFunc(nets, func(n *netInfo) bool { return n.ID == p.NetworkID })
		rules, err := s.ruleSpecs(ctx, tx, p.Groups)
		if err != nil {
			return nil, err
		}
		out = append(out, hostapi.NICSpec{PortID: p.ID, Port: portSpec(p), Network: nets[j].spec, Tag: p.NICTag, Groups: rules})
	}
	return out, nil
}

// ServerAddress is one address of a server, for its view.
type ServerAddress struct {
	Network   string // name, the key of "addresses"
	NetworkID string
	PortID    string
	IP        string
	Version   int // 4 or 6
	MAC       string
	Type      string // fixed or floating
}

// Addresses are the addresses of servers in the order of their interfaces, a floating address behind its fixed one. One query.
func (s *Service) Addresses(ctx context.Context, tx *db.Tx, serverIDs []string) (map[string][]ServerAddress, error) {
	out := make(map[string][]ServerAddress, len(serverIDs))
	if len(serverIDs) == 0 {
		return out, nil
	}
	var rows []struct {
		Server   string `db:"device_id"`
		Port     string `db:"id"`
		MAC      string `db:"mac"`
		NetID    string `db:"network_id"`
		Net      string `db:"name"`
		IP       string `db:"address"`
		Floating string `db:"floating"`
	}
	if err := tx.Select(ctx, &rows, `SELECT p.device_id, p.id, p.mac, p.network_id, n.name, a.address, COALESCE(f.address, '') AS floating
		FROM ports p JOIN ip_allocations a ON a.port_id = p.id JOIN networks n ON n.id = p.network_id
		LEFT JOIN floating_ips f ON f.fixed_port = p.id AND f.fixed_address = a.address
		WHERE p.device_id IN (?) ORDER BY p.device_id, p.nic_index, p.created_at, p.id, a.position`, serverIDs); err != nil {
		return nil, err
	}
	for _, r := range rows {
		x := ServerAddress{Network: r.Net, NetworkID: r.NetID, PortID: r.Port, IP: r.IP, Version: version(r.IP), MAC: r.MAC, Type: "fixed"}
		out[r.Server] = append(out[r.Server], x)
		if r.Floating != "" {
			x.IP, x.Version, x.Type = r.Floating, version(r.Floating), "floating"
			out[r.Server] = append(out[r.Server], x)
		}
	}
	return out, nil
}

func version(ip string) int {
	if a, err := netip.ParseAddr(ip); err == nil && a.Is6() {
		return 6
	}
	return 4
}

// ServerSecurityGroups are the groups of servers' ports, once each, by name. One query.
func (s *Service) ServerSecurityGroups(ctx context.Context, tx *db.Tx, serverIDs []string) (map[string][]SecurityGroupRef, error) {
	out := make(map[string][]SecurityGroupRef, len(serverIDs))
	if len(serverIDs) == 0 {
		return out, nil
	}
	var rows []struct {
		Server string `db:"device_id"`
		ID     string `db:"id"`
		Name   string `db:"name"`
	}
	if err := tx.Select(ctx, &rows, `SELECT DISTINCT p.device_id, g.id, g.name FROM ports p JOIN port_security_groups x ON x.port_id = p.id JOIN security_groups g ON g.id = x.group_id
		WHERE p.device_id IN (?) ORDER BY p.device_id, g.name, g.id`, serverIDs); err != nil {
		return nil, err
	}
	for _, r := range rows {
		out[r.Server] = append(out[r.Server], SecurityGroupRef{r.ID, r.Name})
	}
	return out, nil
}

// OwnedPort is a port that says it belongs to a server, for fsck.
type OwnedPort struct {
	PortID    string `db:"id"`
	ServerID  string `db:"device_id"`
	ProjectID string `db:"project_id"`
	Host      string `db:"host"`
	NovaMade  bool   `db:"nova_made"`
}

// Owned lists all ports of servers.
func (s *Service) Owned(ctx context.Context, tx *db.Tx) (out []OwnedPort, err error) {
	err = tx.Select(ctx, &out, `SELECT id, device_id, project_id, host, nova_made FROM ports WHERE device_owner LIKE 'compute:%' ORDER BY id`)
	return out, err
}

// Held is what projects really hold of the counted resources (project → resource → number), for the quota check.
func (s *Service) Held(ctx context.Context, tx *db.Tx) (map[string]map[string]int64, error) {
	out := map[string]map[string]int64{}
	for resource, from := range map[string]string{
		"network": "networks", "subnet": "subnets", "router": "routers", "floatingip": "floating_ips",
		"port":                "ports WHERE device_owner NOT IN ('network:dhcp', 'network:router_gateway', 'network:floatingip')",
		"security_group":      "security_groups WHERE is_default = FALSE",
		"security_group_rule": "security_group_rules WHERE counted = TRUE",
	} {
		var rows []struct {
			Project string `db:"project_id"`
			N       int64  `db:"n"`
		}
		if err := tx.Select(ctx, &rows, `SELECT project_id, COUNT(*) AS n FROM `+from+` GROUP BY project_id`); err != nil {
			return nil, err
		}
		for _, r := range rows {
			if out[r.Project] == nil {
				out[r.Project] = map[string]int64{}
			}
			out[r.Project][resource] = r.N
		}
	}
	return out, nil
}
