package scheduler

import (
	"fmt"
	"slices"
)

// aggregateSpecsFilter reads flavor extra specs "aggregate_instance_extra_specs:KEY" against the metadata of the host's aggregates.
var aggregateSpecsFilter = filter{name: "AggregateInstanceExtraSpecsFilter", kind: true, prepare: func(a *ask) *check {
	specs := scoped(a.ExtraSpecs, "aggregate_instance_extra_specs:")
	if len(specs) == 0 {
		return nil
	}
	wrong := func(h *Host) int {
		return slices.IndexFunc(specs, func(p pair) bool {
			return !slices.ContainsFunc(h.Aggregates, func(g *Aggregate) bool {
				v, ok := g.Metadata[p.key]
				return ok && listed(v, func(have string) bool { return Matches(have, p.value) })
			})
		})
	}
	return &check{pass: func(h *Host) bool { return wrong(h) < 0 }, why: func(h *Host) string {
		p := specs[wrong(h)]
		return fmt.Sprintf("no aggregate of the host has %s %s", p.key, p.value)
	}}
}}
