package api_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// crowd sends n requests at once, each as one of the tokens in turn, and counts the answers by status and token.
func (w *world) crowd(n int, version string, tokens []string, request func(i int) (method, path string, body any)) map[string]map[int]int {
	w.t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[string]map[int]int{}
	for _, t := range tokens {
		out[t] = map[int]int{}
	}
	for i := range n {
		wg.Go(func() {
			method, path, body := request(i)
			who := tokens[i%len(tokens)]
			r := w.call(who, version, method, path, body)
			mu.Lock()
			defer mu.Unlock()
			out[who][r.Code]++
		})
	}
	wg.Wait()
	return out
}

// Whoever asks at the same time: exactly as much is made as the limits of project and user let through, and the rest is refused with 403.
func TestQuotasUnderRace(t *testing.T) {
	each(t, func(w *world) {
		limit := func(query string, set m) {
			w.t.Helper()
			w.call("admin", "2.1", "PUT", "/v2.1/os-quota-sets/"+projectA+query, m{"quota_set": set}).want(200)
		}
		servers := func(int) (string, string, any) { return "POST", "/v2.1/servers", boot(nil) }

		// The project has 7 places, its second user 2 of them.
		limit("", m{"instances": 7, "cores": 100, "ram": -1})
		limit("?user_id=ua2", m{"instances": 2})
		got := w.crowd(20, "2.1", []string{"a2"}, servers)
		require.Equal(w.t, map[int]int{202: 2, 403: 18}, got["a2"])
		got = w.crowd(24, "2.1", []string{"a", "a2"}, servers)
		require.Equal(w.t, map[int]int{202: 5, 403: 7}, got["a"])
		require.Equal(w.t, map[int]int{403: 12}, got["a2"])

		// Changed while in use: more, then less than there is (which only force may), then without bound.
		limit("", m{"instances": 9})
		got = w.crowd(10, "2.1", []string{"a"}, servers)
		require.Equal(w.t, map[int]int{202: 2, 403: 8}, got["a"])
		w.call("admin", "2.1", "PUT", "/v2.1/os-quota-sets/"+projectA, m{"quota_set": m{"instances": 3}}).want(400)
		limit("", m{"instances": 3, "force": true})
		w.call("a", "2.1", "POST", "/v2.1/servers", boot(nil)).want(403)
		limit("", m{"instances": -1})
		got = w.crowd(6, "2.1", []string{"a"}, servers)
		require.Equal(w.t, map[int]int{202: 6}, got["a"])
		one := w.call("admin", "2.50", "GET", "/v2.1/os-quota-sets/"+projectA+"/detail?user_id=ua2", nil).want(200)
		require.EqualValues(w.t, 2, one.at("quota_set", "instances", "in_use"))
		require.EqualValues(w.t, 2, one.at("quota_set", "instances", "limit"))
		w.call("admin", "2.1", "PUT", "/v2.1/os-quota-sets/"+projectA+"?user_id=ua2", m{"quota_set": m{"instances": 1}}).want(400)
		w.call("admin", "2.1", "PUT", "/v2.1/os-quota-sets/"+projectA+"?user_id=ua2", m{"quota_set": m{"cores": 101}}).want(400)
		w.call("admin", "2.1", "DELETE", "/v2.1/os-quota-sets/"+projectA+"?user_id=ua2", nil).want(202)
		w.call("a2", "2.1", "POST", "/v2.1/servers", boot(nil)).want(202)

		limit("", m{"key_pairs": 4, "server_groups": 3, "server_group_members": 2, "metadata_items": 2, "injected_files": 1})
		got = w.crowd(12, "2.2", []string{"a"}, func(i int) (string, string, any) {
			return "POST", "/v2.1/os-keypairs", m{"keypair": m{"name": fmt.Sprintf("k%d", i), "public_key": pubKey}}
		})
		require.Equal(w.t, map[int]int{201: 4, 403: 8}, got["a"])
		got = w.crowd(12, "2.64", []string{"a", "a2"}, func(i int) (string, string, any) {
			return "POST", "/v2.1/os-server-groups", m{"server_group": m{"name": fmt.Sprintf("g%d", i), "policy": "soft-affinity"}}
		})
		require.Equal(w.t, 3, got["a"][200]+got["a2"][200])
		require.Equal(w.t, 9, got["a"][403]+got["a2"][403])
		group := w.call("a", "2.64", "GET", "/v2.1/os-server-groups", nil).want(200).text("server_groups", 0, "id")
		got = w.crowd(10, "2.1", []string{"a"}, func(int) (string, string, any) {
			b := boot(nil)
			b["os:scheduler_hints"] = m{"group": group}
			return "POST", "/v2.1/servers", b
		})
		require.Equal(w.t, map[int]int{202: 2, 403: 8}, got["a"])
		w.call("a", "2.1", "POST", "/v2.1/servers", boot(m{"metadata": m{"a": "1", "b": "2", "c": "3"}})).want(403)
		w.call("a", "2.1", "POST", "/v2.1/servers", boot(m{"personality": []m{{"path": "/a", "contents": ""}, {"path": "/b", "contents": ""}}})).want(403)
		id := w.server("a", m{"metadata": m{"a": "1"}})
		got = w.crowd(8, "2.1", []string{"a"}, func(i int) (string, string, any) {
			return "POST", "/v2.1/servers/" + id + "/metadata", m{"metadata": m{fmt.Sprintf("k%d", i): "x"}}
		})
		require.LessOrEqual(w.t, len(w.call("a", "2.1", "GET", "/v2.1/servers/"+id+"/metadata", nil).want(200).at("metadata").(m)), 2)
		require.Equal(w.t, map[int]int{200: 1, 403: 7}, got["a"])
	})
}
