package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
	"nephos/internal/hostapi"
)

// peripherals lists the ids of all devices.
func (m *machine) peripherals(ctx context.Context) ([]string, error) {
	var list []struct {
		Name string `json:"name"`
	}
	err := m.do(ctx, "qom-list", struct {
		Path string `json:"path"`
	}{"/machine/peripheral"}, &list)
	var out []string
	for _, e := range list {
		out = append(out, e.Name)
	}
	return out, err
}

// blockNode is what is wanted of query-named-block-nodes.
type blockNode struct {
	Name  string `json:"node-name"`
	Image struct {
		VirtualSize int64 `json:"virtual-size"`
	} `json:"image"`
}

// node finds a block node; ok is false when there is none.
func (m *machine) node(ctx context.Context, name string) (n blockNode, ok bool, err error) {
	var list []blockNode
	err = m.do(ctx, "query-named-block-nodes", struct {
		Flat bool `json:"flat"`
	}{true}, &list)
	i := slices.IndexFunc(list, func(n blockNode) bool { return n.Name == name })
	if err != nil || i < 0 {
		return n, false, err
	}
	return list[i], true, nil
}

type nodeRef struct {
	Name string `json:"node-name"`
}

type deviceRef struct {
	ID string `json:"id"`
}

// addFiles hands open files over as fdsets and gives the paths by which QEMU opens them.
func (m *machine) addFiles(ctx context.Context, opened []*os.File, label func(i int) string) ([]string, error) {
	var paths []string
	for i, f := range opened {
		var set struct {
			ID int `json:"fdset-id"`
		}
		err := m.client.ExecuteFiles(ctx, []*os.File{f}, "add-fd", struct {
			Opaque string `json:"opaque"`
		}{label(i)}, &set)
		if err != nil {
			return paths, err
		}
		paths = append(paths, fmt.Sprintf("/dev/fdset/%d", set.ID))
	}
	return paths, nil
}

// dropFiles takes back every file whose label begins with prefix. QEMU closes them when no node uses them any more. Left-overs do no
// harm: QEMU itself drops unused ones when its monitor is closed.
func (m *machine) dropFiles(ctx context.Context, prefix string) error {
	var sets []struct {
		ID  int `json:"fdset-id"`
		FDs []struct {
			Opaque string `json:"opaque"`
		} `json:"fds"`
	}
	if err := m.do(ctx, "query-fdsets", nil, &sets); err != nil {
		return err
	}
	for _, s := range sets {
		if len(s.FDs) == 0 || !strings.HasPrefix(s.FDs[0].Opaque, prefix) {
			continue
		}
		err := m.do(ctx, "remove-fd", struct {
			ID int `json:"fdset-id"`
		}{s.ID}, nil)
		if err != nil && !qmp.IsClass(err, qmp.ClassGeneric) { // generic: it is gone already
			return err
		}
	}
	return nil
}

// addNode opens a disk and makes its block node.
func (m *machine) addNode(ctx context.Context, d hypervisor.Disk) error {
	opened, err := openDisk(d)
	if err != nil {
		return err
	}
	defer closeAll(opened)
	paths, err := m.addFiles(ctx, opened, func(i int) string { return diskOpaque(d.ID, i) })
	if err == nil {
		err = m.do(ctx, "blockdev-add", diskNode(d, paths), nil)
	}
	if err != nil {
		return errors.Join(err, m.dropFiles(ctx, diskOpaquePrefix(d.ID)))
	}
	return nil
}

func diskOpaquePrefix(id string) string { return "disk:" + id + ":" }

// dropNode is addNode undone, as far as it had come.
func (m *machine) dropNode(ctx context.Context, diskID string) error {
	_, ok, err := m.node(ctx, nodeName(diskID))
	if err != nil {
		return err
	}
	if ok {
		if err := m.do(ctx, "blockdev-del", nodeRef{nodeName(diskID)}, nil); err != nil {
			return err
		}
	}
	return m.dropFiles(ctx, diskOpaquePrefix(diskID))
}

// AttachDisk implements hypervisor.Driver.
func (d *Driver) AttachDisk(ctx context.Context, id string, disk hypervisor.Disk) error {
	disk, err := disk.Resolved(hostapi.MachineOptions{})
	if err != nil {
		return err
	}
	disk.BootIndex = -1 // the boot order is the BIOS's at power-on
	return d.sure(ctx, id, func(g *guest, m *machine) error {
		have, err := m.peripherals(ctx)
		if err != nil {
			return err
		}
		device, there, err := m.deviceFor(ctx, have, disk.ID)
		if err != nil {
			return err
		}
		switch {
		case there:
			return m.throttle(ctx, disk) // a crash may have come before it
		case disk.Bus == "ide" || disk.Bus == "sata":
			return fault.Conflict("disk %s: the %s bus takes no disk while guest %s runs", disk.ID, disk.Bus, id)
		case disk.Bus == "scsi" && !slices.Contains(have, "scsi"):
			return fault.Conflict("disk %s: guest %s was started without a scsi controller", disk.ID, id)
		}
		slot, err := d.slot(g, diskDevice(disk.ID), slotDisk, hypervisor.MaxDisks)
		if err != nil {
			return err
		}
		if err := m.dropNode(ctx, disk.ID); err != nil { // of an attach that a crash cut short
			return err
		}
		err = m.addNode(ctx, disk)
		if err == nil {
			front := diskFrontend(disk, slot, 0)
			front.ID = device
			if err = m.do(ctx, "device_add", front, nil); err == nil {
				return m.throttle(ctx, disk)
			}
			err = errors.Join(err, m.dropNode(ctx, disk.ID))
		}
		d.freeSlot(g, diskDevice(disk.ID))
		return plugFault(id, "disk "+disk.ID, err)
	})
}

// plugFault keeps a fault and makes QEMU's refusal a Conflict that says what it said.
func plugFault(id, what string, err error) error {
	var f *fault.Fault
	var q *qmp.Error
	if err == nil || errors.As(err, &f) {
		return err
	}
	if errors.As(err, &q) {
		return fault.Conflict("guest %s does not take %s: %s", id, what, q.Desc).WithCause(err)
	}
	return err
}

func (d *Driver) slot(g *guest, device string, from, n int) (slot int, err error) {
	cerr := g.change(false, func(r *record) { slot, err = takeSlot(r.Slots, device, from, n) })
	if err != nil {
		return 0, err
	}
	return slot, cerr
}

func (d *Driver) freeSlot(g *guest, device string) {
	if err := g.change(false, func(r *record) { delete(r.Slots, device) }); err != nil {
		d.cfg.Log.Error("slot not freed", "guest", g.id, "device", device, "err", err)
	}
}

// unplugEvery is how often a guest is asked again to let a device go: one that still boots does not hear the first time.
const unplugEvery = 3 * time.Second

// unplugLimit bounds a wait whose caller gave no deadline.
const unplugLimit = 2 * time.Minute

// unplug asks the guest to let a device go and waits until it has. It ends at once when there is no such device.
func (m *machine) unplug(ctx context.Context, id, device string) error {
	ctx, cancel := context.WithTimeout(ctx, unplugLimit)
	defer cancel()
	sub := m.client.Subscribe("DEVICE_DELETED")
	defer sub.Close()
	for {
		err := m.do(ctx, "device_del", deviceRef{device}, nil)
		switch {
		case qmp.IsClass(err, qmp.ClassDeviceNotFound):
			return nil
		case err == nil, qmp.IsClass(err, qmp.ClassGeneric): // generic: it is being unplugged already
		case ctx.Err() != nil:
			return fault.Conflict("guest %s did not let %s go in time", id, device).WithCause(err)
		default:
			return err
		}
		gone, err := awaitDeleted(ctx, sub, device)
		if gone {
			return nil
		}
		if ctx.Err() != nil {
			return fault.Conflict("guest %s did not let %s go in time", id, device).WithCause(context.Cause(ctx))
		}
		if err != nil {
			return err
		}
	}
}

// awaitDeleted waits for the device's end for a while; neither is false, nil.
func awaitDeleted(ctx context.Context, sub *qmp.Subscription, device string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, unplugEvery)
	defer cancel()
	for {
		e, err := sub.Next(ctx)
		if ctx.Err() != nil {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		var gone struct {
			Device string `json:"device"`
		}
		if err := e.Decode(&gone); err != nil {
			return false, err
		}
		if gone.Device == device {
			return true, nil
		}
	}
}

// DetachDisk implements hypervisor.Driver.
func (d *Driver) DetachDisk(ctx context.Context, id, diskID string) error {
	return d.sure(ctx, id, func(g *guest, m *machine) error {
		device, _, err := m.deviceOf(ctx, diskID)
		if err != nil {
			return err
		}
		if err := m.unplug(ctx, id, device); err != nil {
			return err
		}
		// The guest has let go: what is left must not depend on how much of the caller's time that took.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		if err := m.dropNode(ctx, diskID); err != nil {
			return err
		}
		d.freeSlot(g, diskDevice(diskID))
		return nil
	})
}

// ResizeDisk implements hypervisor.Driver.
func (d *Driver) ResizeDisk(ctx context.Context, id, diskID string, bytes int64) error {
	return d.sure(ctx, id, func(_ *guest, m *machine) error {
		n, ok, err := m.node(ctx, nodeName(diskID))
		if err != nil {
			return err
		}
		if !ok {
			return fault.NotFound("guest %s has no disk %s", id, diskID)
		}
		if bytes < n.Image.VirtualSize {
			return fault.Invalid("size", "disk %s of guest %s has %d bytes and does not shrink to %d", diskID, id, n.Image.VirtualSize, bytes)
		}
		err = m.do(ctx, "block_resize", struct {
			nodeRef
			Size int64 `json:"size"`
		}{nodeRef{nodeName(diskID)}, bytes}, nil)
		if err != nil {
			return plugFault(id, "a new size of disk "+diskID, err)
		}
		return nil
	})
}
