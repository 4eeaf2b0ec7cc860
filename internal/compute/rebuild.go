package compute

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/policy"
)

// RebuildRequest is the body of the rebuild action; nil leaves a field as it is.
type RebuildRequest struct {
	ImageID           string
	AdminPass         string // "": made here
	Name              *string
	Description       **string
	Hostname          *string
	Metadata          *map[string]string
	KeyName           **string // nil inside: none
	UserData          **string
	AccessIPv4        *string
	AccessIPv6        *string
	DiskConfig        *string
	PreserveEphemeral bool
	Personality       []hostapi.File
	// Reimage says that the root volume of a volume-backed server gets the image's bytes (2.93). Before that only its own image may be named, and the volume stays.
	Reimage bool
}

// Rebuilt is what a rebuild changes and what it was before, for its undo.
type Rebuilt struct {
	Was           Identity           `json:"was"`
	KeepEphemeral bool               `json:"keep_ephemeral,omitempty"`
	VolumeID      string             `json:"volume_id,omitempty"` // of the root that is reimaged
	Reimage       *hostapi.ImageSpec `json:"reimage,omitempty"`
	ImageID       string             `json:"image_id"`
}

// Identity is the part of a server's row that a rebuild may change.
type Identity struct {
	Name        string                     `json:"name" db:"name"`
	Description *string                    `json:"description" db:"description"`
	Hostname    string                     `json:"hostname" db:"hostname"`
	ImageID     string                     `json:"image_id" db:"image_id"`
	Image       db.JSON[ImageMeta]         `json:"image" db:"image"`
	Metadata    db.JSON[map[string]string] `json:"metadata" db:"metadata"`
	KeyName     string                     `json:"key_name" db:"key_name"`
	PublicKey   string                     `json:"public_key" db:"public_key"`
	UserData    string                     `json:"user_data" db:"user_data"`
	AccessIPv4  string                     `json:"access_ip_v4" db:"access_ip_v4"`
	AccessIPv6  string                     `json:"access_ip_v6" db:"access_ip_v6"`
	DiskConfig  string                     `json:"disk_config" db:"disk_config"`
}

// Identity is the server's present one.
func (s *Server) Identity() Identity {
	return Identity{s.Name, s.Description, s.Hostname, s.ImageID, s.Image, s.Metadata, s.KeyName, s.PublicKey, s.UserData, s.AccessIPv4, s.AccessIPv6, s.DiskConfig}
}

// SetIdentity writes an identity into the row, with further assignments.
func SetIdentity(ctx context.Context, tx *db.Tx, id string, epoch int64, i Identity, more string, args ...any) error {
	set := `name = ?, description = ?, hostname = ?, image_id = ?, image = ?, metadata = ?, key_name = ?, public_key = ?, user_data = ?, access_ip_v4 = ?, access_ip_v6 = ?, disk_config = ?`
	all := []any{i.Name, i.Description, i.Hostname, i.ImageID, i.Image, i.Metadata, i.KeyName, i.PublicKey, i.UserData, i.AccessIPv4, i.AccessIPv6, i.DiskConfig}
	if more != "" {
		set += ", " + more
	}
	return move(ctx, tx, id, epoch, set, append(all, args...)...)
}

// Rebuild gives a server a new root disk from an image, and new words if asked for. The row changes at once, as clients expect; should the host not be able to,
// row and disks become what they were.
func (s *Service) Rebuild(ctx context.Context, by By, id string, req RebuildRequest) (sv *Server, password string, err error) {
	if sv, err = s.fitNow(ctx, by, id, ActionRebuild); err != nil {
		return nil, "", err
	}
	d := &draft{CreateRequest: CreateRequest{ImageID: req.ImageID, Personality: req.Personality}, creds: by.Creds, flavor: sv.Flavor.V}
	if req.Metadata != nil {
		d.Metadata = *req.Metadata
	}
	if err := s.checkImage(ctx, d, req.ImageID, !sv.VolumeBooted()); err != nil {
		return nil, "", err
	}
	if req.UserData != nil && *req.UserData != nil {
		if _, err := decodeUserData(**req.UserData); err != nil {
			return nil, "", err
		}
	}
	if password = req.AdminPass; password == "" {
		password = randomPassword()
	}
	_, err = s.begin(ctx, by, id, ActionRebuild, func(tx *db.Tx, now *Server, a *Act) error {
		sv = now
		a.Rebuild = &Rebuilt{Was: sv.Identity(), KeepEphemeral: req.PreserveEphemeral, ImageID: req.ImageID}
		if err := s.rebuildIdentity(ctx, tx, by.Creds, d, sv, req); err != nil {
			return err
		}
		if sv.VolumeBooted() {
			if err := s.rebuildVolume(ctx, tx, sv, req, a); err != nil {
				return err
			}
		} else {
			sv.ImageID, sv.Image = req.ImageID, db.AsJSON(d.image)
		}
		return SetIdentity(ctx, tx, id, sv.Epoch, sv.Identity(), `admin_pass = ?, personality = ?`, password, db.AsJSON(d.Personality))
	})
	return sv, password, err
}

// rebuildIdentity applies the words of a rebuild to sv.
func (s *Service) rebuildIdentity(ctx context.Context, tx *db.Tx, creds *policy.Credentials, d *draft, sv *Server, req RebuildRequest) error {
	limit, err := s.Quotas.Limit(ctx, tx, sv.ProjectID, "metadata_items")
	if err != nil {
		return err
	}
	if limit >= 0 && int64(len(d.Metadata)) > limit {
		return fault.Quota("Maximum number of metadata items exceeds %d", limit)
	}
	if err := s.checkPersonality(ctx, tx, d); err != nil {
		return err
	}
	if req.KeyName != nil {
		sv.KeyName, sv.PublicKey = "", ""
		if *req.KeyName != nil {
			k, err := GetKeypair(ctx, tx, sv.UserID, **req.KeyName) // the owner's key, whoever rebuilds
			if err != nil {
				return fault.Invalid("key_name", "Invalid key_name provided.")
			}
			sv.KeyName, sv.PublicKey = k.Name, k.PublicKey
		}
	}
	if req.UserData != nil {
		sv.UserData = ""
		if *req.UserData != nil {
			sv.UserData = **req.UserData
		}
	}
	if req.Metadata != nil {
		sv.Metadata = db.AsJSON(orEmpty(*req.Metadata))
	}
	set(&sv.Name, req.Name)
	set(&sv.Description, req.Description)
	set(&sv.Hostname, req.Hostname)
	set(&sv.AccessIPv4, req.AccessIPv4)
	set(&sv.AccessIPv6, req.AccessIPv6)
	set(&sv.DiskConfig, req.DiskConfig)
	return nil
}

// rebuildVolume checks the rebuild of a server whose root is a volume.
func (s *Service) rebuildVolume(ctx context.Context, tx *db.Tx, sv *Server, req RebuildRequest, a *Act) error {
	devices, err := BlockDevices(ctx, tx, sv.ID)
	if err != nil {
		return err
	}
	for _, b := range devices {
		if b.BootIndex != 0 || b.VolumeID == "" {
			continue
		}
		v, err := s.Volumes.Get(ctx, tx, b.VolumeID)
		if err != nil {
			return err
		}
		if !req.Reimage {
			if v.ImageID != req.ImageID && v.ImageMetadata.V["image_id"] != req.ImageID {
				return fault.Invalid("imageRef", "Unable to rebuild with a different image for a volume-backed server.")
			}
			return nil
		}
		img, err := s.Images.ByID(ctx, req.ImageID)
		if err != nil {
			return err
		}
		if need := max(img.VirtualBytes, img.SizeBytes, img.MinDiskGiB<<30); need > int64(v.SizeGiB)<<30 {
			return fault.Invalid("imageRef", "Volume is smaller than the minimum size specified in image metadata. Volume size is %d bytes, minimum size is %d bytes.", int64(v.SizeGiB)<<30, need)
		}
		spec, err := s.Images.Spec(ctx, req.ImageID)
		if err != nil {
			return err
		}
		a.Rebuild.VolumeID, a.Rebuild.Reimage = b.VolumeID, &spec
		return nil
	}
	return fault.Conflict("Instance %s has no root volume", sv.ID)
}
