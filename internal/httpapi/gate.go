package httpapi

import (
	"context"
	"sync"
	"time"
)

// gate lets a bounded number of requests work at once. Whoever finds it full waits in the queue of its own key; keys take turns, so that one caller's
// thousand requests do not stand before another's first. A key never has more than perKey places, so that what one caller's slow
// answers hold is never all of them.
//
// It has no goroutine: who leaves hands the place over.
type gate struct {
	perKey   int           // places of one key
	waiters  int           // all who may wait
	patience time.Duration // how long one waits

	mu      sync.Mutex
	free    int
	held    map[string]int
	queues  map[string][]*waiter // in order of arrival
	turns   []string             // keys with waiters; the first is next
	waiting int
}

// waiter is one request in a queue. ready is closed under the gate's lock; admitted says what it means.
type waiter struct {
	ready    chan struct{}
	admitted bool
}

func newGate(places, perKey, waiters int, patience time.Duration) *gate {
	return &gate{perKey: max(1, min(perKey, places)), waiters: waiters, patience: patience, free: places, held: map[string]int{}, queues: map[string][]*waiter{}}
}

// enter takes a place; leave must follow when it says true. False: the queue is full, the wait too long, or ctx over.
func (g *gate) enter(ctx context.Context, key string) bool {
	g.mu.Lock()
	if g.free > 0 && g.held[key] < g.perKey && len(g.queues[key]) == 0 {
		g.free--
		g.held[key]++
		g.mu.Unlock()
		return true
	}
	if g.waiting >= g.waiters && !g.shed(key) {
		g.mu.Unlock()
		return false
	}
	w := &waiter{ready: make(chan struct{})}
	if len(g.queues[key]) == 0 {
		g.turns = append(g.turns, key)
	}
	g.queues[key] = append(g.queues[key], w)
	g.waiting++
	g.mu.Unlock()
	timer := time.NewTimer(g.patience)
	defer timer.Stop()
	select {
	case <-w.ready:
		return w.admitted
	case <-timer.C:
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.ready: // between the end of the wait and the lock
		if w.admitted {
			g.give(key)
		}
	default:
		g.drop(key, w)
	}
	return false
}

// leave gives the place to the next in turn.
func (g *gate) leave(key string) {
	g.mu.Lock()
	g.give(key)
	g.mu.Unlock()
}

func (g *gate) give(key string) {
	g.free++
	if g.held[key]--; g.held[key] == 0 {
		delete(g.held, key)
	}
	for i := 0; i < len(g.turns) && g.free > 0; {
		k := g.turns[i]
		if g.held[k] >= g.perKey {
			i++ // it has its share; the next key's turn
			continue
		}
		w := g.queues[k][0]
		g.turns = append(g.turns[:i], g.turns[i+1:]...)
		if rest := g.queues[k][1:]; len(rest) > 0 {
			g.queues[k] = rest
			g.turns = append(g.turns, k)
		} else {
			delete(g.queues, k)
		}
		g.waiting--
		g.free--
		g.held[k]++
		w.admitted = true
		close(w.ready)
	}
}

// shed makes room in a full queue for key by refusing the newest waiter of the key that has most, if that is more than key's own.
func (g *gate) shed(key string) bool {
	longest, most := "", len(g.queues[key])+1
	for k, q := range g.queues {
		if len(q) > most {
			longest, most = k, len(q)
		}
	}
	if longest == "" {
		return false
	}
	q := g.queues[longest]
	last := q[len(q)-1]
	g.drop(longest, last)
	close(last.ready)
	return true
}

// drop takes a waiter out of its queue.
func (g *gate) drop(key string, w *waiter) {
	q := g.queues[key]
	for i := range q {
		if q[i] != w {
			continue
		}
		g.queues[key] = append(q[:i:i], q[i+1:]...)
		g.waiting--
		break
	}
	if len(g.queues[key]) > 0 {
		return
	}
	delete(g.queues, key)
	for i, k := range g.turns {
		if k == key {
			g.turns = append(g.turns[:i], g.turns[i+1:]...)
			return
		}
	}
}

// pool is memory that requests may hold, in bytes; one key never more than half.
type pool struct {
	size int64

	mu   sync.Mutex
	used int64
	held map[string]int64
}

func newPool(size int64) *pool { return &pool{size: size, held: map[string]int64{}} }

// take reserves n bytes, or nothing.
func (p *pool) take(key string, n int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used+n > p.size || p.held[key]+n > p.size/2 {
		return false
	}
	p.used += n
	p.held[key] += n
	return true
}

// put gives n bytes back.
func (p *pool) put(key string, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= n
	if p.held[key] -= n; p.held[key] <= 0 {
		delete(p.held, key)
	}
}
