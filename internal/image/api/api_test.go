package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/image"
	"nephos/internal/image/api"
	"nephos/internal/image/metadef"
	"nephos/internal/policy"
	"nephos/internal/workflow"
)

const (
	octets  = "application/octet-stream"
	patch21 = "application/openstack-images-v2.1-json-patch"
	patch20 = "application/openstack-images-v2.0-json-patch"
)

type tokens map[string]*policy.Credentials

func (t tokens) Authenticate(_ context.Context, token string) (*policy.Credentials, error) {
	if c := t[token]; c != nil {
		return c, nil
	}
	return nil, fault.Unauthorized("The request you have made requires authentication.")
}

var people = tokens{
	"admin":  {UserID: "u0", ProjectID: "p-admin", Roles: []string{"admin", "member", "reader"}},
	"alice":  {UserID: "u1", ProjectID: "p-alice", Roles: []string{"member", "reader"}},
	"bob":    {UserID: "u2", ProjectID: "p-bob", Roles: []string{"member", "reader"}},
	"reader": {UserID: "u3", ProjectID: "p-alice", Roles: []string{"reader"}},
}

type cloud struct {
	url string
	svc *image.Service
	dir string
}

func each(t *testing.T, fn func(t *testing.T, c cloud)) {
	t.Helper()
	dbtest.Each(t, []db.Migrations{workflow.Migrations(), image.Migrations(), metadef.Migrations()}, func(t *testing.T, d *db.DB) { fn(t, start(t, d)) })
}

func start(t testing.TB, d *db.DB, edits ...func(*image.Config, *api.Deps)) cloud {
	t.Helper()
	dir := t.TempDir()
	store, err := image.NewDirStore(dir, 0)
	require.NoError(t, err)
	quiet := slog.New(slog.DiscardHandler)
	archive, err := image.NewDirStore(t.TempDir(), 0)
	require.NoError(t, err)
	engine := workflow.New(workflow.Options{DB: d, Clock: clockwork.NewRealClock(), Log: quiet})
	cfg := image.Config{DB: d, Node: "n", Log: quiet, Engine: engine, Region: "RegionOne", CacheDir: t.TempDir(), Stores: []image.NamedStore{{ID: "file", Type: "file", Store: store, Description: "first"}, {ID: "archive", Type: "file", Store: archive}}}
	deps := api.Deps{Metadefs: metadef.New(d), Auth: people, AuthURI: "http://k/v3", Log: quiet}
	for _, e := range edits {
		e(&cfg, &deps)
	}
	svc := image.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { engine.Run(ctx) }) //nolint:errcheck // the rows tell
	loops.Go(func() { svc.Run(ctx) })    //nolint:errcheck // as above
	t.Cleanup(func() { cancel(); loops.Wait() })
	rules, err := policy.New(policy.Base, api.Rules)
	require.NoError(t, err)
	deps.Policy = rules
	table, err := api.New(svc, deps)
	require.NoError(t, err)
	h, err := table.Compile()
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return cloud{srv.URL, svc, dir}
}

type answer struct {
	status int
	header http.Header
	raw    []byte
	doc    map[string]any
}

func (c cloud) do(t testing.TB, who, method, path, contentType, body string) answer {
	t.Helper()
	req, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	require.NoError(t, err)
	if who != "" {
		req.Header.Set("X-Auth-Token", who)
	}
	if at, ok := strings.CutPrefix(contentType, "range:"); ok {
		req.Header.Set("Range", at)
	} else if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	a := answer{status: resp.StatusCode, header: resp.Header, raw: b}
	json.Unmarshal(b, &a.doc) //nolint:errcheck // not every answer is JSON
	return a
}

func (c cloud) create(t testing.TB, who, body string) string {
	t.Helper()
	a := c.do(t, who, "POST", "/v2/images", "application/json", body)
	require.Equal(t, 201, a.status, "%s", a.raw)
	return a.doc["id"].(string)
}

func (c cloud) names(t testing.TB, who, query string) []string {
	t.Helper()
	a := c.do(t, who, "GET", "/v2/images?"+query, "", "")
	require.Equal(t, 200, a.status, "%s: %s", query, a.raw)
	out := []string{}
	for _, i := range a.doc["images"].([]any) {
		out = append(out, fmt.Sprint(i.(map[string]any)["name"]))
	}
	return out
}

func TestVersions(t *testing.T) {
	t.Parallel()
	c := start(t, dbtest.SQLite(t, workflow.Migrations(), image.Migrations(), metadef.Migrations()))
	for path, status := range map[string]int{"/": 300, "/versions": 200, "/v2": 300, "/v2/": 300, "/v9": 300, "/v1/": 300} {
		a := c.do(t, "", "GET", path, "", "")
		require.Equal(t, status, a.status, path)
		first := a.doc["versions"].([]any)[0].(map[string]any)
		require.Equal(t, []any{"v2.18", "CURRENT"}, []any{first["id"], first["status"]})
		require.Equal(t, c.url+"/v2/", first["links"].([]any)[0].(map[string]any)["href"])
	}
	require.Equal(t, 401, c.do(t, "", "GET", "/v2/images", "", "").status)
	require.Equal(t, 401, c.do(t, "broken", "GET", "/v2/images", "", "").status)
	require.Equal(t, 200, c.do(t, "alice", "GET", "/v2.9/images", "", "").status)
	require.Equal(t, 405, c.do(t, "alice", "PUT", "/v2/images", "", "").status)
	require.Equal(t, 404, c.do(t, "alice", "GET", "/v2/nonsense", "", "").status)
}

func TestImageLifeOutsideIn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c cloud) {
		a := c.do(t, "alice", "POST", "/v2/images", "application/json", `{"name":"vm","disk_format":"raw","container_format":"bare","min_disk":1,"tags":["b","a","b"],"hw_disk_bus":"virtio"}`)
		require.Equal(t, 201, a.status, "%s", a.raw)
		id := a.doc["id"].(string)
		require.Equal(t, c.url+"/v2/images/"+id, a.header.Get("Location"))
		require.Equal(t, "glance-direct,web-download,copy-image,glance-download", a.header.Get("OpenStack-image-import-methods"))
		require.Equal(t, "file,archive", a.header.Get("OpenStack-image-store-ids"))
		a = c.do(t, "alice", "GET", "/v2/images/"+id, "", "")
		for k, v := range map[string]any{"status": "queued", "size": nil, "checksum": nil, "os_hash_algo": nil, "virtual_size": nil, "owner": "p-alice", "visibility": "shared",
			"protected": false, "os_hidden": false, "min_ram": 0.0, "min_disk": 1.0, "hw_disk_bus": "virtio", "file": "/v2/images/" + id + "/file"} {
			got, ok := a.doc[k]
			require.True(t, ok, k)
			require.Equal(t, v, got, k)
		}
		require.Equal(t, []any{"a", "b"}, a.doc["tags"])
		file := "/v2/images/" + id + "/file"
		require.Equal(t, 204, c.do(t, "alice", "GET", file, "", "").status)
		require.Equal(t, 415, c.do(t, "alice", "PUT", file, "application/json", "x").status)
		require.Equal(t, 404, c.do(t, "bob", "PUT", file, octets, "x").status)
		require.Equal(t, 403, c.do(t, "reader", "PUT", file, octets, "x").status)
		require.Equal(t, 204, c.do(t, "alice", "PUT", file, octets, "0123456789").status)
		require.Equal(t, 409, c.do(t, "alice", "PUT", file, octets, "0123456789").status)
		a = c.do(t, "alice", "GET", "/v2/images/"+id, "", "")
		require.Equal(t, []any{"active", 10.0, 10.0, "781e5e245d69b566979b86e28d23f2c7", "sha512"},
			[]any{a.doc["status"], a.doc["size"], a.doc["virtual_size"], a.doc["checksum"], a.doc["os_hash_algo"]})
		a = c.do(t, "alice", "GET", file, "", "")
		require.Equal(t, []any{200, "0123456789", octets, "10", "781e5e245d69b566979b86e28d23f2c7"},
			[]any{a.status, string(a.raw), a.header.Get("Content-Type"), a.header.Get("Content-Length"), a.header.Get("Content-MD5")})
		a = c.do(t, "alice", "GET", file, "range:bytes=2-4", "")
		require.Equal(t, []any{206, "234", "bytes 2-4/10", ""}, []any{a.status, string(a.raw), a.header.Get("Content-Range"), a.header.Get("Content-MD5")})
		require.Equal(t, 416, c.do(t, "alice", "GET", file, "range:bytes=20-", "").status)
		require.Equal(t, 403, c.do(t, "reader", "GET", file, "", "").status)

		require.Equal(t, 204, c.do(t, "alice", "POST", "/v2/images/"+id+"/actions/deactivate", "", "").status)
		require.Equal(t, 403, c.do(t, "alice", "GET", file, "", "").status)
		require.Equal(t, 200, c.do(t, "admin", "GET", file, "", "").status)
		require.Equal(t, 204, c.do(t, "alice", "POST", "/v2/images/"+id+"/actions/reactivate", "", "").status)
		require.Equal(t, 200, c.do(t, "alice", "GET", file, "", "").status)

		require.Equal(t, 204, c.do(t, "alice", "PUT", "/v2/images/"+id+"/tags/c%20d", "", "").status)
		require.Equal(t, 204, c.do(t, "alice", "DELETE", "/v2/images/"+id+"/tags/a", "", "").status)
		require.Equal(t, 404, c.do(t, "alice", "DELETE", "/v2/images/"+id+"/tags/a", "", "").status)
		require.Equal(t, 400, c.do(t, "alice", "PUT", "/v2/images/"+id+"/tags/"+strings.Repeat("x", 256), "", "").status)
		require.Equal(t, []any{"b", "c d"}, c.do(t, "alice", "GET", "/v2/images/"+id, "", "").doc["tags"])

		require.Equal(t, 404, c.do(t, "bob", "DELETE", "/v2/images/"+id, "", "").status)
		require.Equal(t, 200, c.do(t, "alice", "PATCH", "/v2/images/"+id, patch21, `[{"op":"replace","path":"/protected","value":true}]`).status)
		require.Equal(t, 403, c.do(t, "alice", "DELETE", "/v2/images/"+id, "", "").status)
		require.Equal(t, 200, c.do(t, "alice", "PATCH", "/v2/images/"+id, patch20, `[{"replace":"/protected","value":false}]`).status)
		require.Equal(t, 204, c.do(t, "alice", "DELETE", "/v2/images/"+id, "", "").status)
		for _, m := range []string{"GET", "DELETE"} {
			require.Equal(t, 404, c.do(t, "alice", m, "/v2/images/"+id, "", "").status)
		}
		require.Equal(t, 404, c.do(t, "alice", "GET", file, "", "").status)
		for _, odd := range []string{"x", "%00", "%ff", strings.Repeat("a", 5000)} {
			require.Equal(t, 404, c.do(t, "alice", "GET", "/v2/images/"+odd, "", "").status)
		}
		require.Equal(t, 409, c.do(t, "alice", "POST", "/v2/images", "application/json", `{"id":"`+id+`"}`).status)
		left, err := os.ReadDir(c.dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func TestCreateRefusals(t *testing.T) {
	t.Parallel()
	c := start(t, dbtest.SQLite(t, workflow.Migrations(), image.Migrations(), metadef.Migrations()))
	many := map[string]any{}
	for k := range 129 {
		many[fmt.Sprint("k", k)] = ""
	}
	tooMany, _ := json.Marshal(many)
	for body, want := range map[string]int{
		`not json`:                          400,
		``:                                  400,
		`[]`:                                400,
		`{"name":5}`:                        400,
		`{"min_disk":"1"}`:                  400,
		`{"min_disk":-1}`:                   400,
		`{"min_ram":1.5}`:                   400,
		`{"min_ram":99999999999}`:           400,
		`{"protected":"yes"}`:               400,
		`{"visibility":"everyone"}`:         400,
		`{"visibility":null}`:               400,
		`{"disk_format":"floppy"}`:          400,
		`{"container_format":"box"}`:        400,
		`{"id":"nope"}`:                     400,
		`{"tags":"a"}`:                      400,
		`{"tags":[""]}`:                     400,
		`{"any":null}`:                      400,
		`{"any":{"a":1}}`:                   400,
		`{"status":"active"}`:               403,
		`{"size":5}`:                        403,
		`{"deleted":true}`:                  403,
		`{"os_glance_x":"1"}`:               403,
		`{"locations":[]}`:                  403,
		`{"visibility":"public"}`:           403,
		`{"owner":"p-bob"}`:                 403,
		string(tooMany):                     413,
		`{"visibility":"community"}`:        201,
		`{"owner":"p-alice"}`:               201,
		`{}`:                                201,
		`{"name":null,"any":"x"}`:           201,
		`{"id":"` + uuid.NewString() + `"}`: 201,
		`{"name":"` + strings.Repeat("ü", 255) + `"}`: 201,
		`{"name":"` + strings.Repeat("x", 256) + `"}`: 400,
	} {
		a := c.do(t, "alice", "POST", "/v2/images", "application/json", body)
		require.Equal(t, want, a.status, "%.80s: %s", body, a.raw)
		if want >= 400 {
			require.NotEmpty(t, a.doc["message"], body)
			require.True(t, strings.HasPrefix(a.doc["code"].(string), fmt.Sprint(want)), body)
		}
	}
	require.Equal(t, 403, c.do(t, "reader", "POST", "/v2/images", "application/json", `{}`).status)
	require.Equal(t, 201, c.do(t, "admin", "POST", "/v2/images", "application/json", `{"visibility":"public","owner":"p-bob"}`).status)
}

func TestPatchRules(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c cloud) {
		id := c.create(t, "alice", `{"name":"n","k":"v"}`)
		path := "/v2/images/" + id
		for _, x := range []struct {
			body string
			want int
		}{
			{`{}`, 400}, {`[5]`, 400}, {`[{"path":"/name","value":"x"}]`, 400}, {`[{"op":"move","path":"/name","value":"x"}]`, 400},
			{`[{"op":"replace","path":"name","value":"x"}]`, 400}, {`[{"op":"replace","path":"/","value":"x"}]`, 400},
			{`[{"op":"replace","path":"/a/b","value":"x"}]`, 400}, {`[{"op":"replace","path":"/a~2","value":"x"}]`, 400},
			{`[{"op":"replace","path":"/name"}]`, 400}, {`[{"op":"replace","path":"/name","value":1}]`, 400},
			{`[{"op":"add","path":"/k","value":null}]`, 400}, {`[{"op":"replace","path":"/visibility","value":"x"}]`, 400},
			{`[{"op":"replace","path":"/visibility","value":"public"}]`, 403}, {`[{"op":"replace","path":"/owner","value":"p-bob"}]`, 403},
			{`[{"op":"replace","path":"/status","value":"active"}]`, 403}, {`[{"op":"replace","path":"/id","value":"x"}]`, 403},
			{`[{"op":"add","path":"/deleted","value":"x"}]`, 403}, {`[{"op":"add","path":"/os_glance_a","value":"x"}]`, 403},
			{`[{"op":"add","path":"/locations/-","value":{"url":"file:///etc/passwd","metadata":{}}}]`, 403},
			{`[{"op":"remove","path":"/name"}]`, 403}, {`[{"op":"remove","path":"/nothing"}]`, 409}, {`[{"op":"replace","path":"/nothing","value":"x"}]`, 409},
			{`[{"op":"replace","path":"/k","value":"w"},{"op":"remove","path":"/nothing"}]`, 409},
		} {
			a := c.do(t, "alice", "PATCH", path, patch21, x.body)
			require.Equal(t, x.want, a.status, "%s: %s", x.body, a.raw)
		}
		require.Equal(t, "v", c.do(t, "alice", "GET", path, "", "").doc["k"], "a refused patch leaves nothing")
		a := c.do(t, "alice", "PATCH", path, "application/json", `[]`)
		require.Equal(t, 415, a.status)
		require.Contains(t, a.header.Get("Accept-Patch"), patch21)
		require.Equal(t, 404, c.do(t, "bob", "PATCH", path, patch21, `[]`).status)
		require.Equal(t, 403, c.do(t, "reader", "PATCH", path, patch21, `[]`).status)
		require.Equal(t, 200, c.do(t, "alice", "PATCH", path, patch21, `[]`).status)
		a = c.do(t, "alice", "PATCH", path, patch21, `[{"op":"add","path":"/a~1b~0c","value":"x"},{"op":"remove","path":"/k"},{"op":"replace","path":"/tags","value":["t"]},
			{"op":"replace","path":"/disk_format","value":"qcow2"},{"op":"add","path":"/name","value":null},{"op":"replace","path":"/os_hidden","value":true}]`)
		require.Equal(t, 200, a.status, "%s", a.raw)
		require.Equal(t, []any{"x", nil, []any{"t"}, "qcow2", nil, true}, []any{a.doc["a/b~c"], a.doc["k"], a.doc["tags"], a.doc["disk_format"], a.doc["name"], a.doc["os_hidden"]})
		require.Equal(t, 200, c.do(t, "alice", "PATCH", path, patch20, `[{"add":"/z","value":"1"},{"replace":"/z","value":"2"},{"remove":"/z"}]`).status)
		require.Equal(t, 400, c.do(t, "alice", "PATCH", path, patch20, `[{"add":"/z","remove":"/z","value":"1"}]`).status)

		require.Equal(t, 200, c.do(t, "alice", "PATCH", path, patch21, `[{"op":"replace","path":"/disk_format","value":"raw"},{"op":"replace","path":"/container_format","value":"bare"}]`).status)
		require.Equal(t, 204, c.do(t, "alice", "PUT", path+"/file", octets, "x").status)
		require.Equal(t, 403, c.do(t, "alice", "PATCH", path, patch21, `[{"op":"replace","path":"/disk_format","value":"qcow2"}]`).status)
		require.Equal(t, 200, c.do(t, "alice", "PATCH", path, patch21, `[{"op":"replace","path":"/disk_format","value":"raw"}]`).status)
		require.Equal(t, 200, c.do(t, "admin", "PATCH", path, patch21, `[{"op":"replace","path":"/visibility","value":"public"},{"op":"replace","path":"/owner","value":"p-bob"}]`).status)
		require.Equal(t, 403, c.do(t, "alice", "PATCH", path, patch21, `[{"op":"replace","path":"/name","value":"mine"}]`).status)
	})
}

func TestUploadRefusalsNameTheReason(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c cloud) {
		id := c.create(t, "alice", `{"name":"noformat"}`)
		a := c.do(t, "alice", "PUT", "/v2/images/"+id+"/file", octets, "x")
		require.Equal(t, 400, a.status)
		require.Contains(t, a.doc["message"], "disk_format")

		backed := bytes.Repeat([]byte{0}, 2<<20)
		copy(backed, "QFI\xfb\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x0b")
		backed[23], backed[28], backed[39], backed[45], backed[53], backed[59], backed[99], backed[103] = 16, 0x40, 2, 3, 1, 1, 4, 104
		copy(backed[512:], "/etc/shadow")
		for _, x := range []struct{ format, data, text string }{
			{"qcow2", string(backed), "backing file"},
			{"raw", string(backed), "its content is qcow2"},
			{"qcow2", "just text", "its content is raw"},
		} {
			id := c.create(t, "alice", `{"disk_format":"`+x.format+`","container_format":"bare"}`)
			for _, how := range []string{"file", "stage"} {
				a := c.do(t, "alice", "PUT", "/v2/images/"+id+"/"+how, octets, x.data)
				if how == "stage" {
					require.Equal(t, 204, a.status)
					require.Equal(t, "uploading", c.do(t, "alice", "GET", "/v2/images/"+id, "", "").doc["status"])
					require.Equal(t, 202, c.do(t, "alice", "POST", "/v2/images/"+id+"/import", "application/json", `{"method":{"name":"glance-direct"}}`).status)
					var task map[string]any
					require.Eventually(t, func() bool {
						task = c.do(t, "alice", "GET", "/v2/images/"+id+"/tasks", "", "").doc["tasks"].([]any)[0].(map[string]any)
						return task["status"] == "failure"
					}, 10*time.Second, 5*time.Millisecond)
					require.Contains(t, task["message"], x.text)
				} else {
					require.Equal(t, 400, a.status, "%s", a.raw)
					require.Contains(t, a.doc["message"], x.text)
				}
				require.Equal(t, "queued", c.do(t, "alice", "GET", "/v2/images/"+id, "", "").doc["status"])
			}
			require.Equal(t, 204, c.do(t, "alice", "DELETE", "/v2/images/"+id, "", "").status)
		}
		left, err := os.ReadDir(c.dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

func TestImport(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c cloud) {
		id := c.create(t, "alice", `{"disk_format":"raw","container_format":"bare"}`)
		path := "/v2/images/" + id
		direct := `{"method":{"name":"glance-direct"}}`
		require.Equal(t, 409, c.do(t, "alice", "POST", path+"/import", "application/json", direct).status)
		require.Equal(t, 204, c.do(t, "alice", "PUT", path+"/stage", octets, "0123456789").status)
		require.Equal(t, 409, c.do(t, "alice", "PUT", path+"/stage", octets, "x").status)
		require.Equal(t, 204, c.do(t, "alice", "GET", path+"/file", "", "").status, "staged bytes are not the image's yet")
		for body, want := range map[string]int{`{}`: 400, ``: 400, `{"method":{"name":"web-download","uri":"http://x/"}}`: 400, `{"method":{"name":"glance-download","glance_image_id":"foo","glance_region":"r"}}`: 400, `{"method":{"name":"x"}}`: 400} {
			require.Equal(t, want, c.do(t, "alice", "POST", path+"/import", "application/json", body).status, body)
		}
		require.Equal(t, 404, c.do(t, "bob", "POST", path+"/import", "application/json", direct).status)
		require.Equal(t, 202, c.do(t, "alice", "POST", path+"/import", "application/json", direct).status)
		var a answer
		require.Eventually(t, func() bool { a = c.do(t, "alice", "GET", path, "", ""); return a.doc["status"] == "active" }, 10*time.Second, 5*time.Millisecond)
		require.Equal(t, []any{"active", 10.0, "781e5e245d69b566979b86e28d23f2c7"}, []any{a.doc["status"], a.doc["size"], a.doc["checksum"]})
		require.Equal(t, []any{"file", "", ""}, []any{a.doc["stores"], a.doc["os_glance_importing_to_stores"], a.doc["os_glance_failed_import"]})
		tasks := c.do(t, "alice", "GET", path+"/tasks", "", "").doc["tasks"].([]any)
		require.Len(t, tasks, 1)
		require.Equal(t, []any{"success", "api_image_import"}, []any{tasks[0].(map[string]any)["status"], tasks[0].(map[string]any)["type"]})
		require.Equal(t, 403, c.do(t, "alice", "POST", path+"/import", "application/json", `{"method":{"name":"copy-image"},"all_stores":true}`).status)
		require.Equal(t, 202, c.do(t, "admin", "POST", path+"/import", "application/json", `{"method":{"name":"copy-image"},"all_stores":true}`).status)
		require.Eventually(t, func() bool { return c.do(t, "alice", "GET", path, "", "").doc["stores"] == "archive,file" }, 10*time.Second, 5*time.Millisecond)
		require.Equal(t, 204, c.do(t, "alice", "DELETE", "/v2/stores/file/"+id, "", "").status)
		require.Equal(t, 403, c.do(t, "alice", "DELETE", "/v2/stores/archive/"+id, "", "").status)
		require.Equal(t, 404, c.do(t, "alice", "DELETE", "/v2/stores/none/"+id, "", "").status)
		require.Equal(t, "0123456789", string(c.do(t, "alice", "GET", path+"/file", "", "").raw))
		require.Equal(t, []any{"glance-direct", "web-download", "copy-image", "glance-download"}, c.do(t, "alice", "GET", "/v2/info/import", "", "").doc["import-methods"].(map[string]any)["value"])
		stores := c.do(t, "alice", "GET", "/v2/info/stores", "", "").doc["stores"].([]any)
		require.Equal(t, []any{map[string]any{"id": "file", "description": "first", "default": "true"}, map[string]any{"id": "archive"}}, stores)
		require.Equal(t, 403, c.do(t, "alice", "GET", "/v2/info/stores/detail", "", "").status)
		require.Equal(t, 200, c.do(t, "admin", "GET", "/v2/info/stores/detail", "", "").status)
		usage := c.do(t, "alice", "GET", "/v2/info/usage", "", "").doc["usage"].(map[string]any)
		require.Equal(t, map[string]any{"limit": -1.0, "usage": 1.0}, usage["image_count_total"])
		for _, s := range []string{"image", "images", "member", "members", "task", "tasks"} {
			require.Equal(t, s, c.do(t, "alice", "GET", "/v2/schemas/"+s, "", "").doc["name"])
		}
	})
}

func TestListFiltersAndPages(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c cloud) {
		a := c.create(t, "alice", `{"name":"a","disk_format":"raw","container_format":"bare","tags":["x","y"],"os_distro":"debian"}`)
		b := c.create(t, "alice", `{"name":"b,c","disk_format":"qcow2","container_format":"bare","tags":["x"],"min_ram":64}`)
		c.create(t, "alice", `{"name":"h","os_hidden":true,"protected":true}`)
		c.create(t, "bob", `{"name":"com","visibility":"community"}`)
		c.create(t, "admin", `{"name":"pub","visibility":"public"}`)
		require.Equal(t, 204, c.do(t, "alice", "PUT", "/v2/images/"+a+"/file", octets, "0123456789").status)
		for q, want := range map[string][]string{
			"sort=name:asc":                                   {"a", "b,c", "pub"},
			"sort_key=name&sort_dir=desc":                     {"pub", "b,c", "a"},
			"sort_key=disk_format&sort_key=name&sort_dir=asc": {"pub", "b,c", "a"},
			"name=a":                                     {"a"},
			`sort=name:asc&name=in:a,"b,c",zz`:           {"a", "b,c"},
			"sort=name:asc&id=in:" + a + "," + b:         {"a", "b,c"},
			"status=active":                              {"a"},
			"sort=name:asc&status=in:active,queued":      {"a", "b,c", "pub"},
			"visibility=community":                       {"com"},
			"visibility=public":                          {"pub"},
			"owner=p-admin":                              {"pub"},
			"disk_format=in:raw,iso":                     {"a"},
			"container_format=bare&disk_format=qcow2":    {"b,c"},
			"tag=x&tag=y":                                {"a"},
			"tag=x&sort=name:asc":                        {"a", "b,c"},
			"size_min=5&size_max=10":                     {"a"},
			"size_max=9":                                 {},
			"os_hidden=true":                             {"h"},
			"protected=True":                             {},
			"protected=true&os_hidden=true":              {"h"},
			"os_distro=debian":                           {"a"},
			"os_distro=other":                            {},
			"min_ram=64":                                 {"b,c"},
			"checksum=781e5e245d69b566979b86e28d23f2c7":  {"a"},
			"created_at=gt:2099-01-01T00:00:00Z":         {},
			"created_at=gte:2020-01-01T00:00:00Z&name=a": {"a"},
			"updated_at=lt:2099-01-01T00:00:00Z&name=a":  {"a"},
			"limit=0":                                    {},
			"member_status=all&name=zz":                  {},
		} {
			require.Equal(t, want, c.names(t, "alice", strings.ReplaceAll(q, `"`, "%22")), q)
		}
		for _, q := range []string{"limit=x", "limit=-1", "marker=nope", "sort_key=owner", "sort_dir=up", "sort=name:up", "sort=name&sort_key=name", "visibility=x", "member_status=x",
			"os_hidden=x", "protected=1x", "size_min=x", "created_at=gt:yesterday", "created_at=foo:2020-01-01T00:00:00Z", "name=in:%22a", "name=%00", "name=%ff", "any%00=x"} {
			got := c.do(t, "alice", "GET", "/v2/images?"+q, "", "")
			require.Equal(t, 400, got.status, "%s: %s", q, got.raw)
		}
		var walked []string
		next := "/v2/images?limit=1&sort=name:asc"
		for next != "" {
			page := c.do(t, "alice", "GET", next, "", "")
			require.Equal(t, 200, page.status)
			require.Equal(t, "/v2/images?limit=1&sort=name%3Aasc", page.doc["first"])
			require.Equal(t, "/v2/schemas/images", page.doc["schema"])
			for _, i := range page.doc["images"].([]any) {
				walked = append(walked, i.(map[string]any)["name"].(string))
			}
			next, _ = page.doc["next"].(string)
		}
		require.Equal(t, []string{"a", "b,c", "pub"}, walked)
	})
}

func TestMembers(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, c cloud) {
		id := c.create(t, "alice", `{"name":"shared"}`)
		members := "/v2/images/" + id + "/members"
		require.Equal(t, 404, c.do(t, "bob", "GET", members, "", "").status)
		for body, want := range map[string]int{``: 400, `{}`: 400, `{"member":5}`: 400, `{"member":""}`: 400} {
			require.Equal(t, want, c.do(t, "alice", "POST", members, "application/json", body).status, body)
		}
		a := c.do(t, "alice", "POST", members, "application/json", `{"member":"p-bob"}`)
		require.Equal(t, 200, a.status, "%s", a.raw)
		require.Equal(t, []any{"p-bob", id, "pending", "/v2/schemas/member"}, []any{a.doc["member_id"], a.doc["image_id"], a.doc["status"], a.doc["schema"]})
		require.Equal(t, 409, c.do(t, "alice", "POST", members, "application/json", `{"member":"p-bob"}`).status)
		require.Equal(t, 200, c.do(t, "alice", "POST", members, "application/json", `{"member":"p-eve"}`).status)
		require.Len(t, c.do(t, "alice", "GET", members, "", "").doc["members"], 2)
		require.Len(t, c.do(t, "bob", "GET", members, "", "").doc["members"], 1)
		require.Equal(t, 404, c.do(t, "bob", "GET", members+"/p-eve", "", "").status)
		require.Equal(t, 404, c.do(t, "bob", "PUT", members+"/p-eve", "application/json", `{"status":"accepted"}`).status)
		require.Equal(t, 403, c.do(t, "alice", "PUT", members+"/p-bob", "application/json", `{"status":"accepted"}`).status)
		require.Equal(t, 400, c.do(t, "bob", "PUT", members+"/p-bob", "application/json", `{"status":"maybe"}`).status)
		require.Equal(t, []string{}, c.names(t, "bob", ""))
		require.Equal(t, 200, c.do(t, "bob", "PUT", members+"/p-bob", "application/json", `{"status":"accepted"}`).status)
		require.Equal(t, []string{"shared"}, c.names(t, "bob", ""))
		require.Equal(t, 200, c.do(t, "bob", "GET", members+"/p-bob", "", "").status)
		require.Equal(t, 403, c.do(t, "bob", "DELETE", members+"/p-bob", "", "").status)
		require.Equal(t, 204, c.do(t, "alice", "DELETE", members+"/p-bob", "", "").status)
		require.Equal(t, 404, c.do(t, "alice", "DELETE", members+"/p-bob", "", "").status)
		require.Equal(t, 404, c.do(t, "bob", "GET", "/v2/images/"+id, "", "").status)
		require.Equal(t, 404, c.do(t, "alice", "DELETE", members+"/%00", "", "").status)
		require.Equal(t, 400, c.do(t, "alice", "POST", members, "application/json", `{"member":"a\u0000"}`).status)
		private := c.create(t, "alice", `{"visibility":"private"}`)
		require.Equal(t, 403, c.do(t, "alice", "GET", "/v2/images/"+private+"/members", "", "").status)
		require.Equal(t, 403, c.do(t, "alice", "POST", "/v2/images/"+private+"/members", "application/json", `{"member":"p-bob"}`).status)
	})
}

// Property protections: what the rules keep from a caller is not shown, made, changed or removed by them.
func TestPropertyProtections(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t, workflow.Migrations(), image.Migrations(), metadef.Migrations())
	c := start(t, d, func(_ *image.Config, deps *api.Deps) {
		deps.Protections = []api.ProtectionRule{
			{Pattern: "lic_", Create: []string{"admin"}, Read: []string{"admin", "member"}, Update: []string{"admin"}, Delete: []string{"!"}},
			{Pattern: "secret_", Create: []string{"admin"}, Read: []string{"admin"}, Update: []string{"admin"}, Delete: []string{"admin"}},
			{Pattern: ".*", Create: []string{"@"}, Read: []string{"@"}, Update: []string{"@"}, Delete: []string{"@"}},
		}
	})
	require.Equal(t, 403, c.do(t, "alice", "POST", "/v2/images", "application/json", `{"name":"x","lic_key":"1"}`).status)
	a := c.do(t, "alice", "POST", "/v2/images", "application/json", `{"name":"x","free":"1"}`)
	require.Equal(t, 201, a.status, "%s", a.raw)
	at := "/v2/images/" + a.doc["id"].(string)
	patch := func(who, body string) int { return c.do(t, who, "PATCH", at, patch21, body).status }
	require.Equal(t, 200, patch("admin", `[{"op":"add","path":"/lic_key","value":"1"},{"op":"add","path":"/secret_a","value":"s"}]`))
	seen := c.do(t, "alice", "GET", at, "", "").doc
	require.Equal(t, []any{"1", nil, "1"}, []any{seen["lic_key"], seen["secret_a"], seen["free"]})
	require.NotContains(t, string(c.do(t, "alice", "GET", "/v2/images", "", "").raw), "secret_a")
	require.Equal(t, "s", c.do(t, "admin", "GET", at, "", "").doc["secret_a"])
	for body, want := range map[string]int{
		`[{"op":"replace","path":"/lic_key","value":"2"}]`:  403,
		`[{"op":"remove","path":"/lic_key"}]`:               403,
		`[{"op":"replace","path":"/secret_a","value":"2"}]`: 409, // as if it were not there
		`[{"op":"remove","path":"/secret_a"}]`:              409,
		`[{"op":"add","path":"/secret_b","value":"2"}]`:     403,
		`[{"op":"replace","path":"/free","value":"2"}]`:     200,
		`[{"op":"add","path":"/name","value":"y"}]`:         200,
	} {
		require.Equal(t, want, patch("alice", body), body)
	}
	require.Equal(t, 403, patch("admin", `[{"op":"remove","path":"/lic_key"}]`), "nobody removes it")
	require.Equal(t, 200, patch("admin", `[{"op":"remove","path":"/secret_a"}]`))
	require.Equal(t, 200, patch("alice", `[{"op":"remove","path":"/free"}]`))
}
