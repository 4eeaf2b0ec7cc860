package db

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// versions counts the commits that wrote to each table of a database that this process alone writes to.
type versions struct {
	tables sync.Map // table → *atomic.Uint64
	all    atomic.Uint64
	times  atomic.Uint64 // commits
}

func (v *versions) of(table string) *atomic.Uint64 {
	if n, ok := v.tables.Load(table); ok {
		return n.(*atomic.Uint64)
	}
	n, _ := v.tables.LoadOrStore(table, new(atomic.Uint64))
	return n.(*atomic.Uint64)
}

// committed notes what a transaction wrote. It is called after the commit and before anybody is told of it, so that who has been told never finds what was before.
func (v *versions) committed(written []string) {
	for _, t := range written {
		if t == everyTable {
			v.all.Add(1)
		} else {
			v.of(t).Add(1)
		}
	}
	v.times.Add(1)
}

func (v *versions) sum(tables []string) uint64 {
	n := v.all.Load()
	for _, t := range tables {
		n += v.of(t).Load()
	}
	return n
}

// Version is a number that changes with every commit that may have written to one of the tables: what was read after it was asked for, and while it stays the same, is what is
// there. ok is false where others may write to the database too: then nothing read may be kept on the strength of it.
func (d *DB) Version(tables ...string) (n uint64, ok bool) {
	l, alone := d.b.(*lite)
	if !alone {
		return 0, false
	}
	return l.versions.sum(tables), true
}

// Version is DB.Version for a transaction: what was kept under this number is what this transaction may go by. A writer's does not count what stands in its own batch before it, as if
// it had come first; ok is false where it has itself written to one of the tables.
func (t *Tx) Version(tables ...string) (n uint64, ok bool) {
	if t.versions == nil || slices.Contains(t.written, everyTable) || slices.ContainsFunc(tables, func(x string) bool { return slices.Contains(t.written, x) }) {
		return 0, false
	}
	return t.versions.sum(tables), true
}

// Current says that what this transaction has read is what is committed: it is a reader, and nothing was committed since it began. Then it may be kept under the Version that was
// asked for before it was read. A writer reads what may yet be taken back.
func (t *Tx) Current() bool {
	return !t.counts && t.versions != nil && t.versions.times.Load() == t.began
}

// everyTable stands for a statement of which one cannot say what it writes: a DELETE takes rows of other tables with it (ON DELETE CASCADE).
const everyTable = "*"

var writes sync.Map // text → table, "" for one that only reads; bounded by the query texts in the program

// tableOf is the table that a statement writes to, "" for none.
func tableOf(query string) string {
	if t, ok := writes.Load(query); ok {
		return t.(string)
	}
	t := ""
	f := strings.FieldsFunc(query, func(r rune) bool { return strings.ContainsRune(" \t\n(", r) })
	word := func(i int) string {
		if i < len(f) {
			return strings.ToUpper(f[i])
		}
		return ""
	}
	switch word(0) {
	case "SELECT", "PRAGMA", "EXPLAIN", "ANALYZE", "":
	case "INSERT":
		t = everyTable
		if word(1) == "INTO" && len(f) > 2 {
			t = f[2]
		}
	case "UPDATE":
		t = everyTable
		if len(f) > 1 && word(1) != "OR" {
			t = f[1]
		}
	default:
		t = everyTable
	}
	writes.Store(query, t)
	return t
}
