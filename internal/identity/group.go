package identity

import (
	"context"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// Group is a set of users that can hold roles.
type Group struct {
	ID          string         `db:"id"`
	Name        string         `db:"name"`
	DomainID    string         `db:"domain_id"`
	Description string         `db:"description"`
	Extra       db.JSON[Extra] `db:"extra"`
}

// GroupFilter selects groups; empty fields select all.
type GroupFilter struct{ Name, DomainID, UserID string }

// CreateGroup makes a group; its id is chosen here.
func (s *Service) CreateGroup(ctx context.Context, g Group) (*Group, error) {
	if err := checkName("name", g.Name, 64); err != nil {
		return nil, err
	}
	g.ID = newID()
	err := s.write(ctx, func(tx *db.Tx) error {
		if err := isDomain(ctx, tx, g.DomainID); err != nil {
			return err
		}
		return duplicate(tx.Insert(ctx, "identity_groups", g), "group", g.Name)
	})
	return &g, err
}

// Group looks one up.
func (s *Service) Group(ctx context.Context, id string) (*Group, error) {
	var g *Group
	err := s.db.Read(ctx, func(tx *db.Tx) (err error) {
		g, err = groupByID(ctx, tx, id)
		return err
	})
	return g, err
}

// Groups lists by name.
func (s *Service) Groups(ctx context.Context, f GroupFilter) ([]Group, error) {
	var w where
	w.eq("name", f.Name)
	w.eq("domain_id", f.DomainID)
	if f.UserID != "" {
		w.add("id IN (SELECT group_id FROM identity_memberships WHERE user_id = ?)", f.UserID)
	}
	var out []Group
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Select(ctx, &out, "SELECT * FROM identity_groups"+w.text()+" ORDER BY name, id", w.args...)
	})
	return out, err
}

// UpdateGroup changes a group by edit, which must not change ids.
func (s *Service) UpdateGroup(ctx context.Context, id string, edit func(*Group) error) (*Group, error) {
	var g *Group
	err := s.write(ctx, func(tx *db.Tx) (err error) {
		if g, err = groupByID(ctx, tx, id); err != nil {
			return err
		}
		domain := g.DomainID
		if err := edit(g); err != nil {
			return err
		}
		if g.DomainID != domain {
			return fault.Invalid("domain_id", "Cannot change group's domain: domain_id is immutable.")
		}
		if err := checkName("name", g.Name, 64); err != nil {
			return err
		}
		_, err = tx.NamedExec(ctx, `UPDATE identity_groups SET name = :name, description = :description, extra = :extra WHERE id = :id`, g)
		return duplicate(err, "group", g.Name)
	})
	return g, err
}

// DeleteGroup removes a group with memberships and assignments.
func (s *Service) DeleteGroup(ctx context.Context, id string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_groups WHERE id = ?`, id)
		return affected(n, err, "group", id)
	})
}

// AddMember puts a user into a group; doing it again changes nothing.
func (s *Service) AddMember(ctx context.Context, groupID, userID string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		if _, err := groupByID(ctx, tx, groupID); err != nil {
			return err
		}
		if _, err := userByID(ctx, tx, userID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO identity_memberships (user_id, group_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, userID, groupID)
		return err
	})
}

// RemoveMember takes a user out of a group; 404 if it is not in it.
func (s *Service) RemoveMember(ctx context.Context, groupID, userID string) error {
	return s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(ctx, `DELETE FROM identity_memberships WHERE user_id = ? AND group_id = ?`, userID, groupID)
		if err == nil && n == 0 {
			return notMember(groupID, userID)
		}
		return err
	})
}

// IsMember says nil if the user is in the group, else 404.
func (s *Service) IsMember(ctx context.Context, groupID, userID string) error {
	var n int
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		return tx.Get(ctx, &n, `SELECT COUNT(*) FROM identity_memberships WHERE user_id = ? AND group_id = ?`, userID, groupID)
	})
	if err == nil && n == 0 {
		return notMember(groupID, userID)
	}
	return err
}

func notMember(groupID, userID string) error {
	return fault.NotFound("User '%s' not found in group '%s'", userID, groupID)
}

func groupByID(ctx context.Context, tx *db.Tx, id string) (*Group, error) {
	g := &Group{}
	if err := get(ctx, tx, g, "group", id, `SELECT * FROM identity_groups WHERE id = ?`, id); err != nil {
		return nil, err
	}
	return g, nil
}
