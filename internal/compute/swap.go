package compute

import (
	"context"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/volume"
)

// SwapVolume moves a running server from an attached volume to another, with all that is on it.
func (s *Service) SwapVolume(ctx context.Context, by By, id, oldID, newID string) error {
	_, err := s.begin(ctx, by, id, ActionSwapVolume, func(tx *db.Tx, sv *Server, a *Act) error {
		devices, err := BlockDevices(ctx, tx, id)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(devices, func(d BlockDevice) bool { return d.VolumeID == oldID })
		if i < 0 {
			return fault.NotFound("Instance %s is not attached to volume %s", id, oldID)
		}
		was, err := s.Volumes.Get(ctx, tx, oldID)
		if err != nil {
			return err
		}
		next, err := s.Volumes.Get(ctx, tx, newID)
		if err != nil || next.ProjectID != was.ProjectID && !by.Creds.IsAdmin() {
			return fault.Invalid("volumeId", "Volume %s could not be found.", newID)
		}
		switch {
		case next.Status != volume.Available:
			return fault.Invalid("volumeId", "Invalid volume: Volume %s status must be 'available', but the status is '%s'.", newID, next.Status)
		case next.SizeGiB < was.SizeGiB:
			return fault.Invalid("volumeId", "Invalid volume: The new volume must be at least as large as the old one: %d GiB, %d GiB.", was.SizeGiB, next.SizeGiB)
		case next.Host != sv.Host:
			return fault.Invalid("volumeId", "Invalid volume: Volume %s is on host %s, the server is on host %s; file volumes cannot be attached across hosts.", newID, next.Host, sv.Host)
		}
		if err := s.Volumes.BeginDetach(ctx, tx, oldID); err != nil {
			return fault.Invalid("volumeId", "%s", fault.Message(err))
		}
		att, err := s.Volumes.Reserve(ctx, tx, volume.Reservation{VolumeID: newID, ServerID: id, ProjectID: sv.ProjectID})
		if err != nil {
			return err
		}
		a.Swap = &Swap{Old: devices[i], New: devices[i]}
		a.Swap.New.VolumeID, a.Swap.New.AttachmentID, a.Swap.New.SizeGiB = newID, att, next.SizeGiB
		return nil
	})
	return err
}
