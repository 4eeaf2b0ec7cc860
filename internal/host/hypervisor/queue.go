package hypervisor

import (
	"context"
	"sync"
)

// EventQueue feeds a channel from puts that never wait. One goroutine, ended by Close.
type EventQueue struct {
	out   chan Event
	stop  chan struct{}
	ended chan struct{}
	ready chan struct{} // buffered 1

	mu     sync.Mutex
	queue  []Event
	closed bool
}

// NewEventQueue starts a queue.
func NewEventQueue() *EventQueue {
	q := &EventQueue{out: make(chan Event), stop: make(chan struct{}), ended: make(chan struct{}), ready: make(chan struct{}, 1)}
	go q.run()
	return q
}

// C is the channel; Close closes it.
func (q *EventQueue) C() <-chan Event { return q.out }

// Put adds an event. After Close it does nothing.
func (q *EventQueue) Put(e Event) {
	q.mu.Lock()
	q.queue = append(q.queue, e)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// Close ends the goroutine; events not read are dropped. It may be called twice.
func (q *EventQueue) Close() {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.stop)
	}
	q.mu.Unlock()
	<-q.ended
}

func (q *EventQueue) run() {
	defer close(q.ended)
	defer close(q.out)
	for {
		select {
		case <-q.ready:
		case <-q.stop:
			return
		}
		q.mu.Lock()
		batch := q.queue
		q.queue = nil
		q.mu.Unlock()
		for _, e := range batch {
			select {
			case q.out <- e:
			case <-q.stop:
				return
			}
		}
	}
}

// Locks serialises the verbs on each guest. The zero value is ready.
type Locks struct {
	mu   sync.Mutex
	held map[string]*guestLock
}

type guestLock struct {
	token chan struct{} // buffered 1
	users int           // holders and waiters; the last one removes the entry. Guarded by Locks.mu
}

// Lock waits for the guest's turn or the end of ctx.
func (l *Locks) Lock(ctx context.Context, id string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*guestLock{}
	}
	g := l.held[id]
	if g == nil {
		g = &guestLock{token: make(chan struct{}, 1)}
		l.held[id] = g
	}
	g.users++
	l.mu.Unlock()
	leave := func() {
		l.mu.Lock()
		if g.users--; g.users == 0 {
			delete(l.held, id)
		}
		l.mu.Unlock()
	}
	select {
	case g.token <- struct{}{}:
		return func() { <-g.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}
