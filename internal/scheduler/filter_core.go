package scheduler

// coreFilter keeps hosts with room for the server's vCPUs, by the allocation ratio, and with as many CPUs.
var coreFilter = filter{name: "CoreFilter", always: true, room: true, prepare: func(a *ask) *check {
	return roomCheck(a.VCPUs, "vCPUs", func(c *chunk) *[chunkSize]int { return &c.vcpus }, func(r Resources) int { return r.VCPUs })
}}
