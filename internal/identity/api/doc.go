// Package api is identity's HTTP face: Keystone v3 under /v3 and the v2.0 door of 2012 under /v2.0, on one port (5000).
//
// routes.go is the table, policy.go the default rules, schemas.go the bodies; the other files hold handlers and views by noun. v2.0's
// rows are root routes because its paths (/tokens, /tenants) are written out with their version.
//
// Rules have the names that Keystone gives them, so that a policy file written for it works; what a rule sees of its target is user_id,
// project_id, domain_id, trustor_user_id and trustee_user_id.
//
// Left out: log-in by federation (its records are kept), which gets Keystone's 401 for an unsupported method; PKI tokens (410).
package api
