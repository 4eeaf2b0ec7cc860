package hostapi

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Layout is how a guest's processors and memory are to lie. The zero value leaves everything to the host: a socket for each processor, processors that float over the
// host's, and memory of the usual pages from anywhere.
type Layout struct {
	Sockets   int    `json:"sockets,omitempty"` // as the guest sees them; sockets × cores × threads are its processors. 0: a socket for each
	Cores     int    `json:"cores,omitempty"`
	Threads   int    `json:"threads,omitempty"`
	Dedicated bool   `json:"dedicated,omitempty"` // each processor has one of the host's for itself
	Nodes     []Node `json:"nodes,omitempty"`     // NUMA nodes of the guest, each on a NUMA node of the host of its own; nil: it has none
	// Pages is the size of the pages that the guest's memory is made of: KiB; LargestPages: the largest huge ones that the host has and that fit; 0: the usual ones.
	Pages int `json:"pages,omitempty"`
}

// LargestPages in Layout.Pages leaves the size of huge pages to the host.
const LargestPages = -1

// Node is one NUMA node of a guest.
type Node struct {
	CPUs   []int `json:"cpus"` // of the guest, rising
	RAMMiB int   `json:"ram_mib"`
}

// Free says that nothing but the shape that the guest sees is asked for: no processor, memory or page of the host in particular.
func (l Layout) Free() bool { return !l.Dedicated && len(l.Nodes) == 0 && l.Pages == 0 }

// ParseCPUs reads a list of processors such as "0-3,8,^2": ranges and single ones, and with ^ those that are taken out again (the kernel's form, and Nova's). The result rises.
func ParseCPUs(text string) ([]int, error) {
	in, out := map[int]bool{}, map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		set := in
		if rest, not := strings.CutPrefix(part, "^"); not {
			part, set = rest, out
		}
		first, last, isRange := strings.Cut(part, "-")
		from, err := strconv.Atoi(strings.TrimSpace(first))
		to := from
		if err == nil && isRange {
			to, err = strconv.Atoi(strings.TrimSpace(last))
		}
		if err != nil || from < 0 || to < from || to > maxCPU {
			return nil, fmt.Errorf("%q in %q is no processor or range of processors", part, text)
		}
		for i := from; i <= to; i++ {
			set[i] = true
		}
	}
	for i := range out {
		delete(in, i)
	}
	return slices.Sorted(maps.Keys(in)), nil
}

// maxCPU bounds what a list may name; kernels have 8192 at most.
const maxCPU = 8191

// Placed is what a host chose for a guest that has a Layout.
type Placed struct {
	Cells []int `json:"cells,omitempty"` // NUMA node of the host, by the guest's
	Pins  []int `json:"pins,omitempty"`  // processor of the host, by the guest's
	Pages int   `json:"pages,omitempty"` // KiB, of huge pages
}
