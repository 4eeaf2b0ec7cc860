package quota

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// User is somebody of a project who may have limits of their own there (Nova's quota sets with user_id). Used counts what they have; it is asked only when there is
// such a limit on what is reserved, after the project's rows are taken: whoever reserves for the same project waits for those, so that the count does not
// change under it. A nil Used, or the empty User, has no limits.
type User struct {
	ID   string
	Used func() (map[string]int64, error)
}

// UserLimits are the limits in force for a user in a project: their own, else the project's.
func (s *Service) UserLimits(ctx context.Context, tx *db.Tx, projectID, userID string, resources []string) (map[string]int64, error) {
	out, own, err := s.limitsOf(ctx, tx, projectID, userID, resources)
	for r, n := range own {
		out[r] = n
	}
	return out, err
}

// SetUserLimit sets a limit that a user has in a project. That it lies within the project's is the caller's rule.
func (s *Service) SetUserLimit(ctx context.Context, tx *db.Tx, projectID, userID, resource string, limit int64) error {
	if limit < Unlimited {
		return fault.Invalid(resource, "Quota limit %d for %s must be -1 or greater.", limit, resource)
	}
	_, err := tx.Exec(ctx, `INSERT INTO quota_limits (project_id, user_id, resource, lim) VALUES (?, ?, ?, ?)
		ON CONFLICT (project_id, user_id, resource) DO UPDATE SET lim = excluded.lim`, projectID, userID, resource, limit)
	return err
}

// ResetUser drops a user's own limits in a project.
func (s *Service) ResetUser(ctx context.Context, tx *db.Tx, projectID, userID string, resources []string) error {
	_, err := tx.Exec(ctx, `DELETE FROM quota_limits WHERE project_id = ? AND user_id = ? AND resource IN (?)`, projectID, userID, resources)
	return err
}

// within holds amounts against a user's limits.
func (u User) within(limits, delta map[string]int64) error {
	var used map[string]int64
	for _, r := range sortedKeys(delta) {
		limit, ok := limits[r]
		if !ok || limit == Unlimited || delta[r] == 0 {
			continue
		}
		if used == nil {
			var err error
			if used, err = u.Used(); err != nil {
				return err
			}
		}
		if used[r]+delta[r] > limit {
			return fault.Quota("Quota exceeded for %s: Requested %d, but already used %d of %d %s", r, delta[r], used[r], limit, r)
		}
	}
	return nil
}
