package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync/atomic"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

// Dialect says which SQL server is behind a DB.
type Dialect string

// The two dialects.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// ErrNoRows is what Tx.Get returns when nothing matched.
var ErrNoRows = sql.ErrNoRows

// ErrClosed is returned by Read and Write after Close.
var ErrClosed = errors.New("database is closed")

// backend is what a dialect supplies.
type backend interface {
	read(ctx context.Context, fn func(*Tx) error) error
	write(ctx context.Context, fn func(*Tx) error) error
	migrate(ctx context.Context, fn func(*sql.DB) error) error
	close() error
}

// DB is an open database. Its methods may be called from any goroutine.
type DB struct {
	Dialect Dialect
	b       backend
	shared  bool
	mine    *atomic.Bool // of a handle made by Share: it has been closed. nil: the backend is this handle's own
}

// Shared says that other processes may write to the same database: what was read may be kept for a moment only, and a lease found at start may be a living one's.
func (d *DB) Shared() bool { return d.shared }

// Share gives a handle such as another process on the same database would have. Its Close ends this handle alone, at once: calls that have begun are carried out,
// and those that come later get ErrClosed, as if the process had died. The backend stays open until the handle it came from is closed.
func (d *DB) Share() *DB {
	return &DB{Dialect: d.Dialect, b: d.b, shared: true, mine: new(atomic.Bool)}
}

func (d *DB) gone() bool { return d.mine != nil && d.mine.Load() }

// Open connects to url: "postgres://…" (or "postgresql://…"), or else the path of an SQLite file, with or without "sqlite://".
// The file is made (0600) if it does not exist.
func Open(ctx context.Context, url string) (*DB, error) {
	if strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		b, err := openPostgres(ctx, url)
		if err != nil {
			return nil, fmt.Errorf("open postgresql: %w", err)
		}
		return &DB{Dialect: Postgres, b: b, shared: true}, nil
	}
	path := strings.TrimPrefix(url, "sqlite://")
	b, err := openSQLite(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open sqlite %s: %w", path, err)
	}
	return &DB{Dialect: SQLite, b: b}, nil
}

// Read runs fn on a consistent snapshot; writing inside fails.
func (d *DB) Read(ctx context.Context, fn func(*Tx) error) error {
	if d.gone() {
		return ErrClosed
	}
	return d.b.read(ctx, fn)
}

// Write runs fn as a writer and returns after the commit is durable. If fn returns an error nothing of it stays and the error
// comes back as it was. fn may run more than once.
func (d *DB) Write(ctx context.Context, fn func(*Tx) error) error {
	if d.gone() {
		return ErrClosed
	}
	return d.b.write(ctx, fn)
}

// Close waits for running closures and closes the connections.
func (d *DB) Close() error {
	if d.mine != nil {
		d.mine.Store(true)
		return nil
	}
	return d.b.close()
}

// Migrations are one room's schema changes: goose files NNNNN_name.sql at the root of FS. Rooms are migrated in the order given, so
// a room may refer to tables of a room named before it.
type Migrations struct {
	Room string
	FS   fs.FS
}

// Migrate brings every room to its newest version. Each room keeps its own version table, goose_<room>. It is safe to call from
// several processes on PostgreSQL, one at a time wins; a crash in the middle leaves whole migrations only.
func (d *DB) Migrate(ctx context.Context, rooms ...Migrations) error {
	return d.b.migrate(ctx, func(conn *sql.DB) error {
		for _, m := range rooms {
			dialect := goose.DialectSQLite3
			if d.Dialect == Postgres {
				dialect = goose.DialectPostgres
			}
			store, err := database.NewStore(dialect, "goose_"+m.Room)
			if err != nil {
				return err
			}
			p, err := goose.NewProvider("", conn, m.FS, goose.WithStore(store), goose.WithDisableGlobalRegistry(true))
			if err != nil {
				return fmt.Errorf("migrations of %s: %w", m.Room, err)
			}
			if _, err := p.Up(ctx); err != nil {
				return fmt.Errorf("migrate %s: %w", m.Room, err)
			}
		}
		return nil
	})
}
