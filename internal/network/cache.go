package network

import (
	"context"
	"sync"
	"time"

	"nephos/internal/db"
	"nephos/internal/hostapi"
)

// cache keeps what POST /servers reads: networks with their subnets, the networks a project may use, and security groups. Any committed change of
// a network, subnet or group empties it (they are rare against boots). gen keeps a read that began before a commit from being kept
// after it. What is cached is a hint all the same: foreign keys refuse a port on what is gone.
type cache struct {
	ttl time.Duration // 0: for ever, because this process is the only writer

	mu       sync.Mutex
	gen      uint64
	since    time.Time
	nets     map[string]*netInfo                  // by id
	usable   map[string][]string                  // project → network ids for a server that names none
	defaults map[string]string                    // project → default group
	groups   map[string][]groupKey                // project → its groups
	rules    map[string]hostapi.SecurityGroupSpec // group → its rules, without members
}

type groupKey struct{ id, name string }

// netInfo is a network as servers need it. It is shared and never changed.
type netInfo struct {
	Network
	subnets []Subnet
	spec    hostapi.NetworkSpec
}

// fresh empties a cache that is too old. The caller holds mu.
func (c *cache) fresh() {
	if c.nets == nil || c.ttl > 0 && time.Since(c.since) > c.ttl {
		c.nets, c.usable, c.defaults, c.groups = map[string]*netInfo{}, map[string][]string{}, map[string]string{}, map[string][]groupKey{}
		c.rules = map[string]hostapi.SecurityGroupSpec{}
		c.since = time.Now()
		c.gen++
	}
}

func (c *cache) begin() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh()
	return c.gen
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nets = nil
	c.fresh()
}

func lookup[V any](c *cache, m func() map[string]V, key string) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh()
	v, ok := m()[key]
	return v, ok
}

const cacheMost = 20000 // entries of one map; beyond it the map starts anew

func keep[V any](c *cache, m func() map[string]V, key string, v V, gen uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen != gen {
		return
	}
	if len(m()) >= cacheMost {
		clear(m())
	}
	m()[key] = v
}

func (c *cache) netMap() map[string]*netInfo                   { return c.nets }
func (c *cache) usableMap() map[string][]string                { return c.usable }
func (c *cache) defaultMap() map[string]string                 { return c.defaults }
func (c *cache) groupMap() map[string][]groupKey               { return c.groups }
func (c *cache) ruleMap() map[string]hostapi.SecurityGroupSpec { return c.rules }
func (c *cache) defaultGroup(p string) (string, bool)          { return lookup(c, c.defaultMap, p) }
func (c *cache) putDefaultGroup(p, id string, gen uint64) {
	keep(c, c.defaultMap, p, id, gen)
}

// topologyChanged says that a network, subnet, group or rule changes with tx: it moves that part of the clock, by which documents know what they may share, and
// empties the cache after the commit.
func (s *Service) topologyChanged(ctx context.Context, tx *db.Tx) error {
	tx.OnCommit(s.cache.clear)
	_, err := tx.Exec(ctx, `UPDATE network_clock SET value = value + 1 WHERE shard = ?`, topologyShard)
	return err
}
