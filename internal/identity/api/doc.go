// Package api is identity's HTTP face: Keystone v3 under /v3 and the v2.0 door of 2012 under /v2.0, on one port (5000).
//
// routes.go is the table, policy.go the default rules, schemas.go the bodies; the other files hold handlers and views by noun. v2.0's
// rows are root routes because its paths (/tokens, /tenants) are written out with their version.
//
// Left out, answered with 404: limits, credentials (EC2), application credentials, trusts, federation, OAuth1, endpoint filters and groups,
// policies, domain configuration, and v2.0's admin extension OS-KSADM. Authentication methods besides password and token get Keystone's
// 401 for an unsupported method.
package api
