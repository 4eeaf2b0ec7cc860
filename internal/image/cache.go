package image

import (
	"sync"
	"time"
)

const cacheMost = 4096 // records; beyond it the cache starts anew

// cache keeps whole records for the boot path. gen makes a loaded record unusable for the cache when anything was forgotten since the
// load began, so that a read that started before a commit cannot put the old record back after it.
type cache struct {
	ttl time.Duration // 0: for ever, because this process is the only writer

	mu    sync.Mutex
	gen   uint64
	items map[string]cached
}

type cached struct {
	img   Image
	until time.Time
}

func (c *cache) get(id string) (Image, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	x, ok := c.items[id]
	if !ok || c.ttl > 0 && time.Now().After(x.until) {
		return Image{}, false
	}
	return x.img, true
}

func (c *cache) begin() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gen
}

func (c *cache) put(img Image, gen uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen != gen {
		return
	}
	if c.items == nil || len(c.items) >= cacheMost {
		c.items = map[string]cached{}
	}
	c.items[img.ID] = cached{img, time.Now().Add(c.ttl)}
}

func (c *cache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	delete(c.items, id)
}
