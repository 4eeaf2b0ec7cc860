package api_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// nested makes a host with two NUMA nodes of 4 PCPU each, one of them with a GPU below it, and a pool of disk that shares with the host. The root has 1024
// MEMORY_MB.
func (c cloud) nested() (ids map[string]string) {
	c.t.Helper()
	ids = map[string]string{}
	add := func(name, parent string, inventories m, traits ...string) {
		id := uuid.NewString()
		ids[name] = id
		body := m{"name": name, "uuid": id}
		if parent != "" {
			body["parent_provider_uuid"] = ids[parent]
		}
		c.ok(200, "POST /resource_providers", body)
		c.ok(200, "PUT /resource_providers/"+id+"/inventories", m{"resource_provider_generation": 0, "inventories": inventories})
		c.ok(200, "PUT /resource_providers/"+id+"/traits", m{"resource_provider_generation": 1, "traits": append([]string{}, traits...)})
	}
	add("host", "", m{"MEMORY_MB": m{"total": 1024}}, "HW_NUMA_ROOT")
	add("numa0", "host", m{"PCPU": m{"total": 4}}, "HW_CPU_X86_AVX2")
	add("numa1", "host", m{"PCPU": m{"total": 4}})
	add("gpu", "numa1", m{"PGPU": m{"total": 1}})
	add("pool", "", m{"DISK_GB": m{"total": 100}}, "MISC_SHARES_VIA_AGGREGATE")
	agg := uuid.NewString()
	for _, name := range []string{"host", "pool"} {
		c.ok(200, "PUT /resource_providers/"+ids[name]+"/aggregates", m{"resource_provider_generation": 2, "aggregates": []string{agg}})
	}
	ids["agg"] = agg
	return ids
}

// candidates writes the answer to a query as "provider:CLASS=n,… …" for each candidate, sorted, with | between.
func (c cloud) candidates(ids map[string]string, minor, query string) string {
	c.t.Helper()
	names := map[string]string{}
	for name, id := range ids {
		names[id] = name
	}
	a := c.call("admin", minor, "GET /allocation_candidates?"+query, nil)
	require.Equal(c.t, 200, a.status, a.raw)
	var all []string
	for _, req := range a.doc["allocation_requests"].([]any) {
		var parts []string
		for id, x := range req.(m)["allocations"].(m) {
			resources := x.(m)["resources"].(m)
			var list []string
			for _, class := range slices.Sorted(maps.Keys(resources)) {
				list = append(list, class+"="+string(rune('0'+int(resources[class].(float64)))))
			}
			parts = append(parts, names[id]+":"+strings.Join(list, ","))
		}
		slices.Sort(parts)
		all = append(all, strings.Join(parts, " "))
	}
	slices.Sort(all)
	return strings.Join(all, " | ")
}

func TestNestedAndSharedCandidates(t *testing.T) {
	each(t, func(c cloud) {
		ids := c.nested()
		for query, want := range map[string]string{
			"resources=PCPU:2,MEMORY_MB:9,DISK_GB:5":                                                      "host:MEMORY_MB=9 numa0:PCPU=2 pool:DISK_GB=5 | host:MEMORY_MB=9 numa1:PCPU=2 pool:DISK_GB=5",
			"resources=PCPU:2&required=HW_CPU_X86_AVX2":                                                   "numa0:PCPU=2",
			"resources=PCPU:2,MEMORY_MB:9&required=HW_CPU_X86_AVX2,HW_NUMA_ROOT":                          "host:MEMORY_MB=9 numa0:PCPU=2",
			"resources=PCPU:2,MEMORY_MB:9&required=!HW_CPU_X86_AVX2":                                      "host:MEMORY_MB=9 numa1:PCPU=2",
			"resources1=PCPU:2,MEMORY_MB:9":                                                               "",
			"resources1=PCPU:2&resources2=PCPU:2&group_policy=isolate":                                    "numa0:PCPU=2 numa1:PCPU=2 | numa0:PCPU=2 numa1:PCPU=2",
			"resources1=PCPU:2&resources2=PCPU:2&group_policy=none":                                       "numa0:PCPU=2 numa1:PCPU=2 | numa0:PCPU=2 numa1:PCPU=2 | numa0:PCPU=4 | numa1:PCPU=4",
			"resources1=PCPU:3&resources2=PCPU:2&group_policy=none":                                       "numa0:PCPU=2 numa1:PCPU=3 | numa0:PCPU=3 numa1:PCPU=2",
			"resources_C=PCPU:2&resources_G=PGPU:1&same_subtree=_C,_G":                                    "gpu:PGPU=1 numa1:PCPU=2",
			"resources_G=PGPU:1&required_N=!HW_NUMA_ROOT&same_subtree=_N,_G":                              "gpu:PGPU=1 | gpu:PGPU=1",
			"resources=PCPU:2&root_required=HW_NUMA_ROOT":                                                 "numa0:PCPU=2 | numa1:PCPU=2",
			"resources=PCPU:2&root_required=!HW_NUMA_ROOT":                                                "",
			"resources=DISK_GB:5":                                                                         "pool:DISK_GB=5",
			"resources=DISK_GB:5&in_tree=" + ids["numa0"]:                                                 "",
			"resources=PCPU:2&member_of=" + ids["agg"]:                                                    "numa0:PCPU=2 | numa1:PCPU=2",
			"resources1=PCPU:2&member_of1=" + ids["agg"]:                                                  "",
			"resources=PCPU:2&member_of=!" + ids["agg"]:                                                   "",
			"resources1=PCPU:2&required1=in:HW_CPU_X86_AVX2,HW_CPU_X86_AVX":                               "numa0:PCPU=2",
			"resources=MEMORY_MB:9&resources1=PCPU:4&in_tree1=" + ids["gpu"] + "&required1=!COMPUTE_NODE": "host:MEMORY_MB=9 numa0:PCPU=4 | host:MEMORY_MB=9 numa1:PCPU=4",
		} {
			require.Equal(c.t, want, c.candidates(ids, "1.39", query), query)
		}
		// Older clients see no candidate of several providers of one tree, and no other providers of a tree in the summaries.
		require.Empty(c.t, c.candidates(ids, "1.28", "resources=PCPU:2,MEMORY_MB:9"))
		require.Equal(c.t, "numa0:PCPU=2 pool:DISK_GB=5 | numa1:PCPU=2 pool:DISK_GB=5", c.candidates(ids, "1.28", "resources=PCPU:2,DISK_GB:5"))
		require.Len(c.t, c.call("admin", "1.28", "GET /allocation_candidates?resources=PCPU:2,DISK_GB:5", nil).doc["provider_summaries"], 3)
		require.Len(c.t, c.call("admin", "1.29", "GET /allocation_candidates?resources=PCPU:2,DISK_GB:5", nil).doc["provider_summaries"], 5)
		require.Len(c.t, c.call("admin", "1.26", "GET /allocation_candidates?resources=PCPU:2", nil).doc["provider_summaries"], 2)
		a := c.ok(200, "GET /allocation_candidates?resources=MEMORY_MB:9&resources_G=PGPU:1", nil).doc["allocation_requests"].([]any)[0].(m)
		require.Equal(c.t, m{"": []any{ids["host"]}, "_G": []any{ids["gpu"]}}, a["mappings"])
		for minor, query := range map[string]string{"1.24": "resources1=PCPU:1", "1.32": "resources_A=PCPU:1", "1.30": "resources=PCPU:1&in_tree=" + ids["host"],
			"1.34": "resources=PCPU:1&root_required=HW_NUMA_ROOT", "1.35": "resources1=PCPU:1&required2=HW_NUMA_ROOT&same_subtree=1,2", "1.31": "resources=PCPU:1&member_of=!" + ids["agg"],
			"1.38": "resources=PCPU:1&required=in:HW_NUMA_ROOT,COMPUTE_NODE", "1.21": "resources=PCPU:1&required=!HW_NUMA_ROOT", "1.20": "resources=PCPU:1&member_of=" + ids["agg"],
			"1.16": "resources=PCPU:1&required=HW_NUMA_ROOT", "1.15": "resources=PCPU:1&limit=1"} {
			require.Equal(c.t, 400, c.call("admin", minor, "GET /allocation_candidates?"+query, nil).status, "%s %s", minor, query)
		}
	})
}

// A host is split: its CPUs go to a new child, with what a server has of them.
func TestReshaper(t *testing.T) {
	each(t, func(c cloud) {
		host, server, child := c.host("h"), uuid.NewString(), uuid.NewString()
		c.ok(204, "PUT /allocations/"+server, demand(nil, m{host: m{"VCPU": 4, "MEMORY_MB": 256}}))
		c.ok(200, "POST /resource_providers", m{"name": "child", "uuid": child, "parent_provider_uuid": host})
		reshape := func(hostGeneration, childGeneration, consumerGeneration int, cpus int) m {
			return m{
				"inventories": m{
					host:  m{"resource_provider_generation": hostGeneration, "inventories": m{"MEMORY_MB": m{"total": 1024, "reserved": 512}}},
					child: m{"resource_provider_generation": childGeneration, "inventories": m{"VCPU": m{"total": 8, "max_unit": 8}}},
				},
				"allocations": m{server: demand(consumerGeneration, m{host: m{"MEMORY_MB": 256}, child: m{"VCPU": cpus}})},
			}
		}
		code, _ := c.bad(409, "POST /reshaper", reshape(7, 0, 1, 4))
		require.Equal(c.t, "placement.concurrent_update", code)
		code, _ = c.bad(409, "POST /reshaper", reshape(1, 0, 7, 4))
		require.Equal(c.t, "placement.concurrent_update", code)
		c.bad(409, "POST /reshaper", reshape(1, 0, 1, 9))
		other := uuid.NewString()
		c.ok(204, "PUT /allocations/"+other, demand(nil, m{host: m{"VCPU": 1}}))
		code, _ = c.bad(409, "POST /reshaper", reshape(1, 0, 1, 4))
		require.Equal(c.t, "placement.inventory.inuse", code, "somebody else still has CPUs of the host")
		c.ok(204, "DELETE /allocations/"+other, nil)
		bad := reshape(1, 0, 1, 4)
		bad["inventories"].(m)[uuid.NewString()] = m{"resource_provider_generation": 0, "inventories": m{}}
		c.bad(400, "POST /reshaper", bad)
		require.Equal(c.t, m{"VCPU": 4.0, "MEMORY_MB": 256.0}, c.ok(200, "GET /allocations/"+server, nil).doc["allocations"].(m)[host].(m)["resources"], "refused reshapes leave all as it was")

		require.Equal(c.t, 403, c.call("alice", "1.39", "POST /reshaper", reshape(1, 0, 1, 4)).status)
		c.ok(204, "POST /reshaper", reshape(1, 0, 1, 4))
		a := c.ok(200, "GET /allocations/"+server, nil).doc
		require.Equal(c.t, m{"VCPU": 4.0}, a["allocations"].(m)[child].(m)["resources"])
		require.EqualValues(c.t, 2, a["consumer_generation"])
		require.Len(c.t, c.ok(200, "GET /resource_providers/"+host+"/inventories", nil).doc["inventories"], 1)
		c.sound()
	})
}

// A consumer made by a client that knew no types has the type unknown until it is told one.
func TestUnknownConsumerType(t *testing.T) {
	each(t, func(c cloud) {
		host, server := c.host("h"), uuid.NewString()
		old := demand(nil, m{host: m{"VCPU": 1}})
		delete(old, "consumer_type")
		require.Equal(c.t, 204, c.call("admin", "1.37", "PUT /allocations/"+server, old).status)
		require.Equal(c.t, "unknown", c.ok(200, "GET /allocations/"+server, nil).doc["consumer_type"])
		require.Equal(c.t, m{"unknown": m{"consumer_count": 1.0, "VCPU": 1.0}}, c.ok(200, "GET /usages?project_id=p-alice&consumer_type=unknown", nil).doc["usages"])
		c.ok(204, "PUT /allocations/"+server, demand(1, m{host: m{"VCPU": 2}}))
		require.Equal(c.t, "INSTANCE", c.ok(200, "GET /allocations/"+server, nil).doc["consumer_type"])
		old["consumer_generation"] = 2
		require.Equal(c.t, 204, c.call("admin", "1.37", "PUT /allocations/"+server, old).status)
		require.Equal(c.t, "INSTANCE", c.ok(200, "GET /allocations/"+server, nil).doc["consumer_type"], "an older client does not take the type away")
	})
}
