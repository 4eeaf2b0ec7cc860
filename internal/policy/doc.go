// Package policy owns the question "may this caller do that": the caller's Credentials, rules in oslo.policy's language, and the
// Enforcer that evaluates them.
//
// Rooms bring their default rules (name → expression) in their api/ package; a policy file may override them. Nothing here knows a
// service, HTTP or SQL. Credentials are plain data, made by identity from a token.
package policy
