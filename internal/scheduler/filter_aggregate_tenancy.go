package scheduler

import "strings"

// aggregateTenancyFilter keeps hosts of aggregates with metadata filter_tenant_id* for the projects named there (Nova's AggregateMultiTenancyIsolation).
var aggregateTenancyFilter = filter{name: "AggregateMultiTenancyIsolation", kind: true, prepare: func(a *ask) *check {
	if !a.metadata {
		return nil
	}
	project := a.ProjectID
	return &check{same: true, why: because("an aggregate of the host is kept for other projects"), pass: func(h *Host) bool {
		kept := false
		for _, g := range h.Aggregates {
			for k, v := range g.Metadata {
				if !strings.HasPrefix(k, "filter_tenant_id") {
					continue
				}
				if listed(v, func(id string) bool { return id == project }) {
					return true
				}
				kept = true
			}
		}
		return !kept
	}}
}}
