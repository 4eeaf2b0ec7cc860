package volume

import (
	"context"
	"maps"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/image"
	"nephos/internal/workflow"
)

const gib = int64(1) << 30

// MaxSizeGiB is the largest volume a host's file backend makes: 64 TiB.
const MaxSizeGiB = 64 << 10

// CreateParams are what a caller may choose. At most one of the sources.
type CreateParams struct {
	Name, Description string
	SizeGiB           int    // 0: the source's
	Type              string // name or id; "": the source's or the default
	Zone              string // "": the source's or the default
	ImageID           string
	SnapshotID        string
	SourceVolume      string
	Metadata          map[string]string
}

// Create writes a volume, its quota and the workflow that makes its bytes.
func (s *Service) Create(ctx context.Context, by By, p CreateParams) (*Volume, error) {
	n := 0
	for _, src := range []string{p.ImageID, p.SnapshotID, p.SourceVolume} {
		if src != "" {
			n++
		}
	}
	if n > 1 {
		return nil, fault.Invalid("volume", "Invalid input received: at most one of imageRef, snapshot_id and source_volid can be given.")
	}
	if p.SizeGiB < 0 || p.SizeGiB > MaxSizeGiB {
		return nil, fault.Invalid("size", "Invalid input received: Volume size '%d' must be an integer and greater than 0 and at most %d.", p.SizeGiB, MaxSizeGiB)
	}
	v := &Volume{ID: uuid.NewString(), ProjectID: by.Creds.ProjectID, UserID: by.Creds.UserID, Name: p.Name, Description: p.Description, SizeGiB: p.SizeGiB,
		Status: Creating, Zone: p.Zone, Metadata: db.AsJSON(nonNil(p.Metadata)), SnapshotID: p.SnapshotID, SourceVolume: p.SourceVolume, Epoch: 1}
	if p.ImageID != "" {
		if err := s.fromImage(ctx, by, v, p.ImageID); err != nil {
			return nil, err
		}
	}
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		w := *v // the closure may run again
		w.Created = db.Now()
		inUseBy, err := s.fromSource(ctx, tx, by, &w)
		if err != nil {
			return err
		}
		if w.SizeGiB == 0 {
			return fault.Invalid("size", "Invalid input received: a volume needs a size.")
		}
		if err := s.finish(ctx, tx, by, &w, p.Type); err != nil {
			return err
		}
		_, err = workflow.Begin(ctx, tx, s.Engine, s.flows.create, by.subject(w.ID, w.ProjectID),
			makeState{Epoch: w.Epoch, Zone: w.Zone, Fixed: w.Host, Host: w.Host, SizeGiB: w.SizeGiB, ImageID: w.ImageID, FromSnapshot: w.SnapshotID, FromVolume: w.SourceVolume, InUseBy: inUseBy}, 0)
		if err == nil {
			*v = w
		}
		return err
	})
	return v, err
}

// finish completes a new volume's row with type and zone, takes its quota and writes it.
func (s *Service) finish(ctx context.Context, tx *db.Tx, by By, v *Volume, typeName string) error {
	if typeName != "" || v.TypeID == "" {
		t, err := resolveType(ctx, tx, by, typeName)
		if err != nil {
			return err
		}
		v.TypeID, v.Type = t.ID, t.Name
	}
	if err := s.zone(v); err != nil {
		return err
	}
	if err := s.charge(ctx, tx, v); err != nil {
		return err
	}
	return insertVolume(ctx, tx, v)
}

// charge takes a volume's quota.
func (s *Service) charge(ctx context.Context, tx *db.Tx, v *Volume) error {
	if err := s.largest(ctx, tx, v.ProjectID, v.SizeGiB); err != nil {
		return err
	}
	return s.Quotas.Reserve(ctx, tx, v.ProjectID, map[string]int64{"volumes": 1, "gigabytes": int64(v.SizeGiB)})
}

func (s *Service) largest(ctx context.Context, tx *db.Tx, projectID string, sizeGiB int) error {
	limit, err := s.Quotas.Limit(ctx, tx, projectID, "per_volume_gigabytes")
	if err == nil && limit >= 0 && int64(sizeGiB) > limit {
		return fault.Quota("VolumeSizeExceedsLimit: Requested volume size %dG is larger than maximum allowed limit %dG.", sizeGiB, limit)
	}
	return err
}

// zone settles a volume's availability zone. A zone that nobody has is 400; while no host is known, the default is taken on trust and the
// workflow says what is missing.
func (s *Service) zone(v *Volume) error {
	zones := s.Zones()
	if v.Zone == "" {
		v.Zone = zones[0].Name
		for _, z := range zones {
			if z.Name == DefaultZone {
				v.Zone = DefaultZone
			}
		}
		return nil
	}
	for _, z := range zones {
		if z.Name == v.Zone {
			return nil
		}
	}
	return fault.Invalid("availability_zone", "Availability zone '%s' is invalid.", v.Zone)
}

// fromImage checks the image as its user sees it and takes over what the volume shows of it.
func (s *Service) fromImage(ctx context.Context, by By, v *Volume, id string) error {
	img, err := s.Images.Get(ctx, by.Creds, id)
	if err != nil {
		if fault.IsNotFound(err) {
			return fault.Invalid("imageRef", "Invalid image identifier or unable to access requested image.").WithCause(err)
		}
		return err
	}
	if img.Status != image.Active {
		return fault.Invalid("imageRef", "Invalid input received: Image %s is not active.", id)
	}
	if _, err := s.Images.Spec(ctx, id); err != nil {
		return err
	}
	if v.SizeGiB == 0 {
		return fault.Invalid("size", "Invalid input received: a volume made from an image needs a size.")
	}
	need := max(img.VirtualBytes, img.SizeBytes)
	if need > int64(v.SizeGiB)*gib {
		return fault.Invalid("size", "Invalid input received: Size of specified image %dGB is larger than volume size %dGB.", (need+gib-1)/gib, v.SizeGiB)
	}
	if img.MinDiskGiB > int64(v.SizeGiB) {
		return fault.Invalid("size", "Invalid input received: Volume size %dGB cannot be smaller than the image minDisk size %dGB.", v.SizeGiB, img.MinDiskGiB)
	}
	v.ImageID, v.Bootable, v.ImageMetadata = id, true, db.AsJSON(imageMetadata(img))
	return nil
}

// fromSource checks a snapshot or volume that a volume is made from, locks it against deletion, and takes over its size, type, zone,
// host and bootability. inUseBy is the server whose guest holds a source volume.
func (s *Service) fromSource(ctx context.Context, tx *db.Tx, by By, v *Volume) (inUseBy string, err error) {
	var size int
	var what, host string
	var src *Volume
	switch {
	case v.SnapshotID != "":
		if err := tx.Lock(ctx, "snapshot:"+v.SnapshotID); err != nil {
			return "", err
		}
		sn, err := visibleSnapshot(ctx, tx, by, v.SnapshotID)
		if err != nil {
			return "", err
		}
		if sn.Status != Available {
			return "", fault.Invalid("snapshot_id", "Invalid snapshot: Originating snapshot status must be one of '%s' values", Available)
		}
		if src, err = getVolume(ctx, tx, sn.VolumeID); err != nil {
			return "", err
		}
		size, what, host = sn.SizeGiB, "snapshot", sn.Host
	case v.SourceVolume != "":
		if err := tx.Lock(ctx, "volume:"+v.SourceVolume); err != nil {
			return "", err
		}
		if src, err = visible(ctx, tx, by, v.SourceVolume); err != nil {
			return "", err
		}
		if !src.Status.in(Available, InUse) || !src.Made {
			return "", fault.Invalid("source_volid", "Invalid volume: Source volume %s status must be available or in-use, but is %s.", src.ID, src.Status)
		}
		if inUseBy, err = holder(ctx, tx, src); err != nil {
			return "", err
		}
		size, what, host = src.SizeGiB, "source volume", src.Host
	default:
		return "", nil
	}
	if v.SizeGiB == 0 {
		v.SizeGiB = size
	}
	if v.SizeGiB < size {
		return "", fault.Invalid("size", "Invalid input received: Volume size '%d'GB cannot be smaller than the %s size %dGB. They must be >= original %s size.", v.SizeGiB, what, size, what)
	}
	if v.Zone != "" && v.Zone != src.Zone {
		return "", fault.Invalid("availability_zone", "Invalid input received: the %s lies in zone %s; a volume made from it cannot lie in %s.", what, src.Zone, v.Zone)
	}
	v.Zone, v.Host, v.Bootable, v.ImageID, v.ImageMetadata = src.Zone, host, src.Bootable, src.ImageID, src.ImageMetadata
	v.TypeID, v.Type = src.TypeID, src.Type
	v.ImageID = "" // the bytes come from the source, not from its image
	return inUseBy, nil
}

// holder is the server whose guest has the volume open, "" for none.
func holder(ctx context.Context, tx *db.Tx, v *Volume) (string, error) {
	if v.Status != InUse {
		return "", nil
	}
	a, err := attachmentOf(ctx, tx, v.ID)
	if err != nil || a == nil {
		return "", err
	}
	return a.ServerID, nil
}

// imageMetadata is what a volume tells of the image it was made from (Cinder's volume_image_metadata).
func imageMetadata(img image.Image) map[string]string {
	m := map[string]string{}
	maps.Copy(m, img.Properties)
	maps.Copy(m, map[string]string{"image_id": img.ID, "image_name": img.Name, "checksum": img.MD5, "container_format": img.ContainerFormat, "disk_format": img.DiskFormat,
		"min_disk": num(img.MinDiskGiB), "min_ram": num(img.MinRAMMiB), "size": num(img.SizeBytes)})
	return m
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
