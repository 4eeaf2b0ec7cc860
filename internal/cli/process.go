package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"nephos/internal/app"
	"nephos/internal/cli/client"
	"nephos/internal/config"
)

// process is a verb of package app that runs in the foreground until ctx ends.
type process func(ctx context.Context, cfg *config.Config, out io.Writer, log *slog.Logger) error

// start checks the settings, opens the log and runs p.
func start(ctx context.Context, env *client.Env, cfg *config.Config, logFile string, p process) error {
	if err := cfg.Check(); err != nil {
		return usageError{err}
	}
	log, closeLog, err := openLog(cfg, logFile, env.Err)
	if err != nil {
		return err
	}
	defer closeLog()
	return p(ctx, cfg, env.Out, log)
}

type upCmd struct {
	machineFlags
	cloudFlags
}

// Help is shown by `nephos help up`.
func (*upCmd) Help() string {
	return `Prints what it does and one line that begins with "ready" when every service answers. Ends at SIGTERM or Ctrl-C; guests go on, and the next "nephos up" takes them over. ` +
		`The state directory then holds openrc and clouds.yaml for the admin.`
}

func (u *upCmd) Run(ctx context.Context, env *client.Env) error {
	cfg, err := u.config(env)
	if err != nil {
		return err
	}
	return start(ctx, env, cfg, u.LogFile, app.Up)
}

func (u *upCmd) config(env *client.Env) (*config.Config, error) {
	cfg, err := u.load(client.DefaultStateDir(env.Getenv))
	if err == nil {
		u.apply(cfg)
	}
	return cfg, err
}

type controllerCmd struct {
	machineFlags
	cloudFlags
	Join   *string `placeholder:"nats://HOST:PORT,…" help:"A bus that runs elsewhere, for several controllers; without it the controller has its own."`
	Token  *string `placeholder:"T" env:"NEPHOS_JOIN_TOKEN" help:"That bus's secret."`
	Shared *string `placeholder:"DIR" type:"path" help:"What several controllers share: token keys, images, the admin's password (the state directory)."`
}

// Help is shown by `nephos help controller`.
func (*controllerCmd) Help() string {
	return `All services and no compute host; hosts join with "nephos agent --join" and the secret in the file join-token of the state directory. ` +
		`Several controllers need one PostgreSQL database (--db), one bus (--join) and one shared directory (--shared); any balancer may stand before them.`
}

func (c *controllerCmd) Run(ctx context.Context, env *client.Env) error {
	cfg, err := c.load(client.DefaultStateDir(env.Getenv))
	if err != nil {
		return err
	}
	c.apply(cfg)
	over(&cfg.Join, c.Join)
	over(&cfg.Token, c.Token)
	over(&cfg.SharedDir, c.Shared)
	if cfg.Join != "" && cfg.Database == "" {
		return usageError{errors.New("controllers that share a bus must share a database: --db postgres://… is needed with --join")}
	}
	return start(ctx, env, cfg, c.LogFile, app.Control)
}

type agentCmd struct {
	machineFlags
	Join      *string `placeholder:"nats://HOST:PORT" help:"The bus of a controller; tls://HOST:PORT where it has TLS."`
	Token     *string `placeholder:"T" env:"NEPHOS_JOIN_TOKEN" help:"The bus's secret: the file join-token in the controller's state directory."`
	Listen    *string `placeholder:"ADDR" help:"Address by which other hosts reach this one."`
	FakeHosts *int    `placeholder:"N" help:"Number of simulated hosts, with --driver fake."`
}

func (a *agentCmd) Run(ctx context.Context, env *client.Env) error {
	cfg, err := a.load(client.DefaultStateDir(env.Getenv))
	if err != nil {
		return err
	}
	over(&cfg.Join, a.Join)
	over(&cfg.Token, a.Token)
	over(&cfg.Listen, a.Listen)
	over(&cfg.FakeHosts, a.FakeHosts)
	if cfg.Join == "" {
		return usageError{fmt.Errorf("--join nats://HOST:PORT of a controller is needed (its port is %d and the controller's port offset)", config.PortBus)}
	}
	return start(ctx, env, cfg, a.LogFile, app.Agent)
}

type downCmd struct {
	machineFlags
	Purge bool `help:"Delete the state directory too: records, disks, keys."`
}

// Help is shown by `nephos help down`.
func (*downCmd) Help() string {
	return `Stop "nephos up" first. Records and disks stay (without --purge): the next "nephos up" makes the networks again, and the servers can be started.`
}

// Run takes the machine's share of a cloud away. Its log goes to stderr: the state directory may be gone, or go.
func (d *downCmd) Run(ctx context.Context, env *client.Env) error {
	cfg, err := d.load(client.DefaultStateDir(env.Getenv))
	if err != nil {
		return err
	}
	if d.LogFile == "" {
		d.LogFile = "-"
		if d.LogLevel == nil {
			cfg.LogLevel = "warn"
		}
	}
	return start(ctx, env, cfg, d.LogFile, func(ctx context.Context, cfg *config.Config, out io.Writer, log *slog.Logger) error {
		return app.Down(ctx, cfg, d.Purge, out, log)
	})
}

type versionCmd struct{}

func (versionCmd) Run(env *client.Env) error {
	_, err := fmt.Fprintln(env.Out, "nephos", app.Version)
	return err
}
