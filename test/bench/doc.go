// Command bench measures a built nephos from outside and prints one table: how quick a cloud starts and how small it is, how quick a server
// is accepted and runs, against the same machine started by hand, and how many simulated servers a second it makes.
//
//	go run ./test/bench                    everything (root: real guests)
//	go run ./test/bench -real=false        only what simulated hosts show
//
// It starts clouds of its own on free ports and takes them away. It imports nothing of nephos.
package main
