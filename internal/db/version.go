package db

import (
	"strings"
	"sync"
	"sync/atomic"
)

// versions counts the commits that wrote to each table of a database that this process alone writes to.
type versions struct {
	tables sync.Map // table → *atomic.Uint64
	all    atomic.Uint64
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
}

// Version is a number that changes with every commit that may have written to one of the tables: what was read after it was asked for, and while it stays the same, is what is
// there. ok is false where others may write to the database too: then nothing read may be kept on the strength of it.
func (d *DB) Version(tables ...string) (n uint64, ok bool) {
	l, alone := d.b.(*lite)
	if !alone {
		return 0, false
	}
	n = l.versions.all.Load()
	for _, t := range tables {
		n += l.versions.of(t).Load()
	}
	return n, true
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
