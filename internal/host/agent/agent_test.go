package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/bus"
	"nephos/internal/fault"
	"nephos/internal/host/agent"
	planefake "nephos/internal/host/dataplane/fake"
	"nephos/internal/host/hypervisor/fake"
	"nephos/internal/host/simlog"
	"nephos/internal/hostapi"
)

const patience = 20 * time.Second

// Server ids.
const (
	s1   = "00000000-0000-4000-8000-000000000001"
	s2   = "00000000-0000-4000-8000-000000000002"
	gone = "00000000-0000-4000-8000-000000000003"
	kept = "00000000-0000-4000-8000-000000000004"
)

// host is one agent with everything around it; what outlives the agent's process outlives restart.
type host struct {
	t      *testing.T
	bus    *bus.Bus // the controller's end
	dir    string
	script *fake.Script
	net    *planefake.Host

	agent  *agent.Agent
	driver *fake.Driver
	plane  *planefake.Plane
	stop   func()

	started time.Time // of the present agent

	mu    sync.Mutex // guards the rest
	beats chan hostapi.Heartbeat
	reply hostapi.HeartbeatReply
	doc   hostapi.NetworkDocument
	seen  []hostapi.Progress
}

func newHost(t *testing.T) *host {
	t.Helper()
	b, err := bus.Open(bus.Config{Name: "controller", Listen: "127.0.0.1:-1", Token: "t", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	h := &host{t: t, bus: b, dir: t.TempDir(), script: &fake.Script{}, net: &planefake.Host{}, beats: make(chan hostapi.Heartbeat, 100), reply: hostapi.HeartbeatReply{Known: true}}
	h.controller()
	h.start()
	t.Cleanup(func() {
		h.stop()
		b.Close()
	})
	return h
}

// controller answers heartbeats and fetches.
func (h *host) controller() {
	require.NoError(h.t, h.bus.Handle(hostapi.SubjectHeartbeat, "q", func(_ context.Context, data []byte) (any, error) {
		hb, err := decode[hostapi.Heartbeat](data)
		select {
		case h.beats <- hb:
		default: // the test does not look at all of them
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.reply, err
	}))
	require.NoError(h.t, h.bus.Handle(hostapi.SubjectNetworkFetch, "q", func(context.Context, []byte) (any, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.doc, nil
	}))
	require.NoError(h.t, h.bus.Handle(hostapi.SubjectProgress, "", func(_ context.Context, data []byte) (any, error) {
		p, err := decode[hostapi.Progress](data)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.seen = append(h.seen, p)
		return nil, err
	}))
}

// start makes an agent as a new process would: only files, guests and the kernel's networking are as before.
func (h *host) start() {
	h.t.Helper()
	records, err := simlog.Open(filepath.Join(h.dir, "guests"))
	require.NoError(h.t, err)
	h.driver = fake.New(fake.Config{Records: records.Table("guest"), Script: h.script})
	h.plane = planefake.New(h.net, nil)
	end, err := bus.Open(bus.Config{Name: "h1", URL: "nats://" + h.bus.Addr(), Token: "t", Log: slog.New(slog.DiscardHandler)})
	require.NoError(h.t, err)
	h.started = time.Now().Round(0)
	h.agent = agent.New(agent.Config{Info: hostapi.HostInfo{Name: "h1", Driver: "fake", VCPUs: 8, RAMMiB: 1024, Started: h.started}, StateDir: h.dir, Bus: end, Driver: h.driver, Plane: h.plane,
		Disks: &agent.NoFiles{Dir: h.dir, TotalGiB: 100}, Parallel: 4, Every: 50 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	require.NoError(h.t, h.agent.Open(context.Background()))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.agent.Run(ctx) //nolint:errcheck // a bus that cannot subscribe shows in every request
	}()
	h.beat(func(hostapi.Heartbeat) bool { return true }) // then it listens
	h.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		require.NoError(h.t, h.plane.Close(context.Background()))
		require.NoError(h.t, errors.Join(h.driver.Close(), records.Close()))
		end.Close() // as in a process: the bus is the last to go, so that an ending agent can be asked
	})
}

// restart kills the agent and starts another.
func (h *host) restart() {
	h.t.Helper()
	h.stop()
	h.start()
}

func decode[T any](data []byte) (v T, err error) {
	err = json.Unmarshal(data, &v)
	return v, err
}

// beat waits for a heartbeat of the present agent that ok accepts; those that came before the call do not count.
func (h *host) beat(ok func(hostapi.Heartbeat) bool) hostapi.Heartbeat {
	h.t.Helper()
	late := time.After(patience)
	for old := len(h.beats); ; old-- {
		select {
		case hb := <-h.beats:
			if old <= 0 && hb.Host.Started.Equal(h.started) && ok(hb) {
				return hb
			}
		case <-late:
			h.t.Fatal("no such heartbeat")
		}
	}
}

// reported waits for a heartbeat that tells an instance's power, or that it is not there (none).
func (h *host) reported(id string, want hostapi.PowerState) {
	h.t.Helper()
	h.beat(func(hb hostapi.Heartbeat) bool {
		for _, s := range hb.Instances {
			if s.ServerID == id {
				return s.Power == want && !s.Busy
			}
		}
		return want == hostapi.PowerNone
	})
}

// send sends a command and waits for its result.
func (h *host) send(c hostapi.Command) hostapi.Result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var r hostapi.Result
	require.NoError(h.t, h.bus.Request(ctx, hostapi.SubjectCommand("h1"), c, &r))
	return r
}

// ok is send for what must succeed.
func (h *host) ok(c hostapi.Command) hostapi.Result {
	h.t.Helper()
	r := h.send(c)
	require.Empty(h.t, r.Err, "%+v", r)
	require.Equal(h.t, c.ID, r.CommandID)
	return r
}

// later is send in the background.
func (h *host) later(c hostapi.Command) <-chan hostapi.Result {
	out := make(chan hostapi.Result, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var r hostapi.Result
		if err := h.bus.Request(ctx, hostapi.SubjectCommand("h1"), c, &r); err != nil {
			r.Err = "bus: " + err.Error()
		}
		out <- r
	}()
	return out
}

// reaches waits for a build to say that it has begun a step.
func (h *host) reaches(id, step string) {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, p := range h.seen {
			if p.Subject == id && p.Step == step {
				return true
			}
		}
		return false
	}, patience, time.Millisecond)
}

func (h *host) power(id string) hostapi.PowerState {
	h.t.Helper()
	s, err := h.driver.Status(context.Background(), id)
	require.NoError(h.t, err)
	return s.Power
}

func (h *host) ports() (out []string) {
	h.t.Helper()
	inv, err := h.plane.Inventory(context.Background())
	require.NoError(h.t, err)
	for _, p := range inv.Ports {
		out = append(out, p.ID)
	}
	return out
}

func (h *host) inventory() hostapi.Inventory {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var inv hostapi.Inventory
	require.NoError(h.t, h.bus.Request(ctx, hostapi.SubjectInventory("h1"), nil, &inv))
	return inv
}

func nic(port string) hostapi.NICSpec {
	return hostapi.NICSpec{PortID: port, Port: hostapi.PortSpec{ID: port, NetworkID: "n1", MAC: "fa:16:3e:00:00:01", AdminUp: true}, Network: hostapi.NetworkSpec{ID: "n1", MTU: 1450}}
}

func spec(id string, epoch int64, ports ...string) *hostapi.InstanceSpec {
	s := &hostapi.InstanceSpec{ServerID: id, Name: id, Epoch: epoch, VCPUs: 1, RAMMiB: 64, Image: &hostapi.ImageSpec{ID: "img"}, ConfigDrive: true}
	s.Metadata.AdminPass = "first"
	for _, p := range ports {
		s.NICs = append(s.NICs, nic(p))
	}
	return s
}

func command(op hostapi.Op, id string, epoch int64) hostapi.Command {
	return hostapi.Command{ID: fmt.Sprintf("%s-%s-%d", op, id, epoch), Subject: id, Epoch: epoch, Op: op, Deadline: time.Now().Add(patience)}
}

func build(id string, epoch int64, ports ...string) hostapi.Command {
	c := command(hostapi.OpBuild, id, epoch)
	c.Spec = spec(id, epoch, ports...)
	return c
}

func TestLifeOfAnInstance(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	r := h.ok(build(s1, 1, "p1"))
	require.Equal(t, hostapi.PowerRunning, r.Power)
	var names []string
	for _, s := range r.Steps {
		names = append(names, s.Name)
		require.False(t, s.Finished.Before(s.Started))
	}
	require.Equal(t, []string{"configdrive", "network", "hypervisor"}, names)
	require.Equal(t, []string{"p1"}, h.ports())
	h.reported(s1, hostapi.PowerRunning)

	require.Equal(t, hostapi.PowerPaused, h.ok(command(hostapi.OpPause, s1, 2)).Power)
	require.Equal(t, hostapi.PowerRunning, h.ok(command(hostapi.OpUnpause, s1, 3)).Power)
	require.Equal(t, hostapi.PowerShutdown, h.ok(command(hostapi.OpStop, s1, 4)).Power)
	start := command(hostapi.OpStart, s1, 5)
	start.Spec = spec(s1, 5, "p1", "p2")
	start.Spec.Metadata.AdminPass = ""
	require.Equal(t, hostapi.PowerRunning, h.ok(start).Power)
	require.Equal(t, []string{"p1", "p2"}, h.ports(), "a start takes the controller's newer spec")
	now, err := h.agent.Spec(s1)
	require.NoError(t, err)
	require.Equal(t, "first", now.Metadata.AdminPass, "what only the build knew is kept")
	reboot := command(hostapi.OpRebootHard, s1, 6)
	reboot.Spec = spec(s1, 6, "p1")
	require.Equal(t, hostapi.PowerRunning, h.ok(reboot).Power)
	require.Equal(t, hostapi.PowerRunning, h.ok(command(hostapi.OpRebootSoft, s1, 7)).Power)

	h.ok(command(hostapi.OpSuspend, s1, 8))
	h.reported(s1, hostapi.PowerSuspended)
	require.Equal(t, hostapi.PowerRunning, h.ok(command(hostapi.OpResume, s1, 9)).Power)

	meta := command(hostapi.OpUpdateMetadata, s1, 10)
	meta.Spec = &hostapi.InstanceSpec{Metadata: hostapi.GuestMetadata{Meta: map[string]string{"k": "v"}}}
	h.ok(meta)
	now, err = h.agent.Spec(s1)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"k": "v"}, now.Metadata.Meta)
	require.Equal(t, "first", now.Metadata.AdminPass)

	inv := h.inventory()
	require.Equal(t, []string{s1}, inv.Instances)
	require.Len(t, inv.Processes, 1)
	require.Empty(t, inv.Problems)
	h.ok(command(hostapi.OpDestroy, s1, 11))
	require.Equal(t, hostapi.PowerNone, h.power(s1))
	require.Empty(t, h.ports())
	require.NoDirExists(t, h.agent.InstanceDir(s1))
	_, err = h.agent.Spec(s1)
	require.True(t, fault.IsNotFound(err))
	inv = h.inventory()
	require.Empty(t, inv.Instances)
	require.Empty(t, inv.Processes)
	h.ok(command(hostapi.OpDestroy, s1, 12))
}

func TestDevices(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.ok(build(s1, 1, "p1"))
	attach, detach := command(hostapi.OpAttachVolume, s1, 2), command(hostapi.OpDetachVolume, s1, 3)
	attach.Volume = &hostapi.VolumeSpec{VolumeID: "v1", Path: "/v1", Format: "raw", BootIndex: -1}
	detach.Volume = attach.Volume
	volumes := func() (out []string) {
		s, err := h.agent.Spec(s1)
		require.NoError(t, err)
		for _, v := range s.Volumes {
			out = append(out, v.VolumeID)
		}
		return out
	}
	require.Equal(t, "hot", h.ok(attach).Steps[0].Detail)
	require.Equal(t, []string{"v1"}, volumes())
	again := attach
	again.ID = "again"
	h.ok(again)
	require.Equal(t, []string{"v1"}, volumes(), "a repeat under another id adds nothing")
	h.ok(detach)
	require.Empty(t, volumes())

	h.script.Add(fake.Rule{Verb: fake.AttachDisk, Times: 1, Err: errors.New("no slot")})
	attach.ID, attach.Epoch = "third", 4
	r := h.send(attach)
	require.Equal(t, "no slot", r.Err)
	require.Equal(t, "plug", r.ErrStep)
	require.Equal(t, hostapi.ErrHost, r.ErrKind)
	require.Equal(t, []string{"v1"}, volumes(), "the guest may have it yet, until a detach says that it has not")
	detach.ID, detach.Epoch = "undo", 4
	h.ok(detach)
	require.Empty(t, volumes(), "what could not be plugged in is not there at the next start")

	plug, unplug := command(hostapi.OpAttachInterface, s1, 5), command(hostapi.OpDetachInterface, s1, 6)
	n := nic("p2")
	plug.NIC, unplug.NIC = &n, &n
	h.ok(plug)
	require.Equal(t, []string{"p1", "p2"}, h.ports())
	h.ok(unplug)
	require.Equal(t, []string{"p1"}, h.ports())

	h.ok(command(hostapi.OpStop, s1, 7))
	attach.ID, attach.Epoch = "fourth", 8
	require.Equal(t, "not running", h.ok(attach).Steps[0].Detail)
	require.Equal(t, []string{"v1"}, volumes())
	for _, op := range []hostapi.Op{hostapi.OpAttachVolume, hostapi.OpDetachVolume, hostapi.OpAttachInterface, hostapi.OpDetachInterface, hostapi.OpUpdateMetadata, "nonsense"} {
		require.Equal(t, hostapi.ErrPermanent, h.send(command(op, s1, 9)).ErrKind, op)
	}
}

func TestStorage(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for i, op := range []hostapi.Op{hostapi.OpVolumeCreate, hostapi.OpVolumeExtend, hostapi.OpSnapshotCreate} {
		c := command(op, "v1", int64(i))
		c.Task = &hostapi.VolumeTask{VolumeID: "v1", SnapshotID: "sn1", SizeGiB: 1}
		require.Equal(t, "v1", h.ok(c).Volume.VolumeID)
	}
	inv := h.inventory()
	require.Equal(t, []string{"v1"}, inv.Volumes)
	require.Equal(t, []string{"sn1"}, inv.Snapshots)
	require.Equal(t, hostapi.ErrPermanent, h.send(command(hostapi.OpVolumeDelete, "v1", 4)).ErrKind)
	for _, op := range []hostapi.Op{hostapi.OpSnapshotDelete, hostapi.OpVolumeDelete, hostapi.OpVolumeDelete} {
		c := command(op, "v1", 5)
		c.Task = &hostapi.VolumeTask{VolumeID: "v1", SnapshotID: "sn1"}
		h.ok(c)
	}
	require.Empty(t, h.inventory().Volumes)
}

// TestCommandsRunOnce: a repeat joins the run under way or gets the recorded result, also after a restart; a failure is an answer like any other.
func TestCommandsRunOnce(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.script.Add(fake.Rule{Verb: fake.Start, Times: 1, Delay: 200 * time.Millisecond}, fake.Rule{Verb: fake.Start, From: 2, Times: 1, Err: errors.New("no memory")})
	var all []<-chan hostapi.Result
	for range 5 {
		all = append(all, h.later(build(s1, 1, "p1")))
	}
	first := <-all[0]
	require.Empty(t, first.Err)
	for _, c := range all[1:] {
		require.Equal(t, first, <-c)
	}
	require.Equal(t, first.Steps, h.ok(build(s1, 1, "p1")).Steps)

	h.ok(command(hostapi.OpStop, s1, 2))
	failed := h.send(command(hostapi.OpStart, s1, 3))
	require.Equal(t, "no memory", failed.Err)
	require.Equal(t, "hypervisor", failed.ErrStep)
	h.restart()
	again := h.send(command(hostapi.OpStart, s1, 3))
	require.Equal(t, failed.Err, again.Err, "the result outlives the process")
	require.Equal(t, hostapi.PowerShutdown, h.power(s1))
	retry := command(hostapi.OpStart, s1, 3)
	retry.ID = "another try"
	h.ok(retry)
	require.Equal(t, hostapi.PowerRunning, h.power(s1))
}

func TestFencing(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	require.Equal(t, hostapi.ErrAbsent, h.send(command(hostapi.OpStart, s1, 1)).ErrKind)
	h.ok(build(s1, 5, "p1"))
	require.Equal(t, hostapi.ErrStaleEpoch, h.send(command(hostapi.OpStop, s1, 4)).ErrKind)
	require.Equal(t, hostapi.ErrStaleEpoch, h.send(command(hostapi.OpDestroy, s1, 4)).ErrKind)
	require.Equal(t, hostapi.PowerRunning, h.power(s1))
	h.ok(command(hostapi.OpStop, s1, 6))
	h.restart()
	require.Equal(t, hostapi.ErrStaleEpoch, h.send(command(hostapi.OpRebootSoft, s1, 5)).ErrKind, "the epoch outlives the process")
	h.ok(command(hostapi.OpDestroy, s1, 7))
	require.Equal(t, hostapi.ErrStaleEpoch, h.send(build(s1, 7, "p1")).ErrKind, "a late build does not bring a destroyed instance back")
	h.restart()
	require.Equal(t, hostapi.ErrStaleEpoch, h.send(build(s1, 7, "p1")).ErrKind, "nor does it after a restart of the agent")
	require.Equal(t, hostapi.ErrAbsent, h.send(command(hostapi.OpStart, s1, 8)).ErrKind)
	h.ok(build(s1, 8, "p1"))
	h.ok(command(hostapi.OpDestroy, s2, 3))
	require.Equal(t, hostapi.ErrStaleEpoch, h.send(build(s2, 2)).ErrKind, "nor does one that comes after its destroy")
	h.restart()
	require.Equal(t, hostapi.ErrStaleEpoch, h.send(build(s2, 2)).ErrKind, "also when the agent died between the two")
}

// TestTurnsFence: what a workflow asked for before it turned around to undo, and is late, does nothing any more.
func TestTurnsFence(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.ok(build(s1, 1, "p1"))
	turned := func(op hostapi.Op, epoch int64, turn int) hostapi.Command {
		c := command(op, s1, epoch)
		c.ID, c.Turn = fmt.Sprintf("%s %d", c.ID, turn), turn
		return c
	}
	h.ok(turned(hostapi.OpStop, 2, 0))
	h.ok(turned(hostapi.OpStart, 2, 1))
	late := turned(hostapi.OpPause, 2, 0)
	require.Equal(t, hostapi.ErrStaleEpoch, h.send(late).ErrKind)
	h.restart()
	late.ID += " again"
	require.Equal(t, hostapi.ErrStaleEpoch, h.send(late).ErrKind, "the turn outlives the process")
	meta := command(hostapi.OpUpdateMetadata, s1, 2)
	meta.Spec = &hostapi.InstanceSpec{ServerID: s1, Epoch: 2, Metadata: hostapi.GuestMetadata{Meta: map[string]string{"a": "b"}}}
	h.ok(meta)
	h.ok(turned(hostapi.OpPause, 2, 2))
	h.ok(turned(hostapi.OpUnpause, 3, 0))
	require.Equal(t, hostapi.PowerRunning, h.power(s1))
}

func TestDestroyCancelsABuild(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.script.Add(fake.Rule{Verb: fake.Start, Delay: time.Hour})
	c := build(s1, 1, "p1")
	c.Deadline = time.Now().Add(time.Hour)
	built := h.later(c)
	h.reaches(s1, "hypervisor")
	h.ok(command(hostapi.OpDestroy, s1, 2))
	require.NotEmpty(t, (<-built).Err)
	require.Empty(t, h.ports())
	require.NoDirExists(t, h.agent.InstanceDir(s1))
	require.Equal(t, hostapi.PowerNone, h.power(s1))
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.script.Add(fake.Rule{Verb: fake.Start, Times: 1, Delay: time.Hour})
	c := build(s1, 1, "p1")
	c.Deadline = time.Now().Add(time.Second)
	r := h.send(c)
	require.Equal(t, hostapi.ErrHost, r.ErrKind)
	require.Equal(t, "hypervisor", r.ErrStep)
	c.ID, c.Deadline = "second", time.Now().Add(patience)
	h.ok(c)
}

// TestRestartGoesOn kills the agent in the middle of a build: the instance is known from then on, and the command, sent again, finishes it.
func TestRestartGoesOn(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.ok(build(s1, 1, "p1"))
	h.script.Add(fake.Rule{Verb: fake.Start, Times: 1, Delay: time.Hour})
	c := build(s2, 1, "p2")
	c.Deadline = time.Now().Add(time.Hour)
	lost := h.later(c)
	h.reaches(s2, "hypervisor")
	h.restart()
	hb := h.beat(func(hb hostapi.Heartbeat) bool { return len(hb.Instances) == 2 })
	require.Equal(t, s1, hb.Instances[0].ServerID)
	require.Equal(t, hostapi.PowerRunning, hb.Instances[0].Power, "the guest ran on")
	require.Equal(t, s2, hb.Instances[1].ServerID)
	require.Equal(t, int64(1), hb.Instances[1].Epoch)
	require.Equal(t, []string{"p1", "p2"}, h.ports())
	h.ok(c)
	require.Equal(t, hostapi.PowerRunning, h.power(s2))
	h.ok(command(hostapi.OpStop, s1, 2))
	<-lost // whatever it was told, the build is done
}

// TestGuestWithoutRecordsIsTold: what an instance is was lost (a power cut, on a simulated host), its guest was not. Nobody could ever take it away if no heartbeat told of it.
func TestGuestWithoutRecordsIsTold(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.ok(build(s1, 1, "p1"))
	require.NoError(t, os.RemoveAll(h.agent.InstanceDir(s1)))
	h.restart()
	hb := h.beat(func(hb hostapi.Heartbeat) bool { return len(hb.Instances) == 1 })
	require.Equal(t, s1, hb.Instances[0].ServerID)
	require.Zero(t, hb.Instances[0].Epoch)
	h.mu.Lock()
	h.reply.Destroy = map[string]int64{s1: 1}
	h.mu.Unlock()
	h.beat(func(hb hostapi.Heartbeat) bool { return len(hb.Instances) == 0 })
	require.NoDirExists(t, h.agent.InstanceDir(s1))
	require.Empty(t, h.ports())
}

func TestGuestThatEndsIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.script.Add(fake.Rule{Verb: fake.Start, Times: 1, Crash: "killed by signal 9"})
	h.ok(build(s1, 1))
	h.reported(s1, hostapi.PowerCrashed)
}

// TestHeartbeatLetsGo: what the controller does not know here is destroyed, though a first try fails; a newer epoch is left alone.
func TestHeartbeatLetsGo(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.ok(build(gone, 3, "p1"))
	h.ok(build(kept, 3, "p2"))
	h.script.Add(fake.Rule{Verb: fake.Destroy, Times: 1, Err: errors.New("busy")})
	h.mu.Lock()
	h.reply.Destroy = map[string]int64{gone: 3, kept: 2, "00000000-0000-4000-8000-000000000099": 1}
	h.mu.Unlock()
	h.reported(gone, hostapi.PowerNone)
	require.Equal(t, []string{"p2"}, h.ports())
	require.NoDirExists(t, h.agent.InstanceDir(gone))
	require.Equal(t, hostapi.PowerRunning, h.power(kept))
}

// TestHeartbeatsGoOnWhileLettingGo: a destroy that waits must not make the host seem dead.
func TestHeartbeatsGoOnWhileLettingGo(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.ok(build(s1, 1, "p1"))
	h.script.Add(fake.Rule{Verb: fake.Destroy, Times: 1, Delay: time.Hour})
	h.mu.Lock()
	h.reply.Destroy = map[string]int64{s1: 1}
	h.mu.Unlock()
	busy := h.beat(func(hb hostapi.Heartbeat) bool { return len(hb.Instances) == 1 && hb.Instances[0].Busy })
	h.beat(func(hb hostapi.Heartbeat) bool { return hb.Seq > busy.Seq })
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.ok(build(s1, 1, "p1"))
	ack := func(doc hostapi.NetworkDocument) (a hostapi.NetworkAck) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, h.bus.Request(ctx, hostapi.SubjectNetwork("h1"), doc, &a))
		return a
	}
	doc := func(revision int64, ports ...string) hostapi.NetworkDocument {
		d := hostapi.NetworkDocument{Revision: revision, Networks: []hostapi.NetworkSpec{{ID: "n1"}}}
		for _, p := range ports {
			d.Ports = append(d.Ports, hostapi.PortSpec{ID: p, NetworkID: "n1"})
		}
		return d
	}
	require.Equal(t, hostapi.NetworkAck{Revision: 5}, ack(doc(5, "dhcp")))
	require.Equal(t, []string{"dhcp", "p1"}, h.ports(), "a document that does not know the instance yet leaves it its port")
	require.Equal(t, hostapi.NetworkAck{Revision: 5}, ack(doc(4)), "an older one changes nothing")
	require.Equal(t, []string{"dhcp", "p1"}, h.ports())
	h.plane.Script(planefake.Step{Op: planefake.OpApply, Err: errors.New("nft: busy")})
	require.Equal(t, hostapi.NetworkAck{Revision: 5, Err: "network revision 6: nft: busy"}, ack(doc(6)))
	require.Equal(t, hostapi.NetworkAck{Revision: 6}, ack(doc(6)))
	require.Equal(t, []string{"p1"}, h.ports())

	h.mu.Lock()
	h.doc, h.reply.NetworkRevision = doc(9, "dhcp"), 9
	h.mu.Unlock()
	h.beat(func(hb hostapi.Heartbeat) bool { return hb.NetworkRevision == 9 })
	require.Equal(t, []string{"dhcp", "p1"}, h.ports(), "a newer one is fetched when the heartbeat's answer tells of it")
	h.restart()
	require.Equal(t, []string{"dhcp", "p1"}, h.ports())
	h.stop()
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "network.json"), []byte("{"), 0o600))
	h.start()
	h.beat(func(hb hostapi.Heartbeat) bool { return hb.NetworkRevision == 9 })
	require.Equal(t, []string{"dhcp", "p1"}, h.ports(), "an unreadable document is fetched again")
}

// TestManyBuildsKeepTheirPorts: builds at once must not render each other's ports away.
func TestManyBuildsKeepTheirPorts(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	var all []<-chan hostapi.Result
	for i := range 40 {
		all = append(all, h.later(build(fmt.Sprintf("00000000-0000-4000-8000-0000000001%02d", i), 1, fmt.Sprintf("p%02d", i))))
	}
	for _, c := range all {
		require.Empty(t, (<-c).Err)
	}
	require.Len(t, h.ports(), 40)
	for i := range 40 {
		all[i] = h.later(command(hostapi.OpDestroy, fmt.Sprintf("00000000-0000-4000-8000-0000000001%02d", i), 2))
	}
	for _, c := range all {
		require.Empty(t, (<-c).Err)
	}
	require.Empty(t, h.ports())
}

// TestLastWishWins: destroys and builds of one instance race; the newest epoch decides what is left.
func TestLastWishWins(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	h.script.Add(fake.Rule{Verb: fake.Start, Delay: 5 * time.Millisecond})
	var all []<-chan hostapi.Result
	for e := int64(1); e <= 20; e++ {
		all = append(all, h.later(build(s1, 2*e, "p1")), h.later(command(hostapi.OpDestroy, s1, 2*e+1)))
	}
	for _, c := range all {
		<-c
	}
	h.ok(command(hostapi.OpDestroy, s1, 41))
	require.Equal(t, hostapi.PowerNone, h.power(s1))
	require.Empty(t, h.ports())
	require.Empty(t, h.inventory().Instances)
}

func TestConsole(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ask := func(id string) (r hostapi.ConsoleReply) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, h.bus.Request(ctx, hostapi.SubjectConsole("h1"), hostapi.ConsoleRequest{ServerID: id}, &r))
		return r
	}
	require.Equal(t, hostapi.ConsoleReply{}, ask(s1), "an empty console before the first start")
	h.ok(build(s1, 1))
	require.NotEmpty(t, ask(s1).Log)
}

func TestLook(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	ask := func(r hostapi.LookRequest) (out hostapi.LookReply) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, h.bus.Request(ctx, hostapi.SubjectLook("h1"), r, &out))
		return out
	}
	require.Equal(t, hostapi.ErrAbsent, ask(hostapi.LookRequest{ServerID: s1, Diagnostics: true}).Kind)
	h.ok(build(s1, 1, "p1"))
	seen := ask(hostapi.LookRequest{ServerID: s1, Diagnostics: true}).Diagnostics
	require.NotNil(t, seen)
	require.Equal(t, hostapi.PowerRunning, seen.Power)
	require.Len(t, seen.Interfaces, 1)
	require.Equal(t, "p1", seen.Interfaces[0].PortID)

	file := filepath.Join(h.agent.InstanceDir(s1), "password")
	require.Equal(t, hostapi.LookReply{}, ask(hostapi.LookRequest{ServerID: s1, Password: true}), "none was posted")
	require.NoError(t, os.WriteFile(file, []byte("secret"), 0o600))
	require.Equal(t, "secret", ask(hostapi.LookRequest{ServerID: s1, Password: true}).Password)
	for range 2 {
		require.Equal(t, hostapi.LookReply{}, ask(hostapi.LookRequest{ServerID: s1, ForgetPassword: true}))
	}
	require.NoFileExists(t, file)
	require.Equal(t, hostapi.ErrAbsent, ask(hostapi.LookRequest{ServerID: "../" + s1, Password: true}).Kind)
	h.ok(command(hostapi.OpStop, s1, 2))
	require.Equal(t, hostapi.ErrState, ask(hostapi.LookRequest{ServerID: s1, Diagnostics: true}).Kind)
}
