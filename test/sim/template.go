package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"nephos/internal/app"
	"nephos/internal/db"
	"nephos/internal/image"
)

// limits of the project, so that clients meet them.
var limits = map[string]int64{"instances": 9, "cores": 9, "volumes": 5, "gigabytes": 16, "snapshots": 3, "port": 12}

// imageID is the image that all servers are made from.
const imageID = "10000000-0000-4000-8000-000000000001"

// newTemplate bootstraps a cloud in dir and closes it.
func newTemplate(ctx context.Context, dir string) (*template, error) {
	path := filepath.Join(dir, "nephos.db")
	d, err := db.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := app.Migrate(ctx, d); err != nil {
		return nil, err
	}
	w := newWire(0, func(string, ...any) {}, func(string) string { return "" })
	defer w.close()
	cfg := settings(dir, "template")
	if err := errors.Join(os.MkdirAll(cfg.StateDir, 0o700), os.MkdirAll(cfg.SharedDir, 0o700)); err != nil {
		return nil, err
	}
	rooms, err := app.NewRooms(app.Parts{Config: cfg, Log: slog.New(slog.DiscardHandler), DB: d, Bus: w.join("template"), External: external})
	if err != nil {
		return nil, err
	}
	t := &template{dir: dir, image: imageID}
	if t.project, err = rooms.Bootstrap(ctx, "secret"); err != nil {
		return nil, err
	}
	_, err = rooms.Images.Ensure(ctx, image.CreateParams{ID: imageID, Name: "tiny", Owner: t.project, Visibility: image.Public, DiskFormat: "raw", ContainerFormat: "bare"},
		func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(strings.Repeat("x", 4096))), nil })
	if err != nil {
		return nil, err
	}
	err = d.Write(ctx, func(tx *db.Tx) error {
		for resource, n := range limits {
			if err := rooms.Quotas.SetLimit(ctx, tx, t.project, resource, n); err != nil {
				return err
			}
		}
		return tx.Get(ctx, &t.network, `SELECT id FROM networks WHERE external = FALSE LIMIT 1`)
	})
	if err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	return t, nil
}
