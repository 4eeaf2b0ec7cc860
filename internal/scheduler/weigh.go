package scheduler

// A weigher gives each host a number; over all fitting hosts the numbers are scaled to 0…1, multiplied, and summed (Nova's normalisation). More is
// better. Either static or dynamic is set.
type weigher struct {
	name       string
	multiplier float64 // when configuration says nothing
	// static depends on the host alone; it is called when the host changes and its values are kept in columns.
	static func(h *Host) int
	// dynamic gives the function for a request; nil: it says nothing about this one.
	dynamic func(r *Request) func(h *Host) int
}

// statics is the number of static weighers, which come first.
const statics = 6

// weighers in the order in which their scores are summed. Multipliers are Nova's, but that a soft group policy outweighs load (Nova's 1.0 lets the emptiest
// host win over it) as a failed build outweighs both.
var weighers = [...]weigher{weighRAM, weighCPU, weighDisk, weighIOOps, weighInstances, weighFailures, weighSoftAffinity, weighSoftAntiAffinity}

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
	multiplier float64
	lo, hi     int
	factor     float64
}

// scales picks the weighers that can tell hosts apart for this request.
func scales(r *Request, c *Config) []scale {
	out := make([]scale, 0, len(weighers))
	for i := range weighers {
		w := &weighers[i]
		m, ok := c.Multipliers[w.name]
		if !ok {
			m = w.multiplier
		}
		if m == 0 {
			continue
		}
		s := scale{column: i, multiplier: m}
		if w.static == nil {
			if s.value = w.dynamic(r); s.value == nil {
				continue
			}
		}
		out = append(out, s)
	}
	return out
}

func (s *scale) widen(lo, hi int, first bool) {
	if first || lo < s.lo {
		s.lo = lo
	}
	if first || hi > s.hi {
		s.hi = hi
	}
}

// settle makes factors of the bounds, once all fitting hosts are known.
func settle(all []scale) {
	for i := range all {
		s := &all[i]
		s.factor = 0
		if s.hi > s.lo {
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
		lo, hi := s.lo, s.hi
		if s.value == nil {
			lo, hi = c.lo[s.column], c.hi[s.column]
		}
		sum += max(s.worth(lo), s.worth(hi))
	}
	return sum
}
