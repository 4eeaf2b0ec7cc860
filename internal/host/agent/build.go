package agent

import (
	"context"
	"os"
	"path/filepath"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// stateFile holds the memory of a suspended guest, in its directory.
const stateFile = "memory.state"

// build makes and starts a server. Each step finds what an earlier try of the same command left.
func (a *Agent) build(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if cmd.Spec == nil {
		return fault.Invalid("spec", "a build without a spec")
	}
	if a.slots != nil {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := in.setSpec(cmd.Spec); err != nil {
		return err
	}
	if err := a.powerOn(ctx, in, st); err != nil {
		return err
	}
	in.mark(func(s *instanceState) { s.Built = true })
	return nil
}

// powerOn brings disks, drive and network into being as the spec says and starts the guest.
func (a *Agent) powerOn(ctx context.Context, in *instance, st *steps) error {
	in.mark(func(s *instanceState) { s.Parked = false }) // whoever may start it here has it
	spec := in.currentSpec()
	guest, err := a.prepare(ctx, in, spec, st)
	if err != nil {
		return err
	}
	if err := st.do("network", func() (string, error) { return a.plug(ctx, spec) }); err != nil {
		return err
	}
	return st.do("hypervisor", func() (string, error) {
		if err := a.cfg.Driver.Start(ctx, guest); err != nil {
			return "", err
		}
		return a.cfg.Info.Driver + " " + a.cfg.Info.Accel, nil
	})
}

// prepare makes the disks and the config drive and describes the guest.
func (a *Agent) prepare(ctx context.Context, in *instance, spec *hostapi.InstanceSpec, st *steps) (hypervisor.Guest, error) {
	g := hypervisor.Guest{ID: spec.ServerID, VCPUs: spec.VCPUs, RAMMiB: spec.RAMMiB, Layout: spec.Layout, Machine: spec.Machine, CPU: spec.Limits.CPU}
	p, err := a.cfg.Disks.Prepare(ctx, in.dir, spec, st.do)
	if err != nil {
		return g, err
	}
	g.Disks, g.Kernel, g.Initrd, g.Cmdline = p.Disks, p.Kernel, p.Ramdisk, p.Cmdline
	for i := range g.Disks { // the local ones: Nova limits volumes by their type only
		g.Disks[i].Limits = spec.Limits.Disk
	}
	for _, v := range spec.Volumes {
		g.Disks = append(g.Disks, volumeDisk(v))
	}
	if spec.Rescue != nil {
		if err := st.do("rescue disk", func() (string, error) { return "", a.rescued(ctx, in.dir, spec, &g) }); err != nil {
			return g, err
		}
	}
	if spec.ConfigDrive {
		err := st.do("configdrive", func() (string, error) {
			path, err := a.cfg.Disks.ConfigDrive(ctx, in.dir, spec)
			g.Disks = append(g.Disks, hypervisor.Disk{ID: "config", Path: path, Format: "raw", CDROM: true, BootIndex: -1})
			return "", err
		})
		if err != nil {
			return g, err
		}
	}
	for _, n := range spec.NICs {
		g.NICs = append(g.NICs, a.nic(n))
	}
	return g, nil
}

func volumeDisk(v hostapi.VolumeSpec) hypervisor.Disk {
	return hypervisor.Disk{ID: v.VolumeID, Path: v.Path, Format: v.Format, ReadOnly: v.ReadOnly, BootIndex: v.BootIndex, Bus: v.DiskBus, Serial: v.VolumeID}
}

func (a *Agent) nic(n hostapi.NICSpec) hypervisor.NIC {
	port := n.PortID
	return hypervisor.NIC{PortID: port, MAC: n.Port.MAC, MTU: n.Network.MTU,
		OpenTap: func(ctx context.Context) (*os.File, error) { return a.cfg.Plane.OpenTap(ctx, port) }}
}

// destroy removes the guest, its ports and its files. The directory goes last: while it is there the heartbeat still reports the instance.
func (a *Agent) destroy(ctx context.Context, in *instance, st *steps) error {
	if err := st.do("hypervisor", func() (string, error) { return "", a.cfg.Driver.Destroy(ctx, in.id) }); err != nil {
		return err
	}
	in.mu.Lock()
	in.spec = nil // its ports are no longer wanted
	in.mu.Unlock()
	err := st.do("network", func() (string, error) {
		return a.unplug(ctx, in.id)
	})
	if err != nil {
		return err
	}
	return st.do("disk", func() (string, error) { return "", in.keep.remove(in.id) })
}

// start powers a stopped server on with what the controller now says of it.
func (a *Agent) start(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if err := a.refresh(in, cmd); err != nil {
		return err
	}
	if err := a.powerOn(ctx, in, st); err != nil {
		return err
	}
	os.Remove(filepath.Join(in.dir, stateFile)) // a cold start forgets suspended memory
	return nil
}

// refresh takes a newer spec in, keeping what only the build knew (admin password, injected files).
func (a *Agent) refresh(in *instance, cmd hostapi.Command) error {
	if cmd.Spec == nil {
		return nil
	}
	old := in.currentSpec()
	spec := *cmd.Spec
	if spec.Metadata.AdminPass == "" {
		spec.Metadata.AdminPass = old.Metadata.AdminPass
	}
	if len(spec.Metadata.Personality) == 0 {
		spec.Metadata.Personality = old.Metadata.Personality
	}
	return in.setSpec(&spec)
}
