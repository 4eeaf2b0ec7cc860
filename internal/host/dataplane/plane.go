package dataplane

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"nephos/internal/hostapi"
)

// MetadataAddress is where guests find the metadata service (EC2's and OpenStack's well-known link-local address), TCP port 80.
var MetadataAddress = netip.AddrFrom4([4]byte{169, 254, 169, 254})

// ErrUnfiltered is in an Apply's error when the rules that filter ports could not be loaded: then no port that was not there before is switched on.
var ErrUnfiltered = errors.New("the rules of the ports cannot be loaded")

// Plane makes one host's networking match a document. All methods may be called from any goroutine.
type Plane interface {
	// Apply makes the host match doc, whole: what is not in it goes. It is idempotent, and a first Apply of a fresh process adopts
	// what exists without disturbing guests. Concurrent callers are serialised; of those that wait, only the newest document is
	// rendered and all of them get its result. A piece of the document that cannot be made (a bad address, a device in the way) does not
	// keep the rest from being made: the error names every such piece. When ctx ends the call returns, the render goes on.
	Apply(ctx context.Context, doc hostapi.NetworkDocument) error

	// OpenTap opens the port's tap for a guest (IFF_TAP|IFF_NO_PI|IFF_VNET_HDR; one queue); the caller owns the file. The tap outlives the
	// file, so a restarted guest opens it again. fault.KindNotFound when Apply has made no such port; fault.KindConflict while another
	// process holds it.
	OpenTap(ctx context.Context, portID string) (*os.File, error)

	// Counters is what has passed a port since its tap was made, as the guest sees it; ids are left empty. fault.KindNotFound when Apply has made no such port.
	Counters(ctx context.Context, portID string) (hostapi.InterfaceCount, error)

	// Inventory lists what exists, by looking at the host, for fsck. It works without an Apply before it.
	Inventory(ctx context.Context) (Inventory, error)

	// Close stops DHCP, metadata and every goroutine; bridges, taps and rules stay, so guests go on. Apply afterwards is fault.KindUnavailable.
	Close(ctx context.Context) error

	// Destroy removes every namespace, bridge, tap, link and rule of this instance, also those of an earlier process, then closes.
	Destroy(ctx context.Context) error
}

// Inventory is what a Plane finds on its host. Lists are sorted by name.
type Inventory struct {
	Ports      []Device // taps (or what stands in for them)
	Networks   []Device // bridges
	Routers    []Device // router namespaces
	Namespaces []string // every namespace of this instance, the fabric's included
	Problems   []string // what is not as the last applied document wants it, or has no known owner; one sentence each
}

// Device is one thing found: its name on the host and the id of the row that owns it ("" when unknown, which is also a Problem).
type Device struct {
	Name string
	ID   string
}

// Guest is the port from which a metadata request came, found by network and source address, never by header.
type Guest struct {
	NetworkID string
	PortID    string
	ServerID  string // empty for a port that belongs to no server
	ProjectID string
	Address   netip.Addr
}

type guestKey struct{}

// WithGuest returns ctx carrying g; planes call it before they hand a request to the metadata handler.
func WithGuest(ctx context.Context, g Guest) context.Context {
	return context.WithValue(ctx, guestKey{}, g)
}

// GuestFromContext is the guest whose request this is.
func GuestFromContext(ctx context.Context) (Guest, bool) {
	g, ok := ctx.Value(guestKey{}).(Guest)
	return g, ok
}

// PortFromContext is GuestFromContext, reduced to the two ids that metadata needs.
func PortFromContext(ctx context.Context) (portID, serverID string, ok bool) {
	g, ok := GuestFromContext(ctx)
	return g.PortID, g.ServerID, ok
}

// Directory finds the port behind a source address on a network. It is immutable, so readers need no lock.
type Directory struct {
	guests map[addressOn]Guest
}

type addressOn struct {
	network string
	addr    netip.Addr
}

// NewDirectory indexes the fixed addresses of doc's ports. An address that does not parse is left out.
func NewDirectory(doc hostapi.NetworkDocument) *Directory {
	d := &Directory{guests: make(map[addressOn]Guest, len(doc.Ports))}
	for _, p := range doc.Ports {
		for _, a := range p.Addresses {
			ip, err := netip.ParseAddr(a.IP)
			if err != nil {
				continue
			}
			ip = ip.Unmap()
			d.guests[addressOn{p.NetworkID, ip}] = Guest{NetworkID: p.NetworkID, PortID: p.ID, ServerID: p.ServerID, ProjectID: p.ProjectID, Address: ip}
		}
	}
	return d
}

// Find gives the guest with this address on this network.
func (d *Directory) Find(networkID string, addr netip.Addr) (Guest, bool) {
	if d == nil {
		return Guest{}, false
	}
	g, ok := d.guests[addressOn{networkID, addr.Unmap()}]
	return g, ok
}
