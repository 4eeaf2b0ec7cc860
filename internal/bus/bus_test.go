package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/bus"
	"nephos/internal/fault"
)

type ping struct {
	N int `json:"n"`
}

func serve(t *testing.T, b *bus.Bus) {
	t.Helper()
	require.NoError(t, b.Handle("t.double", "q", func(_ context.Context, data []byte) (any, error) {
		var p ping
		if err := json.Unmarshal(data, &p); err != nil {
			return nil, err
		}
		if p.N < 0 {
			return nil, errors.New("n is negative")
		}
		return ping{p.N * 2}, nil
	}))
	require.NoError(t, b.Handle("t.raw", "", func(context.Context, []byte) (any, error) { return []byte{1, 2, 3}, nil }))
}

func TestRequests(t *testing.T) {
	t.Parallel()
	server, err := bus.Open(bus.Config{Name: "a", Listen: "127.0.0.1:-1", Token: "s3cret", Log: slog.Default()})
	require.NoError(t, err)
	defer server.Close()
	serve(t, server)
	joined, err := bus.Open(bus.Config{Name: "b", URL: "nats://" + server.Addr(), Token: "s3cret", Log: slog.Default()})
	require.NoError(t, err)
	defer joined.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, b := range []*bus.Bus{server, joined} {
		var p ping
		require.NoError(t, b.Request(ctx, "t.double", ping{21}, &p))
		require.Equal(t, 42, p.N)
		require.ErrorContains(t, b.Request(ctx, "t.double", ping{-1}, &p), "n is negative")
		var raw []byte
		require.NoError(t, b.Request(ctx, "t.raw", nil, &raw))
		require.Equal(t, []byte{1, 2, 3}, raw)
		require.Equal(t, fault.KindUnavailable, fault.KindOf(b.Request(ctx, "t.nobody", nil, nil)))
	}
}

func TestWrongTokenCannotJoin(t *testing.T) {
	t.Parallel()
	server, err := bus.Open(bus.Config{Name: "a", Listen: "127.0.0.1:-1", Token: "right", Log: slog.Default()})
	require.NoError(t, err)
	defer server.Close()
	serve(t, server)
	other, err := bus.Open(bus.Config{Name: "b", URL: "nats://" + server.Addr(), Token: "wrong", Log: slog.Default()})
	if err == nil {
		defer other.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		err = other.Request(ctx, "t.double", ping{1}, nil)
	}
	require.Error(t, err)
}
