package identity

import (
	"sync"
	"time"
)

// CacheAge is how long a validated token may be believed without another look at the database: the time in which other controllers
// notice a revocation.
const CacheAge = 5 * time.Second

// cacheEntries bounds the cache, in tokens; one takes about 1 KiB.
const cacheEntries = 16384

type cached struct {
	tok    *Token
	gen    uint64 // Service.gen before the look-up began
	loaded time.Time
}

// tokenCache is a map in two halves: when the young one is full it becomes the old one and the old one is forgotten. What is in use
// moves back to the young half, so a flood of tokens pushes out the idle ones first.
type tokenCache struct {
	half int

	mu         sync.RWMutex // guards young and old
	young, old map[string]cached
}

func newTokenCache(entries int) *tokenCache {
	return &tokenCache{half: max(entries/2, 1), young: map[string]cached{}, old: map[string]cached{}}
}

func (c *tokenCache) get(key string) (cached, bool) {
	c.mu.RLock()
	e, ok := c.young[key]
	if ok {
		c.mu.RUnlock()
		return e, true
	}
	e, ok = c.old[key]
	c.mu.RUnlock()
	if ok {
		c.put(key, e)
	}
	return e, ok
}

func (c *tokenCache) put(key string, e cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Two look-ups of one token may end out of order: the newer one stays.
	if have, ok := c.young[key]; ok && (have.gen > e.gen || have.gen == e.gen && have.loaded.After(e.loaded)) {
		return
	}
	if len(c.young) >= c.half {
		c.young, c.old = make(map[string]cached, c.half), c.young
	}
	c.young[key] = e
	delete(c.old, key)
}

func (c *tokenCache) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.young, key)
	delete(c.old, key)
}

func (c *tokenCache) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.young) + len(c.old)
}
