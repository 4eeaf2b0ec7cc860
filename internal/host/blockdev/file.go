package blockdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Owner is who may open a disk besides root: the user QEMU runs as. The zero value leaves files with the agent's user.
type Owner struct{ UID, GID int }

func (o Owner) take(f *os.File) error {
	if o == (Owner{}) {
		return nil
	}
	return f.Chown(o.UID, o.GID)
}

// place makes the file at path whole or not at all: fill writes a temporary neighbour that is synced and renamed. A crash leaves at
// most the neighbour, which the next place for the same path replaces.
func place(path string, own Owner, fill func(f *os.File) error) (err error) {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(tmp)
		}
	}()
	if err := fill(f); err != nil {
		return err
	}
	if err := own.take(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// exists tells a regular file from nothing; anything else at path is an error.
func exists(path string) (size int64, ok bool, err error) {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	if !st.Mode().IsRegular() {
		return 0, false, fmt.Errorf("%s is not a regular file", path)
	}
	return st.Size(), true, nil
}
