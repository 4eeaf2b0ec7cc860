package scheduler

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// topologyFilter holds what flavor and image demand of the guest's memory and processors (hw:numa_nodes, hw:cpu_policy, hw:mem_page_size) against what a host can
// lay out. Nova's NUMATopologyFilter.
var topologyFilter = filter{name: "NUMATopologyFilter", always: true, kind: true, prepare: func(a *ask) *check {
	var wrong []func(h *Host) string
	if text := first2(a, "numa_nodes"); text != "" {
		n, err := strconv.Atoi(text)
		wrong = append(wrong, func(h *Host) string {
			switch {
			case err != nil || n < 1:
				return fmt.Sprintf("hw:numa_nodes=%s is no number of NUMA nodes", text)
			case h.NUMACells == 0:
				return "its driver lays out no NUMA nodes"
			case h.NUMACells < n:
				return fmt.Sprintf("it has %d NUMA nodes, %d are asked for", h.NUMACells, n)
			}
			return ""
		})
	}
	if policy := first2(a, "cpu_policy"); policy != "" && policy != "shared" {
		wrong = append(wrong, func(h *Host) string {
			if h.PCPUs == 0 {
				return fmt.Sprintf("it has no processors to dedicate (hw:cpu_policy=%s)", policy)
			}
			return ""
		})
	}
	size := a.ExtraSpecs["hw:mem_page_size"]
	if image := a.ImageProps["hw_mem_page_size"]; image != "" {
		size = image // which counts only where the flavor leaves it open; elsewhere it has been refused
	}
	if kib := pageKiB(size); kib != 0 {
		wrong = append(wrong, func(h *Host) string {
			if len(h.PageSizes) == 0 {
				return fmt.Sprintf("it has no huge pages (hw:mem_page_size=%s)", size)
			}
			if kib > 0 && !slices.Contains(h.PageSizes, strconv.Itoa(kib)) {
				return fmt.Sprintf("it has pages of %s KiB only (hw:mem_page_size=%s)", strings.Join(h.PageSizes, " and "), size)
			}
			return ""
		})
	}
	if wrong == nil {
		return nil
	}
	why := func(h *Host) string {
		for _, w := range wrong {
			if text := w(h); text != "" {
				return text
			}
		}
		return ""
	}
	return &check{pass: func(h *Host) bool { return why(h) == "" }, why: why}
}}

// first2 is a flavor's hw:NAME, or the image's hw_NAME.
func first2(a *ask, name string) string {
	if v := a.ExtraSpecs["hw:"+name]; v != "" {
		return v
	}
	return a.ImageProps["hw_"+name]
}

// pageForm is a size with or without a unit.
var pageForm = regexp.MustCompile(`^(\d+)([KMGT]?)(?:I?B|BIT)?$`)

// pageKiB reads 2048, 2MB, 2MiB or 1G; without a unit it is KiB. -1 for large, which any huge page satisfies; 0 for what needs none.
func pageKiB(size string) int {
	if size == "large" {
		return -1
	}
	m := pageForm.FindStringSubmatch(strings.ToUpper(size))
	if m == nil {
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if n *= map[string]int{"": 1, "K": 1, "M": 1 << 10, "G": 1 << 20, "T": 1 << 30}[m[2]]; err != nil || n <= 4 { // the usual pages
		return 0
	}
	return n
}

// devicesFilter keeps hosts that have devices of the aliases of pci_passthrough:alias at all; how many are free is Placement's to say. Nova's PciPassthroughFilter.
var devicesFilter = filter{name: "PciPassthroughFilter", always: true, kind: true, prepare: func(a *ask) *check {
	list := a.ExtraSpecs["pci_passthrough:alias"]
	if list == "" {
		return nil
	}
	missing := func(h *Host) string {
		for part := range strings.SplitSeq(list, ",") {
			alias, _, _ := strings.Cut(strings.TrimSpace(part), ":")
			if !slices.Contains(h.Devices, alias) {
				return alias
			}
		}
		return ""
	}
	return &check{pass: func(h *Host) bool { return missing(h) == "" }, why: func(h *Host) string { return "it has no PCI device of the alias " + missing(h) }}
}}
