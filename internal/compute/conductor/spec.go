package conductor

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// freshSpecs keeps the specs of servers just made until their first spawn takes them. Losing one costs a read.
type freshSpecs struct {
	mu    sync.Mutex
	specs map[string]*hostapi.InstanceSpec
}

// freshMax bounds the specs kept: those of builds that another process took over are never taken.
const freshMax = 20000

func (f *freshSpecs) put(s *hostapi.InstanceSpec) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.specs == nil || len(f.specs) > freshMax {
		f.specs = map[string]*hostapi.InstanceSpec{}
	}
	f.specs[s.ServerID] = s
}

// take gives the spec of a server at this epoch, once; nil if there is none.
func (f *freshSpecs) take(id string, epoch int64) *hostapi.InstanceSpec {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.specs[id]
	delete(f.specs, id)
	if s == nil || s.Epoch != epoch {
		return nil
	}
	return s
}

// oneLine takes out the breaks that clients may put into base64.
var oneLine = strings.NewReplacer("\n", "", "\r", "")

// spec gathers from the rows all that a host needs to make the server.
func (c *Conductor) spec(ctx context.Context, s *compute.Server) (*hostapi.InstanceSpec, error) {
	var nics []hostapi.NICSpec
	var devices []compute.BlockDevice
	var volumes []hostapi.VolumeSpec
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if nics, err = c.Networks.NICSpecs(ctx, tx, s.ID); err != nil {
			return err
		}
		if devices, err = compute.BlockDevices(ctx, tx, s.ID); err != nil {
			return err
		}
		volumes = nil
		for _, b := range devices {
			if b.VolumeID == "" {
				continue
			}
			v, err := c.volumeSpec(ctx, tx, b)
			if err != nil {
				return err
			}
			volumes = append(volumes, v)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return makeSpec(s, nics, devices, volumes)
}

// makeSpec is the spec of a server from its parts.
func makeSpec(s *compute.Server, nics []hostapi.NICSpec, devices []compute.BlockDevice, volumes []hostapi.VolumeSpec) (*hostapi.InstanceSpec, error) {
	var ephemeral, swap int
	for _, b := range devices {
		switch {
		case b.DestinationType != "local":
		case b.GuestFormat == "swap":
			swap += b.SizeGiB * 1024
		default:
			ephemeral += b.SizeGiB
		}
	}
	f := s.Flavor.V
	if ephemeral == 0 {
		ephemeral = f.EphemeralGiB
	}
	if swap == 0 {
		swap = f.SwapMiB
	}
	userData, err := base64.StdEncoding.DecodeString(oneLine.Replace(s.UserData))
	if err != nil { // it was checked when the server was made
		return nil, fault.Invalid("user_data", "server %s: user data is not base64", s.ID).WithCause(err)
	}
	props := s.Image.V.Properties
	hw, _ := f.Hardware(props) // it was checked when the server got flavor and image; what has been refused since has no effect, as it had none before
	out := &hostapi.InstanceSpec{ServerID: s.ID, ProjectID: s.ProjectID, UserID: s.UserID, Name: s.Name, Hostname: s.Hostname, Epoch: s.Epoch, ForcedHost: s.ForcedHost != "",
		VCPUs: f.VCPUs, RAMMiB: f.RAMMiB, RootGiB: f.RootGiB, EphemeralGiB: ephemeral, SwapMiB: swap, Volumes: volumes, NICs: nics,
		ConfigDrive: s.ConfigDrive || props["img_config_drive"] == "mandatory",
		Metadata: hostapi.GuestMetadata{AvailabilityZone: s.Zone, UserData: userData, Meta: s.Metadata.V, AdminPass: s.AdminPass, Personality: s.Personality.V,
			LaunchIndex: s.LaunchIndex, ReservationID: s.ReservationID, InstanceType: f.Name, ImageID: s.ImageID, LaunchedAt: s.Launched.Time, SecurityGroups: s.SecurityGroups.V},
		Machine: hw.Machine, Limits: hw.Limits}
	if out.Layout, err = f.Layout(props); err != nil {
		return nil, err
	}
	if !s.VolumeBooted() {
		out.Image = s.Image.V.Spec
	}
	if s.PublicKey != "" {
		out.Metadata.PublicKeys = map[string]string{s.KeyName: s.PublicKey}
	}
	return out, nil
}

// volumeSpec joins what the volume room knows with the server's mapping.
func (c *Conductor) volumeSpec(ctx context.Context, tx *db.Tx, b compute.BlockDevice) (hostapi.VolumeSpec, error) {
	v, _, err := c.Volumes.Spec(ctx, tx, b.VolumeID)
	if err != nil {
		return v, err
	}
	v.AttachmentID, v.BootIndex, v.Device, v.DiskBus = b.AttachmentID, b.BootIndex, b.Device, b.DiskBus
	return v, nil
}
