package scheduler

// weighCPU: more free vCPUs are better.
var weighCPU = weigher{name: "cpu", multiplier: 1, static: func(h *Host) int { return h.free().VCPUs }}
