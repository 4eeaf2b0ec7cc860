package placement_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/placement"
)

// prov is a provider of the test's own model.
type prov struct {
	id     string
	parent int // index, -1: a root
	inv    map[string]placement.Inventory
	traits []string
	aggs   []string
}

type world []prov

func (w world) root(i int) int {
	for w[i].parent >= 0 {
		i = w[i].parent
	}
	return i
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(x string) bool { return slices.Contains(b, x) })
}

// serves says whether provider i may be used for the tree of a root: it is of the tree, or shares with a member of it.
func (w world) serves(i, root int) bool {
	if w.root(i) == root {
		return true
	}
	if !slices.Contains(w[i].traits, placement.SharesViaAggregate) {
		return false
	}
	for j := range w {
		if w.root(j) == root && overlap(w[i].aggs, w[j].aggs) {
			return true
		}
	}
	return false
}

// member holds the aggregates of a group against provider i in the tree of root.
func (w world) member(g placement.Group, i, root int) bool {
	loose := g.Suffix == ""
	for _, anyOf := range g.MemberOf {
		if !overlap(w[i].aggs, anyOf) && !(loose && w.root(i) == root && overlap(w[root].aggs, anyOf)) {
			return false
		}
	}
	return !overlap(w[i].aggs, g.NotMember) && !(loose && overlap(w[root].aggs, g.NotMember))
}

func (w world) above(top, i int) bool {
	for ; i >= 0; i = w[i].parent {
		if i == top {
			return true
		}
	}
	return false
}

// brute tries every assignment of providers to what is asked, for every root, and looks at each as a whole.
func brute(w world, wish placement.Wish) map[string]bool {
	type slot struct {
		g     placement.Group
		class string
	}
	var slots []slot
	for _, g := range wish.Groups {
		if g.Suffix != "" {
			slots = append(slots, slot{g, ""})
			continue
		}
		for class := range g.Resources {
			slots = append(slots, slot{g, class})
		}
	}
	out := map[string]bool{}
	for root := range w {
		if w[root].parent >= 0 {
			continue
		}
		n := 1
		for range slots {
			n *= len(w)
		}
	next:
		for code := range n {
			pick := make([]int, len(slots)) // slot → provider
			for k, c := 0, code; k < len(slots); k, c = k+1, c/len(w) {
				pick[k] = c % len(w)
				if !w.serves(pick[k], root) {
					continue next
				}
			}
			takes := map[int]map[string]int64{}
			groups := map[string][]int{}
			together := map[string][]string{}
			for k, s := range slots {
				i := pick[k]
				want := s.g.Resources
				if s.class != "" {
					want = map[string]int64{s.class: s.g.Resources[s.class]}
				}
				if takes[i] == nil {
					takes[i] = map[string]int64{}
				}
				for class, amount := range want {
					inv, ok := w[i].inv[class]
					if !ok || amount < inv.MinUnit || amount%inv.StepSize != 0 {
						continue next
					}
					takes[i][class] += amount
				}
				if !w.member(s.g, i, root) || overlap(w[i].traits, s.g.Forbidden) {
					continue next
				}
				if s.g.InTree != "" {
					t := slices.IndexFunc(w, func(p prov) bool { return p.id == s.g.InTree })
					if t < 0 || w.root(t) != w.root(i) {
						continue next
					}
				}
				groups[s.g.Suffix] = append(groups[s.g.Suffix], i)
				together[s.g.Suffix] = append(together[s.g.Suffix], w[i].traits...)
			}
			for i, amounts := range takes {
				for class, amount := range amounts {
					inv := w[i].inv[class]
					if amount > inv.MaxUnit || inv.Used+amount > int64(float64(inv.Total-inv.Reserved)*inv.Ratio) {
						continue next
					}
				}
			}
			for _, g := range wish.Groups {
				for _, anyOf := range g.Required {
					if !overlap(together[g.Suffix], anyOf) {
						continue next
					}
				}
			}
			if wish.Isolate {
				seen := map[int]bool{}
				for suffix, list := range groups {
					if suffix != "" {
						if seen[list[0]] {
							continue next
						}
						seen[list[0]] = true
					}
				}
			}
			for _, subtree := range wish.SameSubtree {
				var list []int
				for _, suffix := range subtree {
					list = append(list, groups[suffix]...)
				}
				if !slices.ContainsFunc(list, func(top int) bool {
					return !slices.ContainsFunc(list, func(i int) bool { return !w.above(top, i) })
				}) {
					continue next
				}
			}
			for _, t := range wish.RootRequired {
				if !slices.Contains(w[root].traits, t) {
					continue next
				}
			}
			if overlap(w[root].traits, wish.RootForbidden) {
				continue next
			}
			if wish.Flat {
				roots := map[int]int{}
				for _, i := range pick {
					if j, ok := roots[w.root(i)]; ok && j != i {
						continue next
					}
					roots[w.root(i)] = i
				}
			}
			byID := map[string]map[string]int64{}
			for i, amounts := range takes {
				if len(amounts) > 0 {
					byID[w[i].id] = amounts
				}
			}
			mapped := map[string][]string{}
			for suffix, list := range groups {
				for _, i := range list {
					mapped[suffix] = append(mapped[suffix], w[i].id)
				}
				slices.Sort(mapped[suffix])
				mapped[suffix] = slices.Compact(mapped[suffix])
			}
			out[show(byID, mapped)] = true
		}
	}
	return out
}

// show writes a candidate; fmt prints maps in the order of their keys.
func show(resources map[string]map[string]int64, mappings map[string][]string) string {
	return fmt.Sprint(resources, mappings)
}

var (
	testClasses = []string{"CUSTOM_A", "CUSTOM_B", "VCPU"}
	testTraits  = []string{"CUSTOM_T1", "CUSTOM_T2", "CUSTOM_T3"}
	testAggs    = []string{"agg1", "agg2", "agg3"}
)

func drawWorld(t *rapid.T) world {
	w := world{}
	for i := range rapid.IntRange(1, 6).Draw(t, "providers") {
		p := prov{id: fmt.Sprintf("rp%d", i), parent: -1, inv: map[string]placement.Inventory{}}
		if i > 0 && rapid.IntRange(0, 2).Draw(t, "nested") > 0 {
			p.parent = rapid.IntRange(0, i-1).Draw(t, "parent")
		}
		for _, class := range testClasses {
			if rapid.IntRange(0, 3).Draw(t, "has "+class) == 0 {
				continue
			}
			inv := placement.Inventory{Class: class, Total: rapid.Int64Range(1, 6).Draw(t, "total"), MinUnit: rapid.SampledFrom([]int64{1, 1, 1, 2}).Draw(t, "min"), MaxUnit: rapid.SampledFrom([]int64{100, 100, 3}).Draw(t, "max"),
				StepSize: rapid.SampledFrom([]int64{1, 1, 1, 2}).Draw(t, "step"), Ratio: rapid.SampledFrom([]float64{1, 1, 1.5}).Draw(t, "ratio")}
			inv.Reserved = rapid.Int64Range(0, inv.Total/2).Draw(t, "reserved")
			p.inv[class] = inv
		}
		p.traits = rapid.SliceOfNDistinct(rapid.SampledFrom(testTraits), 0, 2, rapid.ID[string]).Draw(t, "traits")
		if rapid.IntRange(0, 3).Draw(t, "shares") == 0 {
			p.traits = append(p.traits, placement.SharesViaAggregate)
		}
		p.aggs = rapid.SliceOfNDistinct(rapid.SampledFrom(testAggs), 0, 2, rapid.ID[string]).Draw(t, "aggregates")
		w = append(w, p)
	}
	return w
}

func drawWish(t *rapid.T) placement.Wish {
	var w placement.Wish
	traitSets := rapid.SliceOfN(rapid.SliceOfNDistinct(rapid.SampledFrom(testTraits), 1, 2, rapid.ID[string]), 0, 2)
	few := func(from []string) *rapid.Generator[[]string] {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 0, 1, rapid.ID[string])
	}
	rare := func(name string) bool { return rapid.IntRange(0, 3).Draw(t, name) == 0 }
	suffixes := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"", "", "_A", "_B", "1"}), 1, 3, rapid.ID[string]).Draw(t, "suffixes")
	demands := false
	for _, suffix := range suffixes {
		g := placement.Group{Suffix: suffix, Resources: map[string]int64{}}
		least := 1
		if suffix != "" {
			least = 0
		}
		for _, class := range rapid.SliceOfNDistinct(rapid.SampledFrom(testClasses), least, 2, rapid.ID[string]).Draw(t, "classes") {
			g.Resources[class] = rapid.Int64Range(1, 4).Draw(t, "amount")
			demands = true
		}
		if rare("traits") {
			g.Required = traitSets.Draw(t, "required")
		}
		if rare("forbids") {
			g.Forbidden = few(testTraits).Draw(t, "forbidden")
		}
		if rare("members") {
			g.MemberOf = rapid.SliceOfN(rapid.SliceOfNDistinct(rapid.SampledFrom(testAggs), 1, 2, rapid.ID[string]), 0, 2).Draw(t, "member_of")
		}
		if rare("not members") {
			g.NotMember = few(testAggs).Draw(t, "not member_of")
		}
		if rare("in tree") {
			g.InTree = fmt.Sprintf("rp%d", rapid.IntRange(0, 6).Draw(t, "in_tree"))
		}
		w.Groups = append(w.Groups, g)
	}
	if !demands {
		w.Groups[0].Resources["VCPU"] = 1
	}
	named := slices.DeleteFunc(slices.Clone(suffixes), func(s string) bool { return s == "" })
	if len(named) > 0 && rapid.Bool().Draw(t, "subtree") {
		w.SameSubtree = [][]string{named}
	}
	w.Isolate, w.Flat = rapid.Bool().Draw(t, "isolate"), rare("flat")
	if rare("root") {
		w.RootRequired, w.RootForbidden = few(testTraits).Draw(t, "root_required"), few(testTraits).Draw(t, "root forbidden")
	}
	return w
}

// store writes a world to an emptied database and takes what draw says of its inventories.
func store(ctx context.Context, tx *db.Tx, w world, draw func(most int64) int64) error {
	for _, table := range []string{"allocations", "consumers", "inventories", "resource_providers"} {
		if _, err := tx.Exec(ctx, "DELETE FROM "+table); err != nil {
			return err
		}
	}
	for _, t := range testTraits {
		if _, err := placement.Traits.Create(ctx, tx, t); err != nil {
			return err
		}
	}
	for i := range w {
		p, parent := &w[i], ""
		if p.parent >= 0 {
			parent = w[p.parent].id
		}
		if err := placement.CreateProvider(ctx, tx, p.id, "name of "+p.id, parent); err != nil {
			return err
		}
		if err := placement.SetInventory(ctx, tx, p.id, slices.Collect(maps.Values(p.inv))...); err != nil {
			return err
		}
		if err := placement.SetTraits(ctx, tx, p.id, -1, p.traits); err != nil {
			return err
		}
		if err := placement.SetAggregates(ctx, tx, p.id, -1, p.aggs); err != nil {
			return err
		}
		for _, class := range testClasses {
			inv, ok := p.inv[class]
			if !ok {
				continue
			}
			inv.Used = draw(int64(float64(inv.Total-inv.Reserved) * inv.Ratio))
			p.inv[class] = inv
			if inv.Used == 0 {
				continue
			}
			c := placement.Consumer{ID: p.id + class, ProjectID: "p", UserID: "u"}
			if err := placement.SetInventory(ctx, tx, p.id, func() placement.Inventory { x := inv; x.MaxUnit = 1000; return x }()); err != nil {
				return err
			}
			if err := placement.Claim(ctx, tx, c, p.id, map[string]int64{class: inv.Used}); err != nil {
				return err
			}
			if err := placement.SetInventory(ctx, tx, p.id, inv); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestCandidatesAreThoseOfBruteForce is the differential test of the engine against brute above: equal sets, each candidate once, and a limit gives that many of
// them.
func TestCandidatesAreThoseOfBruteForce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) {
		ctx := context.Background()
		deadline := time.Now().Add(time.Hour)
		if d.Shared() { // a database of its own for each world is written there more slowly
			deadline = time.Now().Add(4 * time.Second)
		}
		rich := 0
		rapid.Check(t, func(rt *rapid.T) {
			if time.Now().After(deadline) {
				return
			}
			w := drawWorld(rt)
			require.NoError(rt, d.Write(ctx, func(tx *db.Tx) error {
				return store(ctx, tx, w, func(most int64) int64 { return max(0, rapid.Int64Range(-2, most/2).Draw(rt, "used")) })
			}))
			require.NoError(rt, d.Read(ctx, func(tx *db.Tx) error {
				for range 4 {
					wish := drawWish(rt)
					want := brute(w, wish)
					found, err := placement.Candidates(ctx, tx, wish)
					require.NoError(rt, err)
					got := map[string]bool{}
					for _, c := range found {
						got[show(c.Resources, c.Mappings)] = true
					}
					require.Len(rt, found, len(got), "the same candidate twice")
					require.Equal(rt, want, got, "%+v\n%+v", w, wish)
					if len(want) > 1 {
						rich++
						wish.Limit = rapid.IntRange(1, len(want)).Draw(rt, "limit")
						some, err := placement.Candidates(ctx, tx, wish)
						require.NoError(rt, err)
						require.Len(rt, some, wish.Limit)
					}
				}
				return nil
			}))
		})
		require.Positive(t, rich, "no wish had several candidates")
	})
}

// TestTooManyCandidates: what would take for ever is refused in words, and a limit makes it quick.
func TestTooManyCandidates(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t, rooms...)
	ctx := context.Background()
	w := world{{id: "root", parent: -1}}
	for i := range 9 {
		w = append(w, prov{id: fmt.Sprintf("pf%d", i), inv: map[string]placement.Inventory{"VCPU": {Class: "VCPU", Total: 100, MinUnit: 1, MaxUnit: 100, StepSize: 1, Ratio: 1}}})
	}
	require.NoError(t, d.Write(ctx, func(tx *db.Tx) error { return store(ctx, tx, w, func(int64) int64 { return 0 }) }))
	var wish placement.Wish
	for i := range 9 {
		wish.Groups = append(wish.Groups, placement.Group{Suffix: fmt.Sprint(i + 1), Resources: map[string]int64{"VCPU": 1}})
	}
	require.NoError(t, d.Read(ctx, func(tx *db.Tx) error {
		_, err := placement.Candidates(ctx, tx, wish)
		require.Equal(t, fault.KindInvalid, fault.KindOf(err))
		require.True(t, strings.Contains(err.Error(), "limit"), err)
		wish.Limit = 10
		some, err := placement.Candidates(ctx, tx, wish)
		require.Len(t, some, 10)
		return err
	}))
}
