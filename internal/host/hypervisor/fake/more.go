package fake

import (
	"context"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// SwapDisk implements hypervisor.Driver; it touches no file.
func (d *Driver) SwapDisk(ctx context.Context, id, diskID string, to hypervisor.Disk) error {
	to, err := to.Resolved(hostapi.MachineOptions{})
	if err != nil {
		return err
	}
	return d.do(ctx, SwapDisk, id, "", func(r *record) (*record, error) {
		if err := live(id, r); err != nil {
			return nil, err
		}
		if slices.Contains(r.Disks, to.ID) {
			return r, nil
		}
		i := slices.Index(r.Disks, diskID)
		if i < 0 {
			return nil, fault.NotFound("guest %s has no disk %s", id, diskID)
		}
		r.Disks = slices.Clone(r.Disks)
		r.Disks[i] = to.ID
		return r, nil
	})
}

// NMI implements hypervisor.Driver: the guest says on its console that it was hit.
func (d *Driver) NMI(ctx context.Context, id string) error {
	return d.do(ctx, NMI, id, "", func(r *record) (*record, error) {
		if err := live(id, r); err != nil {
			return nil, err
		}
		r.print("fake guest " + id + " received an NMI\n")
		return r, nil
	})
}

// Diagnose implements hypervisor.Driver: a fake guest has its disks, and has done nothing with them.
func (d *Driver) Diagnose(_ context.Context, id string) (out hostapi.Diagnostics, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.guests[id]
	if err := live(id, r); err != nil {
		return out, err
	}
	out.Power = r.Power
	for _, disk := range r.Disks {
		out.Disks = append(out.Disks, hostapi.DiskCount{ID: disk})
	}
	return out, nil
}

// AgentAnswers implements hypervisor.Driver: every fake guest that was given a channel has an agent.
func (d *Driver) AgentAnswers(ctx context.Context, id string) error {
	return d.agent(ctx, id, func(*record) {})
}

// SetPassword implements hypervisor.Driver.
func (d *Driver) SetPassword(ctx context.Context, id, user, _ string) error {
	return d.agent(ctx, id, func(r *record) { r.print("fake guest " + id + " has a new password for " + user + "\n") })
}

func (d *Driver) agent(ctx context.Context, id string, act func(r *record)) error {
	return d.do(ctx, Agent, id, "", func(r *record) (*record, error) {
		if err := live(id, r); err != nil {
			return nil, err
		}
		if !r.Agent {
			return nil, fault.Conflict("guest %s has no channel to a guest agent", id)
		}
		act(r)
		return r, nil
	})
}
