package qemu

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
)

// CopyDisk implements hypervisor.Driver by a backup job: writes of the guest while it runs put the old data into the copy first.
func (d *Driver) CopyDisk(ctx context.Context, id, diskID, dst string) error {
	if !filepath.IsAbs(dst) {
		return fault.Invalid("dst", "disk %s: %q is not an absolute path", diskID, dst)
	}
	copying, err := d.copies.Lock(ctx, id+" "+diskID)
	if err != nil {
		return fault.Unavailable("disk %s of guest %s: waited for another copy", diskID, id).WithCause(err)
	}
	defer copying()
	copyID := "copy-" + diskID
	var g *guest
	var m *machine
	err = d.sure(ctx, id, func(known *guest, running *machine) error {
		g, m = known, running
		return m.beginCopy(ctx, id, diskID, copyID, dst)
	})
	if err != nil {
		return err
	}
	err = d.copyJob(ctx, g, m, copyID, nodeName(diskID))
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err != nil {
		err = fault.Unavailable("disk %s of guest %s was not copied", diskID, id).WithCause(errors.Join(err, m.endJob(back, copyID)))
	}
	return errors.Join(err, m.dropNode(back, copyID))
}

// beginCopy makes the node of the copy's file.
func (m *machine) beginCopy(ctx context.Context, id, diskID, copyID, dst string) error {
	if _, ok, err := m.node(ctx, nodeName(diskID)); err != nil || !ok {
		if err == nil {
			err = fault.NotFound("guest %s has no disk %s", id, diskID)
		}
		return err
	}
	if err := m.endJob(ctx, copyID); err != nil { // of a copy that a crash cut short
		return err
	}
	if err := m.dropNode(ctx, copyID); err != nil {
		return err
	}
	return plugFault(id, "a copy of disk "+diskID, m.addNode(ctx, hypervisor.Disk{ID: copyID, Path: dst, Format: "raw"}))
}

// jobState is the data of JOB_STATUS_CHANGE, and an entry of query-jobs.
type jobState struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Error  string `json:"error"`
}

func (m *machine) jobs(ctx context.Context, id string) (jobState, bool, error) {
	var list []jobState
	err := m.do(ctx, "query-jobs", nil, &list)
	i := slices.IndexFunc(list, func(j jobState) bool { return j.ID == id })
	if err != nil || i < 0 {
		return jobState{}, false, err
	}
	return list[i], true, nil
}

// copyJob copies; the copy is of the moment in which the job begins, so that only this moment must be quiet.
func (d *Driver) copyJob(ctx context.Context, g *guest, m *machine, copyID, source string) error {
	sub := m.client.Subscribe("JOB_STATUS_CHANGE")
	defer sub.Close()
	err := d.quiet(ctx, g, func() error {
		return m.do(ctx, "blockdev-backup", struct {
			JobID       string `json:"job-id"`
			Device      string `json:"device"`
			Target      string `json:"target"`
			Sync        string `json:"sync"`
			AutoDismiss bool   `json:"auto-dismiss"`
		}{copyID, source, nodeName(copyID), "full", false}, nil)
	})
	if err != nil {
		return err
	}
	if err := awaitJob(ctx, sub, copyID); err != nil {
		return err
	}
	j, ok, err := m.jobs(ctx, copyID)
	if err != nil {
		return err
	}
	if !ok || j.Error != "" {
		return fmt.Errorf("backup job: %s", j.Error)
	}
	return m.do(ctx, "job-dismiss", deviceRef{copyID}, nil)
}

// awaitJob waits for the job to be concluded, well or not.
func awaitJob(ctx context.Context, sub *qmp.Subscription, id string) error {
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		var j jobState
		if err := e.Decode(&j); err != nil {
			return err
		}
		if j.ID == id && (j.Status == "concluded" || j.Status == "null") {
			return nil
		}
	}
}

// endJob cancels and forgets a job, if there is one.
func (m *machine) endJob(ctx context.Context, id string) error {
	sub := m.client.Subscribe("JOB_STATUS_CHANGE")
	defer sub.Close()
	j, ok, err := m.jobs(ctx, id)
	if err != nil || !ok {
		return err
	}
	if j.Status != "concluded" {
		if err := m.do(ctx, "job-cancel", deviceRef{id}, nil); err != nil && !qmp.IsClass(err, qmp.ClassGeneric) {
			return err
		}
		if err := awaitJob(ctx, sub, id); err != nil {
			return err
		}
	}
	return m.do(ctx, "job-dismiss", deviceRef{id}, nil)
}
