package compute

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/image"
	"nephos/internal/volume"
)

// ImageRequest is the body of createImage and createBackup.
type ImageRequest struct {
	Name     string
	Metadata map[string]string
	Backup   *Backup
}

// CreateImage begins the making of an image of a server: of its root disk, or, where that is a volume, of snapshots of its volumes. The image's record is
// committed with the workflow that fills it.
func (s *Service) CreateImage(ctx context.Context, by By, id string, req ImageRequest) (imageID string, err error) {
	rule := ActionCreateImage
	if req.Backup != nil {
		rule = ActionBackup
	}
	if sv, err := s.fitNow(ctx, by, id, rule); err != nil {
		return "", err
	} else if sv.VolumeBooted() && req.Backup != nil {
		return "", fault.Invalid("", "Backup is not supported for volume-backed instances.")
	}
	_, err = s.begin(ctx, by, id, rule, func(tx *db.Tx, sv *Server, a *Act) error {
		limit, err := s.Quotas.Limit(ctx, tx, by.Creds.ProjectID, "metadata_items")
		if err != nil {
			return err
		}
		if limit >= 0 && int64(len(req.Metadata)) > limit {
			return fault.Quota("Image property limit exceeded")
		}
		a.Backup = req.Backup
		kind := "snapshot"
		more := maps.Clone(req.Metadata)
		if req.Backup != nil {
			kind = "backup"
			if more == nil {
				more = map[string]string{}
			}
			more["backup_type"] = req.Backup.Type
		}
		if sv.VolumeBooted() {
			imageID, err = s.imageOfVolumes(ctx, tx, by, sv, req.Name, more, a)
		} else {
			imageID, err = s.imageOf(ctx, tx, by, sv, req.Name, kind, more, a)
		}
		return err
	})
	return imageID, err
}

// notInherited are the properties of a server's image that its snapshots do not take over: they speak of that image's bytes or of its making.
var notInherited = []string{"block_device_mapping", "bdm_v2", "root_device_name", "image_type", "backup_type", "base_image_ref", "instance_uuid", "user_id", "os_hash_algo", "os_hash_value",
	"signature_verified", "img_signature", "img_signature_hash_method", "img_signature_key_type", "img_signature_certificate_uuid", "cache_in_nova"}

// snapshotProperties are what an image made of a server says of it.
func snapshotProperties(sv *Server, by By, kind string, more map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range sv.Image.V.Properties {
		if !slices.Contains(notInherited, k) && !strings.HasPrefix(k, "os_glance") {
			out[k] = v
		}
	}
	out["image_type"], out["instance_uuid"], out["user_id"] = kind, sv.ID, by.Creds.UserID
	if sv.ImageID != "" {
		out["base_image_ref"] = sv.ImageID
	}
	maps.Copy(out, more) // what the request says wins, as in Nova
	return out
}

// imageOf writes the record of an image of the server's root disk. The disk's size in the flavor is what its users will need.
func (s *Service) imageOf(ctx context.Context, tx *db.Tx, by By, sv *Server, name, kind string, more map[string]string, a *Act) (string, error) {
	img, err := s.Images.CreateIn(ctx, tx, by.Creds, image.CreateParams{Name: name, Owner: by.Creds.ProjectID, Visibility: image.Private, DiskFormat: "qcow2", ContainerFormat: "bare",
		MinDiskGiB: int64(max(sv.Flavor.V.RootGiB, sv.Image.V.MinDiskGiB)), MinRAMMiB: int64(sv.Image.V.MinRAMMiB), Properties: snapshotProperties(sv, by, kind, more)})
	if err != nil {
		return "", err
	}
	m := Making{ImageID: img.ID, Token: randomText(32, "abcdefghijklmnopqrstuvwxyz0123456789")}
	a.Image.ImageID, a.Image.Token, a.Image.Quiesce = img.ID, m.Token, YesWord(sv.Image.V.Properties["os_require_quiesce"])
	return img.ID, move(ctx, tx, sv.ID, sv.Epoch, `making = ?`, db.AsJSON(&m))
}

// YesWord reads a boolean image property as Nova does.
func YesWord(s string) bool {
	return slices.Contains([]string{"1", "t", "true", "on", "y", "yes"}, strings.ToLower(strings.TrimSpace(s)))
}

// mappedDevice is one entry of the image property block_device_mapping, in Nova's words.
type mappedDevice struct {
	SourceType          string  `json:"source_type"`
	DestinationType     string  `json:"destination_type"`
	SnapshotID          *string `json:"snapshot_id"`
	BootIndex           *int    `json:"boot_index"`
	DeviceName          *string `json:"device_name"`
	DeviceType          *string `json:"device_type"`
	DiskBus             *string `json:"disk_bus"`
	GuestFormat         *string `json:"guest_format"`
	VolumeSize          *int    `json:"volume_size"`
	VolumeID            *string `json:"volume_id"`
	ImageID             *string `json:"image_id"`
	VolumeType          *string `json:"volume_type"`
	DeleteOnTermination bool    `json:"delete_on_termination"`
	NoDevice            *bool   `json:"no_device"`
	Tag                 *string `json:"tag"`
}

// imageOfVolumes begins a snapshot of each of the server's volumes, with workflows of their own, and writes the record of an image that names them.
func (s *Service) imageOfVolumes(ctx context.Context, tx *db.Tx, by By, sv *Server, name string, more map[string]string, a *Act) (string, error) {
	devices, err := BlockDevices(ctx, tx, sv.ID)
	if err != nil {
		return "", err
	}
	text := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	var mapping []mappedDevice
	for _, b := range devices {
		m := mappedDevice{SourceType: b.SourceType, DestinationType: b.DestinationType, DeviceName: text(b.Device), DiskBus: text(b.DiskBus), GuestFormat: text(b.GuestFormat),
			DeleteOnTermination: b.DeleteOnTermination, Tag: text(b.Tag)}
		size, boot := b.SizeGiB, b.BootIndex
		m.VolumeSize, m.BootIndex = &size, &boot
		if boot < 0 {
			m.BootIndex = nil
		}
		if b.VolumeID != "" {
			sn, err := s.Volumes.CreateSnapshotIn(ctx, tx, volume.By{Creds: by.Creds, RequestID: by.RequestID}, volume.SnapshotParams{VolumeID: b.VolumeID, Name: "snapshot for " + name, Force: true})
			if err != nil {
				return "", err
			}
			a.Volumes = append(a.Volumes, sn.ID)
			m.SourceType, m.DestinationType, m.SnapshotID = "snapshot", "volume", text(sn.ID)
		}
		mapping = append(mapping, m)
	}
	text2, err := json.Marshal(mapping)
	if err != nil {
		return "", err
	}
	props := snapshotProperties(sv, by, "snapshot", more)
	props["block_device_mapping"], props["bdm_v2"], props["root_device_name"] = string(text2), "True", sv.RootDevice
	img, err := s.Images.CreateIn(ctx, tx, by.Creds, image.CreateParams{Name: name, Owner: by.Creds.ProjectID, Visibility: image.Private, DiskFormat: "raw", ContainerFormat: "bare",
		MinRAMMiB: int64(sv.Image.V.MinRAMMiB), Properties: props})
	if err != nil {
		return "", err
	}
	a.Image.ImageID = img.ID
	return img.ID, move(ctx, tx, sv.ID, sv.Epoch, `making = ?`, db.AsJSON(&Making{ImageID: img.ID}))
}

// fromMapping turns the image property block_device_mapping into the devices of a new server.
func fromMapping(text string) ([]BlockDevice, error) {
	var mapping []mappedDevice
	if err := json.Unmarshal([]byte(text), &mapping); err != nil {
		return nil, fault.Invalid("imageRef", "Block Device Mapping is Invalid: the image's block_device_mapping cannot be read.").WithCause(err)
	}
	val := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	var out []BlockDevice
	for _, m := range mapping {
		if m.NoDevice != nil && *m.NoDevice {
			continue
		}
		b := BlockDevice{SourceType: m.SourceType, DestinationType: m.DestinationType, SnapshotID: val(m.SnapshotID), VolumeID: val(m.VolumeID), ImageID: val(m.ImageID), BootIndex: -1,
			DiskBus: val(m.DiskBus), GuestFormat: val(m.GuestFormat), VolumeType: val(m.VolumeType), DeleteOnTermination: m.DeleteOnTermination, Tag: val(m.Tag)}
		if m.BootIndex != nil {
			b.BootIndex = *m.BootIndex
		}
		if m.VolumeSize != nil {
			b.SizeGiB = *m.VolumeSize
		}
		out = append(out, b)
	}
	return out, nil
}

// RotateBackups deletes the oldest active backups of one type of a server until keep are left, as createBackup's rotation does.
func RotateBackups(ctx context.Context, images ImageMaker, serverID string, b Backup) error {
	all, err := images.List(ctx, nil, image.Filter{Visibility: "all", Properties: map[string]string{"image_type": "backup", "backup_type": b.Type, "instance_uuid": serverID},
		Sort: []image.SortKey{{Key: "created_at", Desc: true}}})
	if err != nil {
		return err
	}
	for i := b.Keep; i < len(all); i++ {
		if err := images.Delete(ctx, nil, all[i].ID); err != nil && !fault.IsNotFound(err) && fault.KindOf(err) != fault.KindForbidden { // forbidden: protected by its owner
			return err
		}
	}
	return nil
}

// ImageWhole says whether an image has become active; fault.KindNotFound when it is gone.
func ImageWhole(ctx context.Context, images ImageMaker, id string) (bool, error) {
	img, err := images.ByID(ctx, id)
	return img.Status.HasData(), err
}

// TakeUpload lets a host send the bytes of the image that a server's workflow is making. fault.KindForbidden unless the token is that workflow's.
func (s *Service) TakeUpload(ctx context.Context, serverID, imageID, token string, r io.Reader, size int64) error {
	var sv *Server
	err := s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		sv, err = GetServer(ctx, tx, serverID)
		return err
	})
	if err != nil && !fault.IsNotFound(err) {
		return err
	}
	if err != nil || sv.Making.V == nil || sv.Making.V.ImageID != imageID || sv.Making.V.Token == "" || !equalSecret(sv.Making.V.Token, token) {
		return fault.Forbidden("no image %s is being made of server %s by the holder of this token", imageID, serverID)
	}
	if whole, err := ImageWhole(ctx, s.Images, imageID); err != nil || whole {
		return err
	}
	return s.Images.Upload(ctx, nil, imageID, r, size)
}

// AbandonMaking ends what the server's workflow was making, when the workflow is ended early.
func AbandonMaking(ctx context.Context, tx *db.Tx, images ImageMaker, sv *Server) error {
	if sv.Making.V == nil {
		return nil
	}
	if err := images.AbandonIn(ctx, tx, sv.Making.V.ImageID); err != nil {
		return err
	}
	return move(ctx, tx, sv.ID, sv.Epoch, `making = ''`)
}

// mapImage turns a request for an image that was made of a volume-backed server into one for volumes made from that image's snapshots.
func (s *Service) mapImage(ctx context.Context, d *draft) error {
	if d.ImageID == "" {
		return nil
	}
	img, err := s.Images.Get(ctx, d.creds, d.ImageID)
	if err != nil || img.Properties["block_device_mapping"] == "" {
		return nil //nolint:nilerr // an image that cannot be had is refused at its place in the order of the checks
	}
	devices, err := fromMapping(img.Properties["block_device_mapping"])
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(devices, func(b BlockDevice) bool { return b.BootIndex == 0 }) {
		return nil
	}
	if int(img.MinRAMMiB) > 0 {
		d.image.MinRAMMiB = int(img.MinRAMMiB)
	}
	d.image.Properties = img.Properties
	d.ImageID, d.BlockDevices = "", append(devices, d.BlockDevices...)
	return nil
}
