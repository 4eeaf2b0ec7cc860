package scheduler

import (
	"maps"
	"math/bits"
	"slices"
)

// Choice is the decision about one server. Host is "" when none fits.
type Choice struct {
	Host        string
	Alternates  []string // next best, at most two
	Explanation Explanation
}

// Err is a *NoValidHost when there is no host.
func (c Choice) Err() error {
	if c.Host != "" {
		return nil
	}
	return &NoValidHost{c.Explanation}
}

// alternates is how many further hosts a Choice names.
const alternates = 2

// Schedule places n equal servers one after the other, each claim seen by the next. It returns n choices; after the first without a host the rest have none
// either, with the same explanation. The same input gives the same output. c may be nil.
func Schedule(s Snapshot, r Request, c *Config, n int) []Choice {
	if c == nil {
		c = &Config{}
	}
	r.Resources = Resources{max(0, r.VCPUs), max(0, r.RAMMiB), max(0, r.DiskGiB)}
	if n > 1 && r.Policy != "" {
		r.GroupHosts = maps.Clone(r.GroupHosts)
		if r.GroupHosts == nil {
			r.GroupHosts = map[string]int{}
		}
	}
	w := &search{table: &Table{chunks: s.chunks, kinds: s.kinds, shared: true}, request: &r, config: c}
	w.prepare()
	out := make([]Choice, 0, n)
	for len(out) < n {
		ex := w.filter()
		if ex.Fit == 0 {
			for len(out) < n {
				out = append(out, Choice{Explanation: ex})
			}
			return out
		}
		best := w.best(r.Seed + uint64(len(out)))
		ch := Choice{Host: best[0].host().Name}
		for i, b := range best {
			ex.Best = append(ex.Best, Weighed{b.host().Name, b.score})
			if i > 0 {
				ch.Alternates = append(ch.Alternates, b.host().Name)
			}
		}
		ch.Explanation = ex
		out = append(out, ch)
		if len(out) < n {
			w.claim(best[0])
		}
	}
	return out
}

// search is the work on one request.
type search struct {
	table   *Table // of this search only
	request *Request
	config  *Config

	checks []running
	scales []scale
	masks  []uint64 // by chunk: a bit for each host that fits
	found  [1 + alternates]candidate
}

// running is a check at work on this snapshot.
type running struct {
	check
	tally tally
	// bad are the kinds of hosts that do not pass, for filters marked kind; nil when all do.
	bad []bool
	// named has a bit for each host that names gives, by chunk.
	named []uint64
}

type candidate struct {
	chunk *chunk
	k, i  int // chunk k, host i
	score float64
}

func (c *candidate) host() *Host { return c.chunk.hosts[c.i] }

// prepare makes checks and scales of the request as it is now.
func (w *search) prepare() {
	a := &ask{Request: w.request, Config: w.config}
	for _, h := range w.table.kinds {
		a.metadata = a.metadata || slices.ContainsFunc(h.Aggregates, func(g *Aggregate) bool { return len(g.Metadata) > 0 })
	}
	prepared := checks(a)
	w.checks = make([]running, len(prepared))
	for i := range prepared {
		ck := &w.checks[i]
		ck.check = prepared[i]
		if !ck.filter.kind {
			continue
		}
		bad := make([]bool, len(w.table.kinds))
		for k, h := range w.table.kinds {
			if !ck.pass(h) {
				bad[k] = true
				ck.bad = bad
			}
		}
	}
	w.masks = make([]uint64, len(w.table.chunks))
	w.scales = scales(a, w.table.kinds)
}

// filter finds the hosts that fit, and the bounds of their weights.
func (w *search) filter() Explanation {
	for i := range w.checks {
		ck := &w.checks[i]
		ck.tally = tally{}
		if ck.names != nil {
			w.look(ck)
		}
	}
	var ex Explanation
	for k, c := range w.table.chunks {
		mask := c.fitting(w.request.Resources)
		for i := range w.checks {
			if ck := &w.checks[i]; !ck.filter.room {
				mask &^= ck.refused(k, c, mask)
			}
		}
		w.attribute(k, c, c.full()&^mask)
		w.masks[k] = mask
		ex.Considered += c.n
		if mask != 0 {
			w.widen(c, mask, ex.Fit == 0)
			ex.Fit += bits.OnesCount64(mask)
		}
	}
	settle(w.scales)
	ex.Removed = removals(w.checks)
	return ex
}

// look finds the hosts that a check names.
func (w *search) look(ck *running) {
	if ck.named == nil {
		ck.named = make([]uint64, len(w.table.chunks))
	}
	clear(ck.named)
	for _, name := range ck.names() {
		if k, i, ok := w.table.find(name); ok {
			ck.named[k] |= 1 << i
		}
	}
}

// refused gives those hosts of a mask of chunk k that do not pass.
func (ck *running) refused(k int, c *chunk, mask uint64) (out uint64) {
	switch {
	case ck.alive:
		return mask &^ c.alive
	case ck.names != nil && ck.only:
		return mask &^ ck.named[k]
	case ck.names != nil:
		return mask & ck.named[k]
	case ck.column != nil:
		column := ck.column(c)
		for m := mask; m != 0; m &= m - 1 {
			if i := bits.TrailingZeros64(m); ck.need > column[i] {
				out |= 1 << i
			}
		}
	case ck.filter.kind:
		if ck.bad == nil {
			return 0
		}
		if c.oneKind {
			if ck.bad[c.kinds[0]] {
				return mask
			}
			return 0
		}
		for m := mask; m != 0; m &= m - 1 {
			if i := bits.TrailingZeros64(m); ck.bad[c.kinds[i]] {
				out |= 1 << i
			}
		}
	default:
		for m := mask; m != 0; m &= m - 1 {
			if i := bits.TrailingZeros64(m); !ck.pass(c.hosts[i]) {
				out |= 1 << i
			}
		}
	}
	return out
}

// attribute counts the refused hosts of chunk k, each for the first filter that refuses it.
func (w *search) attribute(k int, c *chunk, out uint64) {
	for i := 0; i < len(w.checks) && out != 0; i++ {
		ck := &w.checks[i]
		if refused := ck.refused(k, c, out); refused != 0 {
			ck.tally.add(&ck.check, c, refused)
			out &^= refused
		}
	}
}

// widen brings the fitting hosts of a chunk into the bounds of the weights; first says that none fitted before.
func (w *search) widen(c *chunk, mask uint64, first bool) {
	for k := range w.scales {
		s := &w.scales[k]
		switch {
		case s.value != nil || s.byKind != nil:
			fresh := first
			for m := mask; m != 0; m &= m - 1 {
				v := s.of(c, bits.TrailingZeros64(m))
				s.widen(v, v, fresh)
				fresh = false
			}
		case mask == c.alive:
			s.widen(c.lo[s.column], c.hi[s.column], first)
		default:
			lo, hi := bounds(&c.weights[s.column], mask)
			s.widen(lo, hi, first)
		}
	}
}

// best finds the best hosts, at most 1 + alternates; among equals those that seed points to, so that a thousand equal hosts are not filled from the
// first on by everybody at once.
func (w *search) best(seed uint64) []candidate {
	chunks := w.table.chunks
	n := uint64(len(chunks))
	found := w.found[:0]
	for step := range chunks {
		k := int((seed%n + uint64(step)) % n)
		c, mask := chunks[k], w.masks[k]
		if mask == 0 || len(found) == cap(found) && bound(w.scales, c) <= found[len(found)-1].score {
			continue
		}
		start := seed / n % uint64(c.n)
		late := mask >> start << start
		sums := scores(w.scales, c)
		for _, m := range [2]uint64{late, mask &^ late} {
			for ; m != 0; m &= m - 1 {
				i := bits.TrailingZeros64(m)
				if len(found) < cap(found) || sums[i] > found[len(found)-1].score {
					found = insert(found, candidate{c, k, i, sums[i]})
				}
			}
		}
	}
	return found
}

// insert puts x, better than the last of a full list, in order; of equals the one that came first stays before.
func insert(found []candidate, x candidate) []candidate {
	if len(found) == cap(found) {
		found = found[:len(found)-1]
	}
	found = append(found, x)
	for i := len(found) - 1; i > 0 && found[i-1].score < x.score; i-- {
		found[i-1], found[i] = found[i], found[i-1]
	}
	return found
}

// claim takes the server's share of the host that was chosen, for the servers that follow.
func (w *search) claim(c candidate) {
	h := *c.host()
	h.Used = h.Used.plus(w.request.Resources, 1)
	h.Instances++
	h.IOOps++
	w.table.put(c.k, c.i, &h, c.chunk.kinds[c.i])
	if w.request.Policy != "" {
		w.request.GroupHosts[h.Name]++
		if w.request.Policy == Affinity && w.request.GroupHosts[h.Name] == 1 { // the first member ties the rest
			w.prepare()
		}
	}
}
