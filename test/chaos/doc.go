// Package chaos owns the proof that nothing is ever stuck: it kills, starves and lies to the processes of a cloud at every named point of every declared
// workflow, and looks at what the cloud makes of it. It drives the built binary (tag faultpoints) from outside; the tests do nothing without NEPHOS_CHAOS_BIN (`make chaos`).
//
//	scenario_test.go  a row per workflow: what must be there before, and the request that begins it. A declared workflow without a row fails the test
//	matrix_test.go    rows × points × faults. The points of a row are those that a rehearsal passes; nobody lists them
//	verdict_test.go   what must hold after each case: settled, explained, usable, exact, clean
//	table_test.go     docs/reliability.md
//	cloud_test.go     processes: controller and agent apart, each with its directory of arms
//	api_test.go       HTTP
//	real_test.go      real guests: QEMU killed at every point; QMP silent, disk full, image store slow and wrong, nft failing from every step on
//	down_test.go      guests without a control plane
//
// # A new workflow
//
// Add a row to scenarios. If it needs something new before it can begin, add a verb to the stage in stage_test.go.
package chaos
