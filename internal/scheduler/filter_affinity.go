package scheduler

// affinityFilter keeps hosts with a member of the server's group, once there is one.
var affinityFilter = filter{name: "ServerGroupAffinityFilter", prepare: func(a *ask) *check {
	if a.Policy != Affinity {
		return nil
	}
	var hosts []string
	for name, n := range a.GroupHosts {
		if n > 0 {
			hosts = append(hosts, name)
		}
	}
	if hosts == nil {
		return nil
	}
	return &check{same: true, only: true, names: func() []string { return hosts }, why: because("holds no member of the server group")}
}}
