// Package scheduler decides where a server goes: a pure function from a snapshot of hosts and a request to a choice and its explanation.
//
// No I/O, no clock, no goroutine, no store, nothing of the project imported. It never writes: what it chooses is claimed in the creating
// transaction, which re-verifies it; a claim that loses sends the caller back with a newer snapshot.
//
//	host.go      one host
//	table.go     the present state of all hosts, and immutable snapshots of it: chunks of 64, copied when written to. Its owner locks it
//	request.go   what is asked for, and configuration
//	filter.go    the list of filters; filter_*.go one filter each, with Nova's names
//	weigh.go     the list of weighers; weigh_*.go one weigher each
//	schedule.go  filters, then weighers, then the best; several servers one after the other with claims applied in between
//	examine.go   the dry run: every host with what decides about it
//	explain.go   which filter removed how many hosts, and why
//
// Speed comes from three things. What filters and weighers ask of every host (room, weights) is kept in columns that follow each change of a host, with
// the least and the most of each chunk, so that a chunk in which everything fits costs a few comparisons. A filter that the request cannot be refused by is not
// run at all. And a chunk whose best possible score is no better than the third best found is not looked into. None of this changes the answer: all hosts count
// for it, and "no valid host" is never due to a search that ended early.
package scheduler
