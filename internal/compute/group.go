package compute

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
	"nephos/internal/scheduler"
)

// ServerGroup keeps its members together or apart.
type ServerGroup struct {
	ID               string  `db:"id"`
	ProjectID        string  `db:"project_id"`
	UserID           string  `db:"user_id"`
	Name             string  `db:"name"`
	Policy           string  `db:"policy"`              // affinity, anti-affinity, soft-affinity, soft-anti-affinity
	MaxServerPerHost int     `db:"max_server_per_host"` // anti-affinity only; 0: 1
	Created          db.Time `db:"created_at"`
}

// GetServerGroup finds a project's group; fault.KindNotFound otherwise.
func GetServerGroup(ctx context.Context, tx *db.Tx, projectID, id string) (*ServerGroup, error) {
	var g ServerGroup
	err := tx.Get(ctx, &g, `SELECT * FROM server_groups WHERE id = ? AND project_id = ?`, id, projectID)
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Instance group %s could not be found.", id)
	}
	return &g, err
}

// ServerGroups lists groups, oldest first: a project's, or everybody's for an admin who asks.
func (s *Service) ServerGroups(ctx context.Context, creds *policy.Credentials, all bool) ([]ServerGroup, error) {
	var out []ServerGroup
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		if all && creds.IsAdmin() {
			return tx.Select(ctx, &out, `SELECT * FROM server_groups ORDER BY created_at, id`)
		}
		return tx.Select(ctx, &out, `SELECT * FROM server_groups WHERE project_id = ? ORDER BY created_at, id`, creds.ProjectID)
	})
	return out, err
}

// ServerGroup reads one group with the ids of its members.
func (s *Service) ServerGroup(ctx context.Context, creds *policy.Credentials, id string) (g *ServerGroup, members []string, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		if g, err = GetServerGroup(ctx, tx, creds.ProjectID, id); err != nil {
			return err
		}
		return tx.Select(ctx, &members, `SELECT id FROM servers WHERE group_id = ? AND deleted = FALSE ORDER BY created_at, id`, id)
	})
	return g, members, err
}

// CreateServerGroup stores a new group within the project's quota.
func (s *Service) CreateServerGroup(ctx context.Context, creds *policy.Credentials, g ServerGroup) (*ServerGroup, error) {
	g.ID, g.ProjectID, g.UserID, g.Created = uuid.NewString(), creds.ProjectID, creds.UserID, db.Now()
	if g.MaxServerPerHost > 0 && scheduler.GroupPolicy(g.Policy) != scheduler.AntiAffinity {
		return nil, fault.Invalid("rules", "Only anti-affinity policy supports rules.")
	}
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		if err := s.Quotas.ReserveFor(ctx, tx, g.ProjectID, spender(ctx, tx, g.ProjectID, g.UserID), map[string]int64{"server_groups": 1}); err != nil {
			if fault.KindOf(err) == fault.KindQuota {
				return fault.Quota("Quota exceeded, too many server groups.")
			}
			return err
		}
		return tx.Insert(ctx, "server_groups", g)
	})
	return &g, err
}

// DeleteServerGroup removes a group; its members stay where they are, bound by nothing.
func (s *Service) DeleteServerGroup(ctx context.Context, creds *policy.Credentials, id string) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		g, err := GetServerGroup(ctx, tx, creds.ProjectID, id)
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `DELETE FROM server_groups WHERE id = ?`, id); err != nil {
			return err
		}
		return s.Quotas.Release(ctx, tx, g.ProjectID, map[string]int64{"server_groups": 1})
	})
}
