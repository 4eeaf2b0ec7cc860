// Package fake is a hypervisor.Driver without processes, for scale and chaos tests and for `--driver fake`: a thousand of them with many
// guests each live in one process.
//
// A guest is one struct; there is no goroutine per guest, only one per driver (its event queue). A delay that a Script asks for is spent in
// the caller's own goroutine. With Config.Records the guests are also kept in a log, written before the verb returns, so that
// a new driver on the same log adopts them as the real one does.
//
// What stands in for the outside world is on Driver beyond the interface: Crash, PowerOffInside, Behave, Print.
//
// Never here: anything that tests of other rooms could depend on and the real driver would not do. hypervisortest holds both to the same.
package fake
