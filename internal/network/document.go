package network

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"nephos/internal/db"
	"nephos/internal/hostapi"
)

// Document is the whole desired networking of a host, read in one snapshot with its revision.
func (s *Service) Document(ctx context.Context, host string) (doc hostapi.NetworkDocument, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		doc, err = s.document(ctx, tx, host, &s.pub.sharing, s.pub.readMembers)
		return err
	})
	return doc, err
}

// memberReader gives the members of groups; at is the clock of tx.
type memberReader func(ctx context.Context, tx *db.Tx, at int64, groupIDs []string) (map[string]membership, error)

// sharing is what documents have in common while no network, subnet, group or rule changes. What it gives is shared and never changed.
type sharing struct {
	mu       sync.Mutex // guards what follows; never held across SQL
	topology int64
	nets     map[string]*netInfo
	groups   map[string]groupRules
}

// groupRules is a group without its members, and the groups that its rules name.
type groupRules struct {
	spec   hostapi.SecurityGroupSpec
	remote []string
}

// at empties what is of another topology than the caller's snapshot.
func (h *sharing) at(topology int64) {
	if h.nets == nil || h.topology != topology {
		h.topology, h.nets, h.groups = topology, map[string]*netInfo{}, map[string]groupRules{}
	}
}

// shared gives the values of keys, from the map that pick chooses where it has them and from read, all at once, where not. What does not exist is left out.
func shared[V any](h *sharing, topology int64, keys []string, pick func(*sharing) map[string]V, read func(missing []string) (map[string]V, error)) (map[string]V, error) {
	out := make(map[string]V, len(keys))
	var missing []string
	h.mu.Lock()
	h.at(topology)
	m := pick(h)
	for _, k := range keys {
		if v, ok := m[k]; ok {
			out[k] = v
		} else {
			missing = append(missing, k)
		}
	}
	h.mu.Unlock()
	if len(missing) == 0 {
		return out, nil
	}
	got, err := read(missing)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, got)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.topology == topology { // else somebody with another snapshot has begun anew
		maps.Copy(pick(h), got)
	}
	return out, nil
}

func (s *Service) document(ctx context.Context, tx *db.Tx, host string, h *sharing, read memberReader) (hostapi.NetworkDocument, error) {
	doc := hostapi.NetworkDocument{Networks: []hostapi.NetworkSpec{}, Ports: []hostapi.PortSpec{}, SecurityGroups: []hostapi.SecurityGroupSpec{}, Routers: []hostapi.RouterSpec{}}
	at, err := clocks(ctx, tx)
	if err != nil {
		return doc, err
	}
	doc.Revision = at.Revision
	var rows []Port
	if err := tx.Select(ctx, &rows, `SELECT * FROM ports WHERE host = ? ORDER BY created_at, id`, host); err != nil {
		return doc, err
	}
	ports, err := portViews(ctx, tx, rows)
	if err != nil {
		return doc, err
	}
	nets, groups := map[string]bool{}, map[string]bool{}
	for i := range ports {
		p := &ports[i]
		nets[p.NetworkID] = true
		if p.DeviceOwner == OwnerInterface || p.DeviceOwner == OwnerGateway {
			continue
		}
		doc.Ports = append(doc.Ports, portSpec(p))
		for _, g := range p.Groups {
			groups[g] = true
		}
	}
	infos, err := shared(h, at.Topology, slices.Sorted(maps.Keys(nets)), func(h *sharing) map[string]*netInfo { return h.nets }, func(missing []string) (map[string]*netInfo, error) {
		read, err := s.netInfos(ctx, tx, missing)
		got := make(map[string]*netInfo, len(read))
		for _, n := range read {
			got[n.ID] = n
		}
		return got, err
	})
	if err != nil {
		return doc, err
	}
	for _, id := range slices.Sorted(maps.Keys(infos)) {
		doc.Networks = append(doc.Networks, infos[id].spec)
	}
	if doc.SecurityGroups, err = groupSpecs(ctx, tx, h, at, slices.Sorted(maps.Keys(groups)), read); err != nil {
		return doc, err
	}
	if doc.Routers, err = routerSpecs(ctx, tx, host, ports, infos); err != nil {
		return doc, err
	}
	doc.Tunnel = s.tunnel(host)
	return doc, nil
}

func (s *Service) tunnel(host string) *hostapi.TunnelSpec {
	if s.cfg.TunnelEnds == nil {
		return nil
	}
	ends := s.cfg.TunnelEnds()
	t := &hostapi.TunnelSpec{Peers: []string{}, LocalIP: ends[host]}
	if t.LocalIP == "" || len(ends) == 1 {
		return nil
	}
	for other, address := range ends {
		if other != host {
			t.Peers = append(t.Peers, address)
		}
	}
	slices.Sort(t.Peers)
	return t
}

func portSpec(v *PortView) hostapi.PortSpec {
	p := hostapi.PortSpec{ID: v.ID, NetworkID: v.NetworkID, ProjectID: v.ProjectID, MAC: v.MAC, PortSecurity: v.PortSecurity, AdminUp: v.AdminStateUp,
		DNSName: v.DNSName, SecurityGroups: v.Groups, Revision: v.RevisionNumber, Addresses: make([]hostapi.Address, 0, len(v.Fixed))}
	if len(v.DeviceOwner) >= len(OwnerCompute) && v.DeviceOwner[:len(OwnerCompute)] == OwnerCompute {
		p.ServerID = v.DeviceID
	}
	for _, f := range v.Fixed {
		p.Addresses = append(p.Addresses, hostapi.Address{IP: f.IP, SubnetID: f.SubnetID})
	}
	for _, a := range v.Pairs.V {
		p.AllowedPairs = append(p.AllowedPairs, hostapi.Pair{IP: a.IP, MAC: a.MAC})
	}
	for _, o := range v.DHCPOpts.V {
		if p.DHCPOptions == nil {
			p.DHCPOptions = map[string]string{}
		}
		p.DHCPOptions[o.Name] = o.Value
	}
	return p
}

// netInfos reads networks with their subnets, in the order of ids; those that are gone are left out.
func (s *Service) netInfos(ctx context.Context, tx *db.Tx, ids []string) ([]*netInfo, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var rows []Network
	if err := tx.Select(ctx, &rows, `SELECT * FROM networks WHERE id IN (?) ORDER BY id`, ids); err != nil {
		return nil, err
	}
	subs, err := subnetsOf(ctx, tx, ids...)
	if err != nil {
		return nil, err
	}
	var dhcp []taken
	if err := tx.Select(ctx, &dhcp, `SELECT a.subnet_id, a.address FROM ports p JOIN ip_allocations a ON a.port_id = p.id WHERE p.network_id IN (?) AND p.device_owner = ?`, ids, OwnerDHCP); err != nil {
		return nil, err
	}
	server := make(map[string]string, len(dhcp))
	for _, d := range dhcp {
		server[d.SubnetID] = d.Address
	}
	out := make([]*netInfo, len(rows))
	for i, n := range rows {
		x := &netInfo{Network: n}
		x.spec = hostapi.NetworkSpec{ID: n.ID, Name: n.Name, ProjectID: n.ProjectID, MTU: n.MTU, VNI: n.VNI, External: n.External, PortSecurity: n.PortSecurity,
			Revision: n.RevisionNumber, Subnets: []hostapi.SubnetSpec{}}
		for _, sub := range subs {
			if sub.NetworkID != n.ID {
				continue
			}
			x.subnets = append(x.subnets, sub)
			x.spec.Subnets = append(x.spec.Subnets, hostapi.SubnetSpec{ID: sub.ID, CIDR: sub.CIDR, Gateway: sub.Gateway, DHCP: sub.EnableDHCP && server[sub.ID] != "",
				DHCPServer: server[sub.ID], DNS: sub.DNS.V, HostRoutes: sub.HostRoutes.V, IPVersion: sub.IPVersion})
		}
		out[i] = x
	}
	return out, nil
}

// groupSpecs are the groups with their rules, and, with members only, the groups that those rules name.
func groupSpecs(ctx context.Context, tx *db.Tx, h *sharing, at clock, ids []string, read memberReader) ([]hostapi.SecurityGroupSpec, error) {
	out := []hostapi.SecurityGroupSpec{}
	if len(ids) == 0 {
		return out, nil
	}
	pick := func(h *sharing) map[string]groupRules { return h.groups }
	rules := func(missing []string) (map[string]groupRules, error) { return readRules(ctx, tx, missing) }
	own, err := shared(h, at.Topology, ids, pick, rules)
	if err != nil {
		return nil, err
	}
	remote := map[string]bool{}
	for _, g := range own {
		for _, r := range g.remote {
			remote[r] = true
		}
	}
	named, err := shared(h, at.Topology, slices.Sorted(maps.Keys(remote)), pick, rules)
	if err != nil {
		return nil, err
	}
	members := map[string]membership{}
	if len(remote) > 0 {
		if members, err = read(ctx, tx, at.Revision, slices.Sorted(maps.Keys(remote))); err != nil {
			return nil, err
		}
	}
	for id, g := range named {
		if _, ok := own[id]; !ok {
			g.spec.Rules = []hostapi.RuleSpec{}
			own[id] = g
		}
	}
	for _, id := range slices.Sorted(maps.Keys(own)) {
		g := own[id].spec
		g.Members, g.MembersAt = members[id].addresses, members[id].at
		if g.Members == nil {
			g.Members = []string{}
		}
		out = append(out, g)
	}
	return out, nil
}

// readRules reads groups without their members.
func readRules(ctx context.Context, tx *db.Tx, ids []string) (map[string]groupRules, error) {
	var groups []struct {
		ID       string `db:"id"`
		Stateful bool   `db:"stateful"`
	}
	if err := tx.Select(ctx, &groups, `SELECT id, stateful FROM security_groups WHERE id IN (?)`, ids); err != nil {
		return nil, err
	}
	f := &filter{}
	f.in("group_id", ids)
	rules, err := selectAll[Rule](ctx, tx, "security_group_rules", f)
	if err != nil {
		return nil, err
	}
	out := make(map[string]groupRules, len(groups))
	for _, g := range groups {
		out[g.ID] = groupRules{spec: hostapi.SecurityGroupSpec{ID: g.ID, Rules: []hostapi.RuleSpec{}, Stateful: g.Stateful}}
	}
	for _, r := range rules {
		g, ok := out[r.GroupID]
		if !ok {
			continue
		}
		x := hostapi.RuleSpec{ID: r.ID, Direction: r.Direction, EtherType: r.EtherType, Protocol: r.Protocol, PortMin: r.PortMin, PortMax: r.PortMax, RemotePrefix: r.RemotePrefix}
		if r.RemoteGroup != nil {
			x.RemoteGroup = *r.RemoteGroup
			if !slices.Contains(g.remote, *r.RemoteGroup) {
				g.remote = append(g.remote, *r.RemoteGroup)
			}
		}
		g.spec.Rules = append(g.spec.Rules, x)
		out[r.GroupID] = g
	}
	return out, nil
}

func routerSpecs(ctx context.Context, tx *db.Tx, host string, ports []PortView, nets map[string]*netInfo) ([]hostapi.RouterSpec, error) {
	out := []hostapi.RouterSpec{}
	var rows []Router
	if err := tx.Select(ctx, &rows, `SELECT * FROM routers WHERE host = ? ORDER BY id`, host); err != nil || len(rows) == 0 {
		return out, err
	}
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	var floats []FloatingIP
	if err := tx.Select(ctx, &floats, `SELECT * FROM floating_ips WHERE router_id IN (?) ORDER BY address`, ids); err != nil {
		return nil, err
	}
	subs := map[string]*Subnet{}
	for _, n := range nets {
		for i := range n.subnets {
			subs[n.subnets[i].ID] = &n.subnets[i]
		}
	}
	for _, r := range rows {
		x := hostapi.RouterSpec{ID: r.ID, AdminUp: r.AdminStateUp, Interfaces: []hostapi.RouterInterface{}, FloatingIPs: []hostapi.FloatingSpec{}, Routes: r.Routes.V, Revision: r.RevisionNumber}
		for i := range ports {
			p := &ports[i]
			if p.DeviceID != r.ID || p.DeviceOwner != OwnerInterface && p.DeviceOwner != OwnerGateway {
				continue
			}
			var cidrs []string
			next := ""
			for _, f := range p.Fixed {
				sub := subs[f.SubnetID]
				if sub == nil {
					continue
				}
				cidrs = append(cidrs, netip.PrefixFrom(netip.MustParseAddr(f.IP), sub.prefix().Bits()).String())
				if next == "" && sub.IPVersion == 4 {
					next = sub.Gateway
				}
			}
			if p.DeviceOwner == OwnerInterface {
				x.Interfaces = append(x.Interfaces, hostapi.RouterInterface{PortID: p.ID, NetworkID: p.NetworkID, MAC: p.MAC, CIDRs: cidrs})
			} else {
				x.Gateway = &hostapi.RouterGateway{PortID: p.ID, NetworkID: p.NetworkID, MAC: p.MAC, CIDRs: cidrs, NextHop: next, SNAT: r.EnableSNAT}
			}
		}
		for _, f := range floats {
			if *f.RouterID == r.ID {
				x.FloatingIPs = append(x.FloatingIPs, hostapi.FloatingSpec{ID: f.ID, Floating: f.Address, Fixed: f.FixedAddress})
			}
		}
		out = append(out, x)
	}
	return out, nil
}
