package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"nephos/internal/fault"
	"nephos/internal/host/blockdev"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// NoFiles is the Disks of simulated hosts: guests of the fake driver have disks in name only; of a volume or snapshot there is an empty file, so that a
// restart and fsck find it.
type NoFiles struct {
	Dir      string
	TotalGiB int
}

// Prepare implements Disks.
func (n *NoFiles) Prepare(_ context.Context, dir string, spec *hostapi.InstanceSpec, _ func(string, func() (string, error)) error) (Prepared, error) {
	if spec.Image == nil {
		return Prepared{}, nil
	}
	return Prepared{Disks: []hypervisor.Disk{{ID: "root", Path: filepath.Join(dir, "disk.qcow2"), Format: "qcow2", BootIndex: 0}}}, nil
}

// ConfigDrive implements Disks.
func (n *NoFiles) ConfigDrive(_ context.Context, dir string, _ *hostapi.InstanceSpec) (string, error) {
	return filepath.Join(dir, "config.iso"), nil
}

// Do implements Disks.
func (n *NoFiles) Do(_ context.Context, op hostapi.Op, t hostapi.VolumeTask) (hostapi.VolumeSpec, error) {
	volume, snapshot := filepath.Join(n.Dir, "volumes", t.VolumeID), filepath.Join(n.Dir, "snapshots", t.SnapshotID)
	v := hostapi.VolumeSpec{VolumeID: t.VolumeID, Path: volume, Format: "raw", SizeGiB: t.SizeGiB}
	switch op {
	case hostapi.OpVolumeCreate:
		return v, touch(volume)
	case hostapi.OpVolumeDelete:
		return v, remove(volume)
	case hostapi.OpVolumeExtend, hostapi.OpVolumeReimage, hostapi.OpImageCache:
		return v, nil
	case hostapi.OpSnapshotCreate:
		return v, touch(snapshot)
	case hostapi.OpSnapshotDelete:
		return v, remove(snapshot)
	}
	return v, fault.Invalid("op", "no storage operation %q", op)
}

func touch(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, nil, 0o600)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// List implements Disks.
func (n *NoFiles) List() (blockdev.Listing, error) {
	volumes, err := names(filepath.Join(n.Dir, "volumes"))
	if err != nil {
		return blockdev.Listing{}, err
	}
	snapshots, err := names(filepath.Join(n.Dir, "snapshots"))
	return blockdev.Listing{Volumes: volumes, Snapshots: snapshots}, err
}

func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out, err
}

// Images implements Disks.
func (n *NoFiles) Images() ([]string, error) { return nil, nil }

// FreeGiB implements Disks.
func (n *NoFiles) FreeGiB() (free, total int, err error) { return n.TotalGiB, n.TotalGiB, nil }
