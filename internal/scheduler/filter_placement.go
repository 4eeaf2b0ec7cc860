package scheduler

// placementFilter keeps the hosts that Placement answered with, where a server asks for more than the table knows: other resource classes, groups, devices.
var placementFilter = filter{name: "PlacementFilter", always: true, prepare: func(a *ask) *check {
	if a.Asked == "" {
		return nil
	}
	hosts := a.Answered
	return &check{same: true, only: true, names: func() []string { return hosts }, why: because("placement finds no room there for " + a.Asked)}
}}
