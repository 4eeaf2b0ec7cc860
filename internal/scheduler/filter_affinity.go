package scheduler

// affinityFilter keeps hosts with a member of the server's group, once there is one.
var affinityFilter = filter{name: "ServerGroupAffinityFilter", prepare: func(a *ask) *check {
	if a.Policy != Affinity || len(a.GroupHosts) == 0 {
		return nil
	}
	members := a.GroupHosts
	return &check{same: true, pass: func(h *Host) bool { return members[h.Name] > 0 }, why: because("holds no member of the server group")}
}}
