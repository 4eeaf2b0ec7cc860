package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// topology is what this machine has to lay guests out on. It is read once: memory and processors are not plugged while the agent runs.
type topology struct {
	cells     []cell
	dedicated map[int]bool // processors that only guests with a claim on one run on
}

// cell is a NUMA node of this machine. A kernel without NUMA has one with everything.
type cell struct {
	id     int
	cpus   []int
	ramMiB int
	pages  map[int]int // how many huge pages the operator has set apart, by KiB
}

// sysfs is where the kernel tells of nodes and processors; tests have their own.
const sysfs = "/sys/devices/system"

// readTopology reads the machine; dedicated is the operator's list of processors.
func readTopology(root, dedicated string) (topology, error) {
	t := topology{dedicated: map[int]bool{}}
	dirs, err := filepath.Glob(filepath.Join(root, "node", "node[0-9]*"))
	if err != nil {
		return t, err
	}
	for _, dir := range dirs {
		c, err := readCell(dir)
		if err != nil {
			return t, err
		}
		if len(c.cpus) > 0 { // a node of memory alone is nothing to run a guest on
			t.cells = append(t.cells, c)
		}
	}
	slices.SortFunc(t.cells, func(a, b cell) int { return cmp.Compare(a.id, b.id) })
	all := map[int]bool{}
	for _, c := range t.cells {
		for _, id := range c.cpus {
			all[id] = true
		}
	}
	list, err := hostapi.ParseCPUs(dedicated)
	if err != nil {
		return t, fault.Invalid("cpu_dedicated_set", "compute.cpu_dedicated_set: %v", err)
	}
	for _, id := range list {
		if !all[id] {
			return t, fault.Invalid("cpu_dedicated_set", "compute.cpu_dedicated_set names processor %d, which this machine does not have", id)
		}
		t.dedicated[id] = true
	}
	if len(list) > 0 && len(list) == len(all) {
		return t, fault.Invalid("cpu_dedicated_set", "compute.cpu_dedicated_set %s leaves no processor for this machine itself and for other servers", dedicated)
	}
	return t, nil
}

func readCell(dir string) (cell, error) {
	c := cell{pages: map[int]int{}}
	var err error
	if c.id, err = strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "node")); err != nil {
		return c, err
	}
	list, err := os.ReadFile(filepath.Join(dir, "cpulist"))
	if err != nil {
		return c, err
	}
	if c.cpus, err = hostapi.ParseCPUs(string(list)); err != nil {
		return c, err
	}
	memory, err := os.ReadFile(filepath.Join(dir, "meminfo"))
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(string(memory)) { // Node 0 MemTotal:       24587276 kB
		if f := strings.Fields(line); len(f) > 3 && f[2] == "MemTotal:" {
			kib, err := strconv.Atoi(f[3])
			if err != nil {
				return c, fmt.Errorf("%s: %w", dir, err)
			}
			c.ramMiB = kib >> 10
		}
	}
	sizes, err := filepath.Glob(filepath.Join(dir, "hugepages", "hugepages-*kB"))
	if err != nil {
		return c, err
	}
	for _, size := range sizes {
		kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(size), "hugepages-"), "kB"))
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(size, "nr_hugepages"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return c, err
		}
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n > 0 {
			c.pages[kib] = n
		}
	}
	return c, nil
}

// pageSizes are the sizes of huge pages that any cell has, in KiB, rising.
func (t topology) pageSizes() []int {
	all := map[int]bool{}
	for _, c := range t.cells {
		for size := range c.pages {
			all[size] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// shared are the processors that servers without a claim on one float over.
func (t topology) shared() (out []int) {
	for _, c := range t.cells {
		out = append(out, t.floating(c)...)
	}
	return out
}

// floating are those of one cell.
func (t topology) floating(c cell) (out []int) {
	for _, id := range c.cpus {
		if !t.dedicated[id] {
			out = append(out, id)
		}
	}
	return out
}

// place is where a guest with a layout lies. It is part of the guest's record: an adopted guest holds what it held.
type place struct {
	Cells []int `json:"cells,omitempty"` // id of the host's NUMA node, by the guest's
	RAM   []int `json:"ram,omitempty"`   // MiB there, likewise
	Pins  []int `json:"pins,omitempty"`  // processor of the host, by the guest's; nil: they float
	Pages int   `json:"pages,omitempty"` // KiB, of huge pages; 0: the usual ones
}

// find chooses where a guest lies, given all that the others hold: each of its NUMA nodes on a cell of its own, the emptiest first, and no processor of the dedicated ones twice.
// fault.KindNoCapacity says what is missing.
func (t topology) find(vcpus int, l hostapi.Layout, others []place) (place, error) {
	if l.Free() {
		return place{}, nil
	}
	sizes := []int{l.Pages}
	if l.Pages == hostapi.LargestPages {
		sizes = t.pageSizes()
		slices.Reverse(sizes)
		if len(sizes) == 0 {
			return place{}, fault.NoCapacity("this host has no huge pages")
		}
	}
	var err error
	for _, size := range sizes {
		s := search{topology: t, layout: l, size: size, pinned: map[int]bool{}, bound: map[int]int{}, huge: map[int]int{}}
		for _, o := range others {
			s.hold(o)
		}
		out := place{Pages: size, Cells: make([]int, len(l.Nodes)), RAM: make([]int, len(l.Nodes))}
		if l.Dedicated {
			out.Pins = make([]int, vcpus)
		}
		if s.node(0, &out, map[int]bool{}) {
			return out, nil
		}
		err = fault.NoCapacity("no free NUMA node of this host is left for NUMA node %d of the server: %s", s.deepest, s.why)
	}
	return place{}, err
}

// search is one depth-first search over the cells.
type search struct {
	topology
	layout  hostapi.Layout
	size    int          // of pages, KiB; 0: the usual ones
	pinned  map[int]bool // processors that have a guest
	bound   map[int]int  // MiB of usual memory of guests that are bound there, by cell
	huge    map[int]int  // MiB in huge pages of this size, by cell
	deepest int          // the node that no cell was found for
	why     string
}

func (s *search) hold(o place) {
	for _, id := range o.Pins {
		s.pinned[id] = true
	}
	for i, id := range o.Cells {
		switch o.Pages {
		case 0:
			s.bound[id] += o.RAM[i]
		case s.size:
			s.huge[id] += o.RAM[i]
		}
	}
}

// node finds a cell for node i and all that follow.
func (s *search) node(i int, out *place, used map[int]bool) bool {
	if i == len(s.layout.Nodes) {
		return true
	}
	n := s.layout.Nodes[i]
	order := slices.Clone(s.cells)
	slices.SortStableFunc(order, func(a, b cell) int { return cmp.Compare(s.bound[a.id]+s.huge[a.id], s.bound[b.id]+s.huge[b.id]) })
	for _, c := range order {
		if used[c.id] {
			s.fails(i, "it has more NUMA nodes than this host")
			continue
		}
		free, why := s.fits(n, c)
		if why != "" {
			s.fails(i, why)
			continue
		}
		out.Cells[i], out.RAM[i], used[c.id] = c.id, n.RAMMiB, true
		for k, cpu := range n.CPUs {
			if s.layout.Dedicated {
				out.Pins[cpu] = free[k]
			}
		}
		if s.node(i+1, out, used) {
			return true
		}
		delete(used, c.id)
	}
	return false
}

// fails remembers why the search went no further, of the node that it came to last.
func (s *search) fails(i int, why string) {
	if i >= s.deepest {
		s.deepest, s.why = i, why
	}
}

// fits says why a cell cannot have a node, or which of its dedicated processors are free.
func (s *search) fits(n hostapi.Node, c cell) (free []int, why string) {
	if s.layout.Dedicated {
		for _, id := range c.cpus {
			if s.dedicated[id] && !s.pinned[id] {
				free = append(free, id)
			}
		}
		if len(free) < len(n.CPUs) {
			return nil, fmt.Sprintf("%d processors to dedicate are free on node %d, %d are asked for", len(free), c.id, len(n.CPUs))
		}
	} else if floats := s.floating(c); len(floats) < len(n.CPUs) {
		return nil, fmt.Sprintf("node %d has %d processors, %d are asked for", c.id, len(floats), len(n.CPUs))
	}
	if s.size > 0 {
		if have := c.pages[s.size] * s.size >> 10; have-s.huge[c.id] < n.RAMMiB {
			return nil, fmt.Sprintf("node %d has %d MiB left in huge pages of %d KiB, %d are asked for", c.id, max(0, have-s.huge[c.id]), s.size, n.RAMMiB)
		}
	} else if left := c.ramMiB - s.bound[c.id]; left < n.RAMMiB {
		return nil, fmt.Sprintf("node %d has %d MiB left, %d are asked for", c.id, left, n.RAMMiB)
	}
	return free, ""
}

// takePlace gives a guest its place, once, and keeps it from others until leave. Two starts at once never take the same.
func (d *Driver) takePlace(spec hypervisor.Guest) (place, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	others := make([]place, 0, len(d.places))
	for id, p := range d.places {
		if id != spec.ID {
			others = append(others, p)
		}
	}
	p, err := d.topology.find(spec.VCPUs, spec.Layout, others)
	if err == nil && !spec.Layout.Free() {
		d.places[spec.ID] = p
	}
	return p, err
}

// keepPlace is takePlace of a guest that runs already.
func (d *Driver) keepPlace(id string, p place) {
	if len(p.Cells) == 0 {
		return
	}
	d.mu.Lock()
	d.places[id] = p
	d.mu.Unlock()
}

func (d *Driver) leavePlace(id string) {
	d.mu.Lock()
	delete(d.places, id)
	d.mu.Unlock()
}

// bind puts a guest's threads on the processors that they belong to: dedicated ones one by one, those of a NUMA node anywhere on its cell, and those of all other guests off the
// dedicated processors. QEMU's own threads stay near the guest's processors.
func (d *Driver) bind(ctx context.Context, m *machine, spec hypervisor.Guest, p place) error {
	if spec.Layout.Free() {
		if len(d.topology.dedicated) == 0 {
			return nil
		}
		return bindAll(m.proc.pid, d.topology.shared())
	}
	var near []int
	byCPU := make([][]int, spec.VCPUs)
	for i, n := range spec.Layout.Nodes {
		at := slices.IndexFunc(d.topology.cells, func(c cell) bool { return c.id == p.Cells[i] })
		if at < 0 {
			return fmt.Errorf("NUMA node %d of this host is gone", p.Cells[i])
		}
		for _, cpu := range n.CPUs {
			byCPU[cpu] = d.topology.floating(d.topology.cells[at])
			if p.Pins != nil {
				byCPU[cpu] = []int{p.Pins[cpu]}
			}
			near = append(near, byCPU[cpu]...)
		}
	}
	if err := bindAll(m.proc.pid, near); err != nil {
		return err
	}
	var cpus []struct {
		Index  int `json:"cpu-index"`
		Thread int `json:"thread-id"`
	}
	if err := m.do(ctx, "query-cpus-fast", nil, &cpus); err != nil {
		return err
	}
	for _, c := range cpus {
		if c.Index >= len(byCPU) {
			return fmt.Errorf("QEMU has a processor %d", c.Index)
		}
		if err := bindThread(c.Thread, byCPU[c.Index]); err != nil {
			return err
		}
	}
	return nil
}

// bindAll binds the threads that a process has; those that they start inherit it.
func bindAll(pid int, cpus []int) error {
	dirs, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	for _, t := range dirs {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := bindThread(id, cpus); err != nil && !errors.Is(err, unix.ESRCH) { // a helper thread may end meanwhile
			return err
		}
	}
	return nil
}

func bindThread(id int, cpus []int) error {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	if err := unix.SchedSetaffinity(id, &set); err != nil {
		return fmt.Errorf("binding thread %d to processors %v: %w", id, cpus, err)
	}
	return nil
}

// layoutArgs are the command line's part of it: the shape that the guest sees, and its memory node by node. Memory in huge pages is taken whole at the start, so that a guest for
// which there is too little does not start rather than die when it touches it.
func layoutArgs(l hostapi.Layout, p place, vcpus int) (smp string, more []string) {
	smp = fmt.Sprintf("%d,sockets=%d,cores=1,threads=1", vcpus, vcpus)
	if l.Sockets > 0 {
		smp = fmt.Sprintf("%d,sockets=%d,cores=%d,threads=%d", vcpus, l.Sockets, l.Cores, l.Threads)
	}
	for i, n := range l.Nodes {
		object := fmt.Sprintf("memory-backend-ram,id=memory%d,size=%dM", i, n.RAMMiB)
		if p.Pages > 0 {
			object = fmt.Sprintf("memory-backend-memfd,id=memory%d,size=%dM,hugetlb=on,hugetlbsize=%dK,prealloc=on", i, n.RAMMiB, p.Pages)
		}
		object += fmt.Sprintf(",host-nodes=%d,policy=bind", p.Cells[i])
		node := fmt.Sprintf("node,nodeid=%d,memdev=memory%d", i, i)
		for _, cpu := range n.CPUs {
			node += ",cpus=" + strconv.Itoa(cpu)
		}
		more = append(more, "-object", object, "-numa", node)
	}
	return smp, more
}
