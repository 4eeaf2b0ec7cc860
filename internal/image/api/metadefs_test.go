package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/image"
	"nephos/internal/image/metadef"
	"nephos/internal/workflow"
)

func TestMetadefsOutsideIn(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{workflow.Migrations(), image.Migrations(), metadef.Migrations()}, func(t *testing.T, d *db.DB) {
		c := start(t, d)
		require.NoError(t, metadef.New(d).EnsureStandard(context.Background(), "p-admin"))
		require.NoError(t, metadef.New(d).EnsureStandard(context.Background(), "p-admin"), "a second start")
		const json, base = "application/json", "/v2/metadefs/namespaces"
		call := func(want int, who, method, path, body string) answer {
			t.Helper()
			a := c.do(t, who, method, path, json, body)
			require.Equal(t, want, a.status, "%s %s %s: %s", method, path, body, a.raw)
			return a
		}
		all := call(200, "alice", "GET", base+"?limit=1000", "").doc["namespaces"].([]any)
		require.Greater(t, len(all), 20)
		require.Len(t, call(200, "alice", "GET", base+"?limit=2&sort_key=namespace&sort_dir=asc", "").doc["namespaces"], 2)
		cpu := call(200, "alice", "GET", base+"/OS::Compute::CPUPinning?resource_type=OS::Nova::Flavor", "").doc
		require.Equal(t, []any{"shared", "dedicated", "mixed"}, cpu["properties"].(map[string]any)["hw:cpu_policy"].(map[string]any)["enum"])
		call(403, "admin", "DELETE", base+"/OS::Compute::CPUPinning", "")

		call(403, "alice", "POST", base, `{"namespace":"mine"}`)
		for _, bad := range []string{``, `[]`, `{}`, `{"namespace":""}`, `{"namespace":"x","visibility":"open"}`, `{"namespace":"x","extra":1}`, `{"namespace":"` + strings.Repeat("x", 81) + `"}`,
			`{"namespace":"x","objects":[{}]}`, `{"namespace":"x","properties":{"p":{"type":"string"}}}`, `{"namespace":"a\u0000b"}`} {
			call(400, "admin", "POST", base, bad)
		}
		ns := call(201, "admin", "POST", base, `{"namespace":"My Space","display_name":"d","resource_type_associations":[{"name":"OS::Glance::Image","prefix":"my_"}],
			"properties":{"p":{"title":"P","type":"integer","minimum":1}},"objects":[{"name":"o"}],"tags":[{"name":"t"}]}`)
		require.Equal(t, []any{"private", false, "p-admin"}, []any{ns.doc["visibility"], ns.doc["protected"], ns.doc["owner"]})
		require.Equal(t, c.url+base+"/My%20Space", ns.header.Get("Location"))
		call(409, "admin", "POST", base, `{"namespace":"My Space"}`)
		path := base + "/My%20Space"
		call(404, "alice", "GET", path, "")
		call(200, "admin", "PUT", path, `{"namespace":"My Space","visibility":"public"}`)
		require.Equal(t, "My Space", call(200, "alice", "GET", path, "").doc["namespace"])
		require.Equal(t, []any{"My Space"}, names(call(200, "alice", "GET", base+"?resource_types=OS::Glance::Image&limit=1&visibility=public", "").doc["namespaces"], "namespace"))
		call(400, "alice", "GET", base+"?visibility=x", "")
		call(400, "alice", "GET", base+"?limit=-1", "")
		call(404, "alice", "GET", base+"?marker=nowhere", "")

		require.Equal(t, "o", call(200, "alice", "GET", path+"/objects/o", "").doc["name"])
		call(201, "admin", "POST", path+"/objects", `{"name":"o2","description":"second","properties":{"a":{"title":"A","type":"string"}}}`)
		call(409, "admin", "POST", path+"/objects", `{"name":"o2"}`)
		call(200, "admin", "PUT", path+"/objects/o2", `{"name":"o3"}`)
		call(409, "admin", "PUT", path+"/objects/o3", `{"name":"o"}`)
		call(404, "alice", "GET", path+"/objects/o2", "")
		require.Equal(t, []any{"o", "o3"}, names(call(200, "alice", "GET", path+"/objects", "").doc["objects"], "name"))
		call(403, "alice", "DELETE", path+"/objects/o3", "")
		call(204, "admin", "DELETE", path+"/objects/o3", "")
		call(404, "admin", "DELETE", path+"/objects/o3", "")

		call(201, "admin", "POST", path+"/properties", `{"name":"q","title":"Q","type":"string","enum":["a"],"default":"a"}`)
		require.Equal(t, map[string]any{"name": "q", "title": "Q2", "type": "string"}, call(200, "admin", "PUT", path+"/properties/q", `{"name":"q","title":"Q2","type":"string"}`).doc)
		require.Contains(t, call(200, "alice", "GET", path+"/properties", "").doc["properties"], "q")
		call(204, "admin", "DELETE", path+"/properties", "")
		require.Empty(t, call(200, "alice", "GET", path+"/properties", "").doc["properties"])

		call(201, "admin", "POST", path+"/tags", `{"tags":[{"name":"x"},{"name":"y"}]}`)
		require.Equal(t, []any{"x", "y"}, names(call(200, "alice", "GET", path+"/tags", "").doc["tags"], "name"))
		call(409, "admin", "POST", path+"/tags", `{"tags":[{"name":"z"},{"name":"z"}]}`)
		require.Equal(t, []any{"x", "y"}, names(call(200, "alice", "GET", path+"/tags", "").doc["tags"], "name"), "all or nothing")
		call(201, "admin", "POST", path+"/tags/z", "")
		call(200, "admin", "PUT", path+"/tags/z", `{"name":"zz"}`)
		call(204, "admin", "DELETE", path+"/tags/zz", "")
		call(204, "admin", "DELETE", path+"/tags", "")

		require.Len(t, call(200, "alice", "GET", path+"/resource_types", "").doc["resource_type_associations"], 1)
		call(201, "admin", "POST", path+"/resource_types", `{"name":"Mine::New"}`)
		call(409, "admin", "POST", path+"/resource_types", `{"name":"Mine::New"}`)
		require.Contains(t, names(call(200, "alice", "GET", "/v2/metadefs/resource_types", "").doc["resource_types"], "name"), "Mine::New")
		call(204, "admin", "DELETE", path+"/resource_types/Mine::New", "")
		call(404, "admin", "DELETE", path+"/resource_types/Mine::New", "")
		for _, s := range []string{"namespace", "namespaces", "object", "objects", "property", "properties", "tag", "tags", "resource_type", "resource_types"} {
			require.NotEmpty(t, call(200, "alice", "GET", "/v2/schemas/metadefs/"+s, "").doc["properties"], s)
		}
		require.Equal(t, http.StatusNotFound, c.do(t, "alice", "GET", "/v2/schemas/metadefs/x", "", "").status)
		call(204, "admin", "DELETE", path, "")
		call(404, "alice", "GET", path, "")
	})
}

func names(list any, key string) []any {
	out := []any{}
	for _, x := range list.([]any) {
		out = append(out, x.(map[string]any)[key])
	}
	return out
}
