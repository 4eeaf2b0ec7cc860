// Package placement owns who takes what of whom: resource providers (a compute host each), their inventories, traits and aggregates, and the
// allocations of consumers (servers).
//
// A claim is one conditional UPDATE per resource class on the provider's inventory row, and the allocation rows, all inside the caller's
// transaction: it cannot oversell, and it cannot outlive a rolled-back server. used on an inventory always equals the sum of its allocations;
// fsck proves it (Check). Release and SetAllocations hold the row of the consumer before they look at what it has, so two changes of one consumer
// wait for each other; inventories are locked in the order of provider and class.
//
// The generation of a provider grows with changes of its inventory, traits, aggregates, name and place in the tree, not with allocations: those are
// conditional on the amounts themselves, and a hot row less.
//
// What must never be here: what a server is, which host is best (scheduler).
package placement
