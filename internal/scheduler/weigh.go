package scheduler

// A weigher gives each host a number; over all fitting hosts the numbers are scaled to 0…1, multiplied, and summed (Nova's normalisation). More is
// better.
type weigher struct {
	name   string
	needed func(r *Request) bool // nil: always
	weight func(h *Host, r *Request) float64
}

var weighers = []weigher{
	{name: "ram", weight: func(h *Host, _ *Request) float64 { return float64(h.Capacity.RAMMiB - h.Used.RAMMiB) }},
	{name: "cpu", weight: func(h *Host, _ *Request) float64 { return float64(h.Capacity.VCPUs - h.Used.VCPUs) }},
	{name: "disk", weight: func(h *Host, _ *Request) float64 { return float64(h.Capacity.DiskGiB - h.Used.DiskGiB) }},
	{name: "io_ops", weight: func(h *Host, _ *Request) float64 { return float64(h.IOOps) }},
	{name: "num_instances", weight: func(h *Host, _ *Request) float64 { return float64(h.Instances) }},
	{name: "build_failure", weight: func(h *Host, _ *Request) float64 { return -float64(h.Failures) }},
	{name: "soft_affinity", needed: func(r *Request) bool { return r.Policy == SoftAffinity },
		weight: func(h *Host, r *Request) float64 { return float64(r.GroupHosts[h.Name]) }},
	{name: "soft_anti_affinity", needed: func(r *Request) bool { return r.Policy == SoftAntiAffinity },
		weight: func(h *Host, r *Request) float64 { return -float64(r.GroupHosts[h.Name]) }},
}

// DefaultMultipliers are Nova's. build_failure outweighs all others.
var DefaultMultipliers = map[string]float64{"ram": 1, "cpu": 1, "disk": 1, "io_ops": -1, "num_instances": 0, "build_failure": 1e6, "soft_affinity": 1e3, "soft_anti_affinity": 1e3}

// weigh scores the fitting hosts.
func weigh(hosts []*Host, r *Request, c *Config, scores []float64) {
	clear(scores)
	for i := range weighers {
		w := &weighers[i]
		m, ok := c.Multipliers[w.name]
		if !ok {
			m = DefaultMultipliers[w.name]
		}
		if m == 0 || w.needed != nil && !w.needed(r) {
			continue
		}
		lo, hi := 0.0, 0.0
		for j, h := range hosts {
			v := w.weight(h, r)
			if j == 0 || v < lo {
				lo = v
			}
			if j == 0 || v > hi {
				hi = v
			}
		}
		if hi == lo {
			continue
		}
		scale := m / (hi - lo)
		for j, h := range hosts {
			scores[j] += (w.weight(h, r) - lo) * scale
		}
	}
}
