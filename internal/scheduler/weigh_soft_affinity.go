package scheduler

// weighSoftAffinity: where more of the server's group are is better.
var weighSoftAffinity = weigher{name: "soft_affinity", multiplier: 1e3, dynamic: func(r *Request) func(*Host) int {
	if r.Policy != SoftAffinity {
		return nil
	}
	return func(h *Host) int { return r.GroupHosts[h.Name] }
}}
