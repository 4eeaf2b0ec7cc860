package blockdev

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

	"nephos/internal/fault"
)

// CreateSwap makes a sparse raw disk of `bytes` with a Linux swap header (version 1, 4 KiB pages, what mkswap writes), label "swap0"; its
// UUID is derived from seed (the server id), so a repeat gives the same disk. A disk of that size already there is left alone.
func CreateSwap(path, seed string, bytes int64, own Owner) error {
	const page = 4096
	bytes &^= page - 1
	if bytes < 10*page || bytes/page > 1<<32-1 {
		return fault.Invalid("", "a swap disk of %d bytes is not possible", bytes)
	}
	if done, err := blank(path, bytes); done || err != nil {
		return err
	}
	return place(path, own, func(f *os.File) error {
		h := make([]byte, page)
		binary.LittleEndian.PutUint32(h[1024:], 1)
		binary.LittleEndian.PutUint32(h[1028:], uint32(bytes/page-1))
		id := sha256.Sum256([]byte("swap " + seed))
		id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
		copy(h[1036:1052], id[:])
		copy(h[1052:1068], "swap0")
		copy(h[page-10:], "SWAPSPACE2")
		if _, err := f.WriteAt(h, 0); err != nil {
			return err
		}
		return f.Truncate(bytes)
	})
}

// CreateEphemeral makes a sparse raw disk of `bytes`, formatted as ext4 with the label ephemeral0 (the name cloud-init looks for) when
// the host has mkfs.ext4, else blank. formatted says which. A disk of that size already there is left alone and reported as formatted.
func CreateEphemeral(ctx context.Context, path string, bytes int64, own Owner) (formatted bool, err error) {
	if bytes <= 0 || bytes > MaxDiskBytes {
		return false, fault.Invalid("", "an ephemeral disk of %d bytes is not possible", bytes)
	}
	if done, err := blank(path, bytes); done || err != nil {
		return done, err
	}
	mkfs := findTool("mkfs.ext4")
	err = place(path, own, func(f *os.File) error {
		if err := f.Truncate(bytes); err != nil {
			return err
		}
		if mkfs == "" {
			return nil
		}
		return run(ctx, mkfs, "-q", "-F", "-L", "ephemeral0", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", f.Name())
	})
	return err == nil && mkfs != "", err
}

// blank says whether a disk of the wanted size is at path already; one of another size is a conflict.
func blank(path string, bytes int64) (bool, error) {
	have, ok, err := exists(path)
	if err != nil || !ok {
		return false, err
	}
	if have != bytes {
		return false, fault.Conflict("disk %s exists with %d bytes instead of %d", path, have, bytes)
	}
	return true, nil
}

// Grow makes a disk no guest holds at least `bytes` large; a larger one is left as it is. format is raw or qcow2.
func Grow(ctx context.Context, path, format string, bytes int64) error {
	if bytes <= 0 || bytes > MaxDiskBytes {
		return fault.Invalid("", "a disk of %d bytes is outside 1 to %d", bytes, int64(MaxDiskBytes))
	}
	switch format {
	case "raw":
		have, ok, err := exists(path)
		if err != nil {
			return err
		}
		if !ok {
			return fault.NotFound("disk %s is not there", path)
		}
		if have >= bytes {
			return nil
		}
		return truncateSync(path, bytes)
	case "qcow2":
		o, err := ReadOverlay(path)
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return fault.NotFound("disk %s is not there", path)
			}
			return err
		}
		if o.VirtualBytes >= bytes {
			return nil
		}
		return qemuImg(ctx, "resize", "-q", "-f", "qcow2", path, fmt.Sprint((bytes+511)&^511))
	default:
		return fault.Invalid("", "disk format %q cannot be resized", format)
	}
}

func truncateSync(path string, bytes int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(bytes); err != nil {
		return err
	}
	return f.Sync()
}

// Export writes a whole, standing-alone copy of a disk (with all that its bases hold) to dst in format raw or qcow2, placed when
// complete. The disk must not be written to meanwhile. It is how a server or a volume becomes an image.
func Export(ctx context.Context, src Backing, dst, format string, own Owner) error {
	if format != "raw" && format != "qcow2" {
		return fault.Invalid("disk_format", "a disk can be exported as raw or qcow2, not %q", format)
	}
	return place(dst, own, func(f *os.File) error {
		if src.Format == "raw" && format == "raw" {
			return copySparse(ctx, f, src.Path)
		}
		return qemuImg(ctx, "convert", "-q", "-f", src.Format, "-O", format, src.Path, f.Name())
	})
}

func findTool(name string) string {
	if p, err := exec.LookPath(name); err == nil {
		return p
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} { // a service's PATH often lacks them
		if st, err := os.Stat(dir + name); err == nil && st.Mode()&0o111 != 0 {
			return dir + name
		}
	}
	return ""
}
