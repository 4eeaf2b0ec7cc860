package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
	"nephos/internal/hostapi"
)

// Start implements hypervisor.Driver.
func (d *Driver) Start(ctx context.Context, spec hypervisor.Guest) error {
	spec, err := spec.Resolved()
	if err != nil {
		return err
	}
	unlock, err := d.lock(ctx, spec.ID)
	if err != nil {
		return err
	}
	defer unlock()
	g, err := d.prepare(spec.ID)
	if err != nil {
		return err
	}
	if m := g.machine(); m != nil {
		if g.record().Sending != "" && m.client != nil {
			return d.takeBack(ctx, g, m)
		}
		return nil
	}
	slots := map[string]int{}
	if err := takeSlots(slots, spec); err != nil {
		return err
	}
	if old := g.record().State; old != "" { // a cold start makes suspended memory worthless: it no longer fits the disks
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	before := g.record()
	before.State, before.Phase, before.Why = "", phaseShutdown, "never started"
	return d.launch(ctx, g, spec, slots, entry{}, before)
}

// prepare gives the guest's entry with its directory.
func (d *Driver) prepare(id string) (*guest, error) {
	if g := d.find(id); g != nil {
		return g, nil
	}
	dir := d.dir(id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	g := &guest{id: id, dir: dir, rec: record{ID: id, Phase: phaseShutdown, Slots: map[string]int{}}}
	return g, nil
}

// launch makes the process and returns when the guest's processors run. On an error nothing runs and the record is as `before`.
func (d *Driver) launch(ctx context.Context, g *guest, spec hypervisor.Guest, slots map[string]int, from entry, before record) (err error) {
	a, err := d.accelerator(ctx)
	if err != nil {
		return err
	}
	if d.find(g.id) == nil {
		if err := d.orphan(g.id); err != nil {
			return err
		}
	}
	at, err := d.takePlace(spec)
	if err != nil {
		return fmt.Errorf("guest %s: %w", g.id, err)
	}
	// From here until the record says running, Adopt takes what it finds for half started and ends it.
	err = g.change(false, func(r *record) {
		*r = record{ID: g.id, Phase: phaseStarting, Why: "starting", Boot: d.boot, State: from.state, Slots: slots, Agent: spec.Machine.GuestAgent, Place: at, Unfed: spec.Machine.Watchdog == watchdogOff}
	})
	if err != nil {
		d.leavePlace(g.id)
		return err
	}
	var m *machine
	defer func() {
		if err == nil {
			return
		}
		defer d.dropGroup(g.id)
		if m != nil {
			m.proc.kill()
			if werr := m.proc.waitGone(context.Background(), patience); werr != nil {
				err = fmt.Errorf("%w; and process %d does not die", err, m.proc.pid)
				return
			}
			m.release()
		}
		d.leavePlace(g.id)       // not before its process is dead
		if d.find(g.id) == nil { // never heard of before: nothing to keep
			if ferr := forget(g.dir); ferr != nil {
				d.cfg.Log.Error("left after a start that did not work", "guest", g.id, "err", ferr)
			}
			return
		}
		if cerr := g.change(false, func(r *record) { *r = before }); cerr != nil {
			d.cfg.Log.Error("record after a start that did not work", "guest", g.id, "err", cerr)
		}
	}()
	dir, err := os.Open(g.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	l := launch{guest: spec, name: d.name(g.id), accel: a.Accel, slots: slots, incoming: from.incoming(), place: at}
	if m, err = d.spawn(ctx, g, dir, &l); err != nil {
		return err
	}
	if err := d.raise(ctx, g, m, dir, spec, from); err != nil {
		return d.startFault(ctx, g, m, err)
	}
	if err = d.bind(ctx, m, spec, at); err != nil {
		return d.startFault(ctx, g, m, err)
	}
	g.mu.Lock()
	g.vm = m
	g.mu.Unlock()
	d.put(g)
	d.running.Go(func() { d.watch(g, m) })
	return nil
}

// orphan refuses to start beside a guest that this driver has not adopted: a process of an agent that died between fork and record.
func (d *Driver) orphan(id string) error {
	conn, err := qmp.DialUnix(d.background, filepath.Join(d.dir(id), monitorFile))
	if err != nil {
		return nil // nobody listens, so nobody lives
	}
	conn.Close()
	return fault.Conflict("guest %s runs already, but has not been adopted", id)
}

// spawn opens everything and forks. The monitor socket's backlog takes our connection before QEMU has begun to look at it.
func (d *Driver) spawn(ctx context.Context, g *guest, dir *os.File, l *launch) (*machine, error) {
	inherited := &files{}
	defer inherited.close()
	type socket struct {
		name string
		fd   *int
	}
	sockets := []socket{{monitorFile, &l.monitor}, {hypervisor.SerialSocket, &l.serial}}
	if l.guest.Machine.GuestAgent {
		sockets = append(sockets, socket{hypervisor.AgentSocket, &l.agent})
	}
	for _, s := range sockets {
		f, err := listen(dir, s.name)
		if err != nil {
			return nil, err
		}
		*s.fd = inherited.add(f)
	}
	console, err := d.openConsole(g.dir)
	if err != nil {
		return nil, err
	}
	l.console = inherited.add(console)
	if err := d.inherit(ctx, l, inherited); err != nil {
		return nil, err
	}
	complaints, err := os.OpenFile(filepath.Join(g.dir, stderrFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer complaints.Close()

	limited := l.guest.CPU != (hostapi.CPULimits{})
	if limited {
		if err := d.groups.make(l.name, l.guest.CPU, l.guest.VCPUs); err != nil {
			return nil, err
		}
	}
	// Not CommandContext: the process shall outlive the verb. launch kills it when the verb does not succeed.
	cmd := exec.Command(d.cfg.Binary, commandLine(*l)...)
	cmd.Env, cmd.Dir = environment, "/"
	cmd.Stdout, cmd.Stderr = complaints, complaints
	cmd.ExtraFiles = inherited.open
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: d.cred}
	if err := cmd.Start(); err != nil {
		return nil, fault.Unavailable("guest %s: %s does not start", g.id, d.cfg.Binary).WithCause(err)
	}
	p, err := watchChild(cmd)
	if err != nil {
		return nil, err
	}
	m := newMachine(p)
	if limited {
		if err := d.groups.enter(l.name, p.pid); err != nil {
			return m, fault.Unavailable("guest %s does not enter its control group", g.id).WithCause(err)
		}
	}
	if err := g.change(false, func(r *record) { r.PID, r.Ticks = p.pid, p.ticks }); err != nil {
		return m, err
	}
	return m, nil
}

// dropGroup removes the group of a guest whose process has ended. What is left all the same goes at the next Adopt.
func (d *Driver) dropGroup(id string) {
	if err := d.groups.drop(context.Background(), d.name(id)); err != nil {
		d.cfg.Log.Error("control group left", "guest", id, "err", err)
	}
}

// raise speaks to a new process until its guest runs.
func (d *Driver) raise(ctx context.Context, g *guest, m *machine, dir *os.File, spec hypervisor.Guest, from entry) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // ends with raise: a process that dies must not be waited for
		select {
		case <-m.proc.gone:
			cancel()
		case <-stop:
		}
	}()
	client, err := qmp.Dial(ctx, filepath.Join(g.dir, monitorFile))
	if err != nil {
		return err
	}
	m.attach(client, spec.Machine.Watchdog == watchdogOff)
	if err := m.openScreen(ctx, dir); err != nil {
		return err
	}
	if err := m.throttle(ctx, spec.Disks...); err != nil {
		return err
	}
	if from.peer {
		return d.await(ctx, g, m, dir, spec)
	}
	if from.state != "" {
		return d.thaw(ctx, g, m, from.state)
	}
	if heldBack(spec) {
		if err := m.turn(ctx, "cont"); err != nil {
			return err
		}
	}
	now, err := m.runState(ctx)
	if err != nil {
		return err
	}
	if now != "running" {
		return fmt.Errorf("it is %s", now)
	}
	return g.change(false, func(r *record) { r.Phase, r.Why = phaseRunning, "started" })
}

// startFault makes the error of a start that did not work: QEMU's own last words say more than ours.
func (d *Driver) startFault(ctx context.Context, g *guest, m *machine, err error) error {
	if ctx.Err() != nil {
		return fault.Unavailable("guest %s: the deadline ended while it started", g.id).WithCause(err)
	}
	if fault.KindOf(err) != fault.KindInternal {
		var f *fault.Fault
		if errors.As(err, &f) {
			return err
		}
	}
	m.proc.waitGone(ctx, quitPatience) // its monitor closed because it ends, so it will be gone at once; if not, launch kills it
	select {
	case <-m.proc.gone:
		if last := lastWords(g.dir); last != "" {
			return fault.Unavailable("guest %s did not start: %s", g.id, last).WithCause(err)
		}
		return fault.Unavailable("guest %s did not start: qemu ended with %s", g.id, m.proc.how).WithCause(err)
	default:
		return fault.Unavailable("guest %s did not start", g.id).WithCause(err)
	}
}

// openConsole opens the console log for appending. At a start no process writes it, so its head can go for good.
func (d *Driver) openConsole(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, hypervisor.ConsoleFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := d.shorten(dir); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
