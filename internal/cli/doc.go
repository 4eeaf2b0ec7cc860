// Package cli is what a person types: `nephos VERB …`.
//
//	main.go     parsing, exit codes, signals
//	process.go  up, agent, down, version: the verbs that run or clean this machine; they call package app
//	settings.go flags over the configuration file
//	logging.go  where a process's log goes
//	policy.go   rules and why they allow or refuse
//	doctor.go   the doctor verb; the checks are in cli/doctor
//	client/     the verbs that talk to a cloud, any OpenStack cloud, through gophercloud
//
// Exit codes: 0 done, 1 it went wrong (the reason is the last line on stderr), 2 wrong usage or configuration.
//
// Goroutines: Main starts one that turns the first SIGINT or SIGTERM into the end of the context and the second into the end of the process; it ends with
// Main. What must never be here: anything that another room could want, and SQL.
package cli
