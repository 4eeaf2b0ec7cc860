package scheduler

// weighIOOps: fewer builds under way are better, by its negative multiplier.
var weighIOOps = weigher{name: "io_ops", multiplier: -1, static: func(h *Host) int { return h.IOOps }}
