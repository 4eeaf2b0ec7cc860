// Package api serves the Placement API, microversions 1.0 to 1.39 (docs.openstack.org/api-ref/placement), over package placement.
//
// Left out, with an error that says so: granular request groups, root_required and same_subtree in allocation_candidates (400), and the reshaper
// (501). A candidate is always one provider that has all that was asked for; resources are not gathered from several providers of a tree, nor
// from sharing providers.
//
// What must never be here: SQL.
package api
