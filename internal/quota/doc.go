// Package quota owns limits and usage: how much of each resource a project may have, and how much it has.
//
// Usage is a row per (project, resource), moved by one conditional UPDATE inside the transaction that makes or removes the thing counted, so that no race
// oversells and nothing is counted twice: usage and things are committed together or not at all. fsck compares the rows with what the rooms
// really hold (Check).
//
// Nothing here knows what an instance or a volume is; names of resources and their defaults are data in defaults.go.
package quota
