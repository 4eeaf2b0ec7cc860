// Package client is the half of the command line that talks to a cloud: every verb is a struct that kong fills and a Run method. It works through
// gophercloud against any OpenStack cloud; the two calls that only nephos has (trace, fsck) say so elsewhere, or use what others have.
//
//	env.go      what a command line runs in: streams, terminal, variables
//	connect.go  from OS_* variables, clouds.yaml or the state directory to an authenticated session
//	errors.go   API faults as sentences
//	find.go     names and ids of things, with near misses
//	table.go    tables and JSON
//	boot.go, wait.go, trace.go … one file per noun or verb
//
// Goroutines: none but those of net/http and of a progress bar, which ends with its verb. What must never be here: knowledge of nephos's insides; a
// verb sees what the API says.
package client
