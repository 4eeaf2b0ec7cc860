package hypervisor

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ReplaceRecord replaces a small file by renaming: whoever reads it finds the old or the new one. durable makes it survive a power cut as well.
//
// On a full disk there is no room for the new one beside the old. A record must then still be changed, or nothing on this host could be stopped or deleted, which is what
// makes room: the bytes are written over the old ones, in one call, where they fit into the blocks that the file has. Only a power cut in that moment could tear it.
func ReplaceRecord(path string, b []byte, durable bool) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	err := writeWhole(tmp, b, durable)
	if err == nil {
		err = os.Rename(tmp, path)
	} else if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		os.Remove(tmp)
		if overwrite(path, b) == nil {
			return nil
		}
	}
	if err != nil || !durable {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func writeWhole(path string, b []byte, durable bool) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && durable {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// overwrite writes in place what needs no new block.
func overwrite(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if int64(len(b)) > st.Blocks*512 {
		return unix.ENOSPC
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(b))); err != nil {
		return err
	}
	return f.Sync()
}
