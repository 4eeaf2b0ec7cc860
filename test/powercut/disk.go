package powercut

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const page = 4096

// Disk is the file system. Its methods may be called from any goroutine.
type Disk struct {
	mu    sync.RWMutex // guards everything, the entries too
	root  *entry
	inode uint64
	lies  bool // fsync does nothing
	cut   bool
	syncs int
}

// entry is a file, a directory or a symbolic link, under Disk.mu.
type entry struct {
	inode    uint64
	mode     uint32 // with the type
	uid, gid uint32
	changed  time.Time
	target   string // of a link

	data  []byte         // as processes see it
	dirty map[int64]bool // pages that differ from kept
	kept  []byte         // on the platter

	names     map[string]*entry // of a directory
	keptNames map[string]*entry
}

// NewDisk makes an empty one.
func NewDisk() *Disk {
	d := &Disk{}
	d.root = d.make(0o40755)
	return d
}

func (d *Disk) make(mode uint32) *entry {
	d.inode++
	return &entry{inode: d.inode, mode: mode, changed: time.Now(), dirty: map[int64]bool{}, names: map[string]*entry{}, keptNames: map[string]*entry{}}
}

func (e *entry) isDir() bool { return e.mode&0o170000 == 0o40000 }

// resize is truncate.
func (e *entry) resize(size int64) {
	for p := min(size, int64(len(e.data))) / page; p*page <= max(size, int64(len(e.data))); p++ {
		e.dirty[p] = true
	}
	if size <= int64(len(e.data)) {
		e.data = slices.Clip(e.data[:size])
	} else {
		e.data = append(e.data, make([]byte, size-int64(len(e.data)))...)
	}
	e.changed = time.Now()
}

func (e *entry) write(b []byte, at int64) {
	if end := at + int64(len(b)); end > int64(len(e.data)) {
		e.resize(end)
	}
	copy(e.data[at:], b)
	for p := at / page; p*page < at+int64(len(b)); p++ {
		e.dirty[p] = true
	}
	e.changed = time.Now()
}

// settle brings some pages to the platter, and the size.
func (e *entry) settle(which func() bool) {
	size := len(e.data)
	if len(e.kept) > size {
		e.kept = e.kept[:size]
	} else {
		e.kept = append(e.kept, make([]byte, size-len(e.kept))...)
	}
	for p := range e.dirty {
		if from := p * page; from < int64(size) && which() {
			copy(e.kept[from:min(from+page, int64(size))], e.data[from:])
			delete(e.dirty, p)
		}
	}
}

func always() bool { return true }

// sync is fsync.
func (d *Disk) sync(e *entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lies || d.cut {
		return
	}
	d.syncs++
	if e.isDir() {
		e.keptNames = maps.Clone(e.names)
		return
	}
	e.settle(always)
	clear(e.dirty)
}

// Lie makes every fsync from now on do nothing, and say that it did.
func (d *Disk) Lie() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lies = true
}

// Before runs fn if the power has not been cut, and keeps it on until fn has ended.
func (d *Disk) Before(fn func()) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if !d.cut {
		fn()
	}
}

// Cut takes the power away and gives the disk as it is found afterwards. r, if not nil, has some of what was not synced be there all the same: pages and names, each by
// itself, as no order was asked for.
func (d *Disk) Cut(r *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
	out := &Disk{inode: d.inode}
	some := func() bool { return r != nil && r.IntN(2) == 0 }
	done := map[*entry]*entry{}
	var left func(e *entry) *entry
	left = func(e *entry) *entry {
		if c := done[e]; c != nil {
			return c
		}
		c := &entry{inode: e.inode, mode: e.mode, uid: e.uid, gid: e.gid, changed: e.changed, target: e.target, dirty: map[int64]bool{}, names: map[string]*entry{}, keptNames: map[string]*entry{}}
		done[e] = c
		if len(e.dirty) > 0 && some() {
			e.settle(some)
		}
		c.data, c.kept = slices.Clone(e.kept), slices.Clone(e.kept)
		names := maps.Clone(e.keptNames)
		for _, name := range slices.Sorted(maps.Keys(e.names)) {
			if names[name] != e.names[name] && some() {
				names[name] = e.names[name]
			}
		}
		for _, name := range slices.Sorted(maps.Keys(e.keptNames)) {
			if e.names[name] == nil && some() {
				delete(names, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			c.names[name] = left(names[name])
		}
		c.keptNames = maps.Clone(c.names)
		return c
	}
	out.root = left(d.root)
	return out
}
