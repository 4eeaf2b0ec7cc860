package network

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// FloatingIP is an outer address that a router maps to a port's fixed address.
type FloatingIP struct {
	ID           string  `db:"id"`
	ProjectID    string  `db:"project_id"`
	NetworkID    string  `db:"network_id"` // external
	OuterPort    string  `db:"outer_port"` // holds the address
	Address      string  `db:"address"`
	FixedPort    *string `db:"fixed_port"` // nil while not associated
	FixedAddress string  `db:"fixed_address"`
	RouterID     *string `db:"router_id"`
	Status       string  `db:"status"`
	Standard
}

// FloatingIPView is a floating IP with its port.
type FloatingIPView struct {
	FloatingIP
	Port *Port // nil while not associated
}

// FloatingIPPatch is what a create or an update names. A null PortID disassociates.
type FloatingIPPatch struct {
	ProjectID   Opt[string] `json:"project_id"`
	NetworkID   Opt[string] `json:"floating_network_id"`
	SubnetID    Opt[string] `json:"subnet_id"`
	Address     Opt[string] `json:"floating_ip_address"`
	PortID      Opt[string] `json:"port_id"`
	FixedIP     Opt[string] `json:"fixed_ip_address"`
	Description Opt[string] `json:"description"`
}

func badFloating(format string, a ...any) error {
	f := fault.Invalid("floatingip", format, a...).WithType("BadRequest")
	f.Msg = "Bad floatingip request: " + f.Msg
	return f
}

// FloatingIPs lists.
func (s *Service) FloatingIPs(ctx context.Context, sc Scope, q Query) (out []FloatingIPView, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		rows, err := selectAll[FloatingIP](ctx, tx, "floating_ips", q.filter(sc, "project_id = ?"))
		if err != nil {
			return err
		}
		out, err = floatingViews(ctx, tx, rows)
		return err
	})
	return out, err
}

func floatingViews(ctx context.Context, tx *db.Tx, rows []FloatingIP) ([]FloatingIPView, error) {
	out := make([]FloatingIPView, len(rows))
	var ids []string
	for i, r := range rows {
		out[i].FloatingIP = r
		if r.FixedPort != nil {
			ids = append(ids, *r.FixedPort)
		}
	}
	if len(ids) == 0 {
		return out, nil
	}
	var ports []Port
	if err := tx.Select(ctx, &ports, `SELECT * FROM ports WHERE id IN (?)`, ids); err != nil {
		return nil, err
	}
	at := make(map[string]*Port, len(ports))
	for i := range ports {
		at[ports[i].ID] = &ports[i]
	}
	for i := range out {
		if p := out[i].FixedPort; p != nil {
			out[i].Port = at[*p]
		}
	}
	return out, nil
}

// CreateFloatingIPs makes all or none; sc says whose ports may be named.
func (s *Service) CreateFloatingIPs(ctx context.Context, sc Scope, ps []FloatingIPPatch) (out []FloatingIPView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		var rows []FloatingIP
		for i := range ps {
			f, err := s.createFloating(ctx, tx, sc, &ps[i])
			if err != nil {
				return err
			}
			rows = append(rows, *f)
		}
		hosts, err := s.hostsOfFloating(ctx, tx, rows)
		if err != nil {
			return err
		}
		if out, err = floatingViews(ctx, tx, rows); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

func (s *Service) createFloating(ctx context.Context, tx *db.Tx, sc Scope, p *FloatingIPPatch) (*FloatingIP, error) {
	net, err := networkByID(ctx, tx, p.NetworkID.V)
	if err != nil {
		return nil, err
	}
	if !net.External {
		return nil, badFloating("Network %s is not a valid external network", net.ID)
	}
	if err := s.reserve(ctx, tx, p.ProjectID.V, map[string]int64{"floatingip": 1}); err != nil {
		return nil, err
	}
	all, err := subnetsOf(ctx, tx, net.ID)
	if err != nil {
		return nil, err
	}
	var v4 []Subnet
	for _, x := range all {
		if x.IPVersion == 4 {
			v4 = append(v4, x)
		}
	}
	if len(v4) == 0 {
		return nil, badFloating("Network %s does not contain any IPv4 subnet", net.ID)
	}
	f := &FloatingIP{ID: newID(), ProjectID: p.ProjectID.V, NetworkID: net.ID, Status: "DOWN", Standard: s.newStandard(p.Description.V)}
	port := &Port{NetworkID: net.ID, DeviceOwner: OwnerFloating, DeviceID: f.ID, AdminStateUp: true, Status: "N/A"}
	if err := s.insertPort(ctx, tx, port); err != nil {
		return nil, err
	}
	var reqs []FixedIP
	if p.Address.V != "" || p.SubnetID.V != "" {
		reqs = []FixedIP{{SubnetID: p.SubnetID.V, IP: p.Address.V}}
	}
	got, err := s.allocate(ctx, tx, net.ID, v4, port.ID, reqs, len(reqs) > 0, 0)
	if err != nil {
		return nil, err
	}
	f.OuterPort, f.Address = port.ID, got[0].IP
	if p.PortID.V != "" {
		if err := s.associate(ctx, tx, sc, f, p.PortID.V, p.FixedIP.V); err != nil {
			return nil, err
		}
	} else if p.FixedIP.V != "" {
		return nil, badFloating("fixed_ip_address cannot be specified without a port_id")
	}
	if err := tx.Insert(ctx, "floating_ips", f); err != nil {
		if db.IsUnique(err) {
			return nil, alreadyFloating(f)
		}
		return nil, err
	}
	return f, nil
}

func alreadyFloating(f *FloatingIP) error {
	return fault.Conflict("Cannot associate floating IP %s (%s) with port %s using fixed IP %s, as that fixed IP already has a floating IP on external network %s.",
		f.Address, f.ID, *f.FixedPort, f.FixedAddress, f.NetworkID).WithType("FloatingIPPortAlreadyAssociated")
}

// associate fills f; the caller writes it.
func (s *Service) associate(ctx context.Context, tx *db.Tx, sc Scope, f *FloatingIP, portID, fixed string) error {
	p, err := portRow(ctx, tx, portID)
	if err != nil {
		return err
	}
	if !sc.Admin && p.ProjectID != sc.ProjectID {
		return portNotFound(portID)
	}
	v, err := portView(ctx, tx, p)
	if err != nil {
		return err
	}
	var fit []FixedIP
	for _, x := range v.Fixed {
		if a, err := netip.ParseAddr(x.IP); err == nil && a.Is4() && (fixed == "" || a.String() == fixed) {
			fit = append(fit, x)
		}
	}
	switch {
	case len(fit) == 0 && fixed != "":
		return badFloating("Port %s does not have fixed ip %s", portID, fixed)
	case len(fit) == 0:
		return badFloating("Cannot add floating IP to port %s that has no fixed IPv4 addresses", portID)
	case len(fit) > 1:
		return badFloating("Port %s has multiple fixed IPv4 addresses. Must provide a specific IPv4 address when assigning a floating IP", portID)
	}
	routers, err := reaching(ctx, tx, f.NetworkID, fit[0].SubnetID)
	if err != nil {
		return err
	}
	if len(routers) > 0 { // while it is locked no interface of it can go
		if err := tx.Lock(ctx, "router/"+routers[0]); err != nil {
			return err
		}
		if routers, err = reaching(ctx, tx, f.NetworkID, fit[0].SubnetID); err != nil {
			return err
		}
	}
	if len(routers) == 0 {
		return fault.NotFound("External network %s is not reachable from subnet %s. Therefore, cannot associate Port %s with a Floating IP.", f.NetworkID, fit[0].SubnetID, portID).WithType("ExternalGatewayForFloatingIPNotFound")
	}
	f.FixedPort, f.FixedAddress, f.RouterID, f.Status = &p.ID, fit[0].IP, &routers[0], "ACTIVE"
	var other int
	if err := tx.Get(ctx, &other, `SELECT COUNT(*) FROM floating_ips WHERE fixed_port = ? AND fixed_address = ? AND id <> ?`, p.ID, fit[0].IP, f.ID); err != nil {
		return err
	}
	if other > 0 {
		return alreadyFloating(f)
	}
	return nil
}

// reaching are the routers between a subnet and an external network, the oldest first.
func reaching(ctx context.Context, tx *db.Tx, externalID, subnetID string) (out []string, err error) {
	err = tx.Select(ctx, &out, `SELECT r.id FROM routers r JOIN ports g ON g.id = r.gateway_port JOIN router_interfaces i ON i.router_id = r.id
		JOIN ip_allocations a ON a.port_id = i.port_id WHERE g.network_id = ? AND a.subnet_id = ? ORDER BY r.created_at, r.id`, externalID, subnetID)
	return out, err
}

// UpdateFloatingIP associates, disassociates or describes; routers' hosts have the change when the call returns.
func (s *Service) UpdateFloatingIP(ctx context.Context, sc Scope, id string, p FloatingIPPatch, c *Cond) (out FloatingIPView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		f, err := byID[FloatingIP](ctx, tx, "floating_ips", id, floatingNotFound)
		if err != nil {
			return err
		}
		if err := c.check("floatingip", id, f.RevisionNumber); err != nil {
			return err
		}
		was := *f
		p.Description.to(&f.Description)
		switch {
		case p.PortID.V != "":
			err = s.associate(ctx, tx, sc, f, p.PortID.V, p.FixedIP.V)
		case p.FixedIP.V != "" && !p.PortID.Set && f.FixedPort != nil:
			err = s.associate(ctx, tx, sc, f, *f.FixedPort, p.FixedIP.V)
		case p.FixedIP.V != "":
			err = badFloating("fixed_ip_address cannot be specified without a port_id")
		case p.PortID.Set:
			f.FixedPort, f.FixedAddress, f.RouterID, f.Status = nil, "", nil, "DOWN"
		}
		if err != nil {
			return err
		}
		if err := s.save(ctx, tx, f); err != nil {
			if db.IsUnique(err) {
				return alreadyFloating(f)
			}
			return err
		}
		hosts, err := s.hostsOfFloating(ctx, tx, []FloatingIP{was, *f})
		if err != nil {
			return err
		}
		vs, err := floatingViews(ctx, tx, []FloatingIP{*f})
		if err != nil {
			return err
		}
		out = vs[0]
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

// DeleteFloatingIP gives the address back.
func (s *Service) DeleteFloatingIP(ctx context.Context, id string) error {
	var mark mark
	err := s.write(ctx, func(tx *db.Tx) error {
		var gone []FloatingIP
		if err := tx.Select(ctx, &gone, `DELETE FROM floating_ips WHERE id = ? RETURNING *`, id); err != nil {
			return err
		}
		if len(gone) == 0 {
			return floatingNotFound(id)
		}
		hosts, err := s.hostsOfFloating(ctx, tx, gone)
		if err != nil {
			return err
		}
		if err := s.releaseFloating(ctx, tx, gone); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return err
}

// releaseFloating takes away what rows of floating IPs, already deleted, held: their outer ports with the addresses, and quota.
func (s *Service) releaseFloating(ctx context.Context, tx *db.Tx, gone []FloatingIP) error {
	outer := make([]Port, len(gone))
	counted := map[string]int64{}
	for i, f := range gone {
		outer[i].ID = f.OuterPort
		counted[f.ProjectID]++
	}
	if _, err := s.removePorts(ctx, tx, outer); err != nil {
		return err
	}
	for _, project := range slices.Sorted(maps.Keys(counted)) {
		if err := s.quotas.Release(ctx, tx, project, map[string]int64{"floatingip": counted[project]}); err != nil {
			return err
		}
	}
	return nil
}

// disassociate takes floating IPs off their ports, whoever changes them meanwhile.
func (s *Service) disassociate(ctx context.Context, tx *db.Tx, lost []FloatingIP) error {
	for _, f := range lost {
		if _, err := tx.Exec(ctx, `UPDATE floating_ips SET fixed_port = NULL, fixed_address = '', router_id = NULL, status = 'DOWN',
			revision_number = revision_number + 1, updated_at = ? WHERE id = ?`, db.At(s.clock.Now()), f.ID); err != nil {
			return err
		}
	}
	return nil
}

// hostsOfFloating are the hosts of the routers that serve these.
func (s *Service) hostsOfFloating(ctx context.Context, tx *db.Tx, fs []FloatingIP) ([]string, error) {
	var ids, out []string
	for _, f := range fs {
		if f.RouterID != nil {
			ids = append(ids, *f.RouterID)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	err := tx.Select(ctx, &out, `SELECT DISTINCT host FROM routers WHERE id IN (?) AND host <> ''`, ids)
	return out, err
}
