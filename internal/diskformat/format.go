package diskformat

import (
	"fmt"
	"slices"
	"strings"

	"nephos/internal/fault"
)

// Format is a disk format, by Glance's disk_format names where it has one.
type Format string

// The formats that are told apart. RAW is what has no known header: a partitioned disk, a bare file system, a kernel, a ramdisk.
const (
	RAW   Format = "raw"
	QCOW2 Format = "qcow2"
	QCOW1 Format = "qcow"
	QED   Format = "qed"
	VMDK  Format = "vmdk"
	VHD   Format = "vhd"
	VHDX  Format = "vhdx"
	VDI   Format = "vdi"
	ISO   Format = "iso"
	PLOOP Format = "ploop"
	LUKS  Format = "luks"
)

// Info is what an image's own bytes say about it.
type Info struct {
	Format       Format
	Version      int    // of the format, 0 where it has none
	SizeBytes    int64  // bytes seen
	VirtualBytes int64  // size of the disk a guest sees; 0 if unknown (VHDX seen as a stream, VMDK descriptor)
	BackingFile  string // name of the parent image, "(unnamed)" when the header points to one without a name
	DataFile     bool   // qcow2: clusters live in another file; VMDK: extents live in other files
	Encrypted    bool
	Partitions   string   // raw and iso: "", "mbr" or "gpt"
	Features     []string // names of header features in use: "dirty", "extended-l2", "zstd", "streamOptimized" …
	Problem      string   // why a header of this format cannot be trusted; empty when sound
}

// HasBackingFile is true when the image needs another image to be read.
func (i Info) HasBackingFile() bool { return i.BackingFile != "" }

// HasDataFile is true when the image's content lies in other files.
func (i Info) HasDataFile() bool { return i.DataFile }

func (i Info) hasFeature(name string) bool { return slices.Contains(i.Features, name) }

// rawLike are the declared formats whose bytes are taken as they are: Glance's ami, aki and ari are a bare file system, a kernel and
// a ramdisk.
var rawLike = []string{"raw", "ami", "aki", "ari"}

// Check says whether content found to be `found` may be stored under the declared disk_format. The error is a fault.KindInvalid on
// field disk_format whose message names the reason, written for the owner of the image.
//
// The rules: the format must be the declared one; it must stand alone (no backing file, no data file, no extents elsewhere); it must
// not be encrypted by its own format; its header must be sound. Raw accepts what carries no image header, which includes ISO
// 9660 and LUKS containers: as raw bytes both are harmless and bootable.
func Check(declared string, found Info) error {
	name := strings.ToLower(declared)
	if slices.Contains(rawLike, name) {
		switch found.Format {
		case RAW, ISO, LUKS:
			return nil
		default:
			return refuse("the image was declared %s but its content is %s", name, found.Format)
		}
	}
	if !known(name) {
		return refuse("disk format %q is not known", declared)
	}
	if string(found.Format) != name {
		return refuse("the image was declared %s but its content is %s", name, found.Format)
	}
	switch {
	case found.BackingFile != "":
		return refuse("the %s image names a backing file (%s); only images that stand alone are accepted", name, printable(found.BackingFile))
	case found.DataFile:
		return refuse("the %s image keeps its content in an external data file; only images that stand alone are accepted", name)
	case found.Problem != "":
		return refuse("the %s header is not sound: %s", name, found.Problem)
	case found.Encrypted:
		return refuse("the %s image is encrypted", name)
	case found.Format == VMDK && !found.hasFeature("monolithicSparse") && !found.hasFeature("streamOptimized"):
		return refuse("a vmdk image must be of type monolithicSparse or streamOptimized")
	}
	return nil
}

// Accept says whether content may be stored under the declared disk_format by somebody who never opens it: an image service. It is Check, but for formats that no
// host opens under that name (all but raw, its like, and qcow2) bytes that carry no header of any format pass too, as they do in Glance:
// clients register such things, and the host's own Check keeps them from ever being opened. A partition table or another format's
// header is a positive finding and is refused. Decision 0007.
func Accept(declared string, found Info) error {
	name := strings.ToLower(declared)
	if found.Format == RAW && found.Partitions == "" && known(name) && Format(name) != QCOW2 {
		return nil
	}
	return Check(declared, found)
}

func known(name string) bool {
	switch Format(name) {
	case QCOW2, VMDK, VHD, VHDX, VDI, ISO, PLOOP:
		return true
	default:
		return false
	}
}

func refuse(format string, a ...any) error {
	return fault.Invalid("disk_format", "%s", fmt.Sprintf(format, a...))
}

// printable makes a name from a hostile header fit for a message.
func printable(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return fmt.Sprintf("%q", s)
}
