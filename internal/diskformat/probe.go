package diskformat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf16"
)

var (
	be = binary.BigEndian
	le = binary.LittleEndian
)

// probe runs the probes in order of how sure their magic is. Formats with a magic at offset 0 exclude each other; a fixed VHD and a
// partition table come last since their bytes may stand in any disk.
func probe(w window) Info {
	info := Info{Format: RAW, SizeBytes: w.size()}
	for _, p := range []func(window, *Info) bool{probeQcow2, probeQED, probeVMDK, probeVHDX, probeVDI, probeLUKS, probePloop, probeVHD, probeISO} {
		if p(w, &info) {
			return info
		}
	}
	info.VirtualBytes = w.size()
	info.Partitions = partitions(w)
	return info
}

// MaxVirtualBytes bounds what a header may claim as the size of the disk: 1 PiB. A few compressed kilobytes that unfold to more are an attack on whoever
// copies them, not a disk.
const MaxVirtualBytes = 1 << 50

func magic(w window, off int64, s string) bool { return bytes.Equal(w.at(off, len(s)), []byte(s)) }

// spoil notes the first reason why the header is not to be trusted.
func (i *Info) spoil(format string, a ...any) {
	if i.Problem == "" {
		i.Problem = fmt.Sprintf(format, a...)
	}
}

// virtual takes a size from a header, refusing what no disk can have.
func (i *Info) virtual(n uint64) {
	if n == 0 {
		i.spoil("the virtual size is zero")
		return
	}
	if n > MaxVirtualBytes {
		i.spoil("a virtual size of %d bytes is impossible", n)
		return
	}
	i.VirtualBytes = int64(n)
}

// probeQcow2 follows QEMU's docs/interop/qcow2.txt.
func probeQcow2(w window, i *Info) bool {
	if !magic(w, 0, "QFI\xfb") {
		return false
	}
	i.Format = QCOW2
	h := w.at(0, 72)
	if h == nil {
		i.spoil("the header is cut off")
		return true
	}
	version := be.Uint32(h[4:])
	i.Version = int(min(version, 99))
	if version == 1 {
		i.Format = QCOW1
		return true
	}
	if version != 2 && version != 3 {
		i.spoil("version %d is not known", version)
		return true
	}
	backingOff, backingLen := be.Uint64(h[8:]), be.Uint32(h[16:])
	if backingOff != 0 || backingLen != 0 {
		i.BackingFile = qcow2Name(w, backingOff, backingLen)
	}
	bits := be.Uint32(h[20:])
	if bits < 9 || bits > 21 {
		i.spoil("cluster_bits %d is outside 9 to 21", bits)
		return true
	}
	i.virtual(be.Uint64(h[24:]))
	i.Encrypted = be.Uint32(h[32:]) != 0
	if i.Encrypted {
		i.Features = append(i.Features, "encrypted")
	}
	qcow2Tables(h, bits, i)
	if version == 3 {
		qcow2Features(w, bits, i)
	}
	return true
}

// qcow2Tables checks that the L1 and refcount tables lie inside the file and that L1 covers the disk. QEMU bounds L1 by 32 MiB.
func qcow2Tables(h []byte, bits uint32, i *Info) {
	l1Size, l1Off := be.Uint32(h[36:]), be.Uint64(h[40:])
	rcOff, rcClusters := be.Uint64(h[48:]), be.Uint32(h[56:])
	cluster := uint64(1) << bits
	if uint64(l1Size)*8 > 32<<20 {
		i.spoil("an L1 table of %d entries is too large", l1Size)
	}
	perL1 := cluster * (cluster / 8)
	if i.VirtualBytes > 0 && (uint64(i.VirtualBytes)-1)/perL1 >= uint64(l1Size) {
		// With extended L2 entries a table covers half as much; qcow2Features does not know the size, so only the weaker bound is kept.
		i.spoil("an L1 table of %d entries does not cover %d bytes", l1Size, i.VirtualBytes)
	}
	for _, t := range []struct {
		name string
		off  uint64
	}{{"L1", l1Off}, {"refcount", rcOff}} {
		if t.off == 0 || t.off%cluster != 0 || t.off >= uint64(max(i.SizeBytes, 0)) {
			i.spoil("the %s table at %d is not inside the file", t.name, t.off)
		}
	}
	if rcClusters == 0 || uint64(rcClusters)*cluster > 8<<20+cluster {
		i.spoil("a refcount table of %d clusters is not possible", rcClusters)
	}
}

// qcow2Name reads a file name of a header for the message; the header is refused whatever it is.
func qcow2Name(w window, off uint64, n uint32) string {
	if n == 0 || n > 1023 || off > headBytes {
		return "(unnamed)"
	}
	if b := w.at(int64(off), int(n)); b != nil {
		return string(b)
	}
	return "(unnamed)"
}

// The incompatible feature bits of qcow2 version 3, by bit number.
var qcow2Incompatible = []string{"dirty", "corrupt", "data-file", "compression-type", "extended-l2"}

func qcow2Features(w window, bits uint32, i *Info) {
	h := w.at(72, 32)
	if h == nil {
		i.spoil("the version 3 header is cut off")
		return
	}
	incompat, order, length := be.Uint64(h), be.Uint32(h[24:]), be.Uint32(h[28:])
	for bit, name := range qcow2Incompatible {
		if incompat&(1<<bit) != 0 {
			i.Features = append(i.Features, name)
		}
	}
	if incompat>>len(qcow2Incompatible) != 0 {
		i.spoil("incompatible features %#x are not known", incompat)
	}
	i.DataFile = incompat&(1<<2) != 0
	if incompat&2 != 0 {
		i.spoil("the image is marked corrupt")
	}
	if order > 6 {
		i.spoil("refcount_order %d is above 6", order)
	}
	if length < 104 || length > 1<<bits || length%8 != 0 {
		i.spoil("a header length of %d is not possible", length)
		return
	}
	if incompat&(1<<3) != 0 {
		if b := w.at(104, 1); b != nil && b[0] == 1 {
			i.Features = append(i.Features, "zstd")
		}
	}
	qcow2Extensions(w, int64(length), bits, i)
}

// qcow2Extensions walks the header extensions, which lie within the first cluster, for a data file's name: QEMU reads one only when
// the feature bit is set too, but other readers may not.
func qcow2Extensions(w window, off int64, bits uint32, i *Info) {
	end := min(int64(1)<<bits, headBytes)
	for range 64 {
		if off > end-8 {
			return
		}
		b := w.at(off, 8)
		if b == nil {
			return
		}
		kind, n := be.Uint32(b), be.Uint32(b[4:])
		if kind == 0 {
			return
		}
		if int64(n) > end-off-8 {
			i.spoil("a header extension of %d bytes leaves the first cluster", n)
			return
		}
		if kind == 0x44415441 {
			i.DataFile = true
		}
		off += 8 + (int64(n)+7)&^7
	}
	i.spoil("there are too many header extensions")
}

func probeQED(w window, i *Info) bool {
	if !magic(w, 0, "QED\x00") {
		return false
	}
	i.Format = QED
	return true
}

// probeVMDK knows hosted sparse extents (KDMV), ESX's COWD, and a bare text descriptor, which always names other files.
func probeVMDK(w window, i *Info) bool {
	switch {
	case magic(w, 0, "KDMV"):
		i.Format = VMDK
		h := w.at(0, sector)
		if h == nil {
			i.spoil("the header is cut off")
			return true
		}
		i.Version = int(min(le.Uint32(h[4:]), 99))
		sectors := le.Uint64(h[12:])
		if sectors > math.MaxInt64/4/sector {
			i.spoil("a capacity of %d sectors is impossible", sectors)
			return true
		}
		i.virtual(sectors * sector)
		off, n := le.Uint64(h[28:]), le.Uint64(h[36:])
		if off == 0 || n == 0 || off >= headBytes/sector || n > headBytes/sector-off {
			i.spoil("the embedded descriptor is not near the start of the file")
			return true
		}
		vmdkDescriptor(w.at(int64(off)*sector, int(n)*sector), i)
		return true
	case magic(w, 0, "COWD"):
		i.Format, i.DataFile = VMDK, true
		return true
	case vmdkText(w):
		i.Format, i.DataFile = VMDK, true
		return true
	}
	return false
}

func vmdkText(w window) bool {
	b := w.at(0, int(min(w.size(), sector)))
	return bytes.HasPrefix(bytes.ToLower(bytes.TrimLeft(b, " \t\r\n")), []byte("# disk descriptorfile"))
}

// vmdkDescriptor reads createType, the parent and the extents. More than one extent, or one that is not the sparse file itself (by
// type FLAT, VMFS, ZERO …), leads elsewhere.
func vmdkDescriptor(text []byte, i *Info) {
	if text == nil {
		i.spoil("the embedded descriptor is cut off")
		return
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	extents := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, eq := strings.Cut(line, "=")
		switch {
		case eq && strings.EqualFold(strings.TrimSpace(key), "createType"):
			i.Features = append(i.Features, strings.Trim(strings.TrimSpace(value), `"`))
		case eq && strings.EqualFold(strings.TrimSpace(key), "parentCID"):
			if v := strings.TrimSpace(value); !strings.EqualFold(v, "ffffffff") {
				i.BackingFile = "parentCID " + v
			}
		case eq && strings.EqualFold(strings.TrimSpace(key), "parentFileNameHint"):
			i.BackingFile = strings.Trim(strings.TrimSpace(value), `"`)
		default:
			f := strings.Fields(line)
			if len(f) >= 3 && (f[0] == "RW" || f[0] == "RDONLY" || f[0] == "NOACCESS") {
				extents++
				if f[2] != "SPARSE" {
					i.DataFile = true
				}
			}
		}
	}
	if extents > 1 {
		i.DataFile = true
	}
	if extents == 0 {
		i.spoil("the descriptor names no extent")
	}
}

func probeVHDX(w window, i *Info) bool {
	if !magic(w, 0, "vhdxfile") {
		return false
	}
	i.Format = VHDX
	vhdxMetadata(w, i)
	return true
}

// GUIDs of [MS-VHDX] as they lie on disk.
var (
	guidMetadataRegion = []byte{0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e}
	guidVirtualSize    = []byte{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8}
	guidFileParameters = []byte{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b}
	guidParentLocator  = []byte{0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c}
)

// vhdxMetadata finds the virtual size and a parent through the region and metadata tables. A stream keeps too little for it: then the
// size stays unknown.
func vhdxMetadata(w window, i *Info) {
	region := w.at(192<<10, 64<<10)
	if region == nil || string(region[:4]) != "regi" {
		i.spoil("the region table is missing")
		return
	}
	var base int64
	for k := range min(le.Uint32(region[8:]), 2047) {
		e := region[16+32*k:]
		if bytes.Equal(e[:16], guidMetadataRegion) {
			if off := le.Uint64(e[16:]); off < math.MaxInt64/2 {
				base = int64(off)
			}
		}
	}
	table := w.at(base, 64<<10)
	if base == 0 || table == nil || string(table[:8]) != "metadata" {
		return
	}
	for k := range min(le.Uint16(table[10:]), 2047) {
		e := table[32+32*int(k):]
		off, n := int64(le.Uint32(e[16:])), le.Uint32(e[20:])
		switch {
		case bytes.Equal(e[:16], guidVirtualSize) && n >= 8:
			if b := w.at(base+off, 8); b != nil {
				i.virtual(le.Uint64(b))
			}
		case bytes.Equal(e[:16], guidFileParameters) && n >= 8:
			if b := w.at(base+off, 8); b != nil && le.Uint32(b[4:])&2 != 0 {
				i.BackingFile = "(unnamed)"
			}
		case bytes.Equal(e[:16], guidParentLocator):
			i.BackingFile = vhdxParent(w, base+off, n)
		}
	}
}

// vhdxParent gives a parent's path for the message where the locator is short enough.
func vhdxParent(w window, off int64, n uint32) string {
	b := w.at(off, int(min(n, 4096)))
	if len(b) < 32 {
		return "(unnamed)"
	}
	valueOff, valueLen := int(le.Uint32(b[24:])), int(le.Uint16(b[30:]))
	if valueOff < 0 || valueLen < 2 || valueOff > len(b)-valueLen {
		return "(unnamed)"
	}
	u := make([]uint16, valueLen/2)
	for k := range u {
		u[k] = le.Uint16(b[valueOff+2*k:])
	}
	return string(utf16.Decode(u))
}

func probeVDI(w window, i *Info) bool {
	if !magic(w, 64, "\x7f\x10\xda\xbe") {
		return false
	}
	i.Format = VDI
	h := w.at(0, sector)
	if h == nil {
		i.spoil("the header is cut off")
		return true
	}
	i.Version = int(le.Uint32(h[68:]) >> 16 & 0xff)
	if kind := le.Uint32(h[76:]); kind != 1 && kind != 2 {
		i.BackingFile = "(unnamed)" // 3: undo, 4: differencing
	}
	i.virtual(le.Uint64(h[368:]))
	return true
}

func probeLUKS(w window, i *Info) bool {
	if !magic(w, 0, "LUKS\xba\xbe") {
		return false
	}
	i.Format, i.Encrypted, i.VirtualBytes = LUKS, true, w.size()
	if b := w.at(6, 2); b != nil {
		i.Version = int(be.Uint16(b))
	}
	return true
}

func probePloop(w window, i *Info) bool {
	if !magic(w, 0, "WithoutFreeSpace") && !magic(w, 0, "WithouFreSpacExt") {
		return false
	}
	i.Format = PLOOP
	if h := w.at(0, 64); h == nil {
		i.spoil("the header is cut off")
	} else if n := le.Uint64(h[36:]); n > math.MaxInt64/4/sector {
		i.spoil("a size of %d sectors is impossible", n)
	} else {
		i.virtual(n * sector)
	}
	return true
}

// probeVHD finds a dynamic VHD by the copy of its footer at the start, a fixed one by the footer alone. A raw disk does not end in
// "conectix" by chance: the checksum decides.
func probeVHD(w window, i *Info) bool {
	f := w.at(0, sector)
	dynamic := f != nil && string(f[:8]) == "conectix"
	if !dynamic {
		f = w.at(w.size()-sector, sector)
		if f == nil || string(f[:8]) != "conectix" || vhdSum(f) != be.Uint32(f[64:]) {
			return false
		}
	}
	i.Format = VHD
	if vhdSum(f) != be.Uint32(f[64:]) {
		i.spoil("the footer's checksum is wrong")
	}
	i.virtual(be.Uint64(f[48:]))
	switch kind := be.Uint32(f[60:]); kind {
	case 2:
		i.Features = append(i.Features, "fixed")
	case 3:
		i.Features = append(i.Features, "dynamic")
	case 4:
		i.BackingFile = "(unnamed)"
	default:
		i.spoil("disk type %d is not known", kind)
	}
	return true
}

func vhdSum(f []byte) uint32 {
	var s uint32
	for k, b := range f {
		if k < 64 || k >= 68 {
			s += uint32(b)
		}
	}
	return ^s
}

func probeISO(w window, i *Info) bool {
	if !magic(w, 32769, "CD001") {
		return false
	}
	i.Format = ISO
	i.VirtualBytes = w.size()
	i.Partitions = partitions(w) // a hybrid image boots from a USB stick too
	return true
}

// partitions tells a GPT or MBR at the start of a raw disk. A FAT boot sector carries 55aa as well, so the four entries must be sane.
func partitions(w window) string {
	if magic(w, 512, "EFI PART") {
		return "gpt"
	}
	b := w.at(0, sector)
	if b == nil || b[510] != 0x55 || b[511] != 0xaa {
		return ""
	}
	used := 0
	for k := range 4 {
		e := b[446+16*k:]
		if e[0] != 0 && e[0] != 0x80 {
			return ""
		}
		if e[4] != 0 && le.Uint32(e[12:]) != 0 {
			used++
		}
	}
	if used == 0 {
		return ""
	}
	return "mbr"
}
