package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
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
func settings(dir, name string) *config.Config {
	cfg := config.Default()
	cfg.StateDir, cfg.SharedDir, cfg.Driver, cfg.Public = filepath.Join(dir, name), filepath.Join(dir, "shared"), "fake", cloudName
	cfg.Compute.ResizeConfirmSeconds = 45 // so that some resizes are confirmed by themselves, and none waits at the end
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
	uploads *http.Server
	served  chan struct{}
}

// ready makes the rooms without running them.
func (c *control) ready() error {
	c.life++
	c.node, c.own = c.wire.join(c.name), c.base.Share()
	var err error
	var n atomic.Uint64
	cfg := settings(c.dir, c.name)
	if err := errors.Join(os.MkdirAll(cfg.StateDir, 0o700), os.MkdirAll(cfg.SharedDir, 0o700)); err != nil {
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
	if c.halt, err = c.rooms.Start(ctx); err != nil {
		return err
	}
	srv, done := &http.Server{Handler: c.rooms.Uploads(), ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug)}, make(chan struct{})
	door := c.node.open(cloudName + cloudPort)
	c.uploads, c.served = srv, done
	go func() { // ended by kill, which waits for it
		defer close(done)
		_ = srv.Serve(door) // says only that it was closed
	}()
	return nil
}

// kill ends the process as SIGKILL does: what it has handed to the database is carried out, and nothing after.
func (c *control) kill() {
	if c.node == nil {
		return
	}
	c.own.Close()
	c.node.kill()
	if c.uploads != nil {
		c.uploads.Close()
		<-c.served
		c.uploads = nil
	}
	if c.halt != nil {
		c.halt()
	}
	c.node.die()
	c.node, c.rooms = nil, nil
}
