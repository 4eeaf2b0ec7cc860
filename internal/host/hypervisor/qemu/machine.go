package qemu

import (
	"context"
	"fmt"
	"nephos/internal/fault"
	"os"
	"sync/atomic"
	"time"

	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
	"nephos/internal/hostapi"
)

// machine is one running QEMU.
type machine struct {
	proc    *process
	client  *qmp.Client       // nil: an adopted guest whose monitor does not answer
	sub     *qmp.Subscription // the watcher's
	paused  atomic.Bool       // set by the monitor's reader, so true to every reply
	ending  atomic.Bool       // it stands because it has ended, not because it is paused
	asked   atomic.Bool       // a verb wants it to end: no Event
	unfed   bool              // its watchdog powers it off; set before its watcher starts
	halting bool              // its watchdog pauses it: the STOP is still to come; the watcher's
	ended   chan struct{}     // closed by the watcher when the guest's record tells the end
	coming  *arrival          // of a process that was started to wait for a guest; set before anybody else knows the machine
	rebirth chan struct{}     // buffered 1: the watcher has started the guest again after a soft reboot
}

func newMachine(p *process) *machine {
	return &machine{proc: p, ended: make(chan struct{}), rebirth: make(chan struct{}, 1)}
}

// attach gives the machine its monitor, before its watcher starts.
func (m *machine) attach(c *qmp.Client, unfed bool) {
	m.client, m.unfed = c, unfed
	c.Notify(m.see)
	m.sub = c.Subscribe("SHUTDOWN", "GUEST_PANICKED", "WATCHDOG", "STOP")
}

// see follows what stop, cont and the guest do to the processors. It runs in the monitor's reader.
func (m *machine) see(e qmp.Event) {
	switch e.Name {
	case "SHUTDOWN", "GUEST_PANICKED":
		m.ending.Store(true)
	case "WATCHDOG": // its STOP comes after it
		m.ending.Store(m.unfed)
	case "STOP":
		m.paused.Store(!m.ending.Load())
	case "RESUME":
		m.ending.Store(false)
		m.paused.Store(false)
	}
}

// do sends one command and waits for its answer, for patience at most: no command works long before it answers (what takes long is a job), so one that is silent for
// that long is stopped, or stuck in the kernel, and whoever asked must hear so.
func (m *machine) do(ctx context.Context, command string, args, result any) error {
	bound, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := m.client.Execute(bound, command, args, result)
	if err != nil && bound.Err() != nil && ctx.Err() == nil {
		return fault.Conflict("QEMU does not answer %s within %v", command, patience)
	}
	return err
}

// release lets go without touching the guest.
func (m *machine) release() {
	if m.client != nil {
		m.client.Close()
	}
	m.proc.fd.Close()
}

// runState is what query-status calls it.
func (m *machine) runState(ctx context.Context) (string, error) {
	var s struct {
		Status string `json:"status"`
	}
	err := m.do(ctx, "query-status", nil, &s)
	return s.Status, err
}

// fdName is an argument of getfd.
type fdName struct {
	Name string `json:"fdname"`
}

// openScreen gives VNC its listening socket. The process could not bind one: it has no path.
func (m *machine) openScreen(ctx context.Context, dir *os.File) error {
	l, err := listen(dir, hypervisor.VNCSocket)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := m.client.ExecuteFiles(ctx, []*os.File{l}, "getfd", fdName{"screen"}, nil); err != nil {
		return err
	}
	type address struct {
		Type string `json:"type"`
		Str  string `json:"str"`
	}
	return m.do(ctx, "display-update", struct {
		Type      string    `json:"type"`
		Addresses []address `json:"addresses"`
	}{"vnc", []address{{"fd", "screen"}}}, nil)
}

// watch is the watcher goroutine of a guest: it follows the guest's events, sees it end, writes that down and tells. It ends with the
// process or with the driver.
func (d *Driver) watch(g *guest, m *machine) {
	if m.client != nil {
		for {
			e, err := m.sub.Next(d.background)
			if err != nil {
				break
			}
			d.follow(g, m, e)
		}
	}
	if d.background.Err() != nil {
		return
	}
	if m.client != nil {
		// The monitor is closed: QEMU is gone or of no use any more. After quit it needs a moment to close its files.
		if m.proc.waitGone(d.background, 10*time.Second) != nil && d.background.Err() == nil {
			m.proc.kill()
		}
	}
	select {
	case <-m.proc.gone:
	case <-d.background.Done():
		return
	}
	d.ended(g, m)
}

func (d *Driver) follow(g *guest, m *machine, e qmp.Event) {
	ctx, cancel := context.WithTimeout(d.background, patience)
	defer cancel()
	switch e.Name {
	case "GUEST_PANICKED":
		d.finish(ctx, g, m, phaseCrashed, "the guest's kernel panicked")
	case "WATCHDOG":
		var w struct {
			Action string `json:"action"`
		}
		if err := e.Decode(&w); err != nil {
			w.Action = err.Error()
		}
		d.cfg.Log.Info("the guest's watchdog was not fed", "guest", g.id, "action", w.Action)
		switch {
		case m.unfed:
			d.finish(ctx, g, m, phaseShutdown, unfedWhy)
		case w.Action == "pause":
			m.halting = true // it runs still: who heard of it now would find it running
		}
	case "STOP":
		if m.halting {
			m.halting = false
			d.tell(g.id, hostapi.PowerPaused, "stopped by its watchdog, which was not fed")
		}
	case "SHUTDOWN":
		var s struct {
			Guest  bool   `json:"guest"`
			Reason string `json:"reason"`
		}
		if err := e.Decode(&s); err != nil {
			s.Reason = err.Error()
		}
		switch {
		case s.Guest && g.record().Rebooting:
			d.reborn(ctx, g, m)
		case s.Guest:
			d.finish(ctx, g, m, phaseShutdown, "shut down from inside")
		case m.asked.Load():
			d.note(g, phaseShutdown, cutOff)
		default: // a signal or quit: QEMU ends by itself
			d.note(g, phaseShutdown, "ended by "+s.Reason)
		}
	}
}

// reborn turns the end of a soft reboot's shutdown into a start: QEMU stands in state "shutdown" and takes a reset.
func (d *Driver) reborn(ctx context.Context, g *guest, m *machine) {
	err := m.do(ctx, "system_reset", nil, nil)
	if err == nil {
		err = m.do(ctx, "cont", nil, nil)
	}
	if err == nil {
		err = g.change(false, func(r *record) { r.Rebooting, r.Why = false, "rebooted" })
	}
	if err != nil {
		d.cfg.Log.Error("soft reboot", "guest", g.id, "err", err)
		d.finish(ctx, g, m, phaseShutdown, "shut down for a reboot, which then did not work: "+err.Error())
		return
	}
	select {
	case m.rebirth <- struct{}{}:
	default:
	}
}

// note records an end before it comes, unless one is recorded already.
func (d *Driver) note(g *guest, p phase, why string) {
	err := g.change(false, func(r *record) {
		if r.Phase == phaseRunning || r.Phase == phaseStarting {
			r.Phase, r.Why = p, why
		}
	})
	if err != nil {
		d.cfg.Log.Error("guest's end not recorded", "guest", g.id, "err", err)
	}
}

// finish records how the guest ended and ends its process. A crash in between leaves a process that Adopt ends.
func (d *Driver) finish(ctx context.Context, g *guest, m *machine, p phase, why string) {
	d.note(g, p, why)
	if err := m.do(ctx, "quit", nil, nil); err != nil {
		m.proc.kill()
	}
}

// ended is the last act of a watcher.
func (d *Driver) ended(g *guest, m *machine) {
	why := "its process is gone"
	if m.proc.how != "" {
		why += " (" + m.proc.how + ")"
	}
	if last := lastWords(g.dir); last != "" {
		why += ": " + last
	}
	if m.asked.Load() {
		d.note(g, phaseShutdown, cutOff)
	}
	d.note(g, phaseCrashed, why)
	d.leavePlace(g.id) // before anybody can start it again
	d.dropGroup(g.id)
	g.mu.Lock()
	g.rec.PID, g.rec.Ticks, g.rec.Rebooting, g.rec.Frozen, g.rec.Place = 0, 0, false, false, place{}
	if err := writeRecord(g.dir, g.rec, false); err != nil {
		d.cfg.Log.Error("guest's end not recorded", "guest", g.id, "err", err)
	}
	g.vm = nil
	g.mu.Unlock()
	m.release()
	s := g.status()
	d.cfg.Log.Info("guest ended", "guest", g.id, "why", s.Why, "asked", m.asked.Load())
	if !m.asked.Load() {
		d.tell(g.id, s.Power, s.Why)
	}
	close(m.ended)
}

func (d *Driver) tell(id string, p hostapi.PowerState, why string) {
	d.events.Put(hypervisor.Event{ID: id, Power: p, Why: why, At: time.Now()})
}

// stop cuts the power and waits for the watcher to have recorded it. QEMU gets a moment to flush its qcow2 tables. It ignores the end of ctx for the short time that a kill
// takes: nobody may believe that a guest is gone while it still writes its disks.
func (d *Driver) stop(g *guest, m *machine) error {
	m.asked.Store(true)
	quit := func() error {
		if m.client == nil {
			return qmp.ErrClosed
		}
		ctx, cancel := context.WithTimeout(d.background, quitPatience)
		defer cancel()
		if err := m.do(ctx, "quit", nil, nil); err != nil {
			return err
		}
		return m.proc.waitGone(ctx, quitPatience)
	}
	if quit() != nil {
		m.proc.kill()
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-m.ended:
		return nil
	case <-d.background.Done():
	case <-t.C:
	}
	return fmt.Errorf("guest %s: process %d does not die", g.id, m.proc.pid)
}

const quitPatience = 5 * time.Second

// unfedWhy is the reason in Status of a guest whose watchdog powered it off.
const unfedWhy = "powered off by its watchdog, which was not fed"

// cutOff is the reason in Status of a guest that a verb ended.
const cutOff = "powered off"
