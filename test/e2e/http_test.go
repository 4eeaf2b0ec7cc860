package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The services' standard ports.
const (
	identity = 5000
	compute  = 8774
	image    = 9292
	network  = 9696
	volume   = 8776
)

// httpClient keeps enough connections for the parallel tests.
var httpClient = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// reply is what a service said.
type reply struct {
	code int
	head http.Header
	body []byte
	what string // the request, for messages
}

// at walks the body by keys and indexes: at("servers/0/id").
func (r reply) at(path string) any {
	var v any
	if json.Unmarshal(r.body, &v) != nil {
		return nil
	}
	for key := range strings.SplitSeq(path, "/") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (r reply) str(path string) string {
	if v := r.at(path); v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

func (r reply) list(path string) []any {
	l, _ := r.at(path).([]any)
	return l
}

func (r reply) String() string { return fmt.Sprintf("%s: %d %s", r.what, r.code, r.body) }

// message is an error body's text, whatever its envelope.
func (r reply) message() string {
	var v map[string]json.RawMessage
	if json.Unmarshal(r.body, &v) != nil {
		return string(r.body)
	}
	for _, raw := range v {
		var e struct{ Message string }
		if json.Unmarshal(raw, &e) == nil && e.Message != "" {
			return e.Message
		}
	}
	return string(r.body)
}

// api is somebody's token on a cloud.
type api struct {
	t       testing.TB
	c       *cloud
	token   string
	project string
}

// send makes one request. body: nil, string or []byte as it is, anything else as JSON. headers are "Name: value".
func send(t testing.TB, method, url string, body any, headers ...string) reply {
	t.Helper()
	r, err := trySend(method, url, body, headers...)
	require.NoError(t, err)
	return r
}

func trySend(method, url string, body any, headers ...string) (reply, error) {
	r := reply{what: method + " " + url}
	var in io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
		kind = ""
	case string:
		in = strings.NewReader(b)
	case []byte:
		in = bytes.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return r, err
		}
		in = bytes.NewReader(j)
	}
	req, err := http.NewRequest(method, url, in)
	if err != nil {
		return r, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	req.Header.Set("Accept", "application/json")
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	res, err := httpClient.Do(req)
	if err != nil {
		return r, err
	}
	defer res.Body.Close()
	r.code, r.head = res.StatusCode, res.Header
	r.body, err = io.ReadAll(res.Body)
	return r, err
}

// object is a JSON object in a request.
type object = map[string]any

// login gets a v3 token for a project of domain Default.
func (c *cloud) login(user, pw, project string) *api {
	c.t.Helper()
	r := send(c.t, "POST", c.url(identity, "/v3/auth/tokens"), object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": user, "password": pw, "domain": object{"id": "default"}}}},
		"scope":    object{"project": object{"name": project, "domain": object{"id": "default"}}}}})
	require.Equal(c.t, 201, r.code, "%s", r)
	return &api{t: c.t, c: c, token: r.head.Get("X-Subject-Token"), project: r.str("token/project/id")}
}

// in is the same token in a subtest.
func (a *api) in(t testing.TB) *api {
	b := *a
	b.t = t
	return &b
}

func (c *cloud) admin() *api { c.t.Helper(); return c.login("admin", password, "admin") }

// do makes a request with the token. Paths of compute and volume are given without version and project.
func (a *api) do(method string, port int, path string, body any, headers ...string) reply {
	a.t.Helper()
	r, err := a.tryDo(method, port, path, body, headers...)
	require.NoError(a.t, err)
	return r
}

func (a *api) tryDo(method string, port int, path string, body any, headers ...string) (reply, error) {
	prefix := map[int]string{identity: "/v3", compute: "/v2.1", image: "/v2", network: "/v2.0", volume: "/v3/" + a.project}[port]
	return trySend(method, a.c.url(port, prefix+path), body, append([]string{"X-Auth-Token: " + a.token}, headers...)...)
}

// must is do that has to answer with code.
func (a *api) must(code int, method string, port int, path string, body any, headers ...string) reply {
	a.t.Helper()
	r := a.do(method, port, path, body, headers...)
	require.Equal(a.t, code, r.code, "%s", r)
	return r
}

// newest asks for the newest microversion that the issue names.
const newest = "OpenStack-API-Version: compute 2.96"

// upload makes a small image of the bytes given.
func (a *api) upload(name, format string, data []byte) string {
	a.t.Helper()
	id := a.must(201, "POST", image, "/images", object{"name": name, "disk_format": format, "container_format": "bare", "visibility": "private"}).str("id")
	r := a.do("PUT", image, "/images/"+id+"/file", data, "Content-Type: application/octet-stream")
	require.Equal(a.t, 204, r.code, "%s", r)
	return id
}

// named is the id of the resource that a list finds by name.
func (a *api) named(port int, collection, key, name string) string {
	a.t.Helper()
	r := a.must(200, "GET", port, collection, nil)
	for i := range r.list(key) {
		if at := fmt.Sprintf("%s/%d/", key, i); r.str(at+"name") == name {
			return r.str(at + "id")
		}
	}
	a.t.Fatalf("no %s named %s in %s", key, name, r)
	return ""
}

// settled waits until a server has left BUILD and returns it.
func (a *api) settled(id string, within time.Duration) reply {
	a.t.Helper()
	var r reply
	if !poll(within, 50*time.Millisecond, func() bool {
		var err error
		r, err = a.tryDo("GET", compute, "/servers/"+id, nil, newest)
		return err == nil && r.code == 200 && r.str("server/status") != "BUILD" && r.str("server/OS-EXT-STS:task_state") == ""
	}) {
		a.t.Fatalf("server does not settle within %v: %s", within, r)
	}
	return r
}

// active is settled in ACTIVE.
func (a *api) active(id string, within time.Duration) reply {
	a.t.Helper()
	r := a.settled(id, within)
	require.Equal(a.t, "ACTIVE", r.str("server/status"), "%s", r)
	return r
}

// gone waits until a server is not found any more.
func (a *api) gone(id string, within time.Duration) {
	a.t.Helper()
	var r reply
	if !poll(within, 100*time.Millisecond, func() bool {
		r = a.do("GET", compute, "/servers/"+id, nil)
		return r.code == 404
	}) {
		a.t.Fatalf("server is not gone within %v: %s", within, r)
	}
}

// addresses of a shown server.
func addresses(r reply, prefix string) (out []string) {
	nets, _ := r.at(prefix + "addresses").(map[string]any)
	for _, list := range nets {
		addrs, _ := list.([]any)
		for _, a := range addrs {
			if m, ok := a.(map[string]any); ok {
				out = append(out, fmt.Sprint(m["addr"]))
			}
		}
	}
	return out
}

func jsonOf(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // it came out of JSON
	}
	return b
}
