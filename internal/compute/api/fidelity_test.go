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
		for _, path := range []string{"/os-simple-tenant-usage/", "/servers/", "/flavors/", "/images/"} {
			w.call("admin", "", "GET", "/v2.1"+path, nil).want(404)
			w.call("admin", "", "DELETE", "/v2.1"+path, nil).want(404)
		}
	})
}
