package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
	"github.com/jmoiron/sqlx"
)

// pgRetries bounds how often a transaction that lost a race is run again before its error is returned.
const pgRetries = 20

type pg struct {
	db     *sqlx.DB
	closed atomic.Bool
}

func openPostgres(ctx context.Context, url string) (*pg, error) {
	d, err := sqlx.Open("pgx", url)
	if err != nil {
		return nil, err
	}
	d.SetMaxOpenConns(32)
	d.SetMaxIdleConns(32)
	if err := d.PingContext(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &pg{db: d}, nil
}

// pgTx prepares through the transaction; pgx keeps the server-side statement per connection, so this costs no round trip twice.
type pgTx struct{ tx *sqlx.Tx }

func (t pgTx) stmt(ctx context.Context, query string, _ bool) (*sqlx.Stmt, func(), error) {
	s, err := t.tx.PreparexContext(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	return s, func() { s.Close() }, nil
}

func (p *pg) read(ctx context.Context, fn func(*Tx) error) error {
	if p.closed.Load() {
		return ErrClosed
	}
	tx, err := p.db.BeginTxx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // read only
	return fn(&Tx{Dialect: Postgres, q: pgTx{tx}})
}

func (p *pg) write(ctx context.Context, fn func(*Tx) error) error {
	if p.closed.Load() {
		return ErrClosed
	}
	var err error
	for try := range pgRetries {
		var after []func()
		if after, err = p.once(ctx, fn); err == nil {
			for _, f := range after {
				f()
			}
			return nil
		}
		if !retryable(err) {
			return err
		}
		select {
		case <-time.After(time.Duration(rand.IntN(4<<min(try, 6))+1) * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("transaction lost %d races: %w", pgRetries, err)
}

func (p *pg) once(ctx context.Context, fn func(*Tx) error) ([]func(), error) {
	tx, err := p.db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing
	t := &Tx{Dialect: Postgres, q: pgTx{tx}}
	kept := false
	defer func() {
		if !kept {
			for _, f := range t.undo {
				f()
			}
		}
	}()
	if err := fn(t); err != nil {
		return nil, err
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	kept = true
	return t.onCommit, nil
}

// retryable: serialization_failure and deadlock_detected.
func retryable(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && (pe.Code == "40001" || pe.Code == "40P01")
}

// migrateLock is the advisory lock under which one process migrates at a time ("neph" in ASCII).
const migrateLock = 0x6e657068

func (p *pg) migrate(ctx context.Context, fn func(*sql.DB) error) error {
	conn, err := p.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_lock($1)`, migrateLock); err != nil {
		return err
	}
	err = fn(p.db.DB)
	_, uerr := conn.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock($1)`, migrateLock)
	return errors.Join(err, uerr)
}

func (p *pg) close() error {
	if p.closed.Swap(true) {
		return nil
	}
	return p.db.Close()
}

// OpenRaw connects to a PostgreSQL server without the habits of this package, to create and drop databases.
func OpenRaw(ctx context.Context, url string) (*sql.DB, error) {
	d, err := sql.Open("pgx", url)
	if err != nil {
		return nil, err
	}
	if err := d.PingContext(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}
