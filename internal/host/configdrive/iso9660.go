package configdrive

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// Layout, in sectors of 2048 bytes (ECMA-119; Rock Ridge: IEEE P1281 and P1282; Joliet: Microsoft's 1995 specification):
//
//	0–15  unused     16  primary descriptor     17  Joliet descriptor     18  end of descriptors
//	19 …  path tables (primary little and big endian, Joliet both), directories primary, directories Joliet, file contents
//
// The two trees name the same file extents.
const (
	sectorBytes = 2048
	firstFree   = 19
	maxName     = 64 // Joliet's limit
)

// entry is a file or directory.
type entry struct {
	name     string
	dir      bool
	content  []byte
	children []*entry // sorted by name
	parent   *entry   // of the root: itself
	fileAt   uint32   // sector of a file's content
	at       [2]extent
}

// extent is where a directory lies in one of the two trees.
type extent struct {
	sector, bytes uint32
	number        uint16 // in the path table, from 1
}

// The two trees.
const (
	primary = iota
	joliet
)

// image lays out files (by slash-separated path) as an ISO 9660 image. Equal arguments give equal bytes.
func image(label string, files map[string][]byte, at time.Time) ([]byte, error) {
	root, err := tree(files)
	if err != nil {
		return nil, err
	}
	var w layout
	w.stamp = at.UTC()
	if y := w.stamp.Year(); y < 1980 || y > 2155 { // one byte counts the years from 1900; some guests dislike dates before 1980
		w.stamp = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	next := uint32(firstFree)
	var dirs [2][]*entry
	var tables [2][2]uint32 // sector of the path table: [tree][endian]
	for t := range dirs {
		dirs[t] = pathOrder(root, t)
		for k, d := range dirs[t] {
			d.at[t].number = uint16(k + 1)
		}
		for e := range tables[t] {
			tables[t][e] = next
			next += sectors(len(w.pathTable(dirs[t], t, binary.LittleEndian)))
		}
	}
	for t := range dirs {
		for _, d := range dirs[t] {
			d.at[t].bytes = sectors(len(w.directory(d, t))) * sectorBytes
			d.at[t].sector = next
			next += d.at[t].bytes / sectorBytes
		}
	}
	var contents []*entry
	root.walk(func(e *entry) {
		if !e.dir {
			contents = append(contents, e)
			e.fileAt = next
			next += sectors(len(e.content))
		}
	})
	if int64(next)*sectorBytes > 2*MaxBytes {
		return nil, fmt.Errorf("an image of %d sectors is too large", next)
	}

	img := make([]byte, int(next)*sectorBytes)
	put := func(sector uint32, b []byte) { copy(img[int(sector)*sectorBytes:], b) }
	for t := range dirs {
		table := w.pathTable(dirs[t], t, binary.LittleEndian)
		put(tables[t][0], table)
		put(tables[t][1], w.pathTable(dirs[t], t, binary.BigEndian))
		put(uint32(16+t), w.descriptor(t, label, root, next, uint32(len(table)), tables[t]))
		for _, d := range dirs[t] {
			put(d.at[t].sector, w.directory(d, t))
		}
	}
	put(18, []byte("\xffCD001\x01"))
	for _, f := range contents {
		put(f.fileAt, f.content)
	}
	return img, nil
}

func sectors(n int) uint32 { return uint32((n + sectorBytes - 1) / sectorBytes) }

// tree turns paths into directories and checks that every name can be written, and stays unlike its neighbours, in both trees.
func tree(files map[string][]byte) (*entry, error) {
	root := &entry{dir: true}
	root.parent = root
	for _, path := range slices.Sorted(maps.Keys(files)) {
		at := root
		parts := strings.Split(path, "/")
		if len(parts) > 7 {
			return nil, fmt.Errorf("%s lies deeper than the 8 levels of ISO 9660", path)
		}
		for k, name := range parts {
			if name == "" || name == "." || name == ".." || len(utf16.Encode([]rune(name))) > maxName || len(name) > maxName {
				return nil, fmt.Errorf("%s has a name that does not fit", path)
			}
			leaf := k == len(parts)-1
			i := slices.IndexFunc(at.children, func(e *entry) bool { return e.name == name })
			if i < 0 {
				e := &entry{name: name, dir: !leaf, parent: at}
				if leaf {
					e.content = files[path]
				}
				at.children = append(at.children, e)
				at = e
				continue
			}
			if at = at.children[i]; leaf || !at.dir {
				return nil, fmt.Errorf("%s is both a file and a directory", path)
			}
		}
	}
	var err error
	root.walk(func(e *entry) {
		seen := map[string]bool{}
		for _, c := range e.children {
			if id := string(c.identifier(primary)); seen[id] {
				err = fmt.Errorf("%s: two names become %s", e.name, id)
			} else {
				seen[id] = true
			}
		}
	})
	return root, err
}

func (e *entry) walk(f func(*entry)) {
	f(e)
	for _, c := range e.children {
		c.walk(f)
	}
}

// identifier is the name as a tree records it. Primary: capitals, digits and underscore, one dot, version 1, at most 30 characters
// (level 2); only old systems see it. Joliet: UCS-2, big endian.
func (e *entry) identifier(t int) []byte {
	if t == joliet {
		name := e.name
		if !e.dir {
			name += ";1"
		}
		var b []byte
		for _, u := range utf16.Encode([]rune(name)) {
			b = binary.BigEndian.AppendUint16(b, u)
		}
		return b
	}
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' {
				return r
			}
			return '_'
		}, strings.ToUpper(s))
	}
	if e.dir {
		s := clean(e.name)
		return []byte(s[:min(31, len(s))])
	}
	stem, ext := e.name, ""
	if dot := strings.LastIndexByte(e.name, '.'); dot > 0 {
		stem, ext = e.name[:dot], e.name[dot+1:]
	}
	stem, ext = clean(stem), clean(ext)
	ext = ext[:min(8, len(ext))]
	return []byte(stem[:min(28-len(ext), len(stem))] + "." + ext + ";1")
}

// pathOrder lists the directories as a path table wants them: by level, then by the parent's number, then by name.
func pathOrder(root *entry, t int) []*entry {
	list := []*entry{root}
	for k := 0; k < len(list); k++ {
		for _, c := range list[k].sorted(t) {
			if c.dir {
				list = append(list, c)
			}
		}
	}
	return list
}

func (e *entry) sorted(t int) []*entry {
	s := slices.Clone(e.children)
	slices.SortFunc(s, func(a, b *entry) int { return cmp.Compare(string(a.identifier(t)), string(b.identifier(t))) })
	return s
}

type layout struct{ stamp time.Time }

func (w layout) pathTable(dirs []*entry, t int, order binary.AppendByteOrder) []byte {
	var b []byte
	for _, d := range dirs {
		id := []byte{0}
		if d.parent != d {
			id = d.identifier(t)
		}
		b = append(b, byte(len(id)), 0)
		b = order.AppendUint32(b, d.at[t].sector)
		b = order.AppendUint16(b, d.parent.at[t].number)
		b = append(b, id...)
		if len(id)%2 == 1 {
			b = append(b, 0)
		}
	}
	return b
}

// directory is the extent of a directory: itself, its parent, its children. No record crosses a sector.
func (w layout) directory(d *entry, t int) []byte {
	var b []byte
	add := func(r []byte) {
		if room := sectorBytes - len(b)%sectorBytes; len(r) > room {
			b = append(b, make([]byte, room)...)
		}
		b = append(b, r...)
	}
	add(w.record(d, []byte{0}, t, w.systemUse(d, t, true)))
	add(w.record(d.parent, []byte{1}, t, w.systemUse(d.parent, t, false)))
	for _, c := range d.sorted(t) {
		use := w.systemUse(c, t, false)
		if t == primary {
			use = append(append(use, 'N', 'M', byte(5+len(c.name)), 1, 0), c.name...)
		}
		add(w.record(c, c.identifier(t), t, use))
	}
	return b
}

// systemUse is the Rock Ridge part of a record: mode and owner of everything (PX), and in the root's own record the marks that say
// that Rock Ridge is used (SP, ER).
func (w layout) systemUse(e *entry, t int, self bool) []byte {
	if t != primary {
		return nil
	}
	var b []byte
	if self && e.parent == e {
		b = append(b, 'S', 'P', 7, 1, 0xbe, 0xef, 0)
	}
	mode, links := uint32(0o100444), uint32(1)
	if e.dir {
		mode, links = 0o040555, 2
		for _, c := range e.children {
			if c.dir {
				links++
			}
		}
	}
	b = append(b, 'P', 'X', 36, 1)
	for _, n := range []uint32{mode, links, 0, 0} {
		b = both32(b, n)
	}
	if self && e.parent == e {
		const id = "RRIP_1991A"
		b = append(append(b, 'E', 'R', 8+byte(len(id)), 1, byte(len(id)), 0, 0, 1), id...)
	}
	return b
}

// record is a directory record (ECMA-119 9.1).
func (w layout) record(e *entry, id []byte, t int, use []byte) []byte {
	sector, size, flags := e.fileAt, uint32(len(e.content)), byte(0)
	if e.dir {
		sector, size, flags = e.at[t].sector, e.at[t].bytes, 2
	}
	b := []byte{0, 0}
	b = both32(b, sector)
	b = both32(b, size)
	s := w.stamp
	b = append(b, byte(s.Year()-1900), byte(s.Month()), byte(s.Day()), byte(s.Hour()), byte(s.Minute()), byte(s.Second()), 0)
	b = append(b, flags, 0, 0)
	b = both16(b, 1)
	b = append(b, byte(len(id)))
	b = append(b, id...)
	if len(id)%2 == 0 {
		b = append(b, 0)
	}
	b = append(b, use...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	b[0] = byte(len(b)) // names are at most 64 bytes: it fits
	return b
}

// descriptor is a volume descriptor (ECMA-119 8.4, 8.5).
func (w layout) descriptor(t int, label string, root *entry, size, tableBytes uint32, tables [2]uint32) []byte {
	text := func(b []byte, s string, n int) []byte {
		if t == primary {
			return append(b, fmt.Sprintf("%-*.*s", n, n, s)...)
		}
		for _, u := range utf16.Encode([]rune(fmt.Sprintf("%-*.*s", n/2, n/2, s))) {
			b = binary.BigEndian.AppendUint16(b, u)
		}
		return append(b, make([]byte, n%2)...)
	}
	b := append([]byte{byte(t + 1)}, "CD001\x01\x00"...)
	b = text(b, "LINUX", 32)
	b = text(b, label, 32)
	b = append(b, make([]byte, 8)...)
	b = both32(b, size)
	escape := make([]byte, 32)
	if t == joliet {
		copy(escape, "%/E") // UCS-2 level 3
	}
	b = append(b, escape...)
	b = both16(b, 1)
	b = both16(b, 1)
	b = both16(b, sectorBytes)
	b = both32(b, tableBytes)
	b = binary.LittleEndian.AppendUint32(b, tables[0])
	b = append(b, make([]byte, 4)...)
	b = binary.BigEndian.AppendUint32(b, tables[1])
	b = append(b, make([]byte, 4)...)
	b = append(b, w.record(root, []byte{0}, t, nil)...)
	b = text(b, "", 128)
	b = text(b, "NEPHOS", 128)
	b = text(b, "NEPHOS", 128)
	b = text(b, "NEPHOS", 128)
	for range 3 {
		b = text(b, "", 37)
	}
	stamp := w.stamp.Format("20060102150405") + "00\x00"
	b = append(b, stamp+stamp...)
	b = append(b, strings.Repeat("0", 16)+"\x00"+strings.Repeat("0", 16)+"\x00"...)
	b = append(b, 1, 0)
	return append(b, make([]byte, sectorBytes-len(b))...)
}

func both16(b []byte, n uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, n), n)
}

func both32(b []byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, n), n)
}
