package metadef

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/policy"
)

// Service is the room's verbs. Its methods may be called from any goroutine. Credentials of nil mean the program itself.
type Service struct{ db *db.DB }

// New makes the Service.
func New(d *db.DB) *Service { return &Service{d} }

// The visibilities of a namespace.
const (
	Public  = "public"
	Private = "private"
)

// Namespace is a set of definitions.
type Namespace struct {
	id          string
	Name        string
	DisplayName string
	Description string
	Visibility  string
	Protected   bool
	Owner       string // project id
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

func (n Namespace) visibleTo(c *policy.Credentials) bool {
	return c == nil || c.IsAdmin() || n.Visibility == Public || c.ProjectID != "" && n.Owner == c.ProjectID
}

// Filter selects and orders namespaces.
type Filter struct {
	Visibility    string   // "": any that the caller may see
	ResourceTypes []string // associated with one of these; nil: any
	SortKey       string   // created_at (default), updated_at, namespace
	Asc           bool
	Limit         int
	Marker        string // name of the last namespace of the page before
}

var sortKeys = map[string]string{"": "created_at", "created_at": "created_at", "updated_at": "updated_at", "namespace": "name"}

func notFound(name string) error {
	return fault.NotFound("Metadata definition namespace=%s was not found.", name)
}

func load(ctx context.Context, tx *db.Tx, c *policy.Credentials, name string) (Namespace, error) {
	var r namespaceRow
	if !storable(name) {
		return Namespace{}, notFound("(not UTF-8)")
	}
	err := tx.Get(ctx, &r, `SELECT * FROM metadef_namespaces WHERE name = ?`, name)
	if errors.Is(err, db.ErrNoRows) || err == nil && !r.namespace().visibleTo(c) {
		return Namespace{}, notFound(name)
	}
	return r.namespace(), err
}

func storable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// List gives the namespaces that the caller may see.
func (s *Service) List(ctx context.Context, c *policy.Credentials, f Filter) (out []Namespace, err error) {
	column, ok := sortKeys[f.SortKey]
	if !ok {
		return nil, fault.Invalid("sort_key", "Invalid sort key: %s", f.SortKey)
	}
	dir, op := " DESC", "<"
	if f.Asc {
		dir, op = "", ">"
	}
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		out = nil
		q, args := `SELECT * FROM metadef_namespaces WHERE 1 = 1`, []any{}
		and := func(term string, a ...any) { q, args = q+" AND "+term, append(args, a...) }
		if c != nil && !c.IsAdmin() {
			and("(visibility = 'public' OR owner = ?)", c.ProjectID)
		}
		if f.Visibility != "" {
			and("visibility = ?", f.Visibility)
		}
		if f.ResourceTypes != nil {
			and("id IN (SELECT namespace_id FROM metadef_associations WHERE name IN (?))", f.ResourceTypes)
		}
		if f.Marker != "" {
			m, err := load(ctx, tx, c, f.Marker)
			if err != nil {
				return err
			}
			at := "(SELECT " + column + " FROM metadef_namespaces WHERE id = ?)"
			and("("+column+" "+op+" "+at+" OR "+column+" = "+at+" AND id "+op+" ?)", m.id, m.id, m.id)
		}
		q += " ORDER BY " + column + dir + ", id" + dir + " LIMIT ?"
		var rows []namespaceRow
		if err := tx.Select(ctx, &rows, q, append(args, f.Limit)...); err != nil {
			return err
		}
		for _, r := range rows {
			out = append(out, r.namespace())
		}
		return nil
	})
	return out, err
}

// Content is a namespace with all that is in it.
type Content struct {
	Namespace
	Objects, Properties, Tags []Item
	Associations              []Association
}

// Get is a namespace with its content; 404 when the caller may not see it.
func (s *Service) Get(ctx context.Context, c *policy.Credentials, name string) (out Content, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) (err error) {
		out = Content{}
		if out.Namespace, err = load(ctx, tx, c, name); err != nil {
			return err
		}
		items, err := itemsOf(ctx, tx, out.id, "")
		if err != nil {
			return err
		}
		for _, i := range items {
			switch i.Kind {
			case Object:
				out.Objects = append(out.Objects, i)
			case Property:
				out.Properties = append(out.Properties, i)
			case Tag:
				out.Tags = append(out.Tags, i)
			}
		}
		out.Associations, err = associationsOf(ctx, tx, out.id)
		return err
	})
	return out, err
}

func (n *Namespace) check() error {
	if n.Visibility == "" {
		n.Visibility = Private
	}
	if n.Visibility != Public && n.Visibility != Private {
		return fault.Invalid("visibility", "Invalid value %q for visibility: it must be public or private", n.Visibility)
	}
	if n.Name == "" || n.Owner == "" {
		return fault.Invalid("namespace", "A namespace needs a name and an owner.")
	}
	for _, x := range []struct {
		field, value string
		most         int
	}{{"namespace", n.Name, 80}, {"display_name", n.DisplayName, 80}, {"description", n.Description, 500}, {"owner", n.Owner, 255}} {
		if utf8.RuneCountInString(x.value) > x.most || !storable(x.value) {
			return fault.Invalid(x.field, "Invalid value for %s: it has at most %d characters of UTF-8, none of them NUL", x.field, x.most)
		}
	}
	return nil
}

// Create makes a namespace with its content, all or nothing. 409 for a name that is taken.
func (s *Service) Create(ctx context.Context, c Content) (Content, error) {
	now := db.Now()
	c.id, c.CreatedAt, c.UpdatedAt = uuid.NewString(), now.Time, now.Time
	if err := c.check(); err != nil {
		return c, err
	}
	err := s.db.Write(ctx, func(tx *db.Tx) error { return insert(ctx, tx, &c) })
	if db.IsUnique(err) {
		err = fault.Conflict("The metadata definition namespace=%s already exists.", c.Name)
	}
	return c, err
}

func insert(ctx context.Context, tx *db.Tx, c *Content) error {
	if err := tx.Insert(ctx, "metadef_namespaces", rowOf(c.Namespace)); err != nil {
		return err
	}
	for _, items := range [][]Item{c.Objects, c.Properties, c.Tags} {
		for k := range items {
			if err := insertItem(ctx, tx, c.id, &items[k]); err != nil {
				return err
			}
		}
	}
	for k := range c.Associations {
		if err := associate(ctx, tx, c.id, &c.Associations[k]); err != nil {
			return err
		}
	}
	return nil
}

// Update lets fn change a namespace. 409 for a name that is taken.
func (s *Service) Update(ctx context.Context, c *policy.Credentials, name string, fn func(*Namespace) error) (out Namespace, err error) {
	err = s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := load(ctx, tx, c, name)
		if err != nil {
			return err
		}
		if err := fn(&n); err != nil {
			return err
		}
		n.UpdatedAt = db.Now().Time
		if err := n.check(); err != nil {
			return err
		}
		out = n
		_, err = tx.NamedExec(ctx, `UPDATE metadef_namespaces SET name = :name, display_name = :display_name, description = :description, visibility = :visibility,
			protected = :protected, owner = :owner, updated_at = :updated_at WHERE id = :id`, rowOf(n))
		return err
	})
	if db.IsUnique(err) {
		err = fault.Conflict("The metadata definition namespace=%s already exists.", out.Name)
	}
	return out, err
}

// Delete removes a namespace with its content; 403 when it is protected.
func (s *Service) Delete(ctx context.Context, c *policy.Credentials, name string) error {
	return s.db.Write(ctx, func(tx *db.Tx) error {
		n, err := load(ctx, tx, c, name)
		if err != nil {
			return err
		}
		if n.Protected {
			return fault.Forbidden("Metadata definition namespace=%s is protected and cannot be deleted.", name)
		}
		_, err = tx.Exec(ctx, `DELETE FROM metadef_namespaces WHERE id = ?`, n.id)
		return err
	})
}

// Associations are a namespace's.
func (s *Service) Associations(ctx context.Context, c *policy.Credentials, name string) (out []Association, err error) {
	err = s.db.Read(ctx, func(tx *db.Tx) error {
		n, err := load(ctx, tx, c, name)
		if err != nil {
			return err
		}
		out, err = associationsOf(ctx, tx, n.id)
		return err
	})
	return out, err
}

// AssociationsOf are those of several namespaces, by name.
func (s *Service) AssociationsOf(ctx context.Context, all []Namespace) (map[string][]Association, error) {
	out := map[string][]Association{}
	err := s.db.Read(ctx, func(tx *db.Tx) error {
		clear(out)
		names := map[string]string{}
		var ids []string
		for _, n := range all {
			names[n.id] = n.Name
			ids = append(ids, n.id)
		}
		for part := range slices.Chunk(ids, 500) {
			var rows []associationRow
			if err := tx.Select(ctx, &rows, `SELECT * FROM metadef_associations WHERE namespace_id IN (?) ORDER BY name`, part); err != nil {
				return err
			}
			for _, r := range rows {
				name := names[r.Namespace]
				out[name] = append(out[name], r.association())
			}
		}
		return nil
	})
	return out, err
}
