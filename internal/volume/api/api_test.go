package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/quotasets"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/snapshots"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumetypes"
	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/image"
	"nephos/internal/policy"
	"nephos/internal/quota"
	"nephos/internal/volume"
	"nephos/internal/volume/api"
	"nephos/internal/workflow"
)

const (
	aliceProject = "aaaaaaaa000040008000000000000001"
	bobProject   = "bbbbbbbb000040008000000000000002"
)

type tokens map[string]*policy.Credentials

func (t tokens) Authenticate(_ context.Context, token string) (*policy.Credentials, error) {
	if c := t[token]; c != nil {
		return c, nil
	}
	return nil, fault.Unauthorized("The request you have made requires authentication.")
}

var people = tokens{
	"admin":  {UserID: "u0", ProjectID: "cccccccc000040008000000000000003", Roles: []string{"admin", "member", "reader"}},
	"alice":  {UserID: "u1", ProjectID: aliceProject, Roles: []string{"member", "reader"}},
	"reader": {UserID: "u3", ProjectID: aliceProject, Roles: []string{"reader"}},
	"bob":    {UserID: "u2", ProjectID: bobProject, Roles: []string{"member", "reader"}},
}

// host answers every command at once.
type host struct{}

func (host) Do(_ context.Context, name string, c hostapi.Command) (hostapi.Result, error) {
	return hostapi.Result{CommandID: c.ID, Host: name, Volume: &hostapi.VolumeSpec{Path: "/v/" + c.Subject, Format: "raw"}}, nil
}

func (host) StorageHosts() []volume.StorageHost {
	return []volume.StorageHost{{Name: "h1", Up: true, Enabled: true, FreeDiskGiB: 50, DiskGiB: 100, LastSignal: "2026-01-02T03:04:05Z"}}
}

type images struct{}

func (images) Get(_ context.Context, _ *policy.Credentials, id string) (image.Image, error) {
	if id != "11111111-0000-4000-8000-000000000001" {
		return image.Image{}, fault.NotFound("no image")
	}
	return image.Image{ID: id, Name: "demo", Status: image.Active, VirtualBytes: 1 << 30}, nil
}

func (images) Spec(_ context.Context, id string) (hostapi.ImageSpec, error) {
	return hostapi.ImageSpec{ID: id, DiskFormat: "qcow2"}, nil
}

type cloud struct {
	t   *testing.T
	url string
	svc *volume.Service
	d   *db.DB
}

func start(t *testing.T) *cloud {
	t.Helper()
	d := dbtest.SQLite(t, workflow.Migrations(), quota.Migrations(), volume.Migrations())
	log := slog.New(slog.DiscardHandler)
	e := workflow.New(workflow.Options{DB: d, Clock: clockwork.NewRealClock(), Log: log})
	svc := volume.New(volume.Deps{DB: d, Log: log, Engine: e, Client: host{}, Hosts: host{}, Images: images{}, Quotas: quota.New()})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); e.Run(ctx) }() //nolint:errcheck // the tests look at the rows
	t.Cleanup(func() { cancel(); <-ended })
	enforcer, err := policy.New(policy.Base, api.Rules)
	require.NoError(t, err)
	h, err := api.New(svc, api.Deps{Auth: people, AuthURI: "http://id", Policy: enforcer, DB: d, Quotas: quota.New(), Node: "c1", Log: log}).Compile()
	require.NoError(t, err)
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return &cloud{t: t, url: s.URL, svc: svc, d: d}
}

// call sends a request and returns status and body; who may carry a microversion: "alice@3.53".
func (c *cloud) call(who, method, path, body string) (int, map[string]any) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	require.NoError(c.t, err)
	token, version, _ := strings.Cut(who, "@")
	req.Header.Set("X-Auth-Token", token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if version != "" {
		req.Header.Set("OpenStack-API-Version", "volume "+version)
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	var out map[string]any
	if len(b) > 0 {
		require.NoError(c.t, json.Unmarshal(b, &out), string(b))
	}
	return res.StatusCode, out
}

// at walks a body: "volume.status", "volumes.0.id".
func at(body any, path string) any {
	for p := range strings.SplitSeq(path, "|") {
		switch b := body.(type) {
		case map[string]any:
			body = b[p]
		case []any:
			var i int
			fmt.Sscan(p, &i)
			if i >= len(b) {
				return nil
			}
			body = b[i]
		}
	}
	return body
}

func (c *cloud) volume(who, body string) string {
	c.t.Helper()
	code, out := c.call(who, "POST", "/v3/volumes", body)
	require.Equal(c.t, 202, code, out)
	id, _ := at(out, "volume|id").(string)
	c.await(id, "available")
	return id
}

func (c *cloud) await(id, want string) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		code, out := c.call("admin", "GET", "/v3/volumes/"+id, "")
		if got := at(out, "volume|status"); got == want || code == 404 && want == "gone" {
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("volume %s does not become %s: %v", id, want, out)
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	c := start(t)
	for path, want := range map[string]int{"/": 300, "/v3": 200, "/v3/": 200} {
		code, out := c.call("", "GET", path, "")
		if code != want || at(out, "versions|0|version") != "3.71" || at(out, "versions|0|id") != "v3.0" {
			t.Errorf("%s: %d %v", path, code, out)
		}
	}
	for who, want := range map[string]int{"alice": 200, "alice@latest": 200, "alice@3.71": 200, "alice@3.72": 406, "alice@2.0": 406, "alice@x": 400, "": 401, "nobody": 401} {
		if code, out := c.call(who, "GET", "/v3/volumes", ""); code != want {
			t.Errorf("%s: %d %v", who, code, out)
		}
	}
}

func TestVolumeShape(t *testing.T) {
	t.Parallel()
	c := start(t)
	code, out := c.call("alice", "POST", "/v3/"+aliceProject+"/volumes", `{"volume":{"size":"2","name":"a","metadata":{"k":"v"},"user_id":null,"status":"creating"}}`)
	require.Equal(t, 202, code, out)
	vol, _ := out["volume"].(map[string]any)
	for _, k := range []string{"group_id", "provider_id", "shared_targets", "volume_type_id", "consumes_quota", "os-vol-tenant-attr:tenant_id"} {
		require.NotContains(t, vol, k)
	}
	require.Equal(t, "false", vol["bootable"])
	require.Equal(t, "nephos-file", vol["volume_type"])
	require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$`, vol["created_at"])
	require.Contains(t, at(vol, "links|0|href"), "/v3/"+aliceProject+"/volumes/")
	id, _ := vol["id"].(string)
	c.await(id, "available")
	_, out = c.call("alice@3.71", "GET", "/v3/volumes/"+id, "")
	require.Equal(t, true, at(out, "volume|consumes_quota"))
	require.Equal(t, aliceProject, at(out, "volume|os-vol-tenant-attr:tenant_id"))
	require.NotContains(t, out["volume"], "os-vol-host-attr:host")
	_, out = c.call("admin", "GET", "/v3/volumes/detail?all_tenants=1", "")
	require.Equal(t, "h1@nephos-file#nephos-file", at(out, "volumes|0|os-vol-host-attr:host"))
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	c := start(t)
	a := c.volume("alice", `{"volume":{"size":2,"name":"a","metadata":{"k":"v"}}}`)
	b := c.volume("alice", `{"volume":{"size":3,"name":"b","imageRef":"http://x/v1/images/11111111-0000-4000-8000-000000000001"}}`)
	server := "22222222-0000-4000-8000-000000000002"
	for i, x := range []struct {
		who, method, path, body string
		code                    int
		at                      string
		want                    any
	}{
		{"alice", "POST", "/v3/volumes", `{"volume":{}}`, 400, "badRequest|code", 400.0},
		{"alice", "POST", "/v3/volumes", `{"volume":{"size":0}}`, 400, "", nil},
		{"alice", "POST", "/v3/volumes", `{"volume":{"size":"x"}}`, 400, "", nil},
		{"alice", "POST", "/v3/volumes", `{"volume":{"size":99999999}}`, 400, "", nil},
		{"alice", "POST", "/v3/volumes", `{"volume":{"size":1001}}`, 413, "overLimit|code", 413.0},
		{"alice", "POST", "/v3/volumes", `{"volume":{"size":1,"volume_type":"x"}}`, 404, "", nil},
		{"alice", "POST", "/v3/volumes", `{"volume":{"size":1,"availability_zone":"x"}}`, 400, "badRequest|message", "Availability zone 'x' is invalid."},
		{"alice", "POST", "/v3/volumes", `{"volume":{"size":1,"imageRef":"x"}}`, 400, "", nil},
		{"alice", "POST", "/v3/volumes", `{"volume":{"size":1,"snapshot_id":"x"}}`, 400, "", nil},
		{"alice", "POST", "/v3/volumes", `{"volume":{"size":1,"snapshot_id":"` + server + `"}}`, 404, "", nil},
		{"alice", "POST", "/v3/volumes", `{"volume":{"size":1,"multiattach":true}}`, 400, "", nil},
		{"alice@3.53", "POST", "/v3/volumes", `{"volume":{"size":1,"what":1}}`, 400, "", nil},
		{"alice", "POST", "/v3/volumes", `{"volume":`, 400, "", nil},
		{"reader", "POST", "/v3/volumes", `{"volume":{"size":1}}`, 403, "forbidden|code", 403.0},
		{"bob", "GET", "/v3/volumes/" + a, "", 404, "itemNotFound|code", 404.0},
		{"bob", "GET", "/v3/" + aliceProject + "/volumes", "", 400, "badRequest|message", "Malformed request url"},
		{"alice", "GET", "/v3/volumes/detail?limit=1", "", 200, "volumes|0|id", b},
		{"alice", "GET", "/v3/volumes?limit=1&marker=" + b, "", 200, "volumes|0|id", a},
		{"alice", "GET", "/v3/volumes?marker=x", "", 404, "", nil},
		{"alice", "GET", "/v3/volumes?limit=-1", "", 400, "", nil},
		{"alice", "GET", "/v3/volumes?sort=name:asc", "", 200, "volumes|0|id", a},
		{"alice", "GET", "/v3/volumes?name=b", "", 200, "volumes|0|id", b},
		{"alice", "GET", "/v3/volumes?metadata=%7B'k'%3A+'v'%7D", "", 200, "volumes|0|id", a},
		{"alice", "GET", "/v3/volumes?bootable=true", "", 200, "volumes|0|id", b},
		{"alice@3.45", "GET", "/v3/volumes?with_count=true&limit=1", "", 200, "count", 2.0},
		{"alice@3.36", "GET", "/v3/volumes/summary", "", 200, "volume-summary|total_size", 5.0},
		{"alice", "GET", "/v3/volumes/summary", "", 404, "", nil},
		{"alice", "GET", "/v3/volumes/" + b, "", 200, "volume|volume_image_metadata|image_name", "demo"},
		{"alice", "GET", "/v3/volumes/" + b + "/encryption", "", 200, "encryption_key_id", nil},
		{"alice", "PUT", "/v3/volumes/" + a, `{"volume":{"name":"renamed","description":"d"}}`, 200, "volume|name", "renamed"},
		{"alice", "POST", "/v3/volumes/" + a + "/metadata", `{"metadata":{"x":"y"}}`, 200, "metadata|k", "v"},
		{"alice", "PUT", "/v3/volumes/" + a + "/metadata", `{"metadata":{"z":"1"}}`, 200, "metadata|k", nil},
		{"alice", "GET", "/v3/volumes/" + a + "/metadata/z", "", 200, "meta|z", "1"},
		{"alice", "PUT", "/v3/volumes/" + a + "/metadata/q", `{"meta":{"z":"1"}}`, 400, "", nil},
		{"alice", "DELETE", "/v3/volumes/" + a + "/metadata/z", "", 200, "", nil},
		{"alice", "DELETE", "/v3/volumes/" + a + "/metadata/z", "", 404, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-nothing":{}}`, 400, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-extend":{"new_size":2}}`, 400, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-set_bootable":{"bootable":"true"}}`, 200, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-update_readonly_flag":{"readonly":true}}`, 202, "", nil},
		{"alice", "GET", "/v3/volumes/" + a, "", 200, "volume|metadata|readonly", "True"},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-update_readonly_flag":{"readonly":false}}`, 202, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-set_image_metadata":{"metadata":{"m":"n"}}}`, 200, "metadata|m", "n"},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-unset_image_metadata":{"key":"m"}}`, 200, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-volume_upload_image":{"image_name":"x"}}`, 501, "notImplemented|code", 501.0},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-reset_status":{"status":"error"}}`, 403, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-reserve":{}}`, 202, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-reserve":null}`, 400, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-attach":{"instance_uuid":"` + server + `","mountpoint":"/dev/vdb"}}`, 202, "", nil},
		{"alice", "GET", "/v3/volumes/" + a, "", 200, "volume|attachments|0|device", "/dev/vdb"},
		{"alice", "DELETE", "/v3/volumes/" + a, "", 400, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-begin_detaching":{}}`, 202, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-roll_detaching":{}}`, 202, "", nil},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-detach":{}}`, 202, "", nil},
		{"alice", "GET", "/v3/volumes/" + a, "", 200, "volume|status", "available"},
		{"alice", "GET", "/v3/attachments", "", 404, "", nil},
		{"alice@3.27", "GET", "/v3/attachments", "", 200, "attachments|0", nil},
		{"alice", "GET", "/v3/types", "", 200, "volume_types|0|name", "nephos-file"},
		{"alice", "GET", "/v3/types/default", "", 200, "volume_type|name", "nephos-file"},
		{"alice", "GET", "/v3/types/__DEFAULT__", "", 200, "volume_type|is_public", true},
		{"alice", "POST", "/v3/types", `{"volume_type":{"name":"x"}}`, 403, "", nil},
		{"admin", "POST", "/v3/types", `{"volume_type":{"name":"x","extra_specs":{"a":"b"}}}`, 200, "volume_type|extra_specs|a", "b"},
		{"admin", "POST", "/v3/types", `{"volume_type":{"name":"x"}}`, 409, "conflictingRequest|code", 409.0},
		{"alice", "POST", "/v3/volumes/" + a + "/action", `{"os-retype":{"new_type":"x","migration_policy":"never"}}`, 202, "", nil},
		{"admin", "DELETE", "/v3/types/x", "", 400, "", nil},
		{"admin", "GET", "/v3/types/x/extra_specs/a", "", 200, "a", "b"},
		{"admin", "POST", "/v3/types/x/extra_specs", `{"extra_specs":null}`, 400, "", nil},
		{"admin", "POST", "/v3/types/x/extra_specs", `{"extra_specs":{"d":"e"}}`, 200, "extra_specs|d", "e"},
		{"admin", "PUT", "/v3/types/x/extra_specs/a", `{"a":"c"}`, 200, "a", "c"},
		{"admin", "DELETE", "/v3/types/x/extra_specs/a", "", 202, "", nil},
		{"admin", "GET", "/v3/types/x/os-volume-type-access", "", 404, "", nil},
		{"alice", "GET", "/v3/limits", "", 200, "limits|absolute|totalGigabytesUsed", 5.0},
		{"alice", "GET", "/v3/os-quota-sets/" + aliceProject + "?usage=True", "", 200, "quota_set|volumes|in_use", 2.0},
		{"alice", "GET", "/v3/os-quota-sets/" + bobProject, "", 403, "", nil},
		{"alice", "PUT", "/v3/os-quota-sets/" + aliceProject, `{"quota_set":{"volumes":99}}`, 403, "", nil},
		{"admin", "PUT", "/v3/os-quota-sets/" + aliceProject, `{"quota_set":{"volumes":"3"}}`, 200, "quota_set|volumes", 3.0},
		{"admin", "PUT", "/v3/os-quota-sets/" + aliceProject, `{"quota_set":{"volumes":"x"}}`, 400, "", nil},
		{"admin", "DELETE", "/v3/os-quota-sets/" + aliceProject, "", 200, "", nil},
		{"admin", "GET", "/v3/os-quota-sets/" + aliceProject + "/defaults", "", 200, "quota_set|volumes", 10.0},
		{"admin", "GET", "/v3/os-quota-class-sets/default", "", 200, "quota_class_set|gigabytes", 1000.0},
		{"alice", "GET", "/v3/os-availability-zone", "", 200, "availabilityZoneInfo|0|zoneName", "nova"},
		{"alice", "GET", "/v3/os-services", "", 403, "", nil},
		{"admin", "GET", "/v3/os-services?binary=cinder-volume", "", 200, "services|0|host", "h1@nephos-file"},
		{"admin", "GET", "/v3/scheduler-stats/get_pools?detail=True", "", 200, "pools|0|capabilities|free_capacity_gb", 50.0},
		{"alice", "GET", "/v3/extensions", "", 200, "extensions|0|alias", "os-vol-tenant-attr"},
		{"alice@3.3", "GET", "/v3/messages", "", 200, "messages|0", nil},
		{"alice", "GET", "/v3/backups/detail", "", 200, "backups|0", nil},
		{"alice", "POST", "/v3/backups", `{"backup":{"volume_id":"x"}}`, 501, "", nil},
		{"alice", "POST", "/v3/snapshots", `{"snapshot":{"volume_id":null}}`, 404, "itemNotFound|message", "Volume None could not be found."},
		{"alice", "POST", "/v3/snapshots", `{"snapshot":{"volume_id":"x"}}`, 400, "", nil},
		{"alice", "GET", "/v3/volumes/", "", 404, "", nil},
		{"alice", "DELETE", "/v3/volumes/", "", 404, "", nil},
		{"alice", "GET", "/v3/nothing", "", 404, "", nil},
		{"alice", "PATCH", "/v3/volumes", "", 404, "", nil},
	} {
		code, out := c.call(x.who, x.method, x.path, x.body)
		if code != x.code || x.at != "" && at(out, x.at) != x.want {
			t.Errorf("%d: %s %s %s %s: %d %v, want %d %s=%v", i, x.who, x.method, x.path, x.body, code, out, x.code, x.at, x.want)
		}
	}
}

func TestAttachments(t *testing.T) {
	t.Parallel()
	c := start(t)
	a := c.volume("alice", `{"volume":{"size":1}}`)
	code, out := c.call("alice@3.54", "POST", "/v3/attachments", `{"attachment":{"volume_uuid":"`+a+`","instance_uuid":"22222222-0000-4000-8000-000000000002","mode":"rw"}}`)
	require.Equal(t, 200, code, out)
	require.Equal(t, "reserved", at(out, "attachment|status"))
	id, _ := at(out, "attachment|id").(string)
	c.await(a, "reserved")
	code, _ = c.call("alice@3.54", "POST", "/v3/attachments", `{"attachment":{"volume_uuid":"`+a+`"}}`)
	require.Equal(t, 400, code)
	code, _ = c.call("bob@3.54", "GET", "/v3/attachments/"+id, "")
	require.Equal(t, 404, code)
	code, out = c.call("alice@3.54", "PUT", "/v3/attachments/"+id, `{"attachment":{"connector":{"host":"x","ip":"10.0.0.1","multipath":false,"mountpoint":"/dev/vdb"}}}`)
	require.Equal(t, 200, code, out)
	require.Equal(t, "attaching", at(out, "attachment|status"))
	require.Equal(t, "nephos-file", at(out, "attachment|connection_info|driver_volume_type"))
	code, _ = c.call("alice@3.54", "POST", "/v3/attachments/"+id+"/action", `{"os-complete":{}}`)
	require.Equal(t, 204, code)
	c.await(a, "in-use")
	code, out = c.call("alice@3.54", "GET", "/v3/attachments/detail?volume_id="+a, "")
	require.Equal(t, 200, code)
	require.Equal(t, id, at(out, "attachments|0|id"))
	code, out = c.call("alice@3.54", "DELETE", "/v3/attachments/"+id, "")
	require.Equal(t, 200, code, out)
	c.await(a, "available")

	// What compute attached, only compute detaches.
	require.NoError(t, c.d.Write(t.Context(), func(tx *db.Tx) error {
		att, err := c.svc.Reserve(t.Context(), tx, volume.Reservation{VolumeID: a, ServerID: "s", ProjectID: aliceProject})
		if err != nil {
			return err
		}
		id = att
		return c.svc.Attached(t.Context(), tx, a, att, "h1", "/dev/vdb")
	}))
	for _, x := range [][3]string{{"DELETE", "/v3/attachments/" + id, ""}, {"POST", "/v3/volumes/" + a + "/action", `{"os-detach":{}}`}} {
		if code, out := c.call("admin@3.27", x[0], x[1], x[2]); code != 409 {
			t.Errorf("%v: %d %v", x, code, out)
		}
	}
}

// TestGophercloud drives the service with the library that Go clients use.
func TestGophercloud(t *testing.T) {
	t.Parallel()
	c := start(t)
	ctx := t.Context()
	p := &gophercloud.ProviderClient{TokenID: "alice", HTTPClient: *http.DefaultClient}
	cl := &gophercloud.ServiceClient{ProviderClient: p, Endpoint: c.url + "/v3/" + aliceProject + "/", Type: "volume"}
	v, err := volumes.Create(ctx, cl, volumes.CreateOpts{Size: 1, Name: "g", Metadata: map[string]string{"a": "b"}}, nil).Extract()
	require.NoError(t, err)
	require.NoError(t, volumes.WaitForStatus(ctx, cl, v.ID, "available"))
	s, err := snapshots.Create(ctx, cl, snapshots.CreateOpts{VolumeID: v.ID, Name: "s"}).Extract()
	require.NoError(t, err)
	require.NoError(t, snapshots.WaitForStatus(ctx, cl, s.ID, "available"))
	w, err := volumes.Create(ctx, cl, volumes.CreateOpts{SnapshotID: s.ID, Size: 2}, nil).Extract()
	require.NoError(t, err)
	require.NoError(t, volumes.WaitForStatus(ctx, cl, w.ID, "available"))
	require.NoError(t, volumes.ExtendSize(ctx, cl, w.ID, volumes.ExtendSizeOpts{NewSize: 4}).ExtractErr())
	require.NoError(t, volumes.WaitForStatus(ctx, cl, w.ID, "available"))
	page, err := volumes.List(cl, volumes.ListOpts{Limit: 1}).AllPages(ctx)
	require.NoError(t, err)
	all, err := volumes.ExtractVolumes(page)
	require.NoError(t, err)
	require.Len(t, all, 2)
	types, err := volumetypes.List(cl, nil).AllPages(ctx)
	require.NoError(t, err)
	names, err := volumetypes.ExtractVolumeTypes(types)
	require.NoError(t, err)
	require.Len(t, names, 1)
	usage, err := quotasets.GetUsage(ctx, cl, aliceProject).Extract()
	require.NoError(t, err)
	require.Equal(t, 6, usage.Gigabytes.InUse)
	require.NoError(t, volumes.Delete(ctx, cl, v.ID, volumes.DeleteOpts{Cascade: true}).ExtractErr())
	c.await(v.ID, "gone")
	require.NoError(t, volumes.Delete(ctx, cl, w.ID, nil).ExtractErr())
	c.await(w.ID, "gone")
}
