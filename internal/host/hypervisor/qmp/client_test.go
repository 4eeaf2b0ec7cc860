package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mock is a monitor at the other end of a socket pair, driven line by line by the test.
type mock struct {
	t    *testing.T
	conn *net.UnixConn
	in   *bufio.Reader
}

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}`

func pair(t *testing.T) (*net.UnixConn, *mock) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = c.(*net.UnixConn)
		t.Cleanup(func() { c.Close() })
	}
	return conns[0], &mock{t, conns[1], bufio.NewReader(conns[1])}
}

type seen struct {
	Execute   string
	Arguments json.RawMessage
	ID        json.Number
}

func (m *mock) send(s string) {
	if _, err := io.WriteString(m.conn, s+"\r\n"); err != nil {
		m.t.Error(err)
	}
}

func (m *mock) recv() (s seen) {
	line, err := m.in.ReadString('\n')
	if err != nil {
		m.t.Error(err)
		return s
	}
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		m.t.Error(err)
	}
	return s
}

func (m *mock) ok(s seen, ret string) { m.send(`{"return": ` + ret + `, "id": ` + s.ID.String() + `}`) }

func connect(t *testing.T) (*Client, *mock) {
	conn, m := pair(t)
	handshake := make(chan struct{})
	go func() {
		defer close(handshake)
		m.send(greeting)
		if s := m.recv(); s.Execute != "qmp_capabilities" {
			t.Errorf("first command %q", s.Execute)
		} else {
			m.ok(s, "{}")
		}
	}()
	c, err := New(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	<-handshake
	t.Cleanup(func() { c.Close() })
	return c, m
}

func TestGreetingAndVersion(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	if got := c.Version().String(); got != "7.2.22" {
		t.Errorf("version %s", got)
	}
}

func TestNewGivesUpWithItsContext(t *testing.T) {
	t.Parallel()
	conn, _ := pair(t) // a monitor that another client holds: no greeting comes
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(ctx, conn); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
}

func TestNewRefusesOtherPeers(t *testing.T) {
	t.Parallel()
	for _, first := range []string{`{"hello": 1}`, "SSH-2.0", strings.Repeat("x", MaxMessage+1)} {
		conn, m := pair(t)
		go func() { io.WriteString(m.conn, first+"\r\n") }()
		if _, err := New(t.Context(), conn); err == nil {
			t.Errorf("%.20q was taken for a monitor", first)
		}
	}
}

func TestRepliesFindTheirCallersOutOfOrder(t *testing.T) {
	t.Parallel()
	c, m := connect(t)
	var wg sync.WaitGroup
	const n = 16
	for i := range n {
		wg.Go(func() {
			var got struct{ Echo int }
			if err := c.Execute(t.Context(), "echo", map[string]int{"v": i}, &got); err != nil || got.Echo != i {
				t.Errorf("%d: got %d, %v", i, got.Echo, err)
			}
		})
	}
	var all []seen
	for range n {
		all = append(all, m.recv())
	}
	m.send(`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "NOISE"}`)
	for i := len(all) - 1; i >= 0; i-- {
		var a struct{ V json.Number }
		json.Unmarshal(all[i].Arguments, &a)
		m.ok(all[i], `{"echo": `+a.V.String()+`}`)
	}
	wg.Wait()
}

func TestRefusalIsTyped(t *testing.T) {
	t.Parallel()
	c, m := connect(t)
	go func() {
		s := m.recv()
		m.send(`{"id": ` + s.ID.String() + `, "error": {"class": "DeviceNotFound", "desc": "Device 'x' not found"}}`)
	}()
	err := c.Execute(t.Context(), "device_del", map[string]string{"id": "x"}, nil)
	if !IsClass(err, ClassDeviceNotFound) || !strings.Contains(err.Error(), "device_del: Device 'x' not found") {
		t.Errorf("err %v", err)
	}
}

func TestLateReplyAfterDeadlineIsDropped(t *testing.T) {
	t.Parallel()
	c, m := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { got <- c.Execute(ctx, "slow", nil, nil) }()
	late := m.recv()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
	m.ok(late, `{"stale": true}`)
	go func() { m.ok(m.recv(), `{"n": 1}`) }()
	var r struct{ N int }
	if err := c.Execute(t.Context(), "next", nil, &r); err != nil || r.N != 1 {
		t.Errorf("n %d, %v", r.N, err)
	}
}

func TestFullPipeEndsTheConnection(t *testing.T) {
	t.Parallel()
	c, m := connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // the mock takes the beginning and nothing more
		m.in.ReadByte()
		cancel()
	}()
	if err := c.Execute(ctx, "big", map[string]string{"x": strings.Repeat("x", 4<<20)}, nil); err == nil {
		t.Fatal("written into a full pipe")
	}
	<-c.Done()
	if c.Execute(t.Context(), "more", nil, nil) == nil {
		t.Error("half a line was followed by another")
	}
}

func TestPeerGone(t *testing.T) {
	t.Parallel()
	c, m := connect(t)
	sub := c.Subscribe()
	got := make(chan error, 1)
	go func() { got <- c.Execute(t.Context(), "cont", nil, nil) }()
	m.recv()
	m.send(`{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true}}`)
	m.conn.Close()
	if err := <-got; err == nil {
		t.Error("no error")
	}
	if e, err := sub.Next(t.Context()); err != nil || e.Name != "SHUTDOWN" {
		t.Errorf("the last event was lost: %v %v", e, err)
	}
	if _, err := sub.Next(t.Context()); err == nil {
		t.Error("no error at the end")
	}
	if s := c.Subscribe(); s != nil {
		if _, err := s.Next(t.Context()); err == nil {
			t.Error("subscription to a dead connection waits")
		}
	}
}

func TestAnswerJustBeforeTheEndCounts(t *testing.T) {
	t.Parallel()
	for range 20 {
		c, m := connect(t)
		go func() { m.ok(m.recv(), "{}"); m.conn.Close() }()
		if err := c.Execute(t.Context(), "quit", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSubscriptionsFilterAndOrder(t *testing.T) {
	t.Parallel()
	c, m := connect(t)
	all, some, gone := c.Subscribe(), c.Subscribe("B"), c.Subscribe()
	gone.Close()
	for _, e := range []string{"A", "B", "C"} {
		m.send(`{"timestamp": {"seconds": 5, "microseconds": 7}, "event": "` + e + `", "data": {"device": "d-` + e + `"}}`)
	}
	for _, want := range []string{"A", "B", "C"} {
		if e, err := all.Next(t.Context()); err != nil || e.Name != want || !e.At.Equal(time.Unix(5, 7000)) {
			t.Errorf("%v, %v; want %s", e, err, want)
		}
	}
	e, err := some.Next(t.Context())
	var d struct{ Device string }
	if err != nil || e.Decode(&d) != nil || d.Device != "d-B" {
		t.Errorf("%v %v", e, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := some.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
}

func TestNotifyComesBeforeTheReply(t *testing.T) {
	t.Parallel()
	c, m := connect(t)
	stopped := false // no lock: the reply orders the accesses
	c.Notify(func(e Event) { stopped = e.Name == "STOP" })
	go func() {
		s := m.recv()
		m.send(`{"event": "STOP"}`)
		m.ok(s, "{}")
	}()
	if err := c.Execute(t.Context(), "stop", nil, nil); err != nil || !stopped {
		t.Errorf("stopped %t, %v", stopped, err)
	}
}

func TestEventFloodEndsTheConnection(t *testing.T) {
	t.Parallel()
	c, m := connect(t)
	c.Subscribe()
	line := `{"event": "FLOOD"}` + "\n"
	go func() {
		for range MaxQueued + 2 {
			if _, err := io.WriteString(m.conn, line); err != nil {
				return
			}
		}
	}()
	<-c.Done()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "unread") {
		t.Errorf("err %v", err)
	}
}

func TestFilesTravelWithTheirCommand(t *testing.T) {
	t.Parallel()
	c, m := connect(t)
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make(chan error, 1)
	go func() {
		got <- c.ExecuteFiles(t.Context(), []*os.File{f}, "getfd", map[string]string{"fdname": "n"}, nil)
	}()
	buf, oob := make([]byte, 4096), make([]byte, 128)
	n, oobn, _, _, err := m.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		t.Fatal(err)
	}
	var s seen
	json.Unmarshal(buf[:n], &s)
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		t.Fatalf("%v, %v", msgs, err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%v, %v", fds, err)
	}
	g := os.NewFile(uintptr(fds[0]), "got")
	defer g.Close()
	a, _ := f.Stat()
	b, _ := g.Stat()
	if !os.SameFile(a, b) || s.Execute != "getfd" {
		t.Errorf("another file came with %s", s.Execute)
	}
	m.ok(s, "{}")
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestDialLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l, err := net.Listen("unix", "/proc/self/fd/"+itoa(int(d.Fd()))+"/q")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		m := &mock{t, conn.(*net.UnixConn), bufio.NewReader(conn)}
		m.send(greeting)
		m.ok(m.recv(), "{}")
		m.in.ReadByte()
	}()
	c, err := Dial(t.Context(), filepath.Join(dir, "q"))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }
