package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Client is one connection to one monitor.
type Client struct {
	conn    *net.UnixConn
	scan    *bufio.Scanner
	version Version
	done    chan struct{} // closed by the reader as its last act

	writing chan struct{} // holds one token: who has it may write. A channel, so that waiting ends with a context

	mu      sync.Mutex // guards what follows; never held across I/O
	nextID  uint64
	waiting map[uint64]chan message // buffered 1: the reader never waits
	subs    map[*Subscription]bool
	notify  func(Event)
	err     error // why the connection ended
}

// Dial connects to the socket at path, of any length, and does the handshake.
func Dial(ctx context.Context, path string) (*Client, error) {
	conn, err := DialUnix(ctx, path)
	if err != nil {
		return nil, err
	}
	return New(ctx, conn)
}

// DialUnix connects to a unix stream socket whose path may be longer than the 107 bytes that an address holds: it goes through
// the open directory then.
func DialUnix(ctx context.Context, path string) (*net.UnixConn, error) {
	if len(path) > 107 {
		dir, err := os.Open(filepath.Dir(path))
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		path = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// New does the handshake (greeting, qmp_capabilities) on conn and starts the reader. It owns conn from here on, also when it returns an
// error. The wait for the greeting is the wait for QEMU's main loop to start, or for an earlier client to go.
func New(ctx context.Context, conn *net.UnixConn) (*Client, error) {
	c := &Client{conn: conn, done: make(chan struct{}), writing: make(chan struct{}, 1), waiting: map[uint64]chan message{}, subs: map[*Subscription]bool{}}
	c.scan = bufio.NewScanner(conn)
	c.scan.Buffer(make([]byte, 0, 16<<10), MaxMessage)
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	greeting, err := c.read()
	if err == nil && greeting.QMP == nil {
		err = errors.New("no greeting")
	}
	if !stop() {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("qmp greeting: %w", err)
	}
	q := greeting.QMP.Version
	c.version = Version{q.QEMU.Major, q.QEMU.Minor, q.QEMU.Micro, q.Package}
	go c.readAll()
	if err := c.Execute(ctx, "qmp_capabilities", nil, nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Version is QEMU's, from the greeting.
func (c *Client) Version() Version { return c.version }

// Done is closed when the connection has ended; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err is why the connection ended, nil while it stands.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Notify has the reader call f with every event from now on, before it looks at anything that came after: when a command's reply is there,
// f has seen the events that the command caused. F must not block and must not call the Client.
func (c *Client) Notify(f func(Event)) {
	c.mu.Lock()
	c.notify = f
	c.mu.Unlock()
}

// Close ends the connection and waits for the reader. Calls that wait return ErrClosed.
func (c *Client) Close() error {
	c.end(ErrClosed)
	<-c.done
	return nil
}

// Execute runs a command and decodes its return into result (nil: not wanted). args is anything that encodes to a JSON object, nil
// for none. A refusal is an *Error. When ctx ends first the command may still be carried out.
func (c *Client) Execute(ctx context.Context, command string, args, result any) error {
	return c.ExecuteFiles(ctx, nil, command, args, result)
}

// ExecuteFiles is Execute with open files passed along (SCM_RIGHTS), for getfd and add-fd. The caller keeps its own copies and may
// close them afterwards.
func (c *Client) ExecuteFiles(ctx context.Context, files []*os.File, command string, args, result any) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("qmp %s: %w", command, context.Cause(ctx))
	}
	reply := make(chan message, 1)
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	c.nextID++
	id := c.nextID
	c.waiting[id] = reply
	c.mu.Unlock()
	defer c.forget(id)

	line, err := json.Marshal(request{Execute: command, Arguments: args, ID: id})
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	if err := c.write(ctx, append(line, '\n'), files); err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	select {
	case m := <-reply:
		return finish(command, m, result)
	case <-ctx.Done():
		return fmt.Errorf("qmp %s: %w", command, context.Cause(ctx))
	case <-c.done:
		select {
		case m := <-reply: // answered just before the end, as quit is
			return finish(command, m, result)
		default:
			return fmt.Errorf("qmp %s: %w", command, c.Err())
		}
	}
}

func finish(command string, m message, result any) error {
	if m.Error != nil {
		m.Error.Command = command
		return m.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, result); err != nil {
		return fmt.Errorf("qmp %s: reply: %w", command, err)
	}
	return nil
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	delete(c.waiting, id)
	c.mu.Unlock()
}

// write sends one line. A line cut short by a deadline would make every later one unreadable, so then the connection ends.
func (c *Client) write(ctx context.Context, line []byte, files []*os.File) error {
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.Err()
	}
	defer func() { <-c.writing }()
	deadline, _ := ctx.Deadline() // the zero time means none
	c.conn.SetWriteDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { c.conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()

	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	n, _, err := c.conn.WriteMsgUnix(line, rights, nil)
	if err == nil && n < len(line) {
		_, err = c.conn.Write(line[n:])
	}
	if err != nil {
		c.end(err)
		return err
	}
	return nil
}

// end records why and cuts the line; the reader then stops.
func (c *Client) end(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.conn.Close()
}

func (c *Client) read() (message, error) {
	if !c.scan.Scan() {
		if err := c.scan.Err(); err != nil {
			return message{}, err
		}
		return message{}, errors.New("closed by QEMU")
	}
	var m message
	if err := json.Unmarshal(c.scan.Bytes(), &m); err != nil {
		return message{}, err
	}
	return m, nil
}

// readAll is the reader goroutine.
func (c *Client) readAll() {
	for {
		m, err := c.read()
		if err == nil {
			err = c.dispatch(m)
		}
		if err != nil {
			c.end(fmt.Errorf("qmp: %w", err))
			break
		}
	}
	c.mu.Lock()
	for s := range c.subs {
		s.finish()
	}
	c.subs = nil
	c.mu.Unlock()
	close(c.done)
}

func (c *Client) dispatch(m message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case m.Event != "":
		e := Event{Name: m.Event, Data: m.Data, At: time.Unix(m.Timestamp.Seconds, m.Timestamp.Microseconds*1000)}
		if c.notify != nil {
			c.notify(e)
		}
		for s := range c.subs {
			if !s.put(e) {
				return fmt.Errorf("%d events unread", MaxQueued)
			}
		}
	case m.ID != nil:
		if reply := c.waiting[*m.ID]; reply != nil { // else its caller has given up
			delete(c.waiting, *m.ID)
			reply <- m
		}
	case m.Error != nil:
		return fmt.Errorf("error without an id: %s", m.Error.Desc) // QEMU could not even parse a line: the stream is out of step
	}
	return nil
}
