package scheduler

import "slices"

// sameHostFilter keeps hosts of the servers that the hint same_host names.
var sameHostFilter = filter{name: "SameHostFilter", prepare: func(a *ask) *check {
	if !a.Hints.Same {
		return nil
	}
	hosts := a.SameHost
	return &check{same: true, pass: func(h *Host) bool { return slices.Contains(hosts, h.Name) }, why: because("holds none of the servers of the hint same_host")}
}}
