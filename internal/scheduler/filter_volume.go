package scheduler

// volumeHostFilter keeps the host where a volume of the server lies.
var volumeHostFilter = filter{name: "VolumeHostFilter", always: true, prepare: func(a *ask) *check {
	if a.Tied == "" {
		return nil
	}
	where := a.Tied
	return &check{same: true, pass: func(h *Host) bool { return h.Name == where }, why: because("a volume of the server is on " + where)}
}}
