package app

import (
	"context"
	"log/slog"
	"net/netip"

	"nephos/internal/compute"
	"nephos/internal/config"
	"nephos/internal/db"
	"nephos/internal/image"
	"nephos/internal/network"
	"nephos/internal/quota"
	"nephos/internal/volume"
	"nephos/internal/workflow"
)

// Parts is what a controller without a process, a bus and listeners of its own is made of. The simulation makes several of them in one test.
type Parts struct {
	Config   *config.Config
	Log      *slog.Logger
	DB       *db.DB // migrated (Migrate)
	Bus      Bus
	External netip.Prefix
	Chance   func() uint64 // the scheduler's; nil: the runtime's
}

// Rooms is such a controller.
type Rooms struct {
	c *controller

	Registry *compute.Hosts
	Engine   *workflow.Engine
	Quotas   *quota.Service
	Images   *image.Service
	Networks *network.Service
	Volumes  *volume.Service
	Compute  *compute.Service
}

// Migrate makes the tables of all rooms.
func Migrate(ctx context.Context, d *db.DB) error { return d.Migrate(ctx, rooms()...) }

// NewRooms makes the rooms. Nothing runs yet.
func NewRooms(p Parts) (*Rooms, error) {
	c := &controller{cfg: p.Config, log: p.Log, db: p.DB, bus: p.Bus, hosts: hosts{p.Bus, newLives()}, quotas: quota.New(), chance: p.Chance}
	if err := c.build(p.External); err != nil {
		return nil, err
	}
	return &Rooms{c: c, Registry: c.registry, Engine: c.engine, Quotas: c.quotas, Images: c.images, Networks: c.networks, Volumes: c.volumes, Compute: c.compute}, nil
}

// Bootstrap makes the first records as `nephos up` does, and gives the id of the project admin.
func (r *Rooms) Bootstrap(ctx context.Context, password string) (project string, err error) {
	if err := r.c.bootstrap(ctx, password); err != nil {
		return "", err
	}
	return r.c.adminProject(ctx)
}

// Start mends what a dead process of this node left of its uploads, reads the hosts and runs the rooms' loops until stop is called. stop waits for them.
func (r *Rooms) Start(ctx context.Context) (stop func(), err error) {
	if _, err := r.Images.Recover(ctx); err != nil {
		return nil, err
	}
	if err := r.Registry.Load(ctx); err != nil {
		return nil, err
	}
	l := newLifecycle(r.c.log)
	if err := r.c.start(l); err != nil {
		l.stop()
		return nil, err
	}
	return l.stop, nil
}

// Fsck holds the rows against each other and against what the hosts have.
func (r *Rooms) Fsck(ctx context.Context) (FsckReport, error) { return r.c.Fsck(ctx) }

// FsckRows is the part of Fsck that asks no host. All of it holds at any moment, whatever is under way.
func (r *Rooms) FsckRows(ctx context.Context) ([]string, error) {
	_, problems, err := r.c.fsckRows(ctx)
	return problems, err
}
