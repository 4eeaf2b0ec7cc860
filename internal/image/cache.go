package image

import (
	"maps"
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
	held  map[string]time.Time // not to be answered from memory before that time: a write is under way
}

// holdFor bounds a hold whose transaction was rolled back; one that commits ends it by forget.
const holdFor = 5 * time.Second

// hold keeps an image out of memory while a transaction changes it: whoever has seen something else that the transaction did, a task that ended, must not
// then read the image as it was.
func (c *cache) hold(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	delete(c.items, id)
	if c.held == nil {
		c.held = map[string]time.Time{}
	}
	if len(c.held) > cacheMost { // rolled back, all but a few
		maps.DeleteFunc(c.held, func(_ string, until time.Time) bool { return time.Now().After(until) })
	}
	c.held[id] = time.Now().Add(holdFor)
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

// put keeps a record that has its bytes. One without changes soon, and maybe in another controller: who waits for the bytes must not be told of yesterday.
func (c *cache) put(img Image, gen uint64) {
	if !img.Status.HasData() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if until, ok := c.held[img.ID]; c.gen != gen || ok && time.Now().Before(until) {
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
	delete(c.held, id)
}
