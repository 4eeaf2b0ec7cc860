package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"time"
)

// serveProfiles answers Go's profiler on STATE/profile.sock (mode 0600: only the owner of the state can ask). What a running cloud spends its time and memory on can be seen
// at any time, and from no network:
//
//	curl --unix-socket STATE/profile.sock -o cpu.prof 'http://nephos/debug/pprof/profile?seconds=10'
//
// A cloud runs without it where the path is too long for a socket (108 bytes).
func serveProfiles(path string, log *slog.Logger, l *lifecycle) {
	err := os.Remove(path) // of a process that was killed; the state's lock says that it is gone
	if err != nil && !os.IsNotExist(err) {
		log.Warn("no profiles", "err", err)
		return
	}
	ln, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		log.Warn("no profiles", "err", fmt.Errorf("%s: %w", path, err))
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	l.run("profiles", func(ctx context.Context) error { return serve(ctx, srv, ln) })
}
