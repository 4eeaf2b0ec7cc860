package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"github.com/stretchr/testify/require"

	"nephos/internal/compute"
	"nephos/internal/compute/api"
	"nephos/internal/compute/conductor"
	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/image"
	"nephos/internal/network"
	"nephos/internal/placement"
	"nephos/internal/policy"
	"nephos/internal/quota"
	"nephos/internal/scheduler"
	"nephos/internal/volume"
	"nephos/internal/workflow"
)

const (
	projectA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	projectB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	project0 = "00000000000000000000000000000000"
	imageID  = "10000000-0000-4000-8000-000000000001"
	bigImage = "10000000-0000-4000-8000-000000000002"
	queued   = "10000000-0000-4000-8000-000000000003"
	nowhere  = "99999999-9999-4999-8999-999999999999"
	pubKey   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqDWYkL6tPhZzWCZ2YpDS7dHi6JS0hPHCUHBrdPVLhA test"
)

// tokens gives credentials by token.
type tokens map[string]*policy.Credentials

func (t tokens) Authenticate(_ context.Context, token string) (*policy.Credentials, error) {
	if c := t[token]; c != nil {
		return c, nil
	}
	return nil, fault.Unauthorized("The request you have made requires authentication.")
}

func everybody() tokens {
	role := func(user, project string, roles ...string) *policy.Credentials {
		return &policy.Credentials{UserID: user, ProjectID: project, Roles: roles}
	}
	return tokens{"a": role("ua", projectA, "member", "reader"), "b": role("ub", projectB, "member", "reader"), "reader": role("ur", projectA, "reader"), "a2": role("ua2", projectA, "member", "reader"),
		"admin": role("u0", project0, "admin", "manager", "member", "reader")}
}

func tokensOf(token string) *policy.Credentials { return everybody()[token] }

const waitFor, tickFor = 20 * time.Second, 5 * time.Millisecond

// obedient is a host that does at once what it is told, unless hold says what to wait for.
type obedient struct {
	mu   sync.Mutex
	hold map[hostapi.Op]chan struct{}
	fail map[hostapi.Op]hostapi.Result
	seen []hostapi.Command

	forgotten bool
}

func (o *obedient) Do(ctx context.Context, host string, cmd hostapi.Command) (hostapi.Result, error) {
	o.mu.Lock()
	o.seen = append(o.seen, cmd)
	wait := o.hold[cmd.Op]
	res, bad := o.fail[cmd.Op]
	o.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return hostapi.Result{}, ctx.Err()
		}
	}
	if bad {
		res.CommandID, res.Host = cmd.ID, host
		return res, nil
	}
	out := hostapi.Result{CommandID: cmd.ID, Host: host, Power: hostapi.PowerRunning}
	if cmd.Op == hostapi.OpVolumeCreate {
		out.Volume = &hostapi.VolumeSpec{Path: "/volumes/" + cmd.Subject, Format: "raw"}
	}
	return out, nil
}

func (o *obedient) Console(_ context.Context, _ string, _ hostapi.ConsoleRequest) ([]byte, error) {
	return []byte("one\ntwo\nthree\n"), nil
}

// Look answers as a host with one processor, one disk and one interface, whose guest has posted a password until it is forgotten.
func (o *obedient) Look(_ context.Context, _ string, r hostapi.LookRequest) (out hostapi.LookReply, _ error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.Diagnostics {
		out.Diagnostics = &hostapi.Diagnostics{Power: hostapi.PowerRunning, Uptime: 7, CPUs: []hostapi.CPUCount{{ID: 0, Time: 5e9}}, Memory: 64 << 20, Resident: 32 << 20,
			Disks:      []hostapi.DiskCount{{ID: "root", ReadBytes: 1, ReadRequests: 2, WriteBytes: 3, WriteRequests: 4, Errors: 5}},
			Interfaces: []hostapi.InterfaceCount{{PortID: "0123456789abcdef", MAC: "fa:16:3e:00:00:01", RxBytes: 10, TxPackets: 20}}}
	}
	if r.Password && !o.forgotten {
		out.Password = "c2VjcmV0"
	}
	o.forgotten = o.forgotten || r.ForgetPassword
	return out, nil
}

type world struct {
	t        testing.TB
	db       *db.DB
	handler  http.Handler
	client   *obedient
	hosts    *compute.Hosts
	svc      *compute.Service
	networks *network.Service
	volumes  *volume.Service
	quotas   *quota.Service
	images   *image.Service
}

type storage struct{ reg *compute.Hosts }

func (s storage) StorageHosts() []volume.StorageHost {
	var out []volume.StorageHost
	for _, r := range s.reg.Rows() {
		out = append(out, volume.StorageHost{Name: r.Name, Zone: r.Zone, Up: true, Enabled: true, FreeDiskGiB: 1000, DiskGiB: 1000})
	}
	return out
}

func rooms() []db.Migrations {
	return []db.Migrations{workflow.Migrations(), quota.Migrations(), image.Migrations(), network.Migrations(), volume.Migrations(), placement.Migrations(), compute.Migrations()}
}

// newWorld puts the real rooms together on two hosts that obey.
func newWorld(t testing.TB, d *db.DB) *world {
	t.Helper()
	ctx := t.Context()
	log := slog.New(slog.DiscardHandler)
	clock := clockwork.NewRealClock()
	w := &world{t: t, db: d, client: &obedient{hold: map[hostapi.Op]chan struct{}{}, fail: map[hostapi.Op]hostapi.Result{}}, quotas: quota.New()}
	engine := workflow.New(workflow.Options{DB: d, Clock: clock, Log: log, Alone: true})
	store, err := image.NewDirStore(t.TempDir(), 0)
	require.NoError(t, err)
	w.images = image.New(image.Config{DB: d, Store: store, Log: log, Node: "test"})
	w.networks = network.New(network.Deps{DB: d, Quotas: w.quotas, Log: log, Clock: clock, Config: network.Config{External: netip.MustParsePrefix("198.51.100.0/24"), Private: netip.MustParsePrefix("10.0.0.0/16"), AckWait: time.Millisecond}})
	w.hosts = compute.NewHosts(compute.HostsDeps{DB: d, Clock: clock, Log: log, Ratios: compute.Ratios{VCPU: 16, RAM: 1.5, Disk: 1}, Scheduler: scheduler.Config{}, Aggregates: compute.Aggregates})
	w.volumes = volume.New(volume.Deps{DB: d, Log: log, Engine: engine, Client: w.client, Hosts: storage{w.hosts}, Images: w.images, Quotas: w.quotas})
	cond := conductor.New(conductor.Deps{DB: d, Log: log, Engine: engine, Hosts: w.hosts, Client: w.client, Networks: w.networks, Volumes: w.volumes, Quotas: w.quotas, Images: w.images})
	w.svc = compute.New(compute.Deps{DB: d, Clock: clock, Log: log, Hosts: w.hosts, Conductor: cond, Client: w.client, Networks: w.networks, Images: w.images, Volumes: w.volumes, Quotas: w.quotas, Engine: engine})
	s, err := api.New(w.svc, api.Deps{Auth: everybody(), AuthURI: "http://identity/v3", Log: log, Networks: w.networks, Images: w.images, Quotas: w.quotas, Volumes: w.volumes,
		ConsoleURL: "http://cloud:6080", SerialURL: "ws://cloud:6083"})
	require.NoError(t, err)
	require.NoError(t, w.svc.SeenController(ctx, "control1"))
	w.handler, err = s.Compile()
	require.NoError(t, err)
	require.NoError(t, w.svc.Bootstrap(ctx))
	require.NoError(t, w.networks.Bootstrap(ctx, project0))
	for _, id := range []string{imageID, bigImage} {
		p := image.CreateParams{ID: id, Name: "tiny", Owner: project0, Visibility: image.Public, DiskFormat: "raw", ContainerFormat: "bare"}
		if id == bigImage {
			p.MinDiskGiB, p.MinRAMMiB = 100, 4096
		}
		_, err := w.images.Ensure(ctx, p, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(strings.Repeat("x", 4096))), nil })
		require.NoError(t, err)
	}
	_, err = w.images.Create(ctx, nil, image.CreateParams{ID: queued, Name: "empty", Owner: project0, Visibility: image.Public, DiskFormat: "raw", ContainerFormat: "bare"})
	require.NoError(t, err)
	require.NoError(t, w.hosts.Load(ctx))
	w.live(engine)
	return w
}

// hostInfo is what one of the two hosts tells of itself.
func hostInfo(host string) hostapi.HostInfo {
	return hostapi.HostInfo{Name: host, Driver: "fake", Accel: "fake", DriverVersion: "7.2.0", CPUModel: "none", Arch: "x86_64", VCPUs: 64, RAMMiB: 64 << 10, DiskGiB: 1000, Address: "10.0.0.1", Version: "test"}
}

// live runs the engine and the hosts' heartbeats until the test ends.
func (w *world) live(engine *workflow.Engine) {
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	beat := func() {
		for _, name := range []string{"host1", "host2"} {
			if _, err := w.hosts.Heartbeat(ctx, hostapi.Heartbeat{Host: hostInfo(name)}); err != nil && ctx.Err() == nil {
				w.t.Error(err)
			}
		}
	}
	beat()
	wg.Add(2)
	go func() { defer wg.Done(); engine.Run(ctx) }() //nolint:errcheck // ends with the test
	go func() {
		defer wg.Done()
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				beat()
			}
		}
	}()
	w.t.Cleanup(func() { stop(); wg.Wait() })
}

type reply struct {
	t      testing.TB
	Code   int
	Header http.Header
	Body   string
}

// call sends one request; version "" sends no microversion. body is JSON text, or a value to be made into it.
func (w *world) call(token, version, method, path string, body any) reply {
	w.t.Helper()
	var data []byte
	switch b := body.(type) {
	case nil:
	case string:
		data = []byte(b)
	default:
		var err error
		data, err = json.Marshal(b)
		require.NoError(w.t, err)
	}
	r := httptest.NewRequest(method, path, bytes.NewReader(data))
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	if version != "" {
		r.Header.Set("OpenStack-API-Version", "compute "+version)
	}
	if data != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return reply{w.t, rec.Code, rec.Header(), rec.Body.String()}
}

func (r reply) want(code int) reply {
	r.t.Helper()
	require.Equal(r.t, code, r.Code, r.Body)
	return r
}

// at reads a value of the body by its keys and indexes.
func (r reply) at(path ...any) any {
	r.t.Helper()
	var doc any
	require.NoError(r.t, json.Unmarshal([]byte(r.Body), &doc), r.Body)
	for _, p := range path {
		switch k := p.(type) {
		case string:
			m, ok := doc.(map[string]any)
			require.True(r.t, ok, "%v in %s", path, r.Body)
			doc = m[k]
		case int:
			l, ok := doc.([]any)
			require.True(r.t, ok && k < len(l), "%v in %s", path, r.Body)
			doc = l[k]
		}
	}
	return doc
}

func (r reply) text(path ...any) string {
	r.t.Helper()
	s, _ := r.at(path...).(string)
	return s
}

func (r reply) list(path ...any) []any {
	r.t.Helper()
	l, ok := r.at(path...).([]any)
	require.True(r.t, ok, r.Body)
	return l
}

type m = map[string]any

func boot(extra m) m {
	s := m{"name": "vm", "imageRef": imageID, "flavorRef": "42"}
	for k, v := range extra {
		if v == nil {
			delete(s, k)
		} else {
			s[k] = v
		}
	}
	return m{"server": s}
}

// server boots one and waits until it is ACTIVE.
func (w *world) server(token string, extra m) string {
	w.t.Helper()
	id := w.call(token, "", "POST", "/v2.1/servers", boot(extra)).want(202).text("server", "id")
	require.Equal(w.t, "ACTIVE", w.settle(id).text("server", "status"))
	return id
}

// settle waits until a server has no task and is not being built; its 404 ends the wait too.
func (w *world) settle(id string) reply {
	w.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		var busy bool
		err := w.db.Read(context.Background(), func(tx *db.Tx) error {
			s, err := compute.GetServer(context.Background(), tx, id)
			busy = err == nil && (s.TaskState != compute.None || s.VMState == compute.Building)
			if fault.IsNotFound(err) {
				err = nil
			}
			return err
		})
		require.NoError(w.t, err)
		if !busy {
			return w.call("admin", "2.96", "GET", "/v2.1/servers/"+id, nil)
		}
		require.True(w.t, time.Now().Before(deadline), "server %s does not settle", id)
		<-tick.C
	}
}

func each(t *testing.T, fn func(w *world)) {
	t.Parallel()
	dbtest.Each(t, rooms(), func(t *testing.T, d *db.DB) { fn(newWorld(t, d)) })
}

func lite(t *testing.T) *world {
	t.Parallel()
	return newWorld(t, dbtest.SQLite(t, rooms()...))
}
