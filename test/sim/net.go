package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"nephos/internal/hostapi"
)

// The ports of the simulated network: hosts send disks and guests to each other, and images to the cloud's address, behind which any living controller answers.
const (
	peerPort  = ":9700"
	cloudName = "cloud"
	cloudPort = ":9292"
)

// dialTime is how long a connection may take to come about.
const dialTime = 10 * time.Second

// errBroken is what both ends of a connection see after it broke.
var errBroken = errors.New("the simulated connection broke")

// door is where a process takes connections: a net.Listener on the simulated network.
type door struct {
	node    *node
	address string
	come    chan net.Conn
	once    sync.Once
	shut    chan struct{}
}

// open makes a door at an address. A process may share it with others; who comes is then let in by one of them.
func (n *node) open(address string) *door {
	d := &door{node: n, address: address, come: make(chan net.Conn), shut: make(chan struct{})}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.doors = append(n.w.doors, d)
	return d
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.come:
		return c, nil
	case <-d.shut:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (d *door) Close() error {
	d.once.Do(func() {
		close(d.shut)
		w := d.node.w
		w.mu.Lock()
		defer w.mu.Unlock()
		w.doors = slices.DeleteFunc(w.doors, func(x *door) bool { return x == d })
	})
	return nil
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return place(d.address) }

type place string

func (p place) Network() string { return "sim" }
func (p place) String() string  { return string(p) }

// commandKey is under what the wire keeps, in the context of its handler, the command that a message brought.
type commandKey struct{}

// commandOf is the command in whose service something happens; the zero Command when in none's.
func commandOf(ctx context.Context) hostapi.Command {
	c, _ := ctx.Value(commandKey{}).(hostapi.Command)
	return c
}

// about names a command the same way in every run of the seed.
func (w *wire) about(c hostapi.Command) string {
	return string(c.Op) + " " + w.label(c.Subject) + " e" + strconv.FormatInt(c.Epoch, 10)
}

// doorAt finds who answers at an address, some other host in its stead when wrong says so (an address that has gone to another machine).
func (w *wire) doorAt(address, key string, wrong bool) *door {
	w.mu.Lock()
	defer w.mu.Unlock()
	var fit, other []*door
	for _, d := range w.doors {
		switch {
		case d.address == address:
			fit = append(fit, d)
		case address != cloudName+cloudPort && d.address != cloudName+cloudPort:
			other = append(other, d)
		}
	}
	if wrong && len(other) > 0 {
		return other[w.draw(key+"/which")%uint64(len(other))]
	}
	if len(fit) == 0 {
		return nil
	}
	return fit[w.draw(key+"/balance")%uint64(len(fit))]
}

// dial opens a connection; it is peer.Dial. Its fate is drawn from its name: who, to where, in the service of which command, and the how-manieth of that.
func (n *node) dial(ctx context.Context, address string) (net.Conn, error) {
	w := n.w
	cmd := commandOf(ctx)
	name := n.name + ">" + address + " " + w.about(cmd)
	w.mu.Lock()
	w.counts[name]++
	key := name + " #" + strconv.Itoa(w.counts[name])
	w.mu.Unlock()
	wait := w.delay(key)
	if cmd.Op == hostapi.OpLiveSend { // a guest's memory takes a while
		wait += time.Duration(w.draw(key+"/memory")%8_000_000) * time.Microsecond
	}
	if err := pause(ctx, n.ctx, wait); err != nil {
		return nil, err
	}
	sky := w.now()
	d := w.doorAt(address, key, w.chance(key+"/wrong", sky.rough/4))
	if d == nil {
		w.trace("%s: connection refused", key)
		return nil, fmt.Errorf("%s: connection refused", address)
	}
	for until := time.Now().Add(dialTime); w.isCut(n.name, d.node.name) || w.isCut(d.node.name, n.name); {
		if time.Now().After(until) {
			w.trace("%s: no answer", key)
			return nil, fmt.Errorf("%s: no answer", address)
		}
		if err := pause(ctx, n.ctx, 500*time.Millisecond); err != nil {
			return nil, err
		}
	}
	s := w.strand(key, n, d.node, sky)
	select {
	case d.come <- s.ends[1]:
		w.trace("%s: connected to %s%s", key, d.node.name, s.doom())
		return s.ends[0], nil
	case <-d.shut:
		s.end()
		return nil, fmt.Errorf("%s: connection refused", address)
	case <-ctx.Done():
		s.end()
		return nil, ctx.Err()
	}
}

// strand is one connection. Its fate counts the bytes of one of its directions.
type strand struct {
	w        *wire
	key      string
	from, to *node
	ends     [2]*end
	ctx      context.Context
	cancel   context.CancelFunc

	side           int   // whose bytes are counted: 0 of who dialled
	breaks, stalls int64 // after so many bytes; -1: never
	damaged        int64 // the byte that comes changed; -1: none
	late           bool  // the sender is told that what is lost by the break has gone well, as a kernel with a buffer does
	stall          time.Duration
}

// strand draws a connection's fate.
func (w *wire) strand(key string, from, to *node, sky weather) *strand {
	s := &strand{w: w, key: key, from: from, to: to, breaks: -1, stalls: -1, damaged: -1}
	s.ctx, s.cancel = context.WithCancel(w.ctx)
	a, b := net.Pipe()
	s.ends = [2]*end{{Conn: a, s: s, side: 0, turn: make(chan struct{}, 1)}, {Conn: b, s: s, side: 1, turn: make(chan struct{}, 1)}}
	at := func(what string) int64 { // early more often: heads are short, disks long
		most := []uint64{200, 2000, 20_000}[w.draw(key+what+"/size")%3]
		return int64(w.draw(key+what) % most)
	}
	s.side = int(w.draw(key+"/side") % 2)
	if w.chance(key+"/break", sky.rough) {
		s.breaks, s.late = at("/break at"), w.chance(key+"/late break", 500)
	}
	if w.chance(key+"/stall", sky.rough) {
		s.stalls, s.stall = at("/stall at"), time.Duration(w.draw(key+"/stall for")%40_000)*time.Millisecond
	}
	// Only disks are sent with digests; what else is damaged on its way TCP would have found.
	if c := w.chance(key+"/damage", sky.rough/2); c && s.to.door() {
		s.damaged, s.side = int64(600+w.draw(key+"/damage at")%9000), 1
	}
	w.mu.Lock()
	w.strands = append(w.strands, s)
	w.mu.Unlock()
	return s
}

// door says that the process is a host.
func (n *node) door() bool { return n.name[0] == 'h' }

// doom is the fate in words.
func (s *strand) doom() string {
	out := ""
	if s.breaks >= 0 {
		out += fmt.Sprintf(", breaks after %d", s.breaks)
	}
	if s.stalls >= 0 {
		out += fmt.Sprintf(", stalls after %d for %v", s.stalls, s.stall)
	}
	if s.damaged >= 0 {
		out += fmt.Sprintf(", damages byte %d", s.damaged)
	}
	return out
}

// end breaks the connection for both.
func (s *strand) end() {
	s.cancel()
	s.ends[0].Conn.Close()
	s.ends[1].Conn.Close()
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.strands = slices.DeleteFunc(s.w.strands, func(x *strand) bool { return x == s })
}

// cutStrands breaks all connections of a process.
func (n *node) cutStrands() {
	n.w.mu.Lock()
	all := slices.Clone(n.w.strands)
	n.w.mu.Unlock()
	for _, s := range all {
		if s.from == n || s.to == n {
			s.end()
		}
	}
}

// end is one side of a strand.
type end struct {
	net.Conn
	s    *strand
	side int

	turn   chan struct{} // held over a write, in which fake time passes: no mutex. Guards passed
	passed int64
}

// Close implements net.Conn.
func (e *end) Close() error {
	err := e.Conn.Close()
	e.s.w.mu.Lock()
	defer e.s.w.mu.Unlock()
	e.s.w.strands = slices.DeleteFunc(e.s.w.strands, func(x *strand) bool { return x == e.s })
	return err
}

// LocalAddr and RemoteAddr implement net.Conn.
func (e *end) LocalAddr() net.Addr  { return place([]string{e.s.from.name, e.s.to.name}[e.side]) }
func (e *end) RemoteAddr() net.Addr { return place([]string{e.s.to.name, e.s.from.name}[e.side]) }

// piece is how many bytes go at once.
const piece = 4096

// Write implements net.Conn: piece by piece, each a little later, held up while the way is cut, and with the connection's fate.
func (e *end) Write(p []byte) (n int, err error) {
	e.turn <- struct{}{}
	defer func() { <-e.turn }()
	for n < len(p) {
		k, err := e.write(p[n:min(len(p), n+piece)])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func (e *end) write(p []byte) (int, error) {
	s := e.s
	from, to := s.from.name, s.to.name
	if e.side == 1 {
		from, to = to, from
	}
	if err := e.wait(200 * time.Microsecond); err != nil {
		return 0, err
	}
	for s.w.isCut(from, to) || s.w.isCut(to, from) { // without answers nothing is sent for long
		if err := e.wait(250 * time.Millisecond); err != nil {
			return 0, err
		}
	}
	if e.side != s.side {
		return e.Conn.Write(p)
	}
	before := e.passed
	e.passed += int64(len(p))
	if in(s.stalls, before, e.passed) {
		s.w.trace("%s stalls", s.key)
		if err := e.wait(s.stall); err != nil {
			return 0, err
		}
	}
	if in(s.damaged, before, e.passed) {
		s.w.trace("%s is damaged", s.key)
		p = slices.Clone(p)
		p[s.damaged-before] ^= 0x20
	}
	if in(s.breaks, before, e.passed) {
		s.w.trace("%s breaks", s.key)
		k, err := e.Conn.Write(p[:s.breaks-before])
		if err != nil {
			return k, err
		}
		s.end()
		if s.late {
			return len(p), nil
		}
		return k, errBroken
	}
	return e.Conn.Write(p)
}

func in(at, from, to int64) bool { return at >= from && at < to }

// wait lets time pass while the connection stands.
func (e *end) wait(d time.Duration) error {
	if pause(e.s.ctx, e.s.w.ctx, d) != nil {
		return io.ErrClosedPipe
	}
	return nil
}
