package metadef

import (
	"context"
	"time"
	"unicode/utf8"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// ResourceType is a sort of thing that definitions can be about: OS::Glance::Image.
type ResourceType struct {
	Name      string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Association says that a namespace is about a resource type. There its properties are named with the prefix.
type Association struct {
	Name      string // of the resource type
	Prefix    string
	Target    string // where the properties go, when the type has several places: "image" of a volume
	CreatedAt time.Time
	UpdatedAt time.Time
}

func (r associationRow) association() Association {
	return Association{r.Name, r.Prefix, r.Target, r.Created.Time, r.Updated.Time}
}

func associationsOf(ctx context.Context, tx *db.Tx, id string) (out []Association, err error) {
	var rows []associationRow
	err = tx.Select(ctx, &rows, `SELECT * FROM metadef_associations WHERE namespace_id = ? ORDER BY name`, id)
	for _, r := range rows {
		out = append(out, r.association())
	}
	return out, err
}

func associate(ctx context.Context, tx *db.Tx, id string, a *Association) error {
	for _, x := range []struct {
		field, value string
		least        int
	}{{"name", a.Name, 1}, {"prefix", a.Prefix, 0}, {"properties_target", a.Target, 0}} {
		if n := utf8.RuneCountInString(x.value); n < x.least || n > 80 || !storable(x.value) {
			return fault.Invalid(x.field, "Invalid value for %s of a resource type association: it has %d to 80 characters", x.field, x.least)
		}
	}
	now := db.Now()
	a.CreatedAt, a.UpdatedAt = now.Time, now.Time
	if _, err := tx.Exec(ctx, `INSERT INTO metadef_resource_types (name, created_at, updated_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, a.Name, now, now); err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `INSERT INTO metadef_associations (namespace_id, name, prefix, properties_target, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		id, a.Name, a.Prefix, a.Target, now, now)
	if err == nil && n == 0 {
		err = fault.Conflict("The metadata definition resource-type association of resource-type=%s already exists.", a.Name)
	}
	return err
}

// ResourceTypes lists all, by name.
func (s *Service) ResourceTypes(ctx context.Context) (out []ResourceType, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		var rows []typeRow
		out = nil
		if err := tx.Select(ctx, &rows, `SELECT * FROM metadef_resource_types ORDER BY name`); err != nil {
			return err
		}
		for _, r := range rows {
			out = append(out, ResourceType{r.Name, r.Created.Time, r.Updated.Time})
		}
		return nil
	})
	return out, err
}

// Associate ties a namespace to a resource type, which is made if there is none of that name. 409 when they are tied.
func (s *Service) Associate(ctx context.Context, c *policy.Credentials, ns string, a Association) (Association, error) {
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := load(ctx, tx, c, ns)
		if err != nil {
			return err
		}
		return associate(ctx, tx, n.id, &a)
	})
	return a, err
}

// Dissociate unties them; 404 when they are not tied, 403 while the namespace is protected.
func (s *Service) Dissociate(ctx context.Context, c *policy.Credentials, ns, name string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := load(ctx, tx, c, ns)
		if err != nil {
			return err
		}
		if n.Protected {
			return fault.Forbidden("Metadata definition namespace=%s is protected.", ns)
		}
		if !storable(name) {
			return noAssociation("(not UTF-8)", ns)
		}
		hit, err := tx.Exec(ctx, `DELETE FROM metadef_associations WHERE namespace_id = ? AND name = ?`, n.id, name)
		if err == nil && hit == 0 {
			err = noAssociation(name, ns)
		}
		return err
	})
}

func noAssociation(name, ns string) error {
	return fault.NotFound("The metadata definition resource-type association of resource-type=%s to namespace=%s was not found.", name, ns)
}
