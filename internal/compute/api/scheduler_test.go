package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The dry run says of each host what decides, refuses what a create would refuse, and leaves nothing behind.
func TestExplainSchedule(t *testing.T) {
	w := lite(t)
	ask := func(who, body string, code int) reply {
		t.Helper()
		return w.call(who, "2.1", "POST", "/v2.1/os-nephos-scheduler/explain", body).want(code)
	}
	ask("a", `{"server": {"flavorRef": "42", "imageRef": "`+imageID+`"}}`, 403)
	ask("admin", `{"server": {"flavorRef": "nosuch", "imageRef": "`+imageID+`"}}`, 400)
	ask("admin", `{"server": {}}`, 400)
	ask("admin", `{"server": {"flavorRef": "42", "imageRef": "`+imageID+`", "availability_zone": "nowhere"}}`, 400)
	r := ask("admin", `{"server": {"flavorRef": "42", "imageRef": "`+imageID+`"}, "os:scheduler_hints": {"different_host": []}}`, 200)
	require.Contains(t, r.Body, `"fits":true`)
	require.Contains(t, r.Body, `2 fit`)
	r = ask("admin", `{"server": {"flavorRef": "42", "imageRef": "`+imageID+`", "availability_zone": "nova:host1"}}`, 200)
	require.Contains(t, r.Body, `"filter":"ForcedHost","fits":false,"host":"host2","reason":"host host1 was asked for"`)
	require.Contains(t, w.call("admin", "2.1", "GET", "/v2.1/servers?all_tenants=1", "").want(200).Body, `"servers":[]`)
}
