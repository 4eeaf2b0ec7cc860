package linux

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"nephos/internal/fault"
	"nephos/internal/host/dataplane"
)

// routeMark is the routing protocol number on every route made here, which tells them from the kernel's own.
const routeMark = netlink.RouteProtocol(98)

// prepareFabric sets what the whole namespace needs before its first device. Bridged packets are shown to family inet (br_netfilter);
// several bridges may carry the same addresses, so each answers ARP for its own only and takes packets from addresses that
// another one owns; the namespace forwards nothing and speaks no IPv6 itself.
func (p *Plane) prepareFabric() error {
	ns := p.state.fabric
	bridge := []sysctl{{"bridge/bridge-nf-call-iptables", "1"}, {"bridge/bridge-nf-call-ip6tables", "1"}}
	if err := ns.set(true, bridge...); err != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		out, errLoad := exec.CommandContext(ctx, "modprobe", "br_netfilter").CombinedOutput()
		if err := ns.set(true, bridge...); err != nil {
			return fault.Unavailable("security groups need the kernel module br_netfilter, which is not loaded (modprobe: %v %s)", errLoad, bytes.TrimSpace(out)).WithCause(err)
		}
	}
	err := ns.set(true,
		sysctl{"ipv4/ip_forward", "0"},
		sysctl{"ipv4/conf/all/rp_filter", "0"}, sysctl{"ipv4/conf/default/rp_filter", "0"},
		sysctl{"ipv4/conf/all/arp_ignore", "1"}, sysctl{"ipv4/conf/all/arp_announce", "2"},
		sysctl{"ipv4/conf/all/accept_local", "1"}, sysctl{"ipv4/conf/all/send_redirects", "0"})
	if err != nil {
		return err
	}
	err = ns.set(false, sysctl{"ipv6/conf/default/disable_ipv6", "1"}, sysctl{"ipv6/conf/all/disable_ipv6", "1"})
	if err != nil {
		return err
	}
	lo, err := ns.LinkByName("lo")
	if err != nil {
		return err
	}
	return ns.LinkSetUp(lo)
}

// netKey is what a network's bridge was last made from; while it is equal nothing needs a look.
type netKey struct {
	index   int
	mtu     int
	tunnel  string
	vni     int
	local   netip.Addr
	peers   []netip.Addr
	subnets []subnetPlan
}

func (k *netKey) equal(o *netKey) bool {
	return k != nil && k.index == o.index && k.mtu == o.mtu && k.tunnel == o.tunnel && k.vni == o.vni && k.local == o.local &&
		slices.Equal(k.peers, o.peers) && slices.EqualFunc(k.subnets, o.subnets, func(a, b subnetPlan) bool {
		return a.prefix == b.prefix && a.server == b.server
	})
}

// fabricWork is one render's work on the fabric.
type fabricWork struct {
	p     *Plane
	plan  *plan
	ns    *namespace
	links map[string]netlink.Link // as found, kept up to date
}

// removeStale deletes every device that the plan does not have. It never touches one that the plan has: a guest may hold it.
func (w *fabricWork) removeStale() error {
	want := map[string]bool{}
	for _, n := range w.plan.networks {
		want[n.bridge], want[n.tunnel], want[n.hostLeg] = true, true, true
	}
	for _, port := range w.plan.ports {
		want[port.dev] = true
	}
	for _, r := range w.plan.routers {
		for _, l := range r.legs {
			want[l.dev] = true
		}
	}
	stale := map[string]netlink.Link{}
	for name, l := range w.links {
		if !want[name] {
			stale[name] = l
		}
	}
	if len(stale) == 0 {
		return nil
	}
	for name := range stale {
		delete(w.links, name)
	}
	return w.ns.remove(stale)
}

func (w *fabricWork) bridges() (errs []error) {
	st := &w.p.state
	for _, n := range w.plan.networks {
		if err := w.bridge(n); err != nil {
			delete(st.nets, n.id)
			errs = append(errs, fmt.Errorf("network %s: %w", n.id, err))
		}
	}
	for id := range st.nets {
		if w.plan.netByID[id] == nil {
			delete(st.nets, id)
		}
	}
	return errs
}

func (w *fabricWork) bridge(n *netPlan) error {
	l := w.links[n.bridge]
	if l != nil && l.Type() != "bridge" {
		if err := w.ns.LinkDel(l); err != nil {
			return err
		}
		l = nil
	}
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.HardwareAddr, attrs.MTU = n.bridge, n.mac, n.mtu
		snooping := false // without a querier it would lose neighbour discovery
		if err := w.ns.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}); err != nil {
			return fmt.Errorf("bridge %s: %w", n.bridge, err)
		}
		var err error
		if l, err = w.ns.LinkByName(n.bridge); err != nil {
			return err
		}
		w.links[n.bridge] = l
		w.p.state.joined = "" // what was attached to an earlier bridge must be looked at
		for _, r := range w.p.state.routers {
			r.key = ""
		}
	}
	key := &netKey{index: l.Attrs().Index, mtu: n.mtu, tunnel: n.tunnel, vni: n.vni, subnets: n.subnets}
	if w.plan.tunnel != nil {
		key.local, key.peers = w.plan.tunnel.local, w.plan.tunnel.peers
	}
	if w.p.state.nets[n.id].equal(key) && (n.tunnel == "" || w.links[n.tunnel] != nil) {
		return nil
	}
	if err := w.setAlias(l, owner{"network", n.id, n.zone}); err != nil {
		return err
	}
	if !bytes.Equal(l.Attrs().HardwareAddr, n.mac) {
		if err := w.ns.LinkSetHardwareAddr(l, n.mac); err != nil {
			return err
		}
	}
	if l.Attrs().MTU != n.mtu {
		if err := w.ns.LinkSetMTU(l, n.mtu); err != nil {
			return err
		}
	}
	if err := w.ns.LinkSetUp(l); err != nil {
		return err
	}
	if err := w.tunnel(n, l); err != nil {
		return err
	}
	if err := w.serviceAddresses(n, l); err != nil {
		return err
	}
	w.p.state.nets[n.id] = key
	return nil
}

// serviceAddresses puts the DHCP addresses and 169.254.169.254 on the bridge, with a route to each subnet. Routes of different networks
// may be equal but for the metric, which is the zone: sockets bound to their bridge find their own.
func (w *fabricWork) serviceAddresses(n *netPlan, l netlink.Link) error {
	metadata := netip.PrefixFrom(dataplane.MetadataAddress, 32)
	if err := w.ns.syncAddresses(l, append(n.services(), metadata), true); err != nil {
		return err
	}
	var routes []netlink.Route
	for _, s := range n.subnets {
		if s.prefix.Addr().Is4() {
			r := netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(s.prefix), Scope: netlink.SCOPE_LINK, Priority: int(n.zone), Protocol: routeMark, Src: metadata.Addr().AsSlice()}
			if s.server.IsValid() {
				r.Src = s.server.AsSlice()
			}
			routes = append(routes, r)
		}
	}
	return w.ns.syncRoutes(netlink.Route{LinkIndex: l.Attrs().Index}, netlink.RT_FILTER_OIF, routes)
}

func (w *fabricWork) setAlias(l netlink.Link, o owner) error {
	if l.Attrs().Alias == o.alias() {
		return nil
	}
	return w.ns.LinkSetAlias(l, o.alias())
}

// ports makes taps that are missing, switched off, and attaches all to their bridges. A device of any other kind with the port's name is
// taken as the port: that is how a test, or a container, stands in for a guest.
func (w *fabricWork) ports() (errs []error) {
	for _, port := range w.plan.ports {
		if err := w.port(port); err != nil {
			errs = append(errs, fmt.Errorf("port %s: %w", port.id, err))
		}
	}
	return errs
}

func (w *fabricWork) port(port *portPlan) error {
	bridge := w.links[port.net.bridge]
	if bridge == nil {
		return fmt.Errorf("bridge %s is missing", port.net.bridge)
	}
	l := w.links[port.dev]
	if l == nil {
		if err := w.ns.createTap(port.dev); err != nil {
			return err
		}
		var err error
		if l, err = w.ns.LinkByName(port.dev); err != nil {
			return err
		}
		w.links[port.dev] = l
	}
	if err := w.setAlias(l, owner{"port", port.id, port.mark}); err != nil {
		return err
	}
	return w.attach(l, bridge, port.net.mtu)
}

func (w *fabricWork) attach(l, bridge netlink.Link, mtu int) error {
	if l.Attrs().MTU != mtu {
		if err := w.ns.LinkSetMTU(l, mtu); err != nil {
			return fmt.Errorf("device %s: mtu %d: %w", l.Attrs().Name, mtu, err)
		}
	}
	if l.Attrs().MasterIndex != bridge.Attrs().Index {
		if err := w.ns.LinkSetMasterByIndex(l, bridge.Attrs().Index); err != nil {
			return fmt.Errorf("device %s: attaching to %s: %w", l.Attrs().Name, bridge.Attrs().Name, err)
		}
	}
	return nil
}

// switchPorts sets each port up or down as its admin state says. Rules are in force by now.
func (w *fabricWork) switchPorts() (errs []error) {
	for _, port := range w.plan.ports {
		if l := w.links[port.dev]; l != nil {
			if err := w.ns.switchLink(l, port.up); err != nil {
				errs = append(errs, fmt.Errorf("port %s: %w", port.id, err))
			}
		}
	}
	return errs
}

func (n *namespace) switchLink(l netlink.Link, up bool) error {
	isUp := l.Attrs().Flags&net.FlagUp != 0
	switch {
	case up && !isUp:
		return n.LinkSetUp(l)
	case !up && isUp:
		return n.LinkSetDown(l)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
