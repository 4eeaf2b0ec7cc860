package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the group commit: a batch ends when nobody waits and the disk is free, or at these.
const (
	batchMax  = 256
	batchTime = 10 * time.Millisecond
)

type writeReq struct {
	ctx  context.Context
	fn   func(*Tx) error
	done chan writeRes // capacity 1: nobody waits for a caller that went away
}

type writeRes struct {
	err      error
	panicked any
	after    []func()
	undo     []func()
	written  []string // tables
}

// takenBack says that nothing of what the closure wrote is there.
func (r *writeRes) takenBack() {
	for _, f := range r.undo {
		f()
	}
	r.undo = nil
}

// ran is a closure and what came of it.
type ran struct {
	r   *writeReq
	res writeRes
}

func (x ran) failed() bool { return x.res.err != nil || x.res.panicked != nil }

// batch is what one transaction holds: closures that went well, and those that were refused in their midst.
type batch struct{ held, refused []ran }

// tell gives every caller its outcome; err is the whole batch's.
func (b *batch) tell(err error) {
	for _, x := range b.held {
		x.res.err = err
		x.r.done <- x.res
	}
	for _, x := range b.refused {
		if err != nil && x.res.panicked == nil {
			x.res.err = err
		}
		x.r.done <- x.res
	}
}

// commitLoop is the committer goroutine: the only user of the writing connection after Migrate. It ends when reqs is closed.
func (l *lite) commitLoop() {
	defer close(l.commits)
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
		b, err := l.run(c, r)
		if err != nil || len(b.held) == 0 {
			for i := range b.held {
				b.held[i].res.takenBack()
			}
			b.tell(err) // nothing was written
			continue
		}
		for _, x := range b.held {
			l.versions.committed(x.res.written)
		}
		<-l.synced
		l.commits <- b
	}
	if c != nil {
		c.conn.Close()
	}
}

// syncLoop is the syncer goroutine: it sees to it that a committed batch is on the disk and then tells its callers. A batch lies behind all earlier ones in the log, so what
// is told rests on nothing that could still be lost. It ends with the committer.
func (l *lite) syncLoop() {
	defer close(l.ended)
	for b := range l.commits {
		err := l.sync()
		l.synced <- struct{}{}
		b.tell(err)
	}
}

// sync has the disk take the log. After a failed sync nobody knows what the disk holds, and asking again may be answered with a yes that means nothing: this process writes
// no more. The next one reads from the log what is really there.
func (l *lite) sync() error {
	if err := l.broken.Load(); err != nil {
		return *err
	}
	for {
		err := unix.Fdatasync(int(l.log.Fd()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			err = fmt.Errorf("the database's log could not be synced to the disk, and nothing is written until nephos is started anew: %w", err)
			l.broken.Store(&err)
		}
		return err
	}
}

// calm is how many batches in a row must be without a refusal before closures run without savepoints again.
const calm = 8

// run carries out first and all that wait behind it in one transaction, and goes on while the disk is still taking the batch before: so a batch holds as many as came
// during one sync, and runs during the next. A crash before the sync may lose all of them, and none of their callers has been told otherwise.
//
// Closures run one behind the other with nothing between them: a savepoint for each costs a copy of each page that it touches. When one is refused, what it did cannot be taken
// back alone; the transaction is begun anew, those before it run again, and from there on each has a savepoint, also in the next batches: refusals come in crowds.
func (l *lite) run(c *liteConn, first *writeReq) (*batch, error) {
	b := &batch{}
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		b.refused = append(b.refused, ran{r: first})
		return b, fmt.Errorf("begin: %w", err)
	}
	start := time.Now()
	l.wary = max(0, l.wary-1)
	for r := first; r != nil; r = l.next(b, start) {
		x := ran{r: r}
		saved := l.wary > 0 && len(b.held) > 0
		if saved {
			x.res = l.runSaved(c, r)
		} else {
			x.res = l.call(c, r)
		}
		if x.failed() && !saved {
			if err := again(c); err != nil {
				b.refused = append(b.refused, x)
				return b, err
			}
			if len(b.held) > 0 {
				l.replay(c, b)
				x.res = l.runSaved(c, r)
				l.wary = calm
			}
		}
		switch {
		case !x.failed():
			b.held = append(b.held, x)
		case len(b.held) == 0:
			r.done <- x.res // what it saw is committed
		default:
			// It may have failed for what those before it did, which nobody can see yet, and which a failing commit takes back: told now, its caller would know of a
			// state that a reader does not find.
			b.refused = append(b.refused, x)
			l.wary = calm
		}
	}
	if err := c.exec("COMMIT"); err != nil {
		c.exec("ROLLBACK") //nolint:errcheck // the commit's error is the one to report
		return b, fmt.Errorf("commit: %w", err)
	}
	return b, nil
}

// again takes back all that the transaction holds and begins it anew.
func again(c *liteConn) error {
	return errors.Join(c.exec("ROLLBACK"), c.exec("BEGIN IMMEDIATE"))
}

// replay runs what the batch held before its transaction was begun anew. One may be refused this time: its caller may have given up, and the clock has moved.
func (l *lite) replay(c *liteConn, b *batch) {
	before := b.held
	b.held = nil
	for i := range before {
		before[i].res.takenBack()
	}
	for _, x := range before {
		if x.res = l.runSaved(c, x.r); x.failed() {
			b.refused = append(b.refused, x)
		} else {
			b.held = append(b.held, x)
		}
	}
}

// next is the next closure for a batch, nil if it is complete.
func (l *lite) next(b *batch, start time.Time) *writeReq {
	left := batchTime - time.Since(start)
	if len(b.held)+len(b.refused) >= batchMax || left <= 0 {
		return nil
	}
	select {
	case r := <-l.reqs:
		return r // nil when closed
	default:
	}
	if len(b.held) == 0 {
		return nil
	}
	late := time.NewTimer(left)
	defer late.Stop()
	select {
	case r := <-l.reqs:
		return r
	case <-l.synced:
		l.synced <- struct{}{} // only the committer takes it
		return nil
	case <-late.C:
		return nil
	}
}

// call runs a closure.
func (l *lite) call(c *liteConn, r *writeReq) (res writeRes) {
	if err := r.ctx.Err(); err != nil {
		return writeRes{err: err}
	}
	tx := &Tx{Dialect: SQLite, q: c, counts: true, versions: &l.versions}
	func() {
		defer func() { res.panicked = recover() }()
		res.err = r.fn(tx)
	}()
	res.after, res.undo, res.written = tx.onCommit, tx.undo, tx.written
	if res.err != nil || res.panicked != nil {
		res.takenBack() // by our caller, next
	}
	return res
}

// runSaved runs one closure inside a savepoint.
func (l *lite) runSaved(c *liteConn, r *writeReq) (res writeRes) {
	if err := c.exec("SAVEPOINT w"); err != nil {
		return writeRes{err: err}
	}
	res = l.call(c, r)
	if res.err != nil || res.panicked != nil {
		if err := c.exec("ROLLBACK TO w"); err != nil {
			res.err = errors.Join(res.err, err)
		}
	}
	if err := c.exec("RELEASE w"); err != nil {
		res.err = errors.Join(res.err, err)
		res.takenBack()
	}
	return res
}
