package blockdev

import (
	"encoding/binary"
	"fmt"
	"os"

	"nephos/internal/fault"
)

// Layout of the overlays written here (QEMU docs/interop/qcow2.txt, version 3): clusters of 64 KiB, refcounts of 16 bits.
//
//	cluster 0     header, backing format extension, end of extensions, backing file name
//	cluster 1     refcount table, one entry
//	cluster 2     refcount block: clusters 0 … 2+l1 are used once
//	cluster 3 …   L1 table, all zero: every read goes to the base
//
// These are the offsets qemu-img create uses too. QEMU grows the refcount structures by itself when the guest writes.
const (
	clusterBits    = 16
	clusterSize    = 1 << clusterBits
	headerLength   = 112
	perL1Entry     = clusterSize / 8 * clusterSize // 512 MiB
	extBacking     = 0xe2792aca
	maxBackingName = 1023

	// MaxDiskBytes bounds a disk: 64 TiB, an L1 table of 1 MiB.
	MaxDiskBytes = 64 << 40
)

// Backing is a read-only base for an overlay or a source of a copy.
type Backing struct {
	Path         string // absolute
	Format       string // raw or qcow2
	VirtualBytes int64
}

// Overlay is what an overlay's header says.
type Overlay struct {
	Backing       string // absolute path of the base
	BackingFormat string
	VirtualBytes  int64
}

// CreateOverlay makes an empty qcow2 overlay of `bytes` (rounded up to 512) on base at path, synced, in about a millisecond.
// An overlay of the same base and size that is already there is left alone, so that a repeated step does not wipe a disk that a guest
// has written to; any other file there is a KindConflict. A size below the base's is KindInvalid.
func CreateOverlay(path string, base Backing, bytes int64, own Owner) error {
	bytes = (bytes + 511) &^ 511
	switch {
	case base.Format != "raw" && base.Format != "qcow2":
		return fault.Invalid("", "an overlay needs a raw or qcow2 base, not %q", base.Format)
	case len(base.Path) == 0 || base.Path[0] != '/' || len(base.Path) > maxBackingName:
		return fault.Invalid("", "an overlay needs an absolute base path of at most %d bytes", maxBackingName)
	case bytes <= 0 || bytes > MaxDiskBytes:
		return fault.Invalid("", "a disk of %d bytes is outside 1 to %d", bytes, int64(MaxDiskBytes))
	case bytes < base.VirtualBytes:
		return fault.Invalid("", "the image needs a disk of %d bytes, the flavor gives %d", base.VirtualBytes, bytes)
	}
	if _, ok, err := exists(path); err != nil {
		return err
	} else if ok {
		have, err := ReadOverlay(path)
		if err != nil {
			return fault.Conflict("disk %s exists and is not an overlay", path).WithCause(err)
		}
		if want := (Overlay{base.Path, base.Format, bytes}); have != want {
			return fault.Conflict("disk %s exists with another base or size", path)
		}
		return nil
	}
	return place(path, own, func(f *os.File) error { return writeOverlay(f, base, bytes) })
}

// CreateEmpty makes a qcow2 of `bytes` zeros that stands alone.
func CreateEmpty(path string, bytes int64, own Owner) error {
	if bytes <= 0 || bytes > MaxDiskBytes {
		return fault.Invalid("", "a disk of %d bytes is outside 1 to %d", bytes, int64(MaxDiskBytes))
	}
	return place(path, own, func(f *os.File) error { return writeOverlay(f, Backing{}, (bytes+511)&^511) })
}

func writeOverlay(f *os.File, base Backing, bytes int64) error {
	be := binary.BigEndian
	l1Entries := (bytes + perL1Entry - 1) / perL1Entry
	l1Clusters := (l1Entries*8 + clusterSize - 1) / clusterSize

	h := make([]byte, headerLength, 2048)
	copy(h, "QFI\xfb")
	be.PutUint32(h[4:], 3)
	be.PutUint32(h[16:], uint32(len(base.Path)))
	be.PutUint32(h[20:], clusterBits)
	be.PutUint64(h[24:], uint64(bytes))
	be.PutUint32(h[36:], uint32(l1Entries))
	be.PutUint64(h[40:], 3*clusterSize)
	be.PutUint64(h[48:], clusterSize)
	be.PutUint32(h[56:], 1)
	be.PutUint32(h[96:], 4) // refcount_order: 2^4 bits
	be.PutUint32(h[100:], headerLength)

	if base.Path != "" {
		h = be.AppendUint32(h, extBacking)
		h = be.AppendUint32(h, uint32(len(base.Format)))
		h = append(h, base.Format...)
		h = append(h, make([]byte, -len(h)&7)...)
	}
	h = append(h, make([]byte, 8)...) // end of extensions
	if base.Path != "" {
		be.PutUint64(h[8:], uint64(len(h)))
		h = append(h, base.Path...)
	}

	refcounts := make([]byte, 2*(3+l1Clusters))
	for k := range 3 + l1Clusters {
		be.PutUint16(refcounts[2*k:], 1)
	}
	for _, w := range []struct {
		off int64
		b   []byte
	}{{clusterSize, be.AppendUint64(nil, 2*clusterSize)}, {2 * clusterSize, refcounts}, {0, h}} {
		if _, err := f.WriteAt(w.b, w.off); err != nil {
			return err
		}
	}
	return f.Truncate((3 + l1Clusters) * clusterSize)
}

// ReadOverlay reads the header of a qcow2 overlay; it is how "who uses this base" is found by looking. Backing is empty for a qcow2
// that stands alone. The file may be in use by a guest: a header is written once.
func ReadOverlay(path string) (Overlay, error) {
	be := binary.BigEndian
	f, err := os.Open(path)
	if err != nil {
		return Overlay{}, err
	}
	defer f.Close()
	h := make([]byte, 4096)
	n, err := f.ReadAt(h, 0)
	if n < 104 {
		return Overlay{}, fmt.Errorf("%s: a qcow2 header is missing", path)
	}
	_ = err // a file shorter than the buffer is fine: n says what is there
	h = h[:n]
	if string(h[:4]) != "QFI\xfb" || be.Uint32(h[4:]) != 3 {
		return Overlay{}, fmt.Errorf("%s is not a qcow2 version 3 image", path)
	}
	o := Overlay{VirtualBytes: int64(be.Uint64(h[24:]))}
	off, size := be.Uint64(h[8:]), uint64(be.Uint32(h[16:]))
	if off == 0 {
		return o, nil
	}
	if size > maxBackingName || off > uint64(n)-size {
		return Overlay{}, fmt.Errorf("%s: the backing file name is out of place", path)
	}
	o.Backing = string(h[off : off+size])
	for at := uint64(be.Uint32(h[100:])); at+8 <= off; {
		kind, length := be.Uint32(h[at:]), uint64(be.Uint32(h[at+4:]))
		if kind == 0 || length > off-at-8 {
			break
		}
		if kind == extBacking {
			o.BackingFormat = string(h[at+8 : at+8+length])
		}
		at += 8 + (length+7)&^7
	}
	return o, nil
}
