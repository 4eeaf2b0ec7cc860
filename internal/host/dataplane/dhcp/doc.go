// Package dhcp owns the DHCPv4 service of one network: which answer a request gets (Answer, pure) and the loop that reads requests
// from a socket and writes whole frames (Server).
//
// It serves only the MACs in its Table and stays silent for all others, so that a tenant's own DHCP server can share the network.
// Leases are not kept: an address belongs to a port as long as the document says so, which is why a restart loses nothing.
//
// Server.Serve runs in the goroutine of its caller, which owns both sockets. No namespace, no netlink and no document type belongs here.
package dhcp
