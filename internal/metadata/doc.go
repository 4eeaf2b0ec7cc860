// Package metadata renders what a guest may learn about itself: the tree of OpenStack's metadata service and of the EC2 one that it
// imitates, from a hostapi.InstanceSpec and nothing else. So it works while every controller is down.
//
// Three readers: Handler serves the tree at 169.254.169.254 (the data plane finds the port by where the request came from, the agent
// finds the spec by the port: no header is trusted); ConfigDrive gives the same documents as files for package configdrive; tests.
//
// Documents follow Nova's: the versions and the version in which each key appeared are data in version.go. The JSON is made
// from structs, its key order is fixed, so equal specs give equal bytes (the random seed excepted, which the caller may fix).
//
// Pure rendering: no goroutine, no I/O but what a Passwords does, no cache. Never here: finding ports, listening, ISO images, SQL.
package metadata
