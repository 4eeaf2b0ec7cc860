package metadef

import (
	"context"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// Kind is what sort of thing an Item is.
type Kind string

// The kinds.
const (
	Object   Kind = "object"
	Property Kind = "property"
	Tag      Kind = "tag"
)

// Item is a definition in a namespace. Body is a JSON object: the schema of a property, description, required and properties of an object, nothing of a tag.
type Item struct {
	Kind      Kind
	Name      string
	Body      json.RawMessage
	CreatedAt time.Time
	UpdatedAt time.Time
}

const maxBody = 64 << 10

func (i *Item) check() error {
	if n := utf8.RuneCountInString(i.Name); n == 0 || n > 80 || !storable(i.Name) {
		return fault.Invalid("name", "Invalid name of a %s: it has 1 to 80 characters of UTF-8, none of them NUL", i.Kind)
	}
	if i.Body == nil {
		i.Body = json.RawMessage("{}")
	}
	if len(i.Body) > maxBody || !storable(string(i.Body)) {
		return fault.Invalid("", "The definition of %s %s is too large or not UTF-8.", i.Kind, i.Name)
	}
	return nil
}

func (r itemRow) item() Item {
	return Item{Kind(r.Kind), r.Name, json.RawMessage(r.Body), r.Created.Time, r.Updated.Time}
}

func itemsOf(ctx context.Context, tx *db.Tx, id string, kind Kind) (out []Item, err error) {
	var rows []itemRow
	err = tx.Select(ctx, &rows, `SELECT * FROM metadef_items WHERE namespace_id = ? AND (kind = ? OR ? = '') ORDER BY created_at, name`, id, string(kind), string(kind))
	for _, r := range rows {
		out = append(out, r.item())
	}
	return out, err
}

func insertItem(ctx context.Context, tx *db.Tx, id string, i *Item) error {
	if err := i.check(); err != nil {
		return err
	}
	now := db.Now()
	i.CreatedAt, i.UpdatedAt = now.Time, now.Time
	n, err := tx.Exec(ctx, `INSERT INTO metadef_items (namespace_id, kind, name, body, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		id, string(i.Kind), i.Name, string(i.Body), now, now)
	if err == nil && n == 0 {
		err = fault.Conflict("A metadata definition %s with name=%s already exists in this namespace.", i.Kind, i.Name)
	}
	return err
}

func noItem(kind Kind, ns, name string) error {
	return fault.NotFound("The metadata definition %s with name=%s was not found in namespace=%s.", kind, name, ns)
}

// Items are a namespace's, the oldest first.
func (s *Service) Items(ctx context.Context, c *policy.Credentials, ns string, kind Kind) (out []Item, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		n, err := load(ctx, tx, c, ns)
		if err != nil {
			return err
		}
		out, err = itemsOf(ctx, tx, n.id, kind)
		return err
	})
	return out, err
}

// Item is one of them.
func (s *Service) Item(ctx context.Context, c *policy.Credentials, ns string, kind Kind, name string) (out Item, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		n, err := load(ctx, tx, c, ns)
		if err != nil {
			return err
		}
		if !storable(name) {
			return noItem(kind, ns, "(not UTF-8)")
		}
		var r itemRow
		err = tx.Get(ctx, &r, `SELECT * FROM metadef_items WHERE namespace_id = ? AND kind = ? AND name = ?`, n.id, string(kind), name)
		if errors.Is(err, db.ErrNoRows) {
			err = noItem(kind, ns, name)
		}
		out = r.item()
		return err
	})
	return out, err
}

// Add puts items into a namespace, all or nothing. With replace the namespace's items of that kind go first. 409 for a name that is taken.
func (s *Service) Add(ctx context.Context, c *policy.Credentials, ns string, kind Kind, replace bool, items ...Item) ([]Item, error) {
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := load(ctx, tx, c, ns)
		if err != nil {
			return err
		}
		if replace {
			if _, err := tx.Exec(ctx, `DELETE FROM metadef_items WHERE namespace_id = ? AND kind = ?`, n.id, string(kind)); err != nil {
				return err
			}
		}
		for k := range items {
			items[k].Kind = kind
			if err := insertItem(ctx, tx, n.id, &items[k]); err != nil {
				return err
			}
		}
		return nil
	})
	return items, err
}

// Change gives an item another name and body. 409 for a name that is taken.
func (s *Service) Change(ctx context.Context, c *policy.Credentials, ns string, kind Kind, name string, to Item) (Item, error) {
	to.Kind = kind
	if err := to.check(); err != nil {
		return to, err
	}
	err := s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := load(ctx, tx, c, ns)
		if err != nil {
			return err
		}
		if !storable(name) {
			return noItem(kind, ns, "(not UTF-8)")
		}
		var r itemRow
		err = tx.Get(ctx, &r, `UPDATE metadef_items SET name = ?, body = ?, updated_at = ? WHERE namespace_id = ? AND kind = ? AND name = ? RETURNING *`,
			to.Name, string(to.Body), db.Now(), n.id, string(kind), name)
		if errors.Is(err, db.ErrNoRows) {
			return noItem(kind, ns, name)
		}
		if err == nil {
			to = r.item()
		}
		return err
	})
	if db.IsUnique(err) {
		err = fault.Conflict("A metadata definition %s with name=%s already exists in namespace=%s.", kind, to.Name, ns)
	}
	return to, err
}

// Remove takes one item out, or all of a kind where name is "".
func (s *Service) Remove(ctx context.Context, c *policy.Credentials, ns string, kind Kind, name string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := load(ctx, tx, c, ns)
		if err != nil {
			return err
		}
		if name == "" {
			_, err = tx.Exec(ctx, `DELETE FROM metadef_items WHERE namespace_id = ? AND kind = ?`, n.id, string(kind))
			return err
		}
		if !storable(name) {
			return noItem(kind, ns, "(not UTF-8)")
		}
		hit, err := tx.Exec(ctx, `DELETE FROM metadef_items WHERE namespace_id = ? AND kind = ? AND name = ?`, n.id, string(kind), name)
		if err == nil && hit == 0 {
			err = noItem(kind, ns, name)
		}
		return err
	})
}
