package api_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/placement"
	"nephos/internal/placement/api"
	"nephos/internal/policy"
)

type tokens map[string]*policy.Credentials

func (t tokens) Authenticate(_ context.Context, token string) (*policy.Credentials, error) {
	if c := t[token]; c != nil {
		return c, nil
	}
	return nil, fault.Unauthorized("The request you have made requires authentication.")
}

var people = tokens{
	"admin":   {UserID: "u0", ProjectID: "p-admin", Roles: []string{"admin", "member", "reader"}},
	"service": {UserID: "u9", ProjectID: "p-service", Roles: []string{"service"}},
	"alice":   {UserID: "u1", ProjectID: "p-alice", Roles: []string{"member", "reader"}},
}

type cloud struct {
	t   *testing.T
	url string
	db  *db.DB
}

func each(t *testing.T, fn func(c cloud)) {
	t.Helper()
	t.Parallel()
	dbtest.Each(t, []db.Migrations{placement.Migrations()}, func(t *testing.T, d *db.DB) {
		svc, err := api.New(api.Deps{DB: d, Auth: people, AuthURI: "http://k/v3", Log: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		h, err := svc.Compile()
		require.NoError(t, err)
		srv := httptest.NewServer(h)
		t.Cleanup(srv.Close)
		fn(cloud{t, srv.URL, d})
	})
}

type answer struct {
	status int
	header http.Header
	raw    string
	doc    map[string]any
}

// call sends "METHOD /path" at microversion 1.minor as who; body may be "" and any value that becomes JSON.
func (c cloud) call(who, minor, line string, body any) answer {
	c.t.Helper()
	method, path, _ := strings.Cut(line, " ")
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		require.NoError(c.t, err)
		text = strings.NewReader(string(b))
	}
	req, err := http.NewRequest(method, c.url+path, text)
	require.NoError(c.t, err)
	if who != "" {
		req.Header.Set("X-Auth-Token", who)
	}
	if minor != "" {
		req.Header.Set("OpenStack-API-Version", "placement "+minor)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(b)}
	json.Unmarshal(b, &a.doc) //nolint:errcheck // not every answer is JSON
	return a
}

// ok calls as admin at 1.39 and wants a status.
func (c cloud) ok(status int, line string, body any) answer {
	c.t.Helper()
	a := c.call("admin", "1.39", line, body)
	require.Equal(c.t, status, a.status, "%s: %s", line, a.raw)
	return a
}

// bad is ok for errors; it returns code and detail.
func (c cloud) bad(status int, line string, body any) (code, detail string) {
	c.t.Helper()
	e := c.ok(status, line, body).doc["errors"].([]any)[0].(map[string]any)
	require.EqualValues(c.t, status, e["status"])
	require.NotEmpty(c.t, e["request_id"])
	return e["code"].(string), e["detail"].(string)
}

type m = map[string]any

// host makes a provider with 8 VCPU (ratio 2), 1024 MEMORY_MB and 100 DISK_GB.
func (c cloud) host(name string) string {
	c.t.Helper()
	id := uuid.NewString()
	c.ok(200, "POST /resource_providers", m{"name": name, "uuid": id})
	c.ok(200, "PUT /resource_providers/"+id+"/inventories", m{"resource_provider_generation": 0, "inventories": m{
		"VCPU": m{"total": 8, "allocation_ratio": 2.0}, "MEMORY_MB": m{"total": 1024, "reserved": 512}, "DISK_GB": m{"total": 100, "step_size": 10, "min_unit": 10, "max_unit": 50}}})
	return id
}

func (c cloud) sound() {
	c.t.Helper()
	require.NoError(c.t, c.db.Read(context.Background(), func(tx *db.Tx) error {
		wrong, err := placement.Check(context.Background(), tx)
		require.Empty(c.t, wrong)
		return err
	}))
}

func demand(consumerGeneration any, byProvider m) m {
	allocations := m{}
	for p, r := range byProvider {
		allocations[p] = m{"resources": r}
	}
	return m{"allocations": allocations, "project_id": "p-alice", "user_id": "u1", "consumer_generation": consumerGeneration, "consumer_type": "INSTANCE"}
}

func TestVersionsAndWhoMay(t *testing.T) {
	each(t, func(c cloud) {
		a := c.call("", "", "GET /", nil)
		require.Equal(c.t, 200, a.status)
		v := a.doc["versions"].([]any)[0].(m)
		require.Equal(c.t, "1.39", v["max_version"])
		require.Equal(c.t, "1.0", v["min_version"])

		require.Equal(c.t, 401, c.call("", "", "GET /resource_providers", nil).status)
		require.Equal(c.t, 403, c.call("alice", "", "GET /resource_providers", nil).status)
		require.Equal(c.t, 200, c.call("service", "", "GET /resource_providers", nil).status)
		require.Equal(c.t, 200, c.call("alice", "1.9", "GET /usages?project_id=p-alice", nil).status)
		require.Equal(c.t, 403, c.call("alice", "1.9", "GET /usages?project_id=p-admin", nil).status)
		require.Equal(c.t, 404, c.call("admin", "1.8", "GET /usages?project_id=p-alice", nil).status)

		a = c.call("admin", "1.40", "GET /resource_providers", nil)
		require.Equal(c.t, 406, a.status)
		require.Equal(c.t, "1.39", a.doc["errors"].([]any)[0].(m)["max_version"])
		require.Equal(c.t, 400, c.call("admin", "one", "GET /resource_providers", nil).status)
		a = c.call("admin", "latest", "GET /resource_providers", nil)
		require.Equal(c.t, "placement 1.39", a.header.Get("OpenStack-API-Version"))
		require.Equal(c.t, "no-cache", a.header.Get("Cache-Control"))
		require.NotEmpty(c.t, a.header.Get("Last-Modified"))
		require.Empty(c.t, c.call("admin", "1.14", "GET /resource_providers", nil).header.Get("Last-Modified"))
		a = c.call("admin", "", "PATCH /resource_providers", nil)
		require.Equal(c.t, 405, a.status)
		require.Equal(c.t, "GET, POST", a.header.Get("Allow"))
		require.Equal(c.t, 404, c.call("admin", "1.29", "POST /reshaper", m{"inventories": m{}, "allocations": m{}}).status)
		c.ok(204, "POST /reshaper", m{"inventories": m{}, "allocations": m{}})
	})
}

func TestProviderLife(t *testing.T) {
	each(t, func(c cloud) {
		id := uuid.NewString()
		a := c.call("admin", "1.19", "POST /resource_providers", m{"name": "one", "uuid": id})
		require.Equal(c.t, 201, a.status)
		require.Equal(c.t, c.url+"/resource_providers/"+id, a.header.Get("Location"))
		require.Empty(c.t, a.raw)
		code, _ := c.bad(409, "POST /resource_providers", m{"name": "one"})
		require.Equal(c.t, "placement.duplicate_name", code)
		c.bad(409, "POST /resource_providers", m{"name": "other", "uuid": id})
		c.bad(400, "POST /resource_providers", m{"name": "x", "parent_provider_uuid": uuid.NewString()})
		c.bad(400, "POST /resource_providers", m{"name": "x", "uuid": "nonsense"})
		c.bad(400, "POST /resource_providers", m{"name": strings.Repeat("x", 201)})

		kid := c.ok(200, "POST /resource_providers", m{"name": "kid", "parent_provider_uuid": id}).doc["uuid"].(string)
		p := c.ok(200, "GET /resource_providers/"+kid, nil).doc
		require.Equal(c.t, id, p["root_provider_uuid"])
		require.Equal(c.t, id, p["parent_provider_uuid"])
		require.Len(c.t, p["links"], 6)
		require.Len(c.t, c.call("admin", "1.0", "GET /resource_providers/"+kid, nil).doc["links"], 3)
		code, _ = c.bad(409, "DELETE /resource_providers/"+id, nil)
		require.Equal(c.t, "placement.resource_provider.cannot_delete_parent", code)

		grandkid := c.ok(200, "POST /resource_providers", m{"name": "grandkid", "parent_provider_uuid": kid}).doc["uuid"].(string)
		c.bad(400, "PUT /resource_providers/"+id, m{"name": "one", "parent_provider_uuid": grandkid})
		require.Equal(c.t, 400, c.call("admin", "1.36", "PUT /resource_providers/"+kid, m{"name": "kid", "parent_provider_uuid": nil}).status)
		c.ok(200, "PUT /resource_providers/"+kid, m{"name": "kid2", "parent_provider_uuid": nil})
		require.Equal(c.t, kid, c.ok(200, "GET /resource_providers/"+grandkid, nil).doc["root_provider_uuid"], "the subtree moves along")
		require.Len(c.t, c.ok(200, "GET /resource_providers?in_tree="+grandkid, nil).doc["resource_providers"], 2)
		require.Len(c.t, c.ok(200, "GET /resource_providers?name=kid2", nil).doc["resource_providers"], 1)
		require.Len(c.t, c.ok(200, "GET /resource_providers?uuid="+kid, nil).doc["resource_providers"], 1)
		c.bad(409, "PUT /resource_providers/"+kid, m{"name": "one"})
		c.bad(400, "GET /resource_providers?nonsense=1", nil)

		for _, gone := range []string{grandkid, kid, id} {
			c.ok(204, "DELETE /resource_providers/"+gone, nil)
		}
		code, _ = c.bad(404, "DELETE /resource_providers/"+id, nil)
		require.Equal(c.t, "placement.resource_provider.not_found", code)
		c.bad(404, "GET /resource_providers/"+id, nil)
	})
}

func TestInventoryAndGenerations(t *testing.T) {
	each(t, func(c cloud) {
		id := c.host("h")
		base := "/resource_providers/" + id + "/inventories"
		a := c.ok(200, "GET "+base, nil).doc
		require.EqualValues(c.t, 1, a["resource_provider_generation"])
		require.Equal(c.t, m{"total": 8.0, "reserved": 0.0, "min_unit": 1.0, "max_unit": 2147483647.0, "step_size": 1.0, "allocation_ratio": 2.0}, a["inventories"].(m)["VCPU"])

		code, _ := c.bad(409, "PUT "+base, m{"resource_provider_generation": 0, "inventories": m{}})
		require.Equal(c.t, "placement.concurrent_update", code)
		c.bad(400, "PUT "+base, m{"resource_provider_generation": 1, "inventories": m{"NONSENSE": m{"total": 1}}})
		c.bad(400, "PUT "+base, m{"resource_provider_generation": 1, "inventories": m{"VCPU": m{"total": 0}}})
		c.bad(400, "PUT "+base, m{"resource_provider_generation": 1, "inventories": m{"VCPU": m{"total": 1, "reserved": 2}}})
		c.ok(200, "PUT "+base+"/VCPU", m{"resource_provider_generation": 1, "total": 4, "reserved": 4})
		require.Equal(c.t, 400, c.call("admin", "1.25", "PUT "+base+"/VCPU", m{"resource_provider_generation": 2, "total": 4, "reserved": 4}).status)
		c.bad(400, "PUT "+base+"/PGPU", m{"resource_provider_generation": 2, "total": 4})
		one := c.ok(200, "GET "+base+"/VCPU", nil).doc
		require.EqualValues(c.t, 4, one["reserved"])
		require.EqualValues(c.t, 2, one["resource_provider_generation"])

		a2 := c.ok(201, "POST "+base, m{"resource_class": "PGPU", "total": 2, "resource_provider_generation": 2})
		require.Equal(c.t, c.url+base+"/PGPU", a2.header.Get("Location"))
		c.bad(409, "POST "+base, m{"resource_class": "PGPU", "total": 2, "resource_provider_generation": 3})
		c.ok(204, "DELETE "+base+"/PGPU", nil)
		c.bad(404, "DELETE "+base+"/PGPU", nil)
		c.bad(404, "GET "+base+"/PGPU", nil)

		consumer := uuid.NewString()
		c.ok(204, "PUT /allocations/"+consumer, demand(nil, m{id: m{"MEMORY_MB": 10}}))
		code, _ = c.bad(409, "DELETE "+base, nil)
		require.Equal(c.t, "placement.inventory.inuse", code)
		c.bad(409, "DELETE "+base+"/MEMORY_MB", nil)
		code, _ = c.bad(409, "DELETE /resource_providers/"+id, nil)
		require.Equal(c.t, "placement.resource_provider.inuse", code)
		c.ok(204, "DELETE /allocations/"+consumer, nil)
		c.ok(204, "DELETE "+base, nil)
		c.sound()
	})
}

func TestAllocations(t *testing.T) {
	each(t, func(c cloud) {
		h1, h2, server := c.host("h1"), c.host("h2"), uuid.NewString()
		require.Equal(c.t, m{"allocations": m{}}, c.ok(200, "GET /allocations/"+server, nil).doc)
		c.bad(404, "DELETE /allocations/"+server, nil)
		c.ok(204, "PUT /allocations/"+server, demand(nil, m{h1: m{"VCPU": 4, "MEMORY_MB": 256}}))
		code, _ := c.bad(409, "PUT /allocations/"+server, demand(nil, m{h1: m{"VCPU": 4}}))
		require.Equal(c.t, "placement.concurrent_update", code)
		code, _ = c.bad(409, "PUT /allocations/"+server, demand(7, m{h1: m{"VCPU": 4}}))
		require.Equal(c.t, "placement.concurrent_update", code)
		a := c.ok(200, "GET /allocations/"+server, nil).doc
		require.EqualValues(c.t, 1, a["consumer_generation"])
		require.Equal(c.t, "INSTANCE", a["consumer_type"])
		require.Equal(c.t, m{"VCPU": 4.0, "MEMORY_MB": 256.0}, a["allocations"].(m)[h1].(m)["resources"])

		for name, refused := range map[string]m{
			"capacity":  {h1: m{"VCPU": 17}},
			"step":      {h1: m{"DISK_GB": 15}},
			"most":      {h1: m{"DISK_GB": 60}},
			"inventory": {h1: m{"PGPU": 1}},
		} {
			_, detail := c.bad(409, "PUT /allocations/"+server, demand(1, refused))
			require.Contains(c.t, detail, "Unable to allocate", name)
		}
		c.bad(400, "PUT /allocations/"+server, demand(1, m{h1: m{"NONSENSE": 1}}))
		c.bad(400, "PUT /allocations/"+server, demand(1, m{uuid.NewString(): m{"VCPU": 1}}))
		c.bad(400, "PUT /allocations/"+server, demand(1, m{h1: m{"VCPU": 0}}))
		require.Equal(c.t, m{"VCPU": 4.0, "MEMORY_MB": 256.0, "DISK_GB": 0.0}, c.ok(200, "GET /resource_providers/"+h1+"/usages", nil).doc["usages"], "a refused change leaves all as it was")

		// A move: the resources go to the migration, and the server takes of the other host, in one step.
		migration := uuid.NewString()
		move := m{migration: demand(nil, m{h1: m{"VCPU": 16}}), server: demand(1, m{h2: m{"VCPU": 4}})}
		c.ok(204, "POST /allocations", move)
		on := c.ok(200, "GET /resource_providers/"+h1+"/allocations", nil).doc["allocations"].(m)
		require.Equal(c.t, m{migration: m{"resources": m{"VCPU": 16.0}, "consumer_generation": 1.0}}, on)
		c.bad(409, "POST /allocations", m{migration: demand(1, m{}), server: demand(1, m{h1: m{"VCPU": 1}})})
		c.ok(204, "POST /allocations", m{migration: demand(1, m{}), server: demand(2, m{h1: m{"VCPU": 16}})})

		use := c.ok(200, "GET /usages?project_id=p-alice", nil).doc
		require.Equal(c.t, m{"usages": m{"INSTANCE": m{"consumer_count": 1.0, "VCPU": 16.0}}}, use)
		require.Equal(c.t, m{"usages": m{"all": m{"consumer_count": 1.0, "VCPU": 16.0}}}, c.ok(200, "GET /usages?project_id=p-alice&user_id=u1&consumer_type=all", nil).doc)
		require.Equal(c.t, m{"usages": m{"VCPU": 16.0}}, c.call("admin", "1.37", "GET /usages?project_id=p-alice", nil).doc)
		require.Equal(c.t, m{"usages": m{}}, c.ok(200, "GET /usages?project_id=p-alice&user_id=other", nil).doc)
		c.bad(400, "GET /usages", nil)
		c.ok(204, "PUT /allocations/"+server, demand(3, m{}))
		c.sound()
	})
}

func TestOldAllocationForms(t *testing.T) {
	each(t, func(c cloud) {
		h, server := c.host("h"), uuid.NewString()
		list := m{"allocations": []any{m{"resource_provider": m{"uuid": h}, "resources": m{"VCPU": 1}}}}
		require.Equal(c.t, 204, c.call("admin", "1.0", "PUT /allocations/"+server, list).status)
		require.Equal(c.t, 400, c.call("admin", "1.8", "PUT /allocations/"+server, list).status)
		list["project_id"], list["user_id"] = "p-alice", "u1"
		require.Equal(c.t, 204, c.call("admin", "1.11", "PUT /allocations/"+server, list).status)
		require.Equal(c.t, 400, c.call("admin", "1.12", "PUT /allocations/"+server, list).status)
		doc := m{"allocations": m{h: m{"resources": m{"VCPU": 2}}}, "project_id": "p-alice", "user_id": "u1"}
		require.Equal(c.t, 204, c.call("admin", "1.27", "PUT /allocations/"+server, doc).status)
		require.Equal(c.t, 400, c.call("admin", "1.27", "PUT /allocations/"+server, m{"allocations": m{}, "project_id": "p", "user_id": "u"}).status)
		a := c.call("admin", "1.11", "GET /allocations/"+server, nil).doc
		require.NotContains(c.t, a, "project_id")
		require.Equal(c.t, "p-alice", c.call("admin", "1.12", "GET /allocations/"+server, nil).doc["project_id"])
		c.sound()
	})
}

func TestCandidates(t *testing.T) {
	each(t, func(c cloud) {
		h1, h2 := c.host("h1"), c.host("h2")
		agg := uuid.NewString()
		c.ok(200, "PUT /resource_providers/"+h2+"/aggregates", m{"resource_provider_generation": 1, "aggregates": []string{agg}})
		c.ok(200, "PUT /resource_providers/"+h2+"/traits", m{"resource_provider_generation": 2, "traits": []string{"HW_CPU_X86_AVX2", "STORAGE_DISK_SSD"}})
		c.ok(204, "PUT /allocations/"+uuid.NewString(), demand(nil, m{h1: m{"VCPU": 10}}))

		names := map[string]string{h1: "h1", h2: "h2"}
		for query, want := range map[string]string{
			"resources=VCPU:6":                                                     "h1 h2",
			"resources=VCPU:7":                                                     "h2",
			"resources=VCPU:7,DISK_GB:20":                                          "h2",
			"resources=DISK_GB:15":                                                 "",
			"resources=VCPU:17":                                                    "",
			"resources=VCPU:1&limit=1":                                             "h1",
			"resources=VCPU:1&required=HW_CPU_X86_AVX2":                            "h2",
			"resources=VCPU:1&required=!HW_CPU_X86_AVX2":                           "h1",
			"resources=VCPU:1&required=in:HW_CPU_X86_AVX,HW_CPU_X86_AVX2":          "h2",
			"resources=VCPU:1&required=HW_CPU_X86_AVX2&required=!STORAGE_DISK_SSD": "",
			"resources=VCPU:1&member_of=in:" + agg + "," + uuid.NewString():        "h2",
			"resources=VCPU:1&member_of=!" + agg:                                   "h1",
			"resources=VCPU:1&member_of=" + agg + "&member_of=" + uuid.NewString(): "",
			"resources=VCPU:1&in_tree=" + h1:                                       "h1",
			"resources=VCPU:1&group_policy=none":                                   "h1 h2",
		} {
			a := c.ok(200, "GET /allocation_candidates?"+query, nil).doc
			var got []string
			for _, req := range a["allocation_requests"].([]any) {
				for id := range req.(m)["allocations"].(m) {
					got = append(got, names[id])
				}
			}
			require.Equal(c.t, want, strings.Join(got, " "), query)
			require.Len(c.t, a["provider_summaries"], len(got), query)
		}
		for query, part := range map[string]string{
			"":                     "At least one request group",
			"resources=":           "CLASS:amount",
			"resources=VCPU":       "CLASS:amount",
			"resources=VCPU:0":     "amount",
			"resources=NONSENSE:1": "No such resource class NONSENSE",
			"resources1=VCPU:1&required2=HW_CPU_X86_AVX2":                      "orphaned",
			"resources1=VCPU:1&resources2=VCPU:1":                              "group_policy",
			"resources.A=VCPU:1":                                               "not known",
			"resources=VCPU:1&root_required=in:HW_CPU_X86_AVX,HW_CPU_X86_AVX2": "trait",
			"resources=VCPU:1&same_subtree=":                                   "Empty",
			"resources=VCPU:1&group_policy=x":                                  "isolate",
			"required=HW_CPU_X86_AVX2":                                         "orphaned",
			"resources=VCPU:1&required=NONSENSE":                               "No such trait",
			"resources=VCPU:1&required=":                                       "traits",
			"resources=VCPU:1&required=STORAGE_DISK_SSD,!STORAGE_DISK_SSD":     "both",
			"resources=VCPU:1&member_of=x":                                     "uuid",
			"resources=VCPU:1&limit=0":                                         "limit",
			"resources=VCPU:1&same_subtree=_A":                                 "Real suffixes",
			"resources=VCPU:1&nonsense=1":                                      "nonsense",
			"resources=VCPU:1&limit=1&limit=2":                                 "once",
		} {
			_, detail := c.bad(400, "GET /allocation_candidates?"+query, nil)
			require.Contains(c.t, detail, part, query)
		}
		sum := c.ok(200, "GET /allocation_candidates?resources=VCPU:1&limit=1", nil).doc["provider_summaries"].(m)[h1].(m)
		require.Equal(c.t, m{"capacity": 16.0, "used": 10.0}, sum["resources"].(m)["VCPU"])
		require.Len(c.t, sum["resources"], 3)
		old := c.call("admin", "1.10", "GET /allocation_candidates?resources=VCPU:7", nil).doc
		require.Equal(c.t, m{"allocations": []any{m{"resource_provider": m{"uuid": h2}, "resources": m{"VCPU": 7.0}}}}, old["allocation_requests"].([]any)[0])
		require.Len(c.t, c.ok(200, "GET /resource_providers?resources=VCPU:7&member_of="+agg, nil).doc["resource_providers"], 1)
	})
}

func TestTraitsClassesAggregates(t *testing.T) {
	each(t, func(c cloud) {
		h := c.host("h")
		a := c.ok(201, "PUT /traits/CUSTOM_GOLD", nil)
		require.Equal(c.t, c.url+"/traits/CUSTOM_GOLD", a.header.Get("Location"))
		c.ok(204, "PUT /traits/CUSTOM_GOLD", nil)
		c.bad(400, "PUT /traits/GOLD", nil)
		c.bad(400, "PUT /traits/CUSTOM_gold", nil)
		c.ok(204, "GET /traits/CUSTOM_GOLD", nil)
		c.ok(204, "GET /traits/COMPUTE_NODE", nil)
		c.bad(404, "GET /traits/CUSTOM_LEAD", nil)
		c.bad(400, "PUT /resource_providers/"+h+"/traits", m{"resource_provider_generation": 1, "traits": []string{"CUSTOM_LEAD"}})
		c.bad(409, "PUT /resource_providers/"+h+"/traits", m{"resource_provider_generation": 0, "traits": []string{"CUSTOM_GOLD"}})
		set := c.ok(200, "PUT /resource_providers/"+h+"/traits", m{"resource_provider_generation": 1, "traits": []string{"COMPUTE_NODE", "CUSTOM_GOLD"}}).doc
		require.Equal(c.t, m{"traits": []any{"COMPUTE_NODE", "CUSTOM_GOLD"}, "resource_provider_generation": 2.0}, set)
		c.bad(409, "DELETE /traits/CUSTOM_GOLD", nil)
		require.Equal(c.t, []any{"COMPUTE_NODE", "CUSTOM_GOLD"}, c.ok(200, "GET /traits?associated=true", nil).doc["traits"])
		require.Equal(c.t, []any{"CUSTOM_GOLD"}, c.ok(200, "GET /traits?name=startswith:CUSTOM_", nil).doc["traits"])
		require.Equal(c.t, []any{"HW_ARCH_X86_64"}, c.ok(200, "GET /traits?name=in:HW_ARCH_X86_64,X&associated=false", nil).doc["traits"])
		c.bad(400, "GET /traits?name=x", nil)
		c.bad(400, "GET /traits?associated=x", nil)
		c.ok(204, "DELETE /resource_providers/"+h+"/traits", nil)
		require.Empty(c.t, c.ok(200, "GET /resource_providers/"+h+"/traits", nil).doc["traits"])
		c.ok(204, "DELETE /traits/CUSTOM_GOLD", nil)
		c.bad(404, "DELETE /traits/CUSTOM_GOLD", nil)
		c.bad(400, "DELETE /traits/COMPUTE_NODE", nil)

		c.ok(201, "POST /resource_classes", m{"name": "CUSTOM_TAPE"})
		c.bad(409, "POST /resource_classes", m{"name": "CUSTOM_TAPE"})
		c.bad(400, "POST /resource_classes", m{"name": "TAPE"})
		c.ok(204, "PUT /resource_classes/CUSTOM_TAPE", nil)
		require.Equal(c.t, 200, c.call("admin", "1.6", "PUT /resource_classes/CUSTOM_TAPE", m{"name": "CUSTOM_REEL"}).status)
		require.Equal(c.t, m{"name": "CUSTOM_REEL", "links": []any{m{"rel": "self", "href": "/resource_classes/CUSTOM_REEL"}}}, c.ok(200, "GET /resource_classes/CUSTOM_REEL", nil).doc)
		c.ok(201, "POST /resource_providers/"+h+"/inventories", m{"resource_class": "CUSTOM_REEL", "total": 1, "resource_provider_generation": 3})
		c.bad(409, "DELETE /resource_classes/CUSTOM_REEL", nil)
		c.ok(204, "DELETE /resource_providers/"+h+"/inventories/CUSTOM_REEL", nil)
		c.ok(204, "DELETE /resource_classes/CUSTOM_REEL", nil)
		c.bad(400, "DELETE /resource_classes/VCPU", nil)
		require.Len(c.t, c.ok(200, "GET /resource_classes", nil).doc["resource_classes"], len(placement.StandardClasses))

		agg := uuid.NewString()
		old := c.call("admin", "1.1", "PUT /resource_providers/"+h+"/aggregates", []string{agg})
		require.Equal(c.t, 200, old.status, old.raw)
		require.Equal(c.t, m{"aggregates": []any{agg}}, old.doc)
		now := c.ok(200, "GET /resource_providers/"+h+"/aggregates", nil).doc
		require.Equal(c.t, []any{agg}, now["aggregates"])
		c.bad(409, "PUT /resource_providers/"+h+"/aggregates", m{"resource_provider_generation": 0, "aggregates": []string{}})
		c.bad(400, "PUT /resource_providers/"+h+"/aggregates", m{"resource_provider_generation": 1, "aggregates": []string{"x"}})
		require.Equal(c.t, 404, c.call("admin", "1.0", "GET /resource_providers/"+h+"/aggregates", nil).status)
	})
}
