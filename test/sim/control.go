package sim

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"

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
	name    string
	life    int // how many of that name there have been
	base    *db.DB
	wire    *wire
	log     *slog.Logger
	dir     string
	private string // range of the first shared network; empty: a small one
	node    *node  // nil while it is dead
	own     *db.DB
	rooms   *app.Rooms
	halt    func()
}

// ready makes the rooms without running them.
func (c *control) ready() error {
	c.life++
	c.node, c.own = c.wire.join(c.name), c.base.Share()
	var err error
	var n atomic.Uint64
	cfg := settings(filepath.Join(c.dir, "shared"))
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return err
	}
	if c.private != "" {
		cfg.Network.Private = c.private
	}
	c.rooms, err = app.NewRooms(app.Parts{Config: cfg, Log: c.log, DB: c.own, Bus: c.node, External: external,
		Chance: func() uint64 { return c.wire.draw(fmt.Sprintf("%s/%d/chance %d", c.name, c.life, n.Add(1))) }})
	return err
}

func (c *control) start(ctx context.Context) error {
	if err := c.ready(); err != nil {
		return err
	}
	return c.run(ctx)
}

// run runs rooms that are ready.
func (c *control) run(ctx context.Context) (err error) {
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
