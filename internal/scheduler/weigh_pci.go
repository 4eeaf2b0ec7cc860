package scheduler

// weighPCI: hosts with PCI devices are for servers that ask for some; all others are better without.
var weighPCI = weigher{name: "pci", multiplier: 1, kind: func(r *Request) func(*Host) int {
	if r.ExtraSpecs["pci_passthrough:alias"] != "" {
		return nil // all hosts that are left have them
	}
	return func(h *Host) int { return -len(h.Devices) }
}}
