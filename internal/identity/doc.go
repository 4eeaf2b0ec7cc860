// Package identity owns who may knock: domains, projects, users, groups, roles and their assignments, the catalog (regions, services,
// endpoints), and the tokens that prove all this. It behaves as OpenStack's Keystone 3.14 does; its HTTP face is identity/api.
//
// # Who owns what
//
// All tables named identity_* belong to this package; each file holds a noun, its rules and its queries. A domain is a project with
// is_domain set, as in Keystone: top-level projects have it as their parent, so inheritance is one walk up parent_id. Names are matched
// exactly, also in their case (Keystone on PostgreSQL; on MySQL it depends on the collation).
//
// # Tokens
//
// A token is a Fernet message: encrypted and signed, nothing is stored. It names user, scope, methods, times, audit ids and two epochs,
// small counters that are kept in the rows of user and scope (each with its domain's) and go up when a password is changed or something
// is disabled; a token with another epoch is void. Everything else is looked up at validation, so a removed assignment counts at once.
// Only explicit revocations have rows, until the token would have expired anyway.
//
// Validated tokens are kept in a bounded map. Every committed write of this process raises a generation; an entry of an older generation
// is looked up again, so a process never sees its own writes late. Other controllers notice within CacheAge.
//
// The keys lie in files as Keystone's do (keyring.go); processes that share tokens share the directory, or copies of it.
//
// # Goroutines
//
// The package starts none. All methods may be called from any goroutine. Writers take one advisory lock ("identity") on PostgreSQL, so
// rules that span rows (a parent must be enabled) hold without retries; such writes are rare.
//
// # What must never be here
//
// HTTP, and knowledge of servers, images or networks. Passwords are never logged or returned, not even hashed, outside of this package.
package identity
