package qemu

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

const binaryName = "qemu-system-x86_64"

// Config of a Driver.
type Config struct {
	Instances    string       // absolute; a directory per guest below it, made when missing
	Cache        string       // file that keeps the accelerator's probe; empty: probe in every process
	Accel        string       // auto (default), kvm, tcg
	Dedicated    string       // processors that guests may have for themselves, "2-5,8"; others never run there
	User         string       // guests run as this user when the agent is root; default nephos, else nobody
	Binary       string       // default qemu-system-x86_64
	ConsoleBytes int          // kept of each console log; default 1 MiB
	Log          *slog.Logger // nil: discarded
}

// Driver runs guests with QEMU. See doc.go.
type Driver struct {
	cfg      Config
	cred     *syscall.Credential
	boot     string
	topology topology
	groups   groups
	events   *hypervisor.EventQueue
	locks    hypervisor.Locks
	copies   hypervisor.Locks // by guest and disk: a copy takes minutes and must not hold up the guest's other verbs

	accelMu chan struct{} // one token; who has it may probe
	accel   accelerator   // guarded by accelMu

	background context.Context // ends with Close
	cancel     context.CancelFunc
	running    sync.WaitGroup // keeper and watchers

	mu     sync.Mutex // guards what follows
	guests map[string]*guest
	sends  map[string]*sending // by guest: being sent to another host
	places map[string]place    // of guests with a layout that run or start
}

var _ hypervisor.Driver = (*Driver)(nil)

// New makes a driver; it starts nothing but its keeper. The agent must be the only process with a driver on these instances.
func New(cfg Config) (*Driver, error) {
	cfg.Accel = cmp.Or(cfg.Accel, "auto")
	cfg.Binary = cmp.Or(cfg.Binary, binaryName)
	cfg.ConsoleBytes = cmp.Or(cfg.ConsoleBytes, 1<<20)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if !slices.Contains([]string{"auto", "kvm", "tcg"}, cfg.Accel) {
		return nil, fault.Invalid("accel", "accelerator %q is none of auto, kvm, tcg", cfg.Accel)
	}
	if !filepath.IsAbs(cfg.Instances) {
		return nil, fault.Invalid("instances", "%q is not an absolute path", cfg.Instances)
	}
	cfg.Instances = filepath.Clean(cfg.Instances)
	if err := os.MkdirAll(cfg.Instances, 0o700); err != nil {
		return nil, err
	}
	cred, err := credential(cfg.User)
	if err != nil {
		return nil, err
	}
	machine, err := readTopology(sysfs, cfg.Dedicated)
	if err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg, groups: findGroups(cgroups, processName(cfg.Instances, "")), cred: cred, boot: bootID(), topology: machine, places: map[string]place{}, events: hypervisor.NewEventQueue(), accelMu: make(chan struct{}, 1), guests: map[string]*guest{}, sends: map[string]*sending{}}
	d.background, d.cancel = context.WithCancel(context.Background())
	d.running.Go(d.keepConsoles)
	return d, nil
}

// Close implements hypervisor.Driver: guests run on.
func (d *Driver) Close() error {
	d.cancel()
	d.running.Wait()
	d.mu.Lock()
	all := d.guests
	d.guests = map[string]*guest{}
	d.mu.Unlock()
	for _, g := range all {
		if m := g.machine(); m != nil {
			m.release()
		}
	}
	d.events.Close()
	return nil
}

// Events implements hypervisor.Driver.
func (d *Driver) Events() <-chan hypervisor.Event { return d.events.C() }

// Info implements hypervisor.Driver; the first call may probe.
func (d *Driver) Info(ctx context.Context) (hypervisor.Info, error) {
	a, err := d.accelerator(ctx)
	if err != nil {
		return hypervisor.Info{}, err
	}
	traits := strings.Fields(a.Traits)
	if d.groups.root != "" {
		traits = append(traits, hostapi.TraitCPULimits)
		slices.Sort(traits)
	}
	return hypervisor.Info{Driver: "qemu", Version: a.Version, Accel: a.Accel, Detail: a.Detail, Traits: traits,
		NUMACells: len(d.topology.cells), Dedicated: len(d.topology.dedicated), PageSizes: d.topology.pageSizes()}, nil
}

func (d *Driver) accelerator(ctx context.Context) (accelerator, error) {
	select {
	case d.accelMu <- struct{}{}:
	case <-ctx.Done():
		return accelerator{}, context.Cause(ctx)
	}
	defer func() { <-d.accelMu }()
	if d.accel.Accel == "" {
		a, err := choose(ctx, d.cfg.Binary, d.cfg.Accel, d.cfg.Cache, d.cred)
		if err != nil {
			return a, err
		}
		d.accel = a
		d.cfg.Log.Info("accelerator chosen", "accel", a.Accel, "qemu", a.Version, "detail", a.Detail)
	}
	return d.accel, nil
}

func (d *Driver) dir(id string) string { return filepath.Join(d.cfg.Instances, id) }

func (d *Driver) name(id string) string { return processName(d.cfg.Instances, id) }

// guest is one guest the driver knows. It stays in Driver.guests until Destroy.
type guest struct {
	id  string
	dir string

	mu  sync.Mutex // guards what follows
	rec record
	vm  *machine // nil: no process
}

// find gives the known guest, or nil.
func (d *Driver) find(id string) *guest {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.guests[id]
}

func (d *Driver) put(g *guest) {
	d.mu.Lock()
	d.guests[g.id] = g
	d.mu.Unlock()
}

func (g *guest) machine() *machine {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.vm
}

func (g *guest) record() record {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rec.clone()
}

// change edits the record and writes it; on an error the record is as before.
func (g *guest) change(durable bool, edit func(r *record)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.rec.clone()
	edit(&r)
	if err := writeRecord(g.dir, r, durable); err != nil {
		return err
	}
	g.rec = r
	return nil
}

func (g *guest) status() hypervisor.Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := hypervisor.Status{ID: g.id, Power: g.rec.Phase.power(), Why: g.rec.Why}
	if g.vm != nil {
		s.PID = g.vm.proc.pid
		if g.rec.Phase == phaseRunning && g.vm.paused.Load() {
			s.Power = hostapi.PowerPaused
		}
	}
	return s
}

// Status implements hypervisor.Driver. Watchers keep it true, so it asks nobody.
func (d *Driver) Status(_ context.Context, id string) (hypervisor.Status, error) {
	if g := d.find(id); g != nil {
		return g.status(), nil
	}
	return hypervisor.Status{ID: id}, nil
}

// List implements hypervisor.Driver.
func (d *Driver) List(context.Context) ([]hypervisor.Status, error) {
	d.mu.Lock()
	all := make([]*guest, 0, len(d.guests))
	for _, g := range d.guests {
		all = append(all, g)
	}
	d.mu.Unlock()
	out := make([]hypervisor.Status, 0, len(all))
	for _, g := range all {
		out = append(out, g.status())
	}
	slices.SortFunc(out, func(a, b hypervisor.Status) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// Processes implements hypervisor.Driver by reading /proc.
func (d *Driver) Processes(context.Context) ([]hostapi.InventoryProcess, error) {
	suffix := d.name("")
	found, err := scan(suffix)
	if err != nil {
		return nil, err
	}
	out := make([]hostapi.InventoryProcess, 0, len(found))
	for name, pid := range found {
		out = append(out, hostapi.InventoryProcess{PID: pid, ServerID: strings.TrimSuffix(name, suffix)})
	}
	slices.SortFunc(out, func(a, b hostapi.InventoryProcess) int { return cmp.Compare(a.ServerID, b.ServerID) })
	return out, nil
}

// lock takes the guest's turn for a verb.
func (d *Driver) lock(ctx context.Context, id string) (func(), error) {
	if d.background.Err() != nil {
		return nil, fault.Unavailable("guest %s: the driver is closed", id)
	}
	unlock, err := d.locks.Lock(ctx, id)
	if err != nil {
		return nil, fault.Unavailable("guest %s: waited for another verb", id).WithCause(err)
	}
	return unlock, nil
}

// live gives the guest and its process, or says why there is none.
func (d *Driver) live(id string) (*guest, *machine, error) {
	g := d.find(id)
	if g == nil {
		return nil, nil, fault.NotFound("no guest %s on this host", id)
	}
	m := g.machine()
	if m == nil {
		return g, nil, fault.Conflict("guest %s does not run", id)
	}
	if m.client == nil {
		return g, nil, fault.Unavailable("guest %s: its monitor does not answer", id)
	}
	return g, m, nil
}

// sure runs one verb that needs a running guest, under its lock.
func (d *Driver) sure(ctx context.Context, id string, act func(g *guest, m *machine) error) error {
	unlock, err := d.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	g, m, err := d.live(id)
	if err != nil {
		return err
	}
	return act(g, m)
}

// patience bounds waits that end in a fraction of a second unless the machine is in trouble.
const patience = 30 * time.Second
