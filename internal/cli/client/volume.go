package client

import (
	"context"
	"fmt"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/volumeattach"
)

// Volume is the noun volume.
type Volume struct {
	Flags
	List   VolumeList   `cmd:"" help:"List volumes."`
	Show   VolumeShow   `cmd:"" help:"Show a volume."`
	Create VolumeCreate `cmd:"" help:"Make a volume."`
	Delete VolumeDelete `cmd:"" help:"Delete volumes."`
	Attach VolumeAttach `cmd:"" help:"Put a volume into a server."`
	Detach VolumeDetach `cmd:"" help:"Take a volume out of a server."`
}

func volumeKey(v volumes.Volume) (string, string) { return v.ID, v.Name }

func (s *Session) volumes(ctx context.Context) ([]volumes.Volume, error) {
	c, err := s.volume(ctx)
	if err != nil {
		return nil, err
	}
	pages, err := volumes.List(c, volumes.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, err
	}
	return volumes.ExtractVolumes(pages)
}

func (s *Session) volumeNamed(ctx context.Context, want string) (volumes.Volume, error) {
	all, err := s.volumes(ctx)
	if err != nil {
		return volumes.Volume{}, err
	}
	return pick("volume", want, all, volumeKey)
}

// VolumeList lists.
type VolumeList struct{}

// Run lists volumes.
func (VolumeList) Run(ctx context.Context, s *Session) error {
	all, err := s.volumes(ctx)
	if err != nil {
		return err
	}
	l := listing{head: []string{"id", "name", "status", "size_gib", "bootable", "attached"}, empty: "no volumes"}
	for _, v := range all {
		l.add(v.ID, v.Name, v.Status, v.Size, v.Bootable == "true", attachedTo(v))
	}
	return s.printList(l)
}

func attachedTo(v volumes.Volume) []string {
	out := []string{}
	for _, a := range v.Attachments {
		out = append(out, a.ServerID+" "+a.Device)
	}
	return out
}

// VolumeShow shows.
type VolumeShow struct {
	Volume string `arg:"" help:"Name or id."`
}

// Run shows a volume.
func (w *VolumeShow) Run(ctx context.Context, s *Session) error {
	v, err := s.volumeNamed(ctx, w.Volume)
	if err != nil {
		return err
	}
	return s.printFields(volumeFields(v))
}

func volumeFields(v volumes.Volume) []field {
	return []field{{"id", v.ID}, {"name", v.Name}, {"status", v.Status}, {"size GiB", v.Size}, {"type", v.VolumeType}, {"bootable", v.Bootable == "true"},
		{"attached", attachedTo(v)}, {"snapshot", v.SnapshotID}, {"zone", v.AvailabilityZone}, {"host", v.Host}, {"metadata", v.Metadata}, {"created", v.CreatedAt}}
}

// VolumeCreate makes one.
type VolumeCreate struct {
	Name    string `arg:""`
	Size    int    `required:"" placeholder:"GIB" help:"Size."`
	Image   string `placeholder:"I" help:"Made from this image."`
	Type    string `placeholder:"T" help:"Volume type."`
	Wait    bool   `short:"w" help:"Wait until it can be used."`
	Timeout int    `default:"300" placeholder:"SECONDS" help:"How long to wait (${default})."`
}

// Run makes a volume.
func (w *VolumeCreate) Run(ctx context.Context, s *Session) error {
	opts := volumes.CreateOpts{Name: w.Name, Size: w.Size, VolumeType: w.Type}
	if w.Image != "" {
		i, err := s.imageNamed(ctx, w.Image)
		if err != nil {
			return err
		}
		opts.ImageID = i.ID
	}
	c, err := s.volume(ctx)
	if err != nil {
		return err
	}
	v, err := volumes.Create(ctx, c, opts, nil).Extract()
	if err == nil && w.Wait {
		v, err = s.awaitVolume(ctx, c, v.ID, "available", time.Duration(w.Timeout)*time.Second)
	}
	if err != nil {
		return err
	}
	return s.printFields(volumeFields(*v))
}

// awaitVolume waits for a status; an error status ends it.
func (s *Session) awaitVolume(ctx context.Context, c *gophercloud.ServiceClient, id, want string, limit time.Duration) (*volumes.Volume, error) {
	began, every := s.Now(), pollFirst
	for {
		v, err := volumes.Get(ctx, c, id).Extract()
		switch {
		case err != nil:
			return nil, err
		case v.Status == want:
			return v, nil
		case v.Status == "error":
			return nil, fmt.Errorf("volume %s is in state error", id)
		case s.Now().Sub(began) > limit:
			return nil, fmt.Errorf("volume %s is still %s after %s", id, v.Status, limit)
		}
		if err := pause(ctx, every); err != nil {
			return nil, err
		}
		every = min(every*5/4, pollMax)
	}
}

// VolumeDelete deletes.
type VolumeDelete struct {
	Volumes []string `arg:"" name:"volume" help:"Names or ids."`
}

// Run deletes volumes.
func (w *VolumeDelete) Run(ctx context.Context, s *Session) error {
	c, err := s.volume(ctx)
	if err != nil {
		return err
	}
	return forEach(w.Volumes, func(want string) error {
		v, err := s.volumeNamed(ctx, want)
		if err != nil {
			return err
		}
		return volumes.Delete(ctx, c, v.ID, nil).ExtractErr()
	})
}

// pair is a server and a volume.
type pair struct {
	Server string `arg:"" help:"Name or id."`
	Volume string `arg:"" help:"Name or id."`
}

func (p *pair) ids(ctx context.Context, s *Session) (server, volume string, err error) {
	srv, err := s.server(ctx, p.Server)
	if err != nil {
		return "", "", err
	}
	v, err := s.volumeNamed(ctx, p.Volume)
	return srv.ID, v.ID, err
}

// VolumeAttach attaches.
type VolumeAttach struct {
	pair
	Device string `placeholder:"DEV" help:"Device name to ask for; the guest has the last word."`
}

// Run attaches and waits until the volume is in use.
func (w *VolumeAttach) Run(ctx context.Context, s *Session) error {
	server, volume, err := w.ids(ctx, s)
	if err != nil {
		return err
	}
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	a, err := volumeattach.Create(ctx, c, server, volumeattach.CreateOpts{VolumeID: volume, Device: w.Device}).Extract()
	if err != nil {
		return err
	}
	vc, err := s.volume(ctx)
	if err != nil {
		return err
	}
	v, err := s.awaitVolume(ctx, vc, volume, "in-use", time.Minute)
	if err != nil {
		return err
	}
	device := a.Device
	for _, x := range v.Attachments {
		if x.ServerID == server && x.Device != "" {
			device = x.Device
		}
	}
	return s.printFields([]field{{"server", server}, {"volume", volume}, {"device", device}, {"status", v.Status}})
}

// VolumeDetach detaches.
type VolumeDetach struct{ pair }

// Run detaches and waits until the volume is free.
func (w *VolumeDetach) Run(ctx context.Context, s *Session) error {
	server, volume, err := w.ids(ctx, s)
	if err != nil {
		return err
	}
	c, err := s.compute(ctx)
	if err != nil {
		return err
	}
	if err := volumeattach.Delete(ctx, c, server, volume).ExtractErr(); err != nil {
		return err
	}
	vc, err := s.volume(ctx)
	if err != nil {
		return err
	}
	v, err := s.awaitVolume(ctx, vc, volume, "available", time.Minute)
	if err != nil {
		return err
	}
	return s.printFields([]field{{"volume", v.ID}, {"status", v.Status}})
}
