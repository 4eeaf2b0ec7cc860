package qemu

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
)

// keepEvery is how often console logs are looked at. A guest on ttyS0 writes at most a few MB in that time.
const keepEvery = 5 * time.Second

// ConsoleLog implements hypervisor.Driver.
func (d *Driver) ConsoleLog(_ context.Context, id string, n int) ([]byte, error) {
	f, err := os.Open(filepath.Join(d.dir(id), hypervisor.ConsoleFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.NotFound("no guest %s on this host has a console log", id)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if n <= 0 || n > d.cfg.ConsoleBytes {
		n = d.cfg.ConsoleBytes
	}
	return tail(f, n)
}

// tail reads the last n bytes; what was punched out of the head reads as zeros and is left out.
func tail(f *os.File, n int) ([]byte, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, st.Size()-int64(n))
	b, err := io.ReadAll(io.NewSectionReader(f, from, st.Size()-from))
	if err != nil {
		return nil, err
	}
	return bytes.TrimLeft(b, "\x00"), nil
}

// keepConsoles is the keeper goroutine.
func (d *Driver) keepConsoles() {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-d.background.Done():
			return
		}
		d.mu.Lock()
		var dirs []string
		for _, g := range d.guests {
			if g.machine() != nil {
				dirs = append(dirs, g.dir)
			}
		}
		d.mu.Unlock()
		for _, dir := range dirs {
			for _, name := range []string{hypervisor.ConsoleFile, stderrFile} {
				if err := trim(filepath.Join(dir, name), d.cfg.ConsoleBytes); err != nil {
					d.cfg.Log.Error("log not bounded", "file", filepath.Join(dir, name), "err", err)
				}
			}
		}
	}
}

// trim bounds the disk space of a log that QEMU appends to, by punching out its head: no byte that is written meanwhile is lost or
// misplaced, and the position of every later byte stays, so there is nothing to tell QEMU. The length goes on growing, which costs nothing
// and ends at the next start (shorten). Where the file system cannot punch, the log starts anew.
func trim(path string, keep int) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		if err == unix.ENOENT {
			return nil
		}
		return err
	}
	if st.Blocks*512 <= 2*int64(keep) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, st.Size-int64(keep))
	if err == unix.EOPNOTSUPP {
		return f.Truncate(0)
	}
	return err
}

// shorten drops the head of a stopped guest's console log for good.
func (d *Driver) shorten(dir string) error {
	path := filepath.Join(dir, hypervisor.ConsoleFile)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || st.Size() <= int64(d.cfg.ConsoleBytes) {
		return err
	}
	b, err := tail(f, d.cfg.ConsoleBytes)
	if err != nil {
		return err
	}
	// A crash between these two loses old console output, nothing else.
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return err
}
