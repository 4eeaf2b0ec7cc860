// Package e2e drives the built binary from outside: raw HTTP, Debian's `openstack` and `nova`, ssh into real guests. It imports nothing
// of nephos but the tests' PostgreSQL server. `make e2e` runs it; plain `go test ./...` skips it, as it needs root, QEMU and minutes.
//
//	NEPHOS_E2E_BIN   the binary under test; unset: nothing runs
//	NEPHOS_E2E_IMAGE the demo guest (default guest/out/nephos-guest.qcow2 beside bin/)
//	NEPHOS_E2E_ACCEL what --accel is given (default tcg: the same everywhere)
//	NEPHOS_E2E_KEEP  keep state directories
//
// Each test has a cloud of its own: state directory, port offset, bridges and namespaces; all is taken away and looked for at its end.
package e2e
