// Package httpapi owns OpenStack's HTTP habits, once for all services: route tables, token and policy checks, microversions, body schemas,
// error bodies, request ids, links and paging.
//
// A service is a Service value: its Routes are a table (method, path, microversion range, policy rule, body schema, handler, success
// code). Handler compiles it. To add a call is to add a row and a handler.
//
// A request goes through, in this order: request id → route → token (401) → project in the URL and microversion (400/406) → method and
// microversion range of the route (404/405) → body size, media type, JSON (413/415/400) → schema (400) → policy (403) → the handler →
// the ledger's transforms for older microversions → JSON. A handler returns a value or an error; errors are fault kinds and become
// the service's own body in one place (ErrorStyle). A panic or an unclassified error is a 500 that names only the request id.
//
// Handlers speak the newest microversion. What older clients must not see is taken away by Changes, newest to oldest.
//
// Nothing here knows what a server or an image is. No room below an api/ package imports this one.
package httpapi
