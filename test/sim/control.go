package sim

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"

	"nephos/internal/app"
	"nephos/internal/config"
	"nephos/internal/db"
)

// external is the range of the first external network; no packet ever goes there.
var external = netip.MustParsePrefix("198.51.100.0/24")

// settings are a controller's, small enough that capacity, quota and addresses run out.
func settings(dir string) *config.Config {
	cfg := config.Default()
	cfg.StateDir, cfg.Driver = dir, "fake"
	cfg.Identity.BcryptCost = 4
	cfg.Network.Private = "10.0.0.0/27"
	return &cfg
}

// control is one controller's process.
type control struct {
	name  string
	life  int // how many of that name there have been
	base  *db.DB
	wire  *wire
	log   *slog.Logger
	dir   string
	node  *node // nil while it is dead
	own   *db.DB
	rooms *app.Rooms
	halt  func()
}

// ready makes the rooms without running them.
func (c *control) ready() error {
	c.life++
	c.node, c.own = c.wire.join(c.name), c.base.Share()
	var err error
	n := uint64(0)
	c.rooms, err = app.NewRooms(app.Parts{Config: settings(filepath.Join(c.dir, "shared")), Log: c.log, DB: c.own, Bus: c.node, External: external,
		Chance: func() uint64 { n++; return c.wire.draw(fmt.Sprintf("%s/%d/chance %d", c.name, c.life, n)) }})
	return err
}

func (c *control) start(ctx context.Context) error {
	if err := c.ready(); err != nil {
		return err
	}
	var err error
	c.halt, err = c.rooms.Start(ctx)
	return err
}

// kill ends the process as SIGKILL does: what it has handed to the database is carried out, and nothing after.
func (c *control) kill() {
	if c.node == nil {
		return
	}
	c.own.Close()
	c.node.kill()
	if c.halt != nil {
		c.halt()
	}
	c.node.die()
	c.node, c.rooms = nil, nil
}
