package scheduler

import (
	"net/netip"
	"slices"
)

// Resources are amounts of the three classes that every server takes.
type Resources struct {
	VCPUs   int
	RAMMiB  int
	DiskGiB int
}

func (r Resources) plus(o Resources, times int) Resources {
	return Resources{r.VCPUs + times*o.VCPUs, r.RAMMiB + times*o.RAMMiB, r.DiskGiB + times*o.DiskGiB}
}

// Aggregate is a group of hosts with metadata that filters read.
type Aggregate struct {
	Name     string
	Metadata map[string]string
}

// Host is one compute host as the scheduler sees it. A Host in a Snapshot is never changed.
type Host struct {
	Name         string
	Zone         string
	Enabled      bool
	Up           bool
	Why          string    // for people, when it is not enabled or not up
	Capacity     Resources // (total - reserved) × allocation ratio: what may be given out
	Physical     Resources // total: what one server may have at most
	Used         Resources
	Instances    int
	IOOps        int // servers being built
	Failures     int // recent failed builds
	Arch         string
	Hypervisor   string // image property img_hv_type: qemu, fake
	Address      netip.Addr
	Capabilities map[string]string // for ComputeCapabilitiesFilter
	Aggregates   []*Aggregate
}

// free is what is left, negative when the host was shrunk below its use.
func (h *Host) free() Resources { return h.Capacity.plus(h.Used, -1) }

// Table is the current state of all hosts. Its owner serialises access; Snapshots taken from it may be read by anyone for ever.
type Table struct {
	hosts  []*Host // sorted by name; shared with snapshots when shared is true
	index  map[string]int
	shared bool
}

// NewTable makes an empty table.
func NewTable() *Table { return &Table{index: map[string]int{}} }

// Snapshot is all hosts at one moment.
type Snapshot struct{ hosts []*Host }

// Snapshot takes the present state; it costs nothing until the next change.
func (t *Table) Snapshot() Snapshot {
	t.shared = true
	return Snapshot{t.hosts}
}

// own makes the slice ours to write to.
func (t *Table) own() {
	if t.shared {
		t.hosts = slices.Clone(t.hosts)
		t.shared = false
	}
}

// Get finds a host; nil if there is none.
func (t *Table) Get(name string) *Host {
	if i, ok := t.index[name]; ok {
		return t.hosts[i]
	}
	return nil
}

// Put adds or replaces a host.
func (t *Table) Put(h Host) {
	t.own()
	if i, ok := t.index[h.Name]; ok {
		t.hosts[i] = &h
		return
	}
	i, _ := slices.BinarySearchFunc(t.hosts, h.Name, func(x *Host, name string) int {
		switch {
		case x.Name < name:
			return -1
		case x.Name > name:
			return 1
		}
		return 0
	})
	t.hosts = slices.Insert(t.hosts, i, &h)
	for j := i; j < len(t.hosts); j++ {
		t.index[t.hosts[j].Name] = j
	}
}

// Remove takes a host out.
func (t *Table) Remove(name string) {
	i, ok := t.index[name]
	if !ok {
		return
	}
	t.own()
	t.hosts = slices.Delete(t.hosts, i, i+1)
	delete(t.index, name)
	for j := i; j < len(t.hosts); j++ {
		t.index[t.hosts[j].Name] = j
	}
}

// Change replaces a host by what edit makes of its copy; nothing if there is no such host.
func (t *Table) Change(name string, edit func(*Host)) {
	i, ok := t.index[name]
	if !ok {
		return
	}
	t.own()
	h := *t.hosts[i]
	edit(&h)
	t.hosts[i] = &h
}

// Hosts lists the hosts of the snapshot, by name. They must not be changed.
func (s Snapshot) Hosts() []*Host { return s.hosts }
