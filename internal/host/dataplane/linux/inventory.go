package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"nephos/internal/fault"
	"nephos/internal/host/dataplane"
)

// Inventory implements dataplane.Plane. What it finds wrong is mended by the next Apply.
func (p *Plane) Inventory(ctx context.Context) (dataplane.Inventory, error) {
	if err := p.lockKernel(ctx); err != nil {
		return dataplane.Inventory{}, err
	}
	defer p.unlockKernel()
	inv := dataplane.Inventory{Problems: slices.Clone(p.state.notes)}
	if err := p.lookAtFabric(ctx, &inv); err != nil {
		return inv, err
	}
	names, err := listNamespaces(p.cfg.routerPrefix())
	if err != nil {
		return inv, err
	}
	for _, name := range names {
		inv.Namespaces = append(inv.Namespaces, name)
		o, err := namespaceOwner(name)
		switch {
		case err != nil:
			inv.Problems = append(inv.Problems, fmt.Sprintf("namespace %s cannot be read: %v", name, err))
		case o.kind != "router":
			inv.Problems = append(inv.Problems, fmt.Sprintf("namespace %s does not say whose it is", name))
		}
		inv.Routers = append(inv.Routers, dataplane.Device{Name: name, ID: o.id})
	}
	if err := p.lookAtHost(&inv); err != nil {
		return inv, err
	}
	p.compare(&inv)
	byName := func(a, b dataplane.Device) int { return cmp.Compare(a.Name, b.Name) }
	slices.SortFunc(inv.Ports, byName)
	slices.SortFunc(inv.Networks, byName)
	slices.SortFunc(inv.Routers, byName)
	slices.Sort(inv.Namespaces)
	slices.Sort(inv.Problems)
	return inv, nil
}

func (p *Plane) lookAtFabric(ctx context.Context, inv *dataplane.Inventory) error {
	ns, err := openNamespace(p.cfg.fabricName())
	if fault.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ns.close()
	inv.Namespaces = append(inv.Namespaces, ns.name)
	links, err := ns.links()
	if err != nil {
		return err
	}
	for name, l := range links {
		o, known := parseAlias(l.Attrs().Alias)
		switch d := (dataplane.Device{Name: name, ID: o.id}); {
		case o.kind == "network" || !known && l.Type() == "bridge":
			inv.Networks = append(inv.Networks, d)
		case o.kind == "port" || !known && strings.HasPrefix(name, "tap"):
			inv.Ports = append(inv.Ports, d)
		}
		if !known {
			inv.Problems = append(inv.Problems, fmt.Sprintf("device %s in %s does not say whose it is", name, ns.name))
		}
	}
	if p.state.rules == nil {
		return nil
	}
	tables, err := ns.run(ctx, "", "nft", "list", "tables")
	if err != nil {
		return fmt.Errorf("listing tables of %s: %w", ns.name, err)
	}
	for _, t := range p.state.rules {
		if !slices.Contains(strings.Split(tables, "\n"), "table "+t.family+" "+t.name) {
			inv.Problems = append(inv.Problems, fmt.Sprintf("the table %s %s of %s is gone: ports are not filtered", t.family, t.name, ns.name))
			p.state.rules = nil // so that the next Apply brings it back
		}
	}
	return nil
}

// lookAtHost finds this instance's links in the root namespace whose network is not in the fabric.
func (p *Plane) lookAtHost(inv *dataplane.Inventory) error {
	host, err := openNamespace(p.cfg.HostNetns)
	if err != nil {
		return err
	}
	defer host.close()
	links, err := host.links()
	if err != nil {
		return err
	}
	for name, l := range links {
		o, ok := parseAlias(l.Attrs().Alias)
		if ok && o.kind == p.cfg.externalKind() && !slices.ContainsFunc(inv.Networks, func(d dataplane.Device) bool { return d.ID == o.id }) {
			inv.Problems = append(inv.Problems, fmt.Sprintf("device %s leads to network %s, which is not here", name, o.id))
		}
	}
	return nil
}

// compare names what differs from the last applied document.
func (p *Plane) compare(inv *dataplane.Inventory) {
	last := p.state.last
	if last == nil {
		return
	}
	check := func(what string, found []dataplane.Device, want map[string]string) {
		for _, d := range found {
			if id, ok := want[d.Name]; !ok {
				inv.Problems = append(inv.Problems, fmt.Sprintf("%s %s (%s) is in no document", what, d.Name, d.ID))
			} else if id == d.ID {
				delete(want, d.Name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			inv.Problems = append(inv.Problems, fmt.Sprintf("%s %s of %s is missing", what, name, want[name]))
		}
	}
	ports, networks, routers := map[string]string{}, map[string]string{}, map[string]string{}
	for _, x := range last.ports {
		ports[x.dev] = x.id
	}
	for _, x := range last.networks {
		networks[x.bridge] = x.id
	}
	for _, x := range last.routers {
		routers[x.ns] = x.id
	}
	check("tap", inv.Ports, ports)
	check("bridge", inv.Networks, networks)
	check("router namespace", inv.Routers, routers)
}

// Destroy implements dataplane.Plane. It goes by what it finds, so it also clears up after another process; every step may be repeated.
func (p *Plane) Destroy(ctx context.Context) error {
	errs := []error{p.Close(ctx)}
	if err := p.lockKernel(ctx); err != nil {
		return err
	}
	defer p.unlockKernel()
	routers, err := listNamespaces(p.cfg.routerPrefix())
	errs = append(errs, err)
	for _, name := range append(routers, p.cfg.fabricName()) {
		errs = append(errs, destroyNamespace(name))
	}
	host, err := openNamespace(p.cfg.HostNetns)
	if fault.IsNotFound(err) {
		return errors.Join(errs...)
	}
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer host.close()
	errs = append(errs, host.removeLinks(func(_ string, l netlink.Link) bool {
		o, ok := parseAlias(l.Attrs().Alias)
		return ok && o.kind == p.cfg.externalKind()
	}))
	errs = append(errs, host.dropTable(ctx, "ip", p.cfg.hostTable()))
	return errors.Join(errs...)
}

// destroyNamespace deletes the devices first: a tap that a guest still holds, or a veth whose peer is elsewhere, would outlive the name.
func destroyNamespace(name string) error {
	ns, err := openNamespace(name)
	if fault.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer ns.close()
	err = ns.removeLinks(func(string, netlink.Link) bool { return true })
	return errors.Join(err, removeNamespace(name))
}
