package qemu

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
)

// Adopt implements hypervisor.Driver.
func (d *Driver) Adopt(ctx context.Context) ([]hypervisor.Status, error) {
	entries, err := os.ReadDir(d.cfg.Instances)
	if err != nil {
		return nil, err
	}
	alive, err := scan(d.name("")) // one look at /proc for all
	if err != nil {
		return nil, err
	}
	var group errgroup.Group
	group.SetLimit(16)
	for _, e := range entries {
		rec, err := readRecord(d.dir(e.Name()))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || !e.IsDir() {
			continue
		}
		if err != nil || rec.ID != e.Name() {
			// Not written by this driver, which replaces records whole. Its process, if any, shows in Processes.
			d.cfg.Log.Error("guest record unreadable", "dir", e.Name(), "err", err)
			continue
		}
		if d.find(rec.ID) != nil {
			continue
		}
		group.Go(func() error { return d.adopt(ctx, rec, alive[d.name(rec.ID)]) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := d.groups.sweep(d.name("")); err != nil {
		d.cfg.Log.Error("control groups left", "err", err)
	}
	return d.List(ctx)
}

// adopt takes one guest over. Pid is its living process by name, 0 for none.
func (d *Driver) adopt(ctx context.Context, rec record, pid int) error {
	g := &guest{id: rec.ID, dir: d.dir(rec.ID), rec: rec}
	if pid != 0 && rec.Phase != phaseRunning {
		// Half started, or recorded as ended and not gone yet: nothing may rely on it.
		if err := killPID(pid, d.name(rec.ID)); err != nil {
			return err
		}
		pid = 0
	}
	if pid == 0 {
		d.settle(g)
		if err := writeRecord(g.dir, g.rec, false); err != nil {
			return err
		}
		d.put(g)
		return nil
	}
	p, err := watchOrphan(pid)
	if err != nil || !isOurs(pid, d.name(rec.ID)) { // it ended while we looked
		if err == nil {
			p.fd.Close()
		}
		return d.adopt(ctx, rec, 0)
	}
	d.keepPlace(rec.ID, rec.Place)
	m := newMachine(p)
	dial, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := qmp.Dial(dial, filepath.Join(g.dir, monitorFile))
	if err != nil {
		// A guest that its agent cannot speak to runs on: Destroy and a hard reboot still work, by its pid.
		d.cfg.Log.Error("monitor of an adopted guest does not answer", "guest", rec.ID, "pid", pid, "err", err)
		g.rec.Why = "adopted; its monitor does not answer"
	} else {
		m.attach(client, rec.Unfed)
	}
	g.rec.PID, g.rec.Ticks = p.pid, p.ticks
	if err := writeRecord(g.dir, g.rec, false); err != nil {
		m.release()
		return err
	}
	g.vm = m
	if client != nil {
		if err := d.catchUp(dial, g, m); err != nil {
			d.cfg.Log.Error("adopted guest", "guest", rec.ID, "err", err)
		}
	}
	d.put(g)
	d.running.Go(func() { d.watch(g, m) })
	return nil
}

// settle decides what a guest without a process is.
func (d *Driver) settle(g *guest) {
	r := &g.rec
	switch {
	case r.Phase == phaseStarting && r.State != "":
		r.Phase, r.Why = phaseSuspended, "suspended; a resume was interrupted"
	case r.Phase == phaseStarting:
		r.Phase, r.Why = phaseShutdown, "its start was interrupted"
	case r.Phase == phaseRunning && r.Boot != d.boot:
		r.Phase, r.Why = phaseShutdown, "the host has been restarted"
	case r.Phase == phaseRunning:
		r.Phase, r.Why = phaseCrashed, "its process was gone when the agent started"
	}
	r.PID, r.Ticks, r.Rebooting, r.Frozen, r.Place = 0, 0, false, false, place{}
}

// catchUp does what the watcher would have done while there was none.
func (d *Driver) catchUp(ctx context.Context, g *guest, m *machine) error {
	if g.rec.Sending != "" {
		if gone, err := m.sent(ctx); err != nil || gone { // it stands until somebody says whether it has come over there
			m.paused.Store(true)
			return err
		}
		if err := d.takeBack(ctx, g, m); err != nil {
			return err
		}
	}
	state, err := m.runState(ctx)
	if err != nil {
		return err
	}
	switch state {
	case "shutdown":
		if g.rec.Rebooting {
			d.reborn(ctx, g, m)
			return nil
		}
		d.finish(ctx, g, m, phaseShutdown, "shut down from inside")
	case "guest-panicked":
		d.finish(ctx, g, m, phaseCrashed, "the guest's kernel panicked")
	case "watchdog":
		if g.rec.Unfed {
			d.finish(ctx, g, m, phaseShutdown, unfedWhy)
		} else {
			m.paused.Store(true)
		}
	case "postmigrate", "finish-migrate": // a suspend was interrupted before its file was whole
		return m.turn(ctx, "cont")
	case "running":
		m.paused.Store(false)
	default:
		m.paused.Store(true)
	}
	if g.rec.Frozen {
		d.running.Go(func() { d.unfreeze(d.background, g) }) // it may have to wait for the guest, which must not keep others from being adopted
	}
	if g.rec.State != "" {
		return d.thawed(ctx, g, m)
	}
	return nil
}

// killOrphan ends the process of a guest that has not been adopted, if there is one.
func (d *Driver) killOrphan(ctx context.Context, id string) error {
	conn, err := qmp.DialUnix(ctx, filepath.Join(d.dir(id), monitorFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() != nil {
		return err
	}
	if err != nil {
		return nil // nobody listens
	}
	conn.Close()
	found, err := scan(d.name(""))
	if err != nil {
		return err
	}
	if pid := found[d.name(id)]; pid != 0 {
		return killPID(pid, d.name(id))
	}
	return nil
}

// killPID kills a process if it still is the named guest, and waits for its end.
func killPID(pid int, name string) error {
	p, err := watchOrphan(pid)
	if err != nil {
		return nil // gone
	}
	defer p.fd.Close()
	if !isOurs(pid, name) {
		return nil
	}
	p.kill()
	return p.waitGone(context.Background(), patience)
}
