package scheduler

import (
	"fmt"
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
	if size := first2(a, "mem_page_size"); size != "" && size != "small" && size != "any" {
		wrong = append(wrong, func(h *Host) string {
			if len(h.PageSizes) == 0 {
				return fmt.Sprintf("it has no huge pages (hw:mem_page_size=%s)", size)
			}
			if kib := pageKiB(size); kib != "" && !slices.Contains(h.PageSizes, kib) {
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

// pageKiB reads 2048, 2MB or 1GB; "" for large, which any huge page satisfies. Without a unit it is KiB.
func pageKiB(size string) string {
	for unit, factor := range map[string]int{"KB": 1, "MB": 1 << 10, "GB": 1 << 20, "": 1} {
		if text, ok := strings.CutSuffix(strings.ToUpper(size), unit); ok {
			if n, err := strconv.Atoi(text); err == nil {
				return strconv.Itoa(n * factor)
			}
		}
	}
	return ""
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
