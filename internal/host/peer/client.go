package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nephos/internal/fault"
)

// Dial opens a stream of bytes to an address (host:port) of another host.
type Dial func(ctx context.Context, address string) (net.Conn, error)

// Client asks the agents of other hosts, over connections of one kind. It keeps idle ones for the next question until Close.
type Client struct {
	dial Dial
	http *http.Client
}

// NewClient makes a Client; nil: over TCP. It waits for headers, not for whole disks: those are bounded by the context.
func NewClient(dial Dial) *Client {
	if dial == nil {
		d := net.Dialer{Timeout: 10 * time.Second}
		dial = func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	t := &http.Transport{ResponseHeaderTimeout: 30 * time.Minute, IdleConnTimeout: time.Minute, DisableCompression: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return dial(ctx, address) }}
	return &Client{dial: dial, http: &http.Client{Transport: t}}
}

// Close closes the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Source is another host's agent as one move sees it.
type Source struct {
	Client  *Client
	Address string // host:port
	Host    string
	Server  string
	Token   string
}

func (s Source) url(elem ...string) string {
	u := url.URL{Scheme: "http", Host: s.Address, Path: "/v1/" + s.Host + "/" + s.Server}
	return u.JoinPath(elem...).String()
}

func (s Source) request(ctx context.Context, method, url string) (*http.Request, error) {
	if s.Address == "" {
		return nil, fault.Unavailable("host %s has not told where its agent can be asked", s.Host)
	}
	r, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+s.Token)
	return r, nil
}

// answer turns a refusal into an error.
func (s Source) answer(res *http.Response, err error) error {
	if err != nil {
		return fault.Unavailable("host %s cannot be reached at %s", s.Host, s.Address).WithCause(err)
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusPartialContent {
		return nil
	}
	words, _ := io.ReadAll(io.LimitReader(res.Body, 512)) // what there is of the reason
	res.Body.Close()
	return fault.Conflict("host %s: %s", s.Host, strings.TrimSpace(string(words)))
}

// Manifest asks what there is. The other side reads every byte for the digest.
func (s Source) Manifest(ctx context.Context) (Manifest, error) {
	var m Manifest
	r, err := s.request(ctx, http.MethodGet, s.url())
	if err != nil {
		return m, err
	}
	res, err := s.Client.http.Do(r) //nolint:bodyclose // answer closes a refusal's
	if err := s.answer(res, err); err != nil {
		return m, err
	}
	defer res.Body.Close()
	return m, json.NewDecoder(io.LimitReader(res.Body, 64<<20)).Decode(&m)
}

// Fetch brings a file to path+".part", going on where an earlier try ended, and verifies it there. What is not as it should be is thrown away: the next try begins anew.
func (s Source) Fetch(ctx context.Context, f File, path string) (part string, err error) {
	if f.Name != filepath.Base(f.Name) || f.Size < 0 {
		return "", fault.Invalid("", "host %s names a file %q", s.Host, f.Name)
	}
	part = path + ".part"
	file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return part, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	marks := path + ".done" // extents that are whole, so that a new process goes on
	done := readMark(marks, f.SHA256)
	if err := file.Truncate(f.Size); err != nil {
		return part, err
	}
	for i, e := range f.Extents {
		if i < done {
			continue
		}
		if err := s.extent(ctx, f.Name, e, file); err != nil {
			return part, err
		}
		if err := file.Sync(); err != nil { // the mark must not be newer than the bytes
			return part, err
		}
		if err := os.WriteFile(marks, fmt.Appendf(nil, "%s %d", f.SHA256, i+1), 0o600); err != nil {
			return part, err
		}
	}
	sum, err := digest(ctx, file, f.Extents)
	if err == nil && sum != f.SHA256 {
		err = errors.Join(fault.Unavailable("disk %s came damaged from host %s", f.Name, s.Host), os.Remove(part))
	}
	if rerr := os.Remove(marks); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return part, err
}

func readMark(path, sum string) int {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	var have string
	var n int
	if _, err := fmt.Sscanf(string(b), "%s %d", &have, &n); err != nil || have != sum {
		return 0
	}
	return n
}

func (s Source) extent(ctx context.Context, name string, e [2]int64, to *os.File) error {
	r, err := s.request(ctx, http.MethodGet, s.url(name))
	if err != nil {
		return err
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", e[0], e[0]+e[1]-1))
	res, err := s.Client.http.Do(r) //nolint:bodyclose // answer closes a refusal's
	if err := s.answer(res, err); err != nil {
		return err
	}
	defer res.Body.Close()
	n, err := io.Copy(io.NewOffsetWriter(to, e[0]), io.LimitReader(res.Body, e[1]))
	if err == nil && n != e[1] {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fault.Unavailable("disk %s from host %s broke off", name, s.Host).WithCause(err)
	}
	return nil
}

// Dial opens a stream to a host that awaits a guest. The connection is bare from then on.
func (s Source) Dial(ctx context.Context, stream string) (net.Conn, error) {
	r, err := s.request(ctx, http.MethodPost, s.url(stream))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Upgrade", protocol)
	r.Header.Set("Connection", "Upgrade")
	conn, err := s.Client.dial(ctx, s.Address)
	if err != nil {
		return nil, s.answer(nil, err)
	}
	if err := s.greet(conn, r); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// greet reads the answer's head byte by byte: what follows is the stream's and must stay in the connection.
func (s Source) greet(conn net.Conn, r *http.Request) error {
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if err := r.Write(conn); err != nil {
		return s.answer(nil, err)
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(&single{conn}, 16), r)
	if err != nil {
		return s.answer(nil, err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return s.answer(res, nil)
	}
	return conn.SetDeadline(time.Time{})
}

// single gives one byte at a time, so that a buffer never holds more than the reader has asked for.
type single struct{ r io.Reader }

func (s *single) Read(p []byte) (int, error) { return s.r.Read(p[:min(1, len(p))]) }
