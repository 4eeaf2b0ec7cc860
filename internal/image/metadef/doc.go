// Package metadef owns metadata definitions (Glance's metadefs): namespaces with their objects, properties, tags and associations with resource types. They describe what may
// be said about images, flavors and so on, for people and their tools; nothing in this program obeys them.
//
// namespace.go has the noun and its verbs, item.go what a namespace holds, types.go resource types, standard.go the definitions that every cloud starts with
// (standard.txt, facts in a form of its own), queries.go the tables metadef_*; nobody else reads them.
//
// A private namespace is its owning project's and admins' to see; who may change anything is for the caller's policy rules, except that a protected namespace is not
// deleted. Nothing is kept in memory and no goroutine is started.
//
// Never here: HTTP, JSON schemas of the API, images.
package metadef
