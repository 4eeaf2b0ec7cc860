package bus

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"nephos/internal/fault"
)

// MaxPayload bounds one message, in bytes.
const MaxPayload = 8 << 20

// Config says where the bus is.
type Config struct {
	Name   string // of this client, for the server's log
	URL    string // join this server; empty: start one in this process
	Listen string // host:port for other processes when the server is ours; empty: none can join
	Token  string // shared secret of all clients that come through a socket
	Log    *slog.Logger

	ServerTLS *tls.Config // of our server's socket; nil: none
	ClientTLS *tls.Config // of the way to URL: TLS is then insisted on, and the server's certificate checked; nil: as the server wants it
	Clients   int         // most connections that our server takes; 0: no bound
}

// Bus is a connection, and the server behind it when it was started here.
type Bus struct {
	conn   *nats.Conn
	srv    *server.Server
	log    *slog.Logger
	joined chan struct{} // closed at the first connection

	ctx    context.Context // of all handlers; ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // handlers under way
	mu     sync.Mutex
	closed bool // guards wg against an Add after Wait
}

// Open starts or joins the bus.
func Open(cfg Config) (*Bus, error) {
	b := &Bus{log: cfg.Log, joined: make(chan struct{})}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	opts := []nats.Option{nats.Name(cfg.Name), nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond), nats.Token(cfg.Token),
		nats.RetryOnFailedConnect(true), nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			b.log.Warn("bus", "err", err)
		}), nats.ConnectHandler(func(*nats.Conn) { close(b.joined) }), nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			b.log.Warn("the bus cannot be reached, trying again", "url", cfg.URL, "err", err)
		})}
	if cfg.ClientTLS != nil {
		opts = append(opts, nats.Secure(cfg.ClientTLS))
	}
	url := cfg.URL
	if url == "" {
		srv, err := startServer(cfg)
		if err != nil {
			return nil, err
		}
		b.srv, url = srv, "nats://in-process" // not the server's own address: with TLS that would insist on it where there is no wire
		opts = append(opts, nats.InProcessServer(srv))
	}
	conn, err := nats.Connect(url, opts...)
	if err != nil {
		if b.srv != nil {
			b.srv.Shutdown()
		}
		return nil, fmt.Errorf("connect to the bus at %s: %w", url, err)
	}
	b.conn = conn
	return b, nil
}

func startServer(cfg Config) (*server.Server, error) {
	o := &server.Options{ServerName: "nephos", NoLog: true, NoSigs: true, DontListen: true, MaxPayload: MaxPayload, Authorization: cfg.Token,
		MaxPending: 256 << 20, WriteDeadline: 30 * time.Second, JetStream: false, MaxConn: cfg.Clients, AuthTimeout: 5}
	if cfg.Listen != "" {
		host, port, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			return nil, fmt.Errorf("bus listen address %q: %w", cfg.Listen, err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, fmt.Errorf("bus listen port %q: %w", port, err)
		}
		o.DontListen, o.Host, o.Port = false, host, n
		if cfg.ServerTLS != nil {
			o.TLS, o.TLSConfig, o.TLSTimeout = true, cfg.ServerTLS, 5
		}
	}
	srv, err := server.NewServer(o)
	if err != nil {
		return nil, fmt.Errorf("bus server: %w", err)
	}
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		srv.Shutdown()
		return nil, fmt.Errorf("bus server does not get ready on %q (is the port taken?)", cfg.Listen)
	}
	return srv, nil
}

// Joined is closed when the server has been reached for the first time: Open does not wait for that, as a host stands alone until then.
func (b *Bus) Joined() <-chan struct{} { return b.joined }

// Publish sends v and does not wait.
func (b *Bus) Publish(subject string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.conn.Publish(subject, data)
}

// A reply is one byte that says what follows: the answer in JSON, the answer as the handler's own bytes, or an error in words.
const (
	replyJSON  = 'j'
	replyBytes = 'b'
	replyError = 'e'
)

// Request asks and waits for one answer until ctx ends. fault.KindUnavailable: nobody listens there, or the bus is away; any other
// error is the handler's own words. out may be nil, or a *[]byte for a handler that answers with bytes.
func (b *Bus) Request(ctx context.Context, subject string, in, out any) error {
	data, err := json.Marshal(in)
	if err != nil {
		return err
	}
	msg, err := b.conn.RequestWithContext(ctx, subject, data)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fault.Unavailable("no answer on %s", subject).WithCause(err)
	}
	if len(msg.Data) == 0 {
		return fmt.Errorf("reply on %s is empty", subject)
	}
	body := msg.Data[1:]
	switch raw, wantsBytes := out.(*[]byte); {
	case msg.Data[0] == replyError:
		return fault.Conflict("%s", body)
	case out == nil:
		return nil
	case wantsBytes && msg.Data[0] == replyBytes:
		*raw = body
		return nil
	case msg.Data[0] == replyJSON:
		if err := json.Unmarshal(body, out); err != nil {
			return fmt.Errorf("reply on %s: %w", subject, err)
		}
		return nil
	}
	return fmt.Errorf("reply on %s begins with %q", subject, msg.Data[0])
}

// Limit is how many messages of one subscription are handled at once; more wait in the connection's buffer.
const Limit = 256

// Handle answers requests on subject. A queue name shares the work among all who use it; "" gives everyone a copy. The value
// returned is the reply ([]byte travels as it is); for a published message it is dropped.
func (b *Bus) Handle(subject, queue string, fn func(ctx context.Context, data []byte) (any, error)) error {
	return b.subscribe(subject, queue, func(m *nats.Msg) { b.answer(m, fn) })
}

// subscribe runs take for each message, at most Limit at once.
func (b *Bus) subscribe(subject, queue string, take func(*nats.Msg)) error {
	slots := make(chan struct{}, Limit)
	cb := func(m *nats.Msg) {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return
		}
		b.wg.Add(1)
		b.mu.Unlock()
		slots <- struct{}{}
		go func() {
			defer b.wg.Done()
			defer func() { <-slots }()
			take(m)
		}()
	}
	sub, err := b.conn.QueueSubscribe(subject, queue, cb)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return err
	}
	return b.conn.Flush()
}

// Listen gets a copy of each message on subject and answers none: for those who only want to know what others are asked.
func (b *Bus) Listen(subject string, fn func(ctx context.Context, data []byte) error) error {
	return b.subscribe(subject, "", func(m *nats.Msg) {
		if err := fn(b.ctx, m.Data); err != nil {
			b.log.Warn("message not understood", "subject", m.Subject, "err", err)
		}
	})
}

func (b *Bus) answer(m *nats.Msg, fn func(ctx context.Context, data []byte) (any, error)) {
	v, err := fn(b.ctx, m.Data)
	if m.Reply == "" {
		if err != nil {
			b.log.Warn("message not handled", "subject", m.Subject, "err", err)
		}
		return
	}
	data := []byte{replyJSON}
	if raw, isRaw := v.([]byte); err == nil && isRaw {
		data = append([]byte{replyBytes}, raw...)
	} else if err == nil {
		var body []byte
		body, err = json.Marshal(v)
		data = append(data, body...)
	}
	if err != nil {
		data = append([]byte{replyError}, err.Error()...)
	}
	err = m.Respond(data)
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		b.log.Warn("reply not sent", "subject", m.Subject, "err", err)
	}
}

// Addr is where other processes can join, "" when they cannot.
func (b *Bus) Addr() string {
	if b.srv == nil {
		return ""
	}
	if a := b.srv.Addr(); a != nil {
		return a.String()
	}
	return ""
}

// Close ends the handlers' context, waits for them and closes the connection (and our server). It may be called twice.
func (b *Bus) Close() {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.wg.Wait()
	b.conn.Close()
	if b.srv != nil {
		b.srv.Shutdown()
		b.srv.WaitForShutdown()
	}
}
