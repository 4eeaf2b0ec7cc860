package metadef

import (
	"context"
	_ "embed" // standard.txt
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"nephos/internal/db"
)

//go:embed standard.txt
var standard string

// EnsureStandard makes the standard namespaces in a cloud that never had resource types; later starts leave alone what an admin has made of them. One transaction: a crash
// leaves none or all.
func (s *Service) EnsureStandard(ctx context.Context, owner string) error {
	all, err := parseStandard(standard)
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx *db.Tx) error {
		var n int
		if err := tx.Lock(ctx, "metadef-standard"); err != nil {
			return err
		}
		if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM metadef_resource_types`); err != nil || n > 0 {
			return err
		}
		now := db.Now()
		for _, c := range all {
			c.id, c.Owner, c.Visibility, c.Protected, c.CreatedAt, c.UpdatedAt = uuid.NewString(), owner, Public, true, now.Time, now.Time
			if err := insert(ctx, tx, &c); err != nil {
				return fmt.Errorf("standard namespace %s: %w", c.Name, err)
			}
		}
		return nil
	})
}

// definition is a property as the API shows it.
type definition struct {
	Title string   `json:"title"`
	Type  string   `json:"type"`
	Enum  []string `json:"enum,omitempty"`
	Items *items   `json:"items,omitempty"`
}

type items struct {
	Type string   `json:"type"`
	Enum []string `json:"enum"`
}

// group is an object as the API shows it.
type group struct {
	Description string                `json:"description"`
	Required    []string              `json:"required"`
	Properties  map[string]definition `json:"properties"`
}

// parseStandard reads the form that standard.txt describes at its head.
func parseStandard(text string) ([]Content, error) {
	var out []Content
	var object *group
	var name string
	flush := func() error {
		if object == nil {
			return nil
		}
		b, err := json.Marshal(object)
		c := &out[len(out)-1]
		c.Objects, object = append(c.Objects, Item{Kind: Object, Name: name, Body: b}), nil
		return err
	}
	for k, line := range strings.Split(text, "\n") {
		f := strings.Split(line, "|")
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		mark, rest, _ := strings.Cut(f[0], " ")
		bad := fmt.Errorf("standard.txt: line %d cannot be read", k+1)
		if line == "" || mark == "#" {
			continue
		}
		if mark != "=" && len(out) == 0 {
			return nil, bad
		}
		switch {
		case mark == "=" && len(f) == 3:
			if err := flush(); err != nil {
				return nil, err
			}
			out = append(out, Content{Namespace: Namespace{Name: rest, DisplayName: f[1], Description: f[2]}})
		case mark == "@" && len(f) <= 3:
			a := Association{Name: rest}
			if len(f) > 1 {
				a.Prefix = f[1]
			}
			if len(f) > 2 {
				a.Target = f[2]
			}
			c := &out[len(out)-1]
			c.Associations = append(c.Associations, a)
		case mark == "*" && len(f) == 2:
			if err := flush(); err != nil {
				return nil, err
			}
			name, object = rest, &group{Description: f[1], Required: []string{}, Properties: map[string]definition{}}
		case len(f) == 4:
			d := definition{Title: f[3], Type: f[1]}
			if choices, ok := strings.CutPrefix(f[2], "["); ok {
				d.Items = &items{"string", strings.Split(strings.TrimSuffix(choices, "]"), ",")}
			} else if f[2] != "-" {
				d.Enum = strings.Split(f[2], ",")
			}
			if object != nil {
				object.Properties[f[0]] = d
				continue
			}
			b, err := json.Marshal(d)
			if err != nil {
				return nil, err
			}
			c := &out[len(out)-1]
			c.Properties = append(c.Properties, Item{Kind: Property, Name: f[0], Body: b})
		default:
			return nil, bad
		}
	}
	return out, flush()
}
