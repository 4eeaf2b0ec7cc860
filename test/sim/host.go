package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"nephos/internal/app"
	"nephos/internal/fault"
	"nephos/internal/host/agent"
	fakeplane "nephos/internal/host/dataplane/fake"
	fakehv "nephos/internal/host/hypervisor/fake"
	"nephos/internal/host/peer"
	"nephos/internal/host/simlog"
	"nephos/internal/hostapi"
)

// host is a machine. Its records and what the kernel has (kernel) outlive its agent.
type host struct {
	name   string
	dir    string
	wire   *wire
	log    *slog.Logger
	kernel *fakeplane.Host
	script *fakehv.Script
	off    time.Duration // of its heartbeats

	node    *node // nil while no agent runs
	records *simlog.Log
	driver  *fakehv.Driver
	stop    context.CancelFunc
	ended   chan struct{}
	served  chan struct{} // closed when the door for other hosts is
	peers   *peer.Client
	images  *http.Transport
	tell    func(rule string, args ...any) // a violation

	backup   bool                 // there is a copy of the records
	restored time.Time            // when old records were last put back
	back     time.Time            // when it was last cut off, down, or not itself: until a while later it may hold what it should not
	wrong    map[string]time.Time // what it runs that is not its own, since when
}

const (
	hostVCPUs = 8
	hostRAM   = 2048 // MiB; 512 are the host's own
	hostDisk  = 400  // GiB
)

func (h *host) logPath() string { return filepath.Join(h.dir, "records") }

func (h *host) alive() bool { return h.node != nil }

// touched notes that the host has been cut off, or is no more.
func (h *host) touched() { h.back = time.Now() }

// start runs an agent on what the machine has.
func (h *host) start(ctx context.Context) error {
	var err error
	if h.records, err = simlog.Open(h.logPath()); err != nil {
		return err
	}
	h.driver = fakehv.New(fakehv.Config{Records: h.records.Table("guest"), Script: h.script})
	h.node = h.wire.join(h.name)
	info := hostapi.HostInfo{Name: h.name, Driver: "fake", Accel: "fake", DriverVersion: "1", CPUModel: "simulated", Arch: "x86_64", VCPUs: hostVCPUs, RAMMiB: hostRAM, DiskGiB: hostDisk,
		Address: "198.51.100.1", Transfer: h.name + peerPort, Gateway: h.name == "h1", Version: "sim", Started: time.Now().UTC()}
	h.peers = peer.NewClient(h.node.dial)
	h.images = &http.Transport{DisableKeepAlives: true, ResponseHeaderTimeout: 10 * time.Minute, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return h.node.dial(ctx, address) }}
	a := agent.New(agent.Config{Info: info, StateDir: h.dir, Bus: h.node, Driver: h.driver, Plane: fakeplane.New(h.kernel, nil),
		Disks: &disks{NoFiles: &agent.NoFiles{Dir: h.dir, TotalGiB: hostDisk}, h: h, tell: h.tell}, Sink: app.NewImageSink(h.images), Peers: h.peers,
		Simulated: h.records, Log: h.log, Offset: func(every time.Duration) time.Duration { return h.off % every }})
	if err := a.Open(ctx); err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	h.back = time.Now()
	ctx, h.stop = context.WithCancel(ctx)
	h.ended, h.served = make(chan struct{}), make(chan struct{})
	door := peer.NewServer(h.node.open(h.name+peerPort), h.log)
	door.Register(h.name, a)
	go func() { // ended by kill, which waits for it
		defer close(h.served)
		if err := door.Serve(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
			h.log.Error("door for other hosts", "err", err)
		}
	}()
	go func() { // ended by kill, which waits for it
		defer close(h.ended)
		if err := a.Run(ctx); err != nil {
			h.log.Error("agent", "err", err)
		}
	}()
	return nil
}

// kill ends the agent as SIGKILL does: from here on nothing is written, said or heard. Guests go on.
func (h *host) kill() {
	if h.node == nil {
		return
	}
	h.records.Close()
	h.node.kill()
	h.stop()
	h.node.die()
	<-h.ended
	<-h.served
	h.peers.Close()
	h.images.CloseIdleConnections()
	h.driver.Close()
	h.node, h.back = nil, time.Now()
}

// cutPower ends the agent and all guests. The kernel's networking goes too.
func (h *host) cutPower(ctx context.Context) error {
	ids := h.running()
	h.kill()
	h.kernel = &fakeplane.Host{}
	records, err := simlog.Open(h.logPath())
	if err != nil {
		return err
	}
	d := fakehv.New(fakehv.Config{Records: records.Table("guest")})
	if _, err := d.Adopt(ctx); err != nil {
		return errors.Join(err, d.Close(), records.Close())
	}
	for _, id := range ids {
		d.Crash(id, "the host lost its power")
	}
	h.driver = d // until an agent is started it says what runs: nothing
	return errors.Join(d.Close(), records.Close())
}

// remember copies the records, for a later come back with old state.
func (h *host) remember() error {
	b, err := os.ReadFile(h.logPath())
	if err != nil {
		return err
	}
	h.backup = true
	return os.WriteFile(h.logPath()+".old", b, 0o600)
}

// restore puts the copied records in place of what the dead machine had last.
func (h *host) restore() error {
	h.restored = time.Now()
	return errors.Join(os.Rename(h.logPath()+".old", h.logPath()), h.remember())
}

// running lists the servers whose guests run here, agent or not. Without an agent that is what the records say.
func (h *host) running() []string {
	if h.driver == nil {
		return nil
	}
	list, err := h.driver.List(context.Background())
	if err != nil {
		return nil
	}
	var out []string
	for _, s := range list {
		if s.Power == hostapi.PowerRunning || s.Power == hostapi.PowerPaused {
			out = append(out, s.ID)
		}
	}
	return out
}

// slow makes every verb of the hypervisor take d; fail makes starts fail.
func (h *host) slow(d time.Duration) {
	h.script.Add(fakehv.Rule{Verb: fakehv.Any, Delay: d})
}

func (h *host) fail(times int) {
	h.script.Add(fakehv.Rule{Verb: fakehv.Start, Times: times, Err: errNoMemory})
	h.script.Add(fakehv.Rule{Verb: fakehv.AttachDisk, Times: times, Err: errNoMemory})
	h.script.Add(fakehv.Rule{Verb: fakehv.Shutdown, Times: times, Err: errNoMemory, After: true})
}

var errNoMemory = fault.New(fault.KindUnavailable, "the simulated host cannot")
