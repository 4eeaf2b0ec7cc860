// Package scheduler decides where a server goes: a pure function from a snapshot of hosts and a request to a choice and its explanation.
//
// No I/O, no clock, no goroutine, no store. It never writes: what it chooses is claimed in the creating transaction, which re-verifies it; a
// claim that loses sends the caller back with a newer snapshot.
//
//	host.go       hosts and immutable snapshots (a Table makes them; its owner locks it)
//	request.go    what is asked for
//	schedule.go   filters, then weighers, then the best; several servers one after the other with claims applied in between
//	explain.go    which filter removed how many hosts, and why
//	filter_*.go   one kind of filter each, with Nova's names; weigh.go the weighers
//
// Filters whose condition the request cannot meet are not run at all (a request without a zone skips the zone filter), so that the
// common case costs a few comparisons a host.
package scheduler
