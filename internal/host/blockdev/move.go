package blockdev

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Duplicate makes dst an equal of the disk src, whole or not at all; holes stay holes, blocks are shared where the file system can. An existing dst is left alone,
// so that a repeated step does not wipe what a guest has written since. No src is fs.ErrNotExist.
func Duplicate(ctx context.Context, src, dst string, own Owner) error {
	if _, ok, err := exists(dst); err != nil || ok {
		return err
	}
	if _, ok, err := exists(src); err != nil || !ok {
		return errors.Join(err, fs.ErrNotExist)
	}
	return place(dst, own, func(f *os.File) error { return copySparse(ctx, f, src) })
}

// Adopt puts the finished file at part in the place path, owned and on disk.
func Adopt(part, path string, own Owner) error {
	f, err := os.OpenFile(part, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := own.take(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Rebase writes the name of another file with the same content into an overlay's header: it has come from a host where the base lay elsewhere. No data is read.
func Rebase(ctx context.Context, path string, base Backing) error {
	o, err := ReadOverlay(path)
	if err != nil {
		return err
	}
	if o.Backing == base.Path && o.BackingFormat == base.Format {
		return nil
	}
	return qemuImg(ctx, "rebase", "-u", "-f", "qcow2", "-b", base.Path, "-F", base.Format, path)
}
