package linux

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// owner is what a device's alias says: whose it is, and the number that goes with it.
type owner struct {
	kind   string // network, port, router, leg, external, tunnel
	id     string
	number uint16 // conntrack zone of a network, mark of a port; else 0
}

func (o owner) alias() string { return fmt.Sprintf("nephos %s %s %d", o.kind, o.id, o.number) }

func parseAlias(s string) (owner, bool) {
	f := strings.Fields(s)
	if len(f) != 4 || f[0] != "nephos" {
		return owner{}, false
	}
	n, err := strconv.ParseUint(f[3], 10, 16)
	if err != nil {
		return owner{}, false
	}
	return owner{kind: f[1], id: f[2], number: uint16(n)}, true
}

// nameBook gives each id a device name made of its first characters, and another one when two ids begin alike. A name once given
// stays, which is why existing devices are entered first (adopt).
type nameBook struct {
	byOwner map[string]string // kind + id → name
	byName  map[string]string
}

func newNameBook() *nameBook {
	return &nameBook{byOwner: map[string]string{}, byName: map[string]string{}}
}

func (b *nameBook) adopt(kind, id, name string) {
	key := kind + " " + id
	if _, taken := b.byName[name]; !taken && b.byOwner[key] == "" {
		b.byOwner[key], b.byName[name] = name, key
	}
}

// name gives prefix followed by n characters: of the id, else of a hash of the id.
func (b *nameBook) name(kind, id, prefix string, n int) string {
	key := kind + " " + id
	if name := b.byOwner[key]; name != "" {
		return name
	}
	name := prefix + id[:min(n, len(id))]
	for try := 0; b.byName[name] != ""; try++ {
		h := sha256.Sum256([]byte(id + strconv.Itoa(try)))
		name = prefix + hex.EncodeToString(h[:])[:n]
	}
	b.byOwner[key], b.byName[name] = name, key
	return name
}

// keep forgets every owner that is not in live.
func (b *nameBook) keep(live map[string]bool) {
	for key, name := range b.byOwner {
		if !live[key] {
			delete(b.byOwner, key)
			delete(b.byName, name)
		}
	}
}

// numberBook gives each id a number 1 … 65535 that stays. Freed numbers come back last, so that conntrack entries of an old network
// are gone before another one gets its zone.
type numberBook struct {
	byID map[string]uint16
	used map[uint16]bool
	next uint16
}

func newNumberBook() *numberBook {
	return &numberBook{byID: map[string]uint16{}, used: map[uint16]bool{}, next: 1}
}

func (b *numberBook) adopt(id string, n uint16) {
	if n != 0 && !b.used[n] && b.byID[id] == 0 {
		b.byID[id], b.used[n] = n, true
		if n >= b.next {
			b.next = n + 1
		}
	}
}

// number is 0 when all are in use.
func (b *numberBook) number(id string) uint16 {
	if n := b.byID[id]; n != 0 {
		return n
	}
	for range 1 << 16 {
		n := b.next
		b.next++
		if n != 0 && !b.used[n] {
			b.byID[id], b.used[n] = n, true
			return n
		}
	}
	return 0
}

func (b *numberBook) keep(live map[string]bool) {
	for id, n := range b.byID {
		if !live[id] {
			delete(b.byID, id)
			delete(b.used, n)
		}
	}
}

// books are all names and numbers in use on this host.
type books struct {
	names *nameBook
	zones *numberBook // by network
	marks *numberBook // by port
}

func newBooks() *books {
	return &books{names: newNameBook(), zones: newNumberBook(), marks: newNumberBook()}
}

// adopt enters a device found on the host.
func (b *books) adopt(name string, o owner) {
	b.names.adopt(o.kind, o.id, name)
	switch o.kind {
	case "network":
		b.zones.adopt(o.id, o.number)
	case "port":
		b.marks.adopt(o.id, o.number)
	}
}
