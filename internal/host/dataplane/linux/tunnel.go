package linux

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// vxlanPort is IANA's.
const vxlanPort = 4789

// tunnel joins the network's bridge to other hosts. The device lives in the fabric, its UDP socket in the root namespace where it is
// made, so that the underlay is the host's own network. Unknown destinations flood to every peer; sources are learnt.
func (w *fabricWork) tunnel(n *netPlan, bridge netlink.Link) error {
	if n.tunnel == "" {
		return nil
	}
	local := net.IP(w.plan.tunnel.local.AsSlice())
	l := w.links[n.tunnel]
	if vx, ok := l.(*netlink.Vxlan); l != nil && (!ok || vx.VxlanId != n.vni || !vx.SrcAddr.Equal(local)) {
		if err := w.ns.LinkDel(l); err != nil {
			return fmt.Errorf("tunnel %s: %w", n.tunnel, err)
		}
		l = nil
	}
	if l == nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.Namespace = n.tunnel, n.mtu, netlink.NsFd(w.ns.fd)
		vx := &netlink.Vxlan{LinkAttrs: attrs, VxlanId: n.vni, SrcAddr: local, Port: vxlanPort, Learning: true}
		if err := w.p.state.host.LinkAdd(vx); err != nil {
			return fmt.Errorf("tunnel %s with vni %d: %w", n.tunnel, n.vni, err)
		}
		var err error
		if l, err = w.ns.LinkByName(n.tunnel); err != nil {
			return err
		}
		w.links[n.tunnel] = l
	}
	if err := w.setAlias(l, owner{"tunnel", n.id, 0}); err != nil {
		return err
	}
	if err := w.attach(l, bridge, n.mtu); err != nil {
		return err
	}
	if err := w.syncPeers(l, w.plan.tunnel.peers); err != nil {
		return err
	}
	return w.ns.switchLink(l, true)
}

// syncPeers sets the flood list: forwarding entries of the all-zero MAC, one for each peer.
func (w *fabricWork) syncPeers(l netlink.Link, peers []netip.Addr) error {
	have, err := w.ns.NeighList(l.Attrs().Index, unix.AF_BRIDGE)
	if err != nil {
		return fmt.Errorf("listing peers of %s: %w", l.Attrs().Name, err)
	}
	missing := map[netip.Addr]bool{}
	for _, p := range peers {
		missing[p] = true
	}
	for i := range have {
		a, ok := netip.AddrFromSlice(have[i].IP)
		if !ok || !isZero(have[i].HardwareAddr) {
			continue
		}
		if a = a.Unmap(); missing[a] {
			delete(missing, a)
		} else if err := w.ns.NeighDel(floodTo(l, a)); err != nil {
			return fmt.Errorf("peer %s off %s: %w", a, l.Attrs().Name, err)
		}
	}
	for _, p := range peers {
		if !missing[p] {
			continue
		}
		delete(missing, p)
		if err := w.ns.NeighAppend(floodTo(l, p)); err != nil {
			return fmt.Errorf("peer %s on %s: %w", p, l.Attrs().Name, err)
		}
	}
	return nil
}

func floodTo(l netlink.Link, peer netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: l.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP,
		Flags: netlink.NTF_SELF, IP: peer.AsSlice(), HardwareAddr: make(net.HardwareAddr, 6)}
}

func isZero(mac net.HardwareAddr) bool {
	for _, b := range mac {
		if b != 0 {
			return false
		}
	}
	return len(mac) == 6
}
