package scheduler

import (
	"cmp"
	"fmt"
)

// ioOpsFilter keeps hosts with fewer than max_io_ops builds under way.
var ioOpsFilter = filter{name: "IoOpsFilter", prepare: func(a *ask) *check {
	most := cmp.Or(a.MaxIOOps, 8)
	return &check{pass: func(h *Host) bool { return h.IOOps < most }, why: func(h *Host) string { return fmt.Sprintf("%d builds are under way there", h.IOOps) }}
}}
