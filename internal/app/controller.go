package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/jonboulle/clockwork"

	"nephos/internal/compute"
	"nephos/internal/compute/conductor"
	"nephos/internal/config"
	"nephos/internal/db"
	"nephos/internal/identity"
	identityapi "nephos/internal/identity/api"
	"nephos/internal/image"
	"nephos/internal/image/metadef"
	"nephos/internal/network"
	"nephos/internal/placement"
	"nephos/internal/quota"
	"nephos/internal/volume"
	"nephos/internal/workflow"
)

// rooms are all tables, in the order in which they may refer to each other.
func rooms() []db.Migrations {
	return []db.Migrations{workflow.Migrations(), identity.Migrations(), quota.Migrations(), image.Migrations(), metadef.Migrations(), network.Migrations(), volume.Migrations(),
		placement.Migrations(), compute.Migrations()}
}

// controller is the service rooms of one process.
type controller struct {
	cfg      *config.Config
	log      *slog.Logger
	secure   *tls.Config // of the service ports; nil: none
	db       *db.DB
	bus      Bus
	chance   func() uint64 // nil: the runtime's
	hosts    hosts
	registry *compute.Hosts
	engine   *workflow.Engine
	quotas   *quota.Service
	identity *identity.Service
	images   *image.Service
	networks *network.Service
	volumes  *volume.Service
	compute  *compute.Service
	tunnels  tunnels
}

// newController opens the database and makes the rooms. Nothing runs yet. external is the first external network's range.
func newController(ctx context.Context, cfg *config.Config, log *slog.Logger, b Bus, external netip.Prefix) (*controller, error) {
	url := cfg.Database
	if url == "" {
		url = cfg.Path("nephos.db")
	}
	d, err := db.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	c := &controller{cfg: cfg, log: log, db: d, bus: b, hosts: hosts{b, newLives()}, quotas: quota.New()}
	err = d.Migrate(ctx, rooms()...)
	if err == nil {
		err = c.build(external)
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return c, nil
}

// build makes the rooms on the open database.
func (c *controller) build(external netip.Prefix) error {
	clock := clockwork.NewRealClock()
	c.engine = workflow.New(workflow.Options{DB: c.db, Clock: clock, Log: c.log.With("room", "workflow"), Alone: !c.db.Shared()})
	var err error
	if c.identity, err = newIdentity(c.cfg, c.db, clock, c.log, c.bus); err != nil {
		return err
	}
	if err := c.makeImages(); err != nil {
		return err
	}
	var private netip.Prefix
	if c.cfg.Network.Private != "" {
		private = netip.MustParsePrefix(c.cfg.Network.Private) // Check has parsed it
	}
	c.networks = network.New(network.Deps{DB: c.db, Quotas: c.quotas, Log: c.log.With("room", "network"), Clock: clock,
		Config: network.Config{External: external, Private: private, DNS: c.cfg.Network.DNS, TunnelEnds: c.tunnelEnds}})
	q := c.cfg.Compute
	c.registry = compute.NewHosts(compute.HostsDeps{DB: c.db, Clock: clock, Log: c.log.With("room", "compute"), Scheduler: c.cfg.SchedulerConfig(),
		Ratios:     compute.Ratios{VCPU: q.CPURatio, RAM: q.RAMRatio, Disk: q.DiskRatio, ReservedRAMMiB: q.ReservedRAMMiB, ReservedDiskGiB: q.ReservedDiskGiB},
		Aggregates: compute.Aggregates, Seen: c.hostSeen, Chance: c.chance})
	c.hosts.lives.recorded = c.registry.Started
	c.volumes = volume.New(volume.Deps{DB: c.db, Log: c.log.With("room", "volume"), Engine: c.engine, Client: c.hosts, Hosts: storageHosts{c.registry}, Images: c.images, Quotas: c.quotas})
	cond := conductor.New(conductor.Deps{DB: c.db, Log: c.log.With("room", "conductor"), Engine: c.engine, Hosts: c.registry, Client: c.hosts, Networks: c.networks,
		Volumes: c.volumes, Quotas: c.quotas, Images: c.images, UploadURL: uploadURL(c.cfg.URL(config.PortImage, "")), ResizeToSameHost: !c.cfg.Compute.ResizeElsewhere})
	c.compute = compute.New(compute.Deps{DB: c.db, Clock: clock, Log: c.log.With("room", "compute"), Hosts: c.registry, Conductor: cond, Client: c.hosts, Networks: c.networks,
		Images: c.images, Volumes: c.volumes, Quotas: c.quotas, Engine: c.engine,
		ReclaimAfter: time.Duration(q.ReclaimSeconds) * time.Second, ShelvedOffload: time.Duration(q.ShelvedOffloadSeconds) * time.Second})
	return nil
}

// hostSeen tells the network room of a heartbeat and gives the host's newest network revisions.
func (c *controller) hostSeen(ctx context.Context, host string, gateway bool, applied int64) (document, members int64) {
	if err := c.networks.HostSeen(ctx, host, gateway, applied); err != nil {
		c.log.Warn("network room cannot note a host", "host", host, "err", err)
	}
	return c.networks.Publisher().Revision(host)
}

// bootstrap makes the first records; at later starts it only puts addresses right.
func (c *controller) bootstrap(ctx context.Context, password string) error {
	cfg := c.cfg
	v2 := func(port int, path string) string { return cfg.URL(port, path) }
	err := c.identity.Bootstrap(ctx, identity.Bootstrap{AdminPassword: password, Region: cfg.Region, Endpoints: []identity.BootstrapEndpoint{
		{Type: "identity", Name: "keystone", Description: "OpenStack Identity", URL: v2(config.PortIdentity, "/v3"), AdminURL: v2(config.PortIdentity, identityapi.AdminPath+"/v3"),
			LegacyURL: v2(config.PortIdentity, "/v2.0"), LegacyAdminURL: v2(config.PortIdentity, identityapi.AdminPath+"/v2.0")},
		{Type: "compute", Name: "nova", Description: "OpenStack Compute", URL: v2(config.PortCompute, "/v2.1"), LegacyURL: v2(config.PortCompute, "/v2/%(project_id)s")},
		{Type: "image", Name: "glance", Description: "OpenStack Image", URL: v2(config.PortImage, "")},
		{Type: "network", Name: "neutron", Description: "OpenStack Networking", URL: v2(config.PortNetwork, "")},
		{Type: "volumev3", Name: "cinder", Description: "OpenStack Block Storage", URL: v2(config.PortVolume, "/v3/%(project_id)s")},
		{Type: "placement", Name: "placement", Description: "OpenStack Placement", URL: v2(config.PortPlacement, "")},
	}})
	if err != nil {
		return err
	}
	if err := c.compute.Bootstrap(ctx); err != nil {
		return fmt.Errorf("first flavors: %w", err)
	}
	admin, err := c.adminProject(ctx)
	if err != nil {
		return err
	}
	if err := c.networks.Bootstrap(ctx, admin); err != nil {
		return fmt.Errorf("first networks: %w", err)
	}
	if err := metadef.New(c.db).EnsureStandard(ctx, admin); err != nil {
		return fmt.Errorf("metadata definitions: %w", err)
	}
	if _, err := c.images.Recover(ctx); err != nil {
		return fmt.Errorf("images: %w", err)
	}
	return c.registry.Load(ctx)
}

// adminProject is the id of the project that bootstrap made.
func (c *controller) adminProject(ctx context.Context) (string, error) {
	found, err := c.identity.Projects(ctx, identity.ProjectFilter{Name: "admin", DomainID: identity.DefaultDomain})
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", errors.New("there is no project admin")
	}
	return found[0].ID, nil
}

// start runs the rooms' loops. The records must be there: workflows that an earlier process left go on at once, and need to know the hosts.
func (c *controller) start(l *lifecycle) error {
	if err := c.serveHosts(); err != nil {
		return err
	}
	l.run("host registry", c.registry.Run)
	l.run("network publisher", func(ctx context.Context) error { return c.networks.Publisher().Run(ctx, c.hosts) })
	l.run("workflow engine", c.engine.Run)
	l.run("resize confirmer", func(ctx context.Context) error {
		return c.compute.RunConfirm(ctx, time.Duration(c.cfg.Compute.ResizeConfirmSeconds)*time.Second)
	})
	l.run("image collector", c.images.Run)
	l.run("deleted servers", c.compute.RunReclaim)
	if c.cfg.Notifications {
		l.run("notifications", c.compute.NewNotifier(c.bus.Publish).Run)
	}
	l.run("remains of volumes", c.volumes.Run)
	l.run("controller's signs of life", func(ctx context.Context) error { return c.compute.RunController(ctx, hostName(c.cfg)) })
	return nil
}

// closeWith has the database closed when everything started after this has stopped.
func (c *controller) closeWith(l *lifecycle) {
	l.onStop("database", func() {
		if err := c.db.Close(); err != nil {
			c.log.Error("close database", "err", err)
		}
	})
}

// storageHosts shows the registry as the volume room wants it.
type storageHosts struct{ reg *compute.Hosts }

// StorageHosts implements volume.Hosts.
func (s storageHosts) StorageHosts() []volume.StorageHost {
	snap := map[string]bool{}
	free := map[string]int{}
	for _, h := range s.reg.Snapshot().Hosts() {
		snap[h.Name] = h.Up
		free[h.Name] = h.Physical.DiskGiB - h.Used.DiskGiB
	}
	var out []volume.StorageHost
	for _, r := range s.reg.Rows() {
		out = append(out, volume.StorageHost{Name: r.Name, Zone: r.Zone, Up: snap[r.Name], Enabled: !r.Disabled, FreeDiskGiB: free[r.Name], DiskGiB: r.Info.V.DiskGiB,
			Version: r.Info.V.Version, LastSignal: r.Seen.UTC().Format(time.RFC3339)})
	}
	return out
}
