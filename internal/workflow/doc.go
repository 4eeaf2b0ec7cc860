// Package workflow owns durable operations: rows that say what is being done, how far it is, who does it and until when, and the journal
// of what was done. It knows no resource: rooms declare Definitions of typed steps and begin them inside the transaction that makes
// them necessary.
//
// # Life of a workflow
//
//	running ──► done
//	   │  ▲ (Back: undone to a step, then forward again, try+1)
//	   ▼  │
//	undoing ──► failed          cancelled: another workflow took over the subject
//
// Begin writes the row with a lease held by this process; after the commit a goroutine (owned by the Engine, which waits for it at
// Stop) runs the steps in order. A step is Do (effects outside SQL, idempotent, may be repeated after a crash) and then Commit, which runs in the same
// transaction as the progress and the journal: progress is durable exactly when its effect on SQL is. A crash
//
//   - before Do: the step is done by whoever takes over,
//   - after Do, before Commit: Do runs again and must find its own work,
//   - after Commit: the next step runs.
//
// On an error the failed step's Undo and the Undo and UndoCommit of all finished steps run in reverse, then Fail in the transaction that ends
// the workflow. A finished step marked Final is where the undoing stops: there is no way back from it. The epoch fences: every write is "where epoch = mine"; a process that lost its lease cannot commit anything.
//
// At most one workflow per subject is active (a unique index). The Engine's loops: one renews leases, one (the rescuer) takes over
// workflows whose lease has run out. Every workflow has a deadline; past it the running step fails with a reason, so nothing waits for ever.
package workflow
