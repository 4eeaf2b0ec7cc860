package app

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/bus"
	"nephos/internal/compute"
	"nephos/internal/config"
	"nephos/internal/image"
	"nephos/internal/policy"
)

func TestRealGuestScratch(t *testing.T) {
	path := os.Getenv("SCRATCH_GUEST")
	if path == "" {
		t.Skip()
	}
	ctx := context.Background()
	cfg := config.Default()
	cfg.StateDir = t.TempDir()
	cfg.Accel = "tcg"
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	st, err := openState(cfg.StateDir)
	require.NoError(t, err)
	l := newLifecycle(log)
	b, err := bus.Open(bus.Config{Name: "test", Log: log})
	require.NoError(t, err)
	l.onStop("bus", b.Close)
	c, err := newController(ctx, &cfg, log, b, netip.MustParsePrefix("172.24.99.0/24"))
	require.NoError(t, err)
	c.closeWith(l)
	require.NoError(t, c.bootstrap(ctx, "secret"))
	require.NoError(t, c.start(l))
	require.NoError(t, startHost(ctx, &cfg, st, b, localImages{c.images}, log, l))
	require.NoError(t, c.awaitHosts(ctx))
	defer l.stop()
	project, _ := c.adminProject(ctx)
	x := &cloud{controller: c, creds: &policy.Credentials{UserID: "u1", ProjectID: project, Roles: []string{"member", "reader"}}}
	img, err := c.images.Ensure(ctx, image.CreateParams{ID: "10000000-0000-4000-8000-000000000001", Name: "guest", Owner: project, Visibility: image.Public, DiskFormat: "qcow2", ContainerFormat: "bare"}, func() (io.ReadCloser, error) { return os.Open(path) })
	require.NoError(t, err)
	x.image = img.ID
	for i := range 3 {
		start := time.Now()
		made, err := x.compute.Create(ctx, x.creds, x.request("real", 1))
		require.NoError(t, err)
		s := x.settled(t, made.Servers[0].ID)[0]
		t.Logf("run %d: %s after %v fault %v", i, s.VMState, time.Since(start), s.Fault.V)
		require.Equal(t, compute.Active, s.VMState)
		for range 60 {
			time.Sleep(500 * time.Millisecond)
			out, err := x.compute.ConsoleLog(ctx, x.creds, s.ID, 2000)
			if err == nil && (len(out) > 0 && contains(string(out), "ready in")) {
				t.Logf("%s", out)
				break
			}
		}
		require.NoError(t, x.compute.Delete(ctx, compute.By{Creds: x.creds}, s.ID))
		x.settled(t, s.ID)
	}
	x.clean(t)
}

func contains(s, sub string) bool {
	for i := 0; i+len(sub) <= len(s); i++ {
		if s[i:i+len(sub)] == sub {
			return true
		}
	}
	return false
}
