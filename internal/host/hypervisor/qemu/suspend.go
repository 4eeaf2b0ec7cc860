package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
)

type capability struct {
	Name  string `json:"capability"`
	State bool   `json:"state"`
}

type capabilities struct {
	List []capability `json:"capabilities"`
}

type uri struct {
	URI string `json:"uri"`
}

// migration prepares either side: events to wait on, and no limit on the speed, for the other end is a file.
func (m *machine) migration(ctx context.Context, file *os.File) (*qmp.Subscription, error) {
	if err := m.do(ctx, "migrate-set-capabilities", capabilities{[]capability{{"events", true}, {"pause-before-switchover", false}, {"late-block-activate", false}}}, nil); err != nil {
		return nil, err
	}
	bandwidth := struct {
		Max int64 `json:"max-bandwidth"`
	}{math.MaxInt64 / 2}
	if err := m.do(ctx, "migrate-set-parameters", bandwidth, nil); err != nil {
		return nil, err
	}
	sub := m.client.Subscribe("MIGRATION")
	if err := m.client.ExecuteFiles(ctx, []*os.File{file}, "getfd", fdName{"memory"}, nil); err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

func migrated(ctx context.Context, sub *qmp.Subscription) error {
	for {
		e, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		var s struct {
			Status string `json:"status"`
		}
		if err := e.Decode(&s); err != nil {
			return err
		}
		switch s.Status {
		case "completed":
			return nil
		case "failed", "cancelled":
			return fmt.Errorf("migration %s", s.Status)
		}
	}
}

// Suspend implements hypervisor.Driver. Until the record says suspended, which it does after the file is whole and on disk, a crash
// leaves a stopped guest that Adopt lets run on.
func (d *Driver) Suspend(ctx context.Context, id, state string) error {
	if !filepath.IsAbs(state) {
		return fault.Invalid("state", "guest %s: %q is not an absolute path", id, state)
	}
	unlock, err := d.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	if g := d.find(id); g != nil && g.machine() == nil && g.record().Phase == phaseSuspended {
		return nil
	}
	g, m, err := d.live(id)
	if err != nil {
		return err
	}
	part := state + ".part"
	if err := d.freeze(ctx, m, part); err != nil {
		os.Remove(part)
		// Whatever it was, the guest goes on; a context that has ended must not keep it stopped.
		back, cancel := context.WithTimeout(d.background, patience)
		defer cancel()
		m.do(back, "migrate_cancel", nil, nil)
		if cerr := m.turn(back, "cont"); cerr != nil {
			d.cfg.Log.Error("guest stays stopped after a suspend that did not work", "guest", id, "err", cerr)
		}
		return fault.Unavailable("guest %s was not suspended", id).WithCause(err)
	}
	if err := os.Rename(part, state); err != nil {
		return err
	}
	if err := syncDir(filepath.Dir(state)); err != nil {
		return err
	}
	if err := g.change(true, func(r *record) { r.Phase, r.Why, r.State = phaseSuspended, "suspended", state }); err != nil {
		return err
	}
	return d.stop(g, m)
}

func (d *Driver) freeze(ctx context.Context, m *machine, part string) error {
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := m.turn(ctx, "stop"); err != nil { // one pass over the memory instead of a race with the guest
		return err
	}
	sub, err := m.migration(ctx, f)
	if err != nil {
		return err
	}
	defer sub.Close()
	if err := m.do(ctx, "migrate", uri{"fd:memory"}, nil); err != nil {
		return err
	}
	if err := migrated(ctx, sub); err != nil {
		return err
	}
	return f.Sync()
}

// Resume implements hypervisor.Driver.
func (d *Driver) Resume(ctx context.Context, spec hypervisor.Guest, state string) error {
	spec, err := spec.Resolved()
	if err != nil {
		return err
	}
	unlock, err := d.lock(ctx, spec.ID)
	if err != nil {
		return err
	}
	defer unlock()
	g := d.find(spec.ID)
	if g == nil {
		return fault.NotFound("no guest %s on this host", spec.ID)
	}
	if g.machine() != nil {
		return nil
	}
	before := g.record()
	if before.Phase != phaseSuspended {
		return fault.Conflict("guest %s is not suspended", spec.ID)
	}
	if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) {
		return fault.Conflict("guest %s has no suspended memory in %s", spec.ID, state)
	}
	slots := before.clone().Slots
	if err := takeSlots(slots, spec); err != nil {
		return err
	}
	return d.launch(ctx, g, spec, slots, entry{state: state}, before)
}

// thaw reads the memory in and lets the guest run. From the record "running" on, the guest may write its disks and the file is worth
// nothing; the record keeps its name until it is removed, so that Adopt finishes what a crash interrupts here.
func (d *Driver) thaw(ctx context.Context, g *guest, m *machine, state string) error {
	f, err := os.Open(state)
	if err != nil {
		return err
	}
	defer f.Close()
	sub, err := m.migration(ctx, f)
	if err != nil {
		return err
	}
	defer sub.Close()
	if err := m.do(ctx, "migrate-incoming", uri{"fd:memory"}, nil); err != nil {
		return err
	}
	if err := migrated(ctx, sub); err != nil {
		return err
	}
	if err := g.change(true, func(r *record) { r.Phase, r.Why = phaseRunning, "resumed" }); err != nil {
		return err
	}
	return d.thawed(ctx, g, m)
}

// thawed is the end of a resume, also of one that Adopt finds half done.
func (d *Driver) thawed(ctx context.Context, g *guest, m *machine) error {
	if err := m.turn(ctx, "cont"); err != nil {
		return err
	}
	if err := os.Remove(g.record().State); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return g.change(false, func(r *record) { r.State = "" })
}
