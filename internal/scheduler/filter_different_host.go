package scheduler

// differentHostFilter leaves out hosts of the servers that the hint different_host names.
var differentHostFilter = filter{name: "DifferentHostFilter", prepare: func(a *ask) *check {
	if !a.Hints.Different {
		return nil
	}
	hosts := a.DifferentHost
	return &check{same: true, names: func() []string { return hosts }, why: because("holds a server of the hint different_host")}
}}
