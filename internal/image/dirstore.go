package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// dirStore keeps <dir>/<image id> and <dir>/<image id>.<upload>.part. Several processes may share one directory. Nothing is held in
// memory: the directory is the state.
type dirStore struct {
	dir     string
	reserve int64
}

// NewDirStore makes a Store in dir, which is made (0700) if absent. reserveBytes of the file system are left free for others.
func NewDirStore(dir string, reserveBytes int64) (Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("image directory: %w", err)
	}
	return &dirStore{dir: dir, reserve: reserveBytes}, nil
}

func (s *dirStore) LocalPath(id string) string { return filepath.Join(s.dir, id) }

func (s *dirStore) URL(id string) string { return "file://" + s.LocalPath(id) }

func (s *dirStore) part(id, upload string) string {
	return filepath.Join(s.dir, id+"."+upload+".part")
}

// flushEvery is how many bytes are written before the kernel is told to begin putting them on disk, so that the sync at the end has
// little left to wait for.
const flushEvery = 32 << 20

type dirPart struct {
	f       *os.File
	sealed  bool
	written int64
	flushed int64
}

func (s *dirStore) Create(_ context.Context, id, upload string) (Part, error) {
	f, err := os.OpenFile(s.part(id, upload), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, full(err)
	}
	return &dirPart{f: f}, nil
}

func (p *dirPart) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	if p.written += int64(n); p.written-p.flushed >= flushEvery {
		unix.SyncFileRange(int(p.f.Fd()), p.flushed, p.written-p.flushed, unix.SYNC_FILE_RANGE_WRITE) //nolint:errcheck // a hint; Seal's sync is the promise
		p.flushed = p.written
	}
	return n, full(err)
}

// Seal makes the file read-only for all: hosts on this machine may hard-link it into their cache, and nobody may write to it there.
func (p *dirPart) Seal() error {
	if p.sealed {
		return nil
	}
	p.sealed = true
	return full(errors.Join(p.f.Chmod(0o400), p.f.Sync(), p.f.Close()))
}

func (p *dirPart) Close() error {
	if p.sealed {
		return nil
	}
	p.sealed = true
	return p.f.Close()
}

// full names the one failure that is the operator's, not a bug.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("%w: %w", ErrStoreFull, err)
	}
	return err
}

type dirBlob struct {
	*os.File
	size int64
}

func (b dirBlob) Size() int64 { return b.size }

func openBlob(path string) (Blob, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoBytes
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return dirBlob{f, st.Size()}, nil
}

func (s *dirStore) OpenPart(_ context.Context, id, upload string) (Blob, error) {
	return openBlob(s.part(id, upload))
}

func (s *dirStore) Open(_ context.Context, id string) (Blob, error) { return openBlob(s.LocalPath(id)) }

// Publish renames. A crash before the rename leaves the part, after it the published file; both are complete.
func (s *dirStore) Publish(_ context.Context, id, upload string) error {
	err := os.Rename(s.part(id, upload), s.LocalPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		if _, serr := os.Stat(s.LocalPath(id)); serr == nil {
			return nil
		}
		return fmt.Errorf("publish image %s: %w", id, ErrNoBytes)
	}
	if err != nil {
		return err
	}
	return s.syncDir()
}

func (s *dirStore) syncDir() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (s *dirStore) Discard(_ context.Context, id, upload string) error {
	return remove(s.part(id, upload))
}

func (s *dirStore) Remove(_ context.Context, id string) error { return remove(s.LocalPath(id)) }

// List leaves out files whose names this store does not make.
func (s *dirStore) List(context.Context) ([]Object, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []Object
	for _, e := range entries {
		o := Object{ID: e.Name()}
		if name, ok := strings.CutSuffix(e.Name(), ".part"); ok {
			var found bool
			if o.ID, o.Upload, found = strings.Cut(name, "."); !found || o.Upload == "" {
				continue
			}
		}
		if u, err := uuid.Parse(o.ID); err == nil && u.String() == o.ID && e.Type().IsRegular() {
			out = append(out, o)
		}
	}
	return out, nil
}

func (s *dirStore) Free(context.Context) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, err
	}
	return max(0, int64(st.Bavail)*st.Bsize-s.reserve), nil
}
