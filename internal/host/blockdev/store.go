package blockdev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

const (
	volumeFile   = "volume.raw"
	snapshotFile = "snapshot.raw"
	gib          = int64(1) << 30
)

// Options of a Store.
type Options struct {
	Owner Owner
	// Image gives the cached base of an image, for volumes made from one. Nil: such volumes are refused.
	Image func(ctx context.Context, spec hostapi.ImageSpec) (Backing, error)
	// LiveCopy has the running guest's QEMU write a point-in-time copy of the volume into dst, a raw file that exists with the volume's
	// size and owner; ErrNotHeld where the guest does not run. Nil: a volume in use cannot be copied.
	LiveCopy func(ctx context.Context, serverID, volumeID, dst string) error
	// LiveResize tells the running guest's QEMU the new size after the file has grown; ErrNotHeld where it does not run. Nil: the guest sees it after its next start.
	LiveResize func(ctx context.Context, serverID, volumeID string, bytes int64) error
}

// ErrNotHeld says that no process has the volume open, though a server owns it: the file itself is the truth.
var ErrNotHeld = errors.New("no guest holds the volume")

// Store keeps the volumes and snapshots of one host below one directory.
type Store struct {
	volumes, snapshots string
	opt                Options
	locks              keyed
}

// Open makes the directories and sweeps what a crash left half made or half deleted. One process per directory.
func Open(state string, opt Options) (*Store, error) {
	s := &Store{volumes: filepath.Join(state, "volumes"), snapshots: filepath.Join(state, "snapshots"), opt: opt}
	for _, dir := range []string{s.volumes, s.snapshots} {
		// 0711: QEMU's user may reach a disk by its full path, nobody may list.
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, err
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
					return nil, err
				}
			}
		}
	}
	return s, nil
}

// Do carries out one storage operation (hostapi.OpVolume… and OpSnapshot…). Done again after success it does nothing and gives the same
// answer. Errors: KindInvalid (never will work: sizes, ids), KindNotFound (the source or the volume is not on this host),
// KindConflict (in use, or there with another size), KindNoCapacity (the disk is full), else this host's trouble.
func (s *Store) Do(ctx context.Context, op hostapi.Op, t hostapi.VolumeTask) (hostapi.VolumeSpec, error) {
	spec, err := s.do(ctx, op, t)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		err = fault.NoCapacity("this host has no space left for %s of volume %s", op, t.VolumeID).WithCause(err)
	}
	return spec, err
}

func (s *Store) do(ctx context.Context, op hostapi.Op, t hostapi.VolumeTask) (hostapi.VolumeSpec, error) {
	none := hostapi.VolumeSpec{}
	for _, id := range []string{t.VolumeID, t.SnapshotID, t.FromVolume, t.FromSnapshot, t.InUseBy} {
		if id != "" && !safeID(id) {
			return none, fault.Invalid("", "id %q is not fit for a file name", id)
		}
	}
	if t.VolumeID == "" || (op == hostapi.OpSnapshotCreate || op == hostapi.OpSnapshotDelete) && t.SnapshotID == "" {
		return none, fault.Invalid("", "%s without an id", op)
	}
	unlock, err := s.locks.lock(ctx, "v/"+t.VolumeID, "s/"+t.SnapshotID, "v/"+t.FromVolume, "s/"+t.FromSnapshot)
	if err != nil {
		return none, err
	}
	defer unlock()
	switch op {
	case hostapi.OpVolumeCreate:
		return s.create(ctx, t)
	case hostapi.OpVolumeDelete:
		if t.InUseBy != "" {
			return none, fault.Conflict("volume %s is in use by server %s", t.VolumeID, t.InUseBy)
		}
		return none, remove(s.volumes, t.VolumeID)
	case hostapi.OpVolumeExtend:
		return s.extend(ctx, t)
	case hostapi.OpVolumeReimage:
		return s.reimage(ctx, t)
	case hostapi.OpSnapshotCreate:
		return none, s.snapshot(ctx, t)
	case hostapi.OpSnapshotDelete:
		return none, remove(s.snapshots, t.SnapshotID)
	default:
		return none, fault.Invalid("", "%s is not a storage operation", op)
	}
}

// VolumePath is where a volume's file lies, whether it is there or not.
func (s *Store) VolumePath(id string) string { return filepath.Join(s.volumes, id, volumeFile) }

// SnapshotPath is where a snapshot's file lies, whether it is there or not.
func (s *Store) SnapshotPath(id string) string { return filepath.Join(s.snapshots, id, snapshotFile) }

func (s *Store) spec(id string, bytes int64) hostapi.VolumeSpec {
	return hostapi.VolumeSpec{VolumeID: id, Path: s.VolumePath(id), Format: "raw", SizeGiB: int(bytes / gib), BootIndex: -1}
}

func (s *Store) create(ctx context.Context, t hostapi.VolumeTask) (hostapi.VolumeSpec, error) {
	none := hostapi.VolumeSpec{}
	bytes, err := volumeBytes(t.SizeGiB)
	if err != nil {
		return none, err
	}
	have, ok, err := exists(s.VolumePath(t.VolumeID))
	if err != nil {
		return none, err
	}
	if ok { // made by an earlier try; never written over
		if have != bytes {
			return none, fault.Conflict("volume %s is there with %d bytes instead of %d", t.VolumeID, have, bytes)
		}
		return s.spec(t.VolumeID, bytes), nil
	}
	fill, err := s.source(ctx, t, bytes)
	if err != nil {
		return none, err
	}
	if err := s.placeDir(s.volumes, t.VolumeID, volumeFile, func(f *os.File) error {
		if err := fill(f); err != nil {
			return err
		}
		return f.Truncate(bytes) // the rest is a hole and reads as zero
	}); err != nil {
		return none, err
	}
	return s.spec(t.VolumeID, bytes), nil
}

// source checks where a new volume's bytes come from and returns what writes them.
func (s *Store) source(ctx context.Context, t hostapi.VolumeTask, bytes int64) (func(f *os.File) error, error) {
	var path, what string
	switch {
	case t.Image != nil:
		return s.imageSource(ctx, t, bytes)
	case t.FromSnapshot != "":
		path, what = s.SnapshotPath(t.FromSnapshot), "snapshot "+t.FromSnapshot
	case t.FromVolume != "":
		path, what = s.VolumePath(t.FromVolume), "volume "+t.FromVolume
	default:
		return func(*os.File) error { return nil }, nil
	}
	size, ok, err := exists(path)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.NotFound("%s is not on this host", what)
	}
	if size > bytes {
		return nil, fault.Invalid("size", "%s has %d GiB, the new volume only %d", what, size/gib, bytes/gib)
	}
	if t.FromVolume != "" && t.InUseBy != "" {
		return func(f *os.File) error { return s.liveCopy(ctx, t.InUseBy, t.FromVolume, f, size) }, nil
	}
	return func(f *os.File) error { return copySparse(ctx, f, path) }, nil
}

func (s *Store) imageSource(ctx context.Context, t hostapi.VolumeTask, bytes int64) (func(f *os.File) error, error) {
	if s.opt.Image == nil {
		return nil, fault.Unavailable("this host has no image cache for volume %s", t.VolumeID)
	}
	base, err := s.opt.Image(ctx, *t.Image)
	if err != nil {
		return nil, err
	}
	if base.VirtualBytes > bytes {
		return nil, fault.Invalid("size", "image %s needs %d bytes, volume %s has %d", t.Image.ID, base.VirtualBytes, t.VolumeID, bytes)
	}
	return func(f *os.File) error {
		if base.Format == "raw" {
			return copySparse(ctx, f, base.Path)
		}
		return qemuImg(ctx, "convert", "-q", "-f", base.Format, "-O", "raw", base.Path, f.Name())
	}, nil
}

// liveCopy has QEMU copy a volume of a running guest into f.
func (s *Store) liveCopy(ctx context.Context, server, volume string, f *os.File, size int64) error {
	if s.opt.LiveCopy == nil {
		return fault.Conflict("volume %s is in use by server %s and cannot be copied meanwhile", volume, server)
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := s.opt.Owner.take(f); err != nil {
		return err
	}
	err := s.opt.LiveCopy(ctx, server, volume, f.Name())
	if !errors.Is(err, ErrNotHeld) {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	return copySparse(ctx, f, s.VolumePath(volume))
}

// reimage gives a volume that no guest holds the bytes of an image instead of its own, whole or not at all; its size stays.
func (s *Store) reimage(ctx context.Context, t hostapi.VolumeTask) (hostapi.VolumeSpec, error) {
	none := hostapi.VolumeSpec{}
	if t.Image == nil {
		return none, fault.Invalid("", "volume %s: a reimage needs an image", t.VolumeID)
	}
	path := s.VolumePath(t.VolumeID)
	bytes, ok, err := exists(path)
	if err != nil {
		return none, err
	}
	if !ok {
		return none, fault.NotFound("volume %s is not on this host", t.VolumeID)
	}
	fill, err := s.imageSource(ctx, t, bytes)
	if err != nil {
		return none, err
	}
	err = place(path, s.opt.Owner, func(f *os.File) error {
		if err := fill(f); err != nil {
			return err
		}
		return f.Truncate(bytes)
	})
	return s.spec(t.VolumeID, bytes), err
}

func (s *Store) extend(ctx context.Context, t hostapi.VolumeTask) (hostapi.VolumeSpec, error) {
	none := hostapi.VolumeSpec{}
	bytes, err := volumeBytes(t.SizeGiB)
	if err != nil {
		return none, err
	}
	path := s.VolumePath(t.VolumeID)
	have, ok, err := exists(path)
	switch {
	case err != nil:
		return none, err
	case !ok:
		return none, fault.NotFound("volume %s is not on this host", t.VolumeID)
	case have > bytes:
		return none, fault.Invalid("new_size", "volume %s has %d GiB and cannot shrink to %d", t.VolumeID, have/gib, t.SizeGiB)
	case have < bytes:
		if err := truncateSync(path, bytes); err != nil {
			return none, err
		}
	}
	// Told on every try: a crash may lie between the file's growth and QEMU's knowledge of it.
	if t.InUseBy != "" && s.opt.LiveResize != nil {
		if err := s.opt.LiveResize(ctx, t.InUseBy, t.VolumeID, bytes); err != nil && !errors.Is(err, ErrNotHeld) {
			return none, fmt.Errorf("volume %s has grown but server %s was not told: %w", t.VolumeID, t.InUseBy, err)
		}
	}
	return s.spec(t.VolumeID, bytes), nil
}

func (s *Store) snapshot(ctx context.Context, t hostapi.VolumeTask) error {
	if _, ok, err := exists(s.SnapshotPath(t.SnapshotID)); ok || err != nil {
		return err
	}
	path := s.VolumePath(t.VolumeID)
	size, ok, err := exists(path)
	if err != nil {
		return err
	}
	if !ok {
		return fault.NotFound("volume %s is not on this host", t.VolumeID)
	}
	return s.placeDir(s.snapshots, t.SnapshotID, snapshotFile, func(f *os.File) error {
		if t.InUseBy != "" {
			return s.liveCopy(ctx, t.InUseBy, t.VolumeID, f, size)
		}
		return copySparse(ctx, f, path)
	})
}

// placeDir makes parent/id/name whole or not at all.
func (s *Store) placeDir(parent, id, name string, fill func(f *os.File) error) error {
	tmp := filepath.Join(parent, ".new-"+id)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o711); err != nil {
		return err
	}
	if err := place(filepath.Join(tmp, name), s.opt.Owner, fill); err != nil {
		os.RemoveAll(tmp)
		return err
	}
	if err := os.Rename(tmp, filepath.Join(parent, id)); err != nil {
		os.RemoveAll(tmp)
		return err
	}
	return syncDir(parent)
}

// remove deletes parent/id: it is gone with the rename, the space follows. What a crash leaves, Open sweeps.
func remove(parent, id string) error {
	old := filepath.Join(parent, ".old-"+id)
	if err := os.RemoveAll(old); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(parent, id), old); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := syncDir(parent); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// Listing is what the directories hold.
type Listing struct {
	Volumes   []string // ids
	Snapshots []string
	Problems  []string // what should not be there, in words
}

// List looks at the disk for fsck. Operations under way may or may not be in it.
func (s *Store) List() (Listing, error) {
	var l Listing
	for _, d := range []struct {
		dir, file string
		ids       *[]string
	}{{s.volumes, volumeFile, &l.Volumes}, {s.snapshots, snapshotFile, &l.Snapshots}} {
		entries, err := os.ReadDir(d.dir)
		if err != nil {
			return Listing{}, err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			if _, ok, err := exists(filepath.Join(d.dir, e.Name(), d.file)); !ok || err != nil {
				l.Problems = append(l.Problems, fmt.Sprintf("%s has no %s", filepath.Join(d.dir, e.Name()), d.file))
				continue
			}
			*d.ids = append(*d.ids, e.Name())
		}
	}
	return l, nil
}

// Space tells the free (for an unprivileged writer) and the whole size in bytes of the file system that holds the volumes.
func (s *Store) Space() (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.volumes, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

func volumeBytes(sizeGiB int) (int64, error) {
	if sizeGiB < 1 || int64(sizeGiB) > MaxDiskBytes/gib {
		return 0, fault.Invalid("size", "a volume of %d GiB is outside 1 to %d", sizeGiB, MaxDiskBytes/gib)
	}
	return int64(sizeGiB) * gib, nil
}

// safeID admits what can be one path element and no option: letters, digits, dash, underscore; at most 64; no leading dash.
func safeID(id string) bool {
	if id == "" || len(id) > 64 || id[0] == '-' {
		return false
	}
	for _, c := range []byte(id) {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
