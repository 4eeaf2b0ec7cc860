package scheduler

import (
	"math"
	"math/bits"
	"slices"
	"strings"
)

// chunkSize is how many hosts a chunk holds at most: as many as a word has bits.
const chunkSize = 64

// owner tells the table that may write to a chunk. It has a size so that no two have the same address.
type owner struct{ _ byte }

// chunk is up to chunkSize hosts in the order of their names, with columns of what is asked of all of them.
type chunk struct {
	owner *owner
	n     int
	hosts [chunkSize]*Host
	kinds [chunkSize]int // see Table.kinds
	alive uint64         // a bit for each host that is enabled and up
	// room of each host, dead or alive, and the least of each column among those alive.
	vcpus, ram, disk [chunkSize]int
	least            Resources
	// weights are the values of the static weighers, with the bounds of each column among the hosts alive; no bounds when none is.
	weights [statics][chunkSize]int
	lo, hi  [statics]int
	oneKind bool // all hosts are of the same kind
}

// set writes host i and its columns; sum must follow.
func (c *chunk) set(i int, h *Host, kind int) {
	room := h.room()
	c.hosts[i], c.kinds[i], c.vcpus[i], c.ram[i], c.disk[i] = h, kind, room.VCPUs, room.RAMMiB, room.DiskGiB
	for w := range statics {
		c.weights[w][i] = weighers[w].static(h)
	}
}

// sum brings what the chunk says of all its hosts up to date.
func (c *chunk) sum() {
	n := c.n
	c.alive = 0
	for i, h := range c.hosts[:n] {
		if h.alive() {
			c.alive |= 1 << i
		}
	}
	c.least.VCPUs, _ = bounds(&c.vcpus, c.alive)
	c.least.RAMMiB, _ = bounds(&c.ram, c.alive)
	c.least.DiskGiB, _ = bounds(&c.disk, c.alive)
	for w := range statics {
		c.lo[w], c.hi[w] = bounds(&c.weights[w], c.alive)
	}
	c.oneKind = !slices.ContainsFunc(c.kinds[:n], func(k int) bool { return k != c.kinds[0] })
}

// bounds are the least and the most of a column among the hosts of a mask; math.MaxInt and math.MinInt when there are none.
func bounds(column *[chunkSize]int, mask uint64) (lo, hi int) {
	lo, hi = math.MaxInt, math.MinInt
	for ; mask != 0; mask &= mask - 1 {
		v := column[bits.TrailingZeros64(mask)]
		lo, hi = min(lo, v), max(hi, v)
	}
	return lo, hi
}

// full has a bit for every host.
func (c *chunk) full() uint64 { return ^uint64(0) >> (chunkSize - c.n) }

// fitting has a bit for every host that is alive and has room.
func (c *chunk) fitting(need Resources) uint64 {
	if need.RAMMiB <= c.least.RAMMiB && need.VCPUs <= c.least.VCPUs && need.DiskGiB <= c.least.DiskGiB {
		return c.alive
	}
	var mask uint64
	for i := range c.n {
		if need.RAMMiB <= c.ram[i] && need.VCPUs <= c.vcpus[i] && need.DiskGiB <= c.disk[i] {
			mask |= 1 << i
		}
	}
	return mask & c.alive
}

func (c *chunk) find(name string) (int, bool) {
	return slices.BinarySearchFunc(c.hosts[:c.n], name, func(h *Host, name string) int { return strings.Compare(h.Name, name) })
}

// Table is the current state of all hosts. Its owner serialises access; Snapshots taken from it may be read by anyone for ever.
type Table struct {
	chunks []*chunk // none is empty; by name
	shared bool     // a snapshot has this slice
	me     *owner   // nil: no chunk is ours
	// kinds has one host of each kind: hosts that are the same to filters by what they are, as against what they hold. Only appended to, so that snapshots
	// share it; its numbers are found by what describe says.
	kinds  []*Host
	byKind map[string]int
	n      int // hosts
}

// NewTable makes an empty table.
func NewTable() *Table { return &Table{byKind: map[string]int{}} }

// Snapshot is all hosts at one moment.
type Snapshot struct {
	chunks []*chunk
	kinds  []*Host
}

// Snapshot takes the present state, at no cost. The next change of a host copies its chunk.
func (t *Table) Snapshot() Snapshot {
	t.shared, t.me = true, nil
	return Snapshot{t.chunks, t.kinds}
}

// own makes the list ours to write to.
func (t *Table) own() {
	if t.shared {
		t.chunks, t.shared = slices.Clone(t.chunks), false
	}
	if t.me == nil {
		t.me = new(owner)
	}
}

// writable gives chunk k as ours to write to.
func (t *Table) writable(k int) *chunk {
	t.own()
	if t.chunks[k].owner != t.me {
		c := *t.chunks[k]
		c.owner = t.me
		t.chunks[k] = &c
	}
	return t.chunks[k]
}

// find gives the chunk and place of a host, or where it belongs. In an empty table there is no chunk 0.
func (t *Table) find(name string) (k, i int, ok bool) {
	k, exact := slices.BinarySearchFunc(t.chunks, name, func(c *chunk, name string) int { return strings.Compare(c.hosts[0].Name, name) })
	if exact {
		return k, 0, true
	}
	if k = max(0, k-1); k == len(t.chunks) {
		return 0, 0, false
	}
	i, ok = t.chunks[k].find(name)
	return k, i, ok
}

// Get finds a host; nil if there is none. It must not be changed.
func (t *Table) Get(name string) *Host {
	if k, i, ok := t.find(name); ok {
		return t.chunks[k].hosts[i]
	}
	return nil
}

func (t *Table) put(k, i int, h *Host, kind int) {
	c := t.writable(k)
	c.set(i, h, kind)
	c.sum()
}

// kind gives the number of a host's kind. When there are many more kinds than hosts, those that no host has any more are forgotten.
func (t *Table) kind(h *Host) int {
	if len(t.kinds) > 2*t.n+chunkSize {
		t.kinds, t.byKind = nil, map[string]int{}
		for k := range t.chunks {
			c := t.writable(k)
			for i, x := range c.hosts[:c.n] {
				c.kinds[i] = t.number(x)
			}
			c.sum()
		}
	}
	return t.number(h)
}

func (t *Table) number(h *Host) int {
	key := h.describe()
	n, ok := t.byKind[key]
	if !ok {
		n = len(t.kinds)
		t.kinds = append(t.kinds, h)
		t.byKind[key] = n
	}
	return n
}

// Put adds or replaces a host.
func (t *Table) Put(h Host) {
	k, i, ok := t.find(h.Name)
	kind := t.kind(&h)
	switch {
	case ok:
		t.put(k, i, &h, kind)
		return
	case len(t.chunks) == 0:
		t.insertChunk(0)
	case t.chunks[k].n == chunkSize && i == chunkSize: // in the order of names: chunks are left full
		k, i = k+1, 0
		t.insertChunk(k)
	case t.chunks[k].n == chunkSize:
		t.split(k)
		if half := t.chunks[k].n; i > half {
			k, i = k+1, i-half
		}
	}
	t.n++
	c := t.writable(k)
	for j := c.n; j > i; j-- {
		c.set(j, c.hosts[j-1], c.kinds[j-1])
	}
	c.n++
	c.set(i, &h, kind)
	c.sum()
}

func (t *Table) insertChunk(k int) {
	t.own()
	t.chunks = slices.Insert(t.chunks, k, &chunk{owner: t.me})
}

func (t *Table) split(k int) {
	t.insertChunk(k + 1)
	a, b := t.writable(k), t.chunks[k+1]
	half := a.n / 2
	for j := half; j < a.n; j++ {
		b.set(j-half, a.hosts[j], a.kinds[j])
		a.hosts[j] = nil
	}
	a.n, b.n = half, a.n-half
	a.sum()
	b.sum()
}

// Remove takes a host out.
func (t *Table) Remove(name string) {
	k, i, ok := t.find(name)
	if !ok {
		return
	}
	t.n--
	c := t.writable(k)
	for j := i; j < c.n-1; j++ {
		c.set(j, c.hosts[j+1], c.kinds[j+1])
	}
	c.n--
	c.hosts[c.n] = nil
	if c.n == 0 {
		t.chunks = slices.Delete(t.chunks, k, k+1)
		return
	}
	c.sum()
}

// Change replaces a host by what edit makes of its copy, whose name must stay and whose maps and lists must be replaced, not written to; nothing if there is no such host.
func (t *Table) Change(name string, edit func(*Host)) {
	if k, i, ok := t.find(name); ok {
		old, kind := t.chunks[k].hosts[i], t.chunks[k].kinds[i]
		h := *old
		edit(&h)
		if !h.alike(old) {
			kind = t.kind(&h)
		}
		t.put(k, i, &h, kind)
	}
}

// Hosts lists the hosts of the snapshot, by name. They must not be changed.
func (s Snapshot) Hosts() []*Host {
	out := make([]*Host, 0, s.Len())
	for _, c := range s.chunks {
		out = append(out, c.hosts[:c.n]...)
	}
	return out
}

// Len is the number of hosts.
func (s Snapshot) Len() int {
	n := 0
	for _, c := range s.chunks {
		n += c.n
	}
	return n
}
