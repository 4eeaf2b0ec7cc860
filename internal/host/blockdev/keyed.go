package blockdev

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// keyed is a set of mutexes by name. A mutex exists only while someone holds or waits for it.
type keyed struct {
	mu   sync.Mutex
	held map[string]*keyLock // guarded by mu
}

type keyLock struct {
	token chan struct{} // holds one value while free
	users int           // guarded by keyed.mu
}

// lock takes all names, in sorted order so that two callers cannot wait for each other; names that end in "/" (an empty id) and
// repeats are skipped. It gives up with ctx.
func (k *keyed) lock(ctx context.Context, names ...string) (unlock func(), err error) {
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(n string) bool { return strings.HasSuffix(n, "/") })
	var taken []string
	release := func() {
		for _, n := range taken {
			k.leave(n, true)
		}
	}
	for _, n := range names {
		l := k.enter(n)
		select {
		case <-l.token:
			taken = append(taken, n)
		case <-ctx.Done():
			k.leave(n, false)
			release()
			return nil, ctx.Err()
		}
	}
	return release, nil
}

func (k *keyed) enter(name string) *keyLock {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.held[name]
	if l == nil {
		if k.held == nil {
			k.held = map[string]*keyLock{}
		}
		l = &keyLock{token: make(chan struct{}, 1)}
		l.token <- struct{}{}
		k.held[name] = l
	}
	l.users++
	return l
}

func (k *keyed) leave(name string, holding bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.held[name]
	if holding {
		l.token <- struct{}{}
	}
	if l.users--; l.users == 0 {
		delete(k.held, name)
	}
}
