package scheduler

// aggregateImageFilter keeps hosts of an aggregate whose metadata names image properties for images that agree; an image without such a property may go
// anywhere (Nova's AggregateImagePropertiesIsolation).
var aggregateImageFilter = filter{name: "AggregateImagePropertiesIsolation", kind: true, prepare: func(a *ask) *check {
	if len(a.ImageProps) == 0 || !a.metadata {
		return nil
	}
	props := a.ImageProps
	return &check{same: true, why: because("an aggregate of the host is kept for other image properties"), pass: func(h *Host) bool {
		for _, g := range h.Aggregates {
			for k, v := range g.Metadata {
				if p, ok := props[k]; ok && !listed(v, func(x string) bool { return x == p }) {
					return false
				}
			}
		}
		return true
	}}
}}
