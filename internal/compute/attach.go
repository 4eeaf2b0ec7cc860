package compute

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/network"
	"nephos/internal/volume"
)

// Times that an API call gives a host before it answers without its word.
const (
	metadataTellTime = 2 * time.Second
	attachWait       = 10 * time.Second
)

// AttachRequest is the body of POST os-volume_attachments.
type AttachRequest struct {
	VolumeID            string
	Device              string // a wish: free names are honoured, others refused
	Tag                 string
	DeleteOnTermination bool
	Shelved             bool // a shelved server too (2.20)
}

// AttachVolume reserves a volume for a server, names its device and begins the attachment, in one transaction.
func (s *Service) AttachVolume(ctx context.Context, by By, id string, req AttachRequest) (BlockDevice, error) {
	var b BlockDevice
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		rule := ruleAttachVolume
		if req.Shelved {
			rule.From = shelvedToo
		}
		sv, err := enter(ctx, tx, by, id, rule)
		if err != nil {
			return err
		}
		v, err := s.Volumes.Get(ctx, tx, req.VolumeID)
		if err != nil || v.ProjectID != by.Creds.ProjectID && !by.Creds.IsAdmin() {
			return fault.NotFound("Volume %s could not be found.", req.VolumeID)
		}
		if v.Host != "" && sv.Host != "" && v.Host != sv.Host {
			return fault.Invalid("volumeId", "Volume %s is on host %s, the server is on host %s; file volumes cannot be attached across hosts.", v.ID, v.Host, sv.Host)
		}
		devices, err := BlockDevices(ctx, tx, id)
		if err != nil {
			return err
		}
		used := map[string]bool{"/dev/vda": true}
		for _, d := range devices {
			used[d.Device] = true
			if d.VolumeID == req.VolumeID {
				return fault.Invalid("volumeId", "Invalid volume: Instance %s is already attached to volume %s.", id, req.VolumeID)
			}
		}
		if sv.Host == "" { // it must come back to a host where all its volumes are
			if err := s.sameHost(ctx, tx, devices, v); err != nil {
				return err
			}
		}
		device := req.Device
		if device == "" || device == "auto" {
			if device, err = nextDevice(used); err != nil {
				return err
			}
		} else if used[device] {
			return fault.Conflict("The supplied device path (%s) is in use.", device)
		}
		att, err := s.Volumes.Reserve(ctx, tx, volume.Reservation{VolumeID: v.ID, ServerID: id, ProjectID: sv.ProjectID})
		if fault.KindOf(err) == fault.KindConflict { // Nova: 400 for a volume that is not available
			return fault.Invalid("volumeId", "Invalid volume: %s", fault.Message(err)).WithCause(err)
		}
		if err != nil {
			return err
		}
		b = BlockDevice{ID: uuid.NewString(), ServerID: id, SourceType: "volume", DestinationType: "volume", VolumeID: v.ID, AttachmentID: att, SizeGiB: v.SizeGiB,
			BootIndex: -1, Device: device, Tag: req.Tag, DeleteOnTermination: req.DeleteOnTermination, Created: db.Now()}
		if err := tx.Insert(ctx, "block_devices", b); err != nil {
			return err
		}
		return s.Conductor.BeginAttachVolume(ctx, tx, sv, by.subject(), b)
	})
	return b, err
}

// sameHost refuses a volume that lies elsewhere than those the server has.
func (s *Service) sameHost(ctx context.Context, tx *db.Tx, devices []BlockDevice, v volume.Volume) error {
	for _, d := range devices {
		if d.VolumeID == "" {
			continue
		}
		other, err := s.Volumes.Get(ctx, tx, d.VolumeID)
		if err != nil {
			return err
		}
		if other.Host != "" && v.Host != "" && other.Host != v.Host {
			return fault.Invalid("volumeId", "Volume %s is on host %s, the server's volume %s is on host %s; file volumes cannot be attached across hosts.", v.ID, v.Host, other.ID, other.Host)
		}
	}
	return nil
}

// DetachVolume begins to take a volume off a server; the root disk cannot be taken.
func (s *Service) DetachVolume(ctx context.Context, by By, id, volumeID string, shelved bool) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		devices, err := s.attachmentsOf(ctx, tx, by, id)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(devices, func(d BlockDevice) bool { return d.VolumeID == volumeID })
		if i < 0 {
			return fault.NotFound("volume_id not found: %s", volumeID)
		}
		if devices[i].BootIndex == 0 {
			return fault.Invalid("volume_id", "Cannot detach a root device volume")
		}
		rule := ruleDetachVolume
		if shelved {
			rule.From = shelvedToo
		}
		sv, err := enter(ctx, tx, by, id, rule)
		if err != nil {
			return err
		}
		if err := s.Volumes.BeginDetach(ctx, tx, volumeID); err != nil {
			return err
		}
		return s.Conductor.BeginDetachVolume(ctx, tx, sv, by.subject(), devices[i])
	})
}

func (s *Service) attachmentsOf(ctx context.Context, tx *db.Tx, by By, id string) ([]BlockDevice, error) {
	if _, err := visible(ctx, tx, by.Creds, id); err != nil {
		return nil, err
	}
	all, err := BlockDevices(ctx, tx, id)
	return slices.DeleteFunc(all, func(d BlockDevice) bool { return d.VolumeID == "" }), err
}

// Attachments lists the volumes of a server.
func (s *Service) Attachments(ctx context.Context, by By, id string) ([]BlockDevice, error) {
	var out []BlockDevice
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		out, err = s.attachmentsOf(ctx, tx, by, id)
		return err
	})
	return out, err
}

// SetDeleteOnTermination changes what happens to an attached volume when the server goes.
func (s *Service) SetDeleteOnTermination(ctx context.Context, by By, id, volumeID string, value bool) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := visible(ctx, tx, by.Creds, id); err != nil {
			return err
		}
		n, err := tx.Exec(ctx, `UPDATE block_devices SET delete_on_termination = ? WHERE server_id = ? AND volume_id = ?`, value, id, volumeID)
		if err == nil && n == 0 {
			return fault.NotFound("Instance %s is not attached to volume %s", id, volumeID)
		}
		return err
	})
}

// AttachInterface makes or takes a port for a server and plugs it in; it waits a moment for the host, as Nova's call does.
func (s *Service) AttachInterface(ctx context.Context, by By, id string, req network.Request) (hostapi.NICSpec, error) {
	var nic hostapi.NICSpec
	plan, err := s.Networks.Resolve(ctx, by.Creds, []network.Request{req}, network.ModeExplicit)
	if err != nil {
		return nic, err
	}
	var wf string
	err = s.DB.Write(ctx, func(tx *db.Tx) error {
		sv, err := enter(ctx, tx, by, id, ruleAttachInterface)
		if err != nil {
			return err
		}
		nic, err = s.Networks.AttachPort(ctx, tx, network.Allocation{ServerID: id, ProjectID: sv.ProjectID, Host: sv.Host, Zone: sv.Zone, Hostname: sv.Hostname,
			SecurityGroupIDs: sv.SecurityGroups.V, Plan: plan})
		if err != nil {
			return err
		}
		wf, err = s.Conductor.BeginAttachInterface(ctx, tx, sv, by.subject(), nic)
		return err
	})
	if err != nil {
		return nic, err
	}
	wctx, cancel := context.WithTimeout(ctx, attachWait)
	defer cancel()
	rec, err := s.Engine.Wait(wctx, wf)
	if errors.Is(err, context.DeadlineExceeded) {
		return nic, nil // it goes on; the interface list tells how it ended
	}
	if err == nil && rec.Status != "done" {
		err = fault.Conflict("Failed to attach network adapter device to %s: %s", id, rec.Err)
	}
	return nic, err
}

// DetachInterface begins to unplug a port of the server; one that was made for it is deleted.
func (s *Service) DetachInterface(ctx context.Context, by By, id, portID string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		if _, err := visible(ctx, tx, by.Creds, id); err != nil {
			return err
		}
		nics, err := s.Networks.NICSpecs(ctx, tx, id)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(nics, func(n hostapi.NICSpec) bool { return n.PortID == portID }) {
			return fault.NotFound("Port %s is not attached to instance %s.", portID, id)
		}
		sv, err := enter(ctx, tx, by, id, ruleDetachInterface)
		if err != nil {
			return err
		}
		return s.Conductor.BeginDetachInterface(ctx, tx, sv, by.subject(), portID)
	})
}
