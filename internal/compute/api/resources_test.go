package api_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/network"
	"nephos/internal/volume"
)

func TestKeypairs(t *testing.T) {
	w := lite(t)
	const path = "/v2.1/os-keypairs"
	r := w.call("a", "", "POST", path, m{"keypair": m{"name": "k1"}}).want(200)
	require.Contains(t, r.text("keypair", "private_key"), "PRIVATE KEY")
	require.Regexp(t, `^([0-9a-f]{2}:){15}[0-9a-f]{2}$`, r.text("keypair", "fingerprint"))
	require.Nil(t, r.at("keypair", "type"))
	r = w.call("a", "2.2", "POST", path, m{"keypair": m{"name": "k2", "public_key": pubKey, "type": "ssh"}}).want(201)
	require.Equal(t, "ssh", r.text("keypair", "type"))
	require.Nil(t, r.at("keypair", "private_key"))
	w.call("a", "2.2", "POST", path, m{"keypair": m{"name": "k2"}}).want(409)
	w.call("a", "2.2", "POST", path, m{"keypair": m{"name": "k3", "public_key": "nonsense"}}).want(400)
	w.call("a", "2.2", "POST", path, m{"keypair": m{"name": "a/b"}}).want(400)
	w.call("a", "2.92", "POST", path, m{"keypair": m{"name": "k4"}}).want(400)
	w.call("a", "2.92", "POST", path, m{"keypair": m{"name": "me@home.net", "public_key": pubKey}}).want(201)
	w.call("a", "2.91", "POST", path, m{"keypair": m{"name": "me2@home.net", "public_key": pubKey}}).want(400)
	w.call("a", "2.10", "POST", path, m{"keypair": m{"name": "k5", "user_id": "ub"}}).want(403)
	w.call("admin", "2.10", "POST", path, m{"keypair": m{"name": "k5", "user_id": "ub", "public_key": pubKey}}).want(201)
	require.Len(t, w.call("b", "", "GET", path, nil).want(200).list("keypairs"), 1)
	w.call("b", "", "GET", path+"/k1", nil).want(404)
	r = w.call("a", "2.35", "GET", path+"?limit=2", nil).want(200)
	require.Len(t, r.list("keypairs"), 2)
	require.NotEmpty(t, r.list("keypairs_links"))
	require.Len(t, w.call("a", "2.35", "GET", path+"?marker=k2", nil).want(200).list("keypairs"), 1)
	require.NotContains(t, w.call("a", "2.1", "GET", path, nil).Body, `"type"`)
	require.Contains(t, w.call("a", "2.2", "GET", path, nil).Body, `"type"`)
	require.Equal(t, false, w.call("a", "", "GET", path+"/k1", nil).want(200).at("keypair", "deleted"))
	id := w.server("a", m{"key_name": "k2"})
	require.Equal(t, "k2", w.call("a", "", "GET", "/v2.1/servers/"+id, nil).text("server", "key_name"))
	w.call("a", "", "DELETE", path+"/k1", nil).want(202)
	w.call("a", "2.2", "DELETE", path+"/k2", nil).want(204)
	w.call("a", "2.2", "DELETE", path+"/k2", nil).want(404)
	w.call("admin", "", "PUT", "/v2.1/os-quota-sets/"+projectA, m{"quota_set": m{"key_pairs": 1}}).want(200)
	w.call("a", "2.2", "POST", path, m{"keypair": m{"name": "k9", "public_key": pubKey}}).want(403)
}

func TestFlavors(t *testing.T) {
	w := lite(t)
	const path = "/v2.1/flavors"
	body := func(extra m) m {
		f := m{"name": "f", "ram": "64", "vcpus": 1, "disk": 0}
		for k, v := range extra {
			f[k] = v
		}
		return m{"flavor": f}
	}
	w.call("a", "", "POST", path, body(nil)).want(403)
	r := w.call("admin", "2.75", "POST", path, body(m{"id": "auto", "os-flavor-access:is_public": "false", "description": "d"})).want(200)
	id := r.text("flavor", "id")
	require.Len(t, id, 36)
	require.Equal(t, float64(0), r.at("flavor", "swap"))
	require.Equal(t, false, r.at("flavor", "os-flavor-access:is_public"))
	w.call("admin", "", "POST", path, body(nil)).want(409)
	w.call("admin", "", "POST", path, body(m{"name": "g", "id": "42"})).want(409)
	w.call("admin", "", "POST", path, body(m{"name": "g", "vcpus": 0})).want(400)
	w.call("admin", "", "POST", path, body(m{"name": "g", "description": "x"})).want(400)
	w.call("a", "", "GET", path+"/"+id, nil).want(404)
	list := func(token, query string) int {
		return len(w.call(token, "", "GET", path+"?"+query, nil).want(200).list("flavors"))
	}
	require.Equal(t, 7, list("a", ""))
	require.Equal(t, 7, list("admin", ""))
	require.Equal(t, 8, list("admin", "is_public=None"))
	require.Equal(t, 1, list("admin", "is_public=0"))
	require.Equal(t, 2, list("a", "minRam=8000"))
	require.Equal(t, 1, list("a", "minDisk=160"))
	w.call("a", "", "GET", path+"?minRam=x", nil).want(400)
	w.call("a", "", "GET", path+"?marker=x", nil).want(400)
	r = w.call("a", "", "GET", path+"/detail?limit=1&sort_key=memory_mb&sort_dir=desc", nil).want(200)
	require.Equal(t, "m1.xlarge", r.text("flavors", 0, "name"))
	require.Contains(t, r.text("flavors_links", 0, "href"), "marker=5")

	r = w.call("admin", "", "POST", path+"/"+id+"/action", m{"addTenantAccess": m{"tenant": projectA}}).want(200)
	require.Len(t, r.list("flavor_access"), 1) // the creator's project is not given it by itself
	w.call("admin", "", "POST", path+"/"+id+"/action", m{"addTenantAccess": m{"tenant": projectA}}).want(409)
	w.call("a", "", "GET", path+"/"+id, nil).want(200)
	require.Equal(t, 8, list("a", ""))
	w.call("admin", "", "GET", path+"/42/os-flavor-access", nil).want(404)
	w.call("admin", "2.7", "POST", path+"/42/action", m{"addTenantAccess": m{"tenant": projectA}}).want(409)
	w.call("admin", "", "POST", path+"/"+id+"/action", m{"removeTenantAccess": m{"tenant": projectA}}).want(200)
	w.call("admin", "", "POST", path+"/"+id+"/action", m{"removeTenantAccess": m{"tenant": projectA}}).want(404)
	w.call("a", "", "GET", path+"/"+id, nil).want(404)

	specs := path + "/42/os-extra_specs"
	w.call("admin", "", "POST", specs, m{"extra_specs": m{"k": "v", "n": 1}}).want(200)
	require.Equal(t, "1", w.call("a", "", "GET", specs+"/n", nil).want(200).text("n"))
	w.call("a", "", "PUT", specs+"/k", m{"k": "w"}).want(403)
	w.call("admin", "", "PUT", specs+"/k", m{"x": "w"}).want(400)
	require.Equal(t, "w", w.call("admin", "", "PUT", specs+"/k", m{"k": "w"}).want(200).text("k"))
	require.Equal(t, "w", w.call("a", "2.61", "GET", path+"/42", nil).text("flavor", "extra_specs", "k"))
	w.call("admin", "2.86", "PUT", specs+"/trait:X", m{"trait:X": "maybe"}).want(400)
	w.call("admin", "", "DELETE", specs+"/k", nil).want(200)
	w.call("admin", "", "DELETE", specs+"/k", nil).want(404)
	w.call("a", "", "GET", specs+"/k", nil).want(404)

	w.call("admin", "2.54", "PUT", path+"/"+id, m{"flavor": m{"description": "e"}}).want(404)
	require.Equal(t, "e", w.call("admin", "2.55", "PUT", path+"/"+id, m{"flavor": m{"description": "e"}}).want(200).text("flavor", "description"))
	w.call("admin", "", "DELETE", path+"/"+id, nil).want(202)
	w.call("admin", "", "DELETE", path+"/"+id, nil).want(404)
}

func TestHostsAndAggregates(t *testing.T) {
	each(t, func(w *world) {
		t := w.t
		const path = "/v2.1/os-aggregates"
		w.call("a", "", "GET", path, nil).want(403)
		r := w.call("admin", "2.41", "POST", path, m{"aggregate": m{"name": "agg", "availability_zone": "z1"}}).want(200)
		id := fmt.Sprint(r.at("aggregate", "id"))
		require.Len(t, r.text("aggregate", "uuid"), 36)
		require.Equal(t, "z1", r.text("aggregate", "availability_zone"))
		w.call("admin", "", "POST", path, m{"aggregate": m{"name": "agg"}}).want(409)
		act := func(body m, code int) reply {
			t.Helper()
			return w.call("admin", "", "POST", path+"/"+id+"/action", body).want(code)
		}
		act(m{"add_host": m{"host": "host9"}}, 404)
		require.Equal(t, "host2", act(m{"add_host": m{"host": "host2"}}, 200).text("aggregate", "hosts", 0))
		act(m{"add_host": m{"host": "host2"}}, 409)
		zones := w.call("a", "", "GET", "/v2.1/os-availability-zone", nil).want(200)
		require.Equal(t, "nova", zones.text("availabilityZoneInfo", 0, "zoneName"))
		require.Equal(t, "z1", zones.text("availabilityZoneInfo", 1, "zoneName"))
		require.Nil(t, zones.at("availabilityZoneInfo", 1, "hosts"))
		w.call("a", "", "GET", "/v2.1/os-availability-zone/detail", nil).want(403)
		require.Equal(t, true, w.call("admin", "", "GET", "/v2.1/os-availability-zone/detail", nil).want(200).at("availabilityZoneInfo", 2, "hosts", "host2", "nova-compute", "active"))

		server := w.server("a", m{"availability_zone": "z1"})
		require.Equal(t, "host2", w.call("admin", "", "GET", "/v2.1/servers/"+server, nil).text("server", "OS-EXT-SRV-ATTR:host"))
		require.Equal(t, "z1", w.call("a", "2.96", "GET", "/v2.1/servers/"+server, nil).text("server", "pinned_availability_zone"))
		act(m{"remove_host": m{"host": "host2"}}, 409) // it would move the server to another zone
		r = act(m{"set_metadata": m{"metadata": m{"ssd": "true", "gone": nil}}}, 200)
		require.Equal(t, "true", r.text("aggregate", "metadata", "ssd"))
		aggs, err := aggregatesOf(w)
		require.NoError(t, err)
		require.Equal(t, []string{"agg"}, aggs["host2"])
		require.NotNil(t, w.call("admin", "", "PUT", path+"/"+id, m{"aggregate": m{"name": "agg2"}}).want(200).at("aggregate", "updated_at"))
		w.call("admin", "", "PUT", path+"/"+id, m{"aggregate": m{"availability_zone": "z2"}}).want(409)
		w.call("admin", "", "DELETE", path+"/"+id, nil).want(400)
		w.call("admin", "", "GET", path+"/x", nil).want(400)
		w.call("admin", "", "GET", path+"/77", nil).want(404)

		hyper := w.call("admin", "2.53", "GET", "/v2.1/os-hypervisors/detail?with_servers=true", nil).want(200)
		holds := 0
		for i := range hyper.list("hypervisors") {
			if hyper.text("hypervisors", i, "hypervisor_hostname") == "host2" {
				require.Equal(t, server, hyper.text("hypervisors", i, "servers", 0, "uuid"))
				require.Equal(t, float64(128), hyper.at("hypervisors", i, "memory_mb_used"))
				one := w.call("admin", "2.88", "GET", "/v2.1/os-hypervisors/"+hyper.text("hypervisors", i, "id"), nil).want(200)
				require.Equal(t, "up", one.text("hypervisor", "state"))
				holds++
			}
		}
		require.Equal(t, 1, holds)
		require.Equal(t, float64(2), w.call("admin", "", "GET", "/v2.1/os-hypervisors/statistics", nil).want(200).at("hypervisor_statistics", "count"))
		require.Equal(t, server, w.call("admin", "", "GET", "/v2.1/os-hypervisors/host2/servers", nil).want(200).text("hypervisors", 0, "servers", 0, "uuid"))
		old := fmt.Sprintf("%.0f", w.call("admin", "", "GET", "/v2.1/os-hypervisors", nil).want(200).at("hypervisors", 0, "id"))
		w.call("admin", "", "GET", "/v2.1/os-hypervisors/"+old, nil).want(200)
		w.call("admin", "2.53", "GET", "/v2.1/os-hypervisors/"+nowhere, nil).want(404)

		w.call("admin", "", "PUT", "/v2.1/os-services/disable-log-reason", m{"host": "host1", "binary": "nova-compute", "disabled_reason": "broken"}).want(200)
		r = w.call("admin", "2.53", "GET", "/v2.1/os-services?host=host1", nil).want(200)
		require.Equal(t, "disabled", r.text("services", 0, "status"))
		require.Equal(t, "broken", r.text("services", 0, "disabled_reason"))
		w.call("admin", "2.53", "PUT", "/v2.1/os-services/enable", m{"host": "host1"}).want(404) // gone in 2.53
		service := "/v2.1/os-services/" + r.text("services", 0, "id")
		r = w.call("admin", "2.53", "PUT", service, m{"status": "enabled", "forced_down": true}).want(200)
		require.Equal(t, "down", r.text("service", "state"))
		w.call("admin", "2.53", "PUT", service, m{"forced_down": false}).want(200)
		require.False(t, w.svc.Hosts.Rows()[0].Disabled)
		w.call("admin", "2.53", "DELETE", "/v2.1/os-services/"+nowhere, nil).want(404)

		w.call("a", "", "DELETE", "/v2.1/servers/"+server, nil).want(204)
		w.settle(server)
		act(m{"remove_host": m{"host": "host2"}}, 200)
		require.Equal(t, "nova", w.hosts.Zone("host2"))
		w.call("admin", "", "DELETE", path+"/"+id, nil).want(200)
	})
}

func aggregatesOf(w *world) (map[string][]string, error) {
	out := map[string][]string{}
	err := w.db.Read(w.t.Context(), func(tx *db.Tx) error {
		all, err := compute.Aggregates(w.t.Context(), tx)
		for h, list := range all {
			for _, a := range list {
				out[h] = append(out[h], a.Name)
			}
		}
		return err
	})
	return out, err
}

func TestMetadataTagsAndGroups(t *testing.T) {
	w := lite(t)
	g := w.call("a", "2.63", "POST", "/v2.1/os-server-groups", m{"server_group": m{"name": "g", "policies": []string{"anti-affinity"}}}).want(200)
	require.Equal(t, "anti-affinity", g.text("server_group", "policies", 0))
	group := g.text("server_group", "id")
	w.call("a", "2.14", "POST", "/v2.1/os-server-groups", m{"server_group": m{"name": "g", "policies": []string{"soft-affinity"}}}).want(400)
	g2 := w.call("a", "2.64", "POST", "/v2.1/os-server-groups", m{"server_group": m{"name": "g2", "policy": "anti-affinity", "rules": m{"max_server_per_host": "2"}}}).want(200)
	require.Equal(t, float64(2), g2.at("server_group", "rules", "max_server_per_host"))
	body := m{"server": boot(nil)["server"], "os:scheduler_hints": m{"group": group}}
	id := w.call("a", "", "POST", "/v2.1/servers", body).want(202).text("server", "id")
	w.settle(id)
	require.Equal(t, id, w.call("a", "", "GET", "/v2.1/os-server-groups/"+group, nil).want(200).text("server_group", "members", 0))
	require.Equal(t, group, w.call("a", "2.71", "GET", "/v2.1/servers/"+id, nil).text("server", "server_groups", 0))
	require.Len(t, w.call("a", "", "GET", "/v2.1/os-server-groups?limit=1&offset=1", nil).want(200).list("server_groups"), 1)
	w.call("a", "", "GET", "/v2.1/os-server-groups?all_projects", nil).want(403)
	require.Len(t, w.call("admin", "", "GET", "/v2.1/os-server-groups?all_projects=1", nil).want(200).list("server_groups"), 2)
	w.call("b", "", "DELETE", "/v2.1/os-server-groups/"+group, nil).want(404)
	w.call("a", "", "DELETE", "/v2.1/os-server-groups/"+group, nil).want(204)

	meta := "/v2.1/servers/" + id + "/metadata"
	require.Equal(t, "1", w.call("a", "", "POST", meta, m{"metadata": m{"a": "1"}}).want(200).text("metadata", "a"))
	w.call("a", "", "PUT", meta, m{"metadata": m{"b": "2"}}).want(200)
	w.call("a", "", "GET", meta+"/a", nil).want(404)
	require.Equal(t, "3", w.call("a", "", "PUT", meta+"/c", m{"meta": m{"c": "3"}}).want(200).text("meta", "c"))
	w.call("a", "", "PUT", meta+"/c", m{"meta": m{"d": "3"}}).want(400)
	require.Len(t, w.call("a", "", "GET", meta, nil).want(200).at("metadata"), 2)
	w.call("a", "", "DELETE", meta+"/c", nil).want(204)
	w.call("a", "", "DELETE", meta+"/c", nil).want(404)
	many := m{}
	for i := range 129 {
		many[fmt.Sprint(i)] = "x"
	}
	w.call("a", "", "PUT", meta, m{"metadata": many}).want(403)
	w.call("a", "", "PUT", meta, m{"metadata": m{"k": 1}}).want(400)

	tags := "/v2.1/servers/" + id + "/tags"
	w.call("a", "2.25", "GET", tags, nil).want(404)
	r := w.call("a", "2.26", "PUT", tags+"/x", nil).want(201)
	require.Equal(t, "http://example.com"+tags+"/x", r.Header.Get("Location"))
	w.call("a", "2.26", "GET", tags+"/x", nil).want(204)
	w.call("a", "2.26", "GET", tags+"/y", nil).want(404)
	w.call("a", "2.26", "PUT", tags, m{"tags": []string{"a,b"}}).want(400)
	require.Len(t, w.call("a", "2.26", "PUT", tags, m{"tags": []string{"p", "q", "p"}}).want(200).list("tags"), 2)
	w.call("a", "2.26", "DELETE", tags+"/p", nil).want(204)
	w.call("a", "2.26", "DELETE", tags+"/p", nil).want(404)
	w.call("a", "2.26", "DELETE", tags, nil).want(204)
	require.Empty(t, w.call("a", "2.26", "GET", tags, nil).want(200).list("tags"))

	ips := w.call("a", "", "GET", "/v2.1/servers/"+id+"/ips", nil).want(200)
	require.Equal(t, float64(4), ips.at("addresses", "private", 0, "version"))
	require.NotContains(t, ips.Body, "OS-EXT")
	w.call("a", "", "GET", "/v2.1/servers/"+id+"/ips/private", nil).want(200)
	w.call("a", "", "GET", "/v2.1/servers/"+id+"/ips/none", nil).want(404)
	w.call("a", "", "GET", "/v2.1/servers/"+nowhere+"/metadata", nil).want(404)
}

// makeVolume has the volume room make one for project A.
func makeVolume(w *world, bootable bool) string {
	w.t.Helper()
	creds := tokensOf("a")
	n := volume.CreateParams{Name: "v", SizeGiB: 1}
	if bootable {
		n.ImageID = imageID
	}
	v, err := w.volumes.Create(w.t.Context(), volume.By{Creds: creds, RequestID: "req-v"}, n)
	require.NoError(w.t, err)
	require.Eventually(w.t, func() bool {
		status := ""
		err := w.db.Read(w.t.Context(), func(tx *db.Tx) error {
			x, err := w.volumes.Get(w.t.Context(), tx, v.ID)
			status = fmt.Sprint(x.Status)
			return err
		})
		return err == nil && status == "available"
	}, waitFor, tickFor)
	return v.ID
}

func TestVolumesOfServers(t *testing.T) {
	w := lite(t)
	vol := makeVolume(w, false)
	host := ""
	require.NoError(t, w.db.Read(t.Context(), func(tx *db.Tx) error {
		x, err := w.volumes.Get(t.Context(), tx, vol)
		host = x.Host
		return err
	}))
	id := w.call("admin", "", "POST", "/v2.1/servers", boot(m{"availability_zone": "nova:" + host})).want(202).text("server", "id")
	w.settle(id)
	w.call("admin", "", "DELETE", "/v2.1/servers/"+id, nil).want(204)
	w.settle(id).want(404)
	// A server that names the volume is put where the volume lies.
	id = w.server("a", m{"block_device_mapping_v2": []m{{"source_type": "volume", "destination_type": "volume", "uuid": vol, "boot_index": -1, "delete_on_termination": true}}})
	path := "/v2.1/servers/" + id + "/os-volume_attachments"
	r := w.call("a", "2.89", "GET", path, nil).want(200)
	require.Equal(t, vol, r.text("volumeAttachments", 0, "volumeId"))
	require.Equal(t, "/dev/vdb", r.text("volumeAttachments", 0, "device"))
	require.Nil(t, r.at("volumeAttachments", 0, "id"))
	require.NotEmpty(t, r.text("volumeAttachments", 0, "attachment_id"))
	r = w.call("a", "", "GET", path+"/"+vol, nil).want(200)
	require.Equal(t, vol, r.text("volumeAttachment", "id"))
	require.Nil(t, r.at("volumeAttachment", "delete_on_termination"))
	require.Equal(t, true, w.call("a", "2.3", "GET", "/v2.1/servers/"+id, nil).at("server", "os-extended-volumes:volumes_attached", 0, "delete_on_termination"))
	require.NotContains(t, w.call("a", "2.2", "GET", "/v2.1/servers/"+id, nil).Body, "delete_on_termination")
	w.call("a", "2.85", "PUT", path+"/"+vol, m{"volumeAttachment": m{"volumeId": vol, "delete_on_termination": false}}).want(202)
	require.Equal(t, false, w.call("a", "2.79", "GET", path+"/"+vol, nil).at("volumeAttachment", "delete_on_termination"))
	w.call("a", "2.85", "PUT", path+"/"+vol, m{"volumeAttachment": m{"volumeId": vol, "device": "/dev/vdz"}}).want(400)
	w.call("a", "", "PUT", path+"/"+vol, m{"volumeAttachment": m{"volumeId": nowhere}}).want(403)
	w.call("a", "", "DELETE", path+"/"+vol, nil).want(202)
	w.settle(id)
	require.Empty(t, w.call("a", "", "GET", path, nil).want(200).list("volumeAttachments"))
	w.call("a", "", "DELETE", path+"/"+vol, nil).want(404)
	w.call("b", "", "POST", path, m{"volumeAttachment": m{"volumeId": vol}}).want(404)
	w.call("a", "", "POST", path, m{"volumeAttachment": m{"volumeId": nowhere}}).want(404)
	w.call("a", "2.48", "POST", path, m{"volumeAttachment": m{"volumeId": vol, "tag": "x"}}).want(400)
	r = w.call("a", "", "POST", path, m{"volumeAttachment": m{"volumeId": vol, "device": nil}}).want(200)
	require.Equal(t, "/dev/vdb", r.text("volumeAttachment", "device"))
	require.Nil(t, w.call("a", "", "GET", "/v2.1/servers/"+id, nil).at("server", "OS-EXT-STS:task_state"))
	w.settle(id)
	require.Equal(t, 400, w.call("a", "", "POST", path, m{"volumeAttachment": m{"volumeId": vol}}).Code)

	// Boot from a volume that is made from an image, and from one that is there (the first form, as Folsom's client sends it).
	id = w.server("a", m{"imageRef": "", "block_device_mapping_v2": []m{{"source_type": "image", "destination_type": "volume", "uuid": imageID, "boot_index": "0", "volume_size": 1, "delete_on_termination": true}}})
	require.Equal(t, "", w.call("a", "", "GET", "/v2.1/servers/"+id, nil).text("server", "image"))
	w.call("a", "", "DELETE", "/v2.1/servers/"+id+"/os-volume_attachments/"+w.call("a", "", "GET", "/v2.1/servers/"+id+"/os-volume_attachments", nil).text("volumeAttachments", 0, "volumeId"), nil).want(400)
	old := makeVolume(w, true)
	id = w.call("a", "", "POST", "/v2/"+projectA+"/os-volumes_boot", boot(m{"block_device_mapping": []m{{"device_name": "vda", "volume_id": old, "delete_on_termination": "0"}}})).want(202).text("server", "id")
	require.Equal(t, "ACTIVE", w.settle(id).text("server", "status"))
}

func TestInterfacesAndSecurityGroups(t *testing.T) {
	w := lite(t)
	id := w.server("a", m{"networks": []m{}})
	path := "/v2.1/servers/" + id + "/os-interface"
	r := w.call("a", "2.70", "GET", path, nil).want(200)
	first := r.text("interfaceAttachments", 0, "port_id")
	net := r.text("interfaceAttachments", 0, "net_id")
	require.Contains(t, r.Body, `"tag"`)
	r = w.call("a", "2.69", "POST", path, m{"interfaceAttachment": m{"net_id": net, "tag": "nic"}}).want(200)
	port := r.text("interfaceAttachment", "port_id")
	require.NotEqual(t, first, port)
	require.NotContains(t, r.Body, `"tag"`)
	w.settle(id)
	require.Len(t, w.call("a", "", "GET", path, nil).want(200).list("interfaceAttachments"), 2)
	w.call("a", "", "POST", path, m{"interfaceAttachment": m{"net_id": net, "port_id": port}}).want(400)
	w.call("a", "", "POST", path, m{"interfaceAttachment": m{"net_id": nowhere}}).want(400)
	w.call("a", "", "GET", path+"/"+nowhere, nil).want(404)
	w.call("a", "", "DELETE", path+"/"+nowhere, nil).want(404)
	w.call("a", "", "DELETE", path+"/"+port, nil).want(202)
	w.settle(id)
	require.Len(t, w.call("a", "", "GET", path, nil).want(200).list("interfaceAttachments"), 1)
	w.call("a", "", "POST", path, m{}).want(200)
	w.settle(id)

	_, err := w.networks.CreateSecurityGroups(t.Context(), []network.SecurityGroupPatch{{ProjectID: network.Some(projectA), Name: network.Some("web")}})
	require.NoError(t, err)
	act := func(what, name string, code int) {
		t.Helper()
		w.call("a", "", "POST", "/v2.1/servers/"+id+"/action", m{what: m{"name": name}}).want(code)
	}
	act("addSecurityGroup", "web", 202)
	require.Len(t, w.call("a", "", "GET", "/v2.1/servers/"+id, nil).list("server", "security_groups"), 2)
	require.Len(t, w.call("a", "", "GET", "/v2.1/servers/"+id+"/os-security-groups", nil).want(200).list("security_groups"), 2)
	act("addSecurityGroup", "none", 404)
	act("removeSecurityGroup", "web", 202)
	act("removeSecurityGroup", "web", 404)
	require.NotEmpty(t, w.call("a", "", "GET", "/v2.1/os-security-groups", nil).want(200).list("security_groups"))

	none := w.server("a", m{"networks": nil})
	require.NotEmpty(t, w.call("a", "", "GET", "/v2.1/servers/"+none, nil).at("server", "addresses"))
	bare := w.call("a", "2.37", "POST", "/v2.1/servers", boot(m{"networks": "none"})).want(202).text("server", "id")
	w.settle(bare)
	r = w.call("a", "", "GET", "/v2.1/servers/"+bare, nil)
	require.Empty(t, r.at("server", "addresses"))
	require.NotContains(t, r.Body, "security_groups")
}

// The form of create that today's openstack client sends, and several servers at once.
func TestCreateForms(t *testing.T) {
	w := lite(t)
	r := w.call("a", "2.90", "POST", "/v2.1/servers", boot(m{"networks": "auto", "min_count": 1, "max_count": 1, "hostname": "my-host", "tags": []string{"x"}, "description": "d",
		"security_groups":         []m{{"name": "default"}},
		"block_device_mapping_v2": []m{{"uuid": imageID, "boot_index": 0, "source_type": "image", "destination_type": "local", "delete_on_termination": true}}})).want(202)
	one := w.settle(r.text("server", "id"))
	require.Equal(t, "ACTIVE", one.text("server", "status"))
	require.Equal(t, "my-host", one.text("server", "OS-EXT-SRV-ATTR:hostname"))
	require.Equal(t, "x", one.text("server", "tags", 0))
	require.Equal(t, imageID, one.text("server", "image", "id"))

	r = w.call("a", "", "POST", "/v2.1/servers", boot(m{"min_count": "2", "max_count": 3, "return_reservation_id": "True", "personality": []m{{"path": "/etc/motd", "contents": base64.StdEncoding.EncodeToString([]byte("hi"))}}})).want(202)
	res := r.text("reservation_id")
	require.Regexp(t, `^r-[a-z0-9]{8}$`, res)
	list := w.call("a", "", "GET", "/v2.1/servers/detail?reservation_id="+res+"&sort_key=display_name&sort_dir=asc", nil).want(200)
	require.Len(t, list.list("servers"), 3)
	require.Equal(t, "vm-1", list.text("servers", 0, "name"))
	for i := range 3 {
		w.settle(list.text("servers", i, "id"))
	}
	r = w.call("a", "", "POST", "/v2.1/servers", boot(m{"min_count": 2, "max_count": 20})).want(202) // as many as fit: 6 of 10 are left
	require.Len(t, w.call("a", "", "GET", "/v2.1/servers", nil).list("servers"), 10)
	require.True(t, strings.HasPrefix(w.settle(r.text("server", "id")).text("server", "name"), "vm-"))
	w.client.mu.Lock()
	defer w.client.mu.Unlock()
	files := 0
	for _, c := range w.client.seen {
		if c.Op == hostapi.OpBuild && len(c.Spec.Metadata.Personality) == 1 {
			files++
		}
	}
	require.Equal(t, 3, files)
}

// Floating addresses through the calls of old clients.
func TestFloatingIPs(t *testing.T) {
	w := lite(t)
	require.Equal(t, "public", w.call("a", "", "GET", "/v2.1/os-floating-ip-pools", nil).want(200).text("floating_ip_pools", 0, "name"))
	w.call("a", "", "POST", "/v2.1/os-floating-ips", m{"pool": "none"}).want(404)
	r := w.call("a", "", "POST", "/v2.1/os-floating-ips", m{"pool": "public"}).want(200)
	ip, fip := r.text("floating_ip", "ip"), r.text("floating_ip", "id")
	require.True(t, strings.HasPrefix(ip, "198.51.100."), ip)
	id := w.server("a", nil)
	w.call("a", "", "POST", "/v2.1/servers/"+id+"/action", m{"addFloatingIp": m{"address": ip}}).want(202)
	s := w.call("a", "", "GET", "/v2.1/servers/"+id, nil)
	require.Equal(t, "floating", s.text("server", "addresses", "private", 1, "OS-EXT-IPS:type"))
	require.Equal(t, ip, s.text("server", "addresses", "private", 1, "addr"))
	require.Equal(t, id, w.call("a", "", "GET", "/v2.1/os-floating-ips/"+fip, nil).want(200).text("floating_ip", "instance_id"))
	w.call("a", "2.44", "POST", "/v2.1/servers/"+id+"/action", m{"removeFloatingIp": m{"address": ip}}).want(400)
	w.call("a", "", "POST", "/v2.1/servers/"+id+"/action", m{"removeFloatingIp": m{"address": ip}}).want(202)
	w.call("b", "", "DELETE", "/v2.1/os-floating-ips/"+fip, nil).want(404)
	w.call("a", "", "DELETE", "/v2.1/os-floating-ips/"+fip, nil).want(202)
}
