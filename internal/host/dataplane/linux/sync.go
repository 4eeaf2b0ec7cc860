package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// syncAddresses gives the device exactly these addresses (IPv6 link-local ones aside). With bare the kernel makes no route of its own.
// Addresses that stay are not touched.
func (n *namespace) syncAddresses(l netlink.Link, want []netip.Prefix, bare bool) error {
	_, _, err := n.syncAddressesReport(l, want, bare)
	return err
}

// syncAddressesReport also says which came and which went.
func (n *namespace) syncAddressesReport(l netlink.Link, want []netip.Prefix, bare bool) (added, removed []netip.Prefix, err error) {
	have, err := n.AddrList(l, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return added, removed, err
	}
	missing := map[netip.Prefix]bool{}
	for _, w := range want {
		missing[w] = true
	}
	for i := range have {
		p, ok := prefixOf(have[i].IPNet)
		if !ok || p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() {
			continue
		}
		if missing[p] {
			delete(missing, p)
			continue
		}
		if err := n.AddrDel(l, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return added, removed, fmt.Errorf("address %s off %s: %w", p, l.Attrs().Name, err)
		}
		removed = append(removed, p)
	}
	for _, w := range want {
		if !missing[w] {
			continue
		}
		delete(missing, w)
		a := &netlink.Addr{IPNet: ipNet(w)}
		if bare {
			a.Flags |= unix.IFA_F_NOPREFIXROUTE
		}
		if w.Addr().Is6() {
			a.Flags |= unix.IFA_F_NODAD
		}
		if err := n.AddrAdd(l, a); err != nil && !errors.Is(err, unix.EEXIST) {
			return added, removed, fmt.Errorf("address %s on %s: %w", w, l.Attrs().Name, err)
		}
		added = append(added, w)
	}
	return added, removed, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), ones), ok
}

// routeKey tells routes apart.
type routeKey struct {
	dst    netip.Prefix
	via    netip.Addr
	link   int
	metric int
	table  int
}

func keyOf(r *netlink.Route) routeKey {
	k := routeKey{link: r.LinkIndex, metric: r.Priority, table: r.Table}
	if k.table == 0 {
		k.table = unix.RT_TABLE_MAIN
	}
	k.via, _ = netip.AddrFromSlice(r.Gw)
	k.via = k.via.Unmap()
	var ok bool
	if k.dst, ok = prefixOf(r.Dst); !ok {
		k.dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if k.via.Is6() {
			k.dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
	}
	return k
}

// syncRoutes makes the routes that carry routeMark and match filter exactly these. A route that cannot be made (its next hop is not on any
// link) does not keep the others from being made.
func (n *namespace) syncRoutes(filter netlink.Route, mask uint64, want []netlink.Route) error {
	filter.Protocol = routeMark
	var have []netlink.Route
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		part, err := n.RouteListFiltered(family, &filter, mask|netlink.RT_FILTER_PROTOCOL)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("listing routes: %w", err)
		}
		have = append(have, part...)
	}
	missing := map[routeKey]bool{}
	for i := range want {
		missing[keyOf(&want[i])] = true
	}
	for i := range have {
		k := keyOf(&have[i])
		if missing[k] {
			delete(missing, k)
		} else if err := n.RouteDel(&have[i]); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("removing the route to %s: %w", k.dst, err)
		}
	}
	var errs []error
	for i := range want {
		k := keyOf(&want[i])
		if !missing[k] {
			continue
		}
		delete(missing, k)
		if err := n.RouteReplace(&want[i]); err != nil {
			errs = append(errs, fmt.Errorf("route to %s via %v: %w", k.dst, want[i].Gw, err))
		}
	}
	return errors.Join(errs...)
}
