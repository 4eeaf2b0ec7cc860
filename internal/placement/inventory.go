package placement

import (
	"context"
	"errors"
	"iter"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// ReplaceInventories makes invs all that a provider has. A class that is taken of cannot go.
func ReplaceInventories(ctx context.Context, tx *db.Tx, providerID string, generation int64, invs []Inventory) error {
	if err := Advance(ctx, tx, providerID, generation); err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, i := range invs {
		keep[i.Class] = true
	}
	have, err := Inventories(ctx, tx, providerID)
	if err != nil {
		return err
	}
	for _, i := range have {
		if keep[i.Class] {
			continue
		}
		if err := dropInventory(ctx, tx, providerID, i.Class); err != nil {
			return err
		}
	}
	_, err = putInventories(ctx, tx, providerID, invs)
	return err
}

// PutInventory changes one class that a provider has (fault.KindInvalid when it has none of it), or, with create, adds one it has not (else
// fault.KindConflict).
func PutInventory(ctx context.Context, tx *db.Tx, providerID string, generation int64, inv Inventory, create bool) error {
	if err := Advance(ctx, tx, providerID, generation); err != nil {
		return err
	}
	_, err := GetInventory(ctx, tx, providerID, inv.Class)
	switch {
	case create && err == nil:
		return fault.Conflict("Update conflict: %s has an inventory of %s already", providerID, inv.Class)
	case create && fault.IsNotFound(err):
	case fault.IsNotFound(err):
		return fault.Invalid("resource_class", "%s has no inventory of %s to update", providerID, inv.Class)
	case err != nil:
		return err
	}
	_, err = putInventories(ctx, tx, providerID, []Inventory{inv})
	return err
}

// GetInventory finds what a provider has of one class; fault.KindNotFound if nothing.
func GetInventory(ctx context.Context, tx *db.Tx, providerID, class string) (Inventory, error) {
	var out Inventory
	err := tx.Get(ctx, &out, `SELECT * FROM inventories WHERE provider_id = ? AND class = ?`, providerID, class)
	if errors.Is(err, db.ErrNoRows) {
		return out, fault.NotFound("No inventory of class %s for %s", class, providerID)
	}
	return out, err
}

// DeleteInventory removes what a provider has of one class; of all classes when class is "".
func DeleteInventory(ctx context.Context, tx *db.Tx, providerID, class string) error {
	if err := Advance(ctx, tx, providerID, -1); err != nil {
		return err
	}
	if class == "" {
		_, err := tx.Exec(ctx, `DELETE FROM inventories WHERE provider_id = ?`, providerID)
		if db.IsForeignKey(err) {
			return fault.Conflict("Inventory of resource provider %s is in use.", providerID).WithType(CodeInventoryInUse)
		}
		return err
	}
	if _, err := GetInventory(ctx, tx, providerID, class); err != nil {
		return err
	}
	return dropInventory(ctx, tx, providerID, class)
}

func dropInventory(ctx context.Context, tx *db.Tx, providerID, class string) error {
	_, err := tx.Exec(ctx, `DELETE FROM inventories WHERE provider_id = ? AND class = ?`, providerID, class)
	if db.IsForeignKey(err) {
		return fault.Conflict("Inventory for '%s' on resource provider '%s' in use.", class, providerID).WithType(CodeInventoryInUse)
	}
	return err
}

// Detail is what a provider has and is like.
type Detail struct {
	Inventories []Inventory // by class
	Traits      []string    // sorted
}

// detailChunk bounds the ids of one query, well below SQLite's limit of placeholders.
const detailChunk = 1000

func chunks(ids []string) iter.Seq[[]string] { return slices.Chunk(ids, detailChunk) }

// Details reads inventories and traits of several providers.
func Details(ctx context.Context, tx *db.Tx, ids []string) (map[string]Detail, error) {
	out := make(map[string]Detail, len(ids))
	for chunk := range chunks(ids) {
		var invs []Inventory
		if err := tx.Select(ctx, &invs, `SELECT * FROM inventories WHERE provider_id IN (?) ORDER BY provider_id, class`, chunk); err != nil {
			return nil, err
		}
		for _, i := range invs {
			d := out[i.ProviderID]
			d.Inventories = append(d.Inventories, i)
			out[i.ProviderID] = d
		}
		var traits []struct {
			ProviderID string `db:"provider_id"`
			Trait      string `db:"trait"`
		}
		if err := tx.Select(ctx, &traits, `SELECT provider_id, trait FROM provider_traits WHERE provider_id IN (?) ORDER BY provider_id, trait`, chunk); err != nil {
			return nil, err
		}
		for _, t := range traits {
			d := out[t.ProviderID]
			d.Traits = append(d.Traits, t.Trait)
			out[t.ProviderID] = d
		}
	}
	return out, nil
}
