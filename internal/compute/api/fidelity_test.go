package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a schema lets through must also be read, and an empty id is never the collection.
func TestOddRequests(t *testing.T) {
	each(t, func(w *world) {
		quotas := "/v2.1/os-quota-sets/" + projectA
		id := w.server("a", nil)
		w.settle(id)
		w.call("admin", "", "PUT", quotas, m{"quota_set": m{"cores": 0, "force": false}}).want(400)
		require.Equal(w.t, float64(0), w.call("admin", "", "PUT", quotas, m{"quota_set": m{"cores": 0, "force": true}}).want(200).at("quota_set", "cores"))
		long, short := "0000:0000:0000:0000:0000:babe:220.12.22.2", "::babe:dc0c:1602"
		second := w.server("b", m{"accessIPv6": long})
		require.Equal(w.t, short, w.call("b", "", "GET", "/v2.1/servers/"+second, nil).want(200).at("server", "accessIPv6"))
		w.settle(second)
		require.Equal(w.t, "fd00::1", w.call("b", "", "PUT", "/v2.1/servers/"+second, m{"server": m{"accessIPv6": "fd00:0::0001"}}).want(200).at("server", "accessIPv6"))
		for _, path := range []string{"/os-simple-tenant-usage/", "/servers/", "/flavors/", "/images/"} {
			w.call("admin", "", "GET", "/v2.1"+path, nil).want(404)
			w.call("admin", "", "DELETE", "/v2.1"+path, nil).want(404)
		}
	})
}
