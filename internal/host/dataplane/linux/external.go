package linux

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// externals joins external networks to the root namespace: a veth each, whose root end has the subnets' gateway addresses, and one
// nftables table for masquerading. Only devices whose alias names this instance are ever removed there.
func (w *fabricWork) externals(ctx context.Context) (errs []error) {
	st := &w.p.state
	var key strings.Builder
	complete := true
	for _, n := range w.plan.networks {
		if n.hostEnd != "" {
			fmt.Fprintf(&key, "%s %s %d %v\n", n.id, n.hostEnd, n.mtu, n.gateways())
			complete = complete && w.links[n.hostLeg] != nil
		}
	}
	if complete && st.joined == "done\n"+key.String() {
		return nil
	}
	st.joined, st.notes = "", nil
	links, err := st.host.links()
	if err != nil {
		return []error{err}
	}
	want := map[string]bool{}
	for _, n := range w.plan.networks {
		want[n.hostEnd] = n.hostEnd != ""
	}
	for name, l := range links {
		if o, ok := parseAlias(l.Attrs().Alias); ok && o.kind == w.p.cfg.externalKind() && !want[name] {
			if err := st.host.LinkDel(l); err != nil && !errors.As(err, &netlink.LinkNotFoundError{}) {
				errs = append(errs, fmt.Errorf("removing device %s: %w", name, err))
			}
			delete(links, name)
		}
	}
	for _, n := range w.plan.networks {
		if n.hostEnd != "" {
			if err := w.external(n, links); err != nil {
				errs = append(errs, fmt.Errorf("external network %s: %w", n.id, err))
			}
		}
	}
	if err := w.masquerade(ctx); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		st.joined = "done\n" + key.String()
	}
	return errs
}

// gateways are the addresses that the root end carries.
func (n *netPlan) gateways() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range n.subnets {
		if s.gateway.IsValid() && s.prefix.Contains(s.gateway) {
			out = append(out, netip.PrefixFrom(s.gateway, s.prefix.Bits()))
		}
	}
	return out
}

func (w *fabricWork) external(n *netPlan, links map[string]netlink.Link) error {
	host := w.p.state.host
	end, leg := links[n.hostEnd], w.links[n.hostLeg]
	if end != nil && end.Attrs().Alias != "" { // without an alias: a crash right after the pair was made
		if o, ok := parseAlias(end.Attrs().Alias); !ok || o.kind != w.p.cfg.externalKind() {
			return fmt.Errorf("device %s exists and is not this instance's", n.hostEnd)
		}
	}
	if end == nil || leg == nil { // a pair lives and dies together; half a pair is another's, or a peer moved away
		for _, half := range []struct {
			ns *namespace
			l  netlink.Link
		}{{host, end}, {w.ns, leg}} {
			if half.l == nil {
				continue
			}
			if err := half.ns.LinkDel(half.l); err != nil {
				return err
			}
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = n.hostEnd, n.mtu
		err := host.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: n.hostLeg, PeerNamespace: netlink.NsFd(w.ns.fd)})
		if err != nil {
			return fmt.Errorf("veth %s: %w", n.hostEnd, err)
		}
		if end, err = host.LinkByName(n.hostEnd); err != nil {
			return err
		}
		if leg, err = w.ns.LinkByName(n.hostLeg); err != nil {
			return err
		}
		w.links[n.hostLeg] = leg
	}
	if mine := (owner{w.p.cfg.externalKind(), n.id, 0}).alias(); end.Attrs().Alias != mine {
		if err := host.LinkSetAlias(end, mine); err != nil {
			return err
		}
	}
	if end.Attrs().MTU != n.mtu {
		if err := host.LinkSetMTU(end, n.mtu); err != nil {
			return err
		}
	}
	if err := w.setAlias(leg, owner{"hostleg", n.id, 0}); err != nil {
		return err
	}
	if err := w.attach(leg, w.links[n.bridge], n.mtu); err != nil {
		return err
	}
	free, err := w.freeGateways(n, end)
	if err != nil {
		return err
	}
	if err := host.syncAddresses(end, free, false); err != nil {
		return err
	}
	return errors.Join(host.switchLink(end, true), w.ns.switchLink(leg, true))
}

// freeGateways leaves out gateway addresses whose subnet the host reaches another way already (another instance of nephos, a VPN): taking
// it over would cut that off. The network works without, but not from this machine.
func (w *fabricWork) freeGateways(n *netPlan, end netlink.Link) ([]netip.Prefix, error) {
	routes, err := w.p.state.host.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("listing the host's routes: %w", err)
	}
	var free []netip.Prefix
	for _, g := range n.gateways() {
		i := slices.IndexFunc(routes, func(r netlink.Route) bool {
			dst, ok := prefixOf(r.Dst)
			return ok && dst.Bits() > 0 && dst.Overlaps(g.Masked()) && r.LinkIndex != end.Attrs().Index
		})
		if i < 0 {
			free = append(free, g)
			continue
		}
		note := fmt.Sprintf("external network %s: the host has a route to %s already, so %s is not put on %s", n.id, routes[i].Dst, g.Addr(), n.hostEnd)
		w.p.state.notes = append(w.p.state.notes, note)
		w.p.cfg.Log.Warn(note)
	}
	return free, nil
}

// masquerade sets or removes the table in the root namespace.
func (w *fabricWork) masquerade(ctx context.Context) error {
	host, cfg := w.p.state.host, &w.p.cfg
	joined := slices.ContainsFunc(w.plan.networks, func(n *netPlan) bool { return n.hostEnd != "" })
	if joined && cfg.External.Forwarding {
		if err := host.set(true, sysctl{"ipv4/ip_forward", "1"}); err != nil {
			return err
		}
	}
	if joined && cfg.External.Masquerade {
		ok, err := host.leadsOut()
		if err != nil {
			return err
		}
		if ok {
			return host.nft(ctx, hostRules(cfg, w.plan).text())
		}
		w.p.state.notes = append(w.p.state.notes, "guests do not reach the outside: the host has no default route or net.ipv4.ip_forward is 0")
	}
	return host.dropTable(ctx, "ip", cfg.hostTable())
}

// leadsOut says whether the namespace forwards IPv4 and has a default route.
func (n *namespace) leadsOut() (bool, error) {
	forwards := false
	err := n.do(func() error {
		b, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		forwards = strings.TrimSpace(string(b)) == "1"
		return err
	})
	if err != nil || !forwards {
		return false, err
	}
	routes, err := n.RouteList(nil, netlink.FAMILY_V4)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return false, err
	}
	return slices.ContainsFunc(routes, func(r netlink.Route) bool { return keyOf(&r).dst.Bits() == 0 && len(r.Gw) > 0 }), nil
}

// dropTable removes a table whether it exists or not.
func (n *namespace) dropTable(ctx context.Context, family, name string) error {
	return n.nft(ctx, fmt.Sprintf("table %s %s\ndelete table %s %s\n", family, name, family, name))
}
