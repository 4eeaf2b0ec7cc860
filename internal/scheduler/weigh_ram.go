package scheduler

// weighRAM: more free RAM is better; a negative multiplier packs.
var weighRAM = weigher{name: "ram", multiplier: 1, static: func(h *Host) int { return h.free().RAMMiB }}
