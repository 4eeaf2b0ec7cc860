package agent

import (
	"context"
	"maps"
	"slices"
	"time"

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
	if err := in.setState(func(s *instanceState) { s.Copies = with(s.Copies, cmd.Snapshot.ImageID, time.Now()) }); err != nil {
		return err
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
	return a.dropCopy(in, cmd.Snapshot.ImageID)
}

// dropCopy removes the copy for an image; none is no error.
func (a *Agent) dropCopy(in *instance, imageID string) error {
	if err := a.cfg.Disks.DropSnapshot(in.dir, imageID); err != nil {
		return err
	}
	in.mark(func(s *instanceState) { s.Copies = with(s.Copies, imageID, time.Time{}) })
	return nil
}

// with is a map with an entry more, or one less when t is zero. The old map stays as it is: it may be being written to disk.
func with(m map[string]time.Time, id string, t time.Time) map[string]time.Time {
	m = maps.Clone(m)
	if t.IsZero() {
		delete(m, id)
		return m
	}
	if m == nil {
		m = map[string]time.Time{}
	}
	m[id] = t
	return m
}

// copyTime is how long a copy is kept for an upload. No workflow that makes an image lasts that long: what is older was left by one that gave up while this host was down.
const copyTime = 3 * time.Hour

// dropOldCopies removes what nobody will ask for any more. An instance that is busy is looked at the next time.
func (a *Agent) dropOldCopies() {
	a.mu.Lock()
	all := slices.Collect(maps.Values(a.instances))
	a.mu.Unlock()
	for _, in := range all {
		in.mu.Lock()
		var old []string
		for id, t := range in.state.Copies {
			if time.Since(t) > copyTime {
				old = append(old, id)
			}
		}
		in.mu.Unlock()
		if len(old) == 0 {
			continue
		}
		select {
		case in.run <- struct{}{}:
		default:
			continue
		}
		for _, id := range old {
			err := a.dropCopy(in, id)
			if err == nil {
				err = in.setState(func(*instanceState) {})
			}
			a.cfg.Log.Info("old copy of a disk removed", "server", in.id, "image", id, "err", err)
		}
		<-in.run
	}
}
