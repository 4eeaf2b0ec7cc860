package scheduler

// sameHostFilter keeps hosts of the servers that the hint same_host names.
var sameHostFilter = filter{name: "SameHostFilter", prepare: func(a *ask) *check {
	if !a.Hints.Same {
		return nil
	}
	hosts := a.SameHost
	return &check{same: true, only: true, names: func() []string { return hosts }, why: because("holds none of the servers of the hint same_host")}
}}
