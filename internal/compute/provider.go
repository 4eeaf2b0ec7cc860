package compute

import (
	"context"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/placement"
)

// pcpu is the resource class of processors that a guest has for itself, pciClass begins those of devices.
const (
	pcpu     = "PCPU"
	pciClass = "CUSTOM_PCI_"
)

// disabledTrait is what Placement knows a disabled compute service by (Nova).
const disabledTrait = "COMPUTE_STATUS_DISABLED"

// pciName is the resource class of the devices of an alias.
func pciName(alias string) string {
	return pciClass + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, alias)
}

// provide brings a host's provider to what the host says it has: before is what it said the last time. What an operator set through Placement's API stays.
func (h *Hosts) provide(ctx context.Context, tx *db.Tx, id string, before, info hostapi.HostInfo) error {
	invs, custom := h.inventories(info)
	_, known := h.inventories(before)
	for _, class := range custom {
		if _, err := placement.Classes.Create(ctx, tx, class); err != nil {
			return err
		}
	}
	if err := placement.SyncInventories(ctx, tx, id, append(known, pcpu), invs...); err != nil {
		return err
	}
	return placement.SyncTraits(ctx, tx, id, strings.Fields(before.Traits), strings.Fields(info.Traits))
}

// inventories are what a host has, and the custom classes among them.
func (h *Hosts) inventories(info hostapi.HostInfo) (invs []placement.Inventory, custom []string) {
	q := h.Ratios
	invs = []placement.Inventory{
		{Class: placement.VCPU, Total: int64(info.VCPUs), Ratio: q.VCPU},
		{Class: placement.MemoryMB, Total: int64(info.RAMMiB), Reserved: int64(min(q.ReservedRAMMiB, info.RAMMiB/2)), Ratio: q.RAM},
		{Class: placement.DiskGB, Total: int64(info.DiskGiB), Reserved: int64(min(q.ReservedDiskGiB, info.DiskGiB/2)), Ratio: q.Disk},
	}
	if info.PCPUs > 0 {
		invs = append(invs, placement.Inventory{Class: pcpu, Total: int64(info.PCPUs), Ratio: 1})
	}
	for alias, n := range info.PCIDevices() {
		class := pciName(alias)
		custom = append(custom, class)
		invs = append(invs, placement.Inventory{Class: class, Total: int64(n), Ratio: 1})
	}
	return invs, custom
}

// showDisabled tells Placement's clients whether a host's service is disabled.
func showDisabled(ctx context.Context, tx *db.Tx, providerID string, disabled bool) error {
	only := []string{disabledTrait}
	if disabled {
		return placement.SyncTraits(ctx, tx, providerID, nil, only)
	}
	return placement.SyncTraits(ctx, tx, providerID, only, nil)
}

// mirror makes a host's provider a member of the Placement aggregate of a host aggregate, or no longer (Nova: the same uuid). A host that has gone has none.
func mirror(ctx context.Context, tx *db.Tx, host, aggregateUUID string, member bool) error {
	var id string
	if err := tx.Get(ctx, &id, `SELECT COALESCE(MAX(id), '') FROM hosts WHERE name = ?`, host); err != nil || id == "" {
		return err
	}
	if _, err := placement.GetProvider(ctx, tx, id); fault.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	only := []string{aggregateUUID}
	if member {
		return placement.SyncAggregates(ctx, tx, id, nil, only)
	}
	return placement.SyncAggregates(ctx, tx, id, only, nil)
}

// RefreshProviders reads those hosts anew whose providers were changed through Placement's API. A provider that is no host is none of this registry's business;
// what lies below a host in its tree is looked up when it is needed.
func (h *Hosts) RefreshProviders(ctx context.Context, ids ...string) error {
	h.mu.Lock()
	var names []string
	for name, r := range h.rows {
		for _, id := range ids {
			if r.ID == id {
				names = append(names, name)
			}
		}
	}
	h.mu.Unlock()
	for _, name := range names {
		if err := h.Refresh(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
