package scheduler

// weighFailures: a host where builds failed lately comes last.
var weighFailures = weigher{name: "build_failure", multiplier: 1e6, static: func(h *Host) int { return -h.Failures }}
