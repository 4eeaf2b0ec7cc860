package compute

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// CacheImages has the hosts of an aggregate fetch images before servers ask for them. 404 for an unknown aggregate, 400 for an image that is named twice, is unknown
// or cannot be booted from. Hosts that are down are left out (Nova): they fetch an image when a server needs it.
func (s *Service) CacheImages(ctx context.Context, by By, aggregate int64, imageIDs []string) error {
	a, err := s.Aggregate(ctx, aggregate)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	specs := make([]hostapi.ImageSpec, 0, len(imageIDs))
	for _, id := range imageIDs {
		if seen[id] {
			return fault.Invalid("cache", "Duplicate images in request: %s", id)
		}
		seen[id] = true
		if _, err := s.Images.Get(ctx, by.Creds, id); err != nil {
			if fault.IsNotFound(err) {
				return fault.Invalid("cache", "Image %s could not be found.", id)
			}
			return err
		}
		spec, err := s.Images.Spec(ctx, id)
		if err != nil {
			return err
		}
		specs = append(specs, spec)
	}
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		for _, host := range a.Hosts {
			if !s.Hosts.Up(host) {
				continue
			}
			if err := s.Conductor.BeginCache(ctx, tx, by.subject(), host, specs); err != nil {
				return err
			}
		}
		return nil
	})
}

// VolumeAttached says whether some server holds the volume.
func VolumeAttached(ctx context.Context, tx *db.Tx, volumeID string) (bool, error) {
	if volumeID == "" {
		return false, nil
	}
	var n int
	err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM block_devices WHERE volume_id = ?`, volumeID)
	return n > 0, err
}
