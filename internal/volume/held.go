package volume

import (
	"context"

	"nephos/internal/db"
)

// OwnedVolume and OwnedSnapshot are what fsck holds against the files of hosts.
type OwnedVolume struct {
	ID     string `db:"id"`
	Host   string `db:"host"`
	Status Status `db:"status"`
}

// OwnedSnapshot is the same for a snapshot.
type OwnedSnapshot OwnedVolume

// Owned lists all volumes and snapshots.
func (s *Service) Owned(ctx context.Context, tx *db.Tx) (volumes []OwnedVolume, snapshots []OwnedSnapshot, err error) {
	if err = tx.Select(ctx, &volumes, `SELECT id, host, status FROM volumes ORDER BY id`); err != nil {
		return nil, nil, err
	}
	err = tx.Select(ctx, &snapshots, `SELECT id, host, status FROM volume_snapshots ORDER BY id`)
	return volumes, snapshots, err
}

// Held is what projects really hold of the counted resources (project → resource → amount), for the quota check. Snapshots count as gigabytes too.
func (s *Service) Held(ctx context.Context, tx *db.Tx) (map[string]map[string]int64, error) {
	out := map[string]map[string]int64{}
	for resource, table := range map[string]string{"volumes": "volumes", "snapshots": "volume_snapshots"} {
		var rows []struct {
			Project string `db:"project_id"`
			N       int64  `db:"n"`
			GiB     int64  `db:"gib"`
		}
		if err := tx.Select(ctx, &rows, `SELECT project_id, COUNT(*) AS n, SUM(size_gib) AS gib FROM `+table+` GROUP BY project_id`); err != nil {
			return nil, err
		}
		for _, r := range rows {
			if out[r.Project] == nil {
				out[r.Project] = map[string]int64{}
			}
			out[r.Project][resource] += r.N
			out[r.Project]["gigabytes"] += r.GiB
		}
	}
	return out, nil
}
