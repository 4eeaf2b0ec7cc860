package app

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"nephos/internal/config"
	"nephos/internal/httpapi"
)

// metaSchema is the OpenAPI Initiative's own schema of 3.1 documents (2022-10-07; Apache-2.0).
func metaSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	f, err := os.Open("testdata/openapi-3.1-schema.json")
	require.NoError(t, err)
	defer f.Close()
	doc, err := jsonschema.UnmarshalJSON(f)
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("mem://oas31", doc))
	s, err := c.Compile("mem://oas31")
	require.NoError(t, err)
	return s
}

// TestOpenAPI: each service's document is valid by the official schema and has every row of the tables.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	meta := metaSchema(t)
	book, err := Policies(&config.Config{StateDir: t.TempDir()})
	require.NoError(t, err)
	list, err := RouteTables(book)
	require.NoError(t, err)
	require.Len(t, list, 6)
	for _, s := range list {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			h, err := s.Compile()
			require.NoError(t, err)
			prefix := s.Mounts[0].Prefix
			for _, path := range []string{"/openapi.json", prefix + "/openapi.json"} {
				rec := httptest.NewRecorder()
				h.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
				require.Equal(t, 200, rec.Code, path)
				require.Equal(t, "application/json", rec.Header().Get("Content-Type"))
				check(t, s, meta, rec.Body.Bytes())
			}
		})
	}
}

func check(t *testing.T, s *httpapi.Service, meta *jsonschema.Schema, text []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	require.NoError(t, err)
	require.NoError(t, meta.Validate(doc))

	var view struct {
		Paths map[string]map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &view))
	rows, ids := map[string]bool{}, map[string]bool{}
	for path, item := range view.Paths {
		for method, raw := range item {
			if method == "parameters" {
				continue
			}
			var op struct {
				OperationID string              `json:"operationId"`
				Rows        []map[string]string `json:"x-openstack"`
			}
			require.NoError(t, json.Unmarshal(raw, &op), "%s %s", method, path)
			require.False(t, ids[op.OperationID], "two operations are called %s", op.OperationID)
			ids[op.OperationID] = true
			for _, r := range op.Rows {
				rows[strings.Join([]string{strings.ToUpper(method), path, r["name"], r["action-name"]}, " ")] = true
			}
		}
	}
	want := 0
	for prefix, routes := range map[string][]httpapi.Route{"": s.Root, s.Mounts[0].Prefix: s.Routes} {
		if prefix != "" && s.Mounts[0].Project == httpapi.ProjectRequired {
			prefix += "/{project_id}"
		}
		for _, r := range routes {
			want++
			key := strings.Join([]string{r.Method, prefix + strings.ReplaceAll(r.Path, "...}", "}"), r.Name, r.Action}, " ")
			require.True(t, rows[key], "the document lacks %s", key)
		}
	}
	require.Positive(t, want)
}

// TestMatch: a path as clients write it finds its row.
func TestMatch(t *testing.T) {
	t.Parallel()
	book, err := Policies(&config.Config{StateDir: t.TempDir()})
	require.NoError(t, err)
	list, err := RouteTables(book)
	require.NoError(t, err)
	find := func(method, path, action string) string {
		for _, s := range list {
			if r := s.Match(method, path, action); r != nil {
				return s.Name + " " + r.Name
			}
		}
		return ""
	}
	const project = "0123456789abcdef0123456789abcdef"
	for call, want := range map[[3]string]string{
		{http.MethodPost, "/v2.1/servers", ""}:                                        "compute servers.create",
		{http.MethodGet, "/v2.1/servers/detail", ""}:                                  "compute servers.detail",
		{http.MethodGet, "/v2/" + project + "/servers/x", ""}:                         "compute servers.show",
		{http.MethodGet, "/v3/users/u", ""}:                                           "identity users.show",
		{http.MethodPost, "/v3/" + project + "/volumes/v/action", "os-extend"}:        "volume volumes.action.os-extend",
		{http.MethodHead, "/v3/users", ""}:                                            "identity users.list",
		{http.MethodGet, "/v9/nothing", ""}:                                           "",
		{http.MethodPost, "/v3/" + project + "/volumes/v/action", "os-there-is-none"}: "",
	} {
		require.Equal(t, want, find(call[0], call[1], call[2]), "%v", call)
	}
}
