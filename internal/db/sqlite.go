package db

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	"github.com/jmoiron/sqlx"
	_ "modernc.org/sqlite" // the "sqlite" driver
)

const (
	readers   = 4
	stmtsKept = 1000
)

// lite is the SQLite backend. wdb and rdb are pools of one writing and some reading connections.
type lite struct {
	wdb, rdb *sqlx.DB
	reqs     chan *writeReq
	readConn chan *liteConn
	log      *os.File      // the write-ahead log, to sync it
	commits  chan *batch   // committed, and not yet on the disk; unbuffered
	synced   chan struct{} // capacity 1: holds a token while no sync is under way
	broken   atomic.Pointer[error]
	ended    chan struct{} // closed when committer and syncer have returned
	versions versions
	wary     int // the committer's: in how many more batches closures have savepoints

	mu     sync.RWMutex // guards closed against a send on reqs; held for reading while a request is handed over
	closed bool
}

func openSQLite(ctx context.Context, path string) (*lite, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	// A commit writes to the log and does not wait for the disk: the syncer does, before anybody is told (commit.go). Checkpoints sync by themselves.
	// A page of the log is copied to the database file at a checkpoint, and the same pages are written again and again: 8,000 pages (32 MiB) between two of them.
	dsn := func(extra string) string {
		return "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=foreign_keys(1)&_pragma=cache_size(-16000)&_pragma=temp_store(MEMORY)&_pragma=wal_autocheckpoint(8000)" + extra
	}
	l := &lite{reqs: make(chan *writeReq, batchMax), readConn: make(chan *liteConn, readers), commits: make(chan *batch), synced: make(chan struct{}, 1), ended: make(chan struct{})}
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
	// The readers' connections keep the log's file in being for as long as l is open.
	if l.log, err = os.OpenFile(path+"-wal", os.O_RDWR, 0); err != nil {
		return nil, errors.Join(err, l.rdb.Close(), l.wdb.Close())
	}
	l.synced <- struct{}{}
	go l.commitLoop()
	go l.syncLoop()
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
	began := l.versions.times.Load() // before the snapshot is taken
	if err := c.exec("BEGIN"); err != nil {
		return err
	}
	defer c.exec("ROLLBACK") //nolint:errcheck // a reader has nothing to lose
	return fn(&Tx{Dialect: SQLite, q: c, versions: &l.versions, began: began})
}

func (l *lite) write(ctx context.Context, fn func(*Tx) error) error {
	if err := l.broken.Load(); err != nil {
		return *err
	}
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
	return errors.Join(l.rdb.Close(), l.wdb.Close(), l.log.Close())
}
