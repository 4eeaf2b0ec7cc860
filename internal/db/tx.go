package db

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/bits"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Tx is one transaction, valid only inside the closure it was given to, on that goroutine.
type Tx struct {
	Dialect  Dialect
	q        preparer
	onCommit []func()
	undo     []func()
	written  []string // tables, for the backend that counts (versions); nil elsewhere
	counts   bool
	versions *versions // nil where others write too
	began    uint64    // commits before a reader's beginning
}

// preparer gives an executable statement for a query in the dialect's own placeholders; reusable says whether the text is
// worth keeping prepared (long IN lists are not).
type preparer interface {
	stmt(ctx context.Context, query string, reusable bool) (s *sqlx.Stmt, release func(), err error)
}

var rebound sync.Map // query with ? → query with $n; bounded by the query texts in the program, once for each size of list

// listsKept bounds the IN lists whose statements are worth keeping prepared.
const listsKept = 64

// bind expands slices and rewrites placeholders. A short IN list is filled up to the next power of two by repeating its last element, which changes nothing of what it means: so a few
// texts serve lists of all such lengths, and their statements are kept like others.
func (t *Tx) bind(query string, args []any) (string, []any, bool, error) {
	reusable, lists := true, false
	for i, a := range args {
		if a == nil {
			continue
		}
		if rt := reflect.TypeOf(a); rt.Kind() == reflect.Slice && rt.Elem().Kind() != reflect.Uint8 {
			if !lists {
				lists, args = true, slices.Clone(args)
			}
			list := filled(reflect.ValueOf(a))
			args[i] = list
			reusable = reusable && len(list) <= listsKept
		}
	}
	if lists {
		var err error
		if query, args, err = sqlx.In(query, args...); err != nil {
			return "", nil, false, err
		}
	}
	if t.Dialect == SQLite {
		return query, args, reusable, nil
	}
	if !reusable {
		return sqlx.Rebind(sqlx.DOLLAR, query), args, false, nil
	}
	if q, ok := rebound.Load(query); ok {
		return q.(string), args, true, nil
	}
	q := sqlx.Rebind(sqlx.DOLLAR, query)
	rebound.Store(query, q)
	return q, args, true, nil
}

// filled is the list with its last element repeated until the length is a power of two; a long one is left as it is.
func filled(list reflect.Value) []any {
	n := list.Len()
	if n == 0 {
		return nil
	}
	size := n
	if n <= listsKept {
		size = 1 << bits.Len(uint(n-1))
	}
	out := make([]any, size)
	for i := range out {
		out[i] = list.Index(min(i, n-1)).Interface()
	}
	return out
}

func (t *Tx) prepare(ctx context.Context, query string, args []any) (*sqlx.Stmt, func(), []any, error) {
	query, args, reusable, err := t.bind(query, args)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, nil, err
	}
	s, release, err := t.q.stmt(ctx, query, reusable)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w in %q", err, query)
	}
	if t.counts {
		if table := tableOf(query); table != "" && !slices.Contains(t.written, table) {
			t.written = append(t.written, table)
		}
	}
	return s, release, args, nil
}

// running is the context of a statement that has begun. SQLite's statements are local and short, and are not cut off: a cut one takes the whole transaction with it, and so the
// work of everybody else in the batch; and the driver's watch over a context that can end (a goroutine for each statement) costs more than most statements do.
func (t *Tx) running(ctx context.Context) context.Context {
	if t.Dialect == SQLite {
		return context.WithoutCancel(ctx)
	}
	return ctx
}

// Get scans the one row into dst: a pointer to a struct with `db` tags or to a single value. ErrNoRows if there is none.
func (t *Tx) Get(ctx context.Context, dst any, query string, args ...any) error {
	s, release, args, err := t.prepare(ctx, query, args)
	if err != nil {
		return err
	}
	defer release()
	return s.GetContext(t.running(ctx), dst, args...)
}

// Select scans all rows into dst, a pointer to a slice; no rows give an empty slice. An IN list that is empty must not be sent:
// callers return early.
func (t *Tx) Select(ctx context.Context, dst any, query string, args ...any) error {
	s, release, args, err := t.prepare(ctx, query, args)
	if err != nil {
		return err
	}
	defer release()
	return s.SelectContext(t.running(ctx), dst, args...)
}

// Exec runs a statement and returns how many rows it touched.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	s, release, args, err := t.prepare(ctx, query, args)
	if err != nil {
		return 0, err
	}
	defer release()
	res, err := s.ExecContext(t.running(ctx), args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// NamedExec is Exec with `:name` placeholders taken from the `db` tags of arg.
func (t *Tx) NamedExec(ctx context.Context, query string, arg any) (int64, error) {
	q, args, err := sqlx.Named(query, arg)
	if err != nil {
		return 0, err
	}
	return t.Exec(ctx, q, args...)
}

// Insert writes one row of table from the `db` tags of row, a struct or a pointer to one.
func (t *Tx) Insert(ctx context.Context, table string, row any) error {
	v := reflect.Indirect(reflect.ValueOf(row))
	in := insertOf(table, v.Type())
	_, err := t.Exec(ctx, in.text, in.values(v)...)
	return err
}

// Lock holds the named locks until the transaction ends. On SQLite the writer is alone anyway. Keys are taken in one order
// whatever the caller's, so two transactions cannot deadlock on them.
func (t *Tx) Lock(ctx context.Context, keys ...string) error {
	if t.Dialect == SQLite {
		return nil
	}
	sums := make([]int64, 0, len(keys))
	for _, k := range keys {
		h := fnv.New64a()
		h.Write([]byte(k))
		sums = append(sums, int64(h.Sum64()))
	}
	slices.Sort(sums)
	for _, s := range slices.Compact(sums) {
		if _, err := t.Exec(ctx, `SELECT pg_advisory_xact_lock(?)`, s); err != nil {
			return err
		}
	}
	return nil
}

// OnCommit runs fn after the commit is durable, before Write returns, in the order given. fn must be short and must not use the
// database; a crash between commit and fn loses the call, so only nudges and caches belong here.
func (t *Tx) OnCommit(fn func()) { t.onCommit = append(t.onCommit, fn) }

// OnRollback runs fn when what the closure wrote is taken back: because it failed, because the transaction did, or because it is about to run again. For hints in memory that
// were moved along with rows; a crash takes both. fn must be short and must not use the database.
func (t *Tx) OnRollback(fn func()) { t.undo = append(t.undo, fn) }

// IsUnique says whether err is a violated UNIQUE or PRIMARY KEY constraint.
func IsUnique(err error) bool {
	return isConstraint(err, "23505", sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// IsForeignKey says whether err is a violated FOREIGN KEY constraint.
func IsForeignKey(err error) bool {
	return isConstraint(err, "23503", sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY)
}

// IsCheck says whether err is a violated CHECK constraint.
func IsCheck(err error) bool { return isConstraint(err, "23514", sqlite3.SQLITE_CONSTRAINT_CHECK) }

func isConstraint(err error, pg string, lite ...int) bool {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code == pg
	}
	var le *sqlite.Error
	return errors.As(err, &le) && slices.Contains(lite, le.Code())
}

var inserts sync.Map // insertKey → insert; bounded by the row types of the program

type insertKey struct {
	table string
	row   reflect.Type
}

// insert is how rows of one type are written.
type insert struct {
	text   string
	fields [][]int
}

// values are the row's, in the order of the text's placeholders.
func (in insert) values(row reflect.Value) []any {
	out := make([]any, len(in.fields))
	for i, f := range in.fields {
		out[i] = row.FieldByIndex(f).Interface()
	}
	return out
}

func insertOf(table string, rt reflect.Type) insert {
	key := insertKey{table, rt}
	if in, ok := inserts.Load(key); ok {
		return in.(insert)
	}
	var in insert
	var cols []string
	columns(rt, nil, func(name string, field []int) {
		cols = append(cols, name)
		in.fields = append(in.fields, field)
	})
	in.text = "INSERT INTO " + table + " (" + strings.Join(cols, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(cols)-1) + ")"
	inserts.Store(key, in)
	return in
}

// columns visits the fields with `db` tags of a row type, of embedded structs too.
func columns(rt reflect.Type, path []int, visit func(name string, field []int)) {
	for i := range rt.NumField() {
		f := rt.Field(i)
		at := append(slices.Clone(path), i)
		switch tag := f.Tag.Get("db"); {
		case tag == "-":
		case tag != "":
			visit(tag, at)
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			columns(f.Type, at, visit)
		}
	}
}
