package fake

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// Start implements hypervisor.Driver. Taps are opened and closed at once, so that a data plane without the port shows.
func (d *Driver) Start(ctx context.Context, g hypervisor.Guest) error {
	g, err := g.Resolved()
	if err != nil {
		return err
	}
	return d.doWith(ctx, Start, g.ID, g.Name, taps(ctx, g), func(r *record) (*record, error) {
		if r != nil && r.status().Running() {
			return r, nil
		}
		return d.boot(g, r, "started"), nil
	})
}

func (d *Driver) boot(g hypervisor.Guest, old *record, why string) *record {
	r := &record{ID: g.ID}
	if old != nil {
		*r = *old
	}
	r.fill(g)
	d.nextPID++
	r.Power, r.PID, r.Why, r.State = hostapi.PowerRunning, d.nextPID, why, ""
	r.print("fake guest " + g.ID + " " + why + "\nno kernel, no system: this host simulates\nready\n")
	return r
}

// taps opens and closes the taps of a guest that does not run yet.
func taps(ctx context.Context, g hypervisor.Guest) func(s hypervisor.Status) error {
	return func(s hypervisor.Status) error {
		if s.Running() {
			return nil
		}
		for _, n := range g.NICs {
			if err := tap(ctx, n); err != nil {
				return err
			}
		}
		return nil
	}
}

func tap(ctx context.Context, n hypervisor.NIC) error {
	if n.OpenTap == nil {
		return nil
	}
	f, err := n.OpenTap(ctx)
	if err != nil {
		return err
	}
	if f != nil {
		f.Close()
	}
	return nil
}

// Shutdown implements hypervisor.Driver: a guest that ignores the power button costs the whole grace.
func (d *Driver) Shutdown(ctx context.Context, id string, grace time.Duration) error {
	if err := d.button(ctx, id, grace); err != nil {
		return err
	}
	return d.do(ctx, Shutdown, id, "", func(r *record) (*record, error) {
		if r == nil || !r.status().Running() {
			return r, nil
		}
		r.Power, r.PID, r.Why = hostapi.PowerShutdown, 0, "shut down"
		return r, nil
	})
}

// button spends the grace of a guest that does not hear the power button.
func (d *Driver) button(ctx context.Context, id string, grace time.Duration) error {
	d.mu.Lock()
	r := d.guests[id]
	deaf := r != nil && r.Power == hostapi.PowerRunning && r.behaviour.IgnoresPowerButton
	d.mu.Unlock()
	if !deaf || grace <= 0 {
		return nil
	}
	if err := wait(ctx, grace); err != nil {
		return fault.Unavailable("guest %s: shutdown: the deadline ended", id).WithCause(err)
	}
	return nil
}

// SoftReboot implements hypervisor.Driver.
func (d *Driver) SoftReboot(ctx context.Context, id string, grace time.Duration) error {
	if err := d.button(ctx, id, grace); err != nil {
		return err
	}
	return d.again(ctx, SoftReboot, id)
}

// Reset implements hypervisor.Driver.
func (d *Driver) Reset(ctx context.Context, id string) error { return d.again(ctx, Reset, id) }

func (d *Driver) again(ctx context.Context, v Verb, id string) error {
	return d.do(ctx, v, id, "", func(r *record) (*record, error) {
		if err := live(id, r); err != nil {
			return nil, err
		}
		r.Power, r.Why = hostapi.PowerRunning, "reset"
		r.print("fake guest " + id + " " + string(v) + "\n")
		return r, nil
	})
}

// Pause implements hypervisor.Driver.
func (d *Driver) Pause(ctx context.Context, id string) error {
	return d.turn(ctx, Pause, id, hostapi.PowerPaused, "paused")
}

// Unpause implements hypervisor.Driver.
func (d *Driver) Unpause(ctx context.Context, id string) error {
	return d.turn(ctx, Unpause, id, hostapi.PowerRunning, "unpaused")
}

func (d *Driver) turn(ctx context.Context, v Verb, id string, p hostapi.PowerState, why string) error {
	return d.do(ctx, v, id, "", func(r *record) (*record, error) {
		if err := live(id, r); err != nil {
			return nil, err
		}
		r.Power, r.Why = p, why
		return r, nil
	})
}

// Suspend implements hypervisor.Driver; the file holds only the guest's id.
func (d *Driver) Suspend(ctx context.Context, id, state string) error {
	return d.do(ctx, Suspend, id, "", func(r *record) (*record, error) {
		if r != nil && r.Power == hostapi.PowerSuspended {
			return r, nil
		}
		if err := live(id, r); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(state), 0o711); err != nil { // a simulated instance has no directory of its own before
			return nil, err
		}
		if err := os.WriteFile(state, []byte(id), 0o600); err != nil {
			return nil, err
		}
		r.Power, r.PID, r.Why, r.State = hostapi.PowerSuspended, 0, "suspended", state
		return r, nil
	})
}

// Resume implements hypervisor.Driver.
func (d *Driver) Resume(ctx context.Context, g hypervisor.Guest, state string) error {
	g, err := g.Resolved()
	if err != nil {
		return err
	}
	return d.doWith(ctx, Resume, g.ID, g.Name, taps(ctx, g), func(r *record) (*record, error) {
		if r != nil && r.status().Running() {
			return r, nil
		}
		b, err := os.ReadFile(state)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fault.Conflict("guest %s has no suspended memory in %s", g.ID, state)
		}
		if err != nil {
			return nil, err
		}
		if string(b) != g.ID {
			return nil, fault.Conflict("guest %s: %s holds another guest's memory", g.ID, state)
		}
		if err := os.Remove(state); err != nil {
			return nil, err
		}
		return d.boot(g, r, "resumed"), nil
	})
}

// Destroy implements hypervisor.Driver.
func (d *Driver) Destroy(ctx context.Context, id string) error {
	return d.do(ctx, Destroy, id, "", func(*record) (*record, error) { return nil, nil })
}

// AttachDisk implements hypervisor.Driver.
func (d *Driver) AttachDisk(ctx context.Context, id string, disk hypervisor.Disk) error {
	disk, err := disk.Resolved(hostapi.MachineOptions{})
	if err != nil {
		return err
	}
	return d.do(ctx, AttachDisk, id, "", func(r *record) (*record, error) {
		if err := live(id, r); err != nil {
			return nil, err
		}
		if slices.Contains(r.Disks, disk.ID) {
			return r, nil
		}
		if disk.Bus == "ide" || disk.Bus == "sata" {
			return nil, fault.Conflict("disk %s: the %s bus takes no disk while guest %s runs", disk.ID, disk.Bus, id)
		}
		if len(r.Disks) >= hypervisor.MaxDisks {
			return nil, fault.Conflict("guest %s has no room for another disk", id)
		}
		r.Disks = append(r.Disks, disk.ID)
		return r, nil
	})
}

// DetachDisk implements hypervisor.Driver.
func (d *Driver) DetachDisk(ctx context.Context, id, diskID string) error {
	return d.let(ctx, DetachDisk, id, diskID, func(r *record) *[]string { return &r.Disks })
}

// DetachNIC implements hypervisor.Driver.
func (d *Driver) DetachNIC(ctx context.Context, id, portID string) error {
	return d.let(ctx, DetachNIC, id, portID, func(r *record) *[]string { return &r.NICs })
}

func (d *Driver) let(ctx context.Context, v Verb, id, device string, list func(*record) *[]string) error {
	d.mu.Lock()
	r := d.guests[id]
	held := r != nil && r.status().Running() && r.behaviour.HoldsDevices && slices.Contains(*list(r), device)
	d.mu.Unlock()
	if held {
		<-ctx.Done()
		return fault.Conflict("guest %s did not let %s go", id, device)
	}
	return d.do(ctx, v, id, "", func(r *record) (*record, error) {
		if err := live(id, r); err != nil {
			return nil, err
		}
		*list(r) = without(*list(r), device)
		return r, nil
	})
}

// ResizeDisk implements hypervisor.Driver; it touches no file.
func (d *Driver) ResizeDisk(ctx context.Context, id, diskID string, bytes int64) error {
	return d.disk(ctx, ResizeDisk, id, diskID)
}

// CopyDisk implements hypervisor.Driver; it touches no file.
func (d *Driver) CopyDisk(ctx context.Context, id, diskID, dst string) error {
	return d.disk(ctx, CopyDisk, id, diskID)
}

func (d *Driver) disk(ctx context.Context, v Verb, id, diskID string) error {
	return d.do(ctx, v, id, "", func(r *record) (*record, error) {
		if err := live(id, r); err != nil {
			return nil, err
		}
		if !slices.Contains(r.Disks, diskID) {
			return nil, fault.NotFound("guest %s has no disk %s", id, diskID)
		}
		return r, nil
	})
}

// AttachNIC implements hypervisor.Driver.
func (d *Driver) AttachNIC(ctx context.Context, id string, n hypervisor.NIC) error {
	n, err := n.Resolved(hostapi.MachineOptions{})
	if err != nil {
		return err
	}
	open := func(s hypervisor.Status) error {
		d.mu.Lock()
		there := s.Running() && slices.Contains(d.guests[id].NICs, n.PortID)
		d.mu.Unlock()
		if !s.Running() || there {
			return nil
		}
		return tap(ctx, n)
	}
	return d.doWith(ctx, AttachNIC, id, "", open, func(r *record) (*record, error) {
		if err := live(id, r); err != nil {
			return nil, err
		}
		if slices.Contains(r.NICs, n.PortID) {
			return r, nil
		}
		if len(r.NICs) >= hypervisor.MaxNICs {
			return nil, fault.Conflict("guest %s has no room for another interface", id)
		}
		r.NICs = append(r.NICs, n.PortID)
		return r, nil
	})
}
