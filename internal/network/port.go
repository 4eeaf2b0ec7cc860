package network

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// The device owners with a meaning here. Servers' ports have "compute:" and the zone.
const (
	OwnerDHCP      = "network:dhcp"
	OwnerInterface = "network:router_interface"
	OwnerGateway   = "network:router_gateway"
	OwnerFloating  = "network:floatingip"
	OwnerCompute   = "compute:"
)

// Neutron's limits on one port.
const (
	maxFixedIPs = 5
	maxPairs    = 10
)

// Port is one plug on a network.
type Port struct {
	ID           string                   `db:"id"`
	NetworkID    string                   `db:"network_id"`
	ProjectID    string                   `db:"project_id"`
	Name         string                   `db:"name"`
	MAC          string                   `db:"mac"`
	AdminStateUp bool                     `db:"admin_state_up"`
	Status       string                   `db:"status"`
	DeviceID     string                   `db:"device_id"`
	DeviceOwner  string                   `db:"device_owner"`
	Host         string                   `db:"host"`
	VNICType     string                   `db:"vnic_type"`
	Profile      db.JSON[json.RawMessage] `db:"profile"`
	PortSecurity bool                     `db:"port_security"`
	DNSName      string                   `db:"dns_name"`
	Pairs        db.JSON[[]AddressPair]   `db:"address_pairs"`
	DHCPOpts     db.JSON[[]DHCPOption]    `db:"dhcp_opts"`
	NovaMade     bool                     `db:"nova_made"` // made for a server, and deleted with it
	NICIndex     int                      `db:"nic_index"` // order among the server's ports
	NICTag       string                   `db:"nic_tag"`   // device role tag of the server request
	Standard
}

// AddressPair is an address (or prefix) the port may use besides its own.
type AddressPair struct {
	IP  string `json:"ip_address"`
	MAC string `json:"mac_address,omitempty"` // empty: the port's
}

// DHCPOption is one extra DHCP option of a port.
type DHCPOption struct {
	Name    string `json:"opt_name"`
	Value   string `json:"opt_value"`
	Version int    `json:"ip_version"`
}

// FixedIP is one address of a port; in a request either field may be empty.
type FixedIP struct {
	SubnetID string `json:"subnet_id,omitempty"`
	IP       string `json:"ip_address,omitempty"`
}

// PortView is a port with its addresses and security groups.
type PortView struct {
	Port
	Fixed  []FixedIP
	Groups []string
}

// PortPatch is what a create or an update names.
type PortPatch struct {
	ProjectID    Opt[string]          `json:"project_id"`
	NetworkID    Opt[string]          `json:"network_id"`
	Name         Opt[string]          `json:"name"`
	Description  Opt[string]          `json:"description"`
	AdminStateUp Opt[bool]            `json:"admin_state_up"`
	MAC          Opt[string]          `json:"mac_address"`
	FixedIPs     Opt[[]FixedIP]       `json:"fixed_ips"`
	DeviceID     Opt[string]          `json:"device_id"`
	DeviceOwner  Opt[string]          `json:"device_owner"`
	Groups       Opt[[]string]        `json:"security_groups"`
	PortSecurity Opt[bool]            `json:"port_security_enabled"`
	Pairs        Opt[[]AddressPair]   `json:"allowed_address_pairs"`
	DHCPOpts     Opt[[]DHCPOption]    `json:"extra_dhcp_opts"`
	DNSName      Opt[string]          `json:"dns_name"`
	Host         Opt[string]          `json:"binding:host_id"`
	VNICType     Opt[string]          `json:"binding:vnic_type"`
	Profile      Opt[json.RawMessage] `json:"binding:profile"`
	Tags         Opt[[]string]        `json:"tags"`
}

// Ports lists.
func (s *Service) Ports(ctx context.Context, sc Scope, q Query) (out []PortView, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		rows, err := selectAll[Port](ctx, tx, "ports", q.filter(sc, "project_id = ? OR network_id IN (SELECT id FROM networks WHERE project_id = ?)"))
		if err != nil {
			return err
		}
		out, err = portViews(ctx, tx, rows)
		return err
	})
	return out, err
}

const manyPorts = 500 // beyond it the joined tables are read whole instead of by an IN list

func portViews(ctx context.Context, tx *db.Tx, rows []Port) ([]PortView, error) {
	out := make([]PortView, len(rows))
	at := make(map[string]*PortView, len(rows))
	ids := make([]string, len(rows))
	for i, r := range rows {
		out[i] = PortView{Port: r, Fixed: []FixedIP{}, Groups: []string{}}
		at[r.ID], ids[i] = &out[i], r.ID
	}
	if len(rows) == 0 {
		return out, nil
	}
	var args []any
	where := ""
	if len(ids) <= manyPorts {
		where, args = ` WHERE port_id IN (?)`, []any{ids}
	}
	var ips []struct {
		PortID string `db:"port_id"`
		taken
	}
	if err := tx.Select(ctx, &ips, `SELECT port_id, subnet_id, address FROM ip_allocations`+where+` ORDER BY port_id, position`, args...); err != nil {
		return nil, err
	}
	for _, a := range ips {
		if v := at[a.PortID]; v != nil {
			v.Fixed = append(v.Fixed, FixedIP{a.SubnetID, a.Address})
		}
	}
	var gs []struct {
		PortID  string `db:"port_id"`
		GroupID string `db:"group_id"`
	}
	if err := tx.Select(ctx, &gs, `SELECT port_id, group_id FROM port_security_groups`+where+` ORDER BY port_id, group_id`, args...); err != nil {
		return nil, err
	}
	for _, g := range gs {
		if v := at[g.PortID]; v != nil {
			v.Groups = append(v.Groups, g.GroupID)
		}
	}
	return out, nil
}

func portView(ctx context.Context, tx *db.Tx, p *Port) (PortView, error) {
	vs, err := portViews(ctx, tx, []Port{*p})
	if err != nil {
		return PortView{}, err
	}
	return vs[0], nil
}

// newMAC draws from fa:16:3e, which OpenStack uses for what it makes.
func newMAC() string {
	n := rand.Uint32()
	return fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", byte(n>>16), byte(n>>8), byte(n))
}

const insertPortText = `INSERT INTO ports (id, network_id, project_id, name, mac, admin_state_up, status, device_id, device_owner, host, vnic_type, profile, port_security,
 dns_name, address_pairs, dhcp_opts, nova_made, nic_index, nic_tag, description, tags, revision_number, created_at, updated_at)
 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (network_id, mac) DO NOTHING`

// insertPort writes the row; id and MAC are drawn when empty. A given MAC that is taken is fault.KindConflict.
func (s *Service) insertPort(ctx context.Context, tx *db.Tx, p *Port) error {
	if p.ID == "" {
		p.ID = newID()
	}
	if p.VNICType == "" {
		p.VNICType = "normal"
	}
	if p.Profile.V == nil {
		p.Profile.V = json.RawMessage("{}")
	}
	if p.RevisionNumber == 0 {
		p.Standard = s.newStandard(p.Description)
	}
	pairs, opts, tags := "[]", "[]", "[]"
	for dst, v := range map[*string]any{&pairs: p.Pairs.V, &opts: p.DHCPOpts.V, &tags: p.Tags.V} {
		if b, err := json.Marshal(v); err == nil && string(b) != "null" {
			*dst = string(b)
		}
	}
	given := p.MAC != ""
	for range 16 {
		if !given {
			p.MAC = newMAC()
		}
		n, err := tx.Exec(ctx, insertPortText, p.ID, p.NetworkID, p.ProjectID, p.Name, p.MAC, p.AdminStateUp, p.Status, p.DeviceID, p.DeviceOwner, p.Host, p.VNICType,
			string(p.Profile.V), p.PortSecurity, p.DNSName, pairs, opts, p.NovaMade, p.NICIndex, p.NICTag, p.Description, tags, p.RevisionNumber, p.Created, p.Updated)
		if db.IsForeignKey(err) {
			return networkNotFound(p.NetworkID).WithCause(err)
		}
		if err != nil || n == 1 {
			return err
		}
		if given {
			return fault.Conflict("Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC).WithType("MacAddressInUse")
		}
	}
	return fault.Unavailable("Unable to generate unique mac on network %s.", p.NetworkID).WithType("MacAddressGenerationFailure")
}

// allocate gives a new port its addresses: those asked for, or one of each IP version the network has.
func (s *Service) allocate(ctx context.Context, tx *db.Tx, networkID string, subs []Subnet, portID string, reqs []FixedIP, explicit bool, from int) ([]FixedIP, error) {
	var out []FixedIP
	if explicit {
		if len(reqs) > maxFixedIPs {
			return nil, invalidInput("fixed_ips", "Exceeded maximum amount of fixed ips per port.")
		}
		for i, r := range reqs {
			f, err := s.allocateOne(ctx, tx, networkID, subs, portID, r, from+i)
			if err != nil {
				return nil, err
			}
			out = append(out, f)
		}
		return out, nil
	}
	for _, version := range []int{4, 6} {
		var full error
		for i := range subs {
			if subs[i].IPVersion != version {
				continue
			}
			a, err := s.takeAny(ctx, tx, &subs[i], portID, from+len(out))
			if err == nil {
				out = append(out, FixedIP{subs[i].ID, a.String()})
				full = nil
				break
			}
			if fault.KindOf(err) != fault.KindConflict {
				return nil, err
			}
			full = err
		}
		if full != nil {
			return nil, full
		}
	}
	return out, nil
}

func (s *Service) allocateOne(ctx context.Context, tx *db.Tx, networkID string, subs []Subnet, portID string, r FixedIP, position int) (FixedIP, error) {
	var sub *Subnet
	var ip netip.Addr
	if r.IP != "" {
		var err error
		if ip, err = netip.ParseAddr(r.IP); err != nil {
			return FixedIP{}, invalidInput("fixed_ips", "'%s' is not a valid IP address.", r.IP)
		}
	}
	for i := range subs {
		if r.SubnetID == subs[i].ID || r.SubnetID == "" && ip.IsValid() && subs[i].prefix().Contains(ip) {
			sub = &subs[i]
			break
		}
	}
	switch {
	case sub == nil && r.SubnetID != "":
		return FixedIP{}, invalidInput("fixed_ips", "Failed to create port on network %s, because fixed_ips included invalid subnet %s.", networkID, r.SubnetID)
	case sub == nil && r.IP != "":
		return FixedIP{}, fault.Invalid("fixed_ips", "IP address %s is not a valid IP for any of the subnets on the specified network.", r.IP).WithType("InvalidIpForNetwork")
	case sub == nil:
		return FixedIP{}, invalidInput("fixed_ips", "IP allocation requires subnet_id or ip_address.")
	case !ip.IsValid():
		a, err := s.takeAny(ctx, tx, sub, portID, position)
		return FixedIP{sub.ID, a.String()}, err
	}
	if first, last := hosts(sub.prefix()); ip.Less(first) || last.Less(ip) {
		return FixedIP{}, fault.Invalid("fixed_ips", "IP address %s is not a valid IP for the specified subnet.", ip).WithType("InvalidIpForSubnet")
	}
	return FixedIP{sub.ID, ip.String()}, s.takeOne(ctx, tx, sub, ip, portID, position)
}

// CreatePorts makes all or none; sc says whose security groups may be named.
func (s *Service) CreatePorts(ctx context.Context, sc Scope, ps []PortPatch) (out []PortView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		out = nil
		var hosts []string
		for i := range ps {
			v, err := s.createPort(ctx, tx, sc, &ps[i])
			if err != nil {
				return err
			}
			out = append(out, v)
			if v.Host != "" {
				hosts = append(hosts, v.Host)
			}
			s.lazyOnCommit(tx, v.Groups)
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

func (s *Service) createPort(ctx context.Context, tx *db.Tx, sc Scope, p *PortPatch) (PortView, error) {
	net, err := networkByID(ctx, tx, p.NetworkID.V)
	if err != nil {
		return PortView{}, err
	}
	subs, err := subnetsOf(ctx, tx, net.ID)
	if err != nil {
		return PortView{}, err
	}
	port := &Port{NetworkID: net.ID, ProjectID: p.ProjectID.V, AdminStateUp: true, Status: "DOWN", PortSecurity: net.PortSecurity, Standard: s.newStandard("")}
	if err := port.patch(p); err != nil {
		return PortView{}, err
	}
	if p.Tags.Set {
		port.Tags = db.AsJSON(p.Tags.V)
	}
	if err := s.reserve(ctx, tx, port.ProjectID, map[string]int64{"port": 1}); err != nil {
		return PortView{}, err
	}
	if err := s.insertPort(ctx, tx, port); err != nil {
		return PortView{}, err
	}
	v := PortView{Port: *port, Groups: []string{}}
	if v.Fixed, err = s.allocate(ctx, tx, net.ID, subs, port.ID, p.FixedIPs.V, p.FixedIPs.Set && !p.FixedIPs.Null, 0); err != nil {
		return PortView{}, err
	}
	if v.Fixed == nil {
		v.Fixed = []FixedIP{}
	}
	groups := p.Groups.V
	service := strings.HasPrefix(port.DeviceOwner, "network:")
	switch {
	case p.Groups.Set && !p.Groups.Null:
		if err := visibleGroups(ctx, tx, sc, groups); err != nil {
			return PortView{}, err
		}
		if len(groups) > 0 && !port.PortSecurity {
			return PortView{}, fault.Conflict("Port security must be enabled and port must have an IP address in order to use security groups.").WithType("PortSecurityAndIPRequiredForSecurityGroups")
		}
	case port.PortSecurity && !service:
		g, err := s.defaultGroup(ctx, tx, port.ProjectID)
		if err != nil {
			return PortView{}, err
		}
		groups = []string{g}
	}
	if err := setGroups(ctx, tx, port.ID, groups); err != nil {
		return PortView{}, err
	}
	v.Groups = append(v.Groups, groups...)
	return v, nil
}

// visibleGroups refuses groups that the caller may not see.
func visibleGroups(ctx context.Context, tx *db.Tx, sc Scope, groups []string) error {
	for _, id := range groups {
		g, err := byID[SecurityGroup](ctx, tx, "security_groups", id, groupNotFound)
		if err != nil {
			return err
		}
		if !sc.Admin && g.ProjectID != sc.ProjectID {
			return groupNotFound(id)
		}
	}
	return nil
}

func setGroups(ctx context.Context, tx *db.Tx, portID string, groups []string) error {
	for _, g := range groups {
		_, err := tx.Exec(ctx, `INSERT INTO port_security_groups (port_id, group_id) VALUES (?, ?) ON CONFLICT (port_id, group_id) DO NOTHING`, portID, g)
		if db.IsForeignKey(err) {
			return groupNotFound(g).WithCause(err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// patch applies and checks what create and update may set, but for addresses and groups.
func (p *Port) patch(q *PortPatch) error {
	q.Name.to(&p.Name)
	q.Description.to(&p.Description)
	q.AdminStateUp.to(&p.AdminStateUp)
	q.DeviceID.to(&p.DeviceID)
	q.DeviceOwner.to(&p.DeviceOwner)
	q.DNSName.to(&p.DNSName)
	q.Host.to(&p.Host)
	if q.PortSecurity.Set && !q.PortSecurity.Null {
		p.PortSecurity = q.PortSecurity.V
	}
	if q.VNICType.Set && !q.VNICType.Null {
		if q.VNICType.V != "normal" {
			return invalidInput("binding:vnic_type", "binding:vnic_type %s is not supported: only normal is.", q.VNICType.V)
		}
		p.VNICType = q.VNICType.V
	}
	if q.Profile.Set {
		p.Profile.V = q.Profile.V
		if q.Profile.Null || len(p.Profile.V) == 0 {
			p.Profile.V = json.RawMessage("{}")
		}
	}
	if q.MAC.Set && !q.MAC.Null {
		m, err := net.ParseMAC(q.MAC.V)
		if err != nil || len(m) != 6 {
			return invalidInput("mac_address", "'%s' is not a valid MAC address.", q.MAC.V)
		}
		p.MAC = m.String()
	}
	if q.DHCPOpts.Set {
		opts := slices.Clone(q.DHCPOpts.V)
		for i := range opts {
			if opts[i].Version == 0 {
				opts[i].Version = 4
			}
		}
		p.DHCPOpts = db.AsJSON(opts)
	}
	if q.Pairs.Set {
		if err := p.setPairs(q.Pairs.V); err != nil {
			return err
		}
	}
	if !p.PortSecurity && len(p.Pairs.V) > 0 {
		return fault.Conflict("Port Security must be enabled in order to have allowed address pairs on a port.").WithType("AddressPairAndPortSecurityRequired")
	}
	return nil
}

func (p *Port) setPairs(in []AddressPair) error {
	if len(in) > maxPairs {
		return fault.Invalid("allowed_address_pairs", "The number of allowed address pair exceeds the maximum %d.", maxPairs).WithType("AllowedAddressPairExhausted")
	}
	out := []AddressPair{}
	for _, a := range in {
		if _, err := netip.ParsePrefix(a.IP); err != nil {
			if _, err := netip.ParseAddr(a.IP); err != nil {
				return invalidInput("allowed_address_pairs", "'%s' is not a valid IP address or prefix.", a.IP)
			}
		}
		if a.MAC != "" {
			m, err := net.ParseMAC(a.MAC)
			if err != nil || len(m) != 6 {
				return invalidInput("allowed_address_pairs", "'%s' is not a valid MAC address.", a.MAC)
			}
			a.MAC = m.String()
		}
		if slices.Contains(out, a) {
			return fault.Invalid("allowed_address_pairs", "Request contains duplicate address pair: mac_address %s ip_address %s.", a.MAC, a.IP).WithType("DuplicateAddressPairInRequest")
		}
		out = append(out, a)
	}
	p.Pairs = db.AsJSON(out)
	return nil
}

// UpdatePort changes one port; hosts that run it, or its security groups' peers, are told.
func (s *Service) UpdatePort(ctx context.Context, sc Scope, id string, q PortPatch, c *Cond) (out PortView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		p, err := portRow(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := c.check("port", id, p.RevisionNumber); err != nil {
			return err
		}
		was := *p
		if q.MAC.Set && !q.MAC.Null && p.Host != "" && !strings.EqualFold(q.MAC.V, p.MAC) {
			return fault.Conflict("Unable to complete operation on port %s, port is already bound, port type: %s, old_mac %s, new_mac %s.", id, vifType(p), p.MAC, q.MAC.V).WithType("PortBound")
		}
		if err := p.patch(&q); err != nil {
			return err
		}
		if was.DeviceID != "" && p.DeviceID == "" { // unplugged by hand
			p.Status = "DOWN"
		}
		if q.FixedIPs.Set {
			if err := s.changeAddresses(ctx, tx, p, q.FixedIPs.V); err != nil {
				return err
			}
		}
		v, err := portView(ctx, tx, p)
		if err != nil {
			return err
		}
		before := v.Groups
		if err := changeGroups(ctx, tx, sc, p, &q, v.Groups); err != nil {
			return err
		}
		if err := s.save(ctx, tx, p); err != nil {
			if db.IsUnique(err) {
				return fault.Conflict("Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC).WithType("MacAddressInUse")
			}
			return err
		}
		if out, err = portView(ctx, tx, p); err != nil {
			return err
		}
		s.lazyOnCommit(tx, append(before, out.Groups...))
		if p.DeviceOwner == OwnerDHCP {
			if err := s.topologyChanged(ctx, tx); err != nil {
				return err
			}
		}
		return s.markOnCommit(ctx, tx, &mark, []string{was.Host, p.Host})
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

func changeGroups(ctx context.Context, tx *db.Tx, sc Scope, p *Port, q *PortPatch, have []string) error {
	want := have
	if q.Groups.Set {
		want = q.Groups.V
	}
	if !p.PortSecurity && len(want) > 0 {
		return fault.Conflict("Port has security group associated. Cannot disable port security or IP address until security group is removed.").WithType("PortSecurityPortHasSecurityGroup")
	}
	if !q.Groups.Set {
		return nil
	}
	if err := visibleGroups(ctx, tx, sc, want); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM port_security_groups WHERE port_id = ?`, p.ID); err != nil {
		return err
	}
	return setGroups(ctx, tx, p.ID, want)
}

// changeAddresses makes the port's addresses those of want: the ones it has and keeps stay untouched.
func (s *Service) changeAddresses(ctx context.Context, tx *db.Tx, p *Port, want []FixedIP) error {
	if len(want) > maxFixedIPs {
		return invalidInput("fixed_ips", "Exceeded maximum amount of fixed ips per port.")
	}
	v, err := portView(ctx, tx, p)
	if err != nil {
		return err
	}
	keep := map[FixedIP]bool{}
	var add []FixedIP
	for _, w := range want {
		i := slices.IndexFunc(v.Fixed, func(h FixedIP) bool {
			return !keep[h] && (w.IP == h.IP || w.IP == "") && (w.SubnetID == h.SubnetID || w.SubnetID == "" && w.IP != "")
		})
		if i >= 0 {
			keep[v.Fixed[i]] = true
		} else {
			add = append(add, w)
		}
	}
	for _, h := range v.Fixed {
		if keep[h] {
			continue
		}
		var gone []taken
		if err := tx.Select(ctx, &gone, `DELETE FROM ip_allocations WHERE subnet_id = ? AND address = ? AND port_id = ? RETURNING subnet_id, address`, h.SubnetID, h.IP, p.ID); err != nil {
			return err
		}
		s.freedOnCommit(tx, gone)
		var lost []FloatingIP
		if err := tx.Select(ctx, &lost, `SELECT * FROM floating_ips WHERE fixed_port = ? AND fixed_address = ?`, p.ID, h.IP); err != nil {
			return err
		}
		if err := s.disassociate(ctx, tx, lost); err != nil {
			return err
		}
	}
	subs, err := subnetsOf(ctx, tx, p.NetworkID)
	if err != nil {
		return err
	}
	_, err = s.allocate(ctx, tx, p.NetworkID, subs, p.ID, add, true, len(v.Fixed))
	return err
}

// DeletePort removes one port, its addresses and groups; floating IPs on it are disassociated. Ports that a router, DHCP or a floating IP owns
// cannot be deleted directly (fault.KindConflict).
func (s *Service) DeletePort(ctx context.Context, id string) error {
	var mark mark
	err := s.write(ctx, func(tx *db.Tx) error {
		p, err := portRow(ctx, tx, id)
		if err != nil {
			return err
		}
		switch p.DeviceOwner {
		case OwnerInterface, OwnerGateway, OwnerFloating, OwnerDHCP:
			return fault.Conflict("Port %s cannot be deleted directly via the port API: has device owner %s.", id, p.DeviceOwner).WithType("ServicePortInUse")
		}
		hosts, err := s.removePorts(ctx, tx, []Port{*p})
		if err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, append(hosts, p.Host))
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return err
}

// removePorts deletes ports with all that hangs on them and gives quota back. It returns the hosts of routers that served their floating IPs.
func (s *Service) removePorts(ctx context.Context, tx *db.Tx, ports []Port) (routerHosts []string, err error) {
	if len(ports) == 0 {
		return nil, nil
	}
	ids := make([]string, len(ports))
	for i, p := range ports {
		ids[i] = p.ID
	}
	var lost []FloatingIP
	if err := tx.Select(ctx, &lost, `SELECT * FROM floating_ips WHERE fixed_port IN (?)`, ids); err != nil {
		return nil, err
	}
	if routerHosts, err = s.hostsOfFloating(ctx, tx, lost); err != nil {
		return nil, err
	}
	if err := s.disassociate(ctx, tx, lost); err != nil {
		return nil, err
	}
	var groups []string
	if err := tx.Select(ctx, &groups, `DELETE FROM port_security_groups WHERE port_id IN (?) RETURNING group_id`, ids); err != nil {
		return nil, err
	}
	s.lazyOnCommit(tx, groups)
	if err := s.releaseAddresses(ctx, tx, ids...); err != nil {
		return nil, err
	}
	var gone []Port // what this transaction deleted, and not another a moment ago
	if err := tx.Select(ctx, &gone, `DELETE FROM ports WHERE id IN (?) RETURNING *`, ids); err != nil {
		return nil, err
	}
	counted := map[string]int64{}
	for _, p := range gone {
		if counts(p.DeviceOwner) {
			counted[p.ProjectID]++
		}
	}
	for project, n := range counted {
		if err := s.quotas.Release(ctx, tx, project, map[string]int64{"port": n}); err != nil {
			return nil, err
		}
	}
	return routerHosts, nil
}

// counts says whether ports of this owner count against a project's quota.
func counts(owner string) bool {
	return owner != OwnerDHCP && owner != OwnerGateway && owner != OwnerFloating
}

func vifType(p *Port) string {
	if p.Host == "" {
		return "unbound"
	}
	return "tap"
}

// VIFType is what the API shows as binding:vif_type.
func (p *Port) VIFType() string { return vifType(p) }
