package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// matcher selects conntrack entries to delete.
type matcher func(f *netlink.ConntrackFlow) bool

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (m matcher) MatchConntrackFlow(f *netlink.ConntrackFlow) bool { return m(f) }

// sweep ends every connection in the fabric that the rules of now would not let begin.
func (p *Plane) sweep(pl *plan) error {
	forbidden := matcher(func(c *netlink.ConntrackFlow) bool {
		return !pl.permits(flow{zone: c.Zone, src: addrOf(c.Forward.SrcIP), dst: addrOf(c.Forward.DstIP), proto: int(c.Forward.Protocol), dport: c.Forward.DstPort})
	})
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := p.state.fabric.ConntrackDeleteFilters(netlink.ConntrackTable, family, forbidden)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("ending forbidden connections: %w", err)
		}
	}
	return nil
}

// touches matches entries that have one of the addresses anywhere.
func touches(addrs []netip.Addr) matcher {
	return func(c *netlink.ConntrackFlow) bool {
		for _, ip := range []net.IP{c.Forward.SrcIP, c.Forward.DstIP, c.Reverse.SrcIP, c.Reverse.DstIP} {
			if slices.Contains(addrs, addrOf(ip)) {
				return true
			}
		}
		return false
	}
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
