package scheduler

import (
	"cmp"
	"fmt"
)

// numInstancesFilter keeps hosts with fewer than max_instances servers.
var numInstancesFilter = filter{name: "NumInstancesFilter", prepare: func(a *ask) *check {
	most := cmp.Or(a.MaxInstances, 50)
	return &check{pass: func(h *Host) bool { return h.Instances < most }, why: func(h *Host) string { return fmt.Sprintf("%d servers are there", h.Instances) }}
}}
