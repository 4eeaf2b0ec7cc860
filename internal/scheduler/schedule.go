package scheduler

import "slices"

// Choice is the decision about one server. Host is "" when none fits.
type Choice struct {
	Host        string
	Alternates  []string // next best, at most two
	Explanation Explanation
}

// alternates is how many further hosts a Choice names.
const alternates = 2

// Schedule places n equal servers one after the other, each claim seen by the next. It returns n choices; after the first without a host the
// rest have none either, with the same explanation. The same input gives the same output.
func Schedule(s Snapshot, r Request, c *Config, n int) []Choice {
	fs := active(&r, c)
	out := make([]Choice, 0, n)
	hosts := s.hosts
	if n > 1 {
		hosts = slices.Clone(hosts)
		r.GroupHosts = cloneCounts(r.GroupHosts)
	}
	fit := make([]*Host, 0, len(hosts))
	at := make([]int, 0, len(hosts)) // index in hosts of each fitting host
	scores := make([]float64, len(hosts))
	for len(out) < n {
		ex := Explanation{Considered: len(hosts)}
		fit, at = fit[:0], at[:0]
		for i, h := range hosts {
			if f := refusedBy(h, &r, c, fs); f != nil {
				ex.remove(f, h, &r)
				continue
			}
			fit, at = append(fit, h), append(at, i)
		}
		ex.Fit = len(fit)
		if len(fit) == 0 {
			for len(out) < n {
				out = append(out, Choice{Explanation: ex})
			}
			return out
		}
		weigh(fit, &r, c, scores[:len(fit)])
		best := top(fit, scores[:len(fit)], r.Seed+uint64(len(out)))
		ch := Choice{Host: fit[best[0]].Name, Explanation: ex}
		for _, b := range best {
			ch.Explanation.Best = append(ch.Explanation.Best, Weighed{fit[b].Name, scores[b]})
			if b != best[0] {
				ch.Alternates = append(ch.Alternates, fit[b].Name)
			}
		}
		out = append(out, ch)
		if len(out) < n {
			h := *fit[best[0]]
			h.Used = h.Used.plus(r.Resources, 1)
			h.Instances++
			h.IOOps++
			hosts[at[best[0]]] = &h
			if r.Policy != "" {
				r.GroupHosts[h.Name]++
				fs = active(&r, c) // the first member of an affinity group ties the rest
			}
		}
	}
	return out
}

func cloneCounts(m map[string]int) map[string]int {
	out := make(map[string]int, len(m)+1)
	for k, v := range m {
		out[k] = v
	}
	return out
}

// refusedBy gives the first filter that the host does not pass.
func refusedBy(h *Host, r *Request, c *Config, fs []*filter) *filter {
	if r.Forced != "" && h.Name != r.Forced {
		return &forcedFilter
	}
	for _, f := range fs {
		if !f.pass(h, r, c) {
			return f
		}
	}
	return nil
}

var forcedFilter = filter{name: "ForcedHost", why: func(_ *Host, r *Request) string { return "host " + r.Forced + " was asked for" }}

// top finds the best hosts, at most 1 + alternates; among equals the one that seed points to, so that a thousand equal hosts are not filled
// from the first on by everybody at once.
func top(hosts []*Host, scores []float64, seed uint64) []int {
	n := len(hosts)
	start := int(seed % uint64(n))
	best := make([]int, 0, 1+alternates)
	for k := range n {
		i := start + k
		if i >= n {
			i -= n
		}
		if len(best) == cap(best) && scores[i] <= scores[best[len(best)-1]] {
			continue
		}
		pos := len(best)
		for pos > 0 && scores[best[pos-1]] < scores[i] {
			pos--
		}
		if len(best) == cap(best) {
			best = best[:len(best)-1]
		}
		best = slices.Insert(best, pos, i)
	}
	return best
}
