package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite" // the "sqlite" driver
)

// Bounds of the group commit: a batch ends when nobody waits, or at these.
const (
	batchMax  = 256
	batchTime = 10 * time.Millisecond
	readers   = 4
	stmtsKept = 1000
)

type writeReq struct {
	ctx  context.Context
	fn   func(*Tx) error
	done chan writeRes // capacity 1: the committer never waits for a caller that went away
}

type writeRes struct {
	err      error
	panicked any
	lost     error // the closure failed and no transaction is open any more
	after    []func()
	written  []string // tables
}

// lite is the SQLite backend. wdb and rdb are pools of one writing and some reading connections.
type lite struct {
	wdb, rdb *sqlx.DB
	reqs     chan *writeReq
	readConn chan *liteConn
	ended    chan struct{} // closed when the committer has returned
	versions versions

	mu     sync.RWMutex // guards closed against a send on reqs; held for reading while a request is handed over
	closed bool
}

func openSQLite(ctx context.Context, path string) (*lite, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	// A page of the log is copied to the database file at a checkpoint, and the same pages are written again and again: 8,000 pages (32 MiB) between two of them.
	dsn := func(extra string) string {
		return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=cache_size(-16000)&_pragma=temp_store(MEMORY)&_pragma=wal_autocheckpoint(8000)" + extra
	}
	l := &lite{reqs: make(chan *writeReq, batchMax), readConn: make(chan *liteConn, readers), ended: make(chan struct{})}
	if l.wdb, err = sqlx.Open("sqlite", dsn("")); err != nil {
		return nil, err
	}
	l.wdb.SetMaxOpenConns(1)
	if err := l.wdb.PingContext(ctx); err != nil {
		return nil, errors.Join(err, l.wdb.Close())
	}
	if l.rdb, err = sqlx.Open("sqlite", dsn("&_pragma=query_only(1)")); err != nil {
		return nil, errors.Join(err, l.wdb.Close())
	}
	l.rdb.SetMaxOpenConns(readers)
	for range readers {
		c, err := l.rdb.Connx(ctx)
		if err != nil {
			return nil, errors.Join(err, l.rdb.Close(), l.wdb.Close())
		}
		l.readConn <- &liteConn{conn: c}
	}
	go l.commitLoop()
	return l, nil
}

// liteConn is a connection with its prepared statements. One goroutine uses it at a time.
type liteConn struct {
	conn  *sqlx.Conn
	stmts map[string]*sqlx.Stmt
}

func (c *liteConn) stmt(ctx context.Context, query string, reusable bool) (*sqlx.Stmt, func(), error) {
	if s, ok := c.stmts[query]; ok {
		return s, func() {}, nil
	}
	s, err := c.conn.PreparexContext(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	if !reusable || len(c.stmts) >= stmtsKept {
		return s, func() { s.Close() }, nil
	}
	if c.stmts == nil {
		c.stmts = map[string]*sqlx.Stmt{}
	}
	c.stmts[query] = s
	return s, func() {}, nil
}

func (c *liteConn) exec(query string) error {
	s, release, err := c.stmt(context.Background(), query, true)
	if err != nil {
		return err
	}
	defer release()
	_, err = s.Exec()
	return err
}

func (l *lite) read(ctx context.Context, fn func(*Tx) error) error {
	var c *liteConn
	select {
	case c = <-l.readConn:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ended:
		return ErrClosed
	}
	defer func() { l.readConn <- c }()
	if err := c.exec("BEGIN"); err != nil {
		return err
	}
	defer c.exec("ROLLBACK") //nolint:errcheck // a reader has nothing to lose
	return fn(&Tx{Dialect: SQLite, q: c})
}

func (l *lite) write(ctx context.Context, fn func(*Tx) error) error {
	r := &writeReq{ctx: ctx, fn: fn, done: make(chan writeRes, 1)}
	l.mu.RLock()
	if l.closed {
		l.mu.RUnlock()
		return ErrClosed
	}
	select {
	case l.reqs <- r:
		l.mu.RUnlock()
	case <-ctx.Done():
		l.mu.RUnlock()
		return ctx.Err()
	}
	// Once handed over the outcome is awaited whatever ctx says: the caller must know whether it was committed.
	res := <-r.done
	if res.panicked != nil {
		panic(res.panicked)
	}
	if res.err != nil {
		return res.err
	}
	for _, f := range res.after {
		f()
	}
	return nil
}

// commitLoop is the committer goroutine: the only user of the writing connection after Migrate. It ends when reqs is closed.
func (l *lite) commitLoop() {
	defer close(l.ended)
	var c *liteConn
	for r := range l.reqs {
		if c == nil {
			conn, err := l.wdb.Connx(context.Background())
			if err != nil {
				r.done <- writeRes{err: err}
				continue
			}
			c = &liteConn{conn: conn}
		}
		l.batch(c, r)
	}
	if c != nil {
		c.conn.Close()
	}
}

// batch runs first and all that wait behind it in one transaction. A crash before COMMIT loses all of them, and none of their
// callers has been told otherwise.
func (l *lite) batch(c *liteConn, first *writeReq) {
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		first.done <- writeRes{err: fmt.Errorf("begin: %w", err)}
		return
	}
	type done struct {
		r   *writeReq
		res writeRes
	}
	var held, refused []done
	start := time.Now()
	for r := first; r != nil; {
		var res writeRes
		if len(held) > 0 {
			res = runSaved(c, r)
		} else if res = runFirst(c, r); res.lost != nil {
			r.done <- res
			return
		}
		switch failed := res.err != nil || res.panicked != nil; {
		case !failed:
			held = append(held, done{r, res})
		case len(held) == 0:
			r.done <- res // what it saw is committed
		default:
			// It may have failed for what those before it did, which nobody can see yet, and which a failing commit takes back: told now, its caller would know of a
			// state that a reader does not find.
			refused = append(refused, done{r, res})
		}
		r = nil
		if len(held)+len(refused) < batchMax && time.Since(start) < batchTime {
			select {
			case next, ok := <-l.reqs:
				if ok {
					r = next
				}
			default:
			}
		}
	}
	err := c.exec("COMMIT")
	if err != nil {
		c.exec("ROLLBACK") //nolint:errcheck // the commit's error is the one to report
		err = fmt.Errorf("commit: %w", err)
	}
	for _, d := range held {
		if err == nil {
			l.versions.committed(d.res.written)
		}
	}
	for _, d := range held {
		d.res.err = err
		d.r.done <- d.res
	}
	for _, d := range refused {
		if err != nil && d.res.panicked == nil {
			d.res.err = err
		}
		d.r.done <- d.res
	}
}

// runFirst runs a closure before which the transaction holds nothing: if it fails the whole transaction is begun anew. Without a savepoint SQLite need not remember each page
// as it was, which for a transaction that makes a thousand servers is most of the work.
func runFirst(c *liteConn, r *writeReq) (res writeRes) {
	if err := r.ctx.Err(); err != nil {
		return writeRes{err: err}
	}
	res = call(c, r)
	if res.err != nil || res.panicked != nil {
		if err := c.exec("ROLLBACK"); err != nil {
			res.err = errors.Join(res.err, err)
		}
		if res.lost = c.exec("BEGIN IMMEDIATE"); res.lost != nil {
			res.err = errors.Join(res.err, res.lost)
		}
	}
	return res
}

// call runs a closure.
func call(c *liteConn, r *writeReq) (res writeRes) {
	tx := &Tx{Dialect: SQLite, q: c, counts: true}
	func() {
		defer func() { res.panicked = recover() }()
		res.err = r.fn(tx)
	}()
	res.after, res.written = tx.onCommit, tx.written
	return res
}

// runSaved runs one closure inside a savepoint.
func runSaved(c *liteConn, r *writeReq) (res writeRes) {
	if err := r.ctx.Err(); err != nil {
		return writeRes{err: err}
	}
	if err := c.exec("SAVEPOINT w"); err != nil {
		return writeRes{err: err}
	}
	res = call(c, r)
	if res.err != nil || res.panicked != nil {
		if err := c.exec("ROLLBACK TO w"); err != nil {
			res.err = errors.Join(res.err, err)
		}
	}
	if err := c.exec("RELEASE w"); err != nil {
		res.err = errors.Join(res.err, err)
	}
	return res
}

func (l *lite) migrate(ctx context.Context, fn func(*sql.DB) error) error { return fn(l.wdb.DB) }

func (l *lite) close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.reqs)
	l.mu.Unlock()
	<-l.ended
	for range readers {
		c := <-l.readConn
		c.conn.Close()
	}
	return errors.Join(l.rdb.Close(), l.wdb.Close())
}
