// Package compute owns Nova's nouns: servers (the state machine), their block devices, compute hosts, flavors, keypairs, server groups
// and aggregates; and the verbs that act on them. No HTTP (see api/), and no knowledge of the order in which a server is built (see conductor/).
//
// # Who writes what
//
// A row of servers is written in three places only: Create (the creating transaction), the verbs in actions.go (which move the task state and begin
// a workflow in the same transaction), and the conductor's step commits. Each move is a conditional UPDATE: it names the states it starts from, or
// the epoch it was given, so of two racing moves one loses and says so.
//
//   - vm_state is what the server is; task_state is what is being done to it: non-empty exactly while a workflow is active on it.
//   - epoch grows with every command that may reach a host; the host refuses older ones (invariant 4).
//   - generation grows with every write, for fsck and caches.
//
// Hosts is the registry of compute hosts: rows for what must last (enabled, zone), memory for what is true now (who is up, what is
// free), fed by heartbeats and by the commits of claims. It hands the scheduler its snapshots.
//
// What must never be here: knowledge of QEMU, bridges or files; HTTP; another room's tables.
package compute
