// Package api is Nova's HTTP form of the compute room: v2.1 with microversions 2.1 to 2.96, and the legacy /v2, which is 2.1 with lenient bodies.
//
// # What is where
//
// service.go puts the table together; rules.go has Nova's policy names; schema*.go the bodies; ledger.go what newer microversions added.
// One file per resource holds its rows, handlers and views. Views are written for the newest microversion; the ledger takes away, except where an
// old form has what the new one lacks (hypervisors before 2.88), which the view itself adds.
//
// # Our own extension
//
// GET /servers/{id}/os-nephos-trace shows how the server came to be what it is: every operation on it with its steps, their hosts and times, and the
// scheduler's explanation. It is not part of OpenStack. The answer is
//
//	{"trace": [{"id", "action", "request_id", "user_id", "project_id", "status", "step", "tries", "error", "error_step",
//	            "started_at", "finished_at", "duration_ms",
//	            "steps": [{"name", "parent", "phase", "try", "host", "started_at", "finished_at", "duration_ms", "error", "detail"}]}]}
//
// newest operation first; times are RFC 3339 with microseconds, null while an operation runs; phase is do or undo; parent names the step that a line is a part
// of. Rule nephos:servers:trace.
//
// # Never here
//
// SQL, state changes, knowledge of hosts' insides.
package api
