package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"nephos/internal/config"
	"nephos/internal/host/dataplane/linux"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qemu"
)

// DownGrace is how long guests may take to shut down by themselves.
const DownGrace = 10 * time.Second

// Down ends the guests of a state directory and removes every bridge, namespace and rule that its clouds made on this machine. Records and disks stay: the
// next Up shows the servers as shut off, and they can be started. With purge the state directory goes too. Everything is done again
// without harm if it was interrupted.
func Down(ctx context.Context, cfg *config.Config, purge bool, out io.Writer, log *slog.Logger) error {
	if _, err := os.Stat(cfg.StateDir); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(out, "%s does not exist: nothing to take down\n", cfg.StateDir)
		return nil
	}
	st, err := openState(cfg.StateDir)
	if err != nil {
		return err
	}
	defer st.close()
	guests, err := endGuests(ctx, cfg, log)
	if err != nil {
		return err
	}
	plane, err := linux.New(linuxPlane(cfg, st, nil, log))
	if err != nil {
		return fmt.Errorf("networking: %w", err)
	}
	if err := plane.Destroy(ctx); err != nil {
		return fmt.Errorf("networking: %w", err)
	}
	fmt.Fprintf(out, "%d guests ended; bridges, namespaces and rules removed\n", guests)
	if !purge {
		fmt.Fprintf(out, "records and disks are kept in %s (--purge removes them)\n", cfg.StateDir)
		return nil
	}
	return os.RemoveAll(cfg.StateDir)
}

// endGuests shuts all guests down side by side.
func endGuests(ctx context.Context, cfg *config.Config, log *slog.Logger) (int, error) {
	drv, err := qemu.New(qemu.Config{Instances: cfg.Path("instances"), Cache: cfg.Path("accelerator.json"), Accel: cfg.Accel, Log: log})
	if err != nil {
		return 0, fmt.Errorf("hypervisor: %w", err)
	}
	defer drv.Close()
	found, err := drv.Adopt(ctx)
	if err != nil {
		return 0, fmt.Errorf("hypervisor: %w", err)
	}
	var wg sync.WaitGroup
	errs := make([]error, len(found))
	ended := 0
	for i, g := range found {
		if g.Running() {
			ended++
		}
		wg.Go(func() { errs[i] = end(ctx, drv, g.ID) })
	}
	wg.Wait()
	return ended, errors.Join(errs...)
}

// end presses the power button and then makes sure.
func end(ctx context.Context, drv hypervisor.Driver, id string) error {
	if err := drv.Shutdown(ctx, id, DownGrace); err != nil {
		return drv.Destroy(ctx, id)
	}
	return nil
}
