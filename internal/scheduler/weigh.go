package scheduler

import (
	"slices"
	"strconv"
)

// A weigher gives each host a number; over all fitting hosts the numbers are scaled to 0…1, multiplied, and summed (Nova's normalisation). More is
// better. One of static, kind and dynamic is set.
type weigher struct {
	name       string
	multiplier float64 // when configuration says nothing
	// static depends on the host alone; it is called when the host changes and its values are kept in columns.
	static func(h *Host) int
	// kind depends on what describe says of the host, and on the request; it is called once for each kind of host. nil: it says nothing about this request.
	kind func(r *Request) func(h *Host) int
	// dynamic gives the function for a request; nil: it says nothing about this one.
	dynamic func(r *Request) func(h *Host) int
}

// statics is the number of static weighers, which come first.
const statics = 6

// weighers in the order in which their scores are summed. Multipliers are Nova's, but that a soft group policy outweighs load (Nova's 1.0 lets the emptiest
// host win over it) as a failed build outweighs both.
var weighers = [...]weigher{weighRAM, weighCPU, weighDisk, weighIOOps, weighInstances, weighFailures, weighVersion, weighSoftAffinity, weighSoftAntiAffinity, weighPCI, weighImageProps}

// Multiplier is what a weigher's score is multiplied with when configuration says nothing; false: there is no such weigher.
func Multiplier(name string) (float64, bool) {
	for i := range weighers {
		if weighers[i].name == name {
			return weighers[i].multiplier, true
		}
	}
	return 0, false
}

// scale is one weigher at work: its bounds over the fitting hosts and what a step between them is worth.
type scale struct {
	column     int               // of a static weigher
	value      func(h *Host) int // of a dynamic one
	byKind     []int             // of a weigher of kinds: its values
	multiplier float64
	// times are multipliers by kind of host, where an aggregate sets its own (metadata NAME_weight_multiplier); nil: multiplier for all.
	times     []float64
	mostTimes float64 // of times
	lo, hi    int
	factor    float64
}

// scales picks the weighers that can tell hosts of these kinds apart for this request.
func scales(a *ask, kinds []*Host) []scale {
	out := make([]scale, 0, len(weighers))
	for i := range weighers {
		w := &weighers[i]
		m, ok := a.Multipliers[w.name]
		if !ok {
			m = w.multiplier
		}
		s := scale{column: i, multiplier: m}
		if a.metadata {
			s.overrides(w.name, kinds)
		}
		if m == 0 && s.times == nil {
			continue
		}
		switch {
		case w.kind != nil:
			if s.byKind = w.values(a.Request, kinds); s.byKind == nil {
				continue
			}
		case w.dynamic != nil:
			if s.value = w.dynamic(a.Request); s.value == nil {
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

// values are those of a weigher of kinds; nil when it says nothing, or the same of all.
func (w *weigher) values(r *Request, kinds []*Host) []int {
	value := w.kind(r)
	if value == nil || len(kinds) < 2 {
		return nil
	}
	out := make([]int, len(kinds))
	differ := false
	for k, h := range kinds {
		out[k] = value(h)
		differ = differ || out[k] != out[0]
	}
	if !differ {
		return nil
	}
	return out
}

// overrides reads the multipliers that aggregates set for their hosts; of several the least counts (Nova).
func (s *scale) overrides(name string, kinds []*Host) {
	for k, h := range kinds {
		least, found := 0.0, false
		for _, g := range h.Aggregates {
			if text, ok := g.Metadata[name+"_weight_multiplier"]; ok {
				if m, err := strconv.ParseFloat(text, 64); err == nil && (!found || m < least) {
					least, found = m, true
				}
			}
		}
		if !found {
			continue
		}
		if s.times == nil {
			s.times, s.mostTimes = slices.Repeat([]float64{s.multiplier}, len(kinds)), max(0, s.multiplier)
		}
		s.times[k], s.mostTimes = least, max(s.mostTimes, least)
	}
}

func (s *scale) widen(lo, hi int, first bool) {
	if first || lo < s.lo {
		s.lo = lo
	}
	if first || hi > s.hi {
		s.hi = hi
	}
}

// of is the value of host i of a chunk.
func (s *scale) of(c *chunk, i int) int {
	switch {
	case s.value != nil:
		return s.value(c.hosts[i])
	case s.byKind != nil:
		return s.byKind[c.kinds[i]]
	}
	return c.weights[s.column][i]
}

// settle makes factors of the bounds, once all fitting hosts are known.
func settle(all []scale) {
	for i := range all {
		s := &all[i]
		s.factor = 0
		switch {
		case s.hi <= s.lo:
		case s.times != nil:
			s.factor = 1 / float64(s.hi-s.lo)
		default:
			s.factor = s.multiplier / float64(s.hi-s.lo)
		}
	}
}

func (s *scale) worth(v int) float64 { return float64(float64(v-s.lo) * s.factor) }

// scores are those of all hosts of a chunk.
func scores(all []scale, c *chunk) (sums [chunkSize]float64) {
	for k := range all {
		s := &all[k]
		switch {
		case s.factor == 0:
		case s.times != nil:
			for i := range c.n {
				sums[i] += float64(s.worth(s.of(c, i)) * s.times[c.kinds[i]])
			}
		case s.byKind != nil:
			for i, kind := range c.kinds[:c.n] {
				sums[i] += s.worth(s.byKind[kind])
			}
		case s.value != nil:
			for i, h := range c.hosts[:c.n] {
				sums[i] += s.worth(s.value(h))
			}
		default:
			lo, factor := s.lo, s.factor
			for i, v := range c.weights[s.column][:c.n] {
				sums[i] += float64(float64(v-lo) * factor) // as worth rounds it: not fused with the sum on machines that could
			}
		}
	}
	return sums
}

// bound is no less than the score of any living host of a chunk: each term is no less than theirs, and the terms are summed in the same order.
func bound(all []scale, c *chunk) float64 {
	sum := 0.0
	for k := range all {
		s := &all[k]
		if s.times != nil { // a worth is between 0 and 1
			sum += s.mostTimes
			continue
		}
		lo, hi := s.lo, s.hi
		if s.value == nil && s.byKind == nil {
			lo, hi = c.lo[s.column], c.hi[s.column]
		}
		sum += max(s.worth(lo), s.worth(hi))
	}
	return sum
}
