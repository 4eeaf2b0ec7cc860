package client

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite golden files")

// golden compares got with testdata/name; `go test -update` rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// cloud is a small OpenStack: what the tests ask of one, in memory, behind real HTTP.
type cloud struct {
	t   *testing.T
	srv *httptest.Server
	mux *http.ServeMux

	mu    sync.Mutex
	log   []string                  // METHOD path of every call but authentication
	body  map[string]map[string]any // last body by METHOD path
	polls map[string]int            // GETs by server id
}

// newCloud authenticates user admin with password secret.
func newCloud(t *testing.T) *cloud {
	c := &cloud{t: t, mux: http.NewServeMux(), body: map[string]map[string]any{}, polls: map[string]int{}}
	c.srv = httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(c.srv.Close)
	c.mux.HandleFunc("POST /v3/auth/tokens", c.token)
	c.mux.HandleFunc("GET /image/{$}", func(w http.ResponseWriter, _ *http.Request) { // Glance answers its list of versions so
		reply(w, 300, `{"versions": [{"id": "v2.9", "status": "CURRENT", "links": [{"rel": "self", "href": "`+c.srv.URL+`/image/v2/"}]}]}`)
	})
	return c
}

func (c *cloud) serve(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(b))
	if !strings.HasPrefix(r.URL.Path, "/v3") {
		if r.Header.Get("X-Auth-Token") != "token" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var m map[string]any
		_ = json.Unmarshal(b, &m) // uploads are not JSON
		c.mu.Lock()
		key := r.Method + " " + r.URL.Path
		c.log = append(c.log, key)
		c.body[key] = m
		c.mu.Unlock()
	}
	c.mux.ServeHTTP(w, r)
}

func (c *cloud) token(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	if !strings.Contains(string(b), `"password":"secret"`) {
		reply(w, 401, `{"error": {"code": 401, "message": "The request you have made requires authentication.", "title": "Unauthorized"}}`)
		return
	}
	var catalog []string
	for typ, path := range map[string]string{"compute": "/compute/v2.1", "image": "/image", "network": "/network/v2.0/", "volumev3": "/volume/v3"} {
		catalog = append(catalog, fmt.Sprintf(`{"type": %q, "name": %q, "endpoints": [{"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": %q}]}`, typ, typ, c.srv.URL+path))
	}
	w.Header().Set("X-Subject-Token", "token")
	reply(w, 201, fmt.Sprintf(`{"token": {"methods": ["password"], "expires_at": "2099-01-01T00:00:00.000000Z", "project": {"id": "p1", "name": "admin", "domain": {"id": "default", "name": "Default"}},
		"user": {"id": "u1", "name": "admin"}, "catalog": [%s]}}`, strings.Join(catalog, ",")))
}

func reply(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Openstack-Request-Id", "req-1")
	w.WriteHeader(code)
	io.WriteString(w, body) //nolint:errcheck // the client of a test
}

// on answers a call with a fixed body.
func (c *cloud) on(pattern string, code int, body string) {
	c.mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { reply(w, code, body) })
}

func (c *cloud) sent(key string) map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.body[key]
}

func (c *cloud) calls(prefix string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, l := range c.log {
		if strings.HasPrefix(l, prefix) {
			n++
		}
	}
	return n
}

// verbs is the grammar of this package, as package cli has it.
type verbs struct {
	Boot       Boot       `cmd:""`
	Server     Server     `cmd:""`
	Trace      Trace      `cmd:""`
	Image      Image      `cmd:""`
	Flavor     Flavor     `cmd:""`
	Keypair    Keypair    `cmd:""`
	Network    Network    `cmd:""`
	FloatingIP FloatingIP `cmd:"" name:"floatingip"`
	Secgroup   Secgroup   `cmd:""`
	Volume     Volume     `cmd:""`
	Quota      Quota      `cmd:""`
	Scheduler  Scheduler  `cmd:""`
	Fsck       Fsck       `cmd:""`
}

// result is what a command line left.
type result struct {
	out, errs string
	err       error
}

// at is a fixed moment for ages and waits.
var at = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// run types a line with variables that lead to the cloud.
func (c *cloud) run(args ...string) result {
	return runWith(c.t, c.variables(), "", args...)
}

func (c *cloud) variables() map[string]string {
	return map[string]string{"OS_AUTH_URL": c.srv.URL + "/v3", "OS_USERNAME": "admin", "OS_PASSWORD": "secret", "OS_PROJECT_NAME": "admin", "OS_REGION_NAME": "RegionOne"}
}

func runWith(t *testing.T, env map[string]string, stdin string, args ...string) result {
	var out, errs bytes.Buffer
	e := &Env{In: strings.NewReader(stdin), Out: &out, Err: &errs, Getenv: func(k string) string { return env[k] }, Now: func() time.Time { return at }, Width: 80}
	k, err := kong.New(&verbs{}, kong.Bind(NewSession(e)), kong.BindTo(context.Background(), (*context.Context)(nil)), kong.Exit(func(int) {}))
	require.NoError(t, err)
	p, err := k.Parse(args)
	if err == nil {
		err = p.Run()
	}
	return result{out.String(), errs.String(), err}
}
