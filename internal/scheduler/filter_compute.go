package scheduler

// computeFilter keeps hosts whose service is enabled and up.
var computeFilter = filter{name: "ComputeFilter", always: true, room: true, prepare: func(*ask) *check {
	return &check{column: func(c *chunk, i int) bool { return c.alive>>i&1 == 1 }, why: func(h *Host) string {
		switch {
		case h.Why != "":
			return h.Why
		case !h.Enabled:
			return "disabled"
		}
		return "down"
	}}
}}
