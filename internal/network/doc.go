// Package network owns networks, subnets, ports, addresses, security groups, routers and floating IPs (OpenStack's Neutron), and the
// rendering of all of them into one desired-state document per host.
//
// # What is where
//
// network.go, subnet.go, port.go, group.go, router.go and floating.go hold a noun each, with its verbs. ipam.go chooses free addresses.
// plan.go checks what a new server asks for, server.go has the verbs that are part of compute's transactions, document.go renders,
// publisher.go delivers, hosts.go knows which hosts there are and puts routers on them. queries.go has the shared SQL. api/ is Neutron's HTTP form.
//
// # Truth
//
// SQL is the truth. An address is taken by the row in ip_allocations and by nothing else (primary key subnet and address); the free
// maps of ipam.go are hints that make the choice quick. Quota is reserved in the transaction that makes the row and given back in
// the one that removes it; ports that the room makes for itself (DHCP, router gateways, floating IPs) are not counted, as they belong to no project's wish.
// Rows point at each other by foreign keys, so a lost race ends in a constraint, never in an orphan.
//
// Rows changed by users are saved by compare-and-set on revision_number; a lost race is run again.
//
// # Documents and the clock
//
// network_clock is a counter in a few shards (a single row would make all transactions of a PostgreSQL server wait for one another);
// every committing change adds one to some shard, and the sum, read in the same snapshot as the document, is the document's revision.
// Shard -1 moves only with networks, subnets, groups and rules: by it documents know what of these they may share without reading it again.
// After a commit the Publisher marks hosts dirty in memory. A crash loses the marks: a host whose agent reports an older revision than the
// clock's, to a controller that has not yet sent it anything, gets a fresh document.
//
// # Goroutines
//
// Publisher.Run owns the dispatch goroutine and the bounded pushers under it; nothing else is started here. Caches and free maps are guarded
// by their own mutexes, which are never held across SQL and never nest.
//
// # Never here
//
// HTTP, the bus, anything of a host's kernel, and rows of servers: compute calls in, with its transaction.
package network
