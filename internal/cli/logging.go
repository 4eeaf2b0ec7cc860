package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"nephos/internal/config"
)

// openLog gives a process's log. file is the --log-file flag: "-" is stderr, "" is STATE_DIR/nephos.log with warnings and errors also on stderr, so that who
// sits in front of the process sees them. Log files are for their owner alone (0600) and are appended to.
func openLog(cfg *config.Config, file string, stderr io.Writer) (*slog.Logger, func(), error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		return nil, nil, usageError{fmt.Errorf("log_level %q is none of debug, info, warn, error", cfg.LogLevel)}
	}
	opts := &slog.HandlerOptions{Level: level}
	if file == "-" {
		return slog.New(slog.NewTextHandler(stderr, opts)), func() {}, nil
	}
	if file == "" {
		// 0711 as package app makes it: sockets of unprivileged guests lie below.
		if err := os.MkdirAll(cfg.StateDir, 0o711); err != nil {
			return nil, nil, fmt.Errorf("state directory: %w", err)
		}
		file = filepath.Join(cfg.StateDir, "nephos.log")
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("log: %w", err)
	}
	aside := slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: max(level, slog.LevelWarn)})
	return slog.New(slog.NewMultiHandler(slog.NewTextHandler(f, opts), aside)), func() { f.Close() }, nil
}
