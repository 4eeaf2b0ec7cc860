// Package simlog owns what the simulated hosts of one process remember: one append-only file of records, for the agents and the fake hypervisors of all of them.
//
// A real host keeps its instances in directories of their own, each file replaced whole. A thousand simulated hosts share one disk, where making a file costs
// more than all else that a simulated server is: so they append a line instead. What has been appended outlives a kill of the process (the kernel has it), and a
// torn last line is dropped at the next start; nothing is synced, since a simulated guest is lost with the machine anyway. After a power cut whatever lines are left
// count, and those with holes do not.
//
// A line is `table TAB key TAB json`; without the json the key is deleted. The last line of a key counts. Lines that no longer count are taken out when the file is
// opened, and when it has grown far beyond what counts. A Log has no goroutine.
//
// Never here: anything of a real host.
package simlog
