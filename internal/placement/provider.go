package placement

import (
	"context"
	"errors"
	"strings"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// The machine-readable codes of Placement's errors (its API reference, "Errors"), carried as fault.Fault.Type.
const (
	CodeConcurrentUpdate = "placement.concurrent_update"
	CodeInventoryInUse   = "placement.inventory.inuse"
	CodeDuplicateName    = "placement.duplicate_name"
	CodeProviderInUse    = "placement.resource_provider.inuse"
	CodeIsParent         = "placement.resource_provider.cannot_delete_parent"
	CodeNoProvider       = "placement.resource_provider.not_found"
)

// Filter selects providers. All that is set must hold; the zero Filter selects all.
type Filter struct {
	Name      string
	IDs       []string         // any of; nil: no bound
	InTree    string           // id of any provider of the tree
	Resources map[string]int64 // amounts by class that must fit now: capacity, units and step
	MemberOf  [][]string       // for each list: member of any of these aggregates
	NotMember []string         // member of none of these
	Required  [][]string       // for each list: has any of these traits
	Forbidden []string         // has none of these traits
	Limit     int              // 0: no bound
}

// fitting is the condition that an amount n fits an inventory row: five placeholders, all n.
const fitting = `used + ? <= capacity AND ? >= min_unit AND ? <= max_unit AND ? % step_size = 0`

// Query lists the providers that a filter selects, by name.
func Query(ctx context.Context, tx *db.Tx, f Filter) ([]Provider, error) {
	var q strings.Builder
	var args []any
	q.WriteString(`SELECT * FROM resource_providers p WHERE 1 = 1`)
	and := func(text string, a ...any) { q.WriteString(" AND " + text); args = append(args, a...) }
	if f.Name != "" {
		and("p.name = ?", f.Name)
	}
	if f.IDs != nil {
		if len(f.IDs) == 0 {
			return nil, nil
		}
		and("p.id IN (?)", f.IDs)
	}
	if f.InTree != "" {
		and("p.root_id = (SELECT root_id FROM resource_providers WHERE id = ?)", f.InTree)
	}
	for class, n := range sorted(f.Resources) {
		and("EXISTS (SELECT 1 FROM inventories WHERE provider_id = p.id AND class = ? AND "+fitting+")", class, n, n, n, n)
	}
	const inAggregate = `EXISTS (SELECT 1 FROM provider_aggregates WHERE provider_id = p.id AND aggregate_id IN (?))`
	const hasTrait = `EXISTS (SELECT 1 FROM provider_traits WHERE provider_id = p.id AND trait IN (?))`
	for _, anyOf := range f.MemberOf {
		and(inAggregate, anyOf)
	}
	if len(f.NotMember) > 0 {
		and("NOT "+inAggregate, f.NotMember)
	}
	for _, anyOf := range f.Required {
		and(hasTrait, anyOf)
	}
	if len(f.Forbidden) > 0 {
		and("NOT "+hasTrait, f.Forbidden)
	}
	q.WriteString(" ORDER BY p.name")
	if f.Limit > 0 {
		q.WriteString(" LIMIT ?")
		args = append(args, f.Limit)
	}
	var out []Provider
	return out, tx.Select(ctx, &out, q.String(), args...)
}

// CreateProvider adds a provider, under parent unless that is "".
func CreateProvider(ctx context.Context, tx *db.Tx, id, name, parent string) error {
	root, err := rootFor(ctx, tx, id, parent)
	if err != nil {
		return err
	}
	now := db.Now()
	err = tx.Insert(ctx, "resource_providers", Provider{ID: id, Name: name, ParentID: parent, RootID: root, Created: now, Updated: now})
	if db.IsUnique(err) {
		return fault.Conflict("Conflicting resource provider name: %s already exists, or the uuid %s does.", name, id).WithType(CodeDuplicateName)
	}
	return err
}

// rootFor gives the root of a provider that is to be under parent, and holds the trees still until the transaction ends.
func rootFor(ctx context.Context, tx *db.Tx, id, parent string) (string, error) {
	if parent == "" {
		return id, nil
	}
	if err := tx.Lock(ctx, "placement-trees"); err != nil {
		return "", err
	}
	p, err := GetProvider(ctx, tx, parent)
	if fault.IsNotFound(err) {
		return "", fault.Invalid("parent_provider_uuid", "Unable to save resource provider %s: the parent provider %s does not exist.", id, parent)
	}
	return p.RootID, err
}

// UpdateProvider renames a provider and moves it with its subtree under parent; "" makes it a root.
func UpdateProvider(ctx context.Context, tx *db.Tx, id, name, parent string) error {
	p, err := GetProvider(ctx, tx, id)
	if err != nil {
		return err
	}
	if parent != p.ParentID {
		if err := reparent(ctx, tx, id, parent); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `UPDATE resource_providers SET name = ?, parent_id = ?, generation = generation + 1, updated_at = ? WHERE id = ?`, name, parent, db.Now(), id)
	if db.IsUnique(err) {
		return fault.Conflict("Conflicting resource provider name: %s already exists.", name).WithType(CodeDuplicateName)
	}
	return err
}

func reparent(ctx context.Context, tx *db.Tx, id, parent string) error {
	if err := tx.Lock(ctx, "placement-trees"); err != nil {
		return err
	}
	root, err := rootFor(ctx, tx, id, parent)
	if err != nil {
		return err
	}
	var below []string
	err = tx.Select(ctx, &below, `WITH RECURSIVE below (id) AS (SELECT id FROM resource_providers WHERE id = ? UNION
		SELECT c.id FROM resource_providers c JOIN below b ON c.parent_id = b.id) SELECT id FROM below`, id)
	if err != nil {
		return err
	}
	for _, b := range below {
		if b == parent {
			return fault.Invalid("parent_provider_uuid", "Unable to save resource provider %s: creating loop in the provider tree is not allowed.", id)
		}
	}
	_, err = tx.Exec(ctx, `UPDATE resource_providers SET root_id = ? WHERE id IN (?)`, root, below)
	return err
}

// DeleteProvider removes a provider that nobody takes of and that has no children, with its inventories, traits and aggregates.
func DeleteProvider(ctx context.Context, tx *db.Tx, id string) error {
	if err := tx.Lock(ctx, "placement-trees"); err != nil {
		return err
	}
	var children int
	if err := tx.Get(ctx, &children, `SELECT COUNT(*) FROM resource_providers WHERE parent_id = ?`, id); err != nil {
		return err
	}
	if children > 0 {
		return fault.Conflict("Unable to delete parent resource provider %s: It has child resource providers.", id).WithType(CodeIsParent)
	}
	_, err := tx.Exec(ctx, `DELETE FROM inventories WHERE provider_id = ?`, id)
	if db.IsForeignKey(err) {
		return fault.Conflict("Unable to delete resource provider %s: Resource provider has allocations.", id).WithType(CodeProviderInUse)
	}
	if err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `DELETE FROM resource_providers WHERE id = ?`, id)
	if err == nil && n == 0 {
		return fault.NotFound("No resource provider with uuid %s found", id).WithType(CodeNoProvider)
	}
	return err
}

// Advance raises the generation of a provider, which must be generation now; -1 takes any. fault.KindConflict means that somebody else was faster.
func Advance(ctx context.Context, tx *db.Tx, id string, generation int64) error {
	n, err := tx.Exec(ctx, `UPDATE resource_providers SET generation = generation + 1, updated_at = ? WHERE id = ? AND (generation = ? OR ? < 0)`, db.Now(), id, generation, generation)
	if err != nil || n > 0 {
		return err
	}
	var have int64
	err = tx.Get(ctx, &have, `SELECT generation FROM resource_providers WHERE id = ?`, id)
	if errors.Is(err, db.ErrNoRows) {
		return fault.NotFound("No resource provider with uuid %s found", id).WithType(CodeNoProvider)
	}
	if err != nil {
		return err
	}
	return fault.Conflict("resource provider generation conflict: %s is at generation %d, not %d", id, have, generation).WithType(CodeConcurrentUpdate)
}
