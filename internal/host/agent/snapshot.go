package agent

import (
	"context"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// snapshot copies the root disk while the guest, if it runs, runs on. A copy of the same image's that is there already is whole.
func (a *Agent) snapshot(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if cmd.Snapshot == nil {
		return fault.Invalid("snapshot", "a snapshot without an image")
	}
	running, err := a.running(ctx, in)
	if err != nil {
		return err
	}
	var live func(diskID, dst string) error
	detail := "not running"
	if running {
		detail = "live"
		if cmd.Snapshot.Quiesce {
			if err := st.do("guest agent", func() (string, error) { return "", a.cfg.Driver.AgentAnswers(ctx, in.id) }); err != nil {
				return err
			}
		}
		live = func(diskID, dst string) error { return a.cfg.Driver.CopyDisk(ctx, in.id, diskID, dst) }
	}
	return st.do("copy", func() (string, error) {
		_, err := a.cfg.Disks.Snapshot(ctx, in.dir, cmd.Snapshot.ImageID, live)
		return detail, err
	})
}

// upload hands the copy over and forgets it.
func (a *Agent) upload(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if cmd.Snapshot == nil {
		return fault.Invalid("snapshot", "an upload without an image")
	}
	if a.cfg.Sink == nil {
		return fault.Unavailable("host %s has no way to the image room", a.cfg.Info.Name)
	}
	err := st.do("upload", func() (string, error) {
		path, err := a.cfg.Disks.Snapshot(ctx, in.dir, cmd.Snapshot.ImageID, func(string, string) error {
			return fault.Conflict("the copy of image %s is gone", cmd.Snapshot.ImageID)
		})
		if err != nil {
			return "", err
		}
		return "", a.cfg.Sink.Put(ctx, *cmd.Snapshot, path)
	})
	if err != nil {
		return err
	}
	return a.cfg.Disks.DropSnapshot(in.dir, cmd.Snapshot.ImageID)
}
