package scheduler

import "fmt"

// ramFilter keeps hosts with room for the server's RAM, by the allocation ratio.
var ramFilter = filter{name: "RamFilter", always: true, room: true, prepare: func(a *ask) *check {
	return roomCheck(a.RAMMiB, "MiB of RAM", func(c *chunk) *[chunkSize]int { return &c.ram }, func(r Resources) int { return r.RAMMiB })
}}

// roomCheck holds what is needed of one class against the room there is, in a chunk's column or of a host; nil when nothing is needed.
func roomCheck(need int, unit string, column func(c *chunk) *[chunkSize]int, of func(Resources) int) *check {
	if need <= 0 {
		return nil
	}
	return &check{need: need, unit: unit, column: column,
		why: func(h *Host) string { return fmt.Sprintf("%d %s are free", of(h.room()), unit) }}
}
