package app

import (
	"context"
	"sync"
	"time"
)

// lives knows which agent speaks for each host now, by when it was started. Whoever waits for an answer of an agent is let go as soon as another one is heard: the
// first took the request with it when it died, and its answer will never come.
type lives struct {
	// recorded is what an earlier controller wrote down of a host, for one that has not been heard here yet: its agent may die before that.
	recorded func(host string) (time.Time, bool)

	mu    sync.Mutex
	since map[string]time.Time
	waits map[string]map[*context.CancelFunc]bool // by host; those who wait
}

func newLives() *lives {
	return &lives{since: map[string]time.Time{}, waits: map[string]map[*context.CancelFunc]bool{}}
}

// heard notes a heartbeat.
func (l *lives) heard(host string, started time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, known := l.since[host]
	if !known && l.recorded != nil {
		before, known = l.recorded(host)
	}
	l.since[host] = started
	if !known || before.Equal(started) {
		return
	}
	for cancel := range l.waits[host] {
		(*cancel)()
	}
}

// within gives a context that also ends when another agent speaks for the host; end must be called.
func (l *lives) within(ctx context.Context, host string) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waits[host] == nil {
		l.waits[host] = map[*context.CancelFunc]bool{}
	}
	l.waits[host][&cancel] = true
	return ctx, func() {
		cancel()
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.waits[host], &cancel)
	}
}
