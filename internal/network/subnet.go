package network

import (
	"context"
	"net/netip"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// Neutron's limits on one subnet.
const (
	maxNameServers = 5
	maxHostRoutes  = 20
)

// Route is a static route, in Neutron's form.
type Route = hostapi.Route

// Subnet is a block of addresses on a network. Addresses are static: IPv6 router advertisements are not part of it.
type Subnet struct {
	ID         string            `db:"id"`
	NetworkID  string            `db:"network_id"`
	ProjectID  string            `db:"project_id"`
	Name       string            `db:"name"`
	IPVersion  int               `db:"ip_version"`
	CIDR       string            `db:"cidr"`
	Gateway    string            `db:"gateway"` // "" = none
	EnableDHCP bool              `db:"enable_dhcp"`
	Pools      db.JSON[[]Range]  `db:"pools"`
	DNS        db.JSON[[]string] `db:"dns"`
	HostRoutes db.JSON[[]Route]  `db:"host_routes"`
	Standard
}

func (n *Subnet) prefix() netip.Prefix { return netip.MustParsePrefix(n.CIDR) } // checked on the way in

// SubnetView is a subnet with what it has from its network.
type SubnetView struct {
	Subnet
	External bool
	Shared   bool
}

// SubnetPatch is what a create or an update names.
type SubnetPatch struct {
	ProjectID   Opt[string]   `json:"project_id"`
	NetworkID   Opt[string]   `json:"network_id"`
	Name        Opt[string]   `json:"name"`
	Description Opt[string]   `json:"description"`
	IPVersion   Opt[int]      `json:"ip_version"`
	CIDR        Opt[string]   `json:"cidr"`
	Gateway     Opt[string]   `json:"gateway_ip"`
	EnableDHCP  Opt[bool]     `json:"enable_dhcp"`
	Pools       Opt[[]Range]  `json:"allocation_pools"`
	DNS         Opt[[]string] `json:"dns_nameservers"`
	HostRoutes  Opt[[]Route]  `json:"host_routes"`
}

// Subnets lists. An external network is everyone's to see, its subnets only where it is shared too (Neutron).
func (s *Service) Subnets(ctx context.Context, sc Scope, q Query) (out []SubnetView, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		rows, err := selectAll[Subnet](ctx, tx, "subnets", q.filter(sc,
			"project_id = ? OR network_id IN (SELECT id FROM networks WHERE shared = TRUE OR project_id = ?)"))
		if err != nil {
			return err
		}
		out, err = subnetViews(ctx, tx, rows)
		return err
	})
	return out, err
}

func subnetViews(ctx context.Context, tx *db.Tx, rows []Subnet) ([]SubnetView, error) {
	out := make([]SubnetView, len(rows))
	if len(rows) == 0 {
		return out, nil
	}
	var nets []struct {
		ID       string `db:"id"`
		External bool   `db:"external"`
		Shared   bool   `db:"shared"`
	}
	if err := tx.Select(ctx, &nets, `SELECT id, external, shared FROM networks WHERE external = TRUE OR shared = TRUE`); err != nil {
		return nil, err
	}
	for i, r := range rows {
		out[i].Subnet = r
		for _, n := range nets {
			if n.ID == r.NetworkID {
				out[i].External, out[i].Shared = n.External, n.Shared
			}
		}
	}
	return out, nil
}

func invalidInput(field, format string, a ...any) error {
	f := fault.Invalid(field, format, a...).WithType("InvalidInput")
	f.Msg = "Invalid input for operation: " + f.Msg
	return f
}

// CreateSubnets makes all or none.
func (s *Service) CreateSubnets(ctx context.Context, ps []SubnetPatch) (out []SubnetView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		var rows []Subnet
		var hosts []string
		for i := range ps {
			n, err := s.createSubnet(ctx, tx, newID(), &ps[i])
			if err != nil {
				return err
			}
			rows = append(rows, *n)
			hs, err := hostsOnNetwork(ctx, tx, n.NetworkID)
			if err != nil {
				return err
			}
			hosts = append(hosts, hs...)
		}
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		if out, err = subnetViews(ctx, tx, rows); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

func (s *Service) createSubnet(ctx context.Context, tx *db.Tx, id string, p *SubnetPatch) (*Subnet, error) {
	if err := tx.Lock(ctx, "network/"+p.NetworkID.V); err != nil {
		return nil, err
	}
	net, err := networkByID(ctx, tx, p.NetworkID.V)
	if err != nil {
		return nil, err
	}
	n := &Subnet{ID: id, NetworkID: net.ID, ProjectID: p.ProjectID.V, IPVersion: p.IPVersion.V, EnableDHCP: true, Standard: s.newStandard("")}
	if !p.CIDR.Set || p.CIDR.Null {
		return nil, fault.Invalid("cidr", "Bad subnets request: a subnetpool must be specified in the absence of a cidr.").WithType("BadRequest")
	}
	pre, err := netip.ParsePrefix(p.CIDR.V)
	if err != nil {
		return nil, invalidInput("cidr", "'%s' is not a valid IP subnet.", p.CIDR.V)
	}
	pre = pre.Masked()
	n.CIDR = pre.String()
	if (n.IPVersion == 4) != pre.Addr().Is4() || n.IPVersion != 4 && n.IPVersion != 6 {
		return nil, invalidInput("ip_version", "cidr '%s' does not match the ip_version '%d'", n.CIDR, n.IPVersion)
	}
	others, err := subnetsOf(ctx, tx, net.ID)
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		if o.prefix().Overlaps(pre) {
			return nil, invalidInput("cidr", "Requested subnet with cidr: %s for network: %s overlaps with another subnet.", n.CIDR, net.ID)
		}
	}
	if !p.Gateway.Set {
		n.Gateway = defaultGateway(pre)
	}
	n.DNS = db.AsJSON(s.cfg.DNS)
	if err := n.patch(p, true); err != nil {
		return nil, err
	}
	if err := s.reserve(ctx, tx, n.ProjectID, map[string]int64{"subnet": 1}); err != nil {
		return nil, err
	}
	if err := tx.Insert(ctx, "subnets", n); err != nil {
		return nil, err
	}
	return n, s.serveDHCP(ctx, tx, net, n)
}

func defaultGateway(p netip.Prefix) string {
	if p.Bits() >= p.Addr().BitLen()-1 { // /31, /32: the first address itself, as Neutron takes it
		return p.Addr().String()
	}
	return p.Addr().Next().String()
}

// hosts is the range of addresses that may be given out at all: without network and broadcast address of IPv4, without the
// subnet-router anycast address of IPv6.
func hosts(p netip.Prefix) (first, last netip.Addr) {
	first, last = p.Addr(), lastOf(p)
	if p.Bits() >= p.Addr().BitLen()-1 {
		return first, last
	}
	if p.Addr().Is4() {
		return first.Next(), last.Prev()
	}
	return first.Next(), last
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// defaultPools are all hosts but the gateway.
func defaultPools(p netip.Prefix, gateway string) []Range {
	first, last := hosts(p)
	g, err := netip.ParseAddr(gateway)
	if err != nil || g.Less(first) || last.Less(g) {
		return []Range{{first.String(), last.String()}}
	}
	var out []Range
	if first.Less(g) {
		out = append(out, Range{first.String(), g.Prev().String()})
	}
	if g.Less(last) {
		out = append(out, Range{g.Next().String(), last.String()})
	}
	return out
}

// patch applies and checks what create and update may set.
func (n *Subnet) patch(p *SubnetPatch, creating bool) error {
	pre := n.prefix()
	p.Name.to(&n.Name)
	p.Description.to(&n.Description)
	p.EnableDHCP.to(&n.EnableDHCP)
	if p.Gateway.Set {
		n.Gateway = ""
		if !p.Gateway.Null && p.Gateway.V != "" {
			g, err := netip.ParseAddr(p.Gateway.V)
			if err != nil || g.Is4() != pre.Addr().Is4() {
				return invalidInput("gateway_ip", "gateway_ip '%s' does not match the ip_version '%d'", p.Gateway.V, n.IPVersion)
			}
			if g.Is4() && (!pre.Contains(g) || pre.Bits() < 31 && (g == pre.Addr() || g == lastOf(pre))) {
				return fault.Invalid("gateway_ip", "Gateway is not valid on subnet").WithType("InvalidInput")
			}
			n.Gateway = g.String()
		}
	}
	if p.DNS.Set {
		if err := n.setDNS(p.DNS.V); err != nil {
			return err
		}
	}
	if p.HostRoutes.Set {
		if err := n.setHostRoutes(p.HostRoutes.V); err != nil {
			return err
		}
	}
	switch {
	case p.Pools.Set && !p.Pools.Null:
		rs, err := checkPools(pre, p.Pools.V)
		if err != nil {
			return err
		}
		n.Pools = db.AsJSON(rs)
	case creating:
		n.Pools = db.AsJSON(defaultPools(pre, n.Gateway))
	}
	if g, err := netip.ParseAddr(n.Gateway); err == nil && (p.Gateway.Set || p.Pools.Set) {
		for _, r := range parseRanges(n.Pools.V) {
			if r.contains(g) {
				return fault.Conflict("Gateway ip %s conflicts with allocation pool %s-%s.", g, r.start, r.end).WithType("GatewayConflictWithAllocationPools")
			}
		}
	}
	return nil
}

func (n *Subnet) setDNS(list []string) error {
	if len(list) > maxNameServers {
		return fault.Invalid("dns_nameservers", "The number of DNS nameservers exceeds the limit %d", maxNameServers).WithType("DNSNameServersExhausted")
	}
	out := []string{}
	for _, d := range list {
		a, err := netip.ParseAddr(d)
		if err != nil {
			return invalidInput("dns_nameservers", "'%s' is not a valid nameserver.", d)
		}
		if slices.Contains(out, a.String()) {
			return invalidInput("dns_nameservers", "Duplicate nameserver '%s'.", d)
		}
		out = append(out, a.String())
	}
	n.DNS = db.AsJSON(out)
	return nil
}

func (n *Subnet) setHostRoutes(list []Route) error {
	if len(list) > maxHostRoutes {
		return fault.Invalid("host_routes", "The number of host routes exceeds the limit %d", maxHostRoutes).WithType("HostRoutesExhausted")
	}
	out := []Route{}
	for _, r := range list {
		d, err1 := netip.ParsePrefix(r.Destination)
		h, err2 := netip.ParseAddr(r.NextHop)
		if err1 != nil || err2 != nil || d.Addr().Is4() != h.Is4() || h.Is4() != (n.IPVersion == 4) {
			return invalidInput("host_routes", "Invalid route: destination %s nexthop %s", r.Destination, r.NextHop)
		}
		out = append(out, Route{Destination: d.Masked().String(), NextHop: h.String()})
	}
	n.HostRoutes = db.AsJSON(out)
	return nil
}

func checkPools(pre netip.Prefix, in []Range) ([]Range, error) {
	first, last := hosts(pre)
	out := []Range{}
	var done []ipRange
	for _, r := range in {
		a, err1 := netip.ParseAddr(r.Start)
		b, err2 := netip.ParseAddr(r.End)
		if err1 != nil || err2 != nil || a.Is4() != b.Is4() || a.Is4() != pre.Addr().Is4() || b.Less(a) {
			return nil, fault.Invalid("allocation_pools", "The allocation pool %s-%s is not valid.", r.Start, r.End).WithType("InvalidAllocationPool")
		}
		if a.Less(first) || last.Less(b) {
			return nil, fault.Invalid("allocation_pools", "The allocation pool %s-%s spans beyond the subnet cidr %s.", a, b, pre).WithType("OutOfBoundsAllocationPool")
		}
		for _, o := range done {
			if !b.Less(o.start) && !o.end.Less(a) {
				return nil, fault.Conflict("Found overlapping allocation pools: %s-%s %s-%s for subnet %s.", o.start, o.end, a, b, pre).WithType("OverlappingAllocationPools")
			}
		}
		done = append(done, ipRange{start: a, end: b})
		out = append(out, Range{a.String(), b.String()})
	}
	return out, nil
}

// UpdateSubnet changes one subnet.
func (s *Service) UpdateSubnet(ctx context.Context, id string, p SubnetPatch, c *Cond) (out SubnetView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		n, err := subnetByID(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := c.check("subnet", id, n.RevisionNumber); err != nil {
			return err
		}
		gateway := n.Gateway
		if err := n.patch(&p, false); err != nil {
			return err
		}
		if gateway != n.Gateway && gateway != "" {
			var port []string
			if err := tx.Select(ctx, &port, `SELECT port_id FROM ip_allocations WHERE subnet_id = ? AND address = ?`, id, gateway); err != nil {
				return err
			}
			if len(port) > 0 {
				return fault.Conflict("Current gateway ip %s already in use by port %s. Unable to update.", gateway, port[0]).WithType("GatewayIpInUse")
			}
		}
		if err := s.save(ctx, tx, n); err != nil {
			return err
		}
		net, err := networkByID(ctx, tx, n.NetworkID)
		if err != nil {
			return err
		}
		if err := s.serveDHCP(ctx, tx, net, n); err != nil {
			return err
		}
		vs, err := subnetViews(ctx, tx, []Subnet{*n})
		if err != nil {
			return err
		}
		out = vs[0]
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		hosts, err := hostsOnNetwork(ctx, tx, n.NetworkID)
		if err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

// DeleteSubnet removes a subnet; fault.KindConflict while ports have addresses of it.
func (s *Service) DeleteSubnet(ctx context.Context, id string) error {
	var mark mark
	err := s.write(ctx, func(tx *db.Tx) error {
		n, err := subnetByID(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := tx.Lock(ctx, "network/"+n.NetworkID); err != nil {
			return err
		}
		inUse := fault.Conflict("Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", id).WithType("SubnetInUse")
		var used int
		if err := tx.Get(ctx, &used, `SELECT COUNT(*) FROM ip_allocations a JOIN ports p ON p.id = a.port_id WHERE a.subnet_id = ? AND p.device_owner <> ?`, id, OwnerDHCP); err != nil {
			return err
		}
		if used > 0 {
			return inUse
		}
		hosts, err := hostsOnNetwork(ctx, tx, n.NetworkID)
		if err != nil {
			return err
		}
		n.EnableDHCP = false
		if err := s.serveDHCP(ctx, tx, &Network{ID: n.NetworkID}, n); err != nil {
			return err
		}
		gone, err := tx.Exec(ctx, `DELETE FROM subnets WHERE id = ?`, id)
		if db.IsForeignKey(err) {
			return inUse
		}
		if err != nil {
			return err
		}
		if gone == 0 {
			return subnetNotFound(id)
		}
		tx.OnCommit(func() { s.pools.forget(id) })
		if err := s.topologyChanged(ctx, tx); err != nil {
			return err
		}
		if err := s.quotas.Release(ctx, tx, n.ProjectID, map[string]int64{"subnet": 1}); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return err
}

// serveDHCP keeps the network's DHCP port: it holds one address in each IPv4 subnet with DHCP, the address that hosts answer DHCP and
// metadata from. A subnet without a free address goes without, and documents then show it with DHCP off.
func (s *Service) serveDHCP(ctx context.Context, tx *db.Tx, net *Network, n *Subnet) error {
	want := n.EnableDHCP && n.IPVersion == 4
	var have []Port
	if err := tx.Select(ctx, &have, `SELECT * FROM ports WHERE network_id = ? AND device_owner = ?`, net.ID, OwnerDHCP); err != nil {
		return err
	}
	var held []string
	if len(have) > 0 {
		if err := tx.Select(ctx, &held, `SELECT address FROM ip_allocations WHERE port_id = ? AND subnet_id = ?`, have[0].ID, n.ID); err != nil {
			return err
		}
	}
	switch {
	case want == (len(held) > 0):
		return nil
	case !want:
		return s.dropDHCP(ctx, tx, &have[0], n)
	}
	port := Port{}
	made := len(have) == 0
	if made {
		port = Port{NetworkID: net.ID, ProjectID: net.ProjectID, DeviceOwner: OwnerDHCP, DeviceID: "dhcp-" + net.ID, AdminStateUp: true, Status: "ACTIVE"}
		if err := s.insertPort(ctx, tx, &port); err != nil {
			return err
		}
	} else {
		port = have[0]
	}
	_, err := s.takeAny(ctx, tx, n, port.ID, 0)
	if fault.KindOf(err) == fault.KindConflict {
		if made {
			_, err = tx.Exec(ctx, `DELETE FROM ports WHERE id = ?`, port.ID)
			return err
		}
		return nil
	}
	return err
}

func (s *Service) dropDHCP(ctx context.Context, tx *db.Tx, port *Port, n *Subnet) error {
	var gone []taken
	if err := tx.Select(ctx, &gone, `DELETE FROM ip_allocations WHERE port_id = ? AND subnet_id = ? RETURNING subnet_id, address`, port.ID, n.ID); err != nil {
		return err
	}
	s.freedOnCommit(tx, gone)
	_, err := tx.Exec(ctx, `DELETE FROM ports WHERE id = ? AND NOT EXISTS (SELECT 1 FROM ip_allocations WHERE port_id = ports.id)`, port.ID)
	return err
}
