package scheduler

// weighInstances: by the number of servers; off unless configured, as in Nova.
var weighInstances = weigher{name: "num_instances", multiplier: 0, static: func(h *Host) int { return h.Instances }}
