package scheduler

// computeFilter keeps hosts whose service is enabled and up.
var computeFilter = filter{name: "ComputeFilter", always: true, room: true, prepare: func(*ask) *check {
	return &check{alive: true, why: func(h *Host) string {
		switch {
		case h.Why != "":
			return h.Why
		case !h.Enabled:
			return "disabled"
		}
		return "down"
	}}
}}
