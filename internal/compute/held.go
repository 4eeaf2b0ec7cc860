package compute

import (
	"context"

	"nephos/internal/db"
)

// Held is what projects really hold of the counted resources (project → resource → amount), for the quota check.
func Held(ctx context.Context, tx *db.Tx) (map[string]map[string]int64, error) {
	out := map[string]map[string]int64{}
	add := func(project, resource string, n int64) {
		if out[project] == nil {
			out[project] = map[string]int64{}
		}
		out[project][resource] += n
	}
	var servers []struct {
		Project   string          `db:"project_id"`
		Flavor    db.JSON[Flavor] `db:"flavor"`
		Migration string          `db:"migration_id"`
	}
	if err := tx.Select(ctx, &servers, `SELECT project_id, flavor, migration_id FROM servers WHERE deleted = FALSE AND vm_state <> 'soft-delete'`); err != nil {
		return nil, err
	}
	open, err := openMigrations(ctx, tx)
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		add(s.Project, "instances", 1)
		if m := open[s.Migration]; m != nil {
			cores, ram := m.held()
			add(s.Project, "cores", cores)
			add(s.Project, "ram", ram)
			continue
		}
		add(s.Project, "cores", int64(s.Flavor.V.VCPUs))
		add(s.Project, "ram", int64(s.Flavor.V.RAMMiB))
	}
	var groups []struct {
		Project string `db:"project_id"`
		N       int64  `db:"n"`
	}
	if err := tx.Select(ctx, &groups, `SELECT project_id, COUNT(*) AS n FROM server_groups GROUP BY project_id`); err != nil {
		return nil, err
	}
	for _, g := range groups {
		add(g.Project, "server_groups", g.N)
	}
	return out, nil
}
