// Command bench measures a cloud from outside: how quick it starts and how small it is, how quick a server is accepted and runs, how many it makes a second at 1, 8 and 64
// clients and in bursts, what reads, tokens and log-ins cost, how quick image bytes go in and out, and how that holds with thousands of hosts.
//
//	go run ./test/bench                        everything on clouds of its own (root: real guests)
//	go run ./test/bench -only start,create     some parts
//	go run ./test/bench -only fill,schedule -hosts 10000 -fill 100000
//	                                           a cloud that is filled to 100,000 servers, and what it does then
//	go run ./test/bench -against old.json      a column with an earlier run beside it
//	. openrc; go run ./test/bench -openrc -flavor m1.tiny -image cirros
//	                                           the cloud that OS_AUTH_URL and its companions name: any OpenStack, so that others are measured the same way
//
// It ends with a table, keeps it as JSON and draws it (-out, default bench-results/). The load comes from this process, on the same machine: what it costs is in the figures.
// Clouds of its own are on free ports and are taken away; of another's cloud it deletes the servers it made. It imports nothing of nephos.
package main
