package door

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"time"
)

// Certificate is a server's certificate and key from two PEM files, read again when they change, so that a renewal needs no restart.
type Certificate struct {
	cert, key string

	mu      sync.Mutex
	current *tls.Certificate
	stamp   [2]time.Time // of the files that current was made from
	looked  time.Time
}

// look is how often the files' times are asked for.
const look = 10 * time.Second

// LoadCertificate reads the files. It is an error if they do not belong together.
func LoadCertificate(cert, key string) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key}
	return c, c.load(time.Now())
}

func (c *Certificate) load(now time.Time) error {
	var stamp [2]time.Time
	for i, f := range []string{c.cert, c.key} {
		st, err := os.Stat(f)
		if err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
		stamp[i] = st.ModTime()
	}
	c.looked = now
	if c.current != nil && stamp == c.stamp {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("TLS certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.current, c.stamp = &pair, stamp
	return nil
}

// get gives the newest certificate. One that cannot be read (half of a renewal) leaves the old one in force.
func (c *Certificate) get() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) > look {
		c.load(now) //nolint:errcheck // the old certificate goes on
	}
	return c.current
}

// Covers is an error unless clients that ask for name (a host name or an address) accept the certificate's names.
func (c *Certificate) Covers(name string) error {
	return c.get().Leaf.VerifyHostname(name)
}

// Server is the configuration of a port: TLS 1.2 at least, with Go's choice of ciphers (all with forward secrecy).
func (c *Certificate) Server() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.get(), nil },
		CipherSuites: suites()}
}

// suites are those of TLS 1.2 that exchange keys by ECDHE: what is recorded today stays secret when the key is lost later.
func suites() []uint16 {
	var out []uint16
	for _, s := range tls.CipherSuites() {
		switch s.ID {
		case tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256:
			out = append(out, s.ID)
		}
	}
	return out
}

// Client is the configuration of one who calls: it trusts the authorities in the PEM file ca, or the system's when that is empty.
func Client(ca string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca == "" {
		return c, nil
	}
	b, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("TLS authority: %w", err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("TLS authority %s: there is no PEM certificate in it", ca)
	}
	return c, nil
}
