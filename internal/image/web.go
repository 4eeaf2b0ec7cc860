package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"nephos/internal/fault"
)

// WebRules say what may be read from the web, for imports and for locations. They hold for every redirect too. An empty allow-list allows all; a name that
// is on both lists is allowed, as in Glance.
type WebRules struct {
	Schemes     []string // nil: http and https
	Ports       []int    // nil: 80 and 443
	Hosts       []string // allowed; nil: all
	DeniedHosts []string
	// Private are the networks that may be reached although they are not public: loopback, link-local, RFC 1918 and the like are refused by address, after
	// the name was resolved, so that neither a redirect nor a name server leads inside (SSRF).
	Private []netip.Prefix
}

const (
	webRedirects = 5
	webIdle      = time.Minute // without a byte, before a download is given up
	webAnswer    = 30 * time.Second
)

type web struct {
	rules  *WebRules
	client *http.Client
}

func newWeb(rules *WebRules) *web {
	w := &web{rules: rules}
	if rules == nil {
		return w
	}
	dial := &net.Dialer{Timeout: webAnswer, Control: func(_, address string, _ syscall.RawConn) error { return rules.address(address) }}
	w.client = &http.Client{
		// No proxy: it would do the resolving. No transparent decompression: what comes is what is stored and counted.
		Transport: &http.Transport{DialContext: dial.DialContext, DisableCompression: true, ResponseHeaderTimeout: webAnswer, TLSHandshakeTimeout: webAnswer,
			MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 2},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > webRedirects {
				return fmt.Errorf("more than %d redirects", webRedirects)
			}
			return rules.check(r.URL)
		},
	}
	return w
}

// Check refuses (400) a URI that may not be read.
func (w *web) check(uri string) error {
	if w.rules == nil {
		return fault.Invalid("uri", "Nothing may be read from the web here.")
	}
	u, err := url.Parse(uri)
	if err == nil && (u.Host == "" || u.Opaque != "") {
		err = errors.New("it names no host")
	}
	if err == nil && u.User != nil {
		err = errors.New("it carries credentials, which would be stored")
	}
	if err == nil {
		err = w.rules.check(u)
	}
	if err != nil {
		return fault.Invalid("uri", "URI %q is not allowed: %v", cut(uri), err)
	}
	return nil
}

func cut(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}

func (r *WebRules) check(u *url.URL) error {
	schemes := r.Schemes
	if schemes == nil {
		schemes = []string{"http", "https"}
	}
	if u.Scheme != "http" && u.Scheme != "https" || !slices.Contains(schemes, u.Scheme) {
		return fmt.Errorf("the scheme %q is not one of %s", u.Scheme, strings.Join(schemes, ", "))
	}
	port := map[string]int{"http": 80, "https": 443}[u.Scheme]
	if p := u.Port(); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil {
			return errors.New("the port is no number")
		}
		port = n
	}
	ports := r.Ports
	if ports == nil {
		ports = []int{80, 443}
	}
	if !slices.Contains(ports, port) {
		return fmt.Errorf("port %d is not allowed", port)
	}
	host := strings.ToLower(u.Hostname())
	allowed := slices.Contains(r.Hosts, host)
	if r.Hosts != nil && !allowed || !allowed && slices.Contains(r.DeniedHosts, host) {
		return fmt.Errorf("the host %q is not allowed", host)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return r.ip(ip)
	}
	return nil
}

// address is asked with the resolved address of every connection.
func (r *WebRules) address(address string) error {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return r.ip(a.Addr())
}

// Networks beyond netip's own predicates that do not belong to the public Internet, or that carry an IPv4 address of it inside (RFC 6890, RFC 6052, RFC 3056).
var inside = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("100::/64")}

func (r *WebRules) ip(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	in := func(p netip.Prefix) bool { return p.Contains(ip) }
	if slices.ContainsFunc(r.Private, in) {
		return nil
	}
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || slices.ContainsFunc(inside, in) {
		return fmt.Errorf("the address %s is not public", ip)
	}
	return nil
}

// get asks for a URL; from is where to begin. The caller closes the body. Errors are for the one who gave the URL: they name no address inside.
func (w *web) get(ctx context.Context, method, uri string, from int64) (*http.Response, error) {
	if err := w.check(uri); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	req, err := http.NewRequestWithContext(ctx, method, uri, nil)
	if err != nil {
		cancel()
		return nil, fault.Invalid("uri", "URI %q is not allowed: it cannot be read", cut(uri))
	}
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := w.client.Do(req)
	if err != nil {
		cancel()
		var op *url.Error
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, fault.Invalid("uri", "%s cannot be read: %v", cut(uri), err)
	}
	if want := http.StatusOK; resp.StatusCode != want && (from == 0 || resp.StatusCode != http.StatusPartialContent) || from > 0 && resp.StatusCode == want {
		resp.Body.Close()
		cancel()
		return nil, fault.Invalid("uri", "%s cannot be read: the server answered %s", cut(uri), resp.Status)
	}
	resp.Body = &patient{ReadCloser: resp.Body, cancel: cancel, timer: time.AfterFunc(webIdle, cancel)}
	return resp, nil
}

// patient gives a download up when nothing comes for webIdle. The timer and the context end with Close.
type patient struct {
	io.ReadCloser
	cancel context.CancelFunc
	timer  *time.Timer
}

func (p *patient) Read(b []byte) (int, error) {
	p.timer.Reset(webIdle)
	return p.ReadCloser.Read(b)
}

func (p *patient) Close() error {
	p.timer.Stop()
	defer p.cancel()
	return p.ReadCloser.Close()
}

// size asks how many bytes a URL has; 400 when the server does not say.
func (w *web) size(ctx context.Context, uri string) (int64, error) {
	resp, err := w.get(ctx, http.MethodHead, uri, 0)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	if resp.ContentLength <= 0 {
		return 0, fault.Invalid("url", "%s does not say how many bytes it has", cut(uri))
	}
	return resp.ContentLength, nil
}

// webBlob reads an image at its URL. One reader at a time.
type webBlob struct {
	ctx  context.Context // of the open that made it; a Blob's methods have none
	w    *web
	uri  string
	n    int64
	pos  int64
	body io.ReadCloser // at pos; nil: not open
}

func (w *web) blob(ctx context.Context, uri string) (Blob, error) {
	n, err := w.size(ctx, uri)
	if err != nil {
		return nil, err
	}
	return &webBlob{ctx: ctx, w: w, uri: uri, n: n}, nil
}

func (b *webBlob) Size() int64 { return b.n }

func (b *webBlob) Close() error {
	if b.body == nil {
		return nil
	}
	body := b.body
	b.body = nil
	return body.Close()
}

func (b *webBlob) Read(p []byte) (int, error) {
	if b.pos >= b.n {
		return 0, io.EOF
	}
	if b.body == nil {
		resp, err := b.w.get(b.ctx, http.MethodGet, b.uri, b.pos)
		if err != nil {
			return 0, err
		}
		b.body = resp.Body
	}
	n, err := b.body.Read(p[:min(int64(len(p)), b.n-b.pos)])
	b.pos += int64(n)
	if errors.Is(err, io.EOF) && b.pos < b.n {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (b *webBlob) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += b.pos
	case io.SeekEnd:
		offset += b.n
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	if offset != b.pos {
		b.Close() //nolint:errcheck // another request follows
		b.pos = offset
	}
	return offset, nil
}

func (b *webBlob) ReadAt(p []byte, off int64) (int, error) {
	part := &webBlob{ctx: b.ctx, w: b.w, uri: b.uri, n: b.n, pos: off}
	defer part.Close()
	n, err := io.ReadFull(part, p)
	if errors.Is(err, io.ErrUnexpectedEOF) && off+int64(n) == b.n {
		err = io.EOF
	}
	return n, err
}
