package identity

import (
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"nephos/internal/fault"
)

// Failed log-ins of one name: so many at once, then one more each pause. Good ones cost nothing.
const (
	throttleBurst = 20
	throttlePause = 500 * time.Millisecond
	throttleKeys  = 16384 // names that are remembered; the oldest are forgotten first
)

// throttle slows the guessing of passwords down before any hash is computed. It counts by what the client called the user (and where from),
// known or not, so it tells nothing about who exists. It is this process's own; the lockout rule is the cloud's.
type throttle struct {
	clock clockwork.Clock

	mu         sync.Mutex // guards young and old
	young, old map[string]bucket
}

// bucket is a full one at the zero value.
type bucket struct {
	used int
	at   time.Time
}

func newThrottle(clock clockwork.Clock) *throttle {
	return &throttle{clock: clock, young: map[string]bucket{}, old: map[string]bucket{}}
}

// now gives the bucket with what has flowed back into it. The caller holds mu.
func (t *throttle) now(key string) bucket {
	b, ok := t.young[key]
	if !ok {
		b = t.old[key]
	}
	now := t.clock.Now()
	if back := int(now.Sub(b.at) / throttlePause); back > 0 {
		b.used = max(0, b.used-back)
		b.at = now
	}
	return b
}

// admit says 429 if too many log-ins with key have failed of late. An attempt is charged at once, so that many side by side are not
// free; forget takes the charge back.
func (t *throttle) admit(key string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.now(key)
	if b.used >= throttleBurst {
		return fault.New(fault.KindRateLimited, "Too many failed log-ins: try again in a moment.")
	}
	b.used++
	if len(t.young) >= throttleKeys/2 {
		t.young, t.old = map[string]bucket{}, t.young
	}
	t.young[key] = b
	return nil
}

// forget gives one charge back: the attempt was a good one, or never judged.
func (t *throttle) forget(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b := t.now(key); b.used > 0 {
		b.used--
		t.young[key] = b
	}
}

// throttleKey is how a client names a user and where it is.
func throttleKey(r UserRef, from string) string {
	return r.ID + "\x00" + r.Name + "\x00" + r.Domain.ID + "\x00" + r.Domain.Name + "\x00" + from
}
