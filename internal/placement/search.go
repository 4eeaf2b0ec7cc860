package placement

import (
	"encoding/binary"
	"maps"
	"slices"

	"nephos/internal/fault"
)

// patience bounds the steps of one search: a few seconds at worst. Candidates of nested providers multiply (eight groups over eight providers are sixteen million
// combinations), and nobody can use so many.
const patience = 1_000_000

// keepSteps is what a candidate costs more than a step: it is built, and written out as JSON.
const keepSteps = 10

// searcher goes through one tree after the other, and in each through the places where providers must be chosen.
type searcher struct {
	*Wish
	places []place // in the order in which they are filled
	due    [][]int // by place: the same_subtree lists whose last group is filled there
	seen   map[string]bool
	out    []Candidate
	steps  int
	before int // candidates of earlier trees

	tree   *tree
	chosen []*node                    // by place
	held   map[*node]map[string]int64 // what the places filled so far take
}

// place is where one provider must be chosen: a class of the group without suffix, or a whole group with one.
type place struct {
	group   *Group
	class   string // of the group without suffix
	last    bool   // of its group
	options []*node
}

// search gives all candidates, or the first Limit of them.
func (f *forest) search(w Wish) ([]Candidate, error) {
	s := &searcher{Wish: &w, seen: map[string]bool{}}
	s.plan()
	for _, g := range w.Groups {
		if g.InTree != "" && f.byID[g.InTree] == nil {
			return nil, nil
		}
	}
	for _, t := range f.trees {
		if w.Tree != "" && w.Tree != t.root.ID || !s.rootSuits(t.root) || !s.enter(f, t) {
			continue
		}
		s.before = len(s.out)
		s.fill(0)
		if s.steps > patience {
			return nil, fault.Invalid("resources", "Too many combinations of resource providers: add limit, or ask for fewer groups.")
		}
		if s.full() {
			break
		}
	}
	return s.out, nil
}

// done says that the search, or that of the present tree, is over.
func (s *searcher) done() bool {
	return s.full() || s.OnePerTree && len(s.out) > s.before
}

func (s *searcher) full() bool { return s.Limit > 0 && len(s.out) >= s.Limit || s.steps > patience }

// plan lays out the places. Groups with suffixes come first: they have fewer options.
func (s *searcher) plan() {
	filled := map[string]int{}
	for i := range s.Groups {
		if g := &s.Groups[i]; g.Suffix != "" {
			filled[g.Suffix] = len(s.places)
			s.places = append(s.places, place{group: g, last: true})
		}
	}
	for i := range s.Groups {
		if g := &s.Groups[i]; g.Suffix == "" {
			for class := range sorted(g.Resources) {
				s.places = append(s.places, place{group: g, class: class})
			}
			s.places[len(s.places)-1].last = true
		}
	}
	s.due = make([][]int, len(s.places))
	for i, suffixes := range s.SameSubtree {
		at := 0
		for _, x := range suffixes {
			at = max(at, filled[x])
		}
		s.due[at] = append(s.due[at], i)
	}
	s.chosen = make([]*node, len(s.places))
}

func (s *searcher) rootSuits(root *node) bool {
	return !slices.ContainsFunc(s.RootRequired, func(t string) bool { return !root.has(t) }) && !slices.ContainsFunc(s.RootForbidden, root.has)
}

// enter finds the options of every place in a tree; false when a place has none.
func (s *searcher) enter(f *forest, t *tree) bool {
	s.tree, s.held = t, map[*node]map[string]int64{}
	for i := range s.places {
		p := &s.places[i]
		p.options = p.options[:0]
		var within *node
		if p.group.InTree != "" {
			within = f.byID[p.group.InTree].root
		}
		for _, n := range t.own {
			if s.suits(p, n, t.root, within) {
				p.options = append(p.options, n)
			}
		}
		for _, n := range t.sharing {
			if s.suits(p, n, t.root, within) {
				p.options = append(p.options, n)
			}
		}
		if len(p.options) == 0 {
			return false
		}
	}
	return true
}

// suits says whether a provider alone could fill a place. within is the root of in_tree.
func (s *searcher) suits(p *place, n, root, within *node) bool {
	g := p.group
	if within != nil && n.root != within || slices.ContainsFunc(g.Forbidden, n.has) {
		return false
	}
	member := func(aggregates []string) bool {
		// Of the group without suffix the root speaks for its own tree, but not for a provider that shares with it.
		return n.in(aggregates) || p.class != "" && n.root == root && root.in(aggregates)
	}
	for _, anyOf := range g.MemberOf {
		if !member(anyOf) {
			return false
		}
	}
	if len(g.NotMember) > 0 && (n.in(g.NotMember) || p.class != "" && root.in(g.NotMember)) {
		return false
	}
	if p.class != "" {
		return n.fits(p.class, g.Resources[p.class], 0)
	}
	for class, amount := range g.Resources {
		if !n.fits(class, amount, 0) {
			return false
		}
	}
	return !slices.ContainsFunc(g.Required, func(anyOf []string) bool { return !slices.ContainsFunc(anyOf, n.has) })
}

// fill tries every option of place k and goes on to the next.
func (s *searcher) fill(k int) {
	if k == len(s.places) {
		s.keep()
		return
	}
	p := &s.places[k]
	for _, n := range p.options {
		if s.steps++; s.done() {
			return
		}
		if !s.take(p, n) {
			continue
		}
		s.chosen[k] = n
		if s.holds(k) {
			s.fill(k + 1)
		}
		s.giveBack(p, n)
	}
}

// take adds to what is held of a provider; false, and nothing taken, when that does not fit together.
func (s *searcher) take(p *place, n *node) bool {
	amounts := p.group.Resources
	if p.class != "" {
		amounts = map[string]int64{p.class: amounts[p.class]}
	}
	held := s.held[n]
	for class, amount := range amounts {
		if !n.fits(class, amount, held[class]) {
			return false
		}
	}
	if held == nil {
		held = map[string]int64{}
		s.held[n] = held
	}
	for class, amount := range amounts {
		held[class] += amount
	}
	return true
}

func (s *searcher) giveBack(p *place, n *node) {
	if p.class != "" {
		s.held[n][p.class] -= p.group.Resources[p.class]
		return
	}
	for class, amount := range p.group.Resources {
		s.held[n][class] -= amount
	}
}

// holds checks what binds place k and those before it to each other.
func (s *searcher) holds(k int) bool {
	p := &s.places[k]
	if p.class == "" && s.Isolate && slices.Contains(s.chosen[:k], s.chosen[k]) { // all before are groups with suffixes
		return false
	}
	if p.class != "" && p.last && !s.together(p.group) {
		return false
	}
	for _, i := range s.due[k] {
		if !s.subtree(s.SameSubtree[i]) {
			return false
		}
	}
	if s.Flat {
		for _, n := range s.chosen[:k] {
			if n != s.chosen[k] && n.root == s.chosen[k].root {
				return false
			}
		}
	}
	return true
}

// together says whether the providers of the group without suffix have the required traits between them.
func (s *searcher) together(g *Group) bool {
	for _, anyOf := range g.Required {
		found := false
		for i := range s.places {
			found = found || s.places[i].group == g && slices.ContainsFunc(anyOf, s.chosen[i].has)
		}
		if !found {
			return false
		}
	}
	return true
}

// subtree says whether one of the providers of some groups is above all of them.
func (s *searcher) subtree(suffixes []string) bool {
	var nodes []*node
	for i := range s.places {
		if p := &s.places[i]; p.class == "" && slices.Contains(suffixes, p.group.Suffix) {
			nodes = append(nodes, s.chosen[i])
		}
	}
	return slices.ContainsFunc(nodes, func(top *node) bool {
		return !slices.ContainsFunc(nodes, func(n *node) bool { return !top.above(n) })
	})
}

// keep writes down what is chosen, unless another tree gave the same by sharing providers alone.
func (s *searcher) keep() {
	if s.again() {
		return
	}
	c := Candidate{Root: s.tree.root.ID, Resources: map[string]map[string]int64{}, Mappings: map[string][]string{}}
	for i := range s.places {
		n, suffix := s.chosen[i], s.places[i].group.Suffix
		if !slices.Contains(c.Mappings[suffix], n.ID) {
			c.Mappings[suffix] = append(c.Mappings[suffix], n.ID)
		}
		if c.Resources[n.ID] == nil {
			amounts := maps.Clone(s.held[n])
			maps.DeleteFunc(amounts, func(_ string, amount int64) bool { return amount == 0 })
			if len(amounts) > 0 {
				c.Resources[n.ID] = amounts
			}
		}
	}
	if len(c.Resources) == 0 {
		return
	}
	for _, ids := range c.Mappings {
		slices.Sort(ids)
	}
	s.out = append(s.out, c)
	s.steps += keepSteps
}

// again says whether an earlier tree gave the same choice; that can only be where all that was chosen is shared.
func (s *searcher) again() bool {
	if slices.ContainsFunc(s.chosen, func(n *node) bool { return !n.shares }) {
		return false
	}
	key := make([]byte, 0, 8*len(s.chosen))
	for _, n := range s.chosen {
		key = binary.AppendUvarint(key, uint64(n.place))
	}
	if s.seen[string(key)] {
		return true
	}
	s.seen[string(key)] = true
	return false
}
