package fake

import (
	"context"
	"encoding/json"

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

// Take implements hypervisor.Driver: the stream is the record of the guest, followed by a line end.
func (d *Driver) Take(ctx context.Context, id, name string, accept hypervisor.Accept) error {
	switch name {
	case hypervisor.GoStream:
		return hypervisor.Go(ctx, d, id, accept)
	case hypervisor.MemoryStream:
	default:
		return fault.NotFound("guest %s awaits no %s", id, name)
	}
	ended, err := d.begin(id)
	if err != nil {
		return err
	}
	defer ended()
	conn, err := accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	var came record
	if err := json.NewDecoder(conn).Decode(&came); err != nil {
		return fault.Unavailable("guest %s: its stream broke off", id).WithCause(err)
	}
	return d.do(ctx, Take, id, "", func(r *record) (*record, error) {
		if r == nil || r.Why != waitsWhy {
			return nil, fault.NotFound("guest %s is not awaited here", id)
		}
		d.nextPID++
		r.Power, r.PID, r.Why, r.Console, r.Came = hostapi.PowerPaused, d.nextPID, "came from another host", came.Console, true
		r.print("fake guest " + id + " goes on here\n")
		return r, nil
	})
}

// begin notes that a guest comes, for Arrived; one comes at a time.
func (d *Driver) begin(id string) (ended func(), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.coming[id] != nil {
		return nil, fault.Conflict("guest %s comes already", id)
	}
	if d.coming == nil {
		d.coming = map[string]chan struct{}{}
	}
	done := make(chan struct{})
	d.coming[id] = done
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.coming, id)
		close(done)
	}, nil
}

// Arrived implements hypervisor.Driver. While a guest comes it waits.
func (d *Driver) Arrived(ctx context.Context, id string, run bool) error {
	d.mu.Lock()
	coming := d.coming[id]
	d.mu.Unlock()
	if coming != nil {
		select {
		case <-coming:
		case <-ctx.Done():
			return fault.Unavailable("guest %s is still coming", id).WithCause(context.Cause(ctx))
		}
	}
	return d.do(ctx, Arrived, id, "", func(r *record) (*record, error) {
		switch {
		case r != nil && r.Came && !r.status().Running():
			return r, nil // it came, and has ended since
		case r == nil || !r.status().Running():
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
	ran := r.Power == hostapi.PowerRunning
	conn, err := s.Dial(ctx, hypervisor.MemoryStream)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() }) // given up in the middle
	defer stop()
	// As QEMU's, the sending is done when the last byte is on its way: whether it has come the other side alone knows.
	if _, err := conn.Write(append(whole, '\n')); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return fault.Unavailable("guest %s: its stream broke off", id).WithCause(err)
	}
	if err := d.leave(id); err != nil || !ran {
		return err
	}
	if conn, err := s.Dial(ctx, hypervisor.GoStream); err == nil { // else who asks Arrived has it run
		conn.Close()
	}
	return nil
}

// leave notes that a guest is not here any more.
func (d *Driver) leave(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.guests[id]
	if r == nil {
		return absent(id)
	}
	r.Power, r.PID, r.Why = hostapi.PowerShutdown, 0, sentWhy
	return d.keep(id, r)
}

// Sent implements hypervisor.Driver.
func (d *Driver) Sent(_ context.Context, id string) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.guests[id]
	return r != nil && r.Why == sentWhy, nil
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
