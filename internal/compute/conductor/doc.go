// Package conductor declares the workflows of servers: what is done, in which order, and how each step is undone. Nothing else in the
// program knows the order.
//
//	build.go    create:  schedule → volumes → spawn            (a failed host: back to schedule, 3 tries, then ERROR)
//	delete.go   delete:  destroy on the host → release everything
//	power.go    start, stop, reboot, pause, unpause, suspend, resume: one command to the host
//	attach.go   volumes and interfaces of a running or stopped server
//	act.go      all other actions in place, on one page; rescue.go, rebuild.go, snapshot.go, shelve.go and softdelete.go have their steps
//
// A step's effect on the host goes through HostClient as a Command that carries the server's epoch; its effect on SQL is in the step's Commit. The
// host's own finer steps (image, disk, config drive, network, hypervisor) come back with the Result and are journalled under the step, so that
// the trace, os-instance-actions and the log tell one story.
package conductor
