package placement

import (
	"context"

	"nephos/internal/db"
)

// SharesViaAggregate is the trait of a provider whose inventory serves the trees of all members of its aggregates.
const SharesViaAggregate = "MISC_SHARES_VIA_AGGREGATE"

// Group is one request group of an allocation candidates query (Placement's API reference, "Granular Resource Requests"). The group without a suffix may
// be satisfied by several providers of one tree and by providers that share with it; each of the others by exactly one provider.
type Group struct {
	Suffix    string
	Resources map[string]int64 // amounts by class; a group with a suffix may have none (1.36)
	Required  [][]string       // for each list: any of these traits. Without a suffix the providers need them together
	Forbidden []string         // no provider of the group has one of these
	MemberOf  [][]string       // for each list: member of any of these aggregates. Without a suffix the root may be the member instead
	NotMember []string
	InTree    string // id of any provider of the tree
}

// Wish is a whole allocation candidates query. At most one group has no suffix, and suffixes differ.
type Wish struct {
	Groups        []Group
	Isolate       bool // group_policy=isolate: no two groups with suffixes by one provider
	RootRequired  []string
	RootForbidden []string
	SameSubtree   [][]string // lists of suffixes: one provider of the groups is the ancestor of the others (or they are one)
	Limit         int        // 0: no bound
	Tree          string     // id of a root: only candidates of its tree; "": of any
	OnePerTree    bool       // the first of each tree is enough
	Flat          bool       // before 1.29: at most one provider of any tree
}

// Candidate is one way to satisfy a Wish.
type Candidate struct {
	Root      string                      // the root provider of the tree it belongs to; what it takes of sharing providers lies elsewhere
	Resources map[string]map[string]int64 // amounts by provider and class
	Mappings  map[string][]string         // by suffix: the providers, sorted
}

// Candidates lists what satisfies a wish, in the order of the names of root providers, each once. fault.KindInvalid when the combinations are too many to go
// through.
func Candidates(ctx context.Context, tx *db.Tx, w Wish) ([]Candidate, error) {
	f, err := loadForest(ctx, tx, w)
	if err != nil {
		return nil, err
	}
	return f.search(w)
}

// names gathers what a wish mentions: classes with the least amount that any group asks for, and traits.
func (w *Wish) names() (least map[string]int64, traits []string) {
	least = map[string]int64{}
	traits = append(append([]string{SharesViaAggregate}, w.RootRequired...), w.RootForbidden...)
	for _, g := range w.Groups {
		for class, n := range g.Resources {
			if have, ok := least[class]; !ok || n < have {
				least[class] = n
			}
		}
		for _, anyOf := range g.Required {
			traits = append(traits, anyOf...)
		}
		traits = append(traits, g.Forbidden...)
	}
	return least, traits
}

// loadForest reads the trees of all providers, and of inventories, traits and aggregates only what can decide about the wish: ten thousand hosts with forty
// traits each are read in the time of their names.
func loadForest(ctx context.Context, tx *db.Tx, w Wish) (*forest, error) {
	least, traits := w.names()
	var providers []Provider
	var err error
	if w.Tree == "" {
		err = tx.Select(ctx, &providers, `SELECT * FROM resource_providers ORDER BY name`)
	} else { // with the trees of those that may share with it
		err = tx.Select(ctx, &providers, `SELECT * FROM resource_providers WHERE root_id = ? OR root_id IN (SELECT p.root_id FROM provider_traits t JOIN resource_providers p ON p.id = t.provider_id
			WHERE t.trait = ?) ORDER BY name`, w.Tree, SharesViaAggregate)
	}
	if err != nil {
		return nil, err
	}
	f := newForest(providers)
	for class, n := range sorted(least) {
		var invs []Inventory
		if err := tx.Select(ctx, &invs, `SELECT * FROM inventories WHERE class = ? AND used + ? <= capacity AND ? <= max_unit`, class, n, n); err != nil {
			return nil, err
		}
		for _, i := range invs {
			f.stock(i)
		}
	}
	var has []struct {
		ProviderID string `db:"provider_id"`
		Name       string `db:"name"`
	}
	if err := tx.Select(ctx, &has, `SELECT provider_id, trait AS name FROM provider_traits WHERE trait IN (?)`, traits); err != nil {
		return nil, err
	}
	for _, x := range has {
		f.describe(x.ProviderID, x.Name)
	}
	has = has[:0]
	if err := tx.Select(ctx, &has, `SELECT provider_id, aggregate_id AS name FROM provider_aggregates`); err != nil {
		return nil, err
	}
	for _, x := range has {
		f.join(x.ProviderID, x.Name)
	}
	f.share()
	return f, nil
}

// Trees lists all providers of the trees that hold any of the providers given, by name.
func Trees(ctx context.Context, tx *db.Tx, ids []string) ([]Provider, error) {
	roots := map[string]bool{}
	for chunk := range chunks(ids) {
		var part []string
		if err := tx.Select(ctx, &part, `SELECT DISTINCT root_id FROM resource_providers WHERE id IN (?)`, chunk); err != nil {
			return nil, err
		}
		for _, r := range part {
			roots[r] = true
		}
	}
	var all []string
	for r := range sorted(roots) {
		all = append(all, r)
	}
	var out []Provider
	for chunk := range chunks(all) {
		var part []Provider
		if err := tx.Select(ctx, &part, `SELECT * FROM resource_providers WHERE root_id IN (?) ORDER BY name`, chunk); err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}
