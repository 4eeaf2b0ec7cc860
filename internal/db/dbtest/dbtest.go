package dbtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"nephos/internal/db"
)

// Each runs fn once per dialect as parallel subtests "sqlite" and "postgres", each on an empty database with rooms migrated.
// The PostgreSQL half is skipped where the server is not installed.
func Each(t *testing.T, rooms []db.Migrations, fn func(t *testing.T, d *db.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { t.Parallel(); fn(t, SQLite(t, rooms...)) })
	t.Run("postgres", func(t *testing.T) { t.Parallel(); fn(t, Postgres(t, rooms...)) })
}

// SQLite opens an empty file database that is closed with the test.
func SQLite(t testing.TB, rooms ...db.Migrations) *db.DB {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "nephos.db"), rooms)
}

// Postgres opens an empty database on the test server.
func Postgres(t testing.TB, rooms ...db.Migrations) *db.DB {
	t.Helper()
	return open(t, PostgresURL(t), rooms)
}

func open(t testing.TB, url string, rooms []db.Migrations) *db.DB {
	t.Helper()
	ctx := context.Background()
	d, err := db.Open(ctx, url)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	require.NoError(t, d.Migrate(ctx, rooms...))
	return d
}

var server struct {
	once sync.Once
	url  string // of the maintenance database, with %s where the database name goes
	err  error
	none bool
}

// PostgresURL makes a new database and returns its URL; it skips the test where PostgreSQL is not installed.
func PostgresURL(t testing.TB) string {
	t.Helper()
	server.once.Do(start)
	if server.none {
		t.Skip("PostgreSQL is not installed (Debian package postgresql-15)")
	}
	require.NoError(t, server.err)
	name := "t_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	admin, err := db.OpenRaw(context.Background(), fmt.Sprintf(server.url, "postgres"))
	require.NoError(t, err)
	defer admin.Close()
	_, err = admin.Exec("CREATE DATABASE " + name)
	require.NoError(t, err)
	t.Cleanup(func() {
		admin, err := db.OpenRaw(context.Background(), fmt.Sprintf(server.url, "postgres"))
		if err == nil {
			admin.Exec("DROP DATABASE " + name + " WITH (FORCE)") //nolint:errcheck // the server goes away with the process
			admin.Close()
		}
	})
	return fmt.Sprintf(server.url, name)
}

// start finds or starts the server. The server's process dies with this one (PDEATHSIG).
func start() {
	if u := os.Getenv("NEPHOS_TEST_POSTGRES"); u != "" {
		server.url = u
		return
	}
	bins, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(bins) == 0 {
		server.none = true
		return
	}
	server.url, server.err = launch(filepath.Dir(bins[len(bins)-1]))
}

func launch(bin string) (string, error) {
	sweep()
	dir := filepath.Join(os.TempDir(), "nephos-pg-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	var cred *syscall.Credential
	if os.Geteuid() == 0 { // the server refuses to run as root
		u, err := user.Lookup("postgres")
		if err != nil {
			return "", err
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(dir, uid, gid); err != nil {
			return "", err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8")
	initdb.Dir = dir
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if out, err := initdb.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w: %s", err, out)
	}
	failed := make(chan error, 1)
	go func() { // keeps its thread for ever: PDEATHSIG is sent when the starting thread ends
		runtime.LockOSThread()
		c := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300", "-c", "shared_buffers=64MB")
		c.Dir = dir
		c.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Pdeathsig: syscall.SIGQUIT, Setpgid: true}
		failed <- c.Run()
	}()
	url := "postgres:///%s?host=" + dir + "&user=postgres"
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-failed:
			return "", fmt.Errorf("postgres ended: %w", err)
		case <-ctx.Done():
			return "", fmt.Errorf("postgres did not answer: %w", ctx.Err())
		case <-tick.C:
			d, err := db.OpenRaw(ctx, fmt.Sprintf(url, "postgres"))
			if err == nil {
				d.Close()
				return url, nil
			}
		}
	}
}

// sweep removes what servers of ended test processes left behind.
func sweep() {
	old, _ := filepath.Glob(filepath.Join(os.TempDir(), "nephos-pg-*"))
	for _, d := range old {
		pid, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(d), "nephos-pg-"))
		if err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			os.RemoveAll(d)
		}
	}
}
