// Package api serves the Placement API, microversions 1.0 to 1.39 (docs.openstack.org/api-ref/placement), over package placement.
//
// One thing is ours: a query of allocation_candidates whose combinations are too many to go through is refused with 400 unless limit is met before.
//
// What must never be here: SQL.
package api
