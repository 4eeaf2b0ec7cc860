package scheduler

// volumeHostFilter keeps the host where a volume of the server lies.
var volumeHostFilter = filter{name: "VolumeHostFilter", always: true, prepare: func(a *ask) *check {
	if a.Tied == "" {
		return nil
	}
	where := []string{a.Tied}
	return &check{same: true, only: true, names: func() []string { return where }, why: because("a volume of the server is on " + where[0])}
}}
