package quota

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strconv"

	"nephos/internal/db"
	"nephos/internal/fault"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migrations are this room's tables.
func Migrations() db.Migrations {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the path is embedded above
	}
	return db.Migrations{Room: "quota", FS: sub}
}

// Service is the verbs. What it keeps are limits that were read, and only where it can tell that they have not changed.
type Service struct{ kept kept }

// New makes the Service.
func New() *Service { return &Service{} }

// Reserve adds delta (amounts ≥ 0 by resource) to a project's usage, all or nothing: fault.KindQuota names the first resource that does not
// fit. Rows are taken in the order of their names, so that two transactions cannot deadlock.
func (s *Service) Reserve(ctx context.Context, tx *db.Tx, projectID string, delta map[string]int64) error {
	return s.ReserveFor(ctx, tx, projectID, User{}, delta)
}

func sortedKeys(m map[string]int64) []string { return slices.Sorted(maps.Keys(m)) }

// ReserveFor is Reserve for a user, who may have limits of their own in the project.
func (s *Service) ReserveFor(ctx context.Context, tx *db.Tx, projectID string, user User, delta map[string]int64) error {
	resources := sortedKeys(delta)
	limits, own, err := s.limitsOf(ctx, tx, projectID, user.ID, resources)
	if err != nil {
		return err
	}
	for _, resource := range resources {
		n, limit := delta[resource], limits[resource]
		if n == 0 {
			continue
		}
		if limit != Unlimited && n > limit { // also the first reservation, where there is no row to hold it against yet
			return s.exceeded(ctx, tx, projectID, resource, n, limit)
		}
		hit, err := tx.Exec(ctx, `INSERT INTO quota_usage (project_id, resource, used) VALUES (?, ?, ?)
			ON CONFLICT (project_id, resource) DO UPDATE SET used = quota_usage.used + excluded.used WHERE ? < 0 OR quota_usage.used + excluded.used <= ?`,
			projectID, resource, n, limit, limit)
		if err != nil {
			return err
		}
		if hit == 0 {
			return s.exceeded(ctx, tx, projectID, resource, n, limit)
		}
	}
	if user.Used == nil {
		return nil
	}
	return user.within(own, delta)
}

// exceeded is the refusal in Nova's words.
func (s *Service) exceeded(ctx context.Context, tx *db.Tx, projectID, resource string, n, limit int64) error {
	used, err := s.used(ctx, tx, projectID, resource)
	if err != nil {
		return err
	}
	return fault.Quota("Quota exceeded for %s: Requested %d, but already used %d of %d %s", resource, n, used, limit, resource)
}

// Release takes delta back from a project's usage.
func (s *Service) Release(ctx context.Context, tx *db.Tx, projectID string, delta map[string]int64) error {
	for _, resource := range slices.Sorted(maps.Keys(delta)) {
		if delta[resource] == 0 {
			continue
		}
		if _, err := tx.Exec(ctx, `UPDATE quota_usage SET used = used - ? WHERE project_id = ? AND resource = ?`, delta[resource], projectID, resource); err != nil {
			return err
		}
	}
	return nil
}

// Fits says how many of want units fit next to what is used, at least atLeast: else the fault that reserving atLeast would give.
func (s *Service) Fits(ctx context.Context, tx *db.Tx, projectID string, user User, unit map[string]int64, atLeast, want int) (int, error) {
	fits := want
	resources := sortedKeys(unit)
	limits, own, err := s.limitsOf(ctx, tx, projectID, user.ID, resources)
	if err != nil {
		return 0, err
	}
	for user.Used != nil && len(own) > 0 && fits > atLeast { // few at most: what a user asks for at once
		all := map[string]int64{}
		for r, n := range unit {
			all[r] = n * int64(fits)
		}
		err := user.within(own, all)
		if err == nil {
			break
		}
		if fault.KindOf(err) != fault.KindQuota {
			return 0, err
		}
		fits--
	}
	for _, resource := range resources {
		limit := limits[resource]
		if limit == Unlimited || unit[resource] == 0 {
			continue
		}
		used, err := s.used(ctx, tx, projectID, resource)
		if err != nil {
			return 0, err
		}
		n := max(0, int((limit-used)/unit[resource]))
		if n < atLeast {
			return 0, s.exceeded(ctx, tx, projectID, resource, unit[resource]*int64(atLeast), limit)
		}
		fits = min(fits, n)
	}
	return fits, nil
}

// Limit is the limit in force: the project's own, else the default class's, else the built-in.
func (s *Service) Limit(ctx context.Context, tx *db.Tx, projectID, resource string) (int64, error) {
	out, _, err := s.limitsOf(ctx, tx, projectID, "", []string{resource})
	return out[resource], err
}

// Limits is Limit for many resources at once.
func (s *Service) Limits(ctx context.Context, tx *db.Tx, projectID string, resources []string) (map[string]int64, error) {
	out, _, err := s.limitsOf(ctx, tx, projectID, "", resources)
	return out, err
}

// DefaultLimits are the default class's.
func (s *Service) DefaultLimits(ctx context.Context, tx *db.Tx, resources []string) (map[string]int64, error) {
	return s.Limits(ctx, tx, classProject, resources)
}

// Projects lists the projects that have a limit of their own on one of the resources.
func (s *Service) Projects(ctx context.Context, tx *db.Tx, resources []string) ([]string, error) {
	var out []string
	err := tx.Select(ctx, &out, `SELECT DISTINCT project_id FROM quota_limits WHERE project_id <> ? AND user_id = '' AND resource IN (?) ORDER BY project_id`, classProject, resources)
	return out, err
}

// SetLimit sets a project's own limit. Holding it against the usage is the caller's rule (Nova refuses a limit below usage without force).
func (s *Service) SetLimit(ctx context.Context, tx *db.Tx, projectID, resource string, limit int64) error {
	if limit < Unlimited {
		return fault.Invalid(resource, "Quota limit %d for %s must be -1 or greater.", limit, resource)
	}
	_, err := tx.Exec(ctx, `INSERT INTO quota_limits (project_id, user_id, resource, lim) VALUES (?, '', ?, ?)
		ON CONFLICT (project_id, user_id, resource) DO UPDATE SET lim = excluded.lim`, projectID, resource, limit)
	return err
}

// SetDefault sets the default class's limit.
func (s *Service) SetDefault(ctx context.Context, tx *db.Tx, resource string, limit int64) error {
	return s.SetLimit(ctx, tx, classProject, resource, limit)
}

// Reset drops a project's own limits for these resources, and those of its users.
func (s *Service) Reset(ctx context.Context, tx *db.Tx, projectID string, resources []string) error {
	_, err := tx.Exec(ctx, `DELETE FROM quota_limits WHERE project_id = ? AND resource IN (?)`, projectID, resources)
	return err
}

func (s *Service) used(ctx context.Context, tx *db.Tx, projectID, resource string) (int64, error) {
	var used int64
	err := tx.Get(ctx, &used, `SELECT used FROM quota_usage WHERE project_id = ? AND resource = ?`, projectID, resource)
	if errors.Is(err, db.ErrNoRows) {
		return 0, nil
	}
	return used, err
}

// Usage is what a project uses, by resource; resources never used are absent.
func (s *Service) Usage(ctx context.Context, tx *db.Tx, projectID string) (map[string]int64, error) {
	var rows []usageRow
	if err := tx.Select(ctx, &rows, `SELECT * FROM quota_usage WHERE project_id = ?`, projectID); err != nil {
		return nil, err
	}
	out := map[string]int64{}
	for _, r := range rows {
		out[r.Resource] = r.Used
	}
	return out, nil
}

type usageRow struct {
	Project  string `db:"project_id"`
	Resource string `db:"resource"`
	Used     int64  `db:"used"`
}

// Count is what really exists, as a room counts it: project → resource → amount.
type Count map[string]map[string]int64

// Check compares usage with what the rooms counted (in the same transaction) and gives a sentence per difference. resources bounds what is
// compared.
func (s *Service) Check(ctx context.Context, tx *db.Tx, resources []string, real Count) ([]string, error) {
	var rows []usageRow
	if err := tx.Select(ctx, &rows, `SELECT * FROM quota_usage WHERE resource IN (?) ORDER BY project_id, resource`, resources); err != nil {
		return nil, err
	}
	var out []string
	seen := map[usageRow]bool{}
	report := func(project, resource string, used, exists int64) {
		if used != exists {
			out = append(out, "quota: project "+project+" is charged "+strconv.FormatInt(used, 10)+" "+resource+", but "+strconv.FormatInt(exists, 10)+" exist")
		}
	}
	for _, r := range rows {
		report(r.Project, r.Resource, r.Used, real[r.Project][r.Resource])
		seen[usageRow{Project: r.Project, Resource: r.Resource}] = true
	}
	for _, project := range slices.Sorted(maps.Keys(real)) {
		for _, resource := range slices.Sorted(maps.Keys(real[project])) {
			if slices.Contains(resources, resource) && !seen[usageRow{Project: project, Resource: resource}] {
				report(project, resource, 0, real[project][resource])
			}
		}
	}
	return out, nil
}
