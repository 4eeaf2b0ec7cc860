package agent

import (
	"context"
	"os"
	"path/filepath"

	"nephos/internal/host/blockdev"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// fakeImageBytes is the size of the disk in an image made of a simulated server.
const fakeImageBytes = 1 << 20

// Fetch implements Disks.
func (n *NoFiles) Fetch(context.Context, hostapi.ImageSpec) error { return nil }

// Rescue implements Disks.
func (n *NoFiles) Rescue(_ context.Context, dir string, _ *hostapi.InstanceSpec) (Prepared, error) {
	return Prepared{Disks: []hypervisor.Disk{{ID: "rescue", Path: filepath.Join(dir, rescueFile), Format: "qcow2", BootIndex: 0}}}, nil
}

// DropRescue implements Disks.
func (n *NoFiles) DropRescue(string) error { return nil }

// SetAside implements Disks.
func (n *NoFiles) SetAside(string, hostapi.RebuildTask) error { return nil }

// PutBack implements Disks.
func (n *NoFiles) PutBack(string, string) error { return nil }

// DropAside implements Disks.
func (n *NoFiles) DropAside(string) error { return nil }

// Snapshot implements Disks: an image without content, but of a format that the image room accepts. It lies in the instance's directory, which a simulated one has for as
// long as something is in it, so that it goes with the instance.
func (n *NoFiles) Snapshot(_ context.Context, dir, imageID string, live func(diskID, dst string) error) (string, error) {
	path := snapshotFile(dir, imageID)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if live != nil {
		if err := live("root", path); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", err
	}
	return path, blockdev.CreateEmpty(path, fakeImageBytes, blockdev.Owner{})
}

// DropSnapshot implements Disks.
func (n *NoFiles) DropSnapshot(dir, imageID string) error {
	return remove(snapshotFile(dir, imageID))
}
