// Package api is Neutron's HTTP form (v2.0) on the network room.
//
// resource.go has the generic verbs (list with filters, sorting and paging; show; create, also in bulk; update; delete); attrs.go the
// language that each resource's attributes are declared in (what may be set when, by whom, of which type), list.go the query side. networks.go, subnets.go,
// ports.go, groups.go, routers.go and floating.go declare a resource each; routes.go is the table; rules.go the default policies.
//
// Bodies are checked by the attribute tables and not by JSON schemas, because Neutron's own words for what is wrong are part of what clients know.
//
// Never here: SQL of resources, decisions about addresses, hosts.
package api
