package api_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/volume"
)

// The bodies that each microversion takes, on both sides of each change (compute.md, evacuate and migrate_server).
func TestBodiesOfMovesByVersion(t *testing.T) {
	w := lite(t)
	for _, c := range []struct {
		minor int
		body  string
		ok    bool
	}{
		{24, `{"os-migrateLive":{"host":null,"block_migration":true,"disk_over_commit":false}}`, true},
		{24, `{"os-migrateLive":{"host":null,"block_migration":"auto","disk_over_commit":false}}`, false},
		{24, `{"os-migrateLive":{"host":null,"block_migration":true}}`, false},
		{25, `{"os-migrateLive":{"host":null,"block_migration":"auto"}}`, true},
		{25, `{"os-migrateLive":{"host":null,"block_migration":"auto","disk_over_commit":false}}`, false},
		{29, `{"os-migrateLive":{"host":"a","block_migration":"auto","force":true}}`, false},
		{30, `{"os-migrateLive":{"host":"a","block_migration":"auto","force":true}}`, true},
		{67, `{"os-migrateLive":{"host":"a","block_migration":"auto","force":true}}`, true},
		{68, `{"os-migrateLive":{"host":"a","block_migration":"auto","force":true}}`, false},
		{13, `{"evacuate":{"host":"a","onSharedStorage":false}}`, true},
		{13, `{"evacuate":{"host":"a"}}`, false},
		{14, `{"evacuate":{"host":"a","onSharedStorage":false}}`, false},
		{14, `{"evacuate":{}}`, true},
		{28, `{"evacuate":{"host":"a","force":true}}`, false},
		{29, `{"evacuate":{"host":"a","force":true}}`, true},
		{68, `{"evacuate":{"host":"a","force":true}}`, false},
		{55, `{"migrate":{"host":"anything","x":1}}`, true},
		{56, `{"migrate":{"host":"a"}}`, true},
		{56, `{"migrate":null}`, true},
		{56, `{"migrate":{"x":1}}`, false},
		{1, `{"resize":{"flavorRef":"1","OS-DCF:diskConfig":"AUTO"}}`, true},
		{1, `{"resize":{"flavorRef":null}}`, false},
		{1, `{"resize":{}}`, false},
	} {
		want := 404 // the body is right, and there is no such server
		if !c.ok {
			want = 400
		}
		r := w.call("admin", fmt.Sprintf("2.%d", c.minor), "POST", "/v2.1/servers/90000000-0000-4000-8000-000000000009/action", c.body)
		require.Equal(t, want, r.Code, "2.%d %s: %s", c.minor, c.body, r.Body)
	}
}

// What the lists show on both sides of each change, and paging from 2.59 on.
func TestMigrationsByVersion(t *testing.T) {
	w := lite(t)
	id := w.server("a", nil)
	act := func(version, body string, code int) reply {
		return w.call("admin", version, "POST", "/v2.1/servers/"+id+"/action", body).want(code)
	}
	require.Contains(t, w.call("a", "2.1", "POST", "/v2.1/servers/"+id+"/action", `{"migrate":null}`).want(403).Body, "os-migrate-server:migrate")
	act("2.1", `{"migrate":null}`, 202)
	require.Equal(t, "VERIFY_RESIZE", w.settle(id).text("server", "status"))
	require.Equal(t, fmt.Sprintf("Cannot 'migrate' instance %s while it is in vm_state resized", id), act("2.1", `{"migrate":null}`, 409).text("conflictingRequest", "message"))
	act("2.1", `{"confirmResize":null}`, 204)
	require.Equal(t, "ACTIVE", w.settle(id).text("server", "status"))
	act("2.1", `{"resize":{"flavorRef":"84"}}`, 202)
	require.Equal(t, "VERIFY_RESIZE", w.settle(id).text("server", "status"))
	act("2.1", `{"revertResize":null}`, 202)
	require.Equal(t, "ACTIVE", w.settle(id).text("server", "status"))

	first := func(version string) m {
		return w.call("admin", version, "GET", "/v2.1/os-migrations?instance_uuid="+id, nil).want(200).at("migrations", 0).(m)
	}
	for _, c := range []struct {
		key           string
		before, since string
	}{{"migration_type", "2.22", "2.23"}, {"uuid", "2.58", "2.59"}, {"user_id", "2.79", "2.80"}, {"project_id", "2.79", "2.80"}} {
		require.NotContains(t, first(c.before), c.key, c.before)
		require.Contains(t, first(c.since), c.key, c.since)
	}
	newest := first("2.80")
	require.Equal(t, "resize", newest["migration_type"])
	require.Equal(t, "reverted", newest["status"])
	require.EqualValues(t, 42, newest["old_instance_type_id"])
	page := w.call("admin", "2.59", "GET", "/v2.1/os-migrations?limit=1", nil).want(200)
	require.Len(t, page.list("migrations"), 1)
	next := page.text("migrations_links", 0, "href")
	require.Contains(t, next, "marker=")
	second := w.call("admin", "2.59", "GET", "/v2.1/os-migrations?limit=1&marker="+page.text("migrations", 0, "uuid"), nil).want(200)
	require.Equal(t, "confirmed", second.text("migrations", 0, "status"))
	w.call("admin", "2.59", "GET", "/v2.1/os-migrations?marker=nothing", nil).want(400)
	w.call("admin", "2.59", "GET", "/v2.1/os-migrations?nonsense=1", nil).want(400)
	w.call("admin", "2.65", "GET", "/v2.1/os-migrations?changes-before=2030-01-01T00:00:00Z", nil).want(400)
	w.call("admin", "2.66", "GET", "/v2.1/os-migrations?changes-before=2030-01-01T00:00:00Z", nil).want(200)

	for action, events := range map[string][]string{"migrate": {"compute_finish_resize", "compute_resize_instance", "compute_prep_resize"}, "revertResize": {"compute_finish_revert_resize", "compute_revert_resize"}} {
		found := false
		for _, a := range w.call("admin", "2.84", "GET", "/v2.1/servers/"+id+"/os-instance-actions", nil).want(200).list("instanceActions") {
			if a.(m)["action"] != action {
				continue
			}
			found = true
			shown := w.call("admin", "2.84", "GET", "/v2.1/servers/"+id+"/os-instance-actions/"+a.(m)["request_id"].(string), nil).want(200)
			for i, e := range events {
				require.Equal(t, e, shown.text("instanceAction", "events", i, "event"))
				require.Equal(t, "Success", shown.text("instanceAction", "events", i, "result"))
			}
		}
		require.True(t, found, action)
	}
}

// A live migration while it is being sent: its record, what may be done with it, and what not.
func TestServerMigrations(t *testing.T) {
	w := lite(t)
	id := w.server("a", nil)
	hold := make(chan struct{})
	w.client.hold[hostapi.OpLiveSend] = hold
	w.call("admin", "2.25", "POST", "/v2.1/servers/"+id+"/action", `{"os-migrateLive":{"host":null,"block_migration":"auto"}}`).want(202)
	base := "/v2.1/servers/" + id + "/migrations"
	require.Eventually(t, func() bool {
		r := w.call("admin", "2.80", "GET", base, nil).want(200)
		return len(r.list("migrations")) == 1 && r.text("migrations", 0, "status") == "running"
	}, waitFor, tickFor)
	require.Equal(t, "MIGRATING", w.call("admin", "2.80", "GET", "/v2.1/servers/"+id, nil).text("server", "status"))
	w.call("admin", "2.22", "GET", base, nil).want(404)
	for _, key := range []string{"uuid", "user_id"} {
		require.NotContains(t, w.call("admin", "2.23", "GET", base, nil).at("migrations", 0), key)
		require.Contains(t, w.call("admin", "2.80", "GET", base, nil).at("migrations", 0), key)
	}
	number := fmt.Sprint(w.call("admin", "2.23", "GET", base, nil).at("migrations", 0, "id"))
	require.Equal(t, id, w.call("admin", "2.23", "GET", base+"/"+number, nil).want(200).text("migration", "server_uuid"))
	w.call("admin", "2.23", "GET", base+"/77", nil).want(404)
	w.call("admin", "2.23", "DELETE", base+"/"+number, nil).want(404) // 2.24
	w.call("admin", "2.21", "POST", base+"/"+number+"/action", `{"force_complete":null}`).want(404)
	w.call("admin", "2.22", "POST", base+"/"+number+"/action", `{"force_complete":null}`).want(202)
	w.call("admin", "2.24", "DELETE", base+"/"+number, nil).want(202)
	close(hold)
	require.Equal(t, "ACTIVE", w.settle(id).text("server", "status"))
	w.call("admin", "2.24", "DELETE", base+"/"+number, nil).want(409)
	require.Empty(t, w.call("admin", "2.80", "GET", base, nil).list("migrations"))
	require.Equal(t, "completed", w.call("admin", "2.80", "GET", "/v2.1/os-migrations", nil).text("migrations", 0, "status"))
}

// A server that is on its way to another host has its disks where it comes from: it cannot be evacuated, and a reset of its state leaves it there.
func TestOnItsWay(t *testing.T) {
	each(t, func(w *world) {
		id := w.server("a", nil)
		from := w.settle(id).text("server", "OS-EXT-SRV-ATTR:host")
		hold := make(chan struct{})
		defer close(hold)
		w.client.mu.Lock()
		w.client.hold[hostapi.OpMoveIn] = hold
		w.client.mu.Unlock()
		act := func(body string, code int) reply {
			return w.call("admin", "", "POST", "/v2.1/servers/"+id+"/action", body).want(code)
		}
		act(`{"migrate":null}`, 202)
		show := func() reply { return w.call("admin", "", "GET", "/v2.1/servers/"+id, nil).want(200) }
		require.Eventually(w.t, func() bool { return show().text("server", "OS-EXT-STS:task_state") == "resize_finish" }, waitFor, tickFor)
		to := show().text("server", "OS-EXT-SRV-ATTR:host")
		require.NotEqual(w.t, from, to)
		w.call("admin", "2.53", "PUT", "/v2.1/os-services/"+w.service(to), `{"forced_down":true}`).want(200)
		require.Contains(w.t, act(`{"evacuate":{"onSharedStorage":false}}`, 409).Body, "task_state resize_finish")
		act(`{"os-resetState":{"state":"error"}}`, 202)
		r := show()
		require.Equal(w.t, []string{"ERROR", from}, []string{r.text("server", "status"), r.text("server", "OS-EXT-SRV-ATTR:host")})
		require.Equal(w.t, "error", w.call("admin", "", "GET", "/v2.1/os-migrations", nil).text("migrations", 0, "status"))
		var bound string
		require.NoError(w.t, w.db.Read(w.t.Context(), func(tx *db.Tx) error {
			return tx.Get(w.t.Context(), &bound, `SELECT host FROM ports WHERE device_id = ?`, id)
		}))
		require.Equal(w.t, from, bound)
		w.client.mu.Lock()
		delete(w.client.hold, hostapi.OpMoveIn)
		w.client.mu.Unlock()
		act(`{"reboot":{"type":"HARD"}}`, 202)
		require.Equal(w.t, "ACTIVE", w.settle(id).text("server", "status"))
	})
}

// service is the id of a host's compute service.
func (w *world) service(host string) string {
	return w.call("admin", "2.53", "GET", "/v2.1/os-services?host="+host, nil).want(200).text("services", 0, "id")
}

// While a volume is being attached the guest may have it at any moment: its server is not evacuated, and a reset of the state leaves the volume with the server.
func TestPluggingIsNotForgotten(t *testing.T) {
	each(t, func(w *world) {
		vol, id, host := makeVolume(w, false), "", ""
		for range 4 { // a volume is a file of one host
			id = w.server("a", nil)
			if host = w.settle(id).text("server", "OS-EXT-SRV-ATTR:host"); host == "host1" {
				break
			}
		}
		hold := make(chan struct{})
		defer close(hold)
		w.client.mu.Lock()
		w.client.hold[hostapi.OpAttachVolume] = hold
		w.client.mu.Unlock()
		w.call("a", "", "POST", "/v2.1/servers/"+id+"/os-volume_attachments", m{"volumeAttachment": m{"volumeId": vol}}).want(200)
		w.call("admin", "2.53", "PUT", "/v2.1/os-services/"+w.service(host), `{"forced_down":true}`).want(200)
		act := func(body string, code int) reply {
			return w.call("admin", "", "POST", "/v2.1/servers/"+id+"/action", body).want(code)
		}
		require.Contains(w.t, act(`{"evacuate":{"onSharedStorage":false}}`, 409).Body, "while server.attach_volume is under way")
		act(`{"os-resetState":{"state":"active"}}`, 202)
		require.Equal(w.t, vol, w.call("a", "", "GET", "/v2.1/servers/"+id+"/os-volume_attachments", nil).text("volumeAttachments", 0, "volumeId"))
		require.NoError(w.t, w.db.Read(w.t.Context(), func(tx *db.Tx) error {
			v, err := w.volumes.Get(w.t.Context(), tx, vol)
			require.Equal(w.t, volume.InUse, v.Status)
			return err
		}))
		w.call("admin", "2.53", "PUT", "/v2.1/os-services/"+w.service(host), `{"forced_down":false}`).want(200)
		w.call("a", "", "DELETE", "/v2.1/servers/"+id+"/os-volume_attachments/"+vol, nil).want(202)
		require.Eventually(w.t, func() bool {
			return len(w.call("a", "", "GET", "/v2.1/servers/"+id+"/os-volume_attachments", nil).list("volumeAttachments")) == 0
		}, waitFor, tickFor)
	})
}
