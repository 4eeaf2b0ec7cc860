package agent

import (
	"context"
	"fmt"
	"slices"

	"nephos/internal/host/dataplane"
	"nephos/internal/hostapi"
)

// onInventory answers fsck: every list is found by looking at the host.
func (a *Agent) onInventory(ctx context.Context, _ []byte) (any, error) {
	inv := hostapi.Inventory{Host: a.cfg.Info.Name}
	problem := func(format string, args ...any) { inv.Problems = append(inv.Problems, fmt.Sprintf(format, args...)) }
	var err error
	if inv.Instances, err = a.records.ids(); err != nil {
		problem("instances cannot be listed: %v", err)
	}
	if inv.Processes, err = a.cfg.Driver.Processes(ctx); err != nil {
		problem("guest processes cannot be listed: %v", err)
	}
	net, err := a.cfg.Plane.Inventory(ctx)
	if err != nil {
		problem("networking cannot be listed: %v", err)
	}
	inv.Ports, inv.Networks, inv.Routers, inv.Namespaces = devices(net.Ports), devices(net.Networks), devices(net.Routers), net.Namespaces
	inv.Problems = append(inv.Problems, net.Problems...)
	files, err := a.cfg.Disks.List()
	if err != nil {
		problem("volumes cannot be listed: %v", err)
	}
	inv.Volumes, inv.Snapshots = files.Volumes, files.Snapshots
	inv.Problems = append(inv.Problems, files.Problems...)
	if inv.Images, err = a.cfg.Disks.Images(); err != nil {
		problem("cached images cannot be listed: %v", err)
	}
	for _, p := range inv.Processes {
		if !slices.Contains(inv.Instances, p.ServerID) {
			problem("process %d runs guest %s, which has no directory", p.PID, p.ServerID)
		}
	}
	return inv, nil
}

func devices(in []dataplane.Device) []hostapi.InventoryDevice {
	out := make([]hostapi.InventoryDevice, len(in))
	for i, d := range in {
		out[i] = hostapi.InventoryDevice{Name: d.Name, ID: d.ID}
	}
	return out
}
