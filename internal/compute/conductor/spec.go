package conductor

import (
	"context"
	"encoding/base64"
	"strings"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/hostapi"
)

// spec gathers from the rows all that a host needs to make the server.
func (c *Conductor) spec(ctx context.Context, s *compute.Server) (*hostapi.InstanceSpec, error) {
	var nics []hostapi.NICSpec
	var volumes []hostapi.VolumeSpec
	var ephemeral, swap int
	err := c.DB.Read(ctx, func(tx *db.Tx) (err error) {
		if nics, err = c.Networks.NICSpecs(ctx, tx, s.ID); err != nil {
			return err
		}
		devices, err := compute.BlockDevices(ctx, tx, s.ID)
		if err != nil {
			return err
		}
		volumes, ephemeral, swap = nil, 0, 0
		for _, b := range devices {
			switch {
			case b.VolumeID != "":
				v, err := c.volumeSpec(ctx, tx, b)
				if err != nil {
					return err
				}
				volumes = append(volumes, v)
			case b.GuestFormat == "swap":
				swap += b.SizeGiB
			default:
				ephemeral += b.SizeGiB
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f := s.Flavor.V
	if ephemeral == 0 {
		ephemeral = f.EphemeralGiB
	}
	if swap == 0 {
		swap = f.SwapMiB
	}
	userData, err := base64.StdEncoding.DecodeString(strings.NewReplacer("\n", "", "\r", "").Replace(s.UserData))
	if err != nil {
		userData = nil // it was checked when the server was made; a row from elsewhere must not keep it from starting
	}
	props := s.Image.V.Properties
	out := &hostapi.InstanceSpec{ServerID: s.ID, ProjectID: s.ProjectID, UserID: s.UserID, Name: s.Name, Hostname: s.Hostname, Epoch: s.Epoch,
		VCPUs: f.VCPUs, RAMMiB: f.RAMMiB, RootGiB: f.RootGiB, EphemeralGiB: ephemeral, SwapMiB: swap, Volumes: volumes, NICs: nics,
		ConfigDrive: s.ConfigDrive || props["img_config_drive"] == "mandatory",
		Metadata: hostapi.GuestMetadata{AvailabilityZone: s.Zone, UserData: userData, Meta: s.Metadata.V, AdminPass: s.AdminPass, Personality: s.Personality.V,
			LaunchIndex: s.LaunchIndex, ReservationID: s.ReservationID, InstanceType: f.Name, ImageID: s.ImageID, LaunchedAt: s.Launched.Time, SecurityGroups: s.SecurityGroups.V},
		Machine: hostapi.MachineOptions{DiskBus: props["hw_disk_bus"], VIFModel: props["hw_vif_model"], Firmware: props["hw_firmware_type"], CmdlineExtra: props["os_command_line"]}}
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
