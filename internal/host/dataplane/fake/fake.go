package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/dataplane"
	"nephos/internal/hostapi"
)

// Host is the simulated machine. Its zero value is a machine without networks.
type Host struct {
	mu       sync.Mutex // guards the maps; id → name
	networks map[string]string
	ports    map[string]string
	routers  map[string]string
	applies  int
}

// Applies counts the documents rendered on this host so far.
func (h *Host) Applies() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.applies
}

// Op names a call that a Step is for.
type Op string

// The calls that can be scripted.
const (
	OpApply     Op = "apply"
	OpOpenTap   Op = "open tap"
	OpInventory Op = "inventory"
)

// Step is what one coming call does: wait, then fail with Err, or work if Err is nil.
type Step struct {
	Op    Op
	Delay time.Duration // ends early with the call's context; real time, or a synctest bubble's
	Err   error
}

// Plane works on a Host.
type Plane struct {
	host     *Host
	metadata http.Handler

	apply sync.Mutex // one Apply at a time; taken before mu

	mu      sync.Mutex // guards the rest
	steps   []Step
	closed  bool
	applied int64 // newest revision rendered
	dir     *dataplane.Directory
}

var _ dataplane.Plane = (*Plane)(nil)

// New makes a plane on host. metadata may be nil.
func New(host *Host, metadata http.Handler) *Plane {
	return &Plane{host: host, metadata: metadata}
}

// Script appends steps; each is used by the first coming call of its kind.
func (p *Plane) Script(steps ...Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = append(p.steps, steps...)
}

// play waits and fails as scripted.
func (p *Plane) play(ctx context.Context, op Op) error {
	p.mu.Lock()
	i := slices.IndexFunc(p.steps, func(s Step) bool { return s.Op == op })
	if i < 0 {
		p.mu.Unlock()
		return ctx.Err()
	}
	s := p.steps[i]
	p.steps = slices.Delete(p.steps, i, i+1)
	p.mu.Unlock()
	if s.Delay > 0 {
		t := time.NewTimer(s.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	if s.Err != nil {
		return s.Err
	}
	return ctx.Err()
}

// Apply implements dataplane.Plane. A document older than one that was rendered while the call waited is dropped: the newer one stands for it.
func (p *Plane) Apply(ctx context.Context, doc hostapi.NetworkDocument) error {
	p.mu.Lock()
	before := p.applied
	p.mu.Unlock()
	p.apply.Lock()
	defer p.apply.Unlock()
	p.mu.Lock()
	closed, overtaken := p.closed, p.applied != before && p.applied > doc.Revision
	p.mu.Unlock()
	if closed {
		return fault.Unavailable("the data plane is closed")
	}
	if overtaken {
		return nil
	}
	if err := p.play(ctx, OpApply); err != nil {
		return fmt.Errorf("network revision %d: %w", doc.Revision, err)
	}
	networks, ports, routers := map[string]string{}, map[string]string{}, map[string]string{}
	var errs []error
	for _, n := range doc.Networks {
		networks[n.ID] = "br-" + n.ID
	}
	legs := map[string]bool{}
	for _, r := range doc.Routers {
		routers[r.ID] = "router-" + r.ID
		for _, i := range r.Interfaces {
			legs[i.PortID] = true
		}
		if r.Gateway != nil {
			legs[r.Gateway.PortID] = true
		}
	}
	for _, x := range doc.Ports {
		switch {
		case legs[x.ID]:
		case networks[x.NetworkID] == "":
			errs = append(errs, fault.Invalid("port", "port %s: its network %s is not in the document", x.ID, x.NetworkID))
		default:
			ports[x.ID] = "tap-" + x.ID
		}
	}
	dir := dataplane.NewDirectory(doc)
	p.host.mu.Lock()
	p.host.networks, p.host.ports, p.host.routers = networks, ports, routers
	p.host.applies++
	p.host.mu.Unlock()
	p.mu.Lock()
	p.applied, p.dir = doc.Revision, dir
	p.mu.Unlock()
	return errors.Join(errs...)
}

// OpenTap implements dataplane.Plane; the file is /dev/null.
func (p *Plane) OpenTap(ctx context.Context, portID string) (*os.File, error) {
	if err := p.play(ctx, OpOpenTap); err != nil {
		return nil, err
	}
	p.host.mu.Lock()
	_, ok := p.host.ports[portID]
	p.host.mu.Unlock()
	if !ok {
		return nil, fault.NotFound("port %s has no tap on this host", portID)
	}
	return os.OpenFile(os.DevNull, os.O_RDWR, 0)
}

// Counters implements dataplane.Plane: nothing ever passes.
func (p *Plane) Counters(_ context.Context, portID string) (out hostapi.InterfaceCount, err error) {
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	if _, ok := p.host.ports[portID]; !ok {
		err = fault.NotFound("port %s has no tap on this host", portID)
	}
	return out, err
}

// Inventory implements dataplane.Plane.
func (p *Plane) Inventory(ctx context.Context) (dataplane.Inventory, error) {
	if err := p.play(ctx, OpInventory); err != nil {
		return dataplane.Inventory{}, err
	}
	h := p.host
	h.mu.Lock()
	defer h.mu.Unlock()
	inv := dataplane.Inventory{Ports: devices(h.ports), Networks: devices(h.networks), Routers: devices(h.routers)}
	for _, r := range inv.Routers {
		inv.Namespaces = append(inv.Namespaces, r.Name)
	}
	return inv, nil
}

func devices(m map[string]string) (out []dataplane.Device) {
	for id, name := range m {
		out = append(out, dataplane.Device{Name: name, ID: id})
	}
	slices.SortFunc(out, func(a, b dataplane.Device) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// ServeGuest answers r as if a guest with that address had sent it to 169.254.169.254 on the network.
func (p *Plane) ServeGuest(w http.ResponseWriter, r *http.Request, networkID string, from netip.Addr) {
	p.mu.Lock()
	dir := p.dir
	p.mu.Unlock()
	g, ok := dir.Find(networkID, from)
	if !ok || p.metadata == nil {
		http.Error(w, "no port of this network has the address "+from.String(), http.StatusNotFound)
		return
	}
	p.metadata.ServeHTTP(w, r.WithContext(dataplane.WithGuest(r.Context(), g)))
}

// Close implements dataplane.Plane.
func (p *Plane) Close(context.Context) error {
	p.apply.Lock()
	defer p.apply.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// Destroy implements dataplane.Plane.
func (p *Plane) Destroy(ctx context.Context) error {
	if err := p.Close(ctx); err != nil {
		return err
	}
	p.host.mu.Lock()
	defer p.host.mu.Unlock()
	p.host.networks, p.host.ports, p.host.routers = nil, nil, nil
	return nil
}
