package scheduler

// diskFilter keeps hosts with room for the server's local disks, by the allocation ratio.
var diskFilter = filter{name: "DiskFilter", always: true, room: true, prepare: func(a *ask) *check {
	return roomCheck(a.DiskGiB, "GiB of disk", func(c *chunk) *[chunkSize]int { return &c.disk }, func(r Resources) int { return r.DiskGiB })
}}
