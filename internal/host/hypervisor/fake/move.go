package fake

import (
	"context"
	"encoding/json"
	"net"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// sentWhy marks the record of a guest that has left.
const (
	sentWhy  = "sent to another host"
	waitsWhy = "waits for a guest"
)

// Await implements hypervisor.Driver.
func (d *Driver) Await(ctx context.Context, g hypervisor.Guest) error {
	g, err := g.Resolved()
	if err != nil {
		return err
	}
	return d.doWith(ctx, Await, g.ID, g.Name, taps(ctx, g), func(r *record) (*record, error) {
		if r != nil && (r.status().Running() || r.Why == waitsWhy) {
			return r, nil
		}
		n := &record{ID: g.ID}
		n.fill(g)
		n.Power, n.Why = hostapi.PowerNone, waitsWhy
		return n, nil
	})
}

// Take implements hypervisor.Driver: the stream is the record of the guest, answered with a byte when it runs.
func (d *Driver) Take(ctx context.Context, id, name string, conn net.Conn) error {
	if name != hypervisor.MemoryStream && name != hypervisor.PausedStream {
		return fault.NotFound("guest %s awaits no %s", id, name)
	}
	var came record
	if err := json.NewDecoder(conn).Decode(&came); err != nil {
		return fault.Unavailable("guest %s: its stream broke off", id).WithCause(err)
	}
	err := d.do(ctx, Take, id, "", func(r *record) (*record, error) {
		if r == nil || r.Why != waitsWhy {
			return nil, fault.NotFound("guest %s is not awaited here", id)
		}
		d.nextPID++
		r.Power, r.PID, r.Why, r.Console = came.Power, d.nextPID, "came from another host", came.Console
		r.print("fake guest " + id + " goes on here\n")
		return r, nil
	})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte{1})
	return err
}

// Arrived implements hypervisor.Driver.
func (d *Driver) Arrived(ctx context.Context, id string, run bool) error {
	return d.do(ctx, Arrived, id, "", func(r *record) (*record, error) {
		if r == nil || !r.status().Running() {
			return nil, fault.NotFound("guest %s has not come", id)
		}
		if run {
			r.Power = hostapi.PowerRunning
		}
		return r, nil
	})
}

// Send implements hypervisor.Driver. The scripted delay is the time that the sending takes, in which it can be given up or hurried.
func (d *Driver) Send(ctx context.Context, id string, s hypervisor.Sending) error {
	d.mu.Lock()
	r := d.guests[id]
	if r != nil && r.Why == sentWhy {
		d.mu.Unlock()
		return nil
	}
	if err := live(id, r); err != nil {
		d.mu.Unlock()
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	hurry := make(chan struct{}, 1)
	if d.sending == nil {
		d.sending = map[string]*sending{}
	}
	d.sending[id] = &sending{cancel, hurry}
	whole, err := json.Marshal(r)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.sending, id)
		d.mu.Unlock()
	}()
	if err != nil {
		return err
	}
	if s.Progress != nil {
		s.Progress(hostapi.MoveProgress{MemoryTotal: 1 << 30, MemoryProcessed: 1 << 29, MemoryRemaining: 1 << 29})
	}
	e := d.cfg.Script.take(Send, id, "")
	wctx, done := context.WithCancel(ctx)
	go func() { // ends with done
		select {
		case <-hurry:
			done()
		case <-wctx.Done():
		}
	}()
	_ = wait(wctx, e.delay) // ended early: hurried or given up
	done()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if e.err != nil {
		return e.err
	}
	name := hypervisor.MemoryStream
	if r.Power == hostapi.PowerPaused {
		name = hypervisor.PausedStream
	}
	conn, err := s.Dial(ctx, name)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(whole); err != nil {
		return fault.Unavailable("guest %s: its stream broke off", id).WithCause(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return fault.Unavailable("guest %s: the other host did not take it", id).WithCause(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r = d.guests[id]
	if r == nil {
		return absent(id)
	}
	r.Power, r.PID, r.Why = hostapi.PowerShutdown, 0, sentWhy
	return d.keep(id, r)
}

// sending is a Send under way.
type sending struct {
	cancel context.CancelCauseFunc
	hurry  chan struct{}
}

// AbortSend implements hypervisor.Driver.
func (d *Driver) AbortSend(_ context.Context, id string) error {
	return d.reach(id, func(s *sending) { s.cancel(fault.Conflict("%s", hostapi.AbortedMove)) })
}

// HurrySend implements hypervisor.Driver.
func (d *Driver) HurrySend(_ context.Context, id string) error {
	return d.reach(id, func(s *sending) {
		select {
		case s.hurry <- struct{}{}:
		default:
		}
	})
}

func (d *Driver) reach(id string, act func(*sending)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sending[id]
	if s == nil {
		return fault.Conflict("guest %s is not being sent", id)
	}
	act(s)
	return nil
}
