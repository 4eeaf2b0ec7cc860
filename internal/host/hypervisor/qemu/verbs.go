package qemu

import (
	"context"
	"time"

	"nephos/internal/fault"
)

// pressEvery is how often the power button is pressed: a guest that still boots does not hear the first.
const pressEvery = 4 * time.Second

// Shutdown implements hypervisor.Driver.
func (d *Driver) Shutdown(ctx context.Context, id string, grace time.Duration) error {
	unlock, err := d.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	g := d.find(id)
	if g == nil {
		return nil
	}
	m := g.machine()
	if m == nil {
		return nil
	}
	if grace <= 0 || m.client == nil || m.paused.Load() {
		return d.stop(g, m)
	}
	m.asked.Store(true)
	out := d.press(ctx, m, grace)
	switch out {
	case pressEnded:
		return nil
	case pressGrace:
		return d.stop(g, m)
	}
	m.asked.Store(false)
	return fault.Unavailable("guest %s: the deadline ended while it shut down", id).WithCause(context.Cause(ctx))
}

// pressed is how a wait after the power button ended.
type pressed int

const (
	pressEnded pressed = iota // the process is gone
	pressAgain                // the watcher has started the guest again
	pressGrace                // nothing came of it in time, or the monitor does not answer
	pressGone                 // the verb's context or the driver ended
)

func (d *Driver) press(ctx context.Context, m *machine, grace time.Duration) pressed {
	t := time.NewTimer(grace)
	defer t.Stop()
	again := time.NewTicker(pressEvery)
	defer again.Stop()
	for {
		if err := m.do(ctx, "system_powerdown", nil, nil); err != nil && ctx.Err() == nil {
			select {
			case <-m.ended: // it went between the presses
				return pressEnded
			case <-time.After(quitPatience):
				return pressGrace
			}
		}
		select {
		case <-m.ended:
			return pressEnded
		case <-m.rebirth:
			return pressAgain
		case <-t.C:
			return pressGrace
		case <-ctx.Done():
			return pressGone
		case <-d.background.Done():
			return pressGone
		case <-again.C:
		}
	}
}

// SoftReboot implements hypervisor.Driver. That the guest is to start again is in its record, so that an agent that starts meanwhile
// does it.
func (d *Driver) SoftReboot(ctx context.Context, id string, grace time.Duration) error {
	return d.sure(ctx, id, func(g *guest, m *machine) error {
		if m.paused.Load() || grace <= 0 {
			return reset(ctx, m)
		}
		select {
		case <-m.rebirth: // of an earlier reboot that came after its verb had given up
		default:
		}
		if err := g.change(false, func(r *record) { r.Rebooting = true }); err != nil {
			return err
		}
		out := d.press(ctx, m, grace)
		if out == pressAgain {
			return nil
		}
		if out == pressEnded {
			return fault.Conflict("guest %s ended instead of starting again: %s", id, g.status().Why)
		}
		if err := g.change(false, func(r *record) { r.Rebooting = false }); err != nil {
			return err
		}
		if out == pressGone {
			return fault.Unavailable("guest %s: the deadline ended while it rebooted", id).WithCause(context.Cause(ctx))
		}
		return reset(ctx, m)
	})
}

// Reset implements hypervisor.Driver.
func (d *Driver) Reset(ctx context.Context, id string) error {
	return d.sure(ctx, id, func(_ *guest, m *machine) error { return reset(ctx, m) })
}

func reset(ctx context.Context, m *machine) error {
	if err := m.do(ctx, "system_reset", nil, nil); err != nil {
		return err
	}
	return m.turn(ctx, "cont")
}

// turn runs stop or cont, which are harmless when it is so already; by their reply the monitor's reader has seen the change (see).
func (m *machine) turn(ctx context.Context, command string) error {
	return m.do(ctx, command, nil, nil)
}

// Pause implements hypervisor.Driver.
func (d *Driver) Pause(ctx context.Context, id string) error {
	return d.sure(ctx, id, func(_ *guest, m *machine) error { return m.turn(ctx, "stop") })
}

// Unpause implements hypervisor.Driver.
func (d *Driver) Unpause(ctx context.Context, id string) error {
	return d.sure(ctx, id, func(_ *guest, m *machine) error { return m.turn(ctx, "cont") })
}

// Destroy implements hypervisor.Driver.
func (d *Driver) Destroy(ctx context.Context, id string) error {
	unlock, err := d.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if g := d.find(id); g != nil {
		if m := g.machine(); m != nil {
			if err := d.stop(g, m); err != nil {
				return err
			}
		}
	} else if err := d.killOrphan(ctx, id); err != nil {
		return err
	} else {
		d.dropGroup(id)
	}
	if err := forget(d.dir(id)); err != nil {
		return err
	}
	d.mu.Lock()
	delete(d.guests, id)
	d.mu.Unlock()
	return nil
}
