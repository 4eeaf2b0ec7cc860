package compute

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/quota"
)

// spender is a user as the quota room asks for them: who they are, and how to count what they have.
func spender(ctx context.Context, tx *db.Tx, projectID, userID string) quota.User {
	return quota.User{ID: userID, Used: func() (map[string]int64, error) { return UserUsage(ctx, tx, projectID, userID) }}
}

// UserUsage counts what a user has in a project. A server that is being resized counts as the larger of its two flavors, like in the project's usage; one that was
// deleted for later counts nothing.
func UserUsage(ctx context.Context, tx *db.Tx, projectID, userID string) (map[string]int64, error) {
	var rows []struct {
		Flavor db.JSON[Flavor] `db:"flavor"`
		Old    string          `db:"old_flavor"`
		New    string          `db:"new_flavor"`
	}
	err := tx.Select(ctx, &rows, `SELECT s.flavor, COALESCE(m.old_flavor, '') AS old_flavor, COALESCE(m.new_flavor, '') AS new_flavor FROM servers s
		LEFT JOIN migrations m ON s.migration_id <> '' AND m.uuid = s.migration_id
		WHERE s.project_id = ? AND s.user_id = ? AND s.deleted = FALSE AND s.vm_state <> ?`, projectID, userID, SoftDeleted)
	if err != nil {
		return nil, err
	}
	out := map[string]int64{"instances": int64(len(rows))}
	for _, r := range rows {
		cores, ram := r.Flavor.V.VCPUs, r.Flavor.V.RAMMiB
		for _, text := range []string{r.Old, r.New} {
			if text == "" {
				continue
			}
			var f db.JSON[Flavor]
			if err := f.Scan(text); err != nil {
				return nil, err
			}
			cores, ram = max(cores, f.V.VCPUs), max(ram, f.V.RAMMiB)
		}
		out["cores"] += int64(cores)
		out["ram"] += int64(ram)
	}
	for resource, q := range map[string]string{"server_groups": `SELECT COUNT(*) FROM server_groups WHERE project_id = ? AND user_id = ?`, "key_pairs": `SELECT COUNT(*) FROM keypairs WHERE ? <> '' AND user_id = ?`} {
		var n int64
		if err := tx.Get(ctx, &n, q, projectID, userID); err != nil {
			return nil, err
		}
		out[resource] = n
	}
	return out, nil
}
