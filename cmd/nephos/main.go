// Command nephos is an OpenStack-compatible cloud in one binary; see `nephos help`.
//
// default.pgo tells the compiler which calls are worth inlining: processor profiles of test/bench's creates, reads and tokens on 1,000 simulated hosts (internal/app/profile.go
// says how to take one), merged by `go tool pprof -proto`. Bursts are a seventh quicker by it. An old one does no harm; a new one is due when the way of a create has changed.
package main

import (
	"os"
	"runtime/debug"

	"nephos/internal/cli"
)

// gcPercent lets garbage grow to twice what lives before it is collected: of a thousand creates a second the collector then takes 5 % of the processor and not 10, and a cloud at
// rest is a MiB larger. GOGC in the environment wins.
const gcPercent = 200

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
