package image

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Limits are a project's limits, by the names of Glance's registered limits; negative: none.
type Limits struct {
	TotalMiB  int64 // image_size_total: bytes in stores, each copy counted
	StageMiB  int64 // image_stage_total: bytes staged
	Count     int64 // image_count_total
	Uploading int64 // image_count_uploading: uploads, stagings and imports under way
}

// NoLimits stops nobody.
var NoLimits = Limits{-1, -1, -1, -1}

// Usage is what a project has against Limits.
type Usage struct {
	TotalBytes int64 `db:"total_bytes"`
	StageBytes int64 `db:"stage_bytes"`
	Count      int64 `db:"count"`
	Uploading  int64 `db:"uploading"`
}

// Usage gives a project's limits and what it has.
func (s *Service) Usage(ctx context.Context, project string) (l Limits, u Usage, err error) {
	if l, err = s.limits(ctx, project); err != nil {
		return l, u, err
	}
	err = s.db.Read(ctx, func(tx *db.Tx) (err error) {
		u, err = usage(ctx, tx, project)
		return err
	})
	return l, u, err
}

func (s *Service) limits(ctx context.Context, project string) (Limits, error) {
	if s.cfg.Limits == nil || project == "" {
		return NoLimits, nil
	}
	return s.cfg.Limits(ctx, project)
}

func usage(ctx context.Context, tx *db.Tx, project string) (u Usage, err error) {
	err = tx.Get(ctx, &u, `SELECT COUNT(*) AS count,
		COALESCE(SUM(CASE WHEN status IN ('saving', 'uploading', 'importing') OR import_task <> '' THEN 1 ELSE 0 END), 0) AS uploading,
		CAST(COALESCE(SUM(CASE WHEN status IN ('uploading', 'importing') THEN size_bytes ELSE 0 END), 0) AS BIGINT) AS stage_bytes,
		CAST(COALESCE(SUM(CASE WHEN status IN ('active', 'deactivated') THEN size_bytes * (SELECT COUNT(*) FROM image_locations l WHERE l.image_id = images.id AND l.store <> '') ELSE 0 END), 0) AS BIGINT) AS total_bytes
		FROM images WHERE owner = ? AND status <> 'deleted'`, project)
	return u, err
}

// held is the limits with the usage, under the project's lock, so that no two transactions share the last unit. Read inside the transaction that makes use
// of it; the lock follows that of the image. Where nothing is limited nothing is asked of the database.
func (s *Service) held(ctx context.Context, tx *db.Tx, project string) (l Limits, u Usage, err error) {
	if l, err = s.limits(ctx, project); err != nil || l == NoLimits {
		return l, u, err
	}
	if err := tx.Lock(ctx, "image-limits/"+project); err != nil {
		return l, u, err
	}
	u, err = usage(ctx, tx, project)
	return l, u, err
}

func overLimit(format string, args ...any) error {
	return fault.Quota("Request exceeds quota: "+format, args...)
}

// mayCount refuses one image too many.
func (s *Service) mayCount(ctx context.Context, tx *db.Tx, project string) error {
	l, u, err := s.held(ctx, tx, project)
	if err == nil && l.Count >= 0 && u.Count >= l.Count {
		err = overLimit("project %s has %d of %d images (image_count_total)", project, u.Count, l.Count)
	}
	return err
}

// mayUpload refuses an upload (or, with staging, a stage) of size bytes (-1: unknown) that would go above the limits, and says how many bytes may come.
func (s *Service) mayUpload(ctx context.Context, tx *db.Tx, project string, staging bool, size int64) (room int64, err error) {
	l, u, err := s.held(ctx, tx, project)
	if err != nil {
		return 0, err
	}
	if l.Uploading >= 0 && u.Uploading >= l.Uploading {
		return 0, overLimit("project %s has %d of %d uploads under way (image_count_uploading)", project, u.Uploading, l.Uploading)
	}
	name, limit, used := "image_size_total", l.TotalMiB, u.TotalBytes
	if staging {
		name, limit, used = "image_stage_total", l.StageMiB, u.StageBytes
	}
	if limit < 0 {
		return -1, nil
	}
	room = limit<<20 - used
	if room <= 0 || size > room {
		return 0, overLimit("project %s uses %d of %d MiB (%s)", project, used>>20, limit, name)
	}
	return room, nil
}

// mayGrow refuses size bytes more in the stores.
func (s *Service) mayGrow(ctx context.Context, tx *db.Tx, project string, size int64) error {
	l, u, err := s.held(ctx, tx, project)
	if err == nil && l.TotalMiB >= 0 && u.TotalBytes+size > l.TotalMiB<<20 {
		err = overLimit("project %s uses %d of %d MiB (image_size_total)", project, u.TotalBytes>>20, l.TotalMiB)
	}
	return err
}
