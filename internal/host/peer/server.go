package peer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
)

// Host is what a Server asks of an agent. They answer fault.KindForbidden when the token does not fit.
type Host interface {
	// Offered gives the files of a server that has left, by name.
	Offered(serverID, token string) (map[string]string, error)
	// Arriving takes a connection over on which a guest comes, closes it and returns when it is used up; name says what is on it. accept opens it; before that an error is a refusal.
	Arriving(ctx context.Context, serverID, token, name string, accept func() (net.Conn, error)) error
}

// Server listens for other agents.
type Server struct {
	log   *slog.Logger
	ln    net.Listener
	http  http.Server
	mu    sync.Mutex // guards hosts
	hosts map[string]Host
}

// Listen opens a Server on address ("host:port"; port 0: any).
func Listen(address string, log *slog.Logger) (*Server, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listener for other hosts: %w", err)
	}
	return NewServer(ln, log), nil
}

// NewServer makes a Server that takes its connections from ln and closes it at the end of Serve.
func NewServer(ln net.Listener, log *slog.Logger) *Server {
	s := &Server{log: log, ln: ln, hosts: map[string]Host{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/{host}/{server}", s.manifest)
	mux.HandleFunc("GET /v1/{host}/{server}/{file}", s.file)
	mux.HandleFunc("POST /v1/{host}/{server}/{stream}", s.stream)
	s.http = http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	return s
}

// Port is the port that other agents are told; of a Server on TCP.
func (s *Server) Port() int { return s.ln.Addr().(*net.TCPAddr).Port }

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	stop := context.AfterFunc(ctx, func() { s.http.Close() })
	defer stop()
	if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Register makes a host known under its name.
func (s *Server) Register(name string, h Host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hosts[name] = h
}

func (s *Server) host(r *http.Request) (Host, string, error) {
	s.mu.Lock()
	h := s.hosts[r.PathValue("host")]
	s.mu.Unlock()
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if h == nil || !ok || token == "" {
		return nil, "", fault.Forbidden("no such offer")
	}
	return h, token, nil
}

func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch fault.KindOf(err) {
	case fault.KindForbidden:
		code = http.StatusForbidden
	case fault.KindNotFound:
		code = http.StatusNotFound
	case fault.KindConflict:
		code = http.StatusConflict
	}
	http.Error(w, fault.Reason(err), code)
}

// Manifest lists what a server's disks are.
type Manifest struct {
	Files []File `json:"files"`
}

// File is one disk. Extents are offset and length of what is no hole; SHA256 is over those bytes, in order, each extent led by its offset and length in text.
type File struct {
	Name    string     `json:"name"`
	Size    int64      `json:"size"`
	Extents [][2]int64 `json:"extents"`
	SHA256  string     `json:"sha256"`
}

func (s *Server) manifest(w http.ResponseWriter, r *http.Request) {
	h, token, err := s.host(r)
	var files map[string]string
	if err == nil {
		files, err = h.Offered(r.PathValue("server"), token)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	m := Manifest{Files: []File{}}
	for name, path := range files {
		f, err := describe(r.Context(), name, path)
		if err != nil {
			refuse(w, err)
			return
		}
		m.Files = append(m.Files, f)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(m) // whoever asked is gone, and will ask again
}

// describe reads a file's extents and digest.
func describe(ctx context.Context, name, path string) (File, error) {
	out := File{Name: name, Extents: [][2]int64{}}
	f, err := os.Open(path)
	if err != nil {
		return out, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return out, err
	}
	out.Size = st.Size()
	for off := int64(0); off < out.Size; {
		data, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if err != nil {
			return out, err
		}
		hole, err := unix.Seek(int(f.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return out, err
		}
		out.Extents = append(out.Extents, [2]int64{data, hole - data})
		off = hole
	}
	out.SHA256, err = digest(ctx, f, out.Extents)
	return out, err
}

// digest is File.SHA256.
func digest(ctx context.Context, f *os.File, extents [][2]int64) (string, error) {
	sum := sha256.New()
	for _, e := range extents {
		fmt.Fprintf(sum, "%d %d\n", e[0], e[1])
		if _, err := io.Copy(sum, readerOf(ctx, io.NewSectionReader(f, e[0], e[1]))); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

type withContext struct {
	ctx context.Context //nolint:containedctx // lives as long as one copy
	r   io.Reader
}

func readerOf(ctx context.Context, r io.Reader) io.Reader { return withContext{ctx, r} }

func (w withContext) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	h, token, err := s.host(r)
	var files map[string]string
	if err == nil {
		files, err = h.Offered(r.PathValue("server"), token)
	}
	path, ok := files[r.PathValue("file")]
	if err == nil && !ok {
		err = fault.NotFound("no such file")
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}

// protocol is the word of the Upgrade.
const protocol = "nephos-guest"

func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	h, token, err := s.host(r)
	server, name := r.PathValue("server"), r.PathValue("stream")
	if err == nil && r.Header.Get("Upgrade") != protocol {
		err = fault.Conflict("an upgrade to %s is needed", protocol)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	accepted := false
	err = h.Arriving(r.Context(), server, token, name, func() (net.Conn, error) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return nil, err
		}
		accepted = true
		err = conn.SetDeadline(time.Time{})
		if err == nil {
			_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n\r\n", protocol)
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	})
	if err != nil {
		s.log.Warn("stream of a guest that comes", "server", server, "stream", name, "err", err)
		if !accepted {
			refuse(w, err)
		}
	}
}
