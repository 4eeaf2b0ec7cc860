package api_test

import (
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/hostapi"
)

func TestDiagnostics(t *testing.T) {
	w := lite(t)
	id := w.server("a", nil)
	path := "/v2.1/servers/" + id + "/diagnostics"
	w.call("a", "2.48", "GET", path, nil).want(403)
	w.call("admin", "2.48", "GET", "/v2.1/servers/"+nowhere+"/diagnostics", nil).want(404)
	old := w.call("admin", "2.47", "GET", path, nil).want(200)
	require.Equal(t, m{"cpu0_time": 5e9, "memory": 65536.0, "memory-actual": 65536.0, "memory-rss": 32768.0,
		"vda_read": 1.0, "vda_read_req": 2.0, "vda_write": 3.0, "vda_write_req": 4.0, "vda_errors": 5.0,
		"tap0123456789a_rx": 10.0, "tap0123456789a_rx_packets": 0.0, "tap0123456789a_rx_errors": 0.0, "tap0123456789a_rx_drop": 0.0,
		"tap0123456789a_tx": 0.0, "tap0123456789a_tx_packets": 20.0, "tap0123456789a_tx_errors": 0.0, "tap0123456789a_tx_drop": 0.0}, old.at())
	now := w.call("admin", "2.48", "GET", path, nil).want(200)
	require.Equal(t, m{"state": "running", "driver": "libvirt", "hypervisor": "fake", "hypervisor_os": "linux", "uptime": 7.0, "config_drive": false,
		"num_cpus": 1.0, "num_disks": 1.0, "num_nics": 1.0,
		"cpu_details":  []any{m{"id": 0.0, "time": 5e9, "utilisation": nil}},
		"disk_details": []any{m{"read_bytes": 1.0, "read_requests": 2.0, "write_bytes": 3.0, "write_requests": 4.0, "errors_count": 5.0}},
		"nic_details": []any{m{"mac_address": "fa:16:3e:00:00:01", "rx_octets": 10.0, "rx_errors": 0.0, "rx_drop": 0.0, "rx_packets": 0.0, "rx_rate": nil,
			"tx_octets": 0.0, "tx_errors": 0.0, "tx_drop": 0.0, "tx_packets": 20.0, "tx_rate": nil}},
		"memory_details": m{"maximum": 64.0, "used": 32.0}}, now.at())
	w.call("a", "", "POST", "/v2.1/servers/"+id+"/action", m{"os-stop": nil}).want(202)
	w.settle(id)
	require.Contains(t, w.call("admin", "2.48", "GET", path, nil).want(409).text("conflictingRequest", "message"), "Cannot 'get_diagnostics' instance")
}

func TestPostedPassword(t *testing.T) {
	w := lite(t)
	id := w.server("a", nil)
	path := "/v2.1/servers/" + id + "/os-server-password"
	w.call("b", "", "GET", path, nil).want(404)
	w.call("reader", "", "DELETE", path, nil).want(403)
	require.Equal(t, m{"password": "c2VjcmV0"}, w.call("reader", "", "GET", path, nil).want(200).at())
	w.call("a", "", "DELETE", path, nil).want(204)
	require.Equal(t, m{"password": ""}, w.call("a", "", "GET", path, nil).want(200).at())
}

func TestTopology(t *testing.T) {
	w := lite(t)
	id := w.server("a", nil)
	w.call("a", "2.77", "GET", "/v2.1/servers/"+id+"/topology", nil).want(404)
	require.Equal(t, m{"nodes": []any{}, "pagesize_kb": nil}, w.call("a", "2.78", "GET", "/v2.1/servers/"+id+"/topology", nil).want(200).at())
	w.call("b", "2.78", "GET", "/v2.1/servers/"+id+"/topology", nil).want(404)
}

func TestConsoles(t *testing.T) {
	each(t, func(w *world) {
		t := w.t
		id := w.server("a", nil)
		action, path := "/v2.1/servers/"+id+"/action", "/v2.1/servers/"+id+"/remote-consoles"
		old := w.call("a", "2.5", "POST", action, m{"os-getVNCConsole": m{"type": "novnc"}}).want(200)
		require.Equal(t, "novnc", old.text("console", "type"))
		require.True(t, strings.HasPrefix(old.text("console", "url"), "http://cloud:6080/vnc_auto.html?path=%3Ftoken%3D"), old.Body)
		require.True(t, strings.HasPrefix(w.call("a", "", "POST", action, m{"os-getSerialConsole": m{"type": "serial"}}).want(200).text("console", "url"), "ws://cloud:6083/?token="))
		require.Contains(t, w.call("a", "", "POST", action, m{"os-getSPICEConsole": m{"type": "spice-html5"}}).want(400).Body, "Unavailable console type spice-html5.")
		w.call("a", "", "POST", action, m{"os-getVNCConsole": m{"type": "xvpvnc"}}).want(400)
		w.call("a", "2.6", "POST", action, m{"os-getVNCConsole": m{"type": "novnc"}}).want(400)

		ask := func(protocol, kind string) m { return m{"remote_console": m{"protocol": protocol, "type": kind}} }
		w.call("a", "2.5", "POST", path, ask("vnc", "novnc")).want(404)
		w.call("a", "2.7", "POST", path, ask("mks", "webmks")).want(400)
		require.Contains(t, w.call("a", "2.8", "POST", path, ask("mks", "webmks")).want(400).Body, "Unavailable console type webmks.")
		w.call("a", "2.6", "POST", path, ask("vnc", "serial")).want(400)
		w.call("b", "2.6", "POST", path, ask("vnc", "novnc")).want(404)
		w.call("reader", "2.6", "POST", path, ask("vnc", "novnc")).want(403)
		made := w.call("a", "2.6", "POST", path, ask("vnc", "novnc")).want(200)
		require.Equal(t, "vnc", made.text("remote_console", "protocol"))

		u, err := url.Parse(made.text("remote_console", "url"))
		require.NoError(t, err)
		token := strings.TrimPrefix(u.Query().Get("path"), "?token=")
		w.call("a", "2.31", "GET", "/v2.1/os-console-auth-tokens/"+token, nil).want(403)
		w.call("admin", "2.30", "GET", "/v2.1/os-console-auth-tokens/"+token, nil).want(401)
		w.call("admin", "2.31", "GET", "/v2.1/os-console-auth-tokens/"+nowhere, nil).want(404)
		seen := w.call("admin", "2.31", "GET", "/v2.1/os-console-auth-tokens/"+token, nil).want(200)
		require.Equal(t, id, seen.text("console", "instance_uuid"))
		require.Contains(t, []string{"host1", "host2"}, seen.text("console", "host"))

		w.call("a", "", "POST", action, m{"os-stop": nil}).want(202)
		w.settle(id)
		w.call("a", "2.6", "POST", path, ask("vnc", "novnc")).want(409)
		w.call("a", "", "DELETE", "/v2.1/servers/"+id, nil).want(204)
		w.settle(id)
		w.call("admin", "2.31", "GET", "/v2.1/os-console-auth-tokens/"+token, nil).want(404)
	})
}

func TestExternalEvents(t *testing.T) {
	w := lite(t)
	id := w.server("a", nil)
	const path = "/v2.1/os-server-external-events"
	event := func(name, server, tag string) m {
		e := m{"name": name, "server_uuid": server}
		if tag != "" {
			e["tag"] = tag
		}
		return e
	}
	send := func(version string, code int, events ...any) reply {
		return w.call("admin", version, "POST", path, m{"events": events}).want(code)
	}
	w.call("a", "", "POST", path, m{"events": []any{event("network-changed", id, "")}}).want(403)
	ok := send("", 200, event("network-changed", id, "port"))
	require.Equal(t, m{"events": []any{m{"name": "network-changed", "server_uuid": id, "tag": "port", "status": "completed", "code": 200.0}}}, ok.at())
	part := send("2.51", 207, event("network-vif-plugged", id, ""), event("network-changed", nowhere, ""), event("volume-extended", id, ""), event("volume-extended", id, "v"))
	var codes []any
	for _, e := range part.list("events") {
		codes = append(codes, e.(m)["code"])
	}
	require.Equal(t, []any{200.0, 404.0, 400.0, 200.0}, codes)
	send("", 404, event("network-changed", nowhere, ""))
	send("", 400)
	for version, name := range map[string]string{"2.50": "volume-extended", "2.75": "power-update", "2.81": "accelerator-request-bound", "2.92": "volume-reimaged"} {
		send(version, 400, event(name, id, "x"))
	}
	send("2.93", 200, event("volume-extended", id, "x"), event("power-update", id, "POWER_ON"), event("accelerator-request-bound", id, "x"), event("volume-reimaged", id, "x"))
}

func TestAssistedSnapshots(t *testing.T) {
	w := lite(t)
	const path = "/v2.1/os-assisted-volume-snapshots"
	body := m{"snapshot": m{"volume_id": nowhere, "create_info": m{"snapshot_id": nowhere, "type": "qcow2", "new_file": "file"}}}
	w.call("a", "", "POST", path, body).want(403)
	require.Contains(t, w.call("admin", "", "POST", path, body).want(400).Body, "attached to no server")
	w.call("admin", "", "POST", path, m{"snapshot": m{"volume_id": nowhere}}).want(400)
	w.call("admin", "", "DELETE", path+"/x", nil).want(400)
	w.call("admin", "", "DELETE", path+"/x?delete_info=nonsense", nil).want(400)
	w.call("admin", "", "DELETE", path+"/x?delete_info="+url.QueryEscape(`{"volume_id":"`+nowhere+`"}`), nil).want(404)
}

func TestAggregateImages(t *testing.T) {
	each(t, func(w *world) {
		t := w.t
		id := w.call("admin", "", "POST", "/v2.1/os-aggregates", m{"aggregate": m{"name": "warm"}}).want(200)
		path := fmt.Sprintf("/v2.1/os-aggregates/%v", id.at("aggregate", "id"))
		ask := func(images ...string) m {
			list := []any{}
			for _, i := range images {
				list = append(list, m{"id": i})
			}
			return m{"cache": list}
		}
		w.call("admin", "", "POST", path+"/action", m{"add_host": m{"host": "host1"}}).want(200)
		w.call("admin", "2.80", "POST", path+"/images", ask(imageID)).want(404)
		w.call("a", "2.81", "POST", path+"/images", ask(imageID)).want(403)
		w.call("admin", "2.81", "POST", "/v2.1/os-aggregates/4711/images", ask(imageID)).want(404)
		for _, bad := range []m{ask(), ask(imageID, imageID), ask(nowhere), ask(queued), {"cache": []any{m{}}}} {
			w.call("admin", "2.81", "POST", path+"/images", bad).want(400)
		}
		w.call("admin", "2.81", "POST", path+"/images", ask(imageID, bigImage)).want(202)
		require.Eventually(t, func() bool {
			w.client.mu.Lock()
			defer w.client.mu.Unlock()
			var got []string
			for _, c := range w.client.seen {
				if c.Op == hostapi.OpImageCache {
					got = append(got, c.Task.Image.ID)
				}
			}
			return len(got) == 2 && got[0] == imageID && got[1] == bigImage
		}, waitFor, tickFor)
	})
}

func TestHostStatus(t *testing.T) {
	w := lite(t)
	id := w.server("a", nil)
	host := w.settle(id).text("server", "OS-EXT-SRV-ATTR:host")
	status := func() string {
		return w.call("admin", "2.16", "GET", "/v2.1/servers/"+id, nil).want(200).text("server", "host_status")
	}
	service := func(action string, extra m) {
		body := m{"host": host, "binary": "nova-compute"}
		for k, v := range extra {
			body[k] = v
		}
		w.call("admin", "2.11", "PUT", "/v2.1/os-services/"+action, body).want(200)
	}
	require.Equal(t, "UP", status())
	service("disable", nil)
	require.Equal(t, "MAINTENANCE", status())
	service("force-down", m{"forced_down": true})
	require.Equal(t, "DOWN", status())
	service("force-down", m{"forced_down": false})
	service("enable", nil)
	require.Equal(t, "UP", status())
}

func TestCertificatesAsKeypairs(t *testing.T) {
	w := lite(t)
	const path = "/v2.1/os-keypairs"
	made := w.call("a", "2.2", "POST", path, m{"keypair": m{"name": "cert", "type": "x509"}}).want(201)
	require.Equal(t, "x509", made.text("keypair", "type"))
	pair, err := tls.X509KeyPair([]byte(made.text("keypair", "public_key")), []byte(made.text("keypair", "private_key")))
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	require.NoError(t, err)
	require.Equal(t, "ua", cert.Subject.CommonName)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, cert.ExtKeyUsage)
	require.Contains(t, string(cert.Raw), "ua@localhost")
	sum := sha1.Sum(cert.Raw)
	require.Equal(t, hex.EncodeToString(sum[:]), strings.ReplaceAll(made.text("keypair", "fingerprint"), ":", ""))

	again := w.call("a", "2.92", "POST", path, m{"keypair": m{"name": "imported", "type": "x509", "public_key": made.text("keypair", "public_key")}}).want(201)
	require.Equal(t, made.text("keypair", "fingerprint"), again.text("keypair", "fingerprint"))
	w.call("a", "2.2", "POST", path, m{"keypair": m{"name": "bad", "type": "x509", "public_key": pubKey}}).want(400)
	w.call("a", "2.2", "POST", path, m{"keypair": m{"name": "bad", "type": "ssh", "public_key": made.text("keypair", "public_key")}}).want(400)
	w.call("a", "2.1", "POST", path, m{"keypair": m{"name": "bad", "type": "x509"}}).want(400)
}

// Limits of the network's resources can be set where old clients set them, and are shown there.
func TestOldQuotaNames(t *testing.T) {
	each(t, func(w *world) {
		t := w.t
		w.call("admin", "2.1", "PUT", "/v2.1/os-quota-class-sets/default", m{"quota_class_set": m{"fixed_ips": 99}}).want(200)
		require.EqualValues(t, 99, w.call("admin", "2.1", "GET", "/v2.1/os-quota-class-sets/default", nil).at("quota_class_set", "fixed_ips"))
		require.EqualValues(t, 99, w.call("a", "2.1", "GET", "/v2.1/os-quota-sets/"+projectA, nil).at("quota_set", "fixed_ips"))
		w.call("admin", "2.1", "PUT", "/v2.1/os-quota-sets/"+projectA, m{"quota_set": m{"fixed_ips": 7, "security_groups": 8}}).want(200)
		require.EqualValues(t, 7, w.call("a", "2.1", "GET", "/v2.1/os-quota-sets/"+projectA+"/detail", nil).at("quota_set", "fixed_ips", "limit"))
		w.call("admin", "2.1", "DELETE", "/v2.1/os-quota-sets/"+projectA, nil).want(202)
		require.EqualValues(t, 99, w.call("a", "2.1", "GET", "/v2.1/os-quota-sets/"+projectA, nil).at("quota_set", "fixed_ips"))
		require.EqualValues(t, -1, w.call("a", "2.1", "GET", "/v2.1/os-quota-sets/"+projectA, nil).at("quota_set", "security_groups"))
		w.call("admin", "2.36", "PUT", "/v2.1/os-quota-sets/"+projectA, m{"quota_set": m{"fixed_ips": 7}}).want(400)
	})
}

// Limits that users have of their own in a project, also when many ask at once.
func TestQuotasOfUsers(t *testing.T) {
	each(t, func(w *world) {
		t := w.t
		const sets = "/v2.1/os-quota-sets/" + projectA
		put := func(query string, set m, want int) reply {
			t.Helper()
			return w.call("admin", "", "PUT", sets+query, m{"quota_set": set}).want(want)
		}
		require.EqualValues(t, 3, put("?user_id=ua", m{"instances": 3}, 200).at("quota_set", "instances"))
		require.Contains(t, put("?user_id=ua", m{"instances": 11}, 400).Body, "less than or equal to 10")
		put("?user_id=ua", m{"instances": -1}, 400)
		put("?user_id=uz", m{"instances": 11, "force": true}, 200)
		require.EqualValues(t, 10, w.call("a", "", "GET", sets, nil).at("quota_set", "instances"))
		require.EqualValues(t, 3, w.call("a", "", "GET", sets+"?user_id=ua", nil).at("quota_set", "instances"))

		var wg sync.WaitGroup
		codes := make([]int, 8)
		for i := range codes {
			wg.Go(func() { codes[i] = w.call("a", "", "POST", "/v2.1/servers", boot(nil)).Code })
		}
		wg.Wait()
		slices.Sort(codes)
		require.Equal(t, []int{202, 202, 202, 403, 403, 403, 403, 403}, codes)
		detail := w.call("a", "", "GET", sets+"/detail?user_id=ua", nil).want(200)
		require.Equal(t, m{"in_use": 3.0, "limit": 3.0, "reserved": 0.0}, detail.at("quota_set", "instances"))
		require.EqualValues(t, 0, w.call("a", "", "GET", sets+"/detail?user_id=other", nil).at("quota_set", "instances", "in_use"))
		put("?user_id=ua", m{"instances": 2}, 400)
		put("?user_id=ua", m{"instances": 2, "force": "true"}, 200)
		w.call("admin", "", "DELETE", sets+"?user_id=ua", nil).want(202)
		require.EqualValues(t, 10, w.call("a", "", "GET", sets+"?user_id=ua", nil).at("quota_set", "instances"))
		w.call("a", "", "POST", "/v2.1/servers", boot(nil)).want(202)
	})
}

// An image and a volume to boot from: the volume is the root disk. A volume that another server has is 400.
func TestVolumesAndImages(t *testing.T) {
	w := lite(t)
	id := w.server("a", m{"block_device_mapping_v2": []m{{"source_type": "blank", "destination_type": "volume", "boot_index": "0", "volume_size": 1}}})
	require.Equal(t, "", w.call("a", "", "GET", "/v2.1/servers/"+id, nil).text("server", "image"))
	vol := w.call("a", "", "GET", "/v2.1/servers/"+id+"/os-volume_attachments", nil).want(200).text("volumeAttachments", 0, "volumeId")
	host := w.settle(id).text("server", "OS-EXT-SRV-ATTR:host")
	other := w.call("admin", "", "POST", "/v2.1/servers", boot(m{"availability_zone": "nova:" + host})).want(202).text("server", "id")
	w.settle(other)
	require.Contains(t, w.call("admin", "", "POST", "/v2.1/servers/"+other+"/os-volume_attachments", m{"volumeAttachment": m{"volumeId": vol}}).want(400).Body, "Invalid volume")
}
