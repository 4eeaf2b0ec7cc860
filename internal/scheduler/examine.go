package scheduler

import (
	"cmp"
	"slices"
)

// Verdict is what a dry run says of one host.
type Verdict struct {
	Host    string
	Fits    bool
	Filter  string   // that refused it; "" when it fits
	Why     string   // in words
	Score   float64  // the sum of Weights
	Weights []Weight // of the weighers that can tell the fitting hosts apart
}

// Weight is what one weigher gave a host.
type Weight struct {
	Weigher string
	Raw     int     // the host's own number
	Worth   float64 // scaled over all fitting hosts and multiplied
}

// Examine looks at every host as Schedule would for one server and says what decides about it: fitting hosts first, the best of them first, then the others by name.
// It is for people: nothing of Schedule's speed, the same checks and weights.
func Examine(s Snapshot, r Request, c *Config) []Verdict {
	if c == nil {
		c = &Config{}
	}
	r.Resources = Resources{max(0, r.VCPUs), max(0, r.RAMMiB), max(0, r.DiskGiB)}
	w := &search{table: &Table{chunks: s.chunks, kinds: s.kinds, shared: true}, request: &r, config: c}
	w.prepare()
	w.filter()
	out := make([]Verdict, 0, s.Len())
	for k, ch := range w.table.chunks {
		for i, h := range ch.hosts[:ch.n] {
			v := Verdict{Host: h.Name, Fits: w.masks[k]>>i&1 == 1}
			if v.Fits {
				v.Weights = w.weights(ch, i)
				for _, x := range v.Weights {
					v.Score += x.Worth
				}
			} else {
				v.Filter, v.Why = w.why(k, ch, i)
			}
			out = append(out, v)
		}
	}
	slices.SortStableFunc(out, func(a, b Verdict) int {
		switch {
		case a.Fits == b.Fits:
			return cmp.Compare(b.Score, a.Score)
		case a.Fits:
			return -1
		}
		return 1
	})
	return out
}

// why finds the first check that refuses host i of chunk k.
func (w *search) why(k int, c *chunk, i int) (filter, why string) {
	for n := range w.checks {
		ck := &w.checks[n]
		if ck.refused(k, c, 1<<i) != 0 {
			return ck.filter.name, ck.why(c.hosts[i])
		}
	}
	return "", ""
}

// weights are what each weigher gives host i of a chunk.
func (w *search) weights(c *chunk, i int) []Weight {
	var out []Weight
	for k := range w.scales {
		s := &w.scales[k]
		if s.factor == 0 {
			continue
		}
		x := Weight{Weigher: weighers[s.column].name, Raw: s.of(c, i)}
		x.Worth = s.worth(x.Raw)
		if s.times != nil {
			x.Worth *= s.times[c.kinds[i]]
		}
		out = append(out, x)
	}
	return out
}
