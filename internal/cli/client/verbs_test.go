package client

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	flavorsBody = `{"flavors": [
		{"id": "1", "name": "m1.tiny", "ram": 512, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": true},
		{"id": "0", "name": "m1.nano", "ram": 128, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": true},
		{"id": "9", "name": "m1.pico", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": true},
		{"id": "2", "name": "m1.small", "ram": 2048, "vcpus": 1, "disk": 20, "os-flavor-access:is_public": true}]}`
	imagesBody = `{"images": [{"id": "i1", "name": "nephos-guest", "status": "active", "visibility": "public", "disk_format": "qcow2", "container_format": "bare", "size": 15728640,
		"virtual_size": 67108864, "min_disk": 0, "min_ram": 0, "owner": "p1", "created_at": "2026-11-22T10:00:00Z", "updated_at": "2026-11-22T10:00:00Z", "tags": [], "protected": false}]}`
	id1 = "11111111-1111-4111-8111-111111111111"
	id2 = "22222222-2222-4222-8222-222222222222"
)

func serverBody(id, name, status, task, more string) string {
	return fmt.Sprintf(`{"id": %q, "name": %q, "status": %q, "OS-EXT-STS:task_state": %s, "OS-EXT-STS:vm_state": "x", "OS-EXT-STS:power_state": 1, "created": "2026-11-22T11:55:00Z", "updated": "2026-11-22T11:55:00Z",
		"flavor": {"id": "0"}, "image": {"id": "i1"}, "tenant_id": "p1", "key_name": "k", "OS-EXT-SRV-ATTR:host": "node1", "OS-EXT-AZ:availability_zone": "nova", "metadata": {"b": "2", "a": "1"},
		"security_groups": [{"name": "default"}]%s}`, id, name, status, task, more)
}

const addressesBody = `, "addresses": {"private": [{"addr": "10.0.0.5", "version": 4, "OS-EXT-IPS:type": "fixed"}, {"addr": "172.24.4.9", "version": 4, "OS-EXT-IPS:type": "floating"}]}`

func stocked(t *testing.T) *cloud {
	c := newCloud(t)
	c.on("GET /compute/v2.1/flavors/detail", 200, flavorsBody)
	c.on("GET /image/v2/images", 200, imagesBody)
	c.on("GET /compute/v2.1/servers/detail", 200, `{"servers": [`+serverBody(id1, "vm1", "ACTIVE", "null", addressesBody)+","+serverBody(id2, "web", "BUILD", `"spawning"`, "")+`]}`)
	c.on("GET /compute/v2.1/servers/"+id1, 200, `{"server": `+serverBody(id1, "vm1", "ACTIVE", "null", addressesBody)+`}`)
	return c
}

func TestTables(t *testing.T) {
	t.Parallel()
	c := stocked(t)
	c.on("GET /network/v2.0/networks", 200, `{"networks": [{"id": "n1", "name": "private", "status": "ACTIVE", "router:external": false, "shared": false, "subnets": ["s1"]},
		{"id": "n2", "name": "public", "status": "ACTIVE", "router:external": true, "shared": false, "subnets": []}]}`)
	c.on("GET /network/v2.0/subnets", 200, `{"subnets": [{"id": "s1", "network_id": "n1", "cidr": "10.0.0.0/24", "gateway_ip": "10.0.0.1", "ip_version": 4}]}`)
	c.on("GET /network/v2.0/security-groups", 200, `{"security_groups": [{"id": "g1", "name": "default", "project_id": "p1", "security_group_rules": [
		{"id": "r1", "direction": "egress", "ethertype": "IPv4"}, {"id": "r2", "direction": "ingress", "ethertype": "IPv4", "remote_group_id": "g1"},
		{"id": "r3", "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22, "remote_ip_prefix": "0.0.0.0/0"}]}]}`)
	c.on("GET /volume/v3/volumes/detail", 200, `{"volumes": [{"id": "v1", "name": "data", "status": "in-use", "size": 3, "bootable": "false", "attachments": [{"server_id": "`+id1+`", "device": "/dev/vdb"}]}]}`)
	c.on("GET /compute/v2.1/os-nephos-fsck", 200, `{"fsck": {"problems": [], "checked": {"servers": 2, "ports": 3}}}`)
	c.on("POST /compute/v2.1/os-nephos-scheduler/explain", 200, `{"explanation": {"host": "h2", "alternates": [], "summary": "2 hosts considered: ComputeFilter removed 1 (h1: disabled), 1 fit; best h2 (0.50)", "hosts": [
		{"host": "h2", "fits": true, "score": 0.5, "weights": [{"weigher": "ram", "value": 512, "weight": 0.5}]}, {"host": "h1", "fits": false, "filter": "ComputeFilter", "reason": "disabled"}]}}`)
	for name, line := range map[string]string{
		"explain.txt":      "scheduler explain --flavor m1.nano",
		"server_list.txt":  "server list",
		"server_list.json": "server list --json",
		"server_long.txt":  "server list --long",
		"server_show.txt":  "server show vm1",
		"server_show.json": "server show " + id1 + " --json",
		"flavor_list.txt":  "flavor list",
		"image_list.txt":   "image list",
		"network_list.txt": "network list",
		"secgroup.txt":     "secgroup list",
		"volume_list.txt":  "volume list",
		"fsck.txt":         "fsck",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := c.run(strings.Fields(line)...)
			require.NoError(t, r.err)
			if strings.HasSuffix(name, ".json") {
				require.True(t, json.Valid([]byte(r.out)))
			}
			golden(t, name, r.out)
		})
	}
}

// growing answers a new server's GETs with one state after the other; the last stays.
func (c *cloud) growing(id string, states ...string) {
	c.mux.HandleFunc("GET /compute/v2.1/servers/"+id, func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		n := min(c.polls[id], len(states)-1)
		c.polls[id]++
		c.mu.Unlock()
		if states[n] == "" {
			reply(w, 404, `{"itemNotFound": {"code": 404, "message": "Instance could not be found."}}`)
			return
		}
		reply(w, 200, `{"server": `+states[n]+`}`)
	})
}

func TestBootWait(t *testing.T) {
	t.Parallel()
	c := stocked(t)
	c.on("POST /compute/v2.1/servers", 202, `{"server": {"id": "`+id2+`", "links": []}}`)
	c.growing(id2, serverBody(id2, "new", "BUILD", `"scheduling"`, ""), serverBody(id2, "new", "BUILD", `"networking"`, ""), serverBody(id2, "new", "BUILD", `"spawning"`, ""),
		serverBody(id2, "new", "BUILD", `"spawning"`, ""), serverBody(id2, "new", "ACTIVE", "null", addressesBody))
	c.on("GET /compute/v2.1/os-keypairs", 200, `{"keypairs": []}`)
	c.on("POST /compute/v2.1/os-keypairs", 200, `{"keypair": {"name": "id_test"}}`)
	c.on("GET /network/v2.0/security-groups", 200, `{"security_groups": [{"id": "g1", "name": "default", "security_group_rules": [{"direction": "ingress", "ethertype": "IPv4", "remote_group_id": "g1"}]}]}`)
	public, _, err := newKey("x")
	require.NoError(t, err)
	key := filepath.Join(t.TempDir(), "id_test.pub")
	require.NoError(t, os.WriteFile(key, public, 0o600))

	r := c.run("boot", "new", "--wait", "--key", key, "--property", "a=b")
	require.NoError(t, r.err)
	golden(t, "boot_wait.txt", "--- stdout\n"+r.out+"--- stderr\n"+strings.ReplaceAll(r.errs, key, "KEY"))
	sent := c.sent("POST /compute/v2.1/servers")["server"].(map[string]any)
	require.Equal(t, "0", sent["flavorRef"], "m1.nano is what a newcomer gets")
	require.Equal(t, "i1", sent["imageRef"])
	require.Equal(t, "id_test", sent["key_name"])
	require.Equal(t, map[string]any{"a": "b"}, sent["metadata"])
	require.Equal(t, "id_test", c.sent("POST /compute/v2.1/os-keypairs")["keypair"].(map[string]any)["name"])
}

func TestBootEndsInError(t *testing.T) {
	t.Parallel()
	c := stocked(t)
	c.on("POST /compute/v2.1/servers", 202, `{"server": {"id": "`+id2+`"}}`)
	c.growing(id2, serverBody(id2, "new", "BUILD", `"scheduling"`, ""), serverBody(id2, "new", "ERROR", "null", `, "fault": {"code": 500, "message": "No valid host was found. 2 hosts considered: RamFilter removed 2", "created": "2026-11-22T11:55:00Z"}`))
	r := c.run("boot", "new", "-w")
	require.ErrorIs(t, r.err, ExitError{1})
	require.Contains(t, r.errs, "new: No valid host was found. 2 hosts considered: RamFilter removed 2")
	require.Contains(t, r.errs, "nephos trace "+id2)
}

func TestBootMany(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.on("GET /compute/v2.1/flavors/detail", 200, flavorsBody)
	c.on("GET /image/v2/images", 200, imagesBody)
	c.on("POST /compute/v2.1/servers", 202, `{"reservation_id": "r-1"}`)
	c.mux.HandleFunc("GET /compute/v2.1/servers/detail", func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "r-1", r.URL.Query().Get("reservation_id"))
		reply(w, 200, `{"servers": [`+serverBody(id2, "n-2", "BUILD", "null", "")+","+serverBody(id1, "n-1", "BUILD", "null", "")+`]}`)
	})
	c.on("GET /compute/v2.1/servers/"+id1, 200, `{"server": `+serverBody(id1, "n-1", "ACTIVE", "null", "")+`}`)
	c.on("GET /compute/v2.1/servers/"+id2, 200, `{"server": `+serverBody(id2, "n-2", "ACTIVE", "null", "")+`}`)
	r := c.run("boot", "n", "--count", "2", "--wait", "--json")
	require.NoError(t, r.err)
	var got []map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	require.Len(t, got, 2)
	require.Equal(t, "n-1", got[0]["name"])
	sent := c.sent("POST /compute/v2.1/servers")["server"].(map[string]any)
	require.Equal(t, 2.0, sent["max_count"])
	require.Equal(t, true, sent["return_reservation_id"])
}

func TestBootVolumeAndMistakes(t *testing.T) {
	t.Parallel()
	c := stocked(t)
	c.on("POST /compute/v2.1/servers", 202, `{"server": {"id": "`+id1+`"}}`)
	c.on("GET /compute/v2.1/os-keypairs", 200, `{"keypairs": [{"keypair": {"name": "alice", "fingerprint": "aa"}}]}`)
	c.on("GET /network/v2.0/networks", 200, `{"networks": [{"id": "n1", "name": "private"}]}`)
	data := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(data, []byte("#!/bin/sh\n"), 0o600))

	r := c.run("boot", "new", "--boot-volume", "5", "--user-data", data, "--key", "alice", "--network", "private", "--security-group", "web", "--security-group", "db")
	require.NoError(t, r.err)
	sent := c.sent("POST /compute/v2.1/servers")["server"].(map[string]any)
	require.Equal(t, "", sent["imageRef"])
	require.Equal(t, []any{map[string]any{"uuid": "i1", "source_type": "image", "destination_type": "volume", "boot_index": 0.0, "volume_size": 5.0, "delete_on_termination": true}}, sent["block_device_mapping_v2"])
	require.Equal(t, "IyEvYmluL3NoCg==", sent["user_data"])
	require.Equal(t, []any{map[string]any{"uuid": "n1"}}, sent["networks"])
	require.Len(t, sent["security_groups"], 2)

	for line, want := range map[string]string{
		"boot x --flavor m1.nan":         "there is no flavor m1.nan (did you mean m1.nano?)",
		"boot x --image nephos":          "there is no image nephos (did you mean nephos-guest?)",
		"boot x --network privat":        "there is no network privat (did you mean private?)",
		"boot x --key alcie":             "--key alcie is neither a file nor a key pair (did you mean alice?)",
		"boot x --key /nowhere/id.pub":   "--key: there is no file /nowhere/id.pub",
		"boot x --count 0":               "--count must be at least 1",
		"boot x --user-data /nowhere/ud": "open /nowhere/ud: no such file or directory",
		"server show vm2":                "there is no server vm2 (did you mean vm1?)",
		"server delete vm1 wbe":          "there is no server wbe (did you mean web?)",
		"secgroup allow 22":              `"22" is none of PORT/PROTO (22/tcp), FIRST-LAST/PROTO, icmp, all`,
		"quota set instance=3":           "there is no limit instance (did you mean instances?)",
	} {
		r := c.run(strings.Fields(line)...)
		require.True(t, IsUsage(r.err), "%s: %v", line, r.err)
		require.Equal(t, want, Explain(r.err), line)
	}
	require.Zero(t, c.calls("DELETE "), "a mistake in one name must not delete the others")
	require.Equal(t, 1, c.calls("POST /compute/v2.1/servers"))
}

func TestBootWithFloatingAddress(t *testing.T) {
	t.Parallel()
	c := stocked(t)
	c.on("POST /compute/v2.1/servers", 202, `{"server": {"id": "`+id1+`"}}`)
	asked := 0
	c.mux.HandleFunc("GET /network/v2.0/ports", func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 3 { // other clouds make the port after the answer
			reply(w, 200, `{"ports": []}`)
			return
		}
		reply(w, 200, `{"ports": [{"id": "port1", "fixed_ips": [{"ip_address": "10.0.0.5", "subnet_id": "s"}]}]}`)
	})
	c.on("GET /network/v2.0/floatingips", 200, `{"floatingips": [{"id": "f0", "floating_ip_address": "172.24.4.8", "port_id": "other"}]}`)
	c.on("GET /network/v2.0/networks", 200, `{"networks": [{"id": "n1", "name": "private"}, {"id": "n2", "name": "public", "router:external": true}]}`)
	c.on("POST /network/v2.0/floatingips", 201, `{"floatingip": {"id": "f1", "floating_ip_address": "172.24.4.9"}}`)
	c.on("PUT /network/v2.0/floatingips/f1", 200, `{"floatingip": {"id": "f1", "floating_ip_address": "172.24.4.9", "fixed_ip_address": "10.0.0.5"}}`)
	r := c.run("boot", "vm1", "--floating-ip", "--wait")
	require.NoError(t, r.err)
	require.Contains(t, r.errs, "vm1 gets floating address 172.24.4.9")
	require.Equal(t, map[string]any{"floatingip": map[string]any{"port_id": "port1"}}, c.sent("PUT /network/v2.0/floatingips/f1"))
	require.Equal(t, "n2", c.sent("POST /network/v2.0/floatingips")["floatingip"].(map[string]any)["floating_network_id"])
}

func TestDeleteWaits(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.on("GET /compute/v2.1/servers/detail", 200, `{"servers": [`+serverBody(id1, "vm1", "ACTIVE", "null", "")+`]}`)
	c.on("DELETE /compute/v2.1/servers/"+id1, 204, ``)
	c.growing(id1, serverBody(id1, "vm1", "ACTIVE", `"deleting"`, ""), "")
	r := c.run("server", "delete", "vm1", "--wait")
	require.NoError(t, r.err)
	require.Equal(t, "vm1 is deleted\n", r.out)
}

func TestKeyIsKnownByItsFingerprint(t *testing.T) {
	t.Parallel()
	c := stocked(t)
	public, _, err := newKey("x")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "id"), []byte("-----BEGIN OPENSSH PRIVATE KEY-----\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "id.pub"), public, 0o600))
	known := "aa"
	c.mux.HandleFunc("GET /compute/v2.1/os-keypairs", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, `{"keypairs": [{"keypair": {"name": "id", "fingerprint": "`+known+`"}}]}`)
	})
	c.on("POST /compute/v2.1/servers", 202, `{"server": {"id": "`+id1+`"}}`)
	r := c.run("boot", "x", "--key", filepath.Join(dir, "id"))
	require.True(t, IsUsage(r.err))
	require.Contains(t, r.err.Error(), "the key pair id is another key")

	known = fingerprintOf(t, public)
	r = c.run("boot", "x", "--key", filepath.Join(dir, "id")) // the private key's path means the public one beside it
	require.NoError(t, r.err)
	require.Equal(t, "id", c.sent("POST /compute/v2.1/servers")["server"].(map[string]any)["key_name"])
	require.Zero(t, c.calls("POST /compute/v2.1/os-keypairs"))
}

func TestImageUpload(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.on("POST /image/v2/images", 201, `{"id": "i9", "name": "x", "status": "queued"}`)
	uploaded := 0
	code := 204
	c.mux.HandleFunc("PUT /image/v2/images/i9/file", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		uploaded = len(b)
		if code != 204 {
			reply(w, code, `{"message": "disk_format: no", "code": "400 Bad Request"}`)
			return
		}
		w.WriteHeader(code)
	})
	c.on("GET /image/v2/images/i9", 200, `{"id": "i9", "name": "x", "status": "active", "disk_format": "raw", "size": 4096, "visibility": "public"}`)
	c.on("DELETE /image/v2/images/i9", 204, ``)
	file := filepath.Join(t.TempDir(), "disk.img")
	require.NoError(t, os.WriteFile(file, make([]byte, 4096), 0o600))

	r := c.run("image", "create", "x", "--file", file, "--public", "--property", "hw_rng_model=virtio")
	require.NoError(t, r.err)
	require.Equal(t, 4096, uploaded)
	sent := c.sent("POST /image/v2/images")
	require.Equal(t, "raw", sent["disk_format"], "found out from the bytes")
	require.Equal(t, "public", sent["visibility"])
	require.Equal(t, "virtio", sent["hw_rng_model"])

	code = 400
	r = c.run("image", "create", "x", "--file", file, "--disk-format", "qcow2")
	require.Equal(t, "disk_format: no (400, request req-1)", Explain(r.err))
	require.Equal(t, 1, c.calls("DELETE /image/v2/images/i9"), "the empty record goes again")
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	c := stocked(t)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "clouds.yaml"), []byte(`clouds:
  nephos:
    auth: {auth_url: "`+c.srv.URL+`/v3", username: admin, password: secret, project_name: admin, user_domain_name: Default, project_domain_name: Default}
    region_name: RegionOne
  broken: {}
`), 0o600))
	wrong := c.variables()
	wrong["OS_PASSWORD"] = "no"
	partly := map[string]string{"OS_AUTH_URL": "http://127.0.0.1:1/v3", "OS_USERNAME": "admin"}
	for name, x := range map[string]struct {
		env  map[string]string
		args string
		want string // of the error; "" is success
	}{
		"state dir by flag wins over variables": {partly, "flavor list --state-dir " + dir, ""},
		"state dir by default":                  {map[string]string{"NEPHOS_STATE_DIR": dir}, "flavor list", ""},
		"clouds.yaml by variable":               {map[string]string{"OS_CLIENT_CONFIG_FILE": dir + "/clouds.yaml", "OS_CLOUD": "nephos"}, "flavor list", ""},
		"clouds.yaml by flag":                   {map[string]string{"OS_CLIENT_CONFIG_FILE": dir + "/clouds.yaml"}, "flavor list --os-cloud nephos", ""},
		"variables":                             {c.variables(), "flavor list", ""},
		"nothing":                               {map[string]string{"NEPHOS_STATE_DIR": "/nowhere"}, "flavor list", "no cloud to talk to. Looked for --os-cloud, OS_CLOUD and OS_AUTH_URL (none is set), and open /nowhere/clouds.yaml"},
		"half":                                  {partly, "flavor list", "OS_AUTH_URL is set, but none of OS_PASSWORD, OS_TOKEN, OS_APPLICATION_CREDENTIAL_ID"},
		"wrong":                                 {wrong, "flavor list", c.srv.URL + "/v3 refused user admin (taken from OS_* variables)"},
		"no such cloud":                         {map[string]string{"OS_CLIENT_CONFIG_FILE": dir + "/clouds.yaml", "OS_CLOUD": "zz"}, "flavor list", `OS_CLOUD is zz: cloud "zz" not found in clouds.yaml`},
		"entry without auth":                    {map[string]string{"OS_CLIENT_CONFIG_FILE": dir + "/clouds.yaml", "OS_CLOUD": "broken"}, "flavor list", "the entry has no auth section"},
		"nobody there":                          {map[string]string{"OS_AUTH_URL": "http://127.0.0.1:1/v3", "OS_USERNAME": "a", "OS_PASSWORD": "b"}, "flavor list", "does not answer: connect: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := runWith(t, x.env, "", strings.Fields(x.args)...)
			if x.want == "" {
				require.NoError(t, r.err)
				require.Contains(t, r.out, "m1.nano")
				return
			}
			require.Error(t, r.err)
			require.Contains(t, Explain(r.err), x.want)
			require.NotContains(t, Explain(r.err), "Expected HTTP response code")
		})
	}
}

func TestFaultsAsSentences(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"badRequest": {"code": 400, "message": "Invalid flavorRef."}}`:                           "Invalid flavorRef (400, request req-1)",
		`{"NeutronError": {"type": "X", "message": "Quota exceeded", "detail": ""}}`:               "Quota exceeded (400, request req-1)",
		`{"errors": [{"status": 400, "title": "Bad Request", "detail": "no such class"}]}`:         "no such class (400, request req-1)",
		`<html><head><title>400</title></head><body><h1>400 Bad</h1>not <b>this</b></body></html>`: "not this (400, request req-1)",
		``:            "bad request (400, request req-1)",
		`plain words`: "plain words (400, request req-1)",
		`{"code": "400 Bad Request", "message": "no", "title": "Bad Request"}`: "no (400, request req-1)",
	} {
		c := newCloud(t)
		c.on("GET /compute/v2.1/flavors/detail", 400, body)
		require.Equal(t, want, Explain(c.run("flavor", "list").err))
	}
}

func TestFsckProblems(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	c.on("GET /compute/v2.1/os-nephos-fsck", 200, `{"fsck": {"problems": ["tap t1 on node1 has no owner"], "checked": {"servers": 2}}}`)
	r := c.run("fsck")
	require.ErrorIs(t, r.err, ExitError{1})
	require.Contains(t, r.out, "PROBLEM tap t1 on node1 has no owner")
	other := newCloud(t)
	require.Contains(t, Explain(other.run("fsck").err), "not a nephos cloud")
}
