package agent

import (
	"context"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// The spec is changed before a device is plugged in and after it is taken out: whatever the line of a crash, a device that the guest has is in the
// spec, so that the next start has it too and a repeated command ends the same way. A plugging that fails leaves it there (a monitor that was silent may yet do what it was told); the
// controller's undo, a detach, takes it out.

func (a *Agent) attachVolume(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	v := cmd.Volume
	if v == nil {
		return fault.Invalid("volume", "attach without a volume")
	}
	err := in.editSpec(func(s *hostapi.InstanceSpec) {
		s.Volumes = slices.DeleteFunc(s.Volumes, func(o hostapi.VolumeSpec) bool { return o.VolumeID == v.VolumeID })
		s.Volumes = append(s.Volumes, *v)
	})
	if err != nil {
		return err
	}
	return st.do("plug", func() (string, error) {
		running, err := a.running(ctx, in)
		if err != nil || !running {
			return "not running", err
		}
		return "hot", a.cfg.Driver.AttachDisk(ctx, in.id, hotDisk(in.currentSpec().Machine, *v))
	})
}

func (a *Agent) detachVolume(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if cmd.Volume == nil {
		return fault.Invalid("volume", "detach without a volume")
	}
	id := cmd.Volume.VolumeID
	err := st.do("unplug", func() (string, error) {
		running, err := a.running(ctx, in)
		if err != nil || !running {
			return "not running", err
		}
		return "hot", a.cfg.Driver.DetachDisk(ctx, in.id, id)
	})
	if err != nil {
		return err
	}
	return in.editSpec(func(s *hostapi.InstanceSpec) {
		s.Volumes = slices.DeleteFunc(s.Volumes, func(o hostapi.VolumeSpec) bool { return o.VolumeID == id })
	})
}

func (a *Agent) attachInterface(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	n := cmd.NIC
	if n == nil {
		return fault.Invalid("nic", "attach without an interface")
	}
	err := in.editSpec(func(s *hostapi.InstanceSpec) {
		s.NICs = slices.DeleteFunc(s.NICs, func(o hostapi.NICSpec) bool { return o.PortID == n.PortID })
		s.NICs = append(s.NICs, *n)
	})
	if err != nil {
		return err
	}
	err = st.do("network", func() (string, error) { return a.plug(ctx, in.currentSpec()) })
	if err == nil {
		err = st.do("plug", func() (string, error) {
			running, err := a.running(ctx, in)
			if err != nil || !running {
				return "not running", err
			}
			return "hot", a.cfg.Driver.AttachNIC(ctx, in.id, hotNIC(in.currentSpec().Machine, a.nic(*n)))
		})
	}
	return err
}

func (a *Agent) detachInterface(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if cmd.NIC == nil {
		return fault.Invalid("nic", "detach without an interface")
	}
	id := cmd.NIC.PortID
	err := st.do("unplug", func() (string, error) {
		running, err := a.running(ctx, in)
		if err != nil || !running {
			return "not running", err
		}
		return "hot", a.cfg.Driver.DetachNIC(ctx, in.id, id)
	})
	if err != nil {
		return err
	}
	err = in.editSpec(func(s *hostapi.InstanceSpec) {
		s.NICs = slices.DeleteFunc(s.NICs, func(o hostapi.NICSpec) bool { return o.PortID == id })
	})
	if err != nil {
		return err
	}
	return st.do("network", func() (string, error) { return a.unplug(ctx, in.id) })
}

// hotDisk is a volume as a running guest of this machine gets it: on the bus that it will have after the next start too. A machine of ide or sata disks takes none while it
// runs, and gets it on virtio until then.
func hotDisk(m hostapi.MachineOptions, v hostapi.VolumeSpec) hypervisor.Disk {
	d := volumeDisk(v)
	if d.Bus == "" && m.DiskBus == "scsi" {
		d.Bus = m.DiskBus
	}
	return d
}

// hotNIC is the same for an interface.
func hotNIC(m hostapi.MachineOptions, n hypervisor.NIC) hypervisor.NIC {
	n.Model, n.Packed = m.VIFModel, m.PackedRing
	return n
}

func (a *Agent) running(ctx context.Context, in *instance) (bool, error) {
	s, err := a.cfg.Driver.Status(ctx, in.id)
	return s.Running(), err
}
