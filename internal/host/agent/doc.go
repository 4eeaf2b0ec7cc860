// Package agent owns what happens on one compute host: it takes the controller's Commands, runs them as ordered steps on the hypervisor,
// the data plane and the disks, remembers what it did, and reports.
//
//	command.go    fencing by epoch, one run per command id, repeated commands join or get the recorded result
//	build.go      the steps of a build: image → disk → config drive → network → hypervisor
//	power.go, devices.go   the other operations of power and of devices
//	act.go, rescue.go, rebuild.go, snapshot.go   the actions beyond power, and disks.go, nodisks.go, what they do to files
//	network.go    the host's desired networking: the controller's document joined with the ports of the instances that are here
//	instance.go   one server here: its spec, what was done with it, the operation under way
//	records.go    what outlives the process: instances/<uuid>/ with spec.json and state.json; lines of a log on simulated hosts
//	graves.go     what is remembered of destroyed instances, so that no late command brings one back
//	serve.go      the desk where requests come in, and its closing
//	heartbeat.go  registration, liveness, reconciliation: what the controller does not know is let go
//
// # Crashes
//
// Each step finds its own finished work, so a command that is sent again after the agent died goes on. A command that an ending agent breaks off is
// neither answered nor recorded. spec.json is written before the first step: from then on the instance exists and the heartbeat reports it, so nothing can be
// left behind unseen. Guests and their networking outlive the agent; at start it adopts them and renders the last document it was given, with no
// controller in reach.
//
// # Goroutines
//
// Run owns the heartbeat loop and the event loop, and waits at its end for the instances that heartbeats told it to let go; the bus runs one goroutine per
// command. Renderings follow one another in one goroutine (renderRounds), which lives while somebody waits for one. An instance has a lock that
// serialises its operations; a command with a newer epoch cancels the one that runs.
//
// Never here: SQL, scheduling, what an API shows.
package agent
