package hypervisortest

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// road carries streams from one driver to another over loopback, as two agents do.
type road struct {
	t      *testing.T
	to     World
	id     string
	closed string // the stream that does not get through; others do

	mu    sync.Mutex
	names []string
	taken sync.WaitGroup
}

func (r *road) dial(ctx context.Context, name string) (net.Conn, error) {
	r.mu.Lock()
	r.names = append(r.names, name)
	r.mu.Unlock()
	if name == r.closed {
		return nil, errors.New("no way through")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	here, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	there, err := l.Accept()
	if err != nil {
		return nil, err
	}
	answer := make(chan error, 2)
	r.taken.Go(func() {
		err := r.to.Driver().Take(r.t.Context(), r.id, name, func() (net.Conn, error) {
			answer <- nil
			return there, nil
		})
		if err != nil {
			r.t.Logf("%s: %v", name, err)
		}
		answer <- err
	})
	if err := <-answer; err != nil {
		return nil, errors.Join(err, here.Close(), there.Close())
	}
	return here, nil
}

// moving has guests go from one driver to another.
func moving(t *testing.T, from, to World) {
	there := func(r *road, id string, want hostapi.PowerState) {
		t.Helper()
		r.taken.Wait()
		is(t, to, id, want)
	}
	begin := func(closed string) (hypervisor.Guest, *road) {
		t.Helper()
		g := started(t, from, from.Bare(t))
		kind(t, to.Driver().Arrived(ctx(t), g.ID, true), fault.KindNotFound)
		ok(t, to.Driver().Await(ctx(t), g))
		ok(t, to.Driver().Await(ctx(t), g))
		kind(t, to.Driver().Arrived(ctx(t), g.ID, true), fault.KindNotFound)
		return g, &road{t: t, to: to, id: g.ID, closed: closed}
	}
	sent := func(id string, want bool) {
		t.Helper()
		if gone, err := from.Driver().Sent(ctx(t), id); err != nil || gone != want {
			t.Fatalf("sent %v (%v), want %v", gone, err, want)
		}
	}
	done := func(id string) {
		t.Helper()
		ok(t, from.Driver().Destroy(ctx(t), id))
		ok(t, to.Driver().Destroy(ctx(t), id))
	}

	g, r := begin("")
	sent(g.ID, false)
	ok(t, from.Driver().Send(ctx(t), g.ID, hypervisor.Sending{Dial: r.dial}))
	sent(g.ID, true)
	there(r, g.ID, hostapi.PowerRunning)
	ok(t, to.Driver().Arrived(ctx(t), g.ID, true))
	if s, err := from.Driver().Status(ctx(t), g.ID); err != nil || s.Running() && s.Power == hostapi.PowerRunning {
		t.Fatalf("the guest that left is %+v (%v)", s, err)
	}
	done(g.ID)

	// The word that it may go on is lost: it stands still, until somebody asks; or it goes on where it was.
	for _, back := range []bool{false, true} {
		g, r = begin(hypervisor.GoStream)
		ok(t, from.Driver().Send(ctx(t), g.ID, hypervisor.Sending{Dial: r.dial}))
		sent(g.ID, true)
		there(r, g.ID, hostapi.PowerPaused)
		ok(t, from.Driver().Send(ctx(t), g.ID, hypervisor.Sending{Dial: r.dial}))
		if back {
			ok(t, to.Driver().Destroy(ctx(t), g.ID))
			ok(t, from.Driver().Start(ctx(t), g))
			is(t, from, g.ID, hostapi.PowerRunning)
			sent(g.ID, false)
		} else {
			ok(t, to.Driver().Arrived(ctx(t), g.ID, true))
			is(t, to, g.ID, hostapi.PowerRunning)
		}
		done(g.ID)
	}

	// A paused one stays paused, and nobody tells it to go.
	g, r = begin("")
	ok(t, from.Driver().Pause(ctx(t), g.ID))
	ok(t, from.Driver().Send(ctx(t), g.ID, hypervisor.Sending{Dial: r.dial}))
	there(r, g.ID, hostapi.PowerPaused)
	ok(t, to.Driver().Arrived(ctx(t), g.ID, false))
	is(t, to, g.ID, hostapi.PowerPaused)
	for _, n := range r.names {
		if n == hypervisor.GoStream {
			t.Error("a paused guest was told to go")
		}
	}
	done(g.ID)

	// The stream breaks off: it is here, as it was.
	g, r = begin(hypervisor.MemoryStream)
	if err := from.Driver().Send(ctx(t), g.ID, hypervisor.Sending{Dial: r.dial}); err == nil {
		t.Fatal("sent over a connection that there was none of")
	}
	sent(g.ID, false)
	is(t, from, g.ID, hostapi.PowerRunning)
	kind(t, to.Driver().Arrived(ctx(t), g.ID, true), fault.KindNotFound)
	done(g.ID)
}
