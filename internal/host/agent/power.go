package agent

import (
	"context"
	"path/filepath"

	"nephos/internal/hostapi"
)

// rebootHard cuts the power and starts the server from its disks with the controller's spec, as Nova does: it mends what a guest cannot.
func (a *Agent) rebootHard(ctx context.Context, in *instance, cmd hostapi.Command, st *steps) error {
	if err := st.do("poweroff", func() (string, error) { return "", a.cfg.Driver.Shutdown(ctx, in.id, 0) }); err != nil {
		return err
	}
	return a.start(ctx, in, cmd, st)
}

func (a *Agent) suspend(ctx context.Context, in *instance, st *steps) error {
	return st.do("suspend", func() (string, error) {
		return "", a.cfg.Driver.Suspend(ctx, in.id, filepath.Join(in.dir, stateFile))
	})
}

// resume starts the guest from its saved memory. The guest must have the devices it had, so the stored spec is used, not a newer one.
func (a *Agent) resume(ctx context.Context, in *instance, _ hostapi.Command, st *steps) error {
	spec := in.currentSpec()
	guest, err := a.prepare(ctx, in, spec, st)
	if err != nil {
		return err
	}
	if err := st.do("network", func() (string, error) { return a.plug(ctx, spec) }); err != nil {
		return err
	}
	return st.do("resume", func() (string, error) {
		return "", a.cfg.Driver.Resume(ctx, guest, filepath.Join(in.dir, stateFile))
	})
}
