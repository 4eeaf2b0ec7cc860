// Package volume owns block storage records (OpenStack's Cinder): volumes, snapshots, volume types, attachments, and the workflows
// that make hosts follow them.
//
// # What is where
//
// volume.go has the nouns and their statuses, service.go what the room needs and the reading verbs, create.go, change.go, delete.go,
// snapshot.go and types.go the writing ones, attach.go the attachments, forserver.go what the compute room calls inside its own
// transactions, remains.go what hosts that were down still have, workflows.go the declared operations, queries.go the SQL (tables volumes and volume_*; nobody else reads them). api/ is
// Cinder v3 on top; nothing here knows HTTP.
//
// # Rows and bytes
//
// A row exists before the first byte and goes after the last: a volume is written with its quota and its workflow in one transaction
// (202 means it will happen), and the row is removed, with its quota, by the commit that follows the host's word that the file is gone.
// `made` says that the bytes exist on `host`. Bytes lie on one host (file backend); a volume made from a volume or a snapshot goes to
// where that lies, any other to the host of its zone with the most free space.
//
// Epochs fence: each operation that reaches a host raises the row's epoch in the transaction that begins it. Commands about a volume
// carry the volume's id as subject, commands about a snapshot the snapshot's.
//
// # Attachments
//
// At most one per volume (a unique index). Those of compute (owner "compute") are made and removed only by the verbs in forserver.go:
// the API refuses to detach them behind the server's back (CVE-2023-2088) and points to os-volume_attachments.
//
// # Goroutines
//
// Run is one loop: it has hosts that come back erase what volumes left there while they were down (remains.go). All else the workflow engine runs.
//
// # Never here
//
// HTTP, file paths of hosts (a Result brings them, Spec passes them on), what a server is.
package volume
