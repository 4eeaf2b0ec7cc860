package scheduler

// weighSoftAntiAffinity: where fewer of the server's group are is better.
var weighSoftAntiAffinity = weigher{name: "soft_anti_affinity", multiplier: 1e3, dynamic: func(r *Request) func(*Host) int {
	if r.Policy != SoftAntiAffinity {
		return nil
	}
	return func(h *Host) int { return -r.GroupHosts[h.Name] }
}}
