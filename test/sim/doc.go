// Package sim owns the simulation: whole clouds in one test, on fake time, in which everything that may go wrong between controllers and hosts goes wrong, by the seed.
//
// What is real: the service rooms of two controllers (app.NewRooms) on one SQLite database, the workflow engine, the registry, the publisher, and the agents with the
// fake hypervisor and data plane. What is simulated: time (a testing/synctest bubble), the bus (bus.go), the hosts' disks and power, and the death of processes.
//
//	bus.go         messages: loss, duplication, delay, reordering, partitions; what happens to a message depends on the seed and on what the message is
//	net.go         connections between processes: bytes that stall, break off, come damaged, go to the wrong host; agents and image service speak their own protocols over them
//	disks.go       local disks with a content, and what may be left of them
//	moves.go       what clients ask for that sends bytes from machine to machine
//	host.go        a machine: its records, guests, networks; an agent that dies, comes back, comes back with old records
//	control.go     a controller that dies in the middle and is replaced
//	history.go     a seed's plan: what clients ask for and what goes wrong, when
//	run.go         plays a plan: one event at a time, until all is quiet, then the next
//	acts.go        the single acts of clients and of fate
//	invariants.go  what must hold at every quiet moment, and what must hold when everything has healed
//	shrink.go      takes acts out of a plan that fails while it still fails
//
// # Determinism
//
// One seed is one history. Identifiers come from the seed (uuid.SetRand), so a process plays one history at a time. Fates of messages are drawn by hashing the seed with the
// message's name (of a connection: who, to where, in the service of which command), not in the order of sending, so that goroutines that run at one instant cannot change each other's fate, and a shrunk plan keeps the fates of what is
// left. Loops start at odd offsets, so that no two timers fire at one instant. The process runs with one processor. TestSameSeedSameHistory holds the traces against
// each other.
//
// # Use
//
//	go test ./test/sim                                  the quick share
//	go test ./test/sim -run TestSeeds -seeds 10000      the long one (make soak), on all processors by processes of their own
//	go test ./test/sim -run TestSeeds -seed 4711 -v     one history, with its trace
//
// A failure prints the seed and the shortest plan found that still fails.
package sim
