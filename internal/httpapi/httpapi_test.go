package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/policy"
)

const project = "0123456789abcdef0123456789abcdef"

type auth struct{}

func (auth) Authenticate(_ context.Context, token string) (*policy.Credentials, error) {
	switch token {
	case "admin":
		return &policy.Credentials{UserID: "u0", ProjectID: project, Roles: []string{"admin", "member", "reader"}}, nil
	case "reader":
		return &policy.Credentials{UserID: "u1", ProjectID: project, Roles: []string{"reader"}}, nil
	case "other":
		return &policy.Credentials{UserID: "u2", ProjectID: strings.Repeat("f", 32), Roles: []string{"reader"}}, nil
	case "database down":
		return nil, errors.New("dial tcp 10.0.0.1: connection refused")
	}
	return nil, fault.NotFound("no such token")
}

const thingBody = `{"type": "object", "properties": {"thing": {"type": "object", "properties": {
	"name": {"type": "string", "minLength": 1, "maxLength": 9},
	"networks": {"type": "array", "items": {"type": "object", "properties": {"uuid": {"type": "string", "format": "uuid"}}, "required": ["uuid"], "additionalProperties": false}},
	"password": {"type": "string", "pattern": "^[a-z]*$"},
	"tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2}},
	"required": ["name"], "additionalProperties": false}}, "required": ["thing"], "additionalProperties": false}`

type m = map[string]any

func echo(r *httpapi.Request) (any, error) {
	return m{"thing": m{"id": r.Param("id"), "version": r.Version.String(), "project": r.Project, "route": r.Route.Name, "doc": r.Document(), "new": true, "newer": true}}, nil
}

// service is a small service with one of each feature.
func service(style httpapi.ErrorStyle, log *slog.Logger) *httpapi.Service {
	rules, err := policy.New(policy.Base, policy.Rules{"things:admin": "rule:admin", "things:own": "rule:owner"})
	if err != nil {
		panic(err)
	}
	v := httpapi.V
	fail := func(err error) httpapi.Handler {
		return func(*httpapi.Request) (any, error) { return nil, err }
	}
	return &httpapi.Service{
		Name: "thing", Auth: auth{}, AuthURI: "http://k/v3", Policy: rules, Errors: style, Log: log,
		Micro:      &httpapi.Microversions{Service: "thing", LegacyHeader: "X-Thing-Version", Min: v(2, 1), Max: v(2, 9), Default: v(2, 1)},
		Mounts:     []httpapi.Mount{{Prefix: "/v2", Project: httpapi.ProjectOptional, Unversioned: true, Lenient: true}, {Prefix: "/v2.1", Project: httpapi.ProjectOptional}, {Prefix: "/v3", Project: httpapi.ProjectRequired}},
		RequestIDs: []string{"X-Compute-Request-Id"}, TrimSuffix: ".json",
		Root: []httpapi.Route{{Method: "GET", Path: "/", Name: "versions", Public: true, Status: 300, Handler: func(r *httpapi.Request) (any, error) { return m{"creds": r.Creds != nil}, nil }}},
		Routes: []httpapi.Route{
			{Method: "GET", Path: "/things", Name: "list", Query: httpapi.Schemas{{Since: v(2, 1), JSON: `{"type": "object", "properties": {"limit": {"items": {"pattern": "^[0-9]+$"}}, "marker": {}}, "additionalProperties": false}`}},
				Resource: "thing", Handler: func(r *httpapi.Request) (any, error) {
					p, err := r.Page(2)
					if err != nil {
						return nil, err
					}
					list := []any{m{"id": "a", "new": true, "newer": true}, m{"id": "b", "new": true, "newer": true}}[:min(2, p.Limit)]
					out := m{"things": list}
					if links := r.NextLinks(p, len(list), "b"); links != nil {
						out["things_links"] = links
					}
					return out, nil
				}},
			{Method: "POST", Path: "/things", Name: "create", Rule: "things:admin", Body: httpapi.Schemas{{Since: v(2, 1), JSON: thingBody}}, MaxBody: 4096, Status: 202, Resource: "thing", Handler: echo},
			{Method: "GET", Path: "/things/{id}", Name: "show", Resource: "thing", Handler: echo},
			{Method: "DELETE", Path: "/things/{id}", Name: "delete", Handler: func(*httpapi.Request) (any, error) { return nil, nil }},
			{Method: "GET", Path: "/new", Name: "new", Min: v(2, 5), Handler: echo},
			{Method: "GET", Path: "/old", Name: "old", Max: v(2, 4), Handler: echo},
			{Method: "POST", Path: "/things/{id}/action", Name: "reboot", Action: "reboot", Body: httpapi.Schemas{{Since: v(2, 1), JSON: `{"type": "object", "properties": {"reboot": {"type": "object", "properties": {"type": {"enum": ["HARD", "SOFT"]}}, "required": ["type"]}}, "required": ["reboot"]}`}}, Status: 202, Handler: echo},
			{Method: "POST", Path: "/things/{id}/action", Name: "lock", Action: "lock", Min: v(2, 5), Handler: echo},
			{Method: "POST", Path: "/things/{id}/action", Name: "seize", Action: "seize", Rule: "things:admin", Handler: echo},
			{Method: "GET", Path: "/owned/{id}", Name: "owned", Rule: "things:own", Target: func(r *httpapi.Request) policy.Target { return policy.Target{"project_id": r.Param("id")} }, Handler: echo},
			{Method: "GET", Path: "/panic", Name: "panic", Handler: func(*httpapi.Request) (any, error) { panic("secret in memory") }},
			{Method: "GET", Path: "/bug", Name: "bug", Handler: fail(errors.New("secret in the database"))},
			{Method: "GET", Path: "/half", Name: "half", Stream: true, Handler: func(r *httpapi.Request) (any, error) {
				io.WriteString(r.W, "half an answ") //nolint:errcheck // the answer is broken off next
				http.NewResponseController(r.W).Flush()
				return nil, errors.New("the disk is gone")
			}},
			{Method: "GET", Path: "/described", Name: "described", Stream: true, Handler: func(r *httpapi.Request) (any, error) {
				r.W.Header().Set("Content-Type", "application/octet-stream")
				return nil, fault.NotFound("no data")
			}},
			{Method: "GET", Path: "/file", Name: "file", Stream: true, Handler: func(r *httpapi.Request) (any, error) {
				http.ServeFile(r.W, r.Request, r.Header.Get("X-File"))
				return nil, nil
			}},
			{Method: "PUT", Path: "/stream", Name: "stream", Stream: true, Handler: func(r *httpapi.Request) (any, error) {
				n, err := io.Copy(io.Discard, r.Body)
				return m{"got": n}, err
			}},
			{Method: "GET", Path: "/headers", Name: "headers", Handler: func(*httpapi.Request) (any, error) {
				return &httpapi.Response{Status: 201, Header: http.Header{"Location": {"/there"}}}, nil
			}},
			{Method: "GET", Path: "/links", Name: "links", Handler: func(r *httpapi.Request) (any, error) {
				return m{"links": r.Links("things", "a b")}, nil
			}},
			{Method: "GET", Path: "/tokens/{id}", Name: "tokens.show", Handler: echo},
			{Method: "GET", Path: "/quota", Name: "quota", Handler: fail(fault.Quota("too many"))},
			{Method: "GET", Path: "/typed", Name: "typed", Handler: fail(fault.Conflict("taken").WithType("IpAddressInUse"))},
			{Method: "GET", Path: "/slow", Name: "slow", Handler: func(r *httpapi.Request) (any, error) {
				d, ok := r.Context().Deadline()
				return m{"deadline": ok && !d.IsZero()}, nil
			}},
		},
		Ledger: []httpapi.Change{
			{At: v(2, 3), Resource: "thing", Name: "new", Response: func(_ *httpapi.Request, o map[string]any) { delete(o, "new") }},
			{At: v(2, 6), Resource: "thing", Name: "newer", Response: func(_ *httpapi.Request, o map[string]any) { delete(o, "newer") }},
		},
	}
}

type answer struct {
	status int
	header http.Header
	raw    string
	doc    m
}

type client struct {
	t *testing.T
	h http.Handler
}

func novaLike(t *testing.T) client {
	t.Helper()
	return compiled(t, service(httpapi.NovaErrors, slog.New(slog.DiscardHandler)))
}

func compiled(t *testing.T, s *httpapi.Service) client {
	t.Helper()
	h, err := s.Compile()
	require.NoError(t, err)
	return client{t, h}
}

// do sends "METHOD /path" with a token, a body and headers as "Name: value".
func (c client) do(token, line, body string, headers ...string) answer {
	c.t.Helper()
	method, path, _ := strings.Cut(line, " ")
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, req)
	a := answer{status: w.Code, header: w.Result().Header, raw: w.Body.String()}
	json.Unmarshal(w.Body.Bytes(), &a.doc) //nolint:errcheck // not every answer is JSON
	return a
}

// TestOrderOfChecks: each request has several things wrong; the first in the documented order is answered.
func TestOrderOfChecks(t *testing.T) {
	t.Parallel()
	c := novaLike(t)
	for _, x := range []struct {
		token, line, body, header string
		status                    int
		message                   string
	}{
		{"", "GET /v2.1/nowhere", "", "X-Thing-Version: 9.9", 401, "requires authentication"},
		{"unknown", "GET /v2.1/things", "", "", 401, "requires authentication"},
		{"reader", "GET /v2.1/nowhere", "", "X-Thing-Version: 9.9", 406, "Version 9.9 is not supported"},
		{"reader", "GET /v2.1/nowhere", "", "X-Thing-Version: x", 400, "invalid format"},
		{"reader", "GET /v2.1/nowhere", "", "", 404, "could not be found"},
		{"reader", "GET /elsewhere", "", "", 404, "could not be found"},
		{"reader", "GET /v2.1x/things", "", "", 404, "could not be found"},
		{"reader", "POST /v2.1/" + strings.Repeat("a", 32) + "/things", "{", "X-Thing-Version: x", 400, "Malformed request url"},
		{"reader", "PATCH /v2.1/things", "{", "", 405, "not allowed"},
		{"reader", "GET /v2.1/new", "", "", 404, "could not be found"},
		{"reader", "POST /v2.1/things", strings.Repeat("x", 5000), "Content-Type: text/plain", 413, "at most 4096 bytes"},
		{"reader", "POST /v2.1/things", "{", "Content-Type: text/plain", 415, "application/json"},
		{"reader", "POST /v2.1/things", "{", "", 400, "not valid JSON"},
		{"reader", "POST /v2.1/things", `{"thing": {"name": "x"}}}`, "", 400, "not valid JSON"},
		{"reader", "POST /v2.1/things", `{"thing": {"name": "x"}} {}`, "", 400, "not valid JSON"},
		{"reader", "POST /v2.1/things", "", "", 400, "JSON object is required"},
		{"reader", "POST /v2.1/things", `{"thing": {}}`, "", 400, "name"},
		{"reader", "POST /v2.1/things", `{"thing": {"name": "x"}}`, "", 403, "Policy doesn't allow things:admin to be performed."},
		{"admin", "POST /v2.1/things", `{"thing": {"name": "x"}}`, "", 202, ""},
		{"database down", "GET /v2.1/things", "", "", 500, "request id"},
	} {
		a := c.do(x.token, x.line, x.body, x.header)
		require.Equal(t, x.status, a.status, "%+v: %s", x, a.raw)
		require.Contains(t, a.raw, x.message, "%+v", x)
		require.NotContains(t, a.raw, "10.0.0.1")
		require.Regexp(t, "^req-[0-9a-f-]{36}$", a.header.Get("X-Openstack-Request-Id"))
		require.Equal(t, a.header.Get("X-Openstack-Request-Id"), a.header.Get("X-Compute-Request-Id"))
		if x.status == 401 {
			require.Equal(t, `Keystone uri="http://k/v3"`, a.header.Get("WWW-Authenticate"))
			require.Equal(t, "Unauthorized", a.doc["error"].(m)["title"], "401 has Keystone's body everywhere")
		}
	}
	require.Equal(t, "GET, POST", c.do("reader", "PATCH /v2.1/things", "").header.Get("Allow"))
}

func TestPublicRoutes(t *testing.T) {
	t.Parallel()
	c := novaLike(t)
	require.Equal(t, 300, c.do("", "GET /", "").status)
	require.Equal(t, 300, c.do("", "HEAD /", "").status)
	require.Equal(t, m{"creds": false}, c.do("nonsense", "GET /", "").doc)
	require.Equal(t, m{"creds": true}, c.do("admin", "GET /", "", "X-Thing-Version: 9.9").doc, "version documents do not negotiate")
	require.Equal(t, 401, c.do("", "POST /", "").status)
}

// TestErrorBodies is the same failures in each service's form.
func TestErrorBodies(t *testing.T) {
	t.Parallel()
	detail := func(a answer, path ...string) any {
		var v any = a.doc
		for _, p := range path {
			if list, ok := v.([]any); ok {
				v = list[0]
			}
			v = v.(m)[p]
		}
		return v
	}
	for name, x := range map[string]struct {
		style    httpapi.ErrorStyle
		message  []string
		quota    int
		check    func(t *testing.T, missing, quota, typed answer)
		notFound string
	}{
		"nova": {httpapi.NovaErrors, []string{"itemNotFound", "message"}, 403, func(t *testing.T, missing, quota, typed answer) {
			require.EqualValues(t, 404, detail(missing, "itemNotFound", "code"))
			require.Contains(t, quota.doc, "forbidden")
			require.Contains(t, typed.doc, "conflictingRequest")
		}, ""},
		"cinder": {httpapi.CinderErrors, []string{"itemNotFound", "message"}, 413, func(t *testing.T, _, quota, _ answer) { require.Contains(t, quota.doc, "overLimit") }, ""},
		"keystone": {httpapi.KeystoneErrors, []string{"error", "message"}, 403, func(t *testing.T, missing, _, _ answer) {
			require.Equal(t, "Not Found", detail(missing, "error", "title"))
			require.EqualValues(t, 404, detail(missing, "error", "code"))
		}, ""},
		"glance": {httpapi.GlanceErrors, []string{"message"}, 413, func(t *testing.T, missing, _, _ answer) { require.Equal(t, "404 Not Found", missing.doc["code"]) }, ""},
		"neutron": {httpapi.NeutronErrors, []string{"NeutronError", "message"}, 409, func(t *testing.T, missing, quota, typed answer) {
			require.Equal(t, "HTTPNotFound", detail(missing, "NeutronError", "type"))
			require.Equal(t, "OverQuota", detail(quota, "NeutronError", "type"))
			require.Equal(t, "IpAddressInUse", detail(typed, "NeutronError", "type"))
			require.Equal(t, "", detail(typed, "NeutronError", "detail"))
		}, ""},
		"placement": {httpapi.PlacementErrors, []string{"errors", "detail"}, 403, func(t *testing.T, missing, _, typed answer) {
			require.Equal(t, "placement.undefined_code", detail(missing, "errors", "code"))
			require.Equal(t, "IpAddressInUse", detail(typed, "errors", "code"))
			require.Equal(t, missing.header.Get("X-Openstack-Request-Id"), detail(missing, "errors", "request_id"))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := compiled(t, service(x.style, slog.New(slog.DiscardHandler)))
			missing, quota, typed, bug := c.do("reader", "GET /v2.1/nowhere", ""), c.do("reader", "GET /v2.1/quota", ""), c.do("reader", "GET /v2.1/typed", ""), c.do("reader", "GET /v2.1/bug", "")
			require.Equal(t, 404, missing.status)
			require.Equal(t, "The resource could not be found.", detail(missing, x.message...))
			require.Equal(t, x.quota, quota.status)
			require.Equal(t, 409, typed.status)
			require.Equal(t, 500, bug.status)
			require.NotContains(t, bug.raw, "secret")
			require.Contains(t, bug.raw, bug.header.Get("X-Openstack-Request-Id"))
			require.Equal(t, "application/json", missing.header.Get("Content-Type"))
			require.Equal(t, 405, c.do("reader", "PATCH /v2.1/things", "").status)
			x.check(t, missing, quota, typed)
		})
	}
}

func TestNegotiationAndLedger(t *testing.T) {
	t.Parallel()
	c := novaLike(t)
	for _, x := range []struct {
		header, version string
		keys            []string
		status          int
	}{
		{"", "2.1", nil, 200},
		{"X-Thing-Version: 2.3", "2.3", []string{"new"}, 200},
		{"X-Thing-Version: 2.5", "2.5", []string{"new"}, 200},
		{"OpenStack-API-Version: thing 2.6", "2.6", []string{"new", "newer"}, 200},
		{"OpenStack-API-Version: volume 3.70, Thing 2.6", "2.6", []string{"new", "newer"}, 200},
		{"OpenStack-API-Version: volume 3.70", "2.1", nil, 200},
		{"OpenStack-API-Version: thing latest", "2.9", []string{"new", "newer"}, 200},
		{"X-Thing-Version: latest", "2.9", []string{"new", "newer"}, 200},
		{"X-Thing-Version: 2.0", "", nil, 406},
		{"X-Thing-Version: 2.10", "", nil, 406},
		{"X-Thing-Version: 3.1", "", nil, 406},
		{"X-Thing-Version: 2", "", nil, 400},
		{"X-Thing-Version: 2.01", "", nil, 400},
		{"X-Thing-Version: +2.1", "", nil, 400},
		{"X-Thing-Version: 2.1.1", "", nil, 400},
	} {
		a := c.do("reader", "GET /v2.1/things/a", "", x.header)
		require.Equal(t, x.status, a.status, x.header)
		if x.status != 200 {
			continue
		}
		thing := a.doc["thing"].(m)
		require.Equal(t, x.version, thing["version"], x.header)
		require.Equal(t, "thing "+x.version, a.header.Get("OpenStack-API-Version"))
		require.Equal(t, x.version, a.header.Get("X-Thing-Version"))
		require.Equal(t, []string{"OpenStack-API-Version", "X-Thing-Version"}, a.header.Values("Vary"))
		list := c.do("reader", "GET /v2.1/things", "", x.header).doc["things"].([]any)
		for _, o := range append(list, thing) {
			for _, k := range []string{"new", "newer"} {
				_, have := o.(m)[k]
				require.Equal(t, strings.Contains(fmt.Sprint(x.keys)+" ", k+"]") || strings.Contains(fmt.Sprint(x.keys), k+" "), have, "%s %s", x.header, k)
			}
		}
	}
	a := c.do("reader", "GET /v2/things/a", "", "X-Thing-Version: 9.9")
	require.Equal(t, 200, a.status, "an unversioned mount ignores the headers")
	require.Empty(t, a.header.Get("OpenStack-API-Version"))
	require.NotContains(t, a.doc["thing"], "new")
	require.Equal(t, 404, c.do("reader", "GET /v2.1/old", "", "X-Thing-Version: 2.5").status)
	require.Equal(t, 200, c.do("reader", "GET /v2.1/old", "", "X-Thing-Version: 2.4").status)
	require.Equal(t, 200, c.do("reader", "GET /v2.1/new", "", "X-Thing-Version: 2.5").status)
}

func TestActions(t *testing.T) {
	t.Parallel()
	c := novaLike(t)
	const line = "POST /v2.1/things/a/action"
	for _, x := range []struct {
		token, body, header string
		status              int
		has                 string
	}{
		{"reader", `{"reboot": {"type": "HARD"}}`, "", 202, `"route":"reboot"`},
		{"reader", `{"reboot": {"type": "WARM"}}`, "", 400, "field/attribute type"},
		{"reader", `{"reboot": null}`, "", 400, "reboot"},
		{"reader", `{"lock": null}`, "X-Thing-Version: 2.5", 200, `"route":"lock"`},
		{"reader", `{"lock": null}`, "", 400, "There is no such action: lock"},
		{"reader", `{"seize": {}}`, "", 403, "things:admin"},
		{"reader", `{"dance": {}}`, "", 400, "There is no such action: dance"},
		{"reader", `{"reboot": {"type": "HARD"}, "lock": null}`, "", 400, "Malformed request body"},
		{"reader", `[]`, "", 400, "Malformed request body"},
		{"reader", `{}`, "", 400, "Malformed request body"},
		{"reader", ``, "", 400, "Malformed request body"},
	} {
		a := c.do(x.token, line, x.body, x.header)
		require.Equal(t, x.status, a.status, "%s: %s", x.body, a.raw)
		require.Contains(t, a.raw, x.has)
	}
}

// TestSchemaMessages: the message names the field as Nova does, and within a list where in the list it is.
func TestSchemaMessages(t *testing.T) {
	t.Parallel()
	c := novaLike(t)
	for body, want := range map[string]string{
		`{"thing": {"name": ""}}`:             `Invalid input for field/attribute name. Value: "". `,
		`{"thing": {"name": "x", "more": 1}}`: `Invalid input for field/attribute thing. Value: {"more":1,"name":"x"}. `,
		`{"thing": {"name": "x", "networks": [{"uuid": "11111111-2222-3333-4444-555555555555"}, {"uuid": "x"}]}}`: `Invalid input for field/attribute networks.1.uuid. Value: "x". `,
		`{"thing": {"name": "x", "networks": [{}]}}`:                                                              `Invalid input for field/attribute networks.0. Value: {}. `,
		`{"thing": {"name": "x", "networks": {"0": 1}}}`:                                                          `Invalid input for field/attribute networks. Value: {"0":1}. `,
		`{"thing": {"name": "x", "tags": [7]}}`:                                                                   `Invalid input for field/attribute tags.0. Value: 7. `,
		`{"thing": {"name": "x", "tags": ["a", "b", "c"]}}`:                                                       `Invalid input for field/attribute tags. Value: ["a","b","c"]. `,
		`{"thing": {"name": "x", "password": "Geheim"}}`:                                                          `Invalid input for field/attribute password. Value: "***". '***' does not match pattern`,
		`{"thing": {"name": "x", "password": ["Geheim"]}}`:                                                        `Invalid input for field/attribute password. Value: "***". `,
		`{"thing": {"name": "x", "more": [{"secret": "Geheim"}]}}`:                                                `Invalid input for field/attribute thing. Value: {"more":[{"secret":"***"}],"name":"x"}. `,
		`{"thing": {"name": "` + strings.Repeat("x", 300) + `"}}`:                                                 `…. `,
		`{"thong": {}}`: "Invalid input: ",
		`[]`:            "Invalid input: ",
	} {
		a := c.do("admin", "POST /v2.1/things", body)
		require.Equal(t, 400, a.status, body)
		require.Contains(t, a.doc["badRequest"].(m)["message"], want, body)
		require.NotContains(t, a.raw, "Geheim")
	}
	a := c.do("reader", "GET /v2.1/things?limit=x", "")
	require.Contains(t, a.doc["badRequest"].(m)["message"], `Invalid input for query parameters limit. Value: "x". `)
	require.Equal(t, 400, c.do("reader", "GET /v2.1/things?nonsense=1", "").status)
	require.Equal(t, 200, c.do("reader", "GET /v2/things?nonsense=1", "").status, "a lenient mount ignores what it does not know")
}

func TestLenientMount(t *testing.T) {
	t.Parallel()
	c := novaLike(t)
	const body = `{"thing": {"name": "x", "more": 1, "networks": [{"uuid": "11111111-2222-3333-4444-555555555555", "y": 1}]}, "z": 1}`
	require.Equal(t, 400, c.do("admin", "POST /v2.1/things", body).status)
	require.Equal(t, 202, c.do("admin", "POST /v2/things", body).status)
	require.Equal(t, 400, c.do("admin", "POST /v2/things", `{"thing": {"name": ""}}`).status, "what is known must still be right")
}

func TestProjectInURL(t *testing.T) {
	t.Parallel()
	c := novaLike(t)
	for line, want := range map[string]string{
		"GET /v2.1/things/a":                      "",
		"GET /v2.1/" + project + "/things/a":      project,
		"GET /v2.1/" + project + "/things/a/":     project,
		"GET /v2.1/" + project + "/things/a.json": project,
		"GET /v3/" + project + "/things/a":        project,
	} {
		a := c.do("reader", line, "")
		require.Equal(t, 200, a.status, line)
		require.Equal(t, want, a.doc["thing"].(m)["project"], line)
		require.Equal(t, "a", a.doc["thing"].(m)["id"], line)
	}
	require.Equal(t, 400, c.do("other", "GET /v2.1/"+project+"/things/a", "").status)
	require.Equal(t, 401, c.do("", "GET /v2.1/"+project+"/things/a", "").status)
	require.Equal(t, 400, c.do("reader", "GET /v3/x/things/a", "").status)
	require.Equal(t, 404, c.do("reader", "GET /v2.1/x/things/a", "").status, "what does not look like a project is a path")
	require.Equal(t, 200, c.do("reader", "GET /v2.1/owned/"+project, "").status)
	require.Equal(t, 403, c.do("reader", "GET /v2.1/owned/x", "").status)
}

func TestPagingAndLinks(t *testing.T) {
	t.Parallel()
	c := novaLike(t)
	a := c.do("reader", "GET /v2.1/"+project+"/things?limit=1", "")
	require.Equal(t, []any{m{"rel": "next", "href": "http://example.com/v2.1/" + project + "/things?limit=1&marker=b"}}, a.doc["things_links"])
	a = c.do("reader", "GET /v2.1/things?limit=9&marker=a", "")
	require.Equal(t, "http://example.com/v2.1/things?limit=9&marker=b", a.doc["things_links"].([]any)[0].(m)["href"], "a larger page is cut, so it is full")
	require.NotContains(t, c.do("reader", "GET /v2.1/things?limit=0", "").doc, "things_links")
	require.Equal(t, 400, c.do("reader", "GET /v2.1/things?limit=-1", "").status)
	require.Equal(t, []any{m{"rel": "self", "href": "http://example.com/v2.1/" + project + "/things/a%20b"}, m{"rel": "bookmark", "href": "http://example.com/" + project + "/things/a%20b"}},
		c.do("reader", "GET /v2.1/"+project+"/links", "").doc["links"])
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	c := novaLike(t)
	a := c.do("reader", "DELETE /v2.1/things/a", "")
	require.Equal(t, 204, a.status)
	require.Empty(t, a.raw)
	a = c.do("reader", "GET /v2.1/headers", "")
	require.Equal(t, 201, a.status)
	require.Equal(t, "/there", a.header.Get("Location"))
	require.Equal(t, "0", a.header.Get("Content-Length"))
	require.Equal(t, m{"deadline": true}, c.do("reader", "GET /v2.1/slow", "").doc)
	require.Equal(t, m{"got": 600000.0}, c.do("reader", "PUT /v2.1/stream", strings.Repeat("x", 600000), "Content-Type: application/octet-stream").doc, "a stream has no size limit and no media type")
	a = c.do("reader", "GET /v2.1/described", "")
	require.Equal(t, 404, a.status)
	require.Equal(t, "application/json", a.header.Get("Content-Type"), "an error is described as what it is")
}

// TestBugsLeakNothing: a panic and an unknown error are a 500 that names the request id; the log has the rest. An answer that has begun is broken off.
func TestBugsLeakNothing(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := compiled(t, service(httpapi.NovaErrors, slog.New(slog.NewTextHandler(&log, nil))))
	for path, cause := range map[string]string{"/panic": "secret in memory", "/bug": "secret in the database"} {
		a := c.do("reader", "GET /v2.1"+path, "")
		require.Equal(t, 500, a.status)
		require.NotContains(t, a.raw, "secret")
		require.NotContains(t, a.raw, "goroutine")
		require.Contains(t, a.doc["computeFault"].(m)["message"], a.header.Get("X-Openstack-Request-Id"))
		require.Contains(t, log.String(), cause)
	}
	srv := httptest.NewServer(c.h)
	t.Cleanup(srv.Close)
	req, err := http.NewRequest("GET", srv.URL+"/v2.1/half", nil)
	require.NoError(t, err)
	req.Header.Set("X-Auth-Token", "reader")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.ReadAll(resp.Body)
	require.Error(t, err, "the client sees that the answer is not whole")
}

func TestTokensAreNotLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := compiled(t, service(httpapi.NovaErrors, slog.New(slog.NewTextHandler(&log, nil))))
	for _, line := range []string{"GET /v2.1/tokens/s3cret", "GET /v2.1/tokens/s3cret/endpoints", "GET /v2.1/" + project + "/tokens/s3cret", "GET /tokens/s3cret", "DELETE /v2.1/tokens/s3cret"} {
		for _, token := range []string{"", "reader"} {
			c.do(token, line, "")
		}
	}
	require.NotContains(t, log.String(), "s3cret")
	require.Contains(t, log.String(), "path=/v2.1/tokens/…")
	require.Contains(t, log.String(), "path=/v2.1/tokens/…/endpoints")
	c.do("reader", "GET /v2.1/"+project+"/things/a", "")
	require.Contains(t, log.String(), "path=/v2.1/"+project+"/things/a ")
}

// TestHEADAndFiles go over a real connection: what net/http itself adds counts.
func TestHEADAndFiles(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(novaLike(t).h)
	t.Cleanup(srv.Close)
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("0123456789"), 100000), 0o600))
	call := func(method, at string, headers ...string) (*http.Response, string) {
		req, err := http.NewRequest(method, srv.URL+at, nil)
		require.NoError(t, err)
		req.Header.Set("X-Auth-Token", "reader")
		req.Header.Set("X-File", path)
		for _, h := range headers {
			name, value, _ := strings.Cut(h, ": ")
			req.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp, string(b)
	}
	get, body := call("GET", "/v2.1/things/a")
	head, none := call("HEAD", "/v2.1/things/a")
	require.Equal(t, 200, head.StatusCode)
	require.Empty(t, none)
	require.Equal(t, int64(len(body)), head.ContentLength)
	require.Equal(t, get.Header.Get("Content-Type"), head.Header.Get("Content-Type"))
	_, all := call("GET", "/v2.1/file")
	require.Len(t, all, 1000000)
	part, some := call("GET", "/v2.1/file", "Range: bytes=5-14")
	require.Equal(t, 206, part.StatusCode)
	require.Equal(t, "5678901234", some)
	missing, _ := call("HEAD", "/v2.1/nowhere")
	require.Equal(t, 404, missing.StatusCode)
}

// readerFrom is a connection that can take a file at once.
type readerFrom struct {
	*httptest.ResponseRecorder
	used bool
}

func (r *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	r.used = true
	return io.Copy(r.ResponseRecorder, src)
}

func TestDownloadsReachSendfile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, []byte("bytes"), 0o600))
	req := httptest.NewRequest("GET", "/v2.1/file", nil)
	req.Header.Set("X-Auth-Token", "reader")
	req.Header.Set("X-File", path)
	w := &readerFrom{ResponseRecorder: httptest.NewRecorder()}
	novaLike(t).h.ServeHTTP(w, req)
	require.True(t, w.used)
	require.Equal(t, "bytes", w.Body.String())
}

func TestNovaAnswersWrongMethodsWith404(t *testing.T) {
	t.Parallel()
	s := service(httpapi.NovaErrors, slog.New(slog.DiscardHandler))
	s.WrongMethod, s.MismatchMessage = http.StatusNotFound, "Malformed request url (nova)"
	c := compiled(t, s)
	require.Equal(t, 404, c.do("reader", "PATCH /v2.1/things", "").status)
	require.Contains(t, c.do("other", "GET /v2.1/"+project+"/things", "").raw, "Malformed request url (nova)")
}

func TestEmptyIDIsNotTheCollection(t *testing.T) {
	t.Parallel()
	s := service(httpapi.NovaErrors, slog.New(slog.DiscardHandler))
	require.Equal(t, 200, compiled(t, s).do("reader", "GET /v2.1/things/", "").status)
	s = service(httpapi.NovaErrors, slog.New(slog.DiscardHandler))
	s.StrictSlash = true
	s.Routes = append(s.Routes, httpapi.Route{Method: "GET", Path: "/", Name: "mount", Handler: func(*httpapi.Request) (any, error) { return m{}, nil }})
	c := compiled(t, s)
	for line, want := range map[string]int{
		"GET /v2.1/things": 200, "GET /v2.1/things/": 404, "DELETE /v2.1/things/": 404, "GET /v2.1/things/a/": 404,
		"GET /v2.1/": 200, "GET /v2.1/" + project + "/": 200, "GET /v2.1/" + project + "/things/": 404,
	} {
		require.Equal(t, want, c.do("reader", line, "").status, line)
	}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	ok := func(*httpapi.Request) (any, error) { return nil, nil }
	for name, rows := range map[string][]httpapi.Route{
		"unknown policy rule": {{Method: "GET", Path: "/a", Rule: "nonsense", Handler: ok}},
		"has no handler":      {{Method: "GET", Path: "/a"}},
		"conflict":            {{Method: "GET", Path: "/{a}/b", Handler: ok}, {Method: "GET", Path: "/b/{a}", Handler: ok}},
		"schema":              {{Method: "GET", Path: "/a", Handler: ok, Body: httpapi.Schemas{{JSON: "{"}}}},
		"jsonschema":          {{Method: "GET", Path: "/a", Handler: ok, Body: httpapi.Schemas{{JSON: `{"type": "nonsense"}`}}}},
	} {
		s := service(httpapi.NovaErrors, slog.Default())
		s.Routes = rows
		_, err := s.Compile()
		require.ErrorContains(t, errors.Join(err, s.CheckSchemas()), name)
	}
}
