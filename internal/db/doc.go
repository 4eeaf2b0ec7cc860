// Package db owns the connection to SQL: SQLite on one machine, PostgreSQL at scale, one set of queries for both.
//
// # Transactions
//
// All access goes through two closures. Read runs on a snapshot, on one of a few reader connections. Write runs alone:
// on SQLite one goroutine (the committer, started by Open, ended by Close) owns the only writing connection; it opens BEGIN IMMEDIATE,
// runs every waiting closure, each so that it fails alone, and commits them together; another (the syncer) has the disk take the log and then tells
// their callers, while the committer is at the next batch: many callers share one sync (group commit). On PostgreSQL each Write is its own READ COMMITTED transaction, retried on serialisation
// failures and deadlocks; code that reads before it writes takes row locks by conditional UPDATEs, or Tx.Lock.
// A Write that has returned nil survives a power cut, and so does all that it was built on. A reader may see a commit a moment before it is on the disk.
//
// Closures may be run more than once and must have no effect outside SQL; what must happen after the commit goes to Tx.OnCommit.
// They must be short: no network, no exec, no waiting inside.
//
// # Portable SQL
//
// Placeholders are `?` (rewritten for PostgreSQL); a slice argument expands `IN (?)`. Column types in migrations: TEXT, BIGINT,
// BOOLEAN, DOUBLE PRECISION, BYTEA. Times are BIGINT microseconds since 1970 (type Time), structured values TEXT (type JSON).
// Upsert (ON CONFLICT), RETURNING, partial indexes and CHECK work on both.
//
// The package knows no service: each room embeds its own migrations and hands them to Migrate.
package db
