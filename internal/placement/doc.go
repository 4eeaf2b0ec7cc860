// Package placement owns who takes what of whom: resource providers (a compute host each), their inventories, traits and aggregates, and the
// allocations of consumers (servers).
//
// A claim is one conditional UPDATE per resource class on the provider's inventory row, and the allocation rows, all inside the caller's
// transaction: it cannot oversell, and it cannot outlive a rolled-back server. used on an inventory always equals the sum of its allocations;
// fsck proves it (Check).
//
// What must never be here: what a server is, which host is best (scheduler).
package placement
