package scheduler

import (
	"fmt"
	"strings"
)

// Explanation says how a decision came about.
type Explanation struct {
	Considered int
	Fit        int
	Removed    []Removal // in the order in which filters first removed a host
	Best       []Weighed // the chosen host first
}

// Removal is what one filter did.
type Removal struct {
	Filter   string
	Hosts    int
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

func (e *Explanation) remove(f *filter, h *Host, r *Request) {
	for i := range e.Removed {
		if rm := &e.Removed[i]; rm.Filter == f.name {
			rm.Hosts++
			if len(rm.Examples) < examples {
				rm.Examples = append(rm.Examples, Example{h.Name, f.why(h, r)})
			}
			return
		}
	}
	e.Removed = append(e.Removed, Removal{Filter: f.name, Hosts: 1, Examples: []Example{{h.Name, f.why(h, r)}}})
}

// String is one line for people.
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
		fmt.Fprintf(&b, "%s%s removed %d", sep, r.Filter, r.Hosts)
		for j, x := range r.Examples {
			if j == 0 {
				b.WriteString(" (")
			} else {
				b.WriteString("; ")
			}
			fmt.Fprintf(&b, "%s: %s", x.Host, x.Why)
		}
		if r.Hosts > len(r.Examples) {
			b.WriteString("; …")
		}
		b.WriteString(")")
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

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}
