package api

import (
	"context"
	"sync"

	"nephos/internal/compute"
	"nephos/internal/db"
)

// seenMost bounds the servers that are remembered.
const seenMost = 4096

// seen remembers servers as they were last shown, with what lies around them, for as long as nothing has been written to the tables they come from: clients ask for the same server
// again and again until it is ACTIVE, and then dashboards do. What it gives is shared and never changed. On a database that others write to it remembers nothing.
type seen struct {
	mu      sync.Mutex // guards what follows; never held across SQL
	version uint64
	servers map[string]shown
}

type shown struct {
	server *compute.Server
	around related
}

// seenTables are those that a server's full view is read from.
var seenTables = []string{"servers", "block_devices", "ports", "ip_allocations", "port_security_groups", "security_groups", "networks", "floating_ips"}

// get gives a server from memory or by read.
func (c *seen) get(ctx context.Context, d *db.DB, id string, read func(tx *db.Tx) (*compute.Server, related, error)) (*compute.Server, related, error) {
	version, alone := d.Version(seenTables...) // before the read: a commit in between makes what is kept old at once
	if alone {
		c.mu.Lock()
		if c.servers == nil || c.version != version || len(c.servers) >= seenMost {
			c.servers, c.version = map[string]shown{}, version
		}
		s, ok := c.servers[id]
		c.mu.Unlock()
		if ok {
			return s.server, s.around, nil
		}
	}
	var s shown
	err := d.Read(ctx, func(tx *db.Tx) (err error) {
		s.server, s.around, err = read(tx)
		return err
	})
	if err == nil && alone {
		c.mu.Lock()
		if c.version == version {
			c.servers[id] = s
		}
		c.mu.Unlock()
	}
	return s.server, s.around, err
}
