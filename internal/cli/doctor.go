package cli

import (
	"context"

	"nephos/internal/cli/client"
	"nephos/internal/cli/doctor"
)

type doctorCmd struct {
	machineFlags
	cloudFlags
}

// Help is shown by `nephos help doctor`.
func (*doctorCmd) Help() string {
	return `Give it the flags that you will give "nephos up". Changes nothing; what it tries, it tries inside a network namespace that ends with it.`
}

// Run checks the machine for what `nephos up` with the same flags needs; exit code 1 if anything fails.
func (d *doctorCmd) Run(ctx context.Context, env *client.Env) error {
	cfg, err := d.load(client.DefaultStateDir(env.Getenv))
	if err != nil {
		return err
	}
	d.apply(cfg)
	if err := cfg.Check(); err != nil {
		return usageError{err}
	}
	if !doctor.Print(env.Out, doctor.Run(ctx, doctor.Options{Config: cfg}), env.Terminal) {
		return client.ExitError{Code: 1}
	}
	return nil
}
