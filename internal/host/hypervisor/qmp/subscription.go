package qmp

import (
	"context"
	"sync"
)

// Subscription gets every event from its making to its end, in order, none lost. It belongs to one goroutine.
type Subscription struct {
	client *Client
	names  map[string]bool // nil: all

	mu    sync.Mutex
	queue []Event
	ended bool
	ready chan struct{} // buffered 1: something changed
}

// Subscribe starts to collect the named events (none named: all). Subscribe before the command whose event is awaited. Close it.
func (c *Client) Subscribe(names ...string) *Subscription {
	s := &Subscription{client: c, ready: make(chan struct{}, 1)}
	if len(names) > 0 {
		s.names = make(map[string]bool, len(names))
		for _, n := range names {
			s.names[n] = true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs == nil || c.err != nil {
		s.ended = true
		s.ready <- struct{}{}
	} else {
		c.subs[s] = true
	}
	return s
}

// Next waits for an event. When the connection has ended it first gives what had come before, then the connection's error.
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		s.mu.Lock()
		if len(s.queue) > 0 {
			e := s.queue[0]
			s.queue = s.queue[1:]
			s.mu.Unlock()
			return e, nil
		}
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return Event{}, s.client.Err()
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		}
	}
}

// Close stops collecting.
func (s *Subscription) Close() {
	s.client.mu.Lock()
	delete(s.client.subs, s)
	s.client.mu.Unlock()
}

func (s *Subscription) put(e Event) bool {
	if s.names != nil && !s.names[e.Name] {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) >= MaxQueued {
		return false
	}
	s.queue = append(s.queue, e)
	s.wake()
	return true
}

func (s *Subscription) finish() {
	s.mu.Lock()
	s.ended = true
	s.wake()
	s.mu.Unlock()
}

func (s *Subscription) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}
