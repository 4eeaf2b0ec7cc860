// Package dataplane owns the border between the host agent and the host's networking.
//
// The agent hands over a whole hostapi.NetworkDocument; the Plane makes the host match it, idempotently, and answers what it
// finds by looking (Inventory). Two implementations exist: linux (bridges, taps, namespaces, nftables, DHCP, NAT) and fake (in memory,
// a thousand hosts in one process). dataplanetest holds the suite that both pass.
//
// Owned here: the interface, the inventory form, and how a metadata request is tied to the port that sent it (Directory, Guest).
// Never here: instances, QEMU, the agent's journal, HTTP bodies of the metadata service.
//
// No goroutine lives in this package; each implementation names its own.
package dataplane
