package scheduler

// antiAffinityFilter keeps hosts with fewer than max_server_per_host members of the server's group.
var antiAffinityFilter = filter{name: "ServerGroupAntiAffinityFilter", prepare: func(a *ask) *check {
	if a.Policy != AntiAffinity {
		return nil
	}
	members, most := a.GroupHosts, max(1, a.MaxPerHost)
	full := func() []string { // anew for each server: those placed before it count
		var out []string
		for name, n := range members {
			if n >= most {
				out = append(out, name)
			}
		}
		return out
	}
	return &check{same: true, names: full, why: because("holds a member of the server group")}
}}
