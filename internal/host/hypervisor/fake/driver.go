package fake

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/simlog"
	"nephos/internal/hostapi"
)

// ConsoleBytes is how much of a guest's console is kept.
const ConsoleBytes = 16 << 10

// Config of a Driver. The zero value is a driver in memory where everything succeeds at once.
type Config struct {
	Records *simlog.Table // the guests' records; nil: memory only
	Script  *Script       // nil: no delays, no failures
}

// Driver is the simulated hypervisor.
type Driver struct {
	cfg    Config
	events *hypervisor.EventQueue
	locks  hypervisor.Locks

	mu      sync.Mutex // guards what follows and every record; held over the write of a record, never while waiting
	guests  map[string]*record
	nextPID int
	sending map[string]*sending
	coming  map[string]chan struct{} // closed when the Take under way has ended
}

var _ hypervisor.Driver = (*Driver)(nil)

// New makes a driver.
func New(cfg Config) *Driver {
	return &Driver{cfg: cfg, events: hypervisor.NewEventQueue(), guests: map[string]*record{}, nextPID: 1 << 22} // above any real pid
}

// traits of a simulated host: it takes any image and any device.
var traits = []string{"COMPUTE_GRAPHICS_MODEL_BOCHS", "COMPUTE_GRAPHICS_MODEL_CIRRUS", "COMPUTE_GRAPHICS_MODEL_NONE", "COMPUTE_GRAPHICS_MODEL_VGA", "COMPUTE_GRAPHICS_MODEL_VIRTIO", "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_NET_ATTACH_INTERFACE", "COMPUTE_NET_VIF_MODEL_VIRTIO", "COMPUTE_NET_VIRTIO_PACKED", "COMPUTE_NODE", "COMPUTE_STORAGE_BUS_VIRTIO", "COMPUTE_VOLUME_ATTACH",
	"COMPUTE_VOLUME_EXTEND", hostapi.TraitCPULimits, hostapi.TraitPMU, "HW_ARCH_X86_64", "HW_CPU_X86_AVX2", "HW_CPU_X86_SSE42"}

// Info is the same on every machine.
func (d *Driver) Info(context.Context) (hypervisor.Info, error) {
	return hypervisor.Info{Driver: "fake", Version: "1", Accel: "fake", Detail: "simulated guests", Traits: traits}, nil
}

// Adopt reads the records of an earlier driver.
func (d *Driver) Adopt(ctx context.Context) ([]hypervisor.Status, error) {
	if d.cfg.Records != nil {
		for id, raw := range d.cfg.Records.Load() {
			r := &record{}
			if err := json.Unmarshal(raw, r); err != nil {
				return nil, fmt.Errorf("fake guest record %s: %w", id, err)
			}
			d.mu.Lock()
			d.guests[r.ID] = r
			d.nextPID = max(d.nextPID, r.PID)
			d.mu.Unlock()
		}
	}
	return d.List(ctx)
}

// Events implements hypervisor.Driver.
func (d *Driver) Events() <-chan hypervisor.Event { return d.events.C() }

// Close forgets the guests in memory; those with a record can be adopted again.
func (d *Driver) Close() error {
	d.events.Close()
	return nil
}

// do runs one verb under the guest's lock and the script. act gets the record (nil if there is none) with d.mu held; what it returns is
// kept as the new record, nil forgets the guest.
func (d *Driver) do(ctx context.Context, v Verb, id, name string, act func(r *record) (*record, error)) error {
	return d.doWith(ctx, v, id, name, nil, act)
}

// doWith is do with a first part that may block: it gets the guest's status and does not hold d.mu.
func (d *Driver) doWith(ctx context.Context, v Verb, id, name string, first func(s hypervisor.Status) error, act func(r *record) (*record, error)) error {
	unlock, err := d.locks.Lock(ctx, id)
	if err != nil {
		return fault.Unavailable("guest %s: %s: waited for another verb", id, v).WithCause(err)
	}
	defer unlock()
	d.mu.Lock()
	if r := d.guests[id]; r != nil && name == "" {
		name = r.Name
	}
	d.mu.Unlock()
	e := d.cfg.Script.take(v, id, name)
	if err := wait(ctx, e.delay); err != nil {
		return fault.Unavailable("guest %s: %s: the deadline ended", id, v).WithCause(err)
	}
	if e.err != nil && !e.after {
		return e.err
	}
	if first != nil {
		s, _ := d.Status(ctx, id)
		if err := first(s); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r, err := act(d.guests[id])
	if err != nil {
		return err
	}
	if err := d.keep(id, r); err != nil {
		return err
	}
	if e.crash != "" && r != nil {
		d.end(r, hostapi.PowerCrashed, e.crash)
	}
	return e.err
}

func wait(ctx context.Context, t time.Duration) error {
	if t <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// keep stores r as the guest's record, in memory and in the log. Under d.mu.
func (d *Driver) keep(id string, r *record) error {
	if r == nil {
		if d.cfg.Records != nil && d.guests[id] != nil {
			if err := d.cfg.Records.Delete(id); err != nil {
				return err
			}
		}
		delete(d.guests, id)
		return nil
	}
	if d.cfg.Records != nil {
		if err := d.cfg.Records.Put(id, r); err != nil {
			return err
		}
	}
	d.guests[id] = r
	return nil
}

// end changes the power of a guest from outside the driver's verbs. Under d.mu.
func (d *Driver) end(r *record, p hostapi.PowerState, why string) {
	r.Power, r.Why, r.PID = p, why, 0
	if err := d.keep(r.ID, r); err != nil {
		r.Why += " (not recorded: " + err.Error() + ")"
	}
	d.events.Put(hypervisor.Event{ID: r.ID, Power: p, Why: why, At: time.Now()})
}

func absent(id string) error { return fault.NotFound("no guest %s on this host", id) }

// live refuses a guest that does not run.
func live(id string, r *record) error {
	if r == nil {
		return absent(id)
	}
	if !r.status().Running() {
		return fault.Conflict("guest %s does not run", id)
	}
	return nil
}

// Status implements hypervisor.Driver.
func (d *Driver) Status(_ context.Context, id string) (hypervisor.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.guests[id]; r != nil {
		return r.status(), nil
	}
	return hypervisor.Status{ID: id}, nil
}

// List implements hypervisor.Driver.
func (d *Driver) List(context.Context) ([]hypervisor.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]hypervisor.Status, 0, len(d.guests))
	for _, r := range d.guests {
		out = append(out, r.status())
	}
	slices.SortFunc(out, func(a, b hypervisor.Status) int { return cmp.Compare(a.ID, b.ID) })
	return out, nil
}

// Processes gives the made-up pids of running guests.
func (d *Driver) Processes(ctx context.Context) ([]hostapi.InventoryProcess, error) {
	all, _ := d.List(ctx)
	out := []hostapi.InventoryProcess{}
	for _, s := range all {
		if s.PID != 0 {
			out = append(out, hostapi.InventoryProcess{PID: s.PID, ServerID: s.ID})
		}
	}
	return out, nil
}

// ConsoleLog implements hypervisor.Driver.
func (d *Driver) ConsoleLog(_ context.Context, id string, n int) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.guests[id]
	if r == nil {
		return nil, absent(id)
	}
	log := r.Console
	if n > 0 && n < len(log) {
		log = log[len(log)-n:]
	}
	return slices.Clone(log), nil
}

// Crash ends a running guest as a dying process would.
func (d *Driver) Crash(id, why string) { d.outside(id, hostapi.PowerCrashed, why) }

// PowerOffInside ends a running guest as its own shutdown would.
func (d *Driver) PowerOffInside(id string) {
	d.outside(id, hostapi.PowerShutdown, "shut down from inside")
}

func (d *Driver) outside(id string, p hostapi.PowerState, why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.guests[id]; r != nil && r.status().Running() {
		d.end(r, p, why)
	}
}

// Behave sets how the guest's system meets requests, from now on.
func (d *Driver) Behave(id string, b Behaviour) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.guests[id]; r != nil {
		r.behaviour = b
	}
}

// Print writes to the guest's console. It is recorded on disk with the guest's next verb.
func (d *Driver) Print(id, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.guests[id]; r != nil {
		r.print(text)
	}
}

func (r *record) print(text string) {
	r.Console = append(r.Console, text...)
	if over := len(r.Console) - ConsoleBytes; over > 0 {
		r.Console = slices.Clone(r.Console[over:])
	}
}
