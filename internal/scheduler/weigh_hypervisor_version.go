package scheduler

import (
	"strconv"
	"strings"
)

// weighVersion: a newer hypervisor is better, so that servers move up when hosts are upgraded one by one.
var weighVersion = weigher{name: "hypervisor_version", multiplier: 1, kind: func(*Request) func(*Host) int {
	return func(h *Host) int { return versionNumber(h.Capabilities["hypervisor_version"]) }
}}

// versionNumber makes one number of a version, as Nova does: 7.2.22 is 7002022. What is no number ends it.
func versionNumber(text string) int {
	n, parts := 0, strings.SplitN(text, ".", 4)
	for i := range 3 {
		n *= 1000
		if i < len(parts) {
			x, err := strconv.Atoi(parts[i])
			if err != nil {
				x, parts = 0, nil
			}
			n += min(x, 999)
		}
	}
	return n
}
