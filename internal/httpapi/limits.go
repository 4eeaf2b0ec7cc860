package httpapi

import (
	"io"
	"math"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"nephos/internal/fault"
)

// Limit says how much all services of a process take on at once. Zero values mean the default named beside them.
type Limit struct {
	Requests int           // worked on at once; 128, or 16 for each processor. One caller at most three quarters of them
	Queue    int           // waiting for that; 4096
	Wait     time.Duration // of one request in the queue; 15 s
	Logins   int           // password checks at once, as each costs a processor for a twentieth of a second; the number of processors
	Streams  int           // up- and downloads at once; 256
	Memory   int64         // bytes of large bodies and of large answers that clients are slow to take; 256 MiB
	BodyTime time.Duration // within which a body that is no stream must have come; 30 s
	Rate     float64       // requests a second of one project, steadily; 0: no limit
	Burst    int           // requests of one project at once before Rate holds; 0: twice the rate
}

// Limits is Limit at work, shared by the services of a process. A caller is a project, or for requests without a token an address.
type Limits struct {
	work, logins, streams *gate
	memory                *pool
	bodyTime              time.Duration
	rate                  rate.Limit
	burst                 int

	mu      sync.Mutex
	buckets map[string]*rate.Limiter
}

// Times of a connection: see Server in package door for what they bound.
const (
	// smallBytes is what a request's body or answer may have without asking Limit.Memory: about what net/http holds for a connection anyway.
	smallBytes = 4 << 10
	// slowest is the least speed, in bytes a second, at which a client must take an answer.
	slowest = 16 << 10
	// writeTime is added to what slowest gives.
	writeTime = 15 * time.Second
	// maxBuckets bounds the memory for rates; beyond it the full buckets, which say nothing, are thrown away.
	maxBuckets = 4096
)

// NewLimits fills in the defaults.
func NewLimits(c Limit) *Limits {
	def := func(v *int, n int) {
		if *v <= 0 {
			*v = n
		}
	}
	def(&c.Requests, max(128, 16*runtime.GOMAXPROCS(0)))
	def(&c.Queue, 4096)
	def(&c.Logins, runtime.GOMAXPROCS(0))
	def(&c.Streams, 256)
	if c.Wait <= 0 {
		c.Wait = 15 * time.Second
	}
	if c.Memory <= 0 {
		c.Memory = 256 << 20
	}
	if c.BodyTime <= 0 {
		c.BodyTime = 30 * time.Second
	}
	if c.Burst <= 0 {
		c.Burst = int(math.Ceil(2 * c.Rate))
	}
	share := func(n int) int { return max(1, n*3/4) }
	return &Limits{
		work:    newGate(c.Requests, share(c.Requests), c.Queue, c.Wait),
		logins:  newGate(c.Logins, c.Logins, c.Queue, c.Wait),
		streams: newGate(c.Streams, share(c.Streams), c.Streams, time.Second),
		memory:  newPool(c.Memory), bodyTime: c.BodyTime, rate: rate.Limit(c.Rate), burst: c.Burst, buckets: map[string]*rate.Limiter{},
	}
}

// limitError is an answer that asks the client to come again.
type limitError struct {
	error
	status int           // 0: that of the fault's kind
	after  time.Duration // for Retry-After, rounded up to seconds; 0: none
}

func (e *limitError) Unwrap() error { return e.error }

func busy() error {
	return &limitError{error: fault.Unavailable("The service is busy with other requests. Try again later."), after: 2 * time.Second}
}

func retryAfter(d time.Duration) string {
	return strconv.Itoa(max(1, int(math.Ceil(d.Seconds()))))
}

// caller is whose share a request takes.
func (r *Request) caller() string {
	if r.Creds != nil && r.Creds.ProjectID != "" {
		return r.Creds.ProjectID
	}
	if r.Creds != nil {
		return r.Creds.UserID
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// allow spends one request of the caller's rate.
func (l *Limits) allow(key string) error {
	if l == nil || l.rate <= 0 {
		return nil
	}
	l.mu.Lock()
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			for k, old := range l.buckets {
				if old.Tokens() >= float64(l.burst) {
					delete(l.buckets, k)
				}
			}
		}
		b = rate.NewLimiter(l.rate, l.burst)
		l.buckets[key] = b
	}
	l.mu.Unlock()
	res := b.Reserve()
	if d := res.Delay(); d > 0 {
		res.Cancel()
		return &limitError{error: fault.New(fault.KindRateLimited, "This request was rate-limited: %g requests a second are allowed for a project.", float64(l.rate)), after: d}
	}
	return nil
}

// holding is what a request holds of the limits. Its methods are the request goroutine's alone.
type holding struct {
	l     *Limits
	gate  *gate
	key   string
	bytes int64 // of memory
}

// enter waits for a place of the gate that the route belongs to.
func (h *holding) enter(r *Request, rw *Route) error {
	if h.l == nil {
		return nil
	}
	g := h.l.work
	switch {
	case rw.Stream:
		g = h.l.streams
	case rw.Login:
		g = h.l.logins
	}
	key := r.caller()
	if !g.enter(r.Context(), key) {
		return busy()
	}
	h.gate, h.key = g, key
	return nil
}

// leave gives the place back; it may be called again.
func (h *holding) leave() {
	if h.gate != nil {
		h.gate.leave(h.key)
		h.gate = nil
	}
}

// memory reserves n bytes more.
func (h *holding) memory(r *Request, n int64) bool {
	if h.l == nil || n <= 0 {
		return true
	}
	if h.key == "" {
		h.key = r.caller()
	}
	if !h.l.memory.take(h.key, n) {
		return false
	}
	h.bytes += n
	return true
}

// end gives everything back.
func (h *holding) end() {
	h.leave()
	if h.bytes > 0 {
		h.l.memory.put(h.key, h.bytes)
		h.bytes = 0
	}
}

// answered is called before an answer of n bytes is written: the place is given back, so that a client which is slow to read takes none from others. Where no
// memory is left to keep the answer outside, the place stays taken until the client has read; that is bounded in time.
func (h *holding) answered(r *Request, w http.ResponseWriter, n int) {
	if h.l == nil {
		return
	}
	if n > smallBytes || r.Route != nil && r.Route.Stream {
		d := writeTime + time.Duration(n/slowest)*time.Second
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d)) //nolint:errcheck // a writer without deadlines has no slow client
	}
	if n > smallBytes && !h.memory(r, int64(n)) {
		return
	}
	h.leave()
}

// unhurried takes the server's deadlines from a stream: the handler sets its own as bytes go by.
func (h *holding) unhurried(r *Request) {
	if h.l == nil {
		return
	}
	c := http.NewResponseController(r.W)
	c.SetWriteDeadline(time.Time{}) //nolint:errcheck // as above
	if r.ContentLength == 0 {
		c.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	}
}

// meteredBody reserves memory as the bytes come: to say that much will come costs a client nothing, to send it does.
type meteredBody struct {
	io.Reader
	r      *Request
	free   int64 // bytes that need no asking any more
	denied bool
}

// bodyStep is how much memory is reserved at once.
const bodyStep = 64 << 10

func (m *meteredBody) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	for m.free -= int64(n); m.free < 0; m.free += bodyStep {
		if !m.r.held.memory(m.r, bodyStep) {
			m.denied = true
			return 0, io.ErrShortBuffer
		}
	}
	return n, err
}
