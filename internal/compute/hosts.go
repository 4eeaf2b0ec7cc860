package compute

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jonboulle/clockwork"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/placement"
	"nephos/internal/scheduler"
)

// DefaultZone is the zone of hosts that name none.
const DefaultZone = "nova"

// downAfter is how long a host may be silent before it counts as down.
const downAfter = 3 * hostapi.HeartbeatEvery

// Ratios are the allocation ratios given to new hosts, and what is kept for the host itself.
type Ratios struct {
	VCPU, RAM, Disk float64
	ReservedRAMMiB  int
	ReservedDiskGiB int
}

// HostRow is one compute host as stored.
type HostRow struct {
	Name           string                    `db:"name"`
	ID             string                    `db:"id"`         // hypervisor's and resource provider's uuid
	ServiceID      string                    `db:"service_id"` // os-services uuid
	Zone           string                    `db:"zone"`
	Disabled       bool                      `db:"disabled"`
	DisabledReason string                    `db:"disabled_reason"`
	ForcedDown     bool                      `db:"forced_down"`
	Info           db.JSON[hostapi.HostInfo] `db:"info"`
	Seen           db.Time                   `db:"seen_at"` // written now and then; memory knows better
	Created        db.Time                   `db:"created_at"`
	Updated        db.Time                   `db:"updated_at"`
}

// HostsDeps are the parts of the registry.
type HostsDeps struct {
	DB        *db.DB
	Clock     clockwork.Clock
	Log       *slog.Logger
	Ratios    Ratios
	Scheduler scheduler.Config
	// Aggregates lists the aggregates of each host, for the scheduler.
	Aggregates func(ctx context.Context, tx *db.Tx) (map[string][]*scheduler.Aggregate, error)
	// Seen is told of every heartbeat (the network room places routers by it). It gives the newest network revisions of the host.
	Seen func(ctx context.Context, host string, gateway bool, applied int64) (document, members int64)
	// Chance breaks the scheduler's ties; nil: the runtime's randomness. The simulation gives its own.
	Chance func() uint64
}

// Hosts is the registry of compute hosts. It is fed by Heartbeat (from the bus), by the commits of claims, and by Refresh.
type Hosts struct {
	HostsDeps

	mu    sync.Mutex // guards what follows; never held across I/O
	table *scheduler.Table
	rows  map[string]HostRow
	ends  map[string]string // tunnel ends by host; never changed, only replaced: readers keep it
	moved int64             // how often ends was replaced
	seen  map[string]time.Time
	start time.Time
	tasks map[string]hostapi.Progress // by server id: what a host says it is doing

	verdicts map[string]verdict // of reconcile, by host
}

// NewHosts makes an empty registry; Load fills it.
func NewHosts(d HostsDeps) *Hosts {
	if d.Chance == nil {
		d.Chance = rand.Uint64
	}
	return &Hosts{HostsDeps: d, table: scheduler.NewTable(), rows: map[string]HostRow{}, seen: map[string]time.Time{}, start: d.Clock.Now(), tasks: map[string]hostapi.Progress{}, verdicts: map[string]verdict{}}
}

// Load reads all hosts from the database: at start, and now and then, so that several controllers agree (see Run).
func (h *Hosts) Load(ctx context.Context) error {
	var rows []HostRow
	var invs []placement.Inventory
	var counts []hostCount
	var aggs map[string][]*scheduler.Aggregate
	var traits map[string][]string
	err := h.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if err = tx.Select(ctx, &rows, `SELECT * FROM hosts`); err != nil {
			return err
		}
		if invs, err = placement.Inventories(ctx, tx, ""); err != nil {
			return err
		}
		if err = tx.Select(ctx, &counts, countQuery); err != nil {
			return err
		}
		if traits, err = placement.TraitsByProvider(ctx, tx); err != nil {
			return err
		}
		aggs, err = h.aggregates(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	byProvider := map[string][]placement.Inventory{}
	for _, i := range invs {
		byProvider[i.ProviderID] = append(byProvider[i.ProviderID], i)
	}
	byHost := map[string]hostCount{}
	for _, c := range counts {
		byHost[c.Host] = c
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rows = map[string]HostRow{}
	for _, r := range rows {
		h.rows[r.Name] = r
		h.noteEnd(r.Name, r.Info.V.TunnelIP)
		h.put(r, byProvider[r.ID], byHost[r.Name], aggs[r.Name], traits[r.ID])
	}
	for _, old := range h.table.Snapshot().Hosts() {
		if _, ok := h.rows[old.Name]; !ok {
			h.table.Remove(old.Name)
			h.noteEnd(old.Name, "")
		}
	}
	return nil
}

// noteEnd keeps a host's tunnel end; "" when it has none.
func (h *Hosts) noteEnd(host, address string) {
	if h.ends[host] == address {
		return
	}
	h.moved++
	h.ends = maps.Clone(h.ends)
	if h.ends == nil {
		h.ends = map[string]string{}
	}
	if h.ends[host] = address; address == "" {
		delete(h.ends, host)
	}
}

// TunnelEnds are the addresses at which hosts reach each other's networks, by host, as they told at registration, and how often they have changed. The map is the
// caller's to read, not to write.
func (h *Hosts) TunnelEnds() (ends map[string]string, changes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ends, h.moved
}

type hostCount struct {
	Host      string `db:"host"`
	Instances int    `db:"instances"`
	Building  int    `db:"building"`
}

const countQuery = `SELECT host, COUNT(*) AS instances, SUM(CASE WHEN vm_state = 'building' THEN 1 ELSE 0 END) AS building FROM servers WHERE deleted = FALSE AND host <> '' GROUP BY host`

func (h *Hosts) aggregates(ctx context.Context, tx *db.Tx) (map[string][]*scheduler.Aggregate, error) {
	if h.Aggregates == nil {
		return nil, nil
	}
	return h.Aggregates(ctx, tx)
}

// put writes a host into the table. h.mu is held.
func (h *Hosts) put(r HostRow, invs []placement.Inventory, c hostCount, aggs []*scheduler.Aggregate, traits []string) {
	addr, _ := netip.ParseAddr(r.Info.V.Address) // an unknown address is near to nothing
	s := scheduler.Host{Name: r.Name, Zone: r.Zone, Enabled: !r.Disabled, Instances: c.Instances, IOOps: c.Building, Arch: r.Info.V.Arch, Hypervisor: r.Info.V.Driver, Address: addr, Aggregates: aggs, Traits: traits,
		Capabilities: map[string]string{"hypervisor_type": r.Info.V.Driver, "hypervisor_version": r.Info.V.DriverVersion, "cpu_info": r.Info.V.CPUModel, "cpu_arch": r.Info.V.Arch}}
	s.NUMACells, s.PCPUs, s.PageSizes = r.Info.V.NUMACells, r.Info.V.PCPUs, strings.Fields(r.Info.V.PageSizes)
	if r.Info.V.PCI != "" {
		s.Devices = slices.Sorted(maps.Keys(r.Info.V.PCIDevices()))
	}
	if old := h.table.Get(r.Name); old != nil {
		s.Failures = old.Failures
	}
	for _, i := range invs {
		switch i.Class {
		case placement.VCPU:
			s.Capacity.VCPUs, s.Physical.VCPUs, s.Used.VCPUs = int(i.Capacity), int(i.MaxUnit), int(i.Used)
		case placement.MemoryMB:
			s.Capacity.RAMMiB, s.Physical.RAMMiB, s.Used.RAMMiB = int(i.Capacity), int(i.MaxUnit), int(i.Used)
		case placement.DiskGB:
			s.Capacity.DiskGiB, s.Physical.DiskGiB, s.Used.DiskGiB = int(i.Capacity), int(i.MaxUnit), int(i.Used)
		}
	}
	s.Up, s.Why = h.life(r)
	if r.Disabled {
		s.Why = "disabled"
		if r.DisabledReason != "" {
			s.Why += ": " + r.DisabledReason
		}
	}
	h.table.Put(s)
}

// life says whether a host is up. h.mu is held. After a controller's own start nobody has been heard yet, and the rows know liveness only roughly: every
// host is given the time of a few heartbeats, so that what was under way when this process died is not given up before its host could report.
func (h *Hosts) life(r HostRow) (up bool, why string) {
	now := h.Clock.Now()
	if r.ForcedDown {
		return false, "forced down"
	}
	last, heard := h.seen[r.Name]
	if !heard {
		last = r.Seen.Time
		if now.Sub(h.start) < downAfter {
			return true, ""
		}
	}
	if d := now.Sub(last); d > downAfter {
		return false, "down: no sign of life for " + d.Round(time.Second).String()
	}
	return true, ""
}

// Refresh reads one host again: its claims were not as the snapshot said.
func (h *Hosts) Refresh(ctx context.Context, name string) error {
	var row HostRow
	var invs []placement.Inventory
	var count hostCount
	var aggs map[string][]*scheduler.Aggregate
	var traits []string
	err := h.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if err = tx.Get(ctx, &row, `SELECT * FROM hosts WHERE name = ?`, name); err != nil {
			return err
		}
		if invs, err = placement.Inventories(ctx, tx, row.ID); err != nil {
			return err
		}
		if err = tx.Get(ctx, &count, `SELECT COUNT(*) AS instances, COALESCE(SUM(CASE WHEN vm_state = 'building' THEN 1 ELSE 0 END), 0) AS building FROM servers WHERE deleted = FALSE AND host = ?`, name); err != nil {
			return err
		}
		if traits, err = placement.TraitsOf(ctx, tx, row.ID); err != nil {
			return err
		}
		aggs, err = h.aggregates(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rows[name] = row
	h.noteEnd(name, row.Info.V.TunnelIP)
	h.put(row, invs, count, aggs[name], traits)
	return nil
}

// Schedule chooses hosts for n equal servers from the present snapshot. It writes nothing.
func (h *Hosts) Schedule(r scheduler.Request, n int) []scheduler.Choice {
	h.mu.Lock()
	snap := h.table.Snapshot()
	h.mu.Unlock()
	r.Seed = h.Chance()
	return scheduler.Schedule(snap, r, &h.Scheduler, n)
}

// Snapshot is the present state, for views.
func (h *Hosts) Snapshot() scheduler.Snapshot {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.table.Snapshot()
}

// claimed and released move the table after a commit; what other controllers do comes with Load.
func (h *Hosts) claimed(host string, r scheduler.Resources) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.table.Change(host, func(x *scheduler.Host) {
		x.Used.VCPUs += r.VCPUs
		x.Used.RAMMiB += r.RAMMiB
		x.Used.DiskGiB += r.DiskGiB
		x.Instances++
		x.IOOps++
	})
}

// Released gives a server's share back in the table when tx is committed; building says that it had not become ACTIVE.
func (h *Hosts) Released(tx *db.Tx, host string, r scheduler.Resources, building bool) {
	if host == "" {
		return
	}
	tx.OnCommit(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.table.Change(host, func(x *scheduler.Host) {
			x.Used.VCPUs -= r.VCPUs
			x.Used.RAMMiB -= r.RAMMiB
			x.Used.DiskGiB -= r.DiskGiB
			x.Instances--
			if building {
				x.IOOps--
			}
		})
	})
}

// Built notes, when tx is committed, that a build on host has ended well.
func (h *Hosts) Built(tx *db.Tx, host, serverID string) {
	tx.OnCommit(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.tasks, serverID)
		h.table.Change(host, func(x *scheduler.Host) {
			x.IOOps--
			x.Failures = 0
		})
	})
}

// BuildFailed makes a host less welcome until a build succeeds there.
func (h *Hosts) BuildFailed(host string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.table.Change(host, func(x *scheduler.Host) { x.Failures++ })
}

// Fenced says that an operator has forced a host down: he vouches for that nothing runs there (Nova: "forced_down", the word for it before an evacuation).
func (h *Hosts) Fenced(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rows[name].ForcedDown
}

// Up says whether a host gives signs of life.
func (h *Hosts) Up(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.rows[name]
	if !ok {
		return false
	}
	up, _ := h.life(r)
	return up
}

// Started is when the agent that last registered a host was started.
func (h *Hosts) Started(name string) (time.Time, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.rows[name]
	return r.Info.V.Started, ok
}

// Exists says whether a host of that name has ever registered.
func (h *Hosts) Exists(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.rows[name]
	return ok
}

// Zone is the zone of a host.
func (h *Hosts) Zone(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rows[name].Zone
}

// TransferAddress is where a host's agent gives disks and takes guests; "" when it has told none.
func (h *Hosts) TransferAddress(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rows[name].Info.V.Transfer
}

// Zones lists the zones that have a host, sorted.
func (h *Hosts) Zones() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, r := range h.rows {
		out = append(out, r.Zone)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Rows lists the hosts by name.
func (h *Hosts) Rows() []HostRow {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]HostRow, 0, len(h.rows))
	for _, r := range h.rows {
		if t, ok := h.seen[r.Name]; ok {
			r.Seen = db.At(t)
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b HostRow) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// Task is the finer task state that a host has told of a server in the making; None if it told nothing.
func (h *Hosts) Task(serverID string, epoch int64) TaskState {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.tasks[serverID]
	if !ok || p.Epoch != epoch {
		return None
	}
	switch p.Step {
	case "network":
		return Networking
	case "hypervisor":
		return Spawning
	}
	return MappingDevices
}

// Progress takes a host's word on what it does for a server.
func (h *Hosts) Progress(p hostapi.Progress) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.tasks) > 10000 { // builds that never came to an end here
		clear(h.tasks)
	}
	h.tasks[p.Subject] = p
}

// Update changes a host's row (enable, disable, zone …) by an admin.
func (h *Hosts) Update(ctx context.Context, name string, edit func(*HostRow)) error {
	err := h.DB.Write(ctx, func(tx *db.Tx) error {
		var r HostRow
		if err := tx.Get(ctx, &r, `SELECT * FROM hosts WHERE name = ?`, name); err != nil {
			return fault.NotFound("Host '%s' could not be found.", name)
		}
		edit(&r)
		if _, err := tx.Exec(ctx, `UPDATE hosts SET zone = ?, disabled = ?, disabled_reason = ?, forced_down = ?, updated_at = ? WHERE name = ?`,
			r.Zone, r.Disabled, r.DisabledReason, r.ForcedDown, db.Now(), name); err != nil {
			return err
		}
		return showDisabled(ctx, tx, r.ID, r.Disabled)
	})
	if err != nil {
		return err
	}
	return h.Refresh(ctx, name)
}

// Remove forgets a host that holds no server.
func (h *Hosts) Remove(ctx context.Context, name string) error {
	err := h.DB.Write(ctx, func(tx *db.Tx) error {
		var n int
		if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM servers WHERE host = ? AND deleted = FALSE`, name); err != nil {
			return err
		}
		if n > 0 {
			return fault.Conflict("Unable to delete compute service that is hosting instances.")
		}
		var id string
		if err := tx.Get(ctx, &id, `DELETE FROM hosts WHERE name = ? RETURNING id`, name); err != nil {
			return fault.NotFound("Host '%s' could not be found.", name).WithCause(err)
		}
		if err := placement.DeleteProvider(ctx, tx, id); err != nil && !fault.IsNotFound(err) {
			return err
		}
		return nil
	})
	if err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.rows, name)
		delete(h.seen, name)
		h.noteEnd(name, "")
		h.table.Remove(name)
	}
	return err
}

// register writes a host's row and inventory; it is called at the first heartbeat and when what the host says of itself has changed.
func (h *Hosts) register(ctx context.Context, info hostapi.HostInfo) error {
	zone := info.Zone
	if zone == "" {
		zone = DefaultZone
	}
	err := h.DB.Write(ctx, func(tx *db.Tx) error {
		now := db.Now()
		var before HostRow
		if err := tx.Get(ctx, &before, `SELECT * FROM hosts WHERE name = ?`, info.Name); err != nil && !errors.Is(err, db.ErrNoRows) {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO hosts (name, id, service_id, zone, info, seen_at, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET info = excluded.info, seen_at = excluded.seen_at`,
			info.Name, uuid.NewString(), uuid.NewString(), zone, db.AsJSON(info), now, now, now); err != nil {
			return err
		}
		var id string
		if err := tx.Get(ctx, &id, `SELECT id FROM hosts WHERE name = ?`, info.Name); err != nil {
			return err
		}
		if err := placement.EnsureProvider(ctx, tx, id, info.Name); err != nil {
			return err
		}
		return h.provide(ctx, tx, id, before.Info.V, info)
	})
	if err != nil {
		return err
	}
	return h.Refresh(ctx, info.Name)
}
