package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/hostapi"
)

// What clients read before and around everything else.
func TestDiscovery(t *testing.T) {
	w := lite(t)
	for _, path := range []string{"/v2", "/v2/"} {
		r := w.call("", "", "GET", path, nil).want(200)
		require.Equal(t, "v2.0", r.text("version", "id"))
		require.Equal(t, "", r.text("version", "version"))
		require.Empty(t, r.Header.Get("OpenStack-API-Version"))
	}
	for _, path := range []string{"/v2.1", "/v2.1/"} {
		r := w.call("", "", "GET", path, nil).want(200)
		require.Equal(t, "2.96", r.text("version", "version"))
		require.Equal(t, "2.1", r.text("version", "min_version"))
	}
	r := w.call("", "", "GET", "/", nil).want(200)
	require.Len(t, r.list("versions"), 2)
	require.Equal(t, "http://example.com/v2.1/", r.text("versions", 1, "links", 0, "href"))
	w.call("", "", "GET", "/v3/servers", nil).want(300)
	w.call("a", "", "GET", "/v2.1/"+projectA, nil).want(200)
	w.call("a", "", "GET", "/v2.1/"+projectA+"/", nil).want(200)
	r = w.call("", "", "GET", "/v2.1/servers", nil).want(401)
	require.Equal(t, `Keystone uri="http://identity/v3"`, r.Header.Get("WWW-Authenticate"))
	r = w.call("a", "2.200", "GET", "/v2.1/servers", nil).want(406)
	require.Contains(t, r.text("computeFault", "message"), "Version 2.200 is not supported by the API. Minimum is 2.1 and maximum is 2.96.")
	w.call("a", "2.x", "GET", "/v2.1/servers", nil).want(400)
	r = w.call("a", "latest", "GET", "/v2.1/servers", nil).want(200)
	require.Equal(t, "compute 2.96", r.Header.Get("OpenStack-API-Version"))
	require.Equal(t, "2.96", r.Header.Get("X-OpenStack-Nova-API-Version"))
	require.Contains(t, r.Header.Get("X-Compute-Request-Id"), "req-")
	w.call("a", "", "GET", "/v2.1/"+projectB+"/servers", nil).want(400)
	w.call("a", "", "PATCH", "/v2.1/servers", "{}").want(404)
	w.call("a", "", "GET", "/v2.1/nonsense", nil).want(404)
	require.NotEmpty(t, w.call("a", "", "GET", "/v2.1/extensions", nil).want(200).list("extensions"))
	w.call("a", "", "GET", "/v2.1/os-certificates", nil).want(410)
}

// From POST to ACTIVE through the power actions to gone.
func TestLifeOfAServer(t *testing.T) {
	each(t, func(w *world) {
		t := w.t
		r := w.call("a", "", "POST", "/v2.1/"+projectA+"/servers", boot(m{"metadata": m{"k": "v"}, "config_drive": "true", "min_count": "1"})).want(202)
		id := r.text("server", "id")
		self := "http://example.com/v2.1/" + projectA + "/servers/" + id
		require.Equal(t, self, r.Header.Get("Location"))
		require.Equal(t, self, r.text("server", "links", 0, "href"))
		require.Equal(t, "http://example.com/"+projectA+"/servers/"+id, r.text("server", "links", 1, "href"))
		require.Len(t, r.text("server", "adminPass"), 12)
		require.Equal(t, "default", r.text("server", "security_groups", 0, "name"))
		require.Equal(t, "MANUAL", r.text("server", "OS-DCF:diskConfig"))

		r = w.settle(id)
		host := r.text("server", "OS-EXT-SRV-ATTR:host")
		require.Contains(t, []string{"host1", "host2"}, host)
		sum := sha256.Sum224([]byte(projectA + host))
		require.Equal(t, hex.EncodeToString(sum[:]), r.text("server", "hostId"))
		r = w.call("a", "", "GET", "/v2.1/servers/"+id, nil).want(200)
		require.Equal(t, "ACTIVE", r.text("server", "status"))
		require.Equal(t, "True", r.text("server", "config_drive"))
		require.Equal(t, float64(1), r.at("server", "OS-EXT-STS:power_state"))
		require.Equal(t, "v", r.text("server", "metadata", "k"))
		require.Equal(t, "42", r.text("server", "flavor", "id"))
		require.Equal(t, "default", r.text("server", "security_groups", 0, "name"))
		require.Equal(t, "fixed", r.text("server", "addresses", "private", 0, "OS-EXT-IPS:type"))
		require.NotContains(t, r.Body, "OS-EXT-SRV-ATTR")
		require.Equal(t, float64(0), r.at("server", "progress"))

		w.call("b", "", "GET", "/v2.1/servers/"+id, nil).want(404)
		w.call("b", "", "DELETE", "/v2.1/servers/"+id, nil).want(404)
		w.call("reader", "", "GET", "/v2.1/servers/"+id, nil).want(200)
		w.call("reader", "", "DELETE", "/v2.1/servers/"+id, nil).want(403)

		act := func(body string, want int) reply {
			t.Helper()
			return w.call("a", "", "POST", "/v2.1/servers/"+id+"/action", body).want(want)
		}
		steps := []struct{ body, status string }{{`{"os-stop":null}`, "SHUTOFF"}, {`{"os-start":null}`, "ACTIVE"}, {`{"reboot":{"type":"SOFT"}}`, "ACTIVE"}, {`{"pause":null}`, "PAUSED"},
			{`{"unpause":null}`, "ACTIVE"}, {`{"suspend":null}`, "SUSPENDED"}, {`{"resume":null}`, "ACTIVE"}, {`{"reboot":{"type":"Hard"}}`, "ACTIVE"}}
		for _, s := range steps {
			act(s.body, 202)
			require.Equal(t, s.status, w.settle(id).text("server", "status"), s.body)
		}
		r = act(`{"os-start":null}`, 409)
		require.Equal(t, fmt.Sprintf("Cannot 'start' instance %s while it is in vm_state active", id), r.text("conflictingRequest", "message"))
		require.Equal(t, "three\n", act(`{"os-getConsoleOutput":{"length":2}}`, 200).text("output"), "Nova counts the empty line after the last newline")
		require.Equal(t, "", act(`{"os-getConsoleOutput":{"length":1}}`, 200).text("output"))
		require.Equal(t, "one\ntwo\nthree\n", act(`{"os-getConsoleOutput":{}}`, 200).text("output"))
		require.Contains(t, act(`{"resize":{"flavorRef":"no such"}}`, 400).text("badRequest", "message"), "could not be found")
		require.Contains(t, act(`{"nonsense":null}`, 400).Body, "There is no such action: nonsense")
		act(`{"os-start":null,"os-stop":null}`, 400)
		act(`{"os-resetState":{"state":"error"}}`, 403)

		w.call("admin", "", "POST", "/v2.1/servers/"+id+"/action", `{"lock":null}`).want(202)
		require.Contains(t, act(`{"os-stop":null}`, 409).Body, "is locked")
		act(`{"unlock":null}`, 403)
		w.call("admin", "", "POST", "/v2.1/servers/"+id+"/action", `{"unlock":null}`).want(202)

		r = w.call("a", "2.96", "GET", "/v2.1/servers/"+id+"/os-instance-actions", nil).want(200)
		var actions []string
		for i := range r.list("instanceActions") {
			actions = append(actions, r.text("instanceActions", i, "action"))
		}
		require.Equal(t, []string{"reboot", "resume", "suspend", "unpause", "pause", "reboot", "start", "stop", "create"}, actions)
		last := len(actions) - 1
		r = w.call("a", "2.96", "GET", "/v2.1/servers/"+id+"/os-instance-actions/"+r.text("instanceActions", last, "request_id"), nil).want(200)
		require.Equal(t, "compute__do_build_and_run_instance", r.text("instanceAction", "events", 0, "event"))
		require.Equal(t, "Success", r.text("instanceAction", "events", 0, "result"))
		r = w.call("a", "", "GET", "/v2.1/servers/"+id+"/os-nephos-trace", nil).want(200)
		require.Equal(t, "schedule", r.text("trace", last, "steps", 0, "name"))
		require.NotEmpty(t, r.text("trace", last, "steps", 0, "detail"))
		w.call("b", "", "GET", "/v2.1/servers/"+id+"/os-nephos-trace", nil).want(404)

		r = w.call("a", "", "DELETE", "/v2.1/servers/"+id, nil).want(204)
		require.Empty(t, r.Body)
		w.settle(id).want(404)
		w.call("a", "", "DELETE", "/v2.1/servers/"+id, nil).want(404)
		r = w.call("a", "", "GET", "/v2.1/servers/detail?changes-since=2020-01-01T00:00:00Z", nil).want(200)
		require.Equal(t, "DELETED", r.text("servers", 0, "status"))
		require.Empty(t, w.call("a", "", "GET", "/v2.1/servers", nil).want(200).list("servers"))
		w.call("a", "2.20", "GET", "/v2.1/servers/"+id+"/os-instance-actions", nil).want(404)
		w.call("a", "2.21", "GET", "/v2.1/servers/"+id+"/os-instance-actions", nil).want(200)
	})
}

// What Folsom's client sends: /v2, networks: [], unknown keys, digits for ids.
func TestFolsomBoot(t *testing.T) {
	w := lite(t)
	base := "/v2/" + projectA
	require.Equal(t, "m1.nano", w.call("a", "", "GET", base+"/flavors/42", nil).want(200).text("flavor", "name"))
	w.call("a", "", "GET", base+"/images/7", nil).want(404)
	require.Equal(t, "ACTIVE", w.call("a", "", "GET", base+"/images/"+imageID, nil).want(200).text("image", "status"))
	require.Len(t, w.call("a", "", "GET", base+"/images/detail", nil).want(200).list("images"), 3)
	r := w.call("a", "2.96", "POST", base+"/servers", boot(m{"name": " vm ", "networks": []any{}, "min_count": 1, "max_count": 1, "reservation_id": "x"})).want(202)
	require.Empty(t, r.Header.Get("OpenStack-API-Version"))
	id := r.text("server", "id")
	w.settle(id)
	r = w.call("a", "", "GET", base+"/servers/"+id, nil).want(200)
	require.Equal(t, "vm", r.text("server", "name"))
	require.Equal(t, "http://example.com/"+projectA+"/flavors/42", r.text("server", "flavor", "links", 0, "href"))
	require.Nil(t, r.at("server", "locked"))
	require.Equal(t, "http://example.com/v2/"+projectA+"/servers/"+id, r.text("server", "links", 0, "href"))
}

// The checks of a create, in the words of Nova.
func TestCreateIsRefused(t *testing.T) {
	w := lite(t)
	net := w.call("a", "", "GET", "/v2.1/os-networks", nil).want(200)
	public, private := "", ""
	for i := range net.list("networks") {
		if net.text("networks", i, "label") == "public" {
			public = net.text("networks", i, "id")
		} else {
			private = net.text("networks", i, "id")
		}
	}
	bdm := func(list ...m) m { return m{"block_device_mapping_v2": list} }
	for _, c := range []struct {
		name    string
		version string
		body    any
		code    int
		message string
	}{
		{"no JSON", "", `{"server":`, 400, "Malformed request body"},
		{"no server", "", m{"x": 1}, 400, "server"},
		{"no name", "", boot(m{"name": nil}), 400, "name"},
		{"blank name", "", boot(m{"name": " "}), 400, "name"},
		{"padded name", "", boot(m{"name": "a "}), 400, "blanks"},
		{"long name", "", boot(m{"name": strings.Repeat("x", 256)}), 400, "name"},
		{"unknown key", "", boot(m{"nonsense": 1}), 400, "nonsense"},
		{"early description", "2.18", boot(m{"description": "x"}), 400, "description"},
		{"early tags", "2.51", boot(m{"networks": "none", "tags": []string{"a"}}), 400, "tags"},
		{"late personality", "2.57", boot(m{"networks": "none", "personality": []any{}}), 400, "personality"},
		{"networks are required", "2.37", boot(nil), 400, "networks"},
		{"networks word", "2.37", boot(m{"networks": "some"}), 400, "networks"},
		{"counts", "", boot(m{"min_count": 3, "max_count": 2}), 400, "min_count must be"},
		{"count zero", "", boot(m{"min_count": 0}), 400, "min_count"},
		{"unknown zone", "", boot(m{"availability_zone": "mars"}), 400, "availab"},
		{"forced host", "", boot(m{"availability_zone": "nova:host1"}), 403, "forced_host"},
		{"requested host", "2.74", boot(m{"networks": "none", "host": "host1"}), 403, "requested_destination"},
		{"unknown flavor", "", boot(m{"flavorRef": "777"}), 400, "Flavor 777 could not be found"},
		{"unknown image", "", boot(m{"imageRef": nowhere}), 400, "Can not find requested image"},
		{"bad image ref", "", boot(m{"imageRef": "tiny"}), 400, "imageRef"},
		{"no image", "", boot(m{"imageRef": nil}), 400, "Invalid imageRef provided"},
		{"queued image", "", boot(m{"imageRef": queued}), 400, "not active"},
		{"small memory", "", boot(m{"imageRef": bigImage}), 400, "memory is too small"},
		{"small disk", "", boot(m{"imageRef": bigImage, "flavorRef": "3"}), 400, "disk is smaller than the minimum size"},
		{"user data", "", boot(m{"user_data": "%%%"}), 400, "valid base 64"},
		{"unknown group", "", boot(m{"security_groups": []m{{"name": "none"}}}), 400, "Security group none not found"},
		{"unknown network", "", boot(m{"networks": []m{{"uuid": nowhere}}}), 400, nowhere},
		{"bad network", "", boot(m{"networks": []m{{"uuid": "x"}}}), 400, "not in proper format"},
		{"external network", "", boot(m{"networks": []m{{"uuid": public}}}), 403, "external network"},
		{"unknown port", "", boot(m{"networks": []m{{"port": nowhere}}}), 400, nowhere},
		{"port twice", "", boot(m{"networks": []m{{"port": nowhere}, {"port": nowhere}}}), 400, "duplicated"},
		{"port and address", "", boot(m{"networks": []m{{"port": nowhere, "fixed_ip": "10.0.0.9"}}}), 400, "cannot be"},
		{"address for many", "", boot(m{"networks": []m{{"uuid": private, "fixed_ip": "10.0.0.9"}}, "max_count": 2}), 400, ""},
		{"bad address", "", boot(m{"networks": []m{{"uuid": private, "fixed_ip": "10.0.0"}}}), 400, "fixed_ip"},
		{"unknown key pair", "", boot(m{"key_name": "none"}), 400, "Invalid key_name provided."},
		{"long metadata", "", boot(m{"metadata": m{"k": strings.Repeat("x", 256)}}), 400, "k"},
		{"unknown volume", "", boot(bdm(m{"source_type": "volume", "uuid": nowhere, "boot_index": 1, "destination_type": "volume"})), 400, nowhere},
		{"gap in the boot order", "", boot(bdm(m{"source_type": "blank", "volume_size": 1, "boot_index": 2, "destination_type": "volume"})), 400, "Boot sequence"},
		{"no size", "", boot(bdm(m{"source_type": "blank", "boot_index": -1, "destination_type": "volume"})), 400, "non-zero size"},
		{"two forms of devices", "", boot(m{"block_device_mapping": []m{{"volume_id": nowhere, "device_name": "vdb"}}, "block_device_mapping_v2": []m{{"source_type": "blank"}}}), 400, "different block_device_mapping syntaxes"},
		{"unknown server group", "", m{"server": boot(nil)["server"], "os:scheduler_hints": m{"group": nowhere}}, 400, nowhere},
		{"bad hint", "", m{"server": boot(nil)["server"], "OS-SCH-HNT:scheduler_hints": m{"group": "x"}}, 400, "group"},
		{"trusted certificates", "2.63", boot(m{"networks": "none", "trusted_image_certificates": []string{"c"}}), 400, "not supported"},
		{"quota", "", boot(m{"min_count": 11, "max_count": 11}), 403, "Quota exceeded for instances: Requested 11, but already used 0 of 10 instances"},
		{"read only", "reader", boot(nil), 403, "os_compute_api:servers:create"},
	} {
		token, version := "a", c.version
		if version == "reader" {
			token, version = "reader", ""
		}
		r := w.call(token, version, "POST", "/v2.1/servers", c.body)
		if r.Code != c.code || !strings.Contains(r.Body, c.message) {
			t.Errorf("%s: %d %s; want %d with %q", c.name, r.Code, r.Body, c.code, c.message)
		}
	}
	require.Empty(t, w.call("a", "", "GET", "/v2.1/servers", nil).want(200).list("servers"))
	require.Equal(t, float64(0), w.call("a", "", "GET", "/v2.1/limits", nil).want(200).at("limits", "absolute", "totalInstancesUsed"))
}

// What each version shows of a server.
func TestServerByVersion(t *testing.T) {
	w := lite(t)
	id := w.server("a", nil)
	w.call("a", "2.73", "POST", "/v2.1/servers/"+id+"/action", `{"lock":{"locked_reason":"mine"}}`).want(202)
	for _, c := range []struct {
		since int
		admin bool
		key   string
		lists bool
	}{
		{3, true, "OS-EXT-SRV-ATTR:reservation_id", true}, {3, true, "OS-EXT-SRV-ATTR:hostname", true}, {3, true, "OS-EXT-SRV-ATTR:user_data", true}, {9, false, "locked", true},
		{16, true, "host_status", true}, {19, false, "description", true}, {26, false, "tags", true}, {63, false, "trusted_image_certificates", true}, {71, false, "server_groups", false},
		{73, false, "locked_reason", true}, {90, false, "OS-EXT-SRV-ATTR:hostname", true}, {96, false, "pinned_availability_zone", true},
	} {
		token := "a"
		if c.admin {
			token = "admin"
		}
		for _, v := range []struct {
			minor int
			want  bool
		}{{c.since - 1, false}, {c.since, true}} {
			version := fmt.Sprintf("2.%d", v.minor)
			one, ok := w.call(token, version, "GET", "/v2.1/servers/"+id, nil).want(200).at("server").(map[string]any)
			require.True(t, ok)
			_, has := one[c.key]
			require.Equal(t, v.want, has, "%s in %s", c.key, version)
			path := "/v2.1/servers/detail"
			if c.admin {
				path += "?all_tenants=1"
			}
			item, ok := w.call(token, version, "GET", path, nil).want(200).at("servers", 0).(map[string]any)
			require.True(t, ok)
			_, has = item[c.key]
			require.Equal(t, v.want && c.lists, has, "%s in the list of %s", c.key, version)
		}
	}
	require.Equal(t, "42", w.call("a", "2.46", "GET", "/v2.1/servers/"+id, nil).text("server", "flavor", "id"))
	require.Equal(t, "m1.nano", w.call("a", "2.47", "GET", "/v2.1/servers/"+id, nil).text("server", "flavor", "original_name"))
	short := w.call("a", "2.74", "PUT", "/v2.1/servers/"+id, m{"server": m{"name": "new"}}).want(200)
	require.NotContains(t, short.Body, "OS-EXT-STS")
	require.NotContains(t, short.Body, "OS-EXT-IPS")
	full := w.call("a", "2.75", "PUT", "/v2.1/servers/"+id, m{"server": m{"description": "d", "accessIPv4": "10.9.9.9"}}).want(200)
	require.Contains(t, full.Body, "OS-EXT-STS")
	require.Equal(t, "new", full.text("server", "name"))
	require.Equal(t, "d", full.text("server", "description"))
	require.Nil(t, w.call("a", "2.75", "PUT", "/v2.1/servers/"+id, m{"server": m{"description": nil}}).want(200).at("server", "description"))
}

func TestOtherResourcesByVersion(t *testing.T) {
	w := lite(t)
	for _, c := range []struct {
		token, version, path string
		has, not             string
	}{
		{"a", "2.54", "/v2.1/flavors/42", `"swap":""`, "description"}, {"a", "2.55", "/v2.1/flavors/42", "description", "extra_specs"}, {"a", "2.61", "/v2.1/flavors/42", "extra_specs", `"swap":0`},
		{"a", "2.75", "/v2.1/flavors/42", `"swap":0`, "-"}, {"a", "2.55", "/v2.1/flavors", "description", "vcpus"}, {"a", "2.54", "/v2.1/flavors", "m1.nano", "description"},
		{"admin", "2.10", "/v2.1/os-services", `"host1"`, "forced_down"}, {"admin", "2.11", "/v2.1/os-services", "forced_down", "-"},
		{"admin", "2.27", "/v2.1/os-hypervisors/detail", `"cpu_info":"{`, "-"}, {"admin", "2.28", "/v2.1/os-hypervisors/detail", `"cpu_info":{`, "-"}, {"admin", "2.88", "/v2.1/os-hypervisors/detail", "uptime", "vcpus"},
		{"a", "2.35", "/v2.1/limits", "maxSecurityGroups", "-"}, {"a", "2.36", "/v2.1/limits", "maxImageMeta", "maxSecurityGroups"}, {"a", "2.39", "/v2.1/limits", "maxPersonality", "maxImageMeta"}, {"a", "2.57", "/v2.1/limits", "maxServerMeta", "maxPersonality"},
		{"a", "2.35", "/v2.1/os-quota-sets/" + projectA, "floating_ips", "-"}, {"a", "2.36", "/v2.1/os-quota-sets/" + projectA, "injected_files", "floating_ips"}, {"a", "2.57", "/v2.1/os-quota-sets/" + projectA, "instances", "injected_files"},
		{"admin", "2.49", "/v2.1/os-quota-class-sets/default", "floating_ips", "server_groups"}, {"admin", "2.50", "/v2.1/os-quota-class-sets/default", "server_groups", "floating_ips"},
	} {
		r := w.call(c.token, c.version, "GET", c.path, nil).want(200)
		require.Contains(t, r.Body, c.has, "%s %s", c.version, c.path)
		require.NotContains(t, strings.ReplaceAll(r.Body, "-", ""), c.not, "%s %s", c.version, c.path)
	}
	for _, c := range []struct {
		version, path string
		code          int
	}{
		{"2.35", "/v2.1/images", 200}, {"2.36", "/v2.1/images", 404}, {"2.36", "/v2.1/os-floating-ips", 404}, {"2.35", "/v2.1/os-floating-ips", 200}, {"2.36", "/v2.1/os-security-groups", 404},
		{"2.42", "/v2.1/os-hosts", 200}, {"2.43", "/v2.1/os-hosts", 404}, {"2.87", "/v2.1/os-hypervisors/statistics", 200}, {"2.88", "/v2.1/os-hypervisors/statistics", 404},
		{"2.52", "/v2.1/os-hypervisors/host/search", 200}, {"2.53", "/v2.1/os-hypervisors/host/search", 404}, {"2.75", "/v2.1/servers?nonsense=1", 400}, {"2.74", "/v2.1/servers?nonsense=1", 200},
		{"2.37", "/v2.1/servers?status=nonsense", 200}, {"2.38", "/v2.1/servers?status=nonsense", 400}, {"2.1", "/v2.1/os-migrations", 200},
	} {
		w.call("admin", c.version, "GET", c.path, nil).want(c.code)
	}
}

func TestLists(t *testing.T) {
	each(t, func(w *world) {
		t := w.t
		var ids []string
		for _, n := range []string{"web1", "web2", "db1"} {
			ids = append(ids, w.server("a", m{"name": n}))
		}
		w.server("b", m{"name": "other"})
		w.call("a", "2.26", "PUT", "/v2.1/servers/"+ids[0]+"/tags", m{"tags": []string{"red", "blue"}}).want(200)
		w.call("a", "2.26", "PUT", "/v2.1/servers/"+ids[1]+"/tags/red", nil).want(201)
		w.call("a", "2.26", "PUT", "/v2.1/servers/"+ids[1]+"/tags/red", nil).want(204)
		w.call("a", "", "POST", "/v2.1/servers/"+ids[2]+"/action", `{"os-stop":null}`).want(202)
		addr := w.settle(ids[2]).text("server", "addresses", "private", 0, "addr")
		names := func(query string) string {
			t.Helper()
			r := w.call("a", "2.74", "GET", "/v2.1/servers?"+query, nil).want(200)
			var out []string
			for i := range r.list("servers") {
				out = append(out, r.text("servers", i, "name"))
			}
			return strings.Join(out, " ")
		}
		for _, c := range []struct{ query, want string }{
			{"", "db1 web2 web1"}, {"name=web", "web2 web1"}, {"name=^web1$", "web1"}, {"status=SHUTOFF", "db1"}, {"status=ACTIVE&status=SHUTOFF", "db1 web2 web1"}, {"status=active", "web2 web1"},
			{"status=REBOOT", ""}, {"status=RESIZE", ""}, {"sort_key=display_name&sort_dir=asc", "db1 web1 web2"}, {"sort_key=display_name&sort_dir=desc", "web2 web1 db1"},
			{"sort_key=vm_state&sort_dir=desc&sort_key=uuid", ""}, {"limit=0", ""}, {"limit=2", "db1 web2"}, {"marker=" + ids[1], "web1"}, {"marker=" + ids[1] + "&sort_key=display_name&sort_dir=asc", ""},
			{"marker=" + ids[2] + "&sort_key=display_name&sort_dir=asc&limit=1", "web1"}, {"name=web&limit=1", "web2"}, {"name=web&marker=" + ids[1], "web1"}, {"tags=red,blue", "web1"},
			{"tags-any=red,green", "web2 web1"}, {"not-tags-any=red", "db1"}, {"not-tags=red,blue", "db1 web2"}, {"ip=" + regexp.QuoteMeta(addr) + "$", "db1"}, {"ip6=fd", ""}, {"image=" + imageID, "db1 web2 web1"},
			{"flavor=1", ""}, {"changes-since=2999-01-01T00:00:00Z", ""}, {"locked=true", ""}, {"host=host9", "db1 web2 web1"},
		} {
			if c.query == "sort_key=vm_state&sort_dir=desc&sort_key=uuid" {
				require.Len(t, strings.Fields(names(c.query)), 3)
				continue
			}
			require.Equal(t, c.want, names(c.query), c.query)
		}
		for query, code := range map[string]int{"marker=" + nowhere: 400, "limit=-1": 400, "limit=x": 400, "sort_dir=up&sort_key=uuid": 400, "changes-since=soon": 400, "all_tenants=1": 403, "all_tenants=maybe": 400,
			"changes-since=2021-01-01T00:00:00Z&changes-before=2020-01-01T00:00:00Z": 400} {
			w.call("a", "2.74", "GET", "/v2.1/servers?"+query, nil).want(code)
		}
		require.Len(t, w.call("admin", "", "GET", "/v2.1/servers?all_tenants=1", nil).want(200).list("servers"), 4)
		require.Len(t, w.call("admin", "", "GET", "/v2.1/servers?all_tenants=1&project_id="+projectB, nil).want(200).list("servers"), 1)
		require.Empty(t, w.call("admin", "", "GET", "/v2.1/servers", nil).want(200).list("servers"))
		// Pages join without a gap.
		var all []string
		next := "/v2.1/servers?limit=1"
		for next != "" {
			r := w.call("a", "", "GET", next, nil).want(200)
			for i := range r.list("servers") {
				all = append(all, r.text("servers", i, "id"))
			}
			next = ""
			if strings.Contains(r.Body, "servers_links") {
				next = strings.TrimPrefix(r.text("servers_links", 0, "href"), "http://example.com")
			}
		}
		require.Equal(t, []string{ids[2], ids[1], ids[0]}, all)
		require.Len(t, w.call("admin", "", "GET", "/v2.1/os-simple-tenant-usage?detailed=1", nil).want(200).list("tenant_usages"), 2)
		require.Len(t, w.call("a", "", "GET", "/v2.1/os-simple-tenant-usage/"+projectA, nil).want(200).list("tenant_usage", "server_usages"), 3)
		w.call("a", "", "GET", "/v2.1/os-simple-tenant-usage/"+projectB, nil).want(403)
		require.Empty(t, w.call("admin", "", "GET", "/v2.1/os-simple-tenant-usage/"+project0, nil).want(200).at("tenant_usage"))
	})
}

// Of 50 requests for the last slot one wins.
func TestLastSlot(t *testing.T) {
	each(t, func(w *world) {
		t := w.t
		w.call("admin", "", "PUT", "/v2.1/os-quota-sets/"+projectA, m{"quota_set": m{"instances": 1}}).want(200)
		var mu sync.Mutex
		codes := map[int]int{}
		var wg sync.WaitGroup
		for range 50 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				r := w.call("a", "", "POST", "/v2.1/servers", boot(nil))
				mu.Lock()
				defer mu.Unlock()
				codes[r.Code]++
				if r.Code == 403 && !strings.Contains(r.Body, "Quota exceeded for instances: Requested 1, but already used 1 of 1 instances") {
					t.Error(r.Body)
				}
			}()
		}
		wg.Wait()
		require.Equal(t, map[int]int{202: 1, 403: 49}, codes)
		r := w.call("a", "", "GET", "/v2.1/servers", nil).want(200)
		require.Len(t, r.list("servers"), 1)
		w.settle(r.text("servers", 0, "id"))
		require.Equal(t, float64(1), w.call("a", "", "GET", "/v2.1/os-quota-sets/"+projectA+"/detail", nil).want(200).at("quota_set", "instances", "in_use"))
		w.call("admin", "", "PUT", "/v2.1/os-quota-sets/"+projectA, m{"quota_set": m{"cores": 0}}).want(400)
		w.call("admin", "", "PUT", "/v2.1/os-quota-sets/"+projectA, m{"quota_set": m{"cores": 0, "force": "True"}}).want(200)
		w.call("admin", "", "DELETE", "/v2.1/os-quota-sets/"+projectA, nil).want(202)
		require.Equal(t, float64(20), w.call("a", "", "GET", "/v2.1/os-quota-sets/"+projectA, nil).want(200).at("quota_set", "cores"))
		w.call("a", "", "GET", "/v2.1/os-quota-sets/"+projectB, nil).want(403)
	})
}

func TestBuildFailureIsShown(t *testing.T) {
	w := lite(t)
	w.client.fail[hostapi.OpBuild] = hostapi.Result{Err: "the image is damaged", ErrStep: "image", ErrKind: hostapi.ErrPermanent}
	id := w.call("a", "", "POST", "/v2.1/servers", boot(nil)).want(202).text("server", "id")
	w.settle(id)
	r := w.call("a", "", "GET", "/v2.1/servers/"+id, nil).want(200)
	require.Equal(t, "ERROR", r.text("server", "status"))
	require.Contains(t, r.text("server", "fault", "message"), "the image is damaged")
	require.Equal(t, float64(500), r.at("server", "fault", "code"))
	require.Nil(t, r.at("server", "fault", "details"))
	require.NotNil(t, w.call("admin", "", "GET", "/v2.1/servers/"+id, nil).want(200).at("server", "fault", "details"))
	actions := w.call("a", "", "GET", "/v2.1/servers/"+id+"/os-instance-actions", nil).want(200)
	require.Equal(t, "Error", actions.text("instanceActions", 0, "message"))
	w.call("a", "", "DELETE", "/v2.1/servers/"+id, nil).want(204)
}

// A server in the making shows Nova's states.
func TestWhileBuilding(t *testing.T) {
	w := lite(t)
	hold := make(chan struct{})
	w.client.hold[hostapi.OpBuild] = hold
	id := w.call("a", "", "POST", "/v2.1/servers", boot(nil)).want(202).text("server", "id")
	r := w.call("a", "", "GET", "/v2.1/servers/"+id, nil).want(200)
	require.Equal(t, "BUILD", r.text("server", "status"))
	require.Equal(t, "building", r.text("server", "OS-EXT-STS:vm_state"))
	require.NotEmpty(t, r.text("server", "OS-EXT-STS:task_state"))
	w.call("a", "", "POST", "/v2.1/servers/"+id+"/action", `{"os-stop":null}`).want(409)
	var epoch int64
	require.NoError(t, w.db.Read(t.Context(), func(tx *db.Tx) error {
		return tx.Get(t.Context(), &epoch, `SELECT epoch FROM servers WHERE id = ?`, id)
	}))
	w.hosts.Progress(hostapi.Progress{Subject: id, Epoch: epoch, Step: "hypervisor"})
	require.Equal(t, "spawning", w.call("a", "", "GET", "/v2.1/servers/"+id, nil).text("server", "OS-EXT-STS:task_state"))
	close(hold)
	require.Equal(t, "ACTIVE", w.settle(id).text("server", "status"))
}
