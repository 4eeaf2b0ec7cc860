package linux

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

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

// strayed matches entries whose translation is not that of now: outer → inner for what came in by an outer address, inner → outer for what
// left by one; and everything that used an address which is gone.
func strayed(now map[netip.Addr]netip.Addr, gone map[netip.Addr]bool) matcher {
	return func(c *netlink.ConntrackFlow) bool {
		asked, left := addrOf(c.Forward.DstIP), addrOf(c.Reverse.DstIP)
		if inner, ok := now[asked]; ok && addrOf(c.Reverse.SrcIP) != inner || gone[asked] && !ok {
			return true
		}
		inner, ok := now[left]
		return ok && addrOf(c.Forward.SrcIP) != inner && left != addrOf(c.Forward.SrcIP) || gone[left] && !ok
	}
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
