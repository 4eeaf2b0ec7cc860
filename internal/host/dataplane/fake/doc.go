// Package fake is the data plane without a kernel: hosts in memory, a thousand of them in one process, with scripted delays and failures.
//
// A Host is what survives the agent's process (the kernel's part); a Plane is one process's work on it. Both pass dataplanetest.
// No goroutine, socket or namespace is made; the only file is /dev/null, in place of a tap.
package fake
