package scheduler

// antiAffinityFilter keeps hosts with fewer than max_server_per_host members of the server's group.
var antiAffinityFilter = filter{name: "ServerGroupAntiAffinityFilter", prepare: func(a *ask) *check {
	if a.Policy != AntiAffinity {
		return nil
	}
	members, most := a.GroupHosts, max(1, a.MaxPerHost)
	return &check{same: true, pass: func(h *Host) bool { return members[h.Name] < most }, why: because("holds a member of the server group")}
}}
