package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"

	"nephos/internal/config"
	"nephos/internal/fault"
	"nephos/internal/host/agent"
	"nephos/internal/host/blockdev"
	"nephos/internal/host/dataplane"
	fakeplane "nephos/internal/host/dataplane/fake"
	"nephos/internal/host/dataplane/linux"
	"nephos/internal/host/hypervisor"
	fakehv "nephos/internal/host/hypervisor/fake"
	"nephos/internal/host/hypervisor/qemu"
	"nephos/internal/host/imagecache"
	"nephos/internal/host/simlog"
	"nephos/internal/hostapi"
	"nephos/internal/metadata"
)

// Version is stamped by the build.
var Version = "dev"

// hostImages is a host's way to the image room, both ways.
type hostImages interface {
	imagecache.Source
	agent.ImageSink
}

// startHost makes the compute host of this process (or its simulated hosts) and runs the agents.
func startHost(ctx context.Context, cfg *config.Config, st *state, b Bus, src hostImages, log *slog.Logger, l *lifecycle) error {
	if cfg.Driver == "fake" {
		return startFakeHosts(ctx, cfg, b, src, log, l)
	}
	return startRealHost(ctx, cfg, st, b, src, log.With("room", "host"), l)
}

// hostName is the configured name or the machine's.
func hostName(cfg *config.Config) string {
	if cfg.Host != "" {
		return cfg.Host
	}
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

func startRealHost(ctx context.Context, cfg *config.Config, st *state, b Bus, src hostImages, log *slog.Logger, l *lifecycle) error {
	drv, err := qemu.New(qemu.Config{Instances: cfg.Path("instances"), Cache: cfg.Path("accelerator.json"), Accel: cfg.Accel, Dedicated: cfg.Compute.Dedicated, Log: log})
	if err != nil {
		return fmt.Errorf("hypervisor: %w", err)
	}
	l.onStop("hypervisor", func() { drv.Close() })
	info, err := drv.Info(ctx)
	if err != nil {
		return fmt.Errorf("hypervisor: %w", err)
	}
	cache, err := imagecache.Open(cfg.Path("cache"), src, imagecache.Options{Used: agent.UsedImages(cfg.StateDir)})
	if err != nil {
		return fmt.Errorf("image cache: %w", err)
	}
	l.onStop("image cache", cache.Close)
	store, err := blockdev.Open(cfg.StateDir, blockdev.Options{Image: agent.CachedImage(cache),
		LiveCopy: func(ctx context.Context, server, volume, dst string) error {
			return held(ctx, drv, server, func() error { return drv.CopyDisk(ctx, server, volume, dst) })
		},
		LiveResize: func(ctx context.Context, server, volume string, bytes int64) error {
			return held(ctx, drv, server, func() error { return drv.ResizeDisk(ctx, server, volume, bytes) })
		}})
	if err != nil {
		return fmt.Errorf("volumes: %w", err)
	}
	// The metadata handler needs the agent and the agent needs the plane that serves it: the handler finds the agent when it is asked.
	var a *agent.Agent
	meta := metadata.NewHandler(func(ctx context.Context) (*hostapi.InstanceSpec, error) {
		_, server, ok := dataplane.PortFromContext(ctx)
		if !ok {
			return nil, fault.NotFound("no server asks from there")
		}
		return a.Spec(server)
	}, metadata.PasswordFiles{Dir: func(id string) string { return cfg.Path("instances", id) }},
		metadata.Options{PublicIPv4: func(s *hostapi.InstanceSpec) string { return a.FloatingIP(s) }}, log)
	plane, err := linux.New(linuxPlane(cfg, st, meta, log))
	if err != nil {
		return fmt.Errorf("networking: %w", err)
	}
	hi, err := hostInfo(cfg, info)
	if err != nil {
		return err
	}
	peers, door, err := listenPeers(cfg, log, l)
	if err != nil {
		return err
	}
	hi.Transfer, hi.TunnelIP = door, tunnelIP(cfg)
	a = agent.New(agent.Config{Info: hi, StateDir: cfg.StateDir, Bus: b, Driver: drv, Plane: plane, Disks: &agent.Files{Cache: cache, Store: store}, Sink: src,
		Parallel: max(2, runtime.NumCPU()), Log: log})
	if err := a.Open(ctx); err != nil {
		return err
	}
	l.onStop("data plane", func() {
		cctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		plane.Close(cctx)
	})
	peers.Register(hi.Name, a)
	l.run("agent "+hi.Name, a.Run)
	return nil
}

// held runs act if the server's guest runs; a stopped one holds no disk.
func held(ctx context.Context, drv hypervisor.Driver, server string, act func() error) error {
	s, err := drv.Status(ctx, server)
	if err != nil {
		return err
	}
	if !s.Running() {
		return blockdev.ErrNotHeld
	}
	return act()
}

// linuxPlane is the data plane's configuration; Down uses the same to find what is to be removed.
func linuxPlane(cfg *config.Config, st *state, meta http.Handler, log *slog.Logger) linux.Config {
	return linux.Config{Instance: st.instance, Metadata: meta, Domain: "novalocal", Log: log,
		External: linux.External{Enabled: true, Masquerade: cfg.Network.Masquerade, Forwarding: cfg.Network.Masquerade}}
}

// hostInfo describes this machine.
func hostInfo(cfg *config.Config, d hypervisor.Info) (hostapi.HostInfo, error) {
	var si syscall.Sysinfo_t
	if err := syscall.Sysinfo(&si); err != nil {
		return hostapi.HostInfo{}, fmt.Errorf("memory of this machine: %w", err)
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(cfg.StateDir, &fs); err != nil {
		return hostapi.HostInfo{}, fmt.Errorf("disk of this machine: %w", err)
	}
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	return hostapi.HostInfo{Name: hostName(cfg), Zone: cfg.Zone, Driver: d.Driver, Accel: d.Accel, DriverVersion: d.Version, CPUModel: cpuModel(), Arch: arch, VCPUs: runtime.NumCPU() - d.Dedicated, PCPUs: d.Dedicated,
		RAMMiB: int(si.Totalram * uint64(si.Unit) >> 20), DiskGiB: int(fs.Blocks * uint64(fs.Bsize) >> 30), Address: hostAddress(cfg), Gateway: true, Version: Version, Started: time.Now().UTC(),
		Traits: strings.Join(d.Traits, " "), NUMACells: d.NUMACells, PageSizes: strings.Trim(fmt.Sprint(d.PageSizes), "[]")}, nil
}

func startFakeHosts(ctx context.Context, cfg *config.Config, b Bus, sink agent.ImageSink, log *slog.Logger, l *lifecycle) error {
	if cfg.FakeHosts == 0 {
		return nil
	}
	if err := os.MkdirAll(cfg.Path("fake"), 0o711); err != nil {
		return err
	}
	records, err := simlog.Open(cfg.Path("fake", "hosts.log"))
	if err != nil {
		return fmt.Errorf("records of the simulated hosts: %w", err)
	}
	l.onStop("records of the simulated hosts", func() { records.Close() })
	peers, door, err := listenPeers(cfg, log, l)
	if err != nil {
		return err
	}
	for i := range cfg.FakeHosts {
		name := fakeName(cfg, i)
		dir := cfg.Path("fake", name)
		drv := fakehv.New(fakehv.Config{Records: records.Table(name + "/guest")})
		l.onStop("hypervisor "+name, func() { drv.Close() })
		what, err := drv.Info(ctx)
		if err != nil {
			return err
		}
		info := hostapi.HostInfo{Name: name, Zone: cfg.Zone, Driver: "fake", Accel: "fake", DriverVersion: "1", CPUModel: "simulated", Arch: "x86_64", VCPUs: 64, RAMMiB: 256 << 10, DiskGiB: 4 << 10,
			Address: cfg.Listen, Transfer: door, Gateway: i == 0, Version: Version, Started: time.Now().UTC(), Traits: strings.Join(what.Traits, " "), NUMACells: 2}
		a := agent.New(agent.Config{Info: info, StateDir: dir, Bus: b, Driver: drv, Plane: fakeplane.New(&fakeplane.Host{}, nil), Disks: &agent.NoFiles{Dir: dir, TotalGiB: info.DiskGiB}, Sink: sink, Simulated: records, Log: log.With("host", name)})
		if err := a.Open(ctx); err != nil {
			return err
		}
		peers.Register(name, a)
		l.run("agent "+name, a.Run)
	}
	return nil
}

// fakeName is the name of a process's i-th simulated host: the configured name, so that agents that join a cloud do not meet its own hosts.
func fakeName(cfg *config.Config, i int) string {
	switch {
	case cfg.Host == "":
		return fmt.Sprintf("fake-%05d", i+1)
	case cfg.FakeHosts == 1:
		return cfg.Host
	}
	return fmt.Sprintf("%s-%05d", cfg.Host, i+1)
}

// cpuModel is the processor's name.
func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	return fieldOf(string(b), "model name")
}
