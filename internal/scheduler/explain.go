package scheduler

import (
	"fmt"
	"math/bits"
	"strings"
)

// Explanation says how a decision came about.
type Explanation struct {
	Considered int       // hosts looked at: all of the snapshot
	Fit        int       // of them
	Removed    []Removal // in the order of the filters; a host counts for the first that refused it
	Best       []Weighed // the chosen host first
}

// Removal is what one filter did.
type Removal struct {
	Filter   string
	Hosts    int
	Reason   string    // true of all of them; "" when each has its own
	Examples []Example // a few of them
}

// Example is one host with the reason.
type Example struct{ Host, Why string }

// Weighed is a host with its score.
type Weighed struct {
	Host  string
	Score float64
}

// examples bounds the hosts named per filter.
const examples = 2

// tally counts what one check removes.
type tally struct {
	hosts    int
	largest  int // amount among them, for checks of amounts
	examples [examples]*Host
}

// add counts the hosts of a mask.
func (t *tally) add(ck *check, c *chunk, mask uint64) {
	if ck.column != nil {
		_, most := bounds(ck.column(c), mask)
		t.largest = max(t.largest, most)
	}
	for m := mask; m != 0 && t.hosts < examples; m &= m - 1 {
		t.examples[t.hosts] = c.hosts[bits.TrailingZeros64(m)]
		t.hosts++
		mask &= mask - 1
	}
	t.hosts += bits.OnesCount64(mask)
}

// removals puts tallies into words.
func removals(cs []running) []Removal {
	var out []Removal
	for i := range cs {
		t, c := &cs[i].tally, &cs[i].check
		if t.hosts == 0 {
			continue
		}
		r := Removal{Filter: c.filter.name, Hosts: t.hosts}
		switch {
		case c.column != nil:
			r.Reason = fmt.Sprintf("needs %d %s, largest free %d", c.need, c.unit, t.largest)
		case c.same:
			r.Reason = c.why(t.examples[0])
		}
		for _, h := range t.examples[:min(t.hosts, examples)] {
			r.Examples = append(r.Examples, Example{h.Name, c.why(h)})
		}
		out = append(out, r)
	}
	return out
}

// NoValidHost is the error of a Choice without a host.
type NoValidHost struct{ Explanation Explanation }

func (e *NoValidHost) Error() string { return e.Explanation.String() }

// String is one line for people, such as: No valid host was found. 12 hosts considered: ComputeFilter removed 5 (h1: disabled; h2: down; …), RamFilter removed
// 7 (needs 2048 MiB of RAM, largest free 512).
func (e Explanation) String() string {
	var b strings.Builder
	if e.Fit == 0 {
		b.WriteString("No valid host was found. ")
		if e.Considered == 0 {
			return b.String() + "There are no compute hosts."
		}
	}
	fmt.Fprintf(&b, "%d host%s considered", e.Considered, plural(e.Considered))
	for i, r := range e.Removed {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s removed %d (%s)", sep, r.Filter, r.Hosts, r.words())
	}
	if e.Fit > 0 {
		fmt.Fprintf(&b, ", %d fit; best", e.Fit)
		for i, w := range e.Best {
			if i > 0 {
				b.WriteString(",")
			}
			fmt.Fprintf(&b, " %s (%.2f)", w.Host, w.Score)
		}
	}
	return b.String()
}

// words gives the reason that all share, or examples.
func (r *Removal) words() string {
	if r.Reason != "" {
		return r.Reason
	}
	parts := make([]string, 0, examples+1)
	for _, x := range r.Examples {
		parts = append(parts, x.Host+": "+x.Why)
	}
	if r.Hosts > len(r.Examples) {
		parts = append(parts, "…")
	}
	return strings.Join(parts, "; ")
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
