package volume

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// resolveType finds a type by name or id as the caller may see it; "" and DefaultAlias are the default.
func resolveType(ctx context.Context, tx *db.Tx, by By, nameOrID string) (*Type, error) {
	if nameOrID == "" || nameOrID == DefaultAlias {
		nameOrID = DefaultTypeID
	}
	t := new(Type)
	err := tx.Get(ctx, t, `SELECT * FROM volume_types WHERE id = ? OR name = ?`, nameOrID, nameOrID)
	if errors.Is(err, db.ErrNoRows) {
		return nil, fault.NotFound("Volume type %s could not be found.", nameOrID)
	}
	if err != nil {
		return nil, err
	}
	if !t.Public && by.Creds != nil && !by.Creds.IsAdmin() {
		var n int
		if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM volume_type_access WHERE type_id = ? AND project_id = ?`, t.ID, by.Creds.ProjectID); err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, fault.NotFound("Volume type %s could not be found.", nameOrID)
		}
	}
	return t, nil
}

// Type is one type by name or id; "default" is the default.
func (s *Service) Type(ctx context.Context, by By, nameOrID string) (t *Type, err error) {
	if nameOrID == "default" {
		nameOrID = ""
	}
	err = s.DB.Read(ctx, func(tx *db.Tx) (err error) {
		t, err = resolveType(ctx, tx, by, nameOrID)
		return err
	})
	return t, err
}

// Types lists the types the caller may use: public ones and those opened to the project. public nil lists all, for administrators.
func (s *Service) Types(ctx context.Context, by By, public *bool) ([]Type, error) {
	out := []Type{}
	err := s.DB.Read(ctx, func(tx *db.Tx) error {
		out = out[:0]
		if by.Creds == nil || by.Creds.IsAdmin() {
			if public == nil {
				return tx.Select(ctx, &out, `SELECT * FROM volume_types ORDER BY created_at, id`)
			}
			return tx.Select(ctx, &out, `SELECT * FROM volume_types WHERE is_public = ? ORDER BY created_at, id`, *public)
		}
		return tx.Select(ctx, &out, `SELECT * FROM volume_types WHERE is_public = TRUE OR id IN (SELECT type_id FROM volume_type_access WHERE project_id = ?) ORDER BY created_at, id`,
			by.Creds.ProjectID)
	})
	return out, err
}

// CreateType makes a type; a name that is taken is KindConflict.
func (s *Service) CreateType(ctx context.Context, t Type) (*Type, error) {
	t.ID, t.Created, t.ExtraSpecs = uuid.NewString(), db.Now(), db.AsJSON(nonNil(t.ExtraSpecs.V))
	if t.Name == DefaultAlias {
		return nil, fault.Conflict("Volume Type %s already exists.", t.Name)
	}
	err := s.DB.Write(ctx, func(tx *db.Tx) error { return tx.Insert(ctx, "volume_types", t) })
	if db.IsUnique(err) {
		return nil, fault.Conflict("Volume Type %s already exists.", t.Name).WithCause(err)
	}
	return &t, err
}

// EditType changes a type.
func (s *Service) EditType(ctx context.Context, id string, change func(*Type) error) (t *Type, err error) {
	err = s.DB.Write(ctx, func(tx *db.Tx) (err error) {
		if err := tx.Lock(ctx, "volume_type:"+id); err != nil {
			return err
		}
		if t, err = resolveType(ctx, tx, By{}, id); err != nil {
			return err
		}
		if err := change(t); err != nil {
			return err
		}
		t.Updated = db.Now()
		_, err = tx.Exec(ctx, `UPDATE volume_types SET name = ?, description = ?, is_public = ?, extra_specs = ?, updated_at = ? WHERE id = ?`,
			t.Name, t.Description, t.Public, t.ExtraSpecs, t.Updated, t.ID)
		return err
	})
	if db.IsUnique(err) {
		return nil, fault.Conflict("Volume Type %s already exists.", t.Name).WithCause(err)
	}
	return t, err
}

// DeleteType removes a type that no volume has; the default stays.
func (s *Service) DeleteType(ctx context.Context, id string) error {
	err := s.DB.Write(ctx, func(tx *db.Tx) error {
		t, err := resolveType(ctx, tx, By{}, id)
		if err != nil {
			return err
		}
		if t.ID == DefaultTypeID {
			return fault.Invalid("", "Volume type %s is the default and cannot be deleted.", t.Name)
		}
		_, err = tx.Exec(ctx, `DELETE FROM volume_types WHERE id = ?`, t.ID)
		return err
	})
	if db.IsForeignKey(err) {
		return fault.Invalid("", "Target volume type is still in use.").WithCause(err)
	}
	return err
}

// TypeAccess lists the projects that may use a private type; a public one is KindNotFound (Cinder's answer).
func (s *Service) TypeAccess(ctx context.Context, id string) (typeID string, projects []string, err error) {
	err = s.DB.Read(ctx, func(tx *db.Tx) error {
		t, err := resolveType(ctx, tx, By{}, id)
		if err != nil {
			return err
		}
		if t.Public {
			return fault.NotFound("Access list not available for public volume types.")
		}
		typeID, projects = t.ID, nil
		return tx.Select(ctx, &projects, `SELECT project_id FROM volume_type_access WHERE type_id = ? ORDER BY project_id`, t.ID)
	})
	return typeID, projects, err
}

// SetTypeAccess opens or closes a private type to a project.
func (s *Service) SetTypeAccess(ctx context.Context, id, project string, open bool) error {
	return s.DB.Write(ctx, func(tx *db.Tx) error {
		t, err := resolveType(ctx, tx, By{}, id)
		if err != nil {
			return err
		}
		if t.Public {
			return fault.Conflict("Type access modification is not applicable to public volume type.")
		}
		if !open {
			n, err := tx.Exec(ctx, `DELETE FROM volume_type_access WHERE type_id = ? AND project_id = ?`, t.ID, project)
			if err == nil && n == 0 {
				err = fault.NotFound("Volume type access not found for %s / %s combination.", t.ID, project)
			}
			return err
		}
		n, err := tx.Exec(ctx, `INSERT INTO volume_type_access (type_id, project_id) VALUES (?, ?) ON CONFLICT DO NOTHING`, t.ID, project)
		if err == nil && n == 0 {
			err = fault.Conflict("Volume type access for %s / %s combination already exists.", t.ID, project)
		}
		return err
	})
}
