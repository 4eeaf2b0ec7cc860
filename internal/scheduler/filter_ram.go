package scheduler

import "fmt"

// ramFilter keeps hosts with room for the server's RAM, by the allocation ratio.
var ramFilter = filter{name: "RamFilter", always: true, room: true, prepare: func(a *ask) *check {
	return roomCheck(a.RAMMiB, "MiB of RAM", func(c *chunk, i int) int { return c.ram[i] }, func(r Resources) int { return r.RAMMiB })
}}

// roomCheck holds what is needed of one class against the room there is, in a chunk's column or of a host; nil when nothing is needed.
func roomCheck(need int, unit string, size func(c *chunk, i int) int, of func(Resources) int) *check {
	if need <= 0 {
		return nil
	}
	return &check{need: need, unit: unit, size: size, column: func(c *chunk, i int) bool { return need <= size(c, i) },
		why: func(h *Host) string { return fmt.Sprintf("%d %s are free", of(h.room()), unit) }}
}
