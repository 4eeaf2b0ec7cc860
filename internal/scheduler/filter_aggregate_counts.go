package scheduler

import (
	"cmp"
	"fmt"
	"strconv"
)

// aggregateLimit is the least number under a key in the metadata of a host's aggregates, or otherwise.
func aggregateLimit(h *Host, key string, otherwise int) int {
	limit, found := otherwise, false
	for _, g := range h.Aggregates {
		if n, err := strconv.Atoi(g.Metadata[key]); err == nil && (!found || n < limit) {
			limit, found = n, true
		}
	}
	return limit
}

// aggregateIOOpsFilter is IoOpsFilter with the limit max_io_ops_per_host of the host's aggregates.
var aggregateIOOpsFilter = filter{name: "AggregateIoOpsFilter", prepare: func(a *ask) *check {
	most := cmp.Or(a.MaxIOOps, 8)
	return &check{pass: func(h *Host) bool { return h.IOOps < aggregateLimit(h, "max_io_ops_per_host", most) },
		why: func(h *Host) string { return fmt.Sprintf("%d builds are under way there", h.IOOps) }}
}}

// aggregateInstancesFilter is NumInstancesFilter with the limit max_instances_per_host of the host's aggregates.
var aggregateInstancesFilter = filter{name: "AggregateNumInstancesFilter", prepare: func(a *ask) *check {
	most := cmp.Or(a.MaxInstances, 50)
	return &check{pass: func(h *Host) bool { return h.Instances < aggregateLimit(h, "max_instances_per_host", most) },
		why: func(h *Host) string { return fmt.Sprintf("%d servers are there", h.Instances) }}
}}
