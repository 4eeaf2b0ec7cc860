package cli

import (
	"context"

	"nephos/internal/app"
	"nephos/internal/cli/client"
)

// identityCmd works on a cloud's database, whether its controllers run or not.
type identityCmd struct {
	RotateKeys rotateKeysCmd `cmd:"" help:"Make the next Fernet key the primary and stage a new one. Tokens stay valid; running controllers need no restart."`
}

type rotateKeysCmd struct {
	Config      string  `placeholder:"FILE" type:"path" help:"Configuration file (YAML). Flags win over it."`
	StateDir    *string `placeholder:"DIR" type:"path" env:"NEPHOS_STATE_DIR" help:"State directory of a controller, with its cloud-secret (${state_dir})."`
	Shared      *string `aliases:"shared-dir" placeholder:"DIR" type:"path" help:"What several controllers share, with the cloud-secret (the state directory)."`
	DB          *string `name:"db" placeholder:"postgres://…" env:"NEPHOS_DB" help:"PostgreSQL instead of SQLite in the state directory."`
	Credentials bool    `help:"Rotate the keys of stored credentials instead, and seal all of them anew."`
}

// Run rotates.
func (c *rotateKeysCmd) Run(ctx context.Context, env *client.Env) error {
	m := machineFlags{Config: c.Config, StateDir: c.StateDir}
	cfg, err := m.load(client.DefaultStateDir(env.Getenv))
	if err != nil {
		return err
	}
	over(&cfg.Database, c.DB)
	over(&cfg.SharedDir, c.Shared)
	return app.RotateKeys(ctx, cfg, c.Credentials, env.Out)
}
