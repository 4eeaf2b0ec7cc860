package simlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
)

// Sizes in bytes. A file smaller than compactMin is never rewritten while it is in use; a larger one when it is compactFactor times what it was after the last time.
const (
	compactMin    = 64 << 20
	compactFactor = 4
)

// Log is one open file of records. Its methods may be called from any goroutine.
type Log struct {
	path string

	mu     sync.Mutex // guards what follows; held over a write
	file   *os.File
	size   int64
	limit  int64 // the size at which it is rewritten
	loaded map[string]map[string]json.RawMessage
	buf    bytes.Buffer
}

// Open opens or makes the file and reads it. Only one Log may have a file open at a time.
func Open(path string) (*Log, error) {
	l := &Log{path: path, loaded: map[string]map[string]json.RawMessage{}}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l.file, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	live := map[string]int{} // bytes of the line that counts
	end := scan(b, func(table, key string, value []byte, from, to int) {
		name := table + "\t" + key
		if value == nil {
			delete(live, name)
			delete(l.loaded[table], key)
			return
		}
		live[name] = to - from
		t := l.loaded[table]
		if t == nil {
			t = map[string]json.RawMessage{}
			l.loaded[table] = t
		}
		t[key] = bytes.Clone(value)
	})
	if err := l.file.Truncate(int64(end)); err != nil { // a torn last line
		return nil, errors.Join(err, l.file.Close())
	}
	l.size = int64(end)
	var counts int64
	for _, n := range live {
		counts += int64(n)
	}
	l.limit = max(compactMin, compactFactor*l.size)
	if l.size > 2*counts+1<<20 {
		if err := l.compact(); err != nil {
			return nil, errors.Join(err, l.file.Close())
		}
	}
	return l, nil
}

// scan calls fn for each whole line of b, which is b[from:to] with its end, and gives where the last of them ends. A line with a zero byte says nothing: nobody wrote
// one, a power cut has left a page of the file unwritten there.
func scan(b []byte, fn func(table, key string, value []byte, from, to int)) int {
	at := 0
	for {
		n := bytes.IndexByte(b[at:], '\n')
		if n < 0 {
			return at
		}
		table, rest, ok := bytes.Cut(b[at:at+n], []byte{'\t'})
		key, value, has := bytes.Cut(rest, []byte{'\t'})
		if ok && !has {
			value = nil
		}
		if ok && bytes.IndexByte(b[at:at+n], 0) < 0 {
			fn(string(table), string(key), value, at, at+n+1)
		}
		at += n + 1
	}
}

// compact rewrites the file without what no longer counts. A process that dies here leaves the old file or the new one. Under mu.
func (l *Log) compact() error {
	b, err := os.ReadFile(l.path)
	if err != nil {
		return err
	}
	type span struct{ from, to int }
	counts := map[string]span{}
	scan(b, func(table, key string, value []byte, from, to int) {
		name := table + "\t" + key
		if value == nil {
			delete(counts, name)
		} else {
			counts[name] = span{from, to}
		}
	})
	f, err := os.OpenFile(l.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	w, size := bufio.NewWriterSize(f, 1<<20), int64(0)
	for _, s := range counts {
		n, err := w.Write(b[s.from:s.to])
		size += int64(n)
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := errors.Join(w.Flush(), os.Rename(l.path+".new", l.path)); err != nil {
		return errors.Join(err, f.Close())
	}
	err = l.file.Close()
	l.file, l.size, l.limit = f, size, max(compactMin, compactFactor*size)
	return err
}

// Close closes the file. What comes after is refused.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

// Table is one keeper's part of a Log.
type Table struct {
	log  *Log
	name string
}

// Table gives the part of that name: no tabs, no line ends, and one user.
func (l *Log) Table(name string) *Table {
	return &Table{log: l, name: strings.NewReplacer("\t", " ", "\n", " ").Replace(name)}
}

// Load gives what the table held when the Log was opened. The Log forgets it: a second call gives nothing.
func (t *Table) Load() map[string]json.RawMessage {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	m := t.log.loaded[t.name]
	delete(t.log.loaded, t.name)
	return m
}

// Put keeps v under key, in place of what was there.
func (t *Table) Put(key string, v any) error { return t.write(key, v, true) }

// Delete forgets the key.
func (t *Table) Delete(key string) error { return t.write(key, nil, false) }

func (t *Table) write(key string, v any, put bool) error {
	if strings.ContainsAny(key, "\t\n") {
		return fmt.Errorf("%s: %q cannot be a key", t.log.path, key)
	}
	l := t.log
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
	l.buf.WriteString(t.name)
	l.buf.WriteByte('\t')
	l.buf.WriteString(key)
	if put {
		l.buf.WriteByte('\t')
		if err := json.NewEncoder(&l.buf).Encode(v); err != nil { // ends the line
			return err
		}
	} else {
		l.buf.WriteByte('\n')
	}
	n, err := l.file.Write(l.buf.Bytes())
	l.size += int64(n)
	if err != nil && n > 0 { // half a line must not swallow the next
		if terr := l.file.Truncate(l.size - int64(n)); terr == nil {
			l.size -= int64(n)
		}
	}
	if err != nil {
		return err
	}
	if l.size > l.limit {
		return l.compact()
	}
	return nil
}

var _ io.Closer = (*Log)(nil)
