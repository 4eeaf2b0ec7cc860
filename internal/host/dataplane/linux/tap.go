package linux

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// tapFlags are the flags of every open: QEMU asks the device for them and uses the virtio header for checksum offload.
const tapFlags = unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR

// openTap attaches to the tap of that name in the namespace, making it if it is missing.
func (n *namespace) openTap(name string) (*os.File, error) {
	var f *os.File
	err := n.do(func() error { // a tap belongs to the namespace of the thread that opened /dev/net/tun
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fault.Unavailable("/dev/net/tun cannot be opened").WithCause(err)
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(tapFlags)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), "/dev/net/tun:"+name)
		return nil
	})
	return f, err
}

// createTap makes a tap that stays when its file is closed. A crash before TUNSETPERSIST leaves nothing.
func (n *namespace) createTap(name string) error {
	f, err := n.openTap(name)
	if err != nil {
		return fmt.Errorf("tap %s: %w", name, err)
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var ioctl error
	if err := raw.Control(func(fd uintptr) { ioctl = unix.IoctlSetInt(int(fd), unix.TUNSETPERSIST, 1) }); err != nil {
		return err
	}
	if ioctl != nil {
		return fmt.Errorf("tap %s: keeping it: %w", name, ioctl)
	}
	return nil
}

// OpenTap implements dataplane.Plane. It looks at the device itself, not at the last document, so that it works right after a restart.
func (p *Plane) OpenTap(ctx context.Context, portID string) (*os.File, error) {
	ns, err := openNamespace(p.cfg.fabricName())
	if err != nil {
		return nil, err
	}
	defer ns.close()
	l, err := ns.portLink(portID)
	if err != nil {
		return nil, err
	}
	name := l.Attrs().Name
	if l.Type() != "tuntap" && l.Type() != "tun" {
		return nil, fault.Conflict("port %s is the device %s of type %s, not a tap", portID, name, l.Type())
	}
	f, err := ns.openTap(name)
	if errors.Is(err, unix.EBUSY) {
		return nil, fault.Conflict("the tap of port %s is held by another process", portID).WithCause(err)
	}
	return f, err
}

// Counters implements dataplane.Plane. What the tap sends its guest receives.
func (p *Plane) Counters(_ context.Context, portID string) (out hostapi.InterfaceCount, err error) {
	ns, err := openNamespace(p.cfg.fabricName())
	if err != nil {
		return out, err
	}
	defer ns.close()
	l, err := ns.portLink(portID)
	if err != nil {
		return out, err
	}
	if c := l.Attrs().Statistics; c != nil {
		out = hostapi.InterfaceCount{RxBytes: int64(c.TxBytes), RxPackets: int64(c.TxPackets), RxErrors: int64(c.TxErrors), RxDrops: int64(c.TxDropped),
			TxBytes: int64(c.RxBytes), TxPackets: int64(c.RxPackets), TxErrors: int64(c.RxErrors), TxDrops: int64(c.RxDropped)}
	}
	return out, nil
}

// portLink finds the port's device: nearly always under the name that its id gives, else by its alias.
func (n *namespace) portLink(portID string) (netlink.Link, error) {
	is := func(l netlink.Link) bool {
		o, ok := parseAlias(l.Attrs().Alias)
		return ok && o.kind == "port" && o.id == portID
	}
	if l, err := n.LinkByName("tap" + portID[:min(11, len(portID))]); err == nil && is(l) {
		return l, nil
	}
	links, err := n.links()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if is(l) {
			return l, nil
		}
	}
	return nil, fault.NotFound("port %s has no tap on this host", portID)
}
