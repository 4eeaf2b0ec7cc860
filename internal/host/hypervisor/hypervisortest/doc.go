// Package hypervisortest holds the suite that every hypervisor.Driver must pass.
//
// A driver's own test brings a World per subtest: how to make guests and disks for it, and how to do from outside what the interface
// cannot (crash a guest, turn it off from inside, restart the agent).
package hypervisortest
