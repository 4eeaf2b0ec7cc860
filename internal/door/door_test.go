package door_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/door"
)

// serve runs a server behind a door; the handler says "ok", or waits where the path is /wait.
func serve(t *testing.T, l door.Limit, secure *tls.Config) (*door.Door, string, chan struct{}) {
	t.Helper()
	d := door.New(l, slog.New(slog.DiscardHandler))
	wait := make(chan struct{})
	srv := d.Server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-wait
			<-wait
		}
		io.WriteString(w, "ok") //nolint:errcheck // the client may be gone
	}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := ln.Addr().String()
	ln = d.Listener(ln, secure)
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(ln) }() //nolint:errcheck // ends with Close
	t.Cleanup(func() { srv.Close(); <-done })
	return d, addr, wait
}

// say dials and sends text.
func say(t *testing.T, addr, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = io.WriteString(c, text)
	require.NoError(t, err)
	return c
}

const hello = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func answered(t *testing.T, c net.Conn) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	io.Copy(io.Discard, res.Body) //nolint:errcheck // only read to its end
	require.Equal(t, 200, res.StatusCode)
}

// ended waits until the other side has closed.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err := io.Copy(io.Discard, c)
	require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the connection is still open")
}

// TestNewcomerIsServed: with all places taken by idle connections one of them goes, not the newcomer, and not who is being worked for.
func TestNewcomerIsServed(t *testing.T) {
	t.Parallel()
	d, addr, wait := serve(t, door.Limit{Connections: 20}, nil)
	working := say(t, addr, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	wait <- struct{}{} // it is in the handler
	var idle []net.Conn
	for range 30 {
		c := say(t, addr, hello)
		answered(t, c)
		idle = append(idle, c)
	}
	require.LessOrEqual(t, d.Open(), 20)
	_, err := io.WriteString(idle[29], hello)
	require.NoError(t, err)
	answered(t, idle[29])
	close(wait)
	answered(t, working)
}

// TestHalfHeaders: connections in the middle of a header are bounded by themselves; the oldest go first.
func TestHalfHeaders(t *testing.T) {
	t.Parallel()
	_, addr, _ := serve(t, door.Limit{Connections: 1000, Headers: 8, HeaderTime: time.Minute}, nil)
	var slow []net.Conn
	for range 30 {
		slow = append(slow, say(t, addr, "GET / HTTP/1.1\r\nX-A: "))
	}
	ended(t, slow[0])
	answered(t, say(t, addr, hello))
}

func TestSlowHeaderEnds(t *testing.T) {
	t.Parallel()
	_, addr, _ := serve(t, door.Limit{HeaderTime: 100 * time.Millisecond}, nil)
	ended(t, say(t, addr, "GET / HTTP/1.1\r\nX-A: "))
	ended(t, say(t, addr, ""))
}

func TestHeaderSize(t *testing.T) {
	t.Parallel()
	_, addr, _ := serve(t, door.Limit{HeaderBytes: 8 << 10}, nil)
	c := say(t, addr, "GET / HTTP/1.1\r\nHost: x\r\nX-A: "+fmt.Sprintf("%09000d", 1)+"\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	require.Equal(t, 431, res.StatusCode)
}

// pair writes a self-signed certificate for name and its key.
func pair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	require.NoError(t, err)
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}), 0o600))
	return cert, key
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cert, key := pair(t, t.TempDir(), "cloud.example")
	c, err := door.LoadCertificate(cert, key)
	require.NoError(t, err)
	require.NoError(t, c.Covers("cloud.example"))
	require.NoError(t, c.Covers("127.0.0.1"))
	require.Error(t, c.Covers("other.example"))
	d, addr, _ := serve(t, door.Limit{Headers: 8, Connections: 100}, c.Server())
	trusting, err := door.Client(cert)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting}}
	get := func() (*http.Response, error) {
		res, err := client.Get("https://" + addr + "/")
		if err == nil {
			res.Body.Close()
		}
		return res, err
	}
	res, err := get()
	require.NoError(t, err)
	require.GreaterOrEqual(t, res.TLS.Version, uint16(tls.VersionTLS12))
	for range 30 { // greetings that never end
		say(t, addr, "\x16\x03\x01")
	}
	client.CloseIdleConnections()
	_, err = get()
	require.NoError(t, err)
	require.LessOrEqual(t, d.Open(), 20)

	strangers, err := door.Client("")
	require.NoError(t, err)
	_, err = (&http.Client{Transport: &http.Transport{TLSClientConfig: strangers}}).Get("https://" + addr + "/")
	require.ErrorContains(t, err, "unknown authority")
	old := trusting.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	_, err = tls.Dial("tcp", addr, old)
	require.Error(t, err, "TLS 1.1 is too old")
	_, err = door.Client(key)
	require.ErrorContains(t, err, "no PEM certificate")
	_, err = door.LoadCertificate(cert, filepath.Join(t.TempDir(), "absent"))
	require.Error(t, err)
}
