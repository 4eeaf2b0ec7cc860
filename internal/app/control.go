package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"nephos/internal/bus"
	"nephos/internal/config"
	"nephos/internal/faultpoint"
)

// Control runs the controller's half of a cloud until ctx ends: all services, no compute host. Hosts join its bus (`nephos agent --join`). With cfg.Join it is one of several
// on a bus that runs elsewhere; they then share a PostgreSQL database and cfg.SharedDir (token keys, image bytes, the admin's password), and hold no state of their own.
func Control(ctx context.Context, cfg *config.Config, out io.Writer, log *slog.Logger) error {
	st, err := openState(cfg.StateDir)
	if err != nil {
		return err
	}
	defer st.close()
	fmt.Fprintf(out, "nephos %s\n", Version)
	say := func(format string, args ...any) { fmt.Fprintf(out, "  "+format+"\n", args...) }
	say("state       %s", cfg.StateDir)
	l := newLifecycle(log)
	defer l.stop()
	c, err := startController(ctx, cfg, st, say, log, l)
	if err != nil {
		return err
	}
	if err := c.firstImage(ctx, say); err != nil {
		return err
	}
	fmt.Fprintf(out, "ready  auth_url=%s  openrc=%s  bus=%s  (hosts join with: nephos agent --join)\n", cfg.URL(config.PortIdentity, "/v3"), cfg.Path("openrc"), c.busAddr())
	select {
	case <-ctx.Done():
		return nil
	case err := <-l.failed:
		return err
	}
}

// startController makes the bus (or joins it) and the service rooms, runs their loops and opens their ports.
func startController(ctx context.Context, cfg *config.Config, st *state, say func(string, ...any), log *slog.Logger, l *lifecycle) (*controller, error) {
	password, err := adminPassword(cfg)
	if err != nil {
		return nil, err
	}
	secure, err := serverTLS(cfg)
	if err != nil {
		return nil, err
	}
	bc := bus.Config{Name: "controller", Listen: cfg.Addr(config.PortBus), Token: st.token, Log: log, ServerTLS: secure, Clients: busClients(cfg)}
	if cfg.Join != "" {
		bc.URL, bc.Listen = cfg.Join, ""
		if bc.ClientTLS, err = clientTLS(cfg); err != nil {
			return nil, err
		}
		if cfg.Token != "" {
			bc.Token = cfg.Token
		}
	}
	b, err := bus.Open(bc)
	if err != nil {
		return nil, err
	}
	l.onStop("bus", b.Close)
	external, err := externalRange(cfg)
	if err != nil {
		return nil, err
	}
	c, err := newController(ctx, cfg, log, b, external)
	if err != nil {
		return nil, err
	}
	c.secure = secure
	c.closeWith(l)
	if err := faultpoint.Describe("declared", c.engine.Declared()); err != nil {
		return nil, err
	}
	if err := c.bootstrap(ctx, password); err != nil {
		return nil, err
	}
	if err := c.start(l); err != nil {
		return nil, err
	}
	say("database    %s", c.db.Dialect)
	if err := writeCredentials(cfg, password); err != nil {
		return nil, err
	}
	if err := c.listen(l); err != nil {
		return nil, err
	}
	say("identity    %s   user admin, project admin", cfg.URL(config.PortIdentity, "/v3"))
	say("compute     %s", cfg.URL(config.PortCompute, "/v2.1"))
	return c, nil
}

// busAddr is where hosts join.
func (c *controller) busAddr() string {
	if c.cfg.Join != "" {
		return c.cfg.Join
	}
	return "nats://" + c.bus.Addr()
}
