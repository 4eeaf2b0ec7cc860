package scheduler

import (
	"fmt"
	"slices"
)

// capabilitiesFilter reads flavor extra specs "capabilities:NAME" against what the host says of itself. Nova reads keys without any scope here as well; they
// are left alone, because clients use them as plain notes.
var capabilitiesFilter = filter{name: "ComputeCapabilitiesFilter", kind: true, prepare: func(a *ask) *check {
	specs := scoped(a.ExtraSpecs, "capabilities:")
	if len(specs) == 0 {
		return nil
	}
	wrong := func(h *Host) int {
		return slices.IndexFunc(specs, func(p pair) bool {
			have, ok := h.Capabilities[p.key]
			return !ok || !Matches(have, p.value)
		})
	}
	return &check{pass: func(h *Host) bool { return wrong(h) < 0 }, why: func(h *Host) string {
		p := specs[wrong(h)]
		return fmt.Sprintf("the flavor needs %s %s, the host has %q", p.key, p.value, h.Capabilities[p.key])
	}}
}}
