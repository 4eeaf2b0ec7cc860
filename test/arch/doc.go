// Package arch polices the arrows between the rooms: rules.go is the table, arch_test.go holds the tree against it. It runs `go list` and
// reads no source itself. To let a room import another, change the table and say why in docs/architecture.md.
package arch
