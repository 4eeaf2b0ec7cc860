package scheduler

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
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
	Traits       []string          // for TraitsFilter
	NUMACells    int               // NUMA nodes that a guest may be given; 0: none are laid out
	PCPUs        int               // processors that one guest may have for itself
	PageSizes    []string          // KiB, of huge pages that guests may have
	Devices      []string          // aliases of the PCI devices that guests may have, sorted
	Aggregates   []*Aggregate
}

// free is what is left, negative when the host was shrunk below its use.
func (h *Host) free() Resources { return h.Capacity.plus(h.Used, -1) }

// room is the largest server that the host may take, by class: what is free, and no more than the machine has (an allocation ratio lets servers
// share, it does not make one server larger than the host; Placement's max_unit says the same). Never negative: a server that needs nothing of a class fits
// also where too much of it was given out.
func (h *Host) room() Resources {
	f := h.free()
	return Resources{max(0, min(f.VCPUs, h.Physical.VCPUs)), max(0, min(f.RAMMiB, h.Physical.RAMMiB)), max(0, min(f.DiskGiB, h.Physical.DiskGiB))}
}

func (h *Host) alive() bool { return h.Enabled && h.Up }

// describe says what a host is, in a form that is the same for hosts that are the same to the filters marked kind.
func (h *Host) describe() string {
	var b strings.Builder
	say := func(words ...string) {
		for _, w := range words {
			b.WriteString(strconv.Quote(w))
		}
		b.WriteByte('\n')
	}
	say(h.Zone, h.Arch, h.Hypervisor)
	say(slices.Sorted(slices.Values(h.Traits))...)
	say(strconv.Itoa(h.NUMACells), strconv.Itoa(h.PCPUs))
	say(h.PageSizes...)
	say(h.Devices...)
	about := func(m map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			say(k, m[k])
		}
	}
	about(h.Capabilities)
	for _, a := range h.Aggregates {
		say(a.Name)
		about(a.Metadata)
	}
	return b.String()
}

// alike says that two hosts have the same description; false may be wrong.
func (h *Host) alike(o *Host) bool {
	return h.Zone == o.Zone && h.Arch == o.Arch && h.Hypervisor == o.Hypervisor && slices.Equal(h.Traits, o.Traits) && slices.Equal(h.Aggregates, o.Aggregates) &&
		h.NUMACells == o.NUMACells && h.PCPUs == o.PCPUs && slices.Equal(h.PageSizes, o.PageSizes) && slices.Equal(h.Devices, o.Devices) &&
		maps.Equal(h.Capabilities, o.Capabilities)
}
