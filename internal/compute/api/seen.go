package api

import (
	"context"
	"encoding/json"
	"sync"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/httpapi"
)

const (
	seenMost  = 4096 // servers that are remembered
	formsMost = 16   // forms of one server that are remembered
)

// seen remembers servers as they were last shown, with what lies around them and the bytes that clients got, for as long as nothing has been written to the tables they come from:
// clients ask for the same server again and again until it is ACTIVE, and then dashboards do. What it gives is shared and never changed. On a database that others write to it
// remembers nothing.
type seen struct {
	mu      sync.Mutex // guards what follows, and the forms of each server; never held across SQL
	version uint64
	servers map[string]*shown
}

type shown struct {
	server *compute.Server
	around related
	forms  map[form]json.RawMessage
}

// form is all that a server's view depends on but the server: how the client asked, what it may see, and what the registry of hosts says.
type form struct {
	version    httpapi.Version
	link       string
	sight      sight
	task, host string
}

// seenTables are those that a server's full view is read from.
var seenTables = []string{"servers", "block_devices", "ports", "ip_allocations", "port_security_groups", "security_groups", "networks", "floating_ips"}

// get gives a server from memory or by read.
func (c *seen) get(ctx context.Context, d *db.DB, id string, read func(tx *db.Tx) (*compute.Server, related, error)) (*shown, error) {
	version, alone := d.Version(seenTables...) // before the read: a commit in between makes what is kept old at once
	if alone {
		c.mu.Lock()
		if c.servers == nil || c.version != version || len(c.servers) >= seenMost {
			c.servers, c.version = map[string]*shown{}, version
		}
		s, ok := c.servers[id]
		c.mu.Unlock()
		if ok {
			return s, nil
		}
	}
	s := &shown{}
	if alone {
		s.forms = map[form]json.RawMessage{}
	}
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
	return s, err
}

// render gives a server in a form from memory or by write.
func (c *seen) render(s *shown, how form, write func() (json.RawMessage, error)) (json.RawMessage, error) {
	c.mu.Lock()
	out, ok := s.forms[how]
	c.mu.Unlock()
	if ok {
		return out, nil
	}
	out, err := write()
	if err == nil {
		c.mu.Lock()
		if s.forms != nil && len(s.forms) < formsMost {
			s.forms[how] = out
		}
		c.mu.Unlock()
	}
	return out, err
}
