package api_test

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/httpapi"
	"nephos/internal/httpapi/bodytest"
)

// bodiesPerSchema are made of each schema of the table; go test -fuzz goes on from there.
const bodiesPerSchema = 12

// asked is one schema of the table with the request it belongs to.
type asked struct {
	route   httpapi.Route
	version httpapi.Version
	schema  string
}

// schemas are those of all bodies, each at the microversion that brought it.
func schemas(t testing.TB) (out []asked) {
	for _, r := range table(t).Routes {
		for _, s := range r.Body {
			v := httpapi.V(2, 1)
			for _, x := range []httpapi.Version{s.Since, r.Min} {
				if v.Less(x) {
					v = x
				}
			}
			if s.JSON == "" || !r.Max.IsZero() && r.Max.Less(v) {
				continue
			}
			out = append(out, asked{r, v, s.JSON})
		}
	}
	return out
}

// path names things: those of the scene, or what is not there.
func (a asked) path(server, aggregate string) string {
	p := a.route.Path
	if strings.HasPrefix(p, "/servers/") {
		p = strings.Replace(p, "{id}", server, 1)
	}
	if strings.HasPrefix(p, "/os-aggregates/") {
		p = strings.Replace(p, "{id}", aggregate, 1)
	}
	if strings.HasPrefix(p, "/flavors/") {
		p = strings.Replace(p, "{id}", "42", 1)
	}
	return "/v2.1" + wildcard.ReplaceAllString(p, "9")
}

func cases(t testing.TB, a asked, n int) []bodytest.Case {
	h := fnv.New64a()
	fmt.Fprint(h, a.route.Name, a.version)
	m, err := bodytest.New(a.schema, rand.New(rand.NewPCG(h.Sum64(), 1)))
	require.NoError(t, err, a.route.Name)
	return m.Cases(n)
}

// contents is the whole database as text, but for what moves by itself.
func contents(t testing.TB, d *db.DB) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, d.Read(t.Context(), func(tx *db.Tx) error {
		var tables []string
		if err := tx.Select(t.Context(), &tables, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('hosts', 'controllers', 'network_hosts') ORDER BY name`); err != nil {
			return err
		}
		for _, name := range tables {
			var n int
			if err := tx.Get(t.Context(), &n, `SELECT COUNT(*) FROM "`+name+`"`); err != nil {
				return err
			}
			fmt.Fprintln(&b, name, n)
		}
		var used []struct {
			Project  string `db:"project_id"`
			Resource string `db:"resource"`
			Used     int64  `db:"used"`
		}
		if err := tx.Select(t.Context(), &used, `SELECT project_id, resource, used FROM quota_usage WHERE used <> 0 ORDER BY project_id, resource`); err != nil {
			return err
		}
		_, err := fmt.Fprintln(&b, used)
		return err
	}))
	return b.String()
}

// What a schema does not take is 400, names the field and leaves nothing behind.
func TestWrongBodies(t *testing.T) {
	w := lite(t)
	server := w.server("a", nil)
	aggregate := fmt.Sprint(w.call("admin", "", "POST", "/v2.1/os-aggregates", m{"aggregate": m{"name": "agg"}}).want(200).at("aggregate", "id"))
	before := contents(t, w.db)
	sent := 0
	for _, a := range schemas(t) {
		for _, c := range cases(t, a, bodiesPerSchema) {
			if c.Right {
				continue
			}
			sent++
			r := w.call("admin", a.version.String(), a.route.Method, a.path(server, aggregate), c.Body)
			if r.Code != 400 {
				t.Errorf("%s at %s with %.300s: %d %s", a.route.Name, a.version, c.Body, r.Code, r.Body)
				continue
			}
			if !names(a, r.Body, c) {
				t.Errorf("%s at %s with %.300s does not name %s: %s", a.route.Name, a.version, c.Body, c.Field, r.Body)
			}
		}
	}
	require.Greater(t, sent, 1000)
	require.Equal(t, before, contents(t, w.db))
}

var named = regexp.MustCompile(`field/attribute ([^ ]+)\. Value`)

// names says that a refusal tells the field: the one that was touched, or another key of the body that is wrong too. An action is the one key of its body: whatever is
// not one key is "malformed" (Nova's word).
func names(a asked, answer string, c bodytest.Case) bool {
	if c.Field == "" || strings.Contains(answer, c.Field) || a.route.Action != "" && strings.Contains(answer, "Malformed request body") {
		return true
	}
	other := named.FindStringSubmatch(answer)
	return other != nil && strings.Contains(c.Body, `"`+other[1]+`"`)
}

// What a schema takes may be nonsense all the same: no answer is a 500, and an answer that refuses leaves nothing behind.
func TestStrangeBodies(t *testing.T) {
	w := lite(t)
	server := w.server("a", nil)
	before := contents(t, w.db)
	for _, a := range schemas(t) {
		for _, c := range cases(t, a, bodiesPerSchema) {
			if !c.Right {
				continue
			}
			r := w.call("admin", a.version.String(), a.route.Method, a.path(server, "1"), c.Body)
			if r.Code >= 500 && r.Code != 501 {
				t.Errorf("%s at %s with %.300s: %d %s", a.route.Name, a.version, c.Body, r.Code, r.Body)
			}
			if r.Code < 300 {
				w.idle()
				before = contents(t, w.db)
			} else if after := contents(t, w.db); before != after {
				t.Errorf("%s at %s with %.300s: %d %s\nleft behind: %s\nwas: %s", a.route.Name, a.version, c.Body, r.Code, r.Body, after, before)
			}
		}
	}
}

// The door of old clients takes keys that it does not know, and so more nonsense: that is no 500 either.
func TestStrangeBodiesOfOldClients(t *testing.T) {
	w := lite(t)
	server := w.server("a", nil)
	sent := 0
	for _, a := range schemas(t) {
		if httpapi.V(2, 1).Less(a.version) {
			continue
		}
		for _, c := range cases(t, a, bodiesPerSchema) {
			sent++
			path := "/v2/" + project0 + strings.TrimPrefix(a.path(server, "1"), "/v2.1")
			if r := w.call("admin", "", a.route.Method, path, c.Body); r.Code >= 500 && r.Code != 501 {
				t.Errorf("%s with %.300s: %d %s", path, c.Body, r.Code, r.Body)
			}
		}
	}
	require.Greater(t, sent, 300)
}

// idle waits until nothing is under way.
func (w *world) idle() {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		var n int
		err := w.db.Read(w.t.Context(), func(tx *db.Tx) error {
			return tx.Get(w.t.Context(), &n, `SELECT COUNT(*) FROM workflows WHERE status IN ('running', 'undoing')`)
		})
		return err == nil && n == 0
	}, waitFor, tickFor)
}

// FuzzBodies has the fuzzer change bodies of any call.
func FuzzBodies(f *testing.F) {
	all := schemas(f)
	for i, a := range all {
		for _, c := range cases(f, a, 3) {
			f.Add(uint16(i), c.Body)
		}
	}
	w := newWorld(f, dbtest.SQLite(f, rooms()...))
	server := w.server("a", nil)
	f.Fuzz(func(t *testing.T, which uint16, body string) {
		a := all[int(which)%len(all)]
		r := httptest.NewRequest(a.route.Method, a.path(server, "1"), strings.NewReader(body)) // not w.call: its tests are F's, which must not be used here
		r.Header.Set("X-Auth-Token", "admin")
		r.Header.Set("OpenStack-API-Version", "compute "+a.version.String())
		r.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		w.handler.ServeHTTP(rec, r)
		if rec.Code >= 500 && rec.Code != 501 {
			t.Errorf("%s at %s with %q: %d %s", a.route.Name, a.version, body, rec.Code, rec.Body)
		}
	})
}

// strangeValues are what a query may carry; params are all that some list knows, and more.
var (
	strangeValues = []string{"", "-1", "0", "x", "9223372036854775808", "1e9", "null", "%00", "a%2Cb%2C", "%F0%9F%98%80", "2024-13-45T99:99:99Z", "2024-01-01T00:00:00Z", "%27%20OR%201=1--", "[", "(", "%5B%5D", "..%2F..%2F", "99999999-9999-4999-8999-999999999999"}
	params        = append([]string{"limit", "marker", "sort_key", "sort_dir", "offset", "changes-since", "changes-before", "user_id", "with_servers", "hypervisor_hostname_pattern", "all_projects", "is_public",
		"minRam", "minDisk", "start", "end", "detailed", "tenant_id", "delete_info", "binary", "zone", "hidden", "migration_type", "source_compute", "instance_uuid"}, "name", "ip", "ip6", "status", "tags", "not-tags-any",
		"all_tenants", "deleted", "power_state", "locked", "created_at", "image", "flavor", "uuid", "host", "vm_state")
)

// No query is a 500, at the first microversion, before unknown ones were refused, and at the newest; nor is any path.
func TestStrangeQueries(t *testing.T) {
	w := lite(t)
	server := w.server("a", nil)
	rng := rand.New(rand.NewPCG(7, 7))
	for _, r := range table(t).Routes {
		if r.Method != "GET" || r.Stream { // a stream does not end by itself
			continue
		}
		for _, version := range []string{"2.1", "2.74", "2.96"} {
			for range 8 {
				a := asked{route: r}
				path := a.path(server, "1")
				if rng.IntN(2) == 0 {
					path = "/v2.1" + wildcard.ReplaceAllString(r.Path, strangeValues[1+rng.IntN(len(strangeValues)-1)])
				}
				var q []string
				for range 1 + rng.IntN(3) {
					q = append(q, params[rng.IntN(len(params))]+"="+strangeValues[rng.IntN(len(strangeValues))])
				}
				path += "?" + strings.Join(q, "&")
				if got := w.call([]string{"a", "admin"}[rng.IntN(2)], version, "GET", path, nil); got.Code >= 500 && got.Code != 501 {
					t.Errorf("GET %s at %s: %d %s", path, version, got.Code, got.Body)
				}
			}
		}
	}
}
