package qemu

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
	"nephos/internal/hostapi"
)

// attachedDisk is what is wanted of query-block: which device stands on which node.
type attachedDisk struct {
	Device   string `json:"qdev"` // an id, or a path below the device that has one
	Inserted *struct {
		Node string `json:"node-name"`
	} `json:"inserted"`
}

// deviceID is the id of the device of ours that a qdev names.
func (a attachedDisk) deviceID() string {
	id := strings.TrimPrefix(a.Device, "/machine/peripheral/")
	id, _, _ = strings.Cut(id, "/")
	return id
}

func (m *machine) attached(ctx context.Context) ([]attachedDisk, error) {
	var list []attachedDisk
	err := m.do(ctx, "query-block", nil, &list)
	return slices.DeleteFunc(list, func(a attachedDisk) bool { return a.Inserted == nil }), err
}

// deviceOf finds the device that stands on a disk's node. After a swap it bears the name of the disk that was there before. Where there is none the answer is
// the name it would have.
func (m *machine) deviceOf(ctx context.Context, diskID string) (device string, ok bool, err error) {
	list, err := m.attached(ctx)
	for _, a := range list {
		if a.Inserted.Node == nodeName(diskID) {
			return a.deviceID(), true, err
		}
	}
	return diskDevice(diskID), false, err
}

// deviceFor names a disk's device: there says that the guest has the disk. The usual name may be taken by a device whose disk was swapped for another.
func (m *machine) deviceFor(ctx context.Context, have []string, diskID string) (device string, there bool, err error) {
	if !slices.Contains(have, diskDevice(diskID)) {
		return m.deviceOf(ctx, diskID)
	}
	if device, there, err = m.deviceOf(ctx, diskID); there || err != nil {
		return device, there, err
	}
	list, err := m.attached(ctx)
	if err != nil {
		return "", false, err
	}
	if !slices.ContainsFunc(list, func(a attachedDisk) bool { return a.deviceID() == device }) {
		return device, true, nil // a device without a medium: it is being plugged or unplugged
	}
	for i := 2; ; i++ {
		if name := fmt.Sprintf("%s.%d", diskDevice(diskID), i); !slices.Contains(have, name) {
			return name, false, nil
		}
	}
}

// SwapDisk implements hypervisor.Driver by a mirror job. The job's last step, in which QEMU puts the new node under the device, is one act of QEMU's: who comes
// after a crash finds by query-block on which side of it the guest is.
func (d *Driver) SwapDisk(ctx context.Context, id, diskID string, to hypervisor.Disk) error {
	to, err := to.Resolved(hostapi.MachineOptions{})
	if err != nil {
		return err
	}
	swapping, err := d.copies.Lock(ctx, id+" "+diskID)
	if err != nil {
		return fault.Unavailable("disk %s of guest %s: waited for a copy", diskID, id).WithCause(err)
	}
	defer swapping()
	job := "swap-" + diskID
	var g *guest
	var m *machine
	done := false
	err = d.sure(ctx, id, func(known *guest, running *machine) (err error) {
		g, m = known, running
		if _, done, err = m.deviceOf(ctx, to.ID); err != nil || done {
			return err
		}
		return m.beginSwap(ctx, id, diskID, job, to)
	})
	if err != nil {
		return err
	}
	if !done {
		if err := m.mirror(ctx, job, nodeName(diskID), nodeName(to.ID)); err != nil {
			back, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
			defer cancel()
			if _, swapped, serr := m.deviceOf(back, to.ID); serr != nil || !swapped {
				if cerr := m.endJob(back, job); cerr != nil {
					d.cfg.Log.Error("swap not taken back", "guest", id, "disk", diskID, "err", cerr)
				} else if cerr := m.dropNode(back, to.ID); cerr != nil {
					d.cfg.Log.Error("swap not taken back", "guest", id, "disk", to.ID, "err", cerr)
				}
				return fault.Unavailable("disk %s of guest %s was not swapped", diskID, id).WithCause(plugFault(id, "disk "+to.ID, err))
			}
		}
	}
	return d.sure(context.WithoutCancel(ctx), id, func(*guest, *machine) error { return d.endSwap(context.WithoutCancel(ctx), g, m, diskID, to.ID, job) })
}

// beginSwap opens the new disk.
func (m *machine) beginSwap(ctx context.Context, id, diskID, job string, to hypervisor.Disk) error {
	if _, ok, err := m.deviceOf(ctx, diskID); err != nil || !ok {
		if err == nil {
			err = fault.NotFound("guest %s has no disk %s", id, diskID)
		}
		return err
	}
	if err := m.endJob(ctx, job); err != nil { // of a swap that a crash cut short
		return err
	}
	if err := m.dropNode(ctx, to.ID); err != nil {
		return err
	}
	return plugFault(id, "disk "+to.ID, m.addNode(ctx, to))
}

// mirror copies until both are alike, and changes over.
func (m *machine) mirror(ctx context.Context, job, from, to string) error {
	sub := m.client.Subscribe("JOB_STATUS_CHANGE")
	defer sub.Close()
	err := m.do(ctx, "blockdev-mirror", struct {
		JobID       string `json:"job-id"`
		Device      string `json:"device"`
		Target      string `json:"target"`
		Sync        string `json:"sync"`
		CopyMode    string `json:"copy-mode"`
		AutoDismiss bool   `json:"auto-dismiss"`
	}{job, from, to, "full", "write-blocking", false}, nil)
	if err != nil {
		return err
	}
	state, err := awaitJobState(ctx, sub, job, "ready", "concluded", "null")
	if err != nil {
		return err
	}
	if state == "ready" {
		if err := m.do(ctx, "job-complete", deviceRef{job}, nil); err != nil {
			return err
		}
		if _, err := awaitJobState(ctx, sub, job, "concluded", "null"); err != nil {
			return err
		}
	}
	j, ok, err := m.jobs(ctx, job)
	if err != nil {
		return err
	}
	if !ok || j.Error != "" {
		return &qmp.Error{Class: qmp.ClassGeneric, Desc: "mirror job: " + j.Error}
	}
	return m.do(ctx, "job-dismiss", deviceRef{job}, nil)
}

func awaitJobState(ctx context.Context, sub *qmp.Subscription, id string, states ...string) (string, error) {
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return "", err
		}
		var j jobState
		if err := e.Decode(&j); err != nil {
			return "", err
		}
		if j.ID == id && slices.Contains(states, j.Status) {
			return j.Status, nil
		}
	}
}

// endSwap lets the old disk go and gives its slot to the new one.
func (d *Driver) endSwap(ctx context.Context, g *guest, m *machine, from, to, job string) error {
	if err := m.endJob(ctx, job); err != nil {
		return err
	}
	if err := m.dropNode(ctx, from); err != nil {
		return err
	}
	return g.change(false, func(r *record) {
		if slot, ok := r.Slots[diskDevice(from)]; ok {
			r.Slots[diskDevice(to)] = slot
			delete(r.Slots, diskDevice(from))
		}
	})
}

// NMI implements hypervisor.Driver.
func (d *Driver) NMI(ctx context.Context, id string) error {
	return d.sure(ctx, id, func(_ *guest, m *machine) error { return m.do(ctx, "inject-nmi", nil, nil) })
}
