package cli

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"nephos/internal/cli/client"
	"nephos/internal/config"
)

func environment(vars map[string]string) (*client.Env, *bytes.Buffer, *bytes.Buffer) {
	var out, errs bytes.Buffer
	return &client.Env{In: strings.NewReader(""), Out: &out, Err: &errs, Getenv: func(k string) string { return vars[k] }, Now: time.Now, Width: 80}, &out, &errs
}

// line types a command line.
func line(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	env, o, e := environment(map[string]string{"NEPHOS_STATE_DIR": filepath.Join(t.TempDir(), "none")})
	code = run(context.Background(), args, env)
	return code, o.String(), e.String()
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"serv":                              `"server"`,
		"server lst":                        `"list"`,
		"up --port-offset x":                "--port-offset",
		"up --bogus":                        "unknown flag --bogus",
		"up --accel fast":                   `accel "fast" is none of auto, kvm, tcg`,
		"up --driver fake --fake-hosts 0":   "fake_hosts 0 is outside",
		"up --listen nowhere":               `listen "nowhere" is not an IP address`,
		"up --external-cidr 10.0.0.1/24":    "network.external_cidr",
		"up --config /nowhere/nephos.yaml":  "/nowhere/nephos.yaml",
		"up --driver fake --log-level loud": `log_level "loud"`,
		"agent":                             "--join nats://HOST:PORT",
		"boot":                              `expected "<name>"`,
		"image create x":                    "--file",
		"server list":                       "no cloud to talk to",
		"help bogus":                        "bogus",
		"doctor --driver none":              "driver",
	} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			code, out, errs := line(t, strings.Fields(args)...)
			require.Equal(t, exitUsage, code, errs)
			require.Contains(t, errs, want)
			require.Empty(t, out)
		})
	}
}

func TestHelpGroupsVerbs(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"help"}, {"--help"}} {
		code, out, _ := line(t, args...)
		require.Equal(t, exitOK, code)
		last := -1
		for _, want := range []string{"This machine", "up ", "doctor", "\nServers", "\n  boot ", "What servers are made of", "\n  image ", "Other", "fsck"} {
			at := strings.Index(out, want)
			require.Greater(t, at, last, want)
			last = at
		}
	}
	code, out, _ := line(t, "help", "server", "ssh")
	require.Equal(t, exitOK, code)
	require.Contains(t, out, "Usage: nephos server ssh <server>")
	code, out, _ = line(t, "version")
	require.Equal(t, exitOK, code)
	require.True(t, strings.HasPrefix(out, "nephos "))
}

// parsed gives the settings that a line of `nephos up` leads to.
func parsed(t *testing.T, args ...string) *config.Config {
	t.Helper()
	var g grammar
	env, _, _ := environment(map[string]string{"NEPHOS_STATE_DIR": "/default"})
	k, err := kong.New(&g, kong.Bind(env, client.NewSession(env)), kong.Vars{"state_dir": ""})
	require.NoError(t, err)
	_, err = k.Parse(append([]string{"up"}, args...))
	require.NoError(t, err)
	cfg, err := g.Up.config(env)
	require.NoError(t, err)
	require.NoError(t, cfg.Check())
	return cfg
}

func TestFlagsWinOverTheFileOnlyWhenGiven(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "nephos.yaml")
	require.NoError(t, os.WriteFile(file, []byte("port_offset: 100\ndriver: fake\nfake_hosts: 7\nnetwork: {masquerade: true}\nadmin_password: file\n"), 0o600))

	require.Equal(t, "/default", parsed(t).StateDir)
	require.Equal(t, "qemu", parsed(t).Driver)
	c := parsed(t, "--config", file)
	require.Equal(t, []any{100, "fake", 7, true, "file"}, []any{c.PortOffset, c.Driver, c.FakeHosts, c.Network.Masquerade, c.AdminPassword})
	c = parsed(t, "--config", file, "--port-offset", "0", "--fake-hosts=9", "--no-masquerade", "--admin-password", "flag", "--db", "postgres://h/d", "--host", "n1",
		"--listen", "127.0.0.2", "--accel", "tcg", "--state-dir", "/s", "--log-level", "debug")
	require.Equal(t, []any{0, "fake", 9, false, "flag"}, []any{c.PortOffset, c.Driver, c.FakeHosts, c.Network.Masquerade, c.AdminPassword})
	require.Equal(t, []any{"postgres://h/d", "n1", "127.0.0.2", "tcg", "/s", "debug"}, []any{c.Database, c.Host, c.Listen, c.Accel, c.StateDir, c.LogLevel})
}

func TestLogGoesToTheStateDirectoryAndWarningsAlsoToStderr(t *testing.T) {
	t.Parallel()
	env, _, errs := environment(nil)
	cfg := config.Default()
	cfg.StateDir = filepath.Join(t.TempDir(), "new")
	err := start(context.Background(), env, &cfg, "", func(_ context.Context, _ *config.Config, _ io.Writer, log *slog.Logger) error {
		log.Debug("hidden")
		log.Info("quiet")
		log.Warn("loud", "k", "v")
		return nil
	})
	require.NoError(t, err)
	file := filepath.Join(cfg.StateDir, "nephos.log")
	st, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), st.Mode().Perm())
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(b), "quiet")
	require.NotContains(t, string(b), "hidden")
	require.Contains(t, string(b), "loud")
	require.NotContains(t, errs.String(), "quiet")
	require.Contains(t, errs.String(), "loud")
}

func TestStoppedByItsContext(t *testing.T) {
	t.Parallel()
	env, _, _ := environment(nil)
	cfg := config.Default()
	cfg.StateDir = t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan struct{})
	done := make(chan error)
	go func() {
		done <- start(ctx, env, &cfg, "-", func(ctx context.Context, _ *config.Config, _ io.Writer, _ *slog.Logger) error {
			close(running)
			<-ctx.Done()
			return nil
		})
	}()
	<-running
	cancel()
	require.NoError(t, <-done)
}

// What follows the server belongs to the other side's command, flags too.
func TestSSHPassesTheCommandThrough(t *testing.T) {
	t.Parallel()
	for args, want := range map[string][]string{
		"server ssh vm1":                        nil,
		"server ssh vm1 -- uname -a":            {"uname", "-a"},
		"server ssh -l me vm1 ls -l --all /tmp": {"ls", "-l", "--all", "/tmp"},
		"server ssh vm1 -- sh -c -- x":          {"sh", "-c", "--", "x"},
	} {
		var g grammar
		env, _, _ := environment(nil)
		k, err := kong.New(&g, kong.Bind(env, client.NewSession(env)), kong.Vars{"state_dir": ""})
		require.NoError(t, err)
		_, err = k.Parse(strings.Fields(args))
		require.NoError(t, err, args)
		require.Equal(t, "vm1", g.Server.SSH.Server)
		got := g.Server.SSH.Command
		if len(got) > 0 && got[0] == "--" {
			got = got[1:]
		}
		require.Equal(t, want, got, args)
	}
}
