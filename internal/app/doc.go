// Package app is the composition root: from a Config it makes the parts of a process, joins them by typed fields, starts them in order
// and stops them in reverse. It is the only package that may import all rooms, and holds nothing else.
//
//	controller.go  the service rooms on a database and a bus, their HTTP listeners, their loops
//	host.go        one compute host: hypervisor, data plane, disks, agent
//	bridge.go      the bus between the two: commands, documents, heartbeats, image bytes
//	up.go          both in one process (`nephos up`); agent.go a host alone (`nephos agent --join`); down.go takes a host's things away
//	lifecycle.go   start and stop in order
//	fsck.go        holds SQL and hosts against each other
package app
