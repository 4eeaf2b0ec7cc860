package blockdev

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const copyChunk = 8 << 20 // bytes between two looks at the context

// copySparse makes dst (empty) hold what src holds: blocks shared with it where the file system can (FICLONE), else a copy of the
// allocated extents only, holes staying holes. The copy happens inside the kernel where it can.
func copySparse(ctx context.Context, dst *os.File, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := unix.IoctlFileClone(int(dst.Fd()), int(in.Fd())); err == nil {
		return nil
	}
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(st.Size()); err != nil {
		return err
	}
	for off := int64(0); off < st.Size(); {
		data, err := unix.Seek(int(in.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole to the end
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := copyRange(ctx, dst, in, data, hole); err != nil {
			return err
		}
		off = hole
	}
	return nil
}

func copyRange(ctx context.Context, dst, src *os.File, from, to int64) error {
	inKernel := true
	var buf []byte
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := int(min(to-from, copyChunk))
		if inKernel {
			r, w := from, from
			done, err := unix.CopyFileRange(int(src.Fd()), &r, int(dst.Fd()), &w, n, 0)
			if err == nil && done > 0 {
				from += int64(done)
				continue
			}
			if err != nil && !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) {
				return err
			}
			inKernel = false
		}
		if buf == nil {
			buf = make([]byte, min(copyChunk, 1<<20))
		}
		k, err := src.ReadAt(buf[:min(n, len(buf))], from)
		if k == 0 && err != nil {
			if errors.Is(err, io.EOF) {
				return nil // the source shrank: what is gone reads as zero
			}
			return err
		}
		if _, err := dst.WriteAt(buf[:k], from); err != nil {
			return err
		}
		from += int64(k)
	}
	return nil
}
