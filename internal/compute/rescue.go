package compute

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/image"
)

// RescueRequest is the body of the rescue action.
type RescueRequest struct {
	ImageID   string // "": the server's own
	AdminPass string // "": made here
	// VolumeBacked says that the caller may rescue a server whose root is a volume (2.87).
	VolumeBacked bool
}

// Rescue starts the server from a rescue image, its own disks beside it, and gives the password that the rescue system is told.
func (s *Service) Rescue(ctx context.Context, by By, id string, req RescueRequest) (password string, err error) {
	sv, err := s.fitNow(ctx, by, id, ActionRescue)
	if err != nil {
		return "", err
	}
	if req.ImageID == "" {
		req.ImageID = sv.ImageID
	}
	if req.ImageID == "" {
		return "", fault.Invalid("rescue_image_ref", "Instance %s cannot be rescued: Cannot rescue a volume-backed instance", id)
	}
	img, err := s.Images.Get(ctx, by.Creds, req.ImageID)
	if err != nil {
		if k := fault.KindOf(err); k == fault.KindNotFound || k == fault.KindForbidden {
			return "", fault.Invalid("rescue_image_ref", "Image %s could not be found.", req.ImageID)
		}
		return "", err
	}
	stable := stableRescue(img)
	if sv.VolumeBooted() && (!stable || !req.VolumeBacked) {
		return "", fault.Invalid("rescue_image_ref", "Instance %s cannot be rescued: Cannot rescue a volume-backed instance", id)
	}
	if img.Status != image.Active {
		return "", fault.Invalid("rescue_image_ref", "Requested rescue image %s cannot be used: it is not active.", img.ID)
	}
	spec, err := s.Images.Spec(ctx, img.ID)
	if err != nil {
		return "", fault.Invalid("rescue_image_ref", "Requested rescue image %s cannot be used: %s", img.ID, fault.Message(err))
	}
	if password = req.AdminPass; password == "" {
		password = randomPassword()
	}
	_, err = s.begin(ctx, by, id, ActionRescue, func(_ *db.Tx, _ *Server, a *Act) error {
		a.Rescue, a.Password = &hostapi.RescueSpec{Image: spec, Stable: stable}, password
		if stable {
			a.Rescue.DiskBus = img.Properties["hw_rescue_bus"]
		}
		return nil
	})
	return password, err
}

// stableRescue says that the rescue image asks for a disk of its own beside all others, by Nova's properties.
func stableRescue(img image.Image) bool {
	return img.Properties["hw_rescue_device"] != "" || img.Properties["hw_rescue_bus"] != ""
}

// Unrescue starts the server from its own disks again.
func (s *Service) Unrescue(ctx context.Context, by By, id string) error {
	_, err := s.begin(ctx, by, id, ActionUnrescue, nil)
	return err
}
