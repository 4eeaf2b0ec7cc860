package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/host/blockdev"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/imagecache"
	"nephos/internal/hostapi"
)

// The names of an instance's disks in its directory.
const (
	rootFile      = "disk.qcow2"
	ephemeralFile = "ephemeral0.raw"
	swapFile      = "swap.raw"
	rescueFile    = "rescue.qcow2"
	asidePrefix   = "aside-" // a directory per rebuild; while it is being filled its name begins with a dot
)

// Fetch implements Disks.
func (f *Files) Fetch(ctx context.Context, image hostapi.ImageSpec) error {
	_, err := f.Cache.GetSet(ctx, image)
	return err
}

// Rescue implements Disks.
func (f *Files) Rescue(ctx context.Context, dir string, spec *hostapi.InstanceSpec) (Prepared, error) {
	var p Prepared
	set, err := f.Cache.GetSet(ctx, spec.Rescue.Image)
	if err != nil {
		return p, err
	}
	p.boot(set, spec)
	path := filepath.Join(dir, rescueFile)
	size := max(int64(spec.RootGiB)*gib, set.Root.VirtualBytes)
	err = blockdev.CreateOverlay(path, blockdev.Backing{Path: set.Root.Path, Format: set.Root.Format, VirtualBytes: set.Root.VirtualBytes}, size, f.Owner)
	p.Disks = []hypervisor.Disk{{ID: "rescue", Path: path, Format: "qcow2", BootIndex: 0, Bus: spec.Rescue.DiskBus,
		Backing: []hypervisor.Layer{{Path: set.Root.Path, Format: set.Root.Format}}}}
	return p, err
}

// boot takes an image's kernel and ramdisk, if it has them.
func (p *Prepared) boot(set imagecache.Set, spec *hostapi.InstanceSpec) {
	if set.Kernel != nil {
		p.Kernel, p.Cmdline = set.Kernel.Path, "root=/dev/vda console=tty0 console=ttyS0"
		if spec.Machine.CmdlineExtra != "" {
			p.Cmdline = spec.Machine.CmdlineExtra
		}
	}
	if set.Ramdisk != nil {
		p.Ramdisk = set.Ramdisk.Path
	}
}

// DropRescue implements Disks.
func (f *Files) DropRescue(dir string) error { return remove(filepath.Join(dir, rescueFile)) }

// SetAside implements Disks.
func (f *Files) SetAside(dir string, t hostapi.RebuildTask) error { return setAside(dir, t) }

// PutBack implements Disks.
func (f *Files) PutBack(dir, key string) error { return putBack(dir, key) }

// DropAside implements Disks.
func (f *Files) DropAside(dir string) error { return dropAside(dir) }

// setAside moves the disks into a directory whose last name says that all of them are in it: before that a repeated command goes on moving, after it what lies
// in the disks' places is new. The spec goes along, so that the cache keeps their base.
func setAside(dir string, t hostapi.RebuildTask) error {
	whole, part := filepath.Join(dir, asidePrefix+t.Key), filepath.Join(dir, "."+asidePrefix+t.Key)
	if _, err := os.Stat(whole); err == nil {
		return nil
	}
	if err := os.MkdirAll(part, 0o711); err != nil {
		return err
	}
	var names []string
	if !t.KeepRoot {
		names = append(names, rootFile)
	}
	if !t.KeepEphemeral {
		names = append(names, ephemeralFile, swapFile)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "spec.json")); err == nil {
		if err := os.WriteFile(filepath.Join(part, "spec.json"), b, 0o600); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(part, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(part, whole)
}

// putBack moves disk by disk; each that is still set aside is the one to have.
func putBack(dir, key string) error {
	for _, aside := range []string{filepath.Join(dir, asidePrefix+key), filepath.Join(dir, "."+asidePrefix+key)} {
		for _, name := range []string{rootFile, ephemeralFile, swapFile} {
			if err := os.Rename(filepath.Join(aside, name), filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := os.RemoveAll(aside); err != nil {
			return err
		}
	}
	return nil
}

func dropAside(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(strings.TrimPrefix(e.Name(), "."), asidePrefix) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

// asideSpecs are the specs of disks that are set aside, for UsedImages.
func asideSpecs(instances string) []hostapi.InstanceSpec {
	var out []hostapi.InstanceSpec
	for _, pattern := range []string{asidePrefix + "*", "." + asidePrefix + "*"} {
		found, _ := filepath.Glob(filepath.Join(instances, "*", pattern, "spec.json")) // the pattern is well formed
		for _, path := range found {
			var s hostapi.InstanceSpec
			if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &s) == nil {
				out = append(out, s)
			}
		}
	}
	return out
}

func snapshotFile(dir, imageID string) string {
	return filepath.Join(dir, "snapshot-"+imageID+".qcow2")
}

// Snapshot implements Disks: a qcow2 that holds what overlay and base hold. A running guest's disk is copied by QEMU into a raw file first.
func (f *Files) Snapshot(ctx context.Context, dir, imageID string, live func(diskID, dst string) error) (string, error) {
	path := snapshotFile(dir, imageID)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	src := blockdev.Backing{Path: filepath.Join(dir, rootFile), Format: "qcow2"}
	if live == nil {
		return path, blockdev.Export(ctx, src, path, "qcow2", f.Owner)
	}
	o, err := blockdev.ReadOverlay(src.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fault.Conflict("the server has no root disk on this host")
	}
	if err != nil {
		return "", err
	}
	raw := filepath.Join(dir, ".snapshot-"+imageID+".raw")
	defer os.Remove(raw)
	if err := blank(raw, o.VirtualBytes); err != nil {
		return "", err
	}
	if err := live("root", raw); err != nil {
		return "", err
	}
	return path, blockdev.Export(ctx, blockdev.Backing{Path: raw, Format: "raw"}, path, "qcow2", f.Owner)
}

// blank makes an empty sparse file in place of whatever is there.
func blank(path string, bytes int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(bytes), file.Close())
}

// DropSnapshot implements Disks.
func (f *Files) DropSnapshot(dir, imageID string) error {
	return errors.Join(remove(snapshotFile(dir, imageID)), remove(filepath.Join(dir, ".snapshot-"+imageID+".raw")))
}
