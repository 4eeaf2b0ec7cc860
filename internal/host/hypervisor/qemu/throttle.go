package qemu

import (
	"context"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// The limits of a disk belong to its device (block_set_io_throttle), not to a node of the block graph: a disk that is swapped, copied or resized keeps them, and no job
// runs into them.

// heldBack says that a guest must not run before the limits of its disks are in force: then QEMU starts with its processors stopped.
func heldBack(g hypervisor.Guest) bool {
	return slices.ContainsFunc(g.Disks, func(d hypervisor.Disk) bool { return d.Limits != hostapi.DiskLimits{} })
}

// throttle puts the disks' limits into force; disks without limits are left alone.
func (m *machine) throttle(ctx context.Context, disks ...hypervisor.Disk) error {
	if !heldBack(hypervisor.Guest{Disks: disks}) {
		return nil
	}
	list, err := m.attached(ctx)
	if err != nil {
		return err
	}
	for _, d := range disks {
		l := d.Limits
		if l == (hostapi.DiskLimits{}) {
			continue
		}
		i := slices.IndexFunc(list, func(a attachedDisk) bool { return a.Inserted.Node == nodeName(d.ID) })
		if i < 0 {
			return fault.NotFound("disk %s, which is to have limits, is on no device", d.ID)
		}
		err := m.do(ctx, "block_set_io_throttle", struct {
			ID         string `json:"id"`
			Bytes      int64  `json:"bps"`
			ReadBytes  int64  `json:"bps_rd"`
			WriteBytes int64  `json:"bps_wr"`
			Ops        int64  `json:"iops"`
			ReadOps    int64  `json:"iops_rd"`
			WriteOps   int64  `json:"iops_wr"`
		}{list[i].Device, l.TotalBytes, l.ReadBytes, l.WriteBytes, l.TotalOps, l.ReadOps, l.WriteOps}, nil)
		if err != nil {
			return plugFault(d.ID, "limits", err)
		}
	}
	return nil
}
