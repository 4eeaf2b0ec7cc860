package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/policy"
)

// Request is one call as a handler sees it.
type Request struct {
	*http.Request
	W       http.ResponseWriter // for Stream routes only
	ID      string              // req-<uuid>
	Creds   *policy.Credentials
	Version Version
	Mount   Mount
	Project string // as in the URL; "" when not there
	Route   *Route

	svc  *Service
	t    *table
	body []byte
	doc  any
	held holding
}

// Param is a path wildcard.
func (r *Request) Param(name string) string { return r.PathValue(name) }

// Decode fills v from the body, which has passed the route's schema. With an Action route v is filled from the whole body.
func (r *Request) Decode(v any) error {
	if len(r.body) == 0 {
		return fault.Invalid("", "a JSON body is required")
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		return fault.Invalid("", "malformed request body: %v", err)
	}
	return nil
}

// Document is the parsed body (nil if none): maps, slices, strings, json.Number, bool.
func (r *Request) Document() any { return r.doc }

// Render gives a view as the bytes that this client would get, for handlers that keep them: those are answered as they are.
func (r *Request) Render(view any) (json.RawMessage, error) {
	r.t.downgrade(r, r.Route.Resource, view)
	return marshal(view)
}

// RawBody is the body's bytes.
func (r *Request) RawBody() []byte { return r.body }

// Authorize checks another rule, or the same on a given target: 403 in OpenStack's words.
func (r *Request) Authorize(rule string, t policy.Target) error {
	return r.svc.Policy.Enforce(rule, r.Creds, t)
}

// Allowed is Authorize as a bool.
func (r *Request) Allowed(rule string, t policy.Target) bool {
	return r.svc.Policy.Allowed(rule, r.Creds, t)
}

// OwnTarget is the target "the caller's own project".
func (r *Request) OwnTarget() policy.Target {
	return policy.Target{"project_id": r.Creds.ProjectID, "user_id": r.Creds.UserID}
}

// Host is scheme://host of the request.
func (r *Request) HostURL() string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Request.Host
}

// Link is the self link of a resource: host, mount, the project if the request's URL had it, and the given segments.
func (r *Request) Link(segments ...string) string {
	return r.link(r.Mount.Prefix, segments)
}

// Bookmark is Link without the version.
func (r *Request) Bookmark(segments ...string) string { return r.link("", segments) }

func (r *Request) link(prefix string, segments []string) string {
	var b strings.Builder
	b.WriteString(r.HostURL())
	b.WriteString(prefix)
	if r.Project != "" {
		b.WriteString("/" + r.Project)
	}
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// Links is the usual pair self and bookmark.
func (r *Request) Links(segments ...string) []map[string]any {
	return []map[string]any{{"rel": "self", "href": r.Link(segments...)}, {"rel": "bookmark", "href": r.Bookmark(segments...)}}
}

// Page is what a list request asks for.
type Page struct {
	Limit  int // number of items; never above the service's maximum
	Marker string
}

// Page reads limit and marker. A negative or non-numeric limit is 400; above most it is cut.
func (r *Request) Page(most int) (Page, error) {
	p := Page{Limit: most, Marker: r.URL.Query().Get("marker")}
	if s := r.URL.Query().Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return p, fault.Invalid("limit", "Invalid input for query parameters limit. Value: %s. limit must be an integer >= 0", s)
		}
		p.Limit = min(n, most)
	}
	return p, nil
}

// NextLinks is the `<collection>_links` value when the page is full, else nil.
func (r *Request) NextLinks(p Page, got int, lastID string) []map[string]any {
	if got < p.Limit || p.Limit == 0 {
		return nil
	}
	return []map[string]any{{"rel": "next", "href": r.NextURL(lastID)}}
}

// NextURL is the request's own URL with marker set.
func (r *Request) NextURL(marker string) string {
	q := r.URL.Query()
	q.Set("marker", marker)
	path := r.Mount.Prefix
	if r.Project != "" {
		path += "/" + r.Project
	}
	return fmt.Sprintf("%s%s%s?%s", r.HostURL(), path, r.URL.Path, q.Encode())
}
