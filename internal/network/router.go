package network

import (
	"context"
	"net/netip"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Router joins subnets with one another and, by its gateway, with an external network. It runs on one host.
type Router struct {
	ID           string            `db:"id"`
	ProjectID    string            `db:"project_id"`
	Name         string            `db:"name"`
	AdminStateUp bool              `db:"admin_state_up"`
	Host         string            `db:"host"` // "" until a host that can run routers has been seen
	GatewayPort  *string           `db:"gateway_port"`
	EnableSNAT   bool              `db:"enable_snat"`
	Routes       db.JSON[[]Route]  `db:"routes"`
	ZoneHints    db.JSON[[]string] `db:"zone_hints"`
	Standard
}

// Gateway is the outer leg as users name and see it.
type Gateway struct {
	NetworkID  string    `json:"network_id"`
	EnableSNAT *bool     `json:"enable_snat,omitempty"`
	Fixed      []FixedIP `json:"external_fixed_ips,omitempty"`
}

// RouterView is a router with its gateway.
type RouterView struct {
	Router
	Gateway *Gateway
}

// RouterPatch is what a create or an update names. A null or empty Gateway clears it.
type RouterPatch struct {
	ProjectID    Opt[string]   `json:"project_id"`
	Name         Opt[string]   `json:"name"`
	Description  Opt[string]   `json:"description"`
	AdminStateUp Opt[bool]     `json:"admin_state_up"`
	Gateway      Opt[Gateway]  `json:"external_gateway_info"`
	Routes       Opt[[]Route]  `json:"routes"`
	ZoneHints    Opt[[]string] `json:"availability_zone_hints"`
}

// Interface is the answer to adding or removing one.
type Interface struct {
	RouterID, ProjectID, PortID, NetworkID string
	SubnetIDs                              []string
}

func badRouter(format string, a ...any) error {
	f := fault.Invalid("router", format, a...).WithType("BadRequest")
	f.Msg = "Bad router request: " + f.Msg
	return f
}

// Routers lists.
func (s *Service) Routers(ctx context.Context, sc Scope, q Query) (out []RouterView, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		rows, err := selectAll[Router](ctx, tx, "routers", q.filter(sc, "project_id = ?"))
		if err != nil {
			return err
		}
		out, err = routerViews(ctx, tx, rows)
		return err
	})
	return out, err
}

func routerViews(ctx context.Context, tx *db.Tx, rows []Router) ([]RouterView, error) {
	out := make([]RouterView, len(rows))
	var ports []string
	for i, r := range rows {
		out[i].Router = r
		if r.GatewayPort != nil {
			ports = append(ports, *r.GatewayPort)
		}
	}
	if len(ports) == 0 {
		return out, nil
	}
	var legs []struct {
		ID        string `db:"id"`
		NetworkID string `db:"network_id"`
		taken
	}
	if err := tx.Select(ctx, &legs, `SELECT p.id, p.network_id, a.subnet_id, a.address FROM ports p JOIN ip_allocations a ON a.port_id = p.id WHERE p.id IN (?) ORDER BY a.position`, ports); err != nil {
		return nil, err
	}
	for i := range out {
		for _, l := range legs {
			if v := &out[i]; v.GatewayPort != nil && *v.GatewayPort == l.ID {
				if v.Gateway == nil {
					v.Gateway = &Gateway{NetworkID: l.NetworkID, EnableSNAT: &v.EnableSNAT}
				}
				v.Gateway.Fixed = append(v.Gateway.Fixed, FixedIP{l.SubnetID, l.Address})
			}
		}
	}
	return out, nil
}

// CreateRouters makes all or none.
func (s *Service) CreateRouters(ctx context.Context, ps []RouterPatch) (out []RouterView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		var rows []Router
		var hosts []string
		for i := range ps {
			r, err := s.createRouter(ctx, tx, &ps[i])
			if err != nil {
				return err
			}
			rows = append(rows, *r)
			hosts = append(hosts, r.Host)
		}
		if out, err = routerViews(ctx, tx, rows); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, hosts)
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

func (s *Service) createRouter(ctx context.Context, tx *db.Tx, p *RouterPatch) (*Router, error) {
	if err := s.reserve(ctx, tx, p.ProjectID.V, map[string]int64{"router": 1}); err != nil {
		return nil, err
	}
	r := &Router{ID: newID(), ProjectID: p.ProjectID.V, Name: p.Name.V, AdminStateUp: p.AdminStateUp.or(true), EnableSNAT: true,
		ZoneHints: db.AsJSON(p.ZoneHints.V), Standard: s.newStandard(p.Description.V)}
	var err error
	if r.Host, err = s.gatewayHost(ctx, tx, ""); err != nil {
		return nil, err
	}
	if err := tx.Insert(ctx, "routers", r); err != nil {
		return nil, err
	}
	if p.Gateway.Set && p.Gateway.V.NetworkID != "" {
		if err := s.setGateway(ctx, tx, r, &p.Gateway.V); err != nil {
			return nil, err
		}
		r.RevisionNumber, err = 1, s.save(ctx, tx, r)
	}
	return r, err
}

// setGateway makes the outer leg what g says; nil clears it. The caller saves the router.
func (s *Service) setGateway(ctx context.Context, tx *db.Tx, r *Router, g *Gateway) error {
	vs, err := routerViews(ctx, tx, []Router{*r})
	if err != nil {
		return err
	}
	have := vs[0].Gateway
	if g != nil && g.EnableSNAT != nil {
		r.EnableSNAT = *g.EnableSNAT
	}
	if have != nil && g != nil && g.NetworkID == have.NetworkID {
		if g.Fixed == nil {
			return nil
		}
		port, err := portRow(ctx, tx, *r.GatewayPort)
		if err != nil {
			return err
		}
		return s.changeAddresses(ctx, tx, port, g.Fixed)
	}
	if have != nil {
		var served int
		if err := tx.Get(ctx, &served, `SELECT COUNT(*) FROM floating_ips WHERE router_id = ?`, r.ID); err != nil {
			return err
		}
		if served > 0 {
			return fault.Conflict("Gateway cannot be updated for router %s, since a gateway to external network %s is required by one or more floating IPs.", r.ID, have.NetworkID).WithType("RouterExternalGatewayInUseByFloatingIp")
		}
		port := Port{ID: *r.GatewayPort}
		r.GatewayPort = nil
		if _, err := tx.Exec(ctx, `UPDATE routers SET gateway_port = NULL WHERE id = ?`, r.ID); err != nil {
			return err
		}
		if _, err := s.removePorts(ctx, tx, []Port{port}); err != nil {
			return err
		}
	}
	if g == nil {
		r.EnableSNAT = true
		return nil
	}
	net, err := networkByID(ctx, tx, g.NetworkID)
	if err != nil {
		return err
	}
	if !net.External {
		return badRouter("Network %s is not an external network", net.ID)
	}
	subs, err := subnetsOf(ctx, tx, net.ID)
	if err != nil {
		return err
	}
	if len(subs) == 0 {
		return badRouter("Network %s has no subnet, so the gateway would have no address", net.ID)
	}
	port := &Port{NetworkID: net.ID, DeviceOwner: OwnerGateway, DeviceID: r.ID, Host: r.Host, AdminStateUp: true, Status: "ACTIVE"}
	if err := s.insertPort(ctx, tx, port); err != nil {
		return err
	}
	if _, err := s.allocate(ctx, tx, net.ID, subs, port.ID, g.Fixed, len(g.Fixed) > 0, 0); err != nil {
		return err
	}
	r.GatewayPort = &port.ID
	return nil
}

// UpdateRouter changes one router; its host has the change when the call returns.
func (s *Service) UpdateRouter(ctx context.Context, id string, p RouterPatch, c *Cond) (out RouterView, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "router/"+id); err != nil {
			return err
		}
		r, err := byID[Router](ctx, tx, "routers", id, routerNotFound)
		if err != nil {
			return err
		}
		if err := c.check("router", id, r.RevisionNumber); err != nil {
			return err
		}
		p.Name.to(&r.Name)
		p.Description.to(&r.Description)
		p.AdminStateUp.to(&r.AdminStateUp)
		if p.Gateway.Set {
			g := &p.Gateway.V
			if p.Gateway.Null || g.NetworkID == "" {
				g = nil
			}
			if err := s.setGateway(ctx, tx, r, g); err != nil {
				return err
			}
		}
		if p.Routes.Set {
			if err := s.setRoutes(ctx, tx, r, p.Routes.V); err != nil {
				return err
			}
		}
		if err := s.save(ctx, tx, r); err != nil {
			return err
		}
		vs, err := routerViews(ctx, tx, []Router{*r})
		if err != nil {
			return err
		}
		out = vs[0]
		return s.markOnCommit(ctx, tx, &mark, []string{r.Host})
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

// EditRoutes adds or removes static routes atomically; adding what is there and removing what is not are no errors.
func (s *Service) EditRoutes(ctx context.Context, id string, add bool, routes []Route) (RouterView, error) {
	var want []Route
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		r, err := byID[Router](ctx, tx, "routers", id, routerNotFound)
		if err == nil {
			want = slices.DeleteFunc(slices.Clone(r.Routes.V), func(x Route) bool { return slices.Contains(routes, x) })
		}
		return err
	})
	if err != nil {
		return RouterView{}, err
	}
	if add {
		want = append(want, routes...)
	}
	return s.UpdateRouter(ctx, id, RouterPatch{Routes: Some(want)}, nil)
}

type leg struct {
	PortID    string `db:"port_id"`
	NetworkID string `db:"network_id"`
	taken
	CIDR string `db:"cidr"`
}

// legs are the addresses of the router's ports, the gateway's too when outer is set.
func legs(ctx context.Context, tx *db.Tx, r *Router, outer bool) ([]leg, error) {
	var out []leg
	err := tx.Select(ctx, &out, `SELECT a.port_id, n.network_id, a.subnet_id, a.address, n.cidr FROM router_interfaces i JOIN ip_allocations a ON a.port_id = i.port_id
		JOIN subnets n ON n.id = a.subnet_id WHERE i.router_id = ? ORDER BY a.port_id, a.position`, r.ID)
	if err != nil || !outer || r.GatewayPort == nil {
		return out, err
	}
	var more []leg
	err = tx.Select(ctx, &more, `SELECT a.port_id, n.network_id, a.subnet_id, a.address, n.cidr FROM ip_allocations a JOIN subnets n ON n.id = a.subnet_id WHERE a.port_id = ?`, *r.GatewayPort)
	return append(out, more...), err
}

func (s *Service) setRoutes(ctx context.Context, tx *db.Tx, r *Router, routes []Route) error {
	ls, err := legs(ctx, tx, r, true)
	if err != nil {
		return err
	}
	out := []Route{}
	for _, x := range routes {
		d, err1 := netip.ParsePrefix(x.Destination)
		h, err2 := netip.ParseAddr(x.NextHop)
		if err1 != nil || err2 != nil {
			return invalidInput("routes", "Invalid route: destination %s nexthop %s", x.Destination, x.NextHop)
		}
		i := slices.IndexFunc(ls, func(l leg) bool { return netip.MustParsePrefix(l.CIDR).Contains(h) })
		if i < 0 {
			return fault.Invalid("routes", "Invalid format for routes: [{'destination': '%s', 'nexthop': '%s'}], the nexthop is not connected with router", x.Destination, x.NextHop).WithType("InvalidRoutes")
		}
		if slices.ContainsFunc(ls, func(l leg) bool { return l.Address == h.String() }) {
			return fault.Invalid("routes", "Invalid format for routes: [{'destination': '%s', 'nexthop': '%s'}], the nexthop is used by router", x.Destination, x.NextHop).WithType("InvalidRoutes")
		}
		out = append(out, Route{Destination: d.Masked().String(), NextHop: h.String()})
	}
	r.Routes = db.AsJSON(out)
	return nil
}

// DeleteRouter removes a router without interfaces, with its gateway.
func (s *Service) DeleteRouter(ctx context.Context, id string) error {
	var mark mark
	err := s.write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "router/"+id); err != nil {
			return err
		}
		r, err := byID[Router](ctx, tx, "routers", id, routerNotFound)
		if err != nil {
			return err
		}
		var used int
		if err := tx.Get(ctx, &used, `SELECT COUNT(*) FROM router_interfaces WHERE router_id = ?`, id); err != nil {
			return err
		}
		if used > 0 {
			return fault.Conflict("Router %s still has ports", id).WithType("RouterInUse")
		}
		if err := s.setGateway(ctx, tx, r, nil); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM routers WHERE id = ?`, id); err != nil {
			return err
		}
		if err := s.quotas.Release(ctx, tx, r.ProjectID, map[string]int64{"router": 1}); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, []string{r.Host})
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return err
}

// AddInterface connects a subnet (by a new port with the subnet's gateway address) or a given port. Exactly one of subnetID and portID is given;
// sc says whose subnets and ports may be named.
func (s *Service) AddInterface(ctx context.Context, sc Scope, id, subnetID, portID string) (out Interface, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "router/"+id); err != nil {
			return err
		}
		r, err := byID[Router](ctx, tx, "routers", id, routerNotFound)
		if err != nil {
			return err
		}
		if portID != "" {
			out, err = s.addPort(ctx, tx, sc, r, portID)
		} else {
			out, err = s.addSubnet(ctx, tx, sc, r, subnetID)
		}
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO router_interfaces (port_id, router_id) VALUES (?, ?)`, out.PortID, id); err != nil {
			return err
		}
		if err := s.save(ctx, tx, r); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, []string{r.Host})
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

func checkOverlap(ctx context.Context, tx *db.Tx, r *Router, sub *Subnet) error {
	ls, err := legs(ctx, tx, r, true)
	if err != nil {
		return err
	}
	for _, l := range ls {
		if l.SubnetID == sub.ID {
			return badRouter("Router already has a port on subnet %s", sub.ID)
		}
		if netip.MustParsePrefix(l.CIDR).Overlaps(sub.prefix()) {
			return badRouter("Cidr %s of subnet %s overlaps with cidr %s of subnet %s", sub.CIDR, sub.ID, l.CIDR, l.SubnetID)
		}
	}
	return nil
}

func (s *Service) addSubnet(ctx context.Context, tx *db.Tx, sc Scope, r *Router, subnetID string) (Interface, error) {
	sub, err := subnetByID(ctx, tx, subnetID)
	if err != nil {
		return Interface{}, err
	}
	net, err := networkByID(ctx, tx, sub.NetworkID)
	if err != nil {
		return Interface{}, err
	}
	if !sc.Admin && net.ProjectID != sc.ProjectID && !net.Shared {
		return Interface{}, subnetNotFound(subnetID)
	}
	if sub.Gateway == "" {
		return Interface{}, badRouter("Subnet for router interface must have a gateway IP")
	}
	if err := checkOverlap(ctx, tx, r, sub); err != nil {
		return Interface{}, err
	}
	if err := s.reserve(ctx, tx, r.ProjectID, map[string]int64{"port": 1}); err != nil {
		return Interface{}, err
	}
	p := &Port{NetworkID: net.ID, ProjectID: r.ProjectID, DeviceOwner: OwnerInterface, DeviceID: r.ID, Host: r.Host, AdminStateUp: true, Status: "ACTIVE"}
	if err := s.insertPort(ctx, tx, p); err != nil {
		return Interface{}, err
	}
	if err := s.takeOne(ctx, tx, sub, netip.MustParseAddr(sub.Gateway), p.ID, 0); err != nil {
		return Interface{}, err
	}
	return Interface{RouterID: r.ID, ProjectID: r.ProjectID, PortID: p.ID, NetworkID: net.ID, SubnetIDs: []string{sub.ID}}, nil
}

func (s *Service) addPort(ctx context.Context, tx *db.Tx, sc Scope, r *Router, portID string) (Interface, error) {
	p, err := portRow(ctx, tx, portID)
	if err != nil {
		return Interface{}, err
	}
	if !sc.Admin && p.ProjectID != sc.ProjectID {
		return Interface{}, portNotFound(portID)
	}
	if p.DeviceID != "" {
		return Interface{}, fault.Conflict("Unable to complete operation on port %s for network %s. Port already has an attached device %s.", p.ID, p.NetworkID, p.DeviceID).WithType("PortInUse")
	}
	v, err := portView(ctx, tx, p)
	if err != nil {
		return Interface{}, err
	}
	if len(v.Fixed) == 0 {
		return Interface{}, badRouter("Router port must have at least one fixed IP")
	}
	out := Interface{RouterID: r.ID, ProjectID: r.ProjectID, PortID: p.ID, NetworkID: p.NetworkID}
	for _, f := range v.Fixed {
		sub, err := subnetByID(ctx, tx, f.SubnetID)
		if err != nil {
			return Interface{}, err
		}
		if err := checkOverlap(ctx, tx, r, sub); err != nil {
			return Interface{}, err
		}
		out.SubnetIDs = append(out.SubnetIDs, sub.ID)
	}
	if _, err := tx.Exec(ctx, `DELETE FROM port_security_groups WHERE port_id = ?`, p.ID); err != nil {
		return Interface{}, err
	}
	p.DeviceOwner, p.DeviceID, p.Host, p.Status, p.PortSecurity = OwnerInterface, r.ID, r.Host, "ACTIVE", false
	return out, s.save(ctx, tx, p)
}

// RemoveInterface disconnects a port or subnet; fault.KindConflict while a floating IP or route needs it.
func (s *Service) RemoveInterface(ctx context.Context, id, subnetID, portID string) (out Interface, err error) {
	var mark mark
	err = s.write(ctx, func(tx *db.Tx) error {
		if err := tx.Lock(ctx, "router/"+id); err != nil {
			return err
		}
		r, err := byID[Router](ctx, tx, "routers", id, routerNotFound)
		if err != nil {
			return err
		}
		ls, err := legs(ctx, tx, r, false)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(ls, func(l leg) bool {
			return (portID == "" || l.PortID == portID) && (subnetID == "" || l.SubnetID == subnetID)
		})
		if i < 0 {
			if portID != "" && subnetID != "" && slices.ContainsFunc(ls, func(l leg) bool { return l.PortID == portID }) {
				return fault.Conflict("Subnet %s on port %s does not match requested subnet.", subnetID, portID).WithType("RouterInterfaceMismatch")
			}
			if portID != "" {
				return fault.NotFound("Router %s does not have an interface with id %s", id, portID).WithType("RouterInterfaceNotFound")
			}
			return fault.NotFound("Router %s has no interface on subnet %s", id, subnetID).WithType("RouterInterfaceNotFoundForSubnet")
		}
		out = Interface{RouterID: r.ID, ProjectID: r.ProjectID, PortID: ls[i].PortID, NetworkID: ls[i].NetworkID}
		for _, l := range ls {
			if l.PortID == out.PortID {
				out.SubnetIDs = append(out.SubnetIDs, l.SubnetID)
				if err := s.checkNeeded(ctx, tx, r, l); err != nil {
					return err
				}
			}
		}
		if _, err := tx.Exec(ctx, `DELETE FROM router_interfaces WHERE port_id = ?`, out.PortID); err != nil {
			return err
		}
		if _, err := s.removePorts(ctx, tx, []Port{{ID: out.PortID}}); err != nil {
			return err
		}
		if err := s.save(ctx, tx, r); err != nil {
			return err
		}
		return s.markOnCommit(ctx, tx, &mark, []string{r.Host})
	})
	if err == nil {
		s.pub.await(ctx, &mark)
	}
	return out, err
}

func (s *Service) checkNeeded(ctx context.Context, tx *db.Tx, r *Router, l leg) error {
	var served int
	if err := tx.Get(ctx, &served, `SELECT COUNT(*) FROM floating_ips f JOIN ip_allocations a ON a.port_id = f.fixed_port AND a.address = f.fixed_address
		WHERE f.router_id = ? AND a.subnet_id = ?`, r.ID, l.SubnetID); err != nil {
		return err
	}
	if served > 0 {
		return fault.Conflict("Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more floating IPs.", l.SubnetID, r.ID).WithType("RouterInterfaceInUseByFloatingIP")
	}
	pre := netip.MustParsePrefix(l.CIDR)
	for _, x := range r.Routes.V {
		if h, err := netip.ParseAddr(x.NextHop); err == nil && pre.Contains(h) {
			return fault.Conflict("Router interface for subnet %s on router %s cannot be deleted, as it is required by one or more routes.", l.SubnetID, r.ID).WithType("RouterInterfaceInUseByRoute")
		}
	}
	return nil
}
