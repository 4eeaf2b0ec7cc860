package api_test

import (
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db/dbtest"
	"nephos/internal/image"
	"nephos/internal/image/metadef"
	"nephos/internal/workflow"
)

// fuzzed is a cloud for a fuzz target: SQLite, one image.
func fuzzed(f *testing.F) (cloud, string) {
	c := start(f, dbtest.SQLite(f, workflow.Migrations(), image.Migrations(), metadef.Migrations()))
	return c, c.create(f, "alice", `{"name":"x","disk_format":"raw","container_format":"bare","k":"v"}`)
}

// FuzzPatch: no body of a PATCH is a 500, and none touches what no user may set.
func FuzzPatch(f *testing.F) {
	c, id := fuzzed(f)
	for _, s := range []string{``, `[]`, `{}`, `[1]`, `[{"op":"add","path":"/name","value":"n"}]`, `[{"op":"replace","path":"/tags","value":["a","b"]}]`, `[{"op":"remove","path":"/k"}]`,
		`[{"op":"add","path":"/a~1b~0c","value":"x"}]`, `[{"op":"add","path":"/locations/-","value":{"url":"file:///etc/passwd","metadata":{}}}]`, `[{"op":"replace","path":"/min_ram","value":1e400}]`,
		`[{"op":"replace","path":"/status","value":"active"}]`, `[{"add":"/x","value":"1"}]`, `[{"op":"add","path":"/x","value":"\u0000"}]`, `[{"op":"replace","path":"/visibility","value":"public"}]`,
		`[{"op":"replace","path":"/owner","value":null}]`, `[{"op":"add","path":"//","value":""}]`, `[{"op":"replace","path":"/protected","value":"true"}]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, media := range []string{patch21, patch20} {
			a := c.do(t, "alice", "PATCH", "/v2/images/"+id, media, body)
			require.Less(t, a.status, 500, "%s", a.raw)
		}
		a := c.do(t, "alice", "GET", "/v2/images/"+id, "", "")
		require.Equal(t, []any{id, "queued", "p-alice"}, []any{a.doc["id"], a.doc["status"], a.doc["owner"]})
		require.NotEqual(t, "public", a.doc["visibility"])
	})
}

// FuzzCreate: no body of the creating calls is a 500; what is refused leaves nothing, and bytes come only by an upload.
func FuzzCreate(f *testing.F) {
	c, _ := fuzzed(f)
	for _, s := range []string{`{}`, `{"name":null}`, `{"id":"x"}`, `{"tags":["a"],"os_glance_x":"1"}`, `{"locations":[]}`, `{"min_disk":-1}`, `{"namespace":"n","properties":{"p":{"title":"t","type":"string"}}}`,
		`{"type":"import","input":{"import_from":"http://10.0.0.1/","import_from_format":"raw","image_properties":{"name":"x"}}}`, `{"method":{"name":"web-download","uri":"http://[::]/"}}`, `{"url":"x","validation_data":{}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		const json = "application/json"
		a := c.do(t, "alice", "POST", "/v2/images", json, body)
		require.Less(t, a.status, 500, "%s", a.raw)
		if a.status == 201 {
			require.Equal(t, "queued", a.doc["status"])
			id := a.doc["id"].(string)
			for _, path := range []string{"/import", "/members", "/locations"} {
				require.Less(t, c.do(t, "alice", "POST", "/v2/images/"+id+path, json, body).status, 500, path)
			}
			c.do(t, "admin", "PATCH", "/v2/images/"+id, patch21, `[{"op":"replace","path":"/protected","value":false}]`)
			require.Equal(t, 204, c.do(t, "admin", "DELETE", "/v2/images/"+id, "", "").status)
		}
		require.Less(t, c.do(t, "admin", "POST", "/v2/tasks", json, body).status, 500)
		if a := c.do(t, "admin", "POST", "/v2/metadefs/namespaces", json, body); a.status == 201 {
			c.do(t, "admin", "PUT", "/v2/metadefs/namespaces/"+url.PathEscape(a.doc["namespace"].(string)), json, `{"protected":false}`)
			c.do(t, "admin", "DELETE", "/v2/metadefs/namespaces/"+url.PathEscape(a.doc["namespace"].(string)), "", "")
		} else {
			require.Less(t, a.status, 500, "%s", a.raw)
		}
		left, err := os.ReadDir(c.dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}
