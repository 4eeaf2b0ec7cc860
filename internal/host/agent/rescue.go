package agent

import (
	"context"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// rescue ends the guest and starts it from another image. The image is fetched first: what cannot be fetched leaves the guest as it is.
func (a *Agent) rescue(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if cmd.Spec == nil || cmd.Spec.Rescue == nil {
		return fault.Invalid("spec", "a rescue without an image")
	}
	if err := st.do("image", func() (string, error) { return "", a.cfg.Disks.Fetch(ctx, cmd.Spec.Rescue.Image) }); err != nil {
		return err
	}
	if err := st.do("poweroff", func() (string, error) { return "", a.cfg.Driver.Shutdown(ctx, in.id, cmd.Grace) }); err != nil {
		return err
	}
	spec := *cmd.Spec
	r := *spec.Rescue
	if old := in.currentSpec(); old.Rescue != nil { // a repeated command
		r.PasswordBefore = old.Rescue.PasswordBefore
	} else {
		r.PasswordBefore = old.Metadata.AdminPass
	}
	spec.Rescue = &r
	return a.start(ctx, in, hostapi.Command{Spec: &spec}, st)
}

// unrescue starts the guest from its own disks again.
func (a *Agent) unrescue(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if cmd.Spec == nil {
		return fault.Invalid("spec", "the end of a rescue without a spec")
	}
	if err := st.do("poweroff", func() (string, error) { return "", a.cfg.Driver.Shutdown(ctx, in.id, cmd.Grace) }); err != nil {
		return err
	}
	spec := *cmd.Spec
	spec.Rescue = nil
	if old := in.currentSpec(); old.Rescue != nil {
		spec.Metadata.AdminPass = old.Rescue.PasswordBefore
		err := in.editSpec(func(s *hostapi.InstanceSpec) { s.Rescue, s.Metadata.AdminPass = nil, old.Rescue.PasswordBefore })
		if err != nil {
			return err
		}
	}
	// From here on nothing refers to the rescue disk.
	if err := st.do("rescue disk", func() (string, error) { return "removed", a.cfg.Disks.DropRescue(in.dir) }); err != nil {
		return err
	}
	return a.start(ctx, in, hostapi.Command{Spec: &spec}, st)
}

// rescued turns the guest of a server into that of a rescued one (see hostapi.RescueSpec).
func (a *Agent) rescued(ctx context.Context, dir string, spec *hostapi.InstanceSpec, g *hypervisor.Guest) error {
	p, err := a.cfg.Disks.Rescue(ctx, dir, spec)
	if err != nil {
		return err
	}
	for i := range p.Disks {
		p.Disks[i].Limits = spec.Limits.Disk
	}
	own := g.Disks
	for i := range own {
		own[i].BootIndex = -1
	}
	g.Kernel, g.Initrd, g.Cmdline = p.Kernel, p.Ramdisk, p.Cmdline
	if spec.Rescue.Stable {
		g.Disks = append(own, p.Disks...)
		return nil
	}
	g.Disks = p.Disks
	if len(own) > 0 {
		g.Disks = append(g.Disks, own[0]) // the server's root, which is made first
	}
	return nil
}
