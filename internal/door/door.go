package door

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Limit bounds connections. Zero values mean the default named beside them.
type Limit struct {
	Connections int           // of all ports together; 16384, or what three quarters of the process's descriptors allow
	Headers     int           // of these, in the middle of sending a header (or a TLS greeting); an eighth
	HeaderBytes int           // of one request; 64 KiB
	HeaderTime  time.Duration // to send a header; 10 s
	IdleTime    time.Duration // between two requests; 120 s
	RequestTime time.Duration // to send all of a request that is no stream, from its first byte to the end of its answer; 120 s
}

// slack is what the answer's last bytes may take after RequestTime.
const slack = 30 * time.Second

// Door counts the connections of a process's HTTP servers.
type Door struct {
	limit Limit
	log   *slog.Logger

	mu      sync.Mutex
	open    int
	callers map[string]*caller // by address
	headers int                // visits in state sending
}

// visit is one connection, below TLS where there is any.
type visit struct {
	net.Conn
	door *Door
	from *caller
	idle atomic.Bool // the next byte read begins a header. Set under the door's lock; read without, so that most reads need none

	list       *queue // where it stands; nil while its request is worked on, and when it has ended
	prev, next *visit
	ended      bool
}

// Read notes where a header begins.
func (v *visit) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	if n > 0 && v.idle.Load() {
		v.door.sending(v)
	}
	return n, err
}

// ReadFrom lets a file go to a socket by sendfile(2), as net/http would without this type around it.
func (v *visit) ReadFrom(r io.Reader) (int64, error) { return io.Copy(v.Conn, r) }

// Close ends the connection and its place.
func (v *visit) Close() error {
	v.door.mu.Lock()
	v.door.gone(v)
	v.door.mu.Unlock()
	return v.Conn.Close()
}

// caller is an address with its connections that wait or send, the longest there first.
type caller struct {
	addr          string
	total         int
	idle, sending queue
}

// queue is a list of visits in order of arrival.
type queue struct {
	first, last *visit
	n           int
}

func (q *queue) add(v *visit) {
	v.list, v.prev, v.next = q, q.last, nil
	if q.last == nil {
		q.first = v
	} else {
		q.last.next = v
	}
	q.last = v
	q.n++
}

func (v *visit) out() {
	q := v.list
	if q == nil {
		return
	}
	if v.prev == nil {
		q.first = v.next
	} else {
		v.prev.next = v.next
	}
	if v.next == nil {
		q.last = v.prev
	} else {
		v.next.prev = v.prev
	}
	q.n--
	v.list, v.prev, v.next = nil, nil, nil
}

// New fills in the defaults.
func New(l Limit, log *slog.Logger) *Door {
	if l.Connections <= 0 {
		l.Connections = 16384
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err == nil && files.Cur < 1<<30 {
		l.Connections = min(l.Connections, max(16, int(files.Cur)*3/4))
	}
	if l.Headers <= 0 {
		l.Headers = max(8, l.Connections/8)
	}
	if l.HeaderBytes <= 0 {
		l.HeaderBytes = 64 << 10
	}
	for v, d := range map[*time.Duration]time.Duration{&l.HeaderTime: 10 * time.Second, &l.IdleTime: 120 * time.Second, &l.RequestTime: 120 * time.Second} {
		if *v <= 0 {
			*v = d
		}
	}
	return &Door{limit: l, log: log, callers: map[string]*caller{}}
}

// Limit is what holds, with defaults filled in.
func (d *Door) Limit() Limit { return d.limit }

// visitKey finds the connection's visit in a request's context.
type visitKey struct{}

// Server is an HTTP server for handler. It must serve what Listener gives.
func (d *Door) Server(handler http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
				d.working(v)
			}
			handler.ServeHTTP(w, r)
		}),
		Protocols: protocols, MaxHeaderBytes: d.limit.HeaderBytes - 4<<10, // net/http adds 4 KiB
		ReadHeaderTimeout: d.limit.HeaderTime, IdleTimeout: d.limit.IdleTime, ReadTimeout: d.limit.RequestTime, WriteTimeout: d.limit.RequestTime + slack,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, visitKey{}, visitOf(c))
		},
		ConnState: func(c net.Conn, s http.ConnState) {
			if s == http.StateIdle {
				d.waiting(visitOf(c))
			}
		},
	}
}

func visitOf(c net.Conn) *visit {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	v, _ := c.(*visit)
	return v
}

// Listener counts what ln accepts, and speaks TLS on it if secure is not nil.
func (d *Door) Listener(ln net.Listener, secure *tls.Config) net.Listener {
	ln = &listener{ln, d}
	if secure != nil {
		return tls.NewListener(ln, secure)
	}
	return ln
}

type listener struct {
	net.Listener
	door *Door
}

// Accept takes in whoever comes: if that is one too many, another goes.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.door.arrive(c), nil
}

func (d *Door) arrive(c net.Conn) *visit {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		host = c.RemoteAddr().String()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	from := d.callers[host]
	if from == nil {
		from = &caller{addr: host}
		d.callers[host] = from
	}
	if d.open >= d.limit.Connections {
		d.thin(d.limit.Connections/64+1, func(c *caller) int { return c.total }, func(c *caller) *visit {
			if c.idle.first != nil {
				return c.idle.first
			}
			return c.sending.first
		})
	}
	v := &visit{Conn: c, door: d, from: from}
	d.open++
	from.total++
	d.callers[host] = from // thin may have taken an address without connections away
	from.idle.add(v)
	v.idle.Store(true)
	return v
}

// sending notes that the connection is in the middle of a header (or of a TLS greeting).
func (d *Door) sending(v *visit) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.ended || v.list != &v.from.idle {
		return
	}
	if d.headers >= d.limit.Headers {
		d.thin(d.limit.Headers/64+1, func(c *caller) int { return c.sending.n }, func(c *caller) *visit { return c.sending.first })
	}
	d.out(v)
	v.from.sending.add(v)
	d.headers++
}

// working notes that a header is whole: the connection is not closed for others any more.
func (d *Door) working(v *visit) {
	d.mu.Lock()
	d.out(v)
	d.mu.Unlock()
}

// waiting notes that the connection has been answered.
func (d *Door) waiting(v *visit) {
	if v == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if v.ended {
		return
	}
	d.out(v)
	v.from.idle.add(v)
	v.idle.Store(true)
}

// out takes the visit from its list.
func (d *Door) out(v *visit) {
	if v.list == &v.from.sending {
		d.headers--
	}
	v.idle.Store(false)
	v.out()
}

// thin closes up to n connections of the caller with most. The lock is held meanwhile: to close a socket only tells the kernel.
func (d *Door) thin(n int, weight func(*caller) int, pick func(*caller) *visit) {
	var heaviest *caller
	for _, c := range d.callers {
		if pick(c) != nil && (heaviest == nil || weight(c) > weight(heaviest)) {
			heaviest = c
		}
	}
	if heaviest == nil {
		return // all are worked on; the places of httpapi.Limits bound those
	}
	closed := 0
	for ; closed < n; closed++ {
		v := pick(heaviest)
		if v == nil {
			break
		}
		d.gone(v)
		v.Conn.Close()
	}
	d.log.Debug("connections closed for new ones", "address", heaviest.addr, "closed", closed, "open", d.open, "sending", d.headers)
}

// gone gives the place of a connection back, once.
func (d *Door) gone(v *visit) {
	if v.ended {
		return
	}
	v.ended = true
	d.out(v)
	d.open--
	if v.from.total--; v.from.total == 0 && d.callers[v.from.addr] == v.from {
		delete(d.callers, v.from.addr)
	}
}

// Open is how many connections there are.
func (d *Door) Open() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.open
}
