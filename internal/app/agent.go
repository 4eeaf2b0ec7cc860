package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"nephos/internal/bus"
	"nephos/internal/config"
)

// Agent runs one compute host that joins a controller's bus, until ctx ends. Guests go on after it.
func Agent(ctx context.Context, cfg *config.Config, out io.Writer, log *slog.Logger) error {
	if cfg.Join == "" {
		return errors.New("--join nats://HOST:PORT of a controller is needed")
	}
	st, err := openState(cfg.StateDir)
	if err != nil {
		return err
	}
	defer st.close()
	l := newLifecycle(log)
	defer l.stop()
	serveProfiles(cfg.Path("profile.sock"), log, l)
	secure, err := clientTLS(cfg)
	if err != nil {
		return err
	}
	b, err := bus.Open(bus.Config{Name: "agent " + hostName(cfg), URL: cfg.Join, Token: cfg.Token, Log: log, ClientTLS: secure})
	if err != nil {
		return err
	}
	l.onStop("bus", b.Close)
	if err := startHost(ctx, cfg, st, b, newBusImages(b, secure), log, l); err != nil {
		return err
	}
	select { // guests are looked after meanwhile; but who reads "ready" may count on the cloud knowing this host
	case <-b.Joined():
	case <-ctx.Done():
		return nil
	case err := <-l.failed:
		return err
	}
	fmt.Fprintf(out, "ready  host=%s  bus=%s\n", hostName(cfg), cfg.Join)
	select {
	case <-ctx.Done():
		return nil
	case err := <-l.failed:
		return err
	}
}
