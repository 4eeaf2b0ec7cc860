package scheduler

// zoneFilter keeps hosts of the availability zone that was asked for.
var zoneFilter = filter{name: "AvailabilityZoneFilter", kind: true, prepare: func(a *ask) *check {
	if a.Zone == "" {
		return nil
	}
	zone := a.Zone
	return &check{same: true, pass: func(h *Host) bool { return h.Zone == zone }, why: because("not in zone " + zone)}
}}
