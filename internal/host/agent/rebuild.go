package agent

import (
	"context"
	"os"
	"path/filepath"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// rebuild gives the server new disks. The old ones are set aside, with their spec, until the controller says that it is done or takes it back.
func (a *Agent) rebuild(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if cmd.Spec == nil || cmd.Rebuild == nil {
		return fault.Invalid("spec", "a rebuild without a spec")
	}
	if image := cmd.Spec.Image; image != nil {
		if err := st.do("image", func() (string, error) { return "", a.cfg.Disks.Fetch(ctx, *image) }); err != nil {
			return err
		}
	}
	if err := st.do("poweroff", func() (string, error) { return "", a.cfg.Driver.Shutdown(ctx, in.id, cmd.Grace) }); err != nil {
		return err
	}
	if err := st.do("set aside", func() (string, error) { return "", a.cfg.Disks.SetAside(in.dir, *cmd.Rebuild) }); err != nil {
		return err
	}
	os.Remove(filepath.Join(in.dir, stateFile))
	if err := in.setSpec(cmd.Spec); err != nil {
		return err
	}
	if cmd.Rebuild.PowerOn {
		return a.powerOn(ctx, in, st)
	}
	_, err := a.prepare(ctx, in, cmd.Spec, st)
	return err
}

// rebuildUndo has the old disks again, as far as they were set aside.
func (a *Agent) rebuildUndo(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if cmd.Spec == nil || cmd.Rebuild == nil {
		return fault.Invalid("spec", "a rebuild taken back without a spec")
	}
	err := st.do("put back", func() (string, error) {
		if err := a.cfg.Driver.Shutdown(ctx, in.id, 0); err != nil {
			return "", err
		}
		return "", a.cfg.Disks.PutBack(in.dir, cmd.Rebuild.Key)
	})
	if err != nil {
		return err
	}
	if err := a.refresh(in, cmd); err != nil {
		return err
	}
	if cmd.Rebuild.PowerOn {
		return a.powerOn(ctx, in, st)
	}
	return nil
}
