package scheduler

import (
	"slices"
)

// traitsFilter reads "trait:NAME" = required or forbidden of flavor and image, which Nova lets Placement answer, and the traits that the request itself needs of a host.
var traitsFilter = filter{name: "TraitsFilter", kind: true, prepare: func(a *ask) *check {
	var all []pair
	for _, t := range a.Traits {
		all = append(all, pair{t, "required"})
	}
	own := len(all)
	for _, m := range []map[string]string{a.ExtraSpecs, a.ImageProps} {
		for _, p := range scoped(m, "trait:") {
			if p.value == "required" || p.value == "forbidden" {
				all = append(all, p)
			}
		}
	}
	if a.Asked != "" { // Placement has answered the others, for whole trees
		all = all[:own]
	}
	if len(all) == 0 {
		return nil
	}
	wrong := func(h *Host) int {
		return slices.IndexFunc(all, func(p pair) bool { return slices.Contains(h.Traits, p.key) != (p.value == "required") })
	}
	return &check{pass: func(h *Host) bool { return wrong(h) < 0 }, why: func(h *Host) string {
		p := all[wrong(h)]
		return "trait " + p.key + " is " + p.value
	}}
}}
