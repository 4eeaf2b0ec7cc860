// Command nephos is an OpenStack-compatible cloud in one binary; see `nephos help`.
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
