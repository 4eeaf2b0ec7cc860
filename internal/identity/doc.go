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
// The keys lie in the database, sealed with the cloud's secret (keyring.go); so does what must be known in clear to check a signature: credentials,
// OAuth secrets. Controllers tell each other of writes (Deps.Changed, Invalidate); CacheAge bounds what a lost message costs.
//
// # Borrowed rights
//
// A trust, an application credential or an OAuth1 access token lends rights: delegation.go says whose and which. Such a token is looked up like any
// other and void as soon as what it was drawn from is gone, or grants what its owner no longer has. It gets no other token, and makes nothing that
// would outlive it.
//
// # Log-ins
//
// Wrong name and wrong password get one answer after one bcrypt run (and, where failures are counted, one write). throttle.go slows guessing down
// before any hash is computed; security.go holds Keystone's PCI rules; multifactor.go TOTP and rules for several factors.
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
