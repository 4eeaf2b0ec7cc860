package httpapi

import (
	"context"
	"log/slog"
	"net/http"

	"nephos/internal/policy"
)

// Authenticator turns a token into credentials; fault.KindUnauthorized when it is unknown, expired or revoked.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (*policy.Credentials, error)
}

// Handler answers one call. The value is the JSON body, a *Response for control over status and headers, or nil for none.
type Handler func(r *Request) (any, error)

// ProjectMode says whether a mount has the project id as its first path segment.
type ProjectMode uint8

// The modes.
const (
	ProjectNone     ProjectMode = iota // never there
	ProjectOptional                    // stripped when the segment looks like an id (32 to 36 hex digits and dashes)
	ProjectRequired                    // always there, whatever it looks like
)

// Mount is a prefix under which all Routes are served.
type Mount struct {
	Prefix      string // "/v2.1"; "" serves at the root
	Project     ProjectMode
	Unversioned bool // microversion headers are ignored and none are sent (Nova's /v2)
	Lenient     bool // body keys that the schema does not know are ignored instead of refused (Nova's /v2)
}

// Route is one row of a service's table.
type Route struct {
	Method string
	Path   string // relative to the mount, http.ServeMux wildcards: "/servers/{id}"
	Name   string // operation id, unique with Min: "servers.show"
	Min    Version
	Max    Version // zero: no bound
	Action string  // the one key of the body that selects this row among those of the same path

	Public bool   // no token is asked for; Request.Creds may be nil
	Rule   string // policy rule, checked against the caller's own project; "" = any valid token
	// Target overrides what Rule is checked against; nil: the caller's own project and user.
	Target func(r *Request) policy.Target

	Body    Schemas // JSON schemas by microversion; empty: any JSON object or no body
	Query   Schemas // schemas of the query, as an object of string lists
	MaxBody int64   // bytes; 0: DefaultMaxBody
	Login   bool    // checks a password, so is slow: its own bound of requests at once
	Stream  bool    // the handler reads and writes raw bytes; no size limit, no deadline

	Resource string // what Changes call the answer: "server"; see Change
	Status   int    // of success; 0: 200, or 204 without a body
	Handler  Handler
}

// DefaultMaxBody bounds a request body, in bytes, where the route says nothing.
const DefaultMaxBody = 512 << 10

// Change is one row of the microversion ledger: what version At added to a resource, undone for older clients. Response gets each
// object of that resource in the answer: body[Resource], or each element of body[Resource+"s"], or the body itself.
type Change struct {
	At       Version
	Resource string
	Name     string // what the version did, in a few words
	Response func(r *Request, obj map[string]any)
}

// Service is everything that one API needs. It must not be changed after Compile.
type Service struct {
	Name    string // "compute"
	Auth    Authenticator
	AuthURI string // for WWW-Authenticate
	Policy  *policy.Enforcer
	Errors  ErrorStyle
	Micro   *Microversions
	Mounts  []Mount
	Routes  []Route
	Root    []Route // served at absolute paths, unversioned: version documents
	Ledger  []Change
	Log     *slog.Logger
	Limits  *Limits // nil: none

	WrongMethod     int      // status for a known path with another method: 404 as Nova does, or 0 for 405
	RequestIDs      []string // response headers that carry the request id, besides X-Openstack-Request-Id
	StrictSlash     bool     // a slash at a route's end is an empty id and so 404 (services on Python's Routes); else it is ignored
	TrimSuffix      string   // a path suffix that old clients add: ".json"
	MismatchMessage string   // 400 text when the project in the URL is not the token's
}

// Response is a handler's answer when the table's success code and no headers are not enough.
type Response struct {
	Status int // 0: the route's
	Header http.Header
	Body   any // nil: none
}
