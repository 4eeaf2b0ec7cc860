package agent

import (
	"context"
	"fmt"
	"path/filepath"

	"nephos/internal/fault"
	"nephos/internal/host/blockdev"
	"nephos/internal/host/configdrive"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/imagecache"
	"nephos/internal/hostapi"
	"nephos/internal/metadata"
)

const gib = 1 << 30

// Files is the Disks of real hosts: qcow2 overlays on cached images, raw volumes.
type Files struct {
	Cache *imagecache.Cache
	Store *blockdev.Store
	Owner blockdev.Owner
}

// Prepare implements Disks. The root disk is an overlay of the cached image, as large as the flavor's disk or, where that is 0, as the image.
func (f *Files) Prepare(ctx context.Context, dir string, spec *hostapi.InstanceSpec, step func(string, func() (string, error)) error) (Prepared, error) {
	var p Prepared
	if spec.Image != nil {
		var set imagecache.Set
		err := step("image", func() (detail string, err error) {
			set, err = f.Cache.GetSet(ctx, *spec.Image)
			if set.Root.Hit {
				detail = "cache hit"
			}
			return detail, err
		})
		if err != nil {
			return p, err
		}
		p.boot(set, spec)
		if err := step("disk", func() (string, error) { return f.root(dir, spec, set.Root, &p) }); err != nil {
			return p, err
		}
	}
	return p, f.extra(ctx, dir, spec, step, &p)
}

func (f *Files) root(dir string, spec *hostapi.InstanceSpec, base imagecache.Base, p *Prepared) (string, error) {
	size := int64(spec.RootGiB) * gib
	if size == 0 {
		size = base.VirtualBytes
	}
	path := filepath.Join(dir, rootFile)
	err := blockdev.CreateOverlay(path, blockdev.Backing{Path: base.Path, Format: base.Format, VirtualBytes: base.VirtualBytes}, size, f.Owner)
	p.Disks = append(p.Disks, hypervisor.Disk{ID: "root", Path: path, Format: "qcow2", BootIndex: 0,
		Backing: []hypervisor.Layer{{Path: base.Path, Format: base.Format}}})
	return fmt.Sprintf("%d GiB overlay on %s", (size+gib-1)/gib, base.Format), err
}

// extra makes ephemeral and swap disks.
func (f *Files) extra(ctx context.Context, dir string, spec *hostapi.InstanceSpec, step func(string, func() (string, error)) error, p *Prepared) error {
	if spec.EphemeralGiB > 0 {
		path := filepath.Join(dir, ephemeralFile)
		err := step("ephemeral", func() (string, error) {
			formatted, err := blockdev.CreateEphemeral(ctx, path, int64(spec.EphemeralGiB)*gib, f.Owner)
			if !formatted {
				return "blank: mkfs.ext4 is not installed", err
			}
			return "", err
		})
		if err != nil {
			return err
		}
		p.Disks = append(p.Disks, hypervisor.Disk{ID: "ephemeral0", Path: path, Format: "raw", BootIndex: -1})
	}
	if spec.SwapMiB > 0 {
		path := filepath.Join(dir, swapFile)
		err := step("swap", func() (string, error) {
			return "", blockdev.CreateSwap(path, spec.ServerID, int64(spec.SwapMiB)<<20, f.Owner)
		})
		if err != nil {
			return err
		}
		p.Disks = append(p.Disks, hypervisor.Disk{ID: "swap", Path: path, Format: "raw", BootIndex: -1})
	}
	return nil
}

// ConfigDrive implements Disks.
func (f *Files) ConfigDrive(_ context.Context, dir string, spec *hostapi.InstanceSpec) (string, error) {
	path := filepath.Join(dir, "config.iso")
	return path, configdrive.Build(path, spec, configdrive.Options{Metadata: metadata.Options{OnDrive: true}, UID: f.Owner.UID, GID: f.Owner.GID})
}

// Do implements Disks.
func (f *Files) Do(ctx context.Context, op hostapi.Op, t hostapi.VolumeTask) (hostapi.VolumeSpec, error) {
	if op == hostapi.OpImageCache {
		if t.Image == nil {
			return hostapi.VolumeSpec{}, fault.Invalid("image", "%s without an image", op)
		}
		return hostapi.VolumeSpec{}, f.Fetch(ctx, *t.Image)
	}
	return f.Store.Do(ctx, op, t)
}

// List implements Disks.
func (f *Files) List() (blockdev.Listing, error) { return f.Store.List() }

// Images implements Disks.
func (f *Files) Images() ([]string, error) { return f.Cache.List() }

// FreeGiB implements Disks.
func (f *Files) FreeGiB() (free, total int, err error) {
	fb, tb, err := f.Store.Space()
	return int(fb / gib), int(tb / gib), err
}

// CachedImage is blockdev.Options.Image on a cache.
func CachedImage(c *imagecache.Cache) func(context.Context, hostapi.ImageSpec) (blockdev.Backing, error) {
	return func(ctx context.Context, spec hostapi.ImageSpec) (blockdev.Backing, error) {
		b, err := c.Get(ctx, spec)
		return blockdev.Backing{Path: b.Path, Format: b.Format, VirtualBytes: b.VirtualBytes}, err
	}
}

// UsedImages lists the images that instances of this host refer to, by looking at their specs on disk.
func UsedImages(stateDir string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) {
		specs, err := filepath.Glob(filepath.Join(stateDir, "instances", "*", "spec.json"))
		if err != nil {
			return nil, err
		}
		var out []string
		used := func(spec *hostapi.InstanceSpec) {
			images := []*hostapi.ImageSpec{spec.Image, kernelOf(spec.Image), ramdiskOf(spec.Image)}
			if spec.Rescue != nil {
				images = append(images, &spec.Rescue.Image, spec.Rescue.Image.Kernel, spec.Rescue.Image.Ramdisk)
			}
			for _, i := range images {
				if i != nil {
					out = append(out, i.ID)
				}
			}
		}
		for _, path := range specs {
			var spec hostapi.InstanceSpec
			if err := readJSON(path, &spec); err != nil {
				continue // just being removed, or unreadable: then its overlay cannot be started either
			}
			used(&spec)
		}
		for _, spec := range asideSpecs(filepath.Join(stateDir, "instances")) {
			used(&spec)
		}
		return out, nil
	}
}

func kernelOf(i *hostapi.ImageSpec) *hostapi.ImageSpec {
	if i == nil {
		return nil
	}
	return i.Kernel
}

func ramdiskOf(i *hostapi.ImageSpec) *hostapi.ImageSpec {
	if i == nil {
		return nil
	}
	return i.Ramdisk
}
