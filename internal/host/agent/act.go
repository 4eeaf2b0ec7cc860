package agent

import (
	"context"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// act is operate for the actions beyond power; known is false for an operation that is none of them.
func (a *Agent) act(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) (known bool, err error) {
	switch cmd.Op {
	case hostapi.OpRescue:
		return true, a.rescue(ctx, in, cmd, st)
	case hostapi.OpUnrescue:
		return true, a.unrescue(ctx, in, cmd, st)
	case hostapi.OpRebuild:
		return true, a.rebuild(ctx, in, cmd, st)
	case hostapi.OpRebuildUndo:
		return true, a.rebuildUndo(ctx, in, cmd, st)
	case hostapi.OpRebuildDone:
		return true, st.do("clean", func() (string, error) { return "", a.cfg.Disks.DropAside(in.dir) })
	case hostapi.OpSnapshot:
		return true, a.snapshot(ctx, in, cmd, st)
	case hostapi.OpUpload:
		return true, a.upload(ctx, in, cmd, st)
	case hostapi.OpSnapshotDrop:
		if cmd.Snapshot == nil {
			return true, fault.Invalid("snapshot", "no image is named")
		}
		return true, st.do("clean", func() (string, error) { return "", a.dropCopy(in, cmd.Snapshot.ImageID) })
	case hostapi.OpSetPassword:
		return true, st.do("guest agent", func() (string, error) { return "", a.cfg.Driver.SetPassword(ctx, in.id, "root", cmd.Password) })
	case hostapi.OpCrashDump:
		return true, st.do("interrupt", func() (string, error) { return "", a.cfg.Driver.NMI(ctx, in.id) })
	case hostapi.OpReplug:
		return true, st.do("network", func() (string, error) { return a.plug(ctx, in.currentSpec()) })
	case hostapi.OpSwapVolume:
		return true, a.swapVolume(ctx, in, cmd, st)
	}
	return a.moved(ctx, in, cmd, st)
}

// swapVolume moves the running guest to another volume; then the spec says so. After a crash in between the command comes again and finds the guest moved.
func (a *Agent) swapVolume(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	from, to := cmd.Volume, cmd.Swap
	if from == nil || to == nil {
		return fault.Invalid("volume", "a swap without two volumes")
	}
	if err := st.do("swap", func() (string, error) { return "", a.cfg.Driver.SwapDisk(ctx, in.id, from.VolumeID, volumeDisk(*to)) }); err != nil {
		return err
	}
	return in.editSpec(func(s *hostapi.InstanceSpec) {
		s.Volumes = slices.DeleteFunc(s.Volumes, func(o hostapi.VolumeSpec) bool { return o.VolumeID == to.VolumeID })
		for i := range s.Volumes {
			if s.Volumes[i].VolumeID == from.VolumeID {
				s.Volumes[i] = *to
				return
			}
		}
		s.Volumes = append(s.Volumes, *to)
	})
}
