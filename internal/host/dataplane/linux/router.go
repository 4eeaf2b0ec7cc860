package linux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/host/dataplane"
)

const (
	metadataRulePriority = 100  // policy rules that lead each leg's metadata requests back to its own network
	metadataTableBase    = 1000 // their routing tables: one for each leg
	ipv6Metric           = 1024 // what the kernel gives an IPv6 route without a metric
)

// routerState is what the last render knows of a router.
type routerState struct {
	ns    *namespace
	key   string // "" when something must be looked at again
	rules ruleset
	float map[netip.Addr]netip.Addr // outer → inner, as of the last sweep; nil: never swept
	gone  map[netip.Addr]bool       // outer addresses taken off the gateway and not swept yet
}

// key changes whenever the router must be looked at.
func (r *routerPlan) key() string {
	var b bytes.Buffer
	fmt.Fprintln(&b, r.ns, r.up, r.nextHop, r.snat, r.floating, r.routes)
	for _, l := range r.legs {
		fmt.Fprintln(&b, l.port, l.dev, l.net.bridge, l.net.mtu, l.mac, l.cidrs, l == r.gateway)
	}
	return b.String()
}

// adoptRouters enters the names of router namespaces found on the host. One without an owner is removed by the next render.
func (p *Plane) adoptRouters() error {
	names, err := listNamespaces(p.cfg.routerPrefix())
	if err != nil {
		return err
	}
	for _, name := range names {
		o, err := namespaceOwner(name)
		if fault.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		if o.kind == "router" {
			p.state.books.names.adopt(o.kind, o.id, name)
		}
	}
	return nil
}

// namespaceOwner reads whose a namespace is from the alias of its lo.
func namespaceOwner(name string) (owner, error) {
	ns, err := openNamespace(name)
	if err != nil {
		return owner{}, err
	}
	defer ns.close()
	lo, err := ns.LinkByName("lo")
	if err != nil {
		return owner{}, err
	}
	o, _ := parseAlias(lo.Attrs().Alias)
	return o, nil
}

// routers makes every router of the plan and removes all other router namespaces of this instance.
func (w *fabricWork) routers(ctx context.Context) (errs []error) {
	st := &w.p.state
	names, err := listNamespaces(w.p.cfg.routerPrefix())
	if err != nil {
		return []error{err}
	}
	want := map[string]bool{}
	for _, r := range w.plan.routers {
		want[r.ns] = true
	}
	for _, name := range names {
		if want[name] {
			continue
		}
		if s := st.routers[name]; s != nil {
			s.ns.close()
			delete(st.routers, name)
		}
		if err := removeNamespace(name); err != nil {
			errs = append(errs, err)
		}
	}
	for _, r := range w.plan.routers {
		if err := w.router(ctx, r); err != nil {
			if s := st.routers[r.ns]; s != nil {
				s.key = ""
			}
			errs = append(errs, fmt.Errorf("router %s: %w", r.id, err))
		}
	}
	return errs
}

func (w *fabricWork) router(ctx context.Context, r *routerPlan) error {
	s := w.p.state.routers[r.ns]
	key := r.key()
	if s != nil && s.key == key && w.hasLegs(r) {
		return nil
	}
	if s == nil {
		ns, _, err := ensureNamespace(r.ns)
		if err != nil {
			return err
		}
		s = &routerState{ns: ns, gone: map[netip.Addr]bool{}}
		w.p.state.routers[r.ns] = s
		if err := prepareRouter(ns, r.id); err != nil {
			return err
		}
	}
	s.key = ""
	rules := routerRules(r)
	text, ok := rules.delta(s.rules)
	if !ok {
		text = rules.text()
	}
	if text != "" {
		if err := s.ns.nft(ctx, text); err != nil {
			s.rules = nil
			return err
		}
		s.rules = rules
	}
	inner, err := s.ns.links()
	if err != nil {
		return err
	}
	for _, l := range r.legs {
		if err := w.leg(r, l, s, inner); err != nil {
			return fmt.Errorf("leg %s: %w", l.dev, err)
		}
	}
	if err := s.ns.removeOthers(inner, r); err != nil {
		return err
	}
	if err := s.dropFloating(r); err != nil {
		return err
	}
	if err := s.routes(r, inner); err != nil {
		return err
	}
	s.key = key
	return nil
}

func (w *fabricWork) hasLegs(r *routerPlan) bool {
	for _, l := range r.legs {
		if w.links[l.dev] == nil {
			return false
		}
	}
	return true
}

// prepareRouter sets what a router's namespace needs before its first device. Reverse path checks are loose because a floating address
// may answer on another leg than the one asked.
func prepareRouter(ns *namespace, id string) error {
	lo, err := ns.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := ns.LinkSetAlias(lo, owner{"router", id, 0}.alias()); err != nil {
		return err
	}
	if err := ns.LinkSetUp(lo); err != nil {
		return err
	}
	err = ns.set(true, sysctl{"ipv4/ip_forward", "1"}, sysctl{"ipv4/conf/all/rp_filter", "2"}, sysctl{"ipv4/conf/default/rp_filter", "2"},
		sysctl{"ipv4/conf/all/send_redirects", "0"}, sysctl{"ipv4/conf/default/send_redirects", "0"},
		sysctl{"ipv4/conf/all/arp_ignore", "1"}, sysctl{"ipv4/conf/all/arp_announce", "2"})
	if err != nil {
		return err
	}
	return ns.set(false, sysctl{"ipv6/conf/all/forwarding", "1"}, sysctl{"ipv6/conf/default/accept_ra", "0"}, sysctl{"ipv6/conf/default/accept_dad", "0"})
}

// leg makes one veth pair: the outer end on the network's bridge, the inner one with the port's MAC and addresses.
func (w *fabricWork) leg(r *routerPlan, l *legPlan, s *routerState, inner map[string]netlink.Link) error {
	ns := s.ns
	outer, in := w.links[l.dev], inner[l.dev]
	bridge := w.links[l.net.bridge]
	if bridge == nil {
		return fmt.Errorf("bridge %s is missing", l.net.bridge)
	}
	if outer == nil || in == nil {
		if outer != nil {
			if err := w.ns.LinkDel(outer); err != nil {
				return err
			}
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = l.dev, l.net.mtu
		err := w.ns.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: l.dev, PeerNamespace: netlink.NsFd(ns.fd), PeerHardwareAddr: l.mac})
		if err != nil {
			return err
		}
		if outer, err = w.ns.LinkByName(l.dev); err != nil {
			return err
		}
		if in, err = ns.LinkByName(l.dev); err != nil {
			return err
		}
		w.links[l.dev], inner[l.dev] = outer, in
	}
	if err := w.setAlias(outer, owner{"leg", l.port, 0}); err != nil {
		return err
	}
	if err := w.attach(outer, bridge, l.net.mtu); err != nil {
		return err
	}
	if !bytes.Equal(in.Attrs().HardwareAddr, l.mac) {
		if err := ns.LinkSetHardwareAddr(in, l.mac); err != nil {
			return err
		}
	}
	if in.Attrs().MTU != l.net.mtu {
		if err := ns.LinkSetMTU(in, l.net.mtu); err != nil {
			return err
		}
	}
	addrs := append([]netip.Prefix(nil), l.cidrs...)
	if l == r.gateway {
		for _, f := range r.floating {
			if f.outer != l.v4() {
				addrs = append(addrs, netip.PrefixFrom(f.outer, 32))
			}
		}
	}
	added, removed, err := ns.syncAddressesReport(in, addrs, false)
	for _, a := range removed {
		s.gone[a.Addr()] = true
	}
	if err != nil {
		return err
	}
	if err := errors.Join(w.ns.switchLink(outer, true), ns.switchLink(in, r.up)); err != nil {
		return err
	}
	if r.up {
		return ns.announce(in, l, added)
	}
	return nil
}

// removeOthers deletes devices of the router's namespace that are no leg: one whose outer end was lost.
func (n *namespace) removeOthers(inner map[string]netlink.Link, r *routerPlan) error {
	want := map[string]bool{}
	for _, l := range r.legs {
		want[l.dev] = true
	}
	others := map[string]netlink.Link{}
	for name, l := range inner {
		if !want[name] {
			others[name] = l
		}
	}
	if len(others) == 0 {
		return nil
	}
	return n.remove(others)
}

// routes sets the default route, the static ones, and for each leg the way back to its own network's metadata service: with several
// networks behind one router, one route to 169.254.169.254 would lead all guests to the same network.
func (s *routerState) routes(r *routerPlan, inner map[string]netlink.Link) error {
	if !r.up {
		return nil // the kernel drops routes of devices that are down
	}
	var want []netlink.Route
	var errs []error
	add := func(dst netip.Prefix, via netip.Addr) {
		for _, l := range r.legs {
			for _, c := range l.cidrs {
				if c.Contains(via) {
					rt := netlink.Route{Dst: ipNet(dst), Gw: via.AsSlice(), LinkIndex: inner[l.dev].Attrs().Index, Protocol: routeMark, Table: unix.RT_TABLE_MAIN}
					if via.Is6() {
						rt.Priority = ipv6Metric
					}
					want = append(want, rt)
					return
				}
			}
		}
		errs = append(errs, fmt.Errorf("no leg leads to %s, the next hop to %s", via, dst))
	}
	if r.nextHop.Is4() {
		add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), r.nextHop)
	} else if r.nextHop.IsValid() {
		add(netip.PrefixFrom(netip.IPv6Unspecified(), 0), r.nextHop)
	}
	for _, x := range r.routes {
		add(x.dst, x.via)
	}
	rules := map[string]int{}
	for i, l := range r.legs {
		if l == r.gateway || !l.v4().IsValid() {
			continue
		}
		table := metadataTableBase + i
		rules[l.dev] = table
		want = append(want, netlink.Route{Dst: ipNet(netip.PrefixFrom(dataplane.MetadataAddress, 32)), LinkIndex: inner[l.dev].Attrs().Index,
			Scope: netlink.SCOPE_LINK, Src: l.v4().AsSlice(), Protocol: routeMark, Table: table})
	}
	errs = append(errs, s.ns.syncMetadataRules(rules))
	errs = append(errs, s.ns.syncRoutes(netlink.Route{}, netlink.RT_FILTER_TABLE, want))
	return errors.Join(errs...)
}

// syncMetadataRules makes the policy rules exactly these: leg → table.
func (n *namespace) syncMetadataRules(want map[string]int) error {
	have, err := n.RuleList(netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("listing policy rules: %w", err)
	}
	for i := range have {
		if have[i].Priority != metadataRulePriority {
			continue
		}
		if table, ok := want[have[i].IifName]; ok && table == have[i].Table {
			delete(want, have[i].IifName)
		} else if err := n.RuleDel(&have[i]); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("removing a policy rule: %w", err)
		}
	}
	for dev, table := range want {
		r := netlink.NewRule()
		r.Family, r.Priority, r.IifName, r.Table = netlink.FAMILY_V4, metadataRulePriority, dev, table
		r.Dst = ipNet(netip.PrefixFrom(dataplane.MetadataAddress, 32))
		if err := n.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("policy rule for %s: %w", dev, err)
		}
	}
	return nil
}

// dropFloating ends the connections of floating addresses that are gone or lead elsewhere now, also those that an earlier process made.
func (s *routerState) dropFloating(r *routerPlan) error {
	now := make(map[netip.Addr]netip.Addr, len(r.floating))
	for _, f := range r.floating {
		now[f.outer] = f.inner
	}
	if s.float != nil && len(s.gone) == 0 && maps.Equal(s.float, now) {
		return nil
	}
	if _, err := s.ns.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, strayed(now, s.gone)); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("ending connections of floating addresses: %w", err)
	}
	s.float = now
	clear(s.gone)
	return nil
}

// announce tells the network of new addresses by gratuitous ARP (RFC 5227, 3), so that nobody goes on sending to their last holder.
func (n *namespace) announce(l netlink.Link, leg *legPlan, added []netip.Prefix) error {
	var frames [][]byte
	for _, a := range added {
		if a.Addr().Is4() {
			frames = append(frames, gratuitousARP(leg.mac, a.Addr()))
		}
	}
	if len(frames) == 0 {
		return nil
	}
	w, err := n.openFrames(l.Attrs().Index)
	if err != nil {
		return err
	}
	defer w.Close()
	for _, f := range frames {
		if err := w.WriteFrame(f); err != nil && !errors.Is(err, unix.ENETDOWN) {
			return fmt.Errorf("gratuitous arp on %s: %w", leg.dev, err)
		}
	}
	return nil
}

func gratuitousARP(mac []byte, a netip.Addr) []byte {
	f := make([]byte, 42)
	for i := range 6 {
		f[i] = 0xff
	}
	copy(f[6:], mac)
	binary.BigEndian.PutUint16(f[12:], 0x0806)
	copy(f[14:], []byte{0, 1, 8, 0, 6, 4, 0, 1})
	ip := a.As4()
	copy(f[22:], mac)
	copy(f[28:], ip[:])
	copy(f[38:], ip[:])
	return f
}
