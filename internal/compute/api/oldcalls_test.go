package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOldSecurityGroups: what clients before 2.36 did with groups and rules here.
func TestOldSecurityGroups(t *testing.T) {
	w := lite(t)
	const path, rules = "/v2.1/os-security-groups", "/v2.1/os-security-group-rules"
	group := func(name string) string {
		return w.call("a", "", "POST", path, m{"security_group": m{"name": name, "description": "d"}}).want(200).text("security_group", "id")
	}
	one, two := group("one"), group("two")
	w.call("a", "2.36", "POST", path, m{"security_group": m{"name": "x", "description": "d"}}).want(404)
	for _, bad := range []m{{"name": "", "description": "d"}, {"name": 7, "description": "d"}, {"name": "x"}} {
		w.call("a", "", "POST", path, m{"security_group": bad}).want(400)
	}
	rule := func(x m, code int) reply {
		t.Helper()
		return w.call("a", "", "POST", rules, m{"security_group_rule": x}).want(code)
	}
	made := rule(m{"parent_group_id": one, "ip_protocol": "tcp", "from_port": 22, "to_port": "22", "cidr": "10.0.0.0/8"}, 200)
	require.Equal(t, "10.0.0.0/8", made.text("security_group_rule", "ip_range", "cidr"))
	require.EqualValues(t, 22, made.at("security_group_rule", "to_port"))
	fromTwo := rule(m{"parent_group_id": one, "ip_protocol": "udp", "from_port": 1, "to_port": 2, "group_id": two}, 200)
	require.Equal(t, "two", fromTwo.text("security_group_rule", "group", "name"))
	require.Equal(t, float64(-1), rule(m{"parent_group_id": one, "ip_protocol": "icmp", "from_port": -1, "to_port": -1}, 200).at("security_group_rule", "from_port"))
	for _, bad := range []m{{"ip_protocol": "tcp", "from_port": 22, "to_port": 22, "cidr": "10.0.0.0/8"}, {"ip_protocol": "what", "from_port": 1, "to_port": 2},
		{"ip_protocol": "tcp", "from_port": 9, "to_port": 2}, {"ip_protocol": "tcp", "from_port": "x", "to_port": 2}, {"ip_protocol": "tcp", "from_port": 1, "to_port": 65536}, {"ip_protocol": "tcp"}} {
		bad["parent_group_id"] = one
		rule(bad, 400)
	}
	rule(m{"parent_group_id": nowhere, "ip_protocol": "tcp", "from_port": 1, "to_port": 2}, 404)
	w.call("b", "", "POST", rules, m{"security_group_rule": m{"parent_group_id": one, "ip_protocol": "tcp", "from_port": 1, "to_port": 2}}).want(404)
	require.Len(t, w.call("a", "", "GET", path+"/"+one, nil).want(200).list("security_group", "rules"), 3)
	w.call("a", "", "PUT", path+"/"+one, m{"security_group": m{"name": "uno", "description": "e"}}).want(200)
	w.call("b", "", "PUT", path+"/"+one, m{"security_group": m{"name": "mine", "description": "e"}}).want(404)
	w.call("a", "", "DELETE", rules+"/"+made.text("security_group_rule", "id"), nil).want(202)
	w.call("a", "", "DELETE", rules+"/"+made.text("security_group_rule", "id"), nil).want(404)
	w.call("a", "", "DELETE", path+"/"+one, nil).want(202)
	w.call("a", "", "GET", path+"/"+one, nil).want(404)
	w.call("a", "", "GET", path+"/one", nil).want(400)
	for _, g := range w.call("a", "", "GET", path, nil).want(200).list("security_groups") {
		if x := g.(map[string]any); x["name"] == "default" {
			w.call("a", "", "DELETE", path+"/"+x["id"].(string), nil).want(400)
		}
	}
}

// TestOldVolumesAndImages: the volume and image services as clients before 2.36 saw them here.
func TestOldVolumesAndImages(t *testing.T) {
	w := lite(t)
	made := w.call("a", "", "POST", "/v2.1/os-volumes", m{"volume": m{"size": 1, "display_name": "v", "metadata": m{"k": "v"}}}).want(200)
	id := made.text("volume", "id")
	require.Equal(t, "v", made.text("volume", "metadata", "k"))
	w.call("a", "2.36", "GET", "/v2.1/os-volumes/"+id, nil).want(404)
	w.call("b", "", "GET", "/v2.1/os-volumes/"+id, nil).want(404)
	w.call("a", "", "POST", "/v2.1/os-volumes", m{"volume": m{"size": "0"}}).want(400)
	w.call("a", "", "POST", "/v2.1/os-volumes", m{"volume": m{}}).want(400)
	require.Eventually(t, func() bool {
		return w.call("a", "", "GET", "/v2.1/os-volumes/"+id, nil).want(200).text("volume", "status") == "available"
	}, waitFor, tickFor)
	require.Len(t, w.call("a", "", "GET", "/v2.1/os-volumes/detail?limit=1", nil).want(200).list("volumes"), 1)
	require.Empty(t, w.call("a", "", "GET", "/v2.1/os-volumes?offset=1", nil).want(200).list("volumes"))
	snap := w.call("a", "", "POST", "/v2.1/os-snapshots", m{"snapshot": m{"volume_id": id, "display_name": "s"}}).want(200).text("snapshot", "id")
	w.call("a", "", "POST", "/v2.1/os-snapshots", m{"snapshot": m{"volume_id": nowhere}}).want(404)
	require.Eventually(t, func() bool {
		return w.call("a", "", "GET", "/v2.1/os-snapshots/"+snap, nil).want(200).text("snapshot", "status") == "available"
	}, waitFor, tickFor)
	require.Equal(t, id, w.call("a", "", "GET", "/v2.1/os-snapshots/detail", nil).want(200).text("snapshots", 0, "volumeId"))
	w.call("a", "", "DELETE", "/v2.1/os-snapshots/"+snap, nil).want(202)
	require.Eventually(t, func() bool { return w.call("a", "", "GET", "/v2.1/os-snapshots/"+snap, nil).Code == 404 }, waitFor, tickFor)
	w.call("a", "", "DELETE", "/v2.1/os-volumes/"+id, nil).want(202)

	meta := "/v2.1/images/" + imageID + "/metadata"
	w.call("a", "2.38", "POST", meta, m{"metadata": m{"os": "x"}}).want(403)
	require.Equal(t, "x", w.call("admin", "2.38", "POST", meta, m{"metadata": m{"os": "x", "hw": "y"}}).want(200).text("metadata", "os"))
	w.call("admin", "2.39", "POST", meta, m{"metadata": m{}}).want(404)
	require.Equal(t, "z", w.call("admin", "", "PUT", meta+"/os", m{"meta": m{"os": "z"}}).want(200).text("meta", "os"))
	w.call("admin", "", "PUT", meta+"/os", m{"meta": m{"other": "z"}}).want(400)
	w.call("admin", "", "PUT", meta+"/status", m{"meta": m{"status": "active"}}).want(403)
	w.call("admin", "", "DELETE", meta+"/os", nil).want(204)
	w.call("admin", "", "DELETE", meta+"/os", nil).want(404)
	require.Equal(t, map[string]any{"a": "b"}, w.call("admin", "", "PUT", meta, m{"metadata": m{"a": "b"}}).want(200).at("metadata"))
	w.call("admin", "", "PUT", "/v2.1/images/"+nowhere+"/metadata", m{"metadata": m{}}).want(404)
	w.call("a", "", "DELETE", "/v2.1/images/"+imageID, nil).want(403)
	w.call("admin", "2.36", "DELETE", "/v2.1/images/"+imageID, nil).want(404)
	w.call("admin", "", "DELETE", "/v2.1/images/"+bigImage, nil).want(204)
	w.call("admin", "", "DELETE", "/v2.1/images/"+bigImage, nil).want(404)
}

// TestOldHosts: os-hosts, bare metal, the usage audit, and what is gone everywhere.
func TestOldHosts(t *testing.T) {
	w := lite(t)
	w.server("a", nil)
	host := w.call("admin", "", "GET", "/v2.1/servers/detail?all_tenants=1", nil).want(200).text("servers", 0, "OS-EXT-SRV-ATTR:host")
	all := w.call("admin", "2.42", "GET", "/v2.1/os-hosts", nil).want(200)
	require.Equal(t, "conductor", all.text("hosts", 0, "service"))
	require.Len(t, w.call("admin", "", "GET", "/v2.1/os-hosts?zone=nova", nil).want(200).list("hosts"), 2)
	w.call("admin", "2.43", "GET", "/v2.1/os-hosts", nil).want(404)
	shown := w.call("admin", "", "GET", "/v2.1/os-hosts/"+host, nil).want(200)
	require.Equal(t, projectA, shown.text("host", 3, "resource", "project"))
	require.Equal(t, shown.at("host", 2, "resource", "memory_mb"), shown.at("host", 3, "resource", "memory_mb"))
	w.call("a", "", "GET", "/v2.1/os-hosts/"+host, nil).want(403)
	w.call("admin", "", "GET", "/v2.1/os-hosts/nobody", nil).want(404)
	require.Equal(t, "disabled", w.call("admin", "", "PUT", "/v2.1/os-hosts/"+host, m{"status": "Disable"}).want(200).text("status"))
	require.Equal(t, "enabled", w.call("admin", "", "PUT", "/v2.1/os-hosts/"+host, m{"status": "enable"}).want(200).text("status"))
	for _, bad := range []m{{}, {"status": "off"}, {"maintenance_mode": "x"}, {"other": "enable"}} {
		w.call("admin", "", "PUT", "/v2.1/os-hosts/"+host, bad).want(400)
	}
	w.call("admin", "", "PUT", "/v2.1/os-hosts/"+host, m{"maintenance_mode": "enable"}).want(501)
	w.call("admin", "", "PUT", "/v2.1/os-hosts/nobody", m{"status": "enable"}).want(404)
	for _, what := range []string{"reboot", "shutdown", "startup"} {
		w.call("admin", "", "GET", "/v2.1/os-hosts/"+host+"/"+what, nil).want(501)
		w.call("admin", "", "GET", "/v2.1/os-hosts/nobody/"+what, nil).want(404)
		w.call("a", "", "GET", "/v2.1/os-hosts/"+host+"/"+what, nil).want(403)
	}
	require.Empty(t, w.call("admin", "2.35", "GET", "/v2.1/os-baremetal-nodes", nil).want(200).list("nodes"))
	w.call("admin", "2.36", "GET", "/v2.1/os-baremetal-nodes", nil).want(404)
	w.call("admin", "", "POST", "/v2.1/os-baremetal-nodes", m{}).want(400)

	log := w.call("admin", "", "GET", "/v2.1/os-instance_usage_audit_log/2012-07-05%2010:00:00", nil).want(200)
	require.Equal(t, "2012-06-01 00:00:00", log.text("instance_usage_audit_log", "period_beginning"))
	require.EqualValues(t, 2, log.at("instance_usage_audit_log", "num_hosts_not_run"))
	w.call("admin", "", "GET", "/v2.1/os-instance_usage_audit_log/then", nil).want(400)
	w.call("a", "", "GET", "/v2.1/os-instance_usage_audit_log", nil).want(403)

	for _, c := range [][2]string{{"GET", "/os-agents"}, {"POST", "/os-agents"}, {"PUT", "/os-agents/1"}, {"GET", "/os-cells/x/capacities"}, {"GET", "/os-certificates/root"}, {"POST", "/os-cloudpipe"},
		{"GET", "/os-fixed-ips/10.0.0.1"}, {"PUT", "/os-floating-ips-bulk/x"}, {"GET", "/os-fping/x"}, {"POST", "/os-networks"}, {"DELETE", "/os-networks/x"}, {"POST", "/os-tenant-networks"},
		{"GET", "/os-floating-ip-dns/a/entries/b"}, {"GET", "/servers/x/consoles"}, {"GET", "/servers/x/os-virtual-interfaces"}} {
		w.call("a", "", c[0], "/v2.1"+c[1], nil).want(410)
	}
}
