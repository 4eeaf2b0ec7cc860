package quota

import (
	"context"
	"slices"
	"sync"

	"nephos/internal/db"
)

// limitRow is a limit of a project, of the default class or of a user.
type limitRow struct {
	Project  string `db:"project_id"`
	User     string `db:"user_id"`
	Resource string `db:"resource"`
	Lim      int64  `db:"lim"`
}

// kept are the limits of projects as they were last read, for as long as nobody has changed a limit: each create asks for them several times, and they hardly ever change.
type kept struct {
	mu      sync.Mutex
	version uint64
	rows    map[string][]limitRow
}

// keptMost bounds the projects whose limits are kept.
const keptMost = 10_000

func (k *kept) get(projectID string, version uint64) ([]limitRow, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.version != version {
		return nil, false
	}
	rows, ok := k.rows[projectID]
	return rows, ok
}

func (k *kept) put(projectID string, version uint64, rows []limitRow) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.version != version || k.rows == nil || len(k.rows) >= keptMost {
		k.version, k.rows = version, map[string][]limitRow{}
	}
	k.rows[projectID] = rows
}

// rows are all that is set for a project and its users, and for the default class. A limit that is being changed at this moment may count or not.
func (s *Service) rows(ctx context.Context, tx *db.Tx, projectID string) ([]limitRow, error) {
	version, known := tx.Version("quota_limits")
	if known {
		if rows, ok := s.kept.get(projectID, version); ok {
			return rows, nil
		}
	}
	var rows []limitRow
	err := tx.Select(ctx, &rows, `SELECT project_id, user_id, resource, lim FROM quota_limits WHERE project_id = ? OR project_id = ? AND user_id = ''`, projectID, classProject)
	if err == nil && known && tx.Current() {
		s.kept.put(projectID, version, rows)
	}
	return rows, err
}

// limitsOf gives the limits in force for a project and those that a user has of their own in it.
func (s *Service) limitsOf(ctx context.Context, tx *db.Tx, projectID, userID string, resources []string) (project, user map[string]int64, err error) {
	rows, err := s.rows(ctx, tx, projectID)
	if err != nil {
		return nil, nil, err
	}
	project = make(map[string]int64, len(resources))
	for _, r := range resources {
		project[r] = Default(r)
	}
	for _, class := range []bool{true, false} { // the project's own come last and win
		for _, r := range rows {
			if _, ok := project[r.Resource]; ok && r.User == "" && (r.Project == classProject) == class {
				project[r.Resource] = r.Lim
			}
		}
	}
	for _, r := range rows {
		if r.User != "" && r.User == userID && slices.Contains(resources, r.Resource) {
			if user == nil {
				user = map[string]int64{}
			}
			user[r.Resource] = r.Lim
		}
	}
	return project, user, nil
}
