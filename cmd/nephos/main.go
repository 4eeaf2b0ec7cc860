// Command nephos is an OpenStack-compatible cloud in one binary; see `nephos help`.
package main

import (
	"os"

	"nephos/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
