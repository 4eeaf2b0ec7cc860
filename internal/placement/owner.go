package placement

import (
	"context"
	"slices"

	"nephos/internal/db"
)

// The verbs of a provider's owner: of the registry of compute hosts, which says again and again what a host has. What an operator has set through the API stays.

// SyncInventories sets totals, and those ratios, reserves and largest units that no operator has changed since the last time. Classes of known that are not
// in invs go, unless somebody takes of them. The generation grows only when something changed.
func SyncInventories(ctx context.Context, tx *db.Tx, providerID string, known []string, invs ...Inventory) error {
	have, err := Inventories(ctx, tx, providerID)
	if err != nil {
		return err
	}
	changed := false
	for _, i := range invs {
		i.fill()
		at := slices.IndexFunc(have, func(h Inventory) bool { return h.Class == i.Class })
		if at < 0 {
			i.OwnerRatio, i.OwnerReserved, i.OwnerTotal = i.Ratio, i.Reserved, i.Total
			if err := tx.Insert(ctx, "inventories", i.at(providerID)); err != nil {
				return err
			}
			changed = true
			continue
		}
		next := have[at].owned(i)
		if next == have[at] {
			continue
		}
		changed = true
		if _, err := tx.Exec(ctx, `UPDATE inventories SET total = ?, reserved = ?, max_unit = ?, ratio = ?, capacity = ?, owner_ratio = ?, owner_reserved = ?, owner_total = ?
			WHERE provider_id = ? AND class = ?`, next.Total, next.Reserved, next.MaxUnit, next.Ratio, next.Capacity, next.OwnerRatio, next.OwnerReserved, next.OwnerTotal, providerID, i.Class); err != nil {
			return err
		}
	}
	for _, h := range have {
		gone := slices.Contains(known, h.Class) && !slices.ContainsFunc(invs, func(i Inventory) bool { return i.Class == h.Class })
		if !gone || h.Used > 0 {
			continue
		}
		n, err := tx.Exec(ctx, `DELETE FROM inventories WHERE provider_id = ? AND class = ? AND used = 0`, providerID, h.Class)
		if err != nil {
			return err
		}
		changed = changed || n > 0
	}
	if !changed {
		return nil
	}
	return Advance(ctx, tx, providerID, -1)
}

// fill sets what was left out.
func (i *Inventory) fill() {
	if i.MaxUnit == 0 {
		i.MaxUnit = i.Total
	}
	i.MinUnit, i.StepSize = max(1, i.MinUnit), max(1, i.StepSize)
	i.Capacity = int64(float64(i.Total-i.Reserved) * i.Ratio)
}

func (i Inventory) at(providerID string) Inventory { i.ProviderID = providerID; return i }

// owned is the inventory after its owner said want.
func (i Inventory) owned(want Inventory) Inventory {
	if i.Ratio == i.OwnerRatio || i.OwnerRatio < 0 {
		i.Ratio = want.Ratio
	}
	if i.Reserved == i.OwnerReserved || i.OwnerReserved < 0 {
		i.Reserved = want.Reserved
	}
	if i.MaxUnit == i.OwnerTotal || i.OwnerTotal < 0 {
		i.MaxUnit = want.MaxUnit
	}
	i.Total = want.Total
	i.Reserved = min(i.Reserved, i.Total)
	i.OwnerRatio, i.OwnerReserved, i.OwnerTotal = want.Ratio, want.Reserved, want.Total
	i.Capacity = int64(float64(i.Total-i.Reserved) * i.Ratio)
	return i
}

// SyncTraits takes away those traits of before that are not in now, and adds those of now; others, which an operator gave, stay. Custom names come into being; names that
// are neither standard nor custom are left out. The generation grows only when something changed.
func SyncTraits(ctx context.Context, tx *db.Tx, providerID string, before, now []string) error {
	var known []string
	for _, t := range now {
		_, standard := slices.BinarySearch(StandardTraits, t)
		switch {
		case standard:
		case !IsCustomName(t):
			continue
		case slices.Contains(before, t): // and so it exists
		default:
			if _, err := Traits.Create(ctx, tx, t); err != nil {
				return err
			}
		}
		known = append(known, t)
	}
	return syncNames(ctx, tx, "provider_traits", "trait", providerID, before, known)
}

// SyncAggregates does the same for the aggregates of a provider.
func SyncAggregates(ctx context.Context, tx *db.Tx, providerID string, before, now []string) error {
	return syncNames(ctx, tx, "provider_aggregates", "aggregate_id", providerID, before, now)
}

func syncNames(ctx context.Context, tx *db.Tx, table, column, providerID string, before, now []string) error {
	var changed int64
	gone := slices.DeleteFunc(slices.Clone(before), func(x string) bool { return slices.Contains(now, x) })
	if len(gone) > 0 {
		n, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE provider_id = ? AND `+column+` IN (?)`, providerID, gone)
		if err != nil {
			return err
		}
		changed += n
	}
	for part := range slices.Chunk(now, 16) { // few forms of the statement, and one for most
		args := make([]any, 0, 2*len(part))
		text := `INSERT INTO ` + table + ` (provider_id, ` + column + `) VALUES `
		for i, x := range part {
			if i > 0 {
				text += ", "
			}
			text += "(?, ?)"
			args = append(args, providerID, x)
		}
		n, err := tx.Exec(ctx, text+` ON CONFLICT DO NOTHING`, args...)
		if err != nil {
			return err
		}
		changed += n
	}
	if changed == 0 {
		return nil
	}
	return Advance(ctx, tx, providerID, -1)
}
