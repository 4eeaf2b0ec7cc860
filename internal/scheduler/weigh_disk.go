package scheduler

// weighDisk: more free disk is better.
var weighDisk = weigher{name: "disk", multiplier: 1, static: func(h *Host) int { return h.free().DiskGiB }}
