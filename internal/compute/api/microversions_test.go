package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/httpapi"
	"nephos/internal/image"
	"nephos/internal/volume"
)

// change is one request, asked with the microversion before and with the one that changed it. A {name} in path and body stands for something of the scene.
type change struct {
	at           int
	who          string // "a" when empty
	method       string // GET when empty
	path, body   string
	see          func(r reply) string // what counts of the answer; code when nil
	before, then string
}

func code(r reply) string { return fmt.Sprint(r.Code) }

// key says whether the answer has a key at that place; a number is an index.
func key(path ...any) func(reply) string {
	return func(r reply) string {
		require.Less(r.t, r.Code, 300, r.Body)
		at, last := r.at(path[:len(path)-1]...), path[len(path)-1].(string)
		_, ok := at.(m)[last]
		return fmt.Sprint(ok)
	}
}

// items is how many an answer lists.
func items(name string) func(reply) string {
	return func(r reply) string {
		require.Equal(r.t, 200, r.Code, r.Body)
		return fmt.Sprint(len(r.list(name)))
	}
}

// says is the code, and whether the answer speaks of something.
func says(word string) func(reply) string {
	return func(r reply) string { return fmt.Sprint(r.Code, " ", strings.Contains(r.Body, word)) }
}

// kind is the JSON type of a value.
func kind(path ...any) func(reply) string {
	return func(r reply) string { return fmt.Sprintf("%T", r.at(path...)) }
}

const noSuch = "/v2.1/servers/" + nowhere + "/action"

// changes has every microversion that changes something a client sees. Requests that would make something name a flavor that is not there: the schema lets them
// pass or does not.
var changes = []change{
	{at: 2, method: "POST", path: "os-keypairs", body: `{"keypair":{"name":"k{n}","public_key":"{key}"}}`, before: "200", then: "201"},
	{at: 2, path: "os-keypairs/mine", see: key("keypair", "type"), before: "false", then: "true"},
	{at: 3, who: "admin", path: "servers/{server}", see: key("server", "OS-EXT-SRV-ATTR:root_device_name"), before: "false", then: "true"},
	{at: 3, path: "servers/{withvolume}", see: key("server", "os-extended-volumes:volumes_attached", 0, "delete_on_termination"), before: "false", then: "true"},
	{at: 5, path: "servers?ip6=zzz", see: items("servers"), before: "{servers}", then: "0"},
	{at: 6, method: "POST", path: "servers/{server}/remote-consoles", body: `{"remote_console":{"protocol":"vnc","type":"novnc"}}`, before: "404", then: "200"},
	{at: 6, method: "POST", path: "servers/{server}/action", body: `{"os-getVNCConsole":{"type":"novnc"}}`, before: "200", then: "400"},
	{at: 7, who: "admin", method: "POST", path: "flavors/42/action", body: `{"addTenantAccess":{"tenant":"{project}"}}`, before: "200", then: "409"},
	{at: 8, method: "POST", path: "servers/{server}/remote-consoles", body: `{"remote_console":{"protocol":"mks","type":"webmks"}}`, see: says("Unavailable"), before: "400 false", then: "400 true"},
	{at: 9, path: "servers/{server}", see: key("server", "locked"), before: "false", then: "true"},
	{at: 10, who: "admin", path: "os-keypairs?user_id=ua", see: func(r reply) string { return fmt.Sprint(len(r.list("keypairs")) > 0) }, before: "false", then: "true"},
	{at: 11, who: "admin", path: "os-services", see: key("services", 0, "forced_down"), before: "false", then: "true"},
	{at: 11, who: "admin", method: "PUT", path: "os-services/force-down", body: `{"host":"host1","binary":"nova-compute","forced_down":false}`, before: "404", then: "200"},
	{at: 13, path: "os-server-groups", see: key("server_groups", 0, "project_id"), before: "false", then: "true"},
	{at: 14, who: "admin", method: "POST", path: "{nosuch}", body: `{"evacuate":{"onSharedStorage":false}}`, before: "404", then: "400"},
	{at: 15, method: "POST", path: "os-server-groups", body: `{"server_group":{"name":"g{n}","policies":["soft-affinity"]}}`, before: "400", then: "200"},
	{at: 16, who: "admin", path: "servers/{server}", see: key("server", "host_status"), before: "false", then: "true"},
	{at: 17, method: "POST", path: "{nosuch}", body: `{"trigger_crash_dump":null}`, before: "400", then: "404"},
	{at: 19, path: "servers/{server}", see: key("server", "description"), before: "false", then: "true"},
	{at: 19, method: "POST", path: "servers", body: `{"server":{"name":"x","flavorRef":"none","description":"d"}}`, see: says("'description'"), before: "400 true", then: "400 false"},
	{at: 20, method: "POST", path: "servers/{shelved}/os-volume_attachments", body: `{"volumeAttachment":{"volumeId":"{free}"}}`, before: "409", then: "200"},
	{at: 21, path: "servers/{gone}/os-instance-actions", before: "404", then: "200"},
	{at: 22, who: "admin", method: "POST", path: "servers/{server}/migrations/4711/action", body: `{"force_complete":null}`, see: says("4711"), before: "404 false", then: "404 true"},
	{at: 23, who: "admin", path: "servers/{server}/migrations", before: "404", then: "200"},
	{at: 23, who: "admin", path: "os-migrations", see: key("migrations", 0, "migration_type"), before: "false", then: "true"},
	{at: 24, who: "admin", method: "DELETE", path: "servers/{server}/migrations/4711", see: says("4711"), before: "404 false", then: "404 true"},
	{at: 25, who: "admin", method: "POST", path: "{nosuch}", body: `{"os-migrateLive":{"host":null,"block_migration":"auto"}}`, before: "400", then: "404"},
	{at: 25, who: "admin", method: "POST", path: "{nosuch}", body: `{"os-migrateLive":{"host":null,"block_migration":false,"disk_over_commit":false}}`, before: "404", then: "400"},
	{at: 26, path: "servers/{server}/tags", before: "404", then: "200"},
	{at: 26, path: "servers/{server}", see: key("server", "tags"), before: "false", then: "true"},
	{at: 26, path: "servers?tags=none", see: items("servers"), before: "{servers}", then: "0"},
	{at: 28, who: "admin", path: "os-hypervisors/detail", see: kind("hypervisors", 0, "cpu_info"), before: "string", then: "map[string]interface {}"},
	{at: 29, who: "admin", method: "POST", path: "{nosuch}", body: `{"evacuate":{"host":"host1","force":true}}`, before: "400", then: "404"},
	{at: 30, who: "admin", method: "POST", path: "{nosuch}", body: `{"os-migrateLive":{"host":"host1","block_migration":false,"force":true}}`, before: "400", then: "404"},
	{at: 31, who: "admin", path: "os-console-auth-tokens/{token}", before: "401", then: "200"},
	{at: 32, method: "POST", path: "servers", body: `{"server":{"name":"x","flavorRef":"none","networks":[{"uuid":"{nowhere}","tag":"t"}]}}`, see: says("'tag'"), before: "400 true", then: "400 false"},
	{at: 33, who: "admin", path: "os-hypervisors?limit=1", see: items("hypervisors"), before: "2", then: "1"},
	{at: 33, method: "POST", path: "servers", body: `{"server":{"name":"x","flavorRef":"none","block_device_mapping_v2":[{"tag":"t"}]}}`, see: says("'tag'"), before: "400 false", then: "400 true"},
	{at: 35, path: "os-keypairs?limit=1", see: items("keypairs"), before: "{keys}", then: "1"},
	{at: 36, path: "os-networks", before: "200", then: "404"},
	{at: 36, path: "images/{image}", before: "200", then: "404"},
	{at: 36, path: "os-volumes", before: "200", then: "404"},
	{at: 36, path: "os-security-groups", before: "200", then: "404"},
	{at: 36, path: "os-floating-ips", before: "200", then: "404"},
	{at: 36, path: "os-quota-sets/{project}", see: key("quota_set", "floating_ips"), before: "true", then: "false"},
	{at: 36, path: "limits", see: key("limits", "absolute", "maxSecurityGroups"), before: "true", then: "false"},
	{at: 37, method: "POST", path: "servers", body: `{"server":{"name":"x","flavorRef":"none"}}`, see: says("networks"), before: "400 false", then: "400 true"},
	{at: 37, method: "POST", path: "servers", body: `{"server":{"name":"x","flavorRef":"none","networks":"none"}}`, see: says("networks"), before: "400 true", then: "400 false"},
	{at: 38, path: "servers?status=nonsense", before: "200", then: "400"},
	{at: 39, path: "images/{image}/metadata", before: "200", then: "404"},
	{at: 39, path: "limits", see: key("limits", "absolute", "maxImageMeta"), before: "true", then: "false"},
	{at: 40, who: "admin", path: "os-simple-tenant-usage?limit=x", before: "200", then: "400"},
	{at: 41, who: "admin", path: "os-aggregates", see: key("aggregates", 0, "uuid"), before: "false", then: "true"},
	{at: 42, method: "POST", path: "servers", body: `{"server":{"name":"x","flavorRef":"none","networks":[{"uuid":"{nowhere}","tag":"t"}]}}`, see: says("'tag'"), before: "400 true", then: "400 false"},
	{at: 43, who: "admin", path: "os-hosts", before: "200", then: "404"},
	{at: 44, method: "POST", path: "{nosuch}", body: `{"addFixedIp":{"networkId":"{nowhere}"}}`, before: "404", then: "400"},
	{at: 44, method: "POST", path: "{nosuch}", body: `{"removeFloatingIp":{"address":"10.0.0.9"}}`, before: "404", then: "400"},
	{at: 45, method: "POST", path: "servers/{server}/action", body: `{"createImage":{"name":"i{n}"}}`, see: func(r reply) string {
		return fmt.Sprint(r.Code, r.Header.Get("Location") != "", strings.Contains(r.Body, "image_id"))
	},
		before: "202 true false", then: "202 false true"},
	{at: 47, path: "servers/{server}", see: key("server", "flavor", "original_name"), before: "false", then: "true"},
	{at: 47, path: "servers/{server}", see: key("server", "flavor", "id"), before: "true", then: "false"},
	{at: 48, who: "admin", path: "servers/{server}/diagnostics", see: key("state"), before: "false", then: "true"},
	{at: 49, method: "POST", path: "servers/{nowhere}/os-volume_attachments", body: `{"volumeAttachment":{"volumeId":"{nowhere}","tag":"t"}}`, before: "400", then: "404"},
	{at: 49, method: "POST", path: "servers/{nowhere}/os-interface", body: `{"interfaceAttachment":{"net_id":"{nowhere}","tag":"t"}}`, see: says("'tag'"), before: "400 true", then: "400 false"},
	{at: 50, who: "admin", path: "os-quota-class-sets/default", see: key("quota_class_set", "server_groups"), before: "false", then: "true"},
	{at: 50, who: "admin", path: "os-quota-class-sets/default", see: key("quota_class_set", "floating_ips"), before: "true", then: "false"},
	{at: 51, who: "admin", method: "POST", path: "os-server-external-events", body: `{"events":[{"name":"volume-extended","server_uuid":"{server}","tag":"v"}]}`, before: "400", then: "200"},
	{at: 51, path: "servers/{server}/os-instance-actions/{request}", see: key("instanceAction", "events"), before: "false", then: "true"},
	{at: 52, method: "POST", path: "servers", body: `{"server":{"name":"x","flavorRef":"none","networks":"none","tags":["t"]}}`, see: says("'tags'"), before: "400 true", then: "400 false"},
	{at: 53, who: "admin", path: "os-services", see: kind("services", 0, "id"), before: "float64", then: "string"},
	{at: 53, who: "admin", path: "os-hypervisors", see: kind("hypervisors", 0, "id"), before: "float64", then: "string"},
	{at: 53, who: "admin", path: "os-hypervisors/host1/search", before: "200", then: "404"},
	{at: 53, who: "admin", path: "os-hypervisors?hypervisor_hostname_pattern=host1", see: items("hypervisors"), before: "2", then: "1"},
	{at: 54, method: "POST", path: "{nosuch}", body: `{"rebuild":{"imageRef":"{image}","key_name":null}}`, before: "400", then: "404"},
	{at: 55, path: "flavors/42", see: key("flavor", "description"), before: "false", then: "true"},
	{at: 55, who: "admin", method: "PUT", path: "flavors/42", body: `{"flavor":{"description":"small"}}`, before: "404", then: "200"},
	{at: 56, who: "admin", method: "POST", path: "{nosuch}", body: `{"migrate":{"unknown":1}}`, before: "404", then: "400"},
	{at: 57, method: "POST", path: "servers", body: `{"server":{"name":"x","flavorRef":"none","networks":"none","personality":[]}}`, see: says("'personality'"), before: "400 false", then: "400 true"},
	{at: 57, path: "limits", see: key("limits", "absolute", "maxPersonality"), before: "true", then: "false"},
	{at: 57, path: "os-quota-sets/{project}", see: key("quota_set", "injected_files"), before: "true", then: "false"},
	{at: 57, method: "POST", path: "{nosuch}", body: `{"rebuild":{"imageRef":"{image}","user_data":null}}`, before: "400", then: "404"},
	{at: 58, path: "servers/{server}/os-instance-actions", see: key("instanceActions", 0, "updated_at"), before: "false", then: "true"},
	{at: 58, path: "servers/{server}/os-instance-actions?limit=1", see: key("links"), before: "false", then: "true"},
	{at: 59, who: "admin", path: "os-migrations", see: key("migrations", 0, "uuid"), before: "false", then: "true"},
	{at: 59, who: "admin", path: "os-migrations?limit=0", see: func(r reply) string { return fmt.Sprint(len(r.list("migrations")) > 0) }, before: "true", then: "false"},
	{at: 61, path: "flavors/42", see: key("flavor", "extra_specs"), before: "false", then: "true"},
	{at: 62, path: "servers/{server}/os-instance-actions/{request}", see: key("instanceAction", "events", 0, "hostId"), before: "false", then: "true"},
	{at: 63, path: "servers/{server}", see: key("server", "trusted_image_certificates"), before: "false", then: "true"},
	{at: 64, path: "os-server-groups", see: key("server_groups", 0, "rules"), before: "false", then: "true"},
	{at: 64, method: "POST", path: "os-server-groups", body: `{"server_group":{"name":"r{n}","policy":"anti-affinity","rules":{"max_server_per_host":2}}}`, before: "400", then: "200"},
	{at: 66, path: "servers?changes-before=2001-01-01T00:00:00Z", see: items("servers"), before: "{servers}", then: "0"},
	{at: 66, path: "servers/{server}/os-instance-actions?changes-before=2001-01-01T00:00:00Z", before: "400", then: "200"},
	{at: 66, who: "admin", path: "os-migrations?changes-before=2001-01-01T00:00:00Z", before: "400", then: "200"},
	{at: 67, method: "POST", path: "servers", body: `{"server":{"name":"x","flavorRef":"none","networks":"none","block_device_mapping_v2":[{"volume_type":"fast"}]}}`, see: says("'volume_type'"), before: "400 true", then: "400 false"},
	{at: 68, who: "admin", method: "POST", path: "{nosuch}", body: `{"evacuate":{"host":"host1","force":true}}`, before: "404", then: "400"},
	{at: 68, who: "admin", method: "POST", path: "{nosuch}", body: `{"os-migrateLive":{"host":"host1","block_migration":false,"force":true}}`, before: "404", then: "400"},
	{at: 70, path: "servers/{server}/os-interface", see: key("interfaceAttachments", 0, "tag"), before: "false", then: "true"},
	{at: 70, path: "servers/{withvolume}/os-volume_attachments", see: key("volumeAttachments", 0, "tag"), before: "false", then: "true"},
	{at: 71, path: "servers/{server}", see: key("server", "server_groups"), before: "false", then: "true"},
	{at: 73, path: "servers/{server}", see: key("server", "locked_reason"), before: "false", then: "true"},
	{at: 73, path: "servers?locked=true", see: items("servers"), before: "{servers}", then: "0"},
	{at: 74, who: "admin", method: "POST", path: "servers", body: `{"server":{"name":"x","flavorRef":"none","networks":"none","host":"host1"}}`, see: says("'host'"), before: "400 true", then: "400 false"},
	{at: 75, path: "servers?nonsense=1", before: "200", then: "400"},
	{at: 75, path: "flavors/42", see: kind("flavor", "swap"), before: "string", then: "float64"},
	{at: 75, method: "PUT", path: "servers/{server}", body: `{"server":{"name":"vm"}}`, see: key("server", "OS-EXT-STS:vm_state"), before: "false", then: "true"},
	{at: 75, who: "admin", path: "os-hypervisors/{idle}?with_servers=true", see: key("hypervisor", "servers"), before: "false", then: "true"},
	{at: 76, who: "admin", method: "POST", path: "os-server-external-events", body: `{"events":[{"name":"power-update","server_uuid":"{server}","tag":"POWER_ON"}]}`, before: "400", then: "200"},
	{at: 77, method: "POST", path: "{nosuch}", body: `{"unshelve":{"unknown":1}}`, before: "404", then: "400"},
	{at: 78, path: "servers/{server}/topology", before: "404", then: "200"},
	{at: 79, path: "servers/{withvolume}/os-volume_attachments", see: key("volumeAttachments", 0, "delete_on_termination"), before: "false", then: "true"},
	{at: 79, method: "POST", path: "servers/{nowhere}/os-volume_attachments", body: `{"volumeAttachment":{"volumeId":"{nowhere}","delete_on_termination":true}}`, before: "400", then: "404"},
	{at: 80, who: "admin", path: "os-migrations", see: key("migrations", 0, "project_id"), before: "false", then: "true"},
	{at: 80, who: "admin", path: "os-migrations?user_id=ua", before: "400", then: "200"},
	{at: 81, who: "admin", method: "POST", path: "os-aggregates/{aggregate}/images", body: `{"cache":[{"id":"{image}"}]}`, before: "404", then: "202"},
	{at: 82, who: "admin", method: "POST", path: "os-server-external-events", body: `{"events":[{"name":"accelerator-request-bound","server_uuid":"{server}","tag":"x"}]}`, before: "400", then: "200"},
	{at: 83, path: "servers?key_name=none", see: items("servers"), before: "{servers}", then: "0"},
	{at: 84, path: "servers/{server}/os-instance-actions/{request}", see: key("instanceAction", "events", 0, "details"), before: "false", then: "true"},
	{at: 85, method: "PUT", path: "servers/{withvolume}/os-volume_attachments/{held}", body: `{"volumeAttachment":{"volumeId":"{held}","delete_on_termination":true}}`, before: "400", then: "202"},
	{at: 86, who: "admin", method: "POST", path: "flavors/42/os-extra_specs", body: `{"extra_specs":{"trait:HW_CPU_X86_AVX2":"maybe"}}`, before: "200", then: "400"},
	{at: 87, method: "POST", path: "servers/{bootvolume}/action", body: `{"rescue":{"rescue_image_ref":"{stable}"}}`, before: "400", then: "200"},
	{at: 88, who: "admin", path: "os-hypervisors/detail", see: key("hypervisors", 0, "vcpus"), before: "true", then: "false"},
	{at: 88, who: "admin", path: "os-hypervisors/detail", see: key("hypervisors", 0, "uptime"), before: "false", then: "true"},
	{at: 88, who: "admin", path: "os-hypervisors/statistics", before: "200", then: "404"},
	{at: 88, who: "admin", path: "os-hypervisors/{idle}/uptime", before: "200", then: "404"},
	{at: 89, path: "servers/{withvolume}/os-volume_attachments", see: key("volumeAttachments", 0, "bdm_uuid"), before: "false", then: "true"},
	{at: 89, path: "servers/{withvolume}/os-volume_attachments", see: key("volumeAttachments", 0, "id"), before: "true", then: "false"},
	{at: 90, path: "servers/{server}", see: key("server", "OS-EXT-SRV-ATTR:hostname"), before: "false", then: "true"},
	{at: 90, method: "PUT", path: "servers/{server}", body: `{"server":{"hostname":"named"}}`, before: "400", then: "200"},
	{at: 91, who: "admin", method: "POST", path: "{nosuch}", body: `{"unshelve":{"host":"host1"}}`, before: "400", then: "404"},
	{at: 91, method: "POST", path: "{nosuch}", body: `{"unshelve":{"availability_zone":null}}`, before: "400", then: "404"},
	{at: 92, method: "POST", path: "os-keypairs", body: `{"keypair":{"name":"made{n}"}}`, before: "201", then: "400"},
	{at: 92, method: "POST", path: "os-keypairs", body: `{"keypair":{"name":"a@b.c{n}","public_key":"{key}"}}`, before: "400", then: "201"},
	{at: 93, who: "admin", method: "POST", path: "os-server-external-events", body: `{"events":[{"name":"volume-reimaged","server_uuid":"{server}","tag":"x"}]}`, before: "400", then: "200"},
	{at: 94, method: "PUT", path: "servers/{server}", body: `{"server":{"hostname":"named.example.org"}}`, before: "400", then: "200"},
	{at: 96, path: "servers/{server}", see: key("server", "pinned_availability_zone"), before: "false", then: "true"},
}

// unseen are the microversions of which one request shows nothing: resources that answer 410 at every version (4, 12), what this project accepts at every version (18,
// 27, 46), how long a call waits (34), a volume of two servers (60, in the volume service), live migrations that wait (65) and servers that come back elsewhere (95),
// cells (69) and what ports ask for (72). 95 has a test with moves, 45 and the others below.
var unseen = []int{4, 12, 18, 27, 34, 46, 60, 65, 69, 72, 95}

func TestMicroversions(t *testing.T) {
	w := lite(t)
	scene := w.scene()
	n := 0
	for _, c := range changes {
		for i, minor := range []int{c.at - 1, c.at} {
			n++
			scene["n"], scene["keys"] = fmt.Sprint(n), fmt.Sprint(len(w.call("a", "", "GET", "/v2.1/os-keypairs", nil).list("keypairs")))
			fill := func(s string) string {
				for name, value := range scene {
					s = strings.ReplaceAll(s, "{"+name+"}", value)
				}
				return s
			}
			see, who, method, want, path := c.see, c.who, c.method, fill(c.before), fill(c.path)
			if i == 1 {
				want = c.then
			}
			if see == nil {
				see = code
			}
			if who == "" {
				who = "a"
			}
			if method == "" {
				method = "GET"
			}
			if !strings.HasPrefix(path, "/") {
				path = "/v2.1/" + path
			}
			var body any
			if c.body != "" {
				require.True(t, json.Valid([]byte(fill(c.body))), c.body)
				body = fill(c.body)
			}
			r := w.call(who, fmt.Sprintf("2.%d", minor), method, path, body)
			require.Equal(t, want, see(r), "2.%d %s %s: %d %s", minor, method, path, r.Code, r.Body)
			w.settle(scene["server"])
		}
	}
	for minor := 2; minor <= 96; minor++ {
		seen := slices.ContainsFunc(changes, func(c change) bool { return c.at == minor })
		require.NotEqual(t, seen, slices.Contains(unseen, minor), "2.%d is in the table, or its absence has a reason", minor)
		require.True(t, slices.ContainsFunc(table(t).Ledger, func(c httpapi.Change) bool { return c.At == httpapi.V(2, minor) }), "2.%d is in no row of the ledger", minor)
	}
}

// scene makes what the requests speak of: servers of project A, all of them on one of the two hosts.
func (w *world) scene() map[string]string {
	t := w.t
	out := map[string]string{"image": imageID, "nowhere": nowhere, "project": projectA, "key": pubKey, "nosuch": noSuch}
	for _, name := range []string{"mine", "other"} {
		w.call("a", "", "POST", "/v2.1/os-keypairs", m{"keypair": m{"name": name, "public_key": pubKey}}).want(200)
	}
	w.call("a", "", "POST", "/v2.1/os-server-groups", m{"server_group": m{"name": "g", "policies": []string{"affinity"}}}).want(200)
	out["aggregate"] = fmt.Sprint(w.call("admin", "", "POST", "/v2.1/os-aggregates", m{"aggregate": m{"name": "agg"}}).want(200).at("aggregate", "id"))

	out["held"], out["free"] = makeVolume(w, false), makeVolume(w, false)
	var held volume.Volume
	require.NoError(t, w.db.Read(t.Context(), func(tx *db.Tx) (err error) { held, err = w.volumes.Get(t.Context(), tx, out["held"]); return err }))
	busy, idle := held.Host, "host1"
	if busy == idle {
		idle = "host2"
	}
	for _, h := range w.call("admin", "2.96", "GET", "/v2.1/os-hypervisors", nil).want(200).list("hypervisors") {
		if h.(m)["hypervisor_hostname"] == idle {
			out["idle"] = h.(m)["id"].(string)
		}
	}
	stable, err := w.images.Ensure(t.Context(), image.CreateParams{ID: "10000000-0000-4000-8000-000000000004", Name: "stable", Owner: project0, Visibility: image.Public, DiskFormat: "raw",
		ContainerFormat: "bare", Properties: map[string]string{"hw_rescue_device": "disk"}}, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil })
	require.NoError(t, err)
	out["stable"] = stable.ID
	enabled := func(how string) {
		w.call("admin", "", "PUT", "/v2.1/os-services/"+how, m{"host": idle, "binary": "nova-compute"}).want(200)
	}
	act := func(id, body string) {
		t.Helper()
		require.Equal(t, 2, w.call("admin", "", "POST", "/v2.1/servers/"+id+"/action", body).Code/100, body)
		w.settle(id)
	}
	enabled("disable")
	out["server"] = w.server("a", nil)
	out["withvolume"] = w.server("a", m{"block_device_mapping_v2": []m{{"source_type": "volume", "destination_type": "volume", "uuid": out["held"], "boot_index": -1}}})
	fromVolume := m{"imageRef": "", "block_device_mapping_v2": []m{{"source_type": "image", "destination_type": "volume", "uuid": imageID, "boot_index": 0, "volume_size": 1}}}
	out["bootvolume"] = w.server("a", fromVolume)
	out["shelved"] = w.server("a", fromVolume)
	act(out["shelved"], `{"shelve":null}`)
	require.Equal(t, "SHELVED_OFFLOADED", w.settle(out["shelved"]).text("server", "status"))
	out["gone"] = w.server("a", nil)
	w.call("a", "", "DELETE", "/v2.1/servers/"+out["gone"], nil).want(204)
	w.settle(out["gone"]).want(404)
	enabled("enable")
	act(out["server"], `{"migrate":null}`)
	act(out["server"], `{"revertResize":null}`)
	require.Equal(t, busy, w.settle(out["server"]).text("server", "OS-EXT-SRV-ATTR:host"))

	out["servers"] = "4"
	for _, a := range w.call("a", "2.96", "GET", "/v2.1/servers/"+out["server"]+"/os-instance-actions", nil).want(200).list("instanceActions") {
		if a.(m)["action"] == "create" {
			out["request"] = a.(m)["request_id"].(string)
		}
	}
	console := w.call("a", "2.6", "POST", "/v2.1/servers/"+out["server"]+"/remote-consoles", m{"remote_console": m{"protocol": "serial", "type": "serial"}}).want(200)
	_, out["token"], _ = strings.Cut(console.text("remote_console", "url"), "?token=")
	return out
}
