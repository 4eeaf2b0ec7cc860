package placement

import (
	"slices"
	"strings"
)

// node is a provider in a forest, with what decides about one wish.
type node struct {
	Provider
	place      int // in forest.nodes
	parent     *node
	root       *node
	stock      map[string]*Inventory // by class; nil: nothing that was asked for
	traits     []string
	aggregates []string
	shares     bool
}

func (n *node) has(trait string) bool { return slices.Contains(n.traits, trait) }

func (n *node) in(aggregates []string) bool {
	return slices.ContainsFunc(n.aggregates, func(a string) bool { return slices.Contains(aggregates, a) })
}

// above says whether n is m or one of m's ancestors.
func (n *node) above(m *node) bool {
	for ; m != nil; m = m.parent {
		if m == n {
			return true
		}
	}
	return false
}

// fits says whether n of a class fits beside what is taken of it already, by others and (held) by the candidate in the making.
func (n *node) fits(class string, amount, held int64) bool {
	i := n.stock[class]
	return i != nil && i.Used+held+amount <= i.Capacity && held+amount <= i.MaxUnit && amount >= i.MinUnit && amount%i.StepSize == 0
}

// tree is the providers that may serve one root: its own, and those that share with it.
type tree struct {
	root    *node
	own     []*node
	sharing []*node // of other trees
}

// forest is all providers.
type forest struct {
	byID  map[string]*node
	nodes []*node // by name
	trees []*tree // by the root's name
}

// newForest joins providers, which are in the order of their names, to trees.
func newForest(providers []Provider) *forest {
	f := &forest{byID: make(map[string]*node, len(providers)), nodes: make([]*node, len(providers))}
	all := make([]node, len(providers))
	for i, p := range providers {
		all[i].Provider, all[i].place = p, i
		f.nodes[i] = &all[i]
		f.byID[p.ID] = &all[i]
	}
	byRoot := map[*node]*tree{}
	for _, n := range f.nodes {
		n.parent, n.root = f.byID[n.ParentID], f.byID[n.RootID]
		if n.root == nil { // removed between two reads: it will be in no tree
			continue
		}
		t := byRoot[n.root]
		if t == nil {
			t = &tree{root: n.root}
			byRoot[n.root] = t
			f.trees = append(f.trees, t)
		}
		t.own = append(t.own, n)
	}
	slices.SortFunc(f.trees, func(a, b *tree) int { return strings.Compare(a.root.Name, b.root.Name) })
	return f
}

func (f *forest) stock(i Inventory) {
	n := f.byID[i.ProviderID]
	if n == nil {
		return
	}
	if n.stock == nil {
		n.stock = make(map[string]*Inventory, 4)
	}
	n.stock[i.Class] = &i
}

func (f *forest) describe(id, trait string) {
	if n := f.byID[id]; n != nil {
		n.traits = append(n.traits, trait)
		n.shares = n.shares || trait == SharesViaAggregate
	}
}

func (f *forest) join(id, aggregate string) {
	if n := f.byID[id]; n != nil {
		n.aggregates = append(n.aggregates, aggregate)
	}
}

// share makes the sharing providers known to the trees they serve: those with a member of one of their aggregates. Traits and aggregates are complete.
func (f *forest) share() {
	members := map[string]map[*node]bool{} // aggregate → roots of its members
	var sharing []*node
	for _, n := range f.nodes {
		if n.shares && len(n.aggregates) > 0 {
			sharing = append(sharing, n)
			for _, a := range n.aggregates {
				members[a] = map[*node]bool{}
			}
		}
	}
	if len(sharing) == 0 {
		return
	}
	for _, n := range f.nodes {
		for _, a := range n.aggregates {
			if roots := members[a]; roots != nil {
				roots[n.root] = true
			}
		}
	}
	for _, t := range f.trees {
		for _, s := range sharing {
			if s.root != t.root && slices.ContainsFunc(s.aggregates, func(a string) bool { return members[a][t.root] }) {
				t.sharing = append(t.sharing, s)
			}
		}
	}
}
