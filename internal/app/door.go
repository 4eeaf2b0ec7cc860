package app

import (
	"crypto/tls"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"nephos/internal/config"
	"nephos/internal/door"
	"nephos/internal/httpapi"
)

// doorLimit bounds connections as configured.
func doorLimit(c *config.Config) door.Limit {
	l := c.Limits
	return door.Limit{Connections: l.Connections, HeaderTime: seconds(l.HeaderSeconds), IdleTime: seconds(l.IdleSeconds)}
}

// requestLimit bounds requests as configured.
func requestLimit(c *config.Config) httpapi.Limit {
	l := c.Limits
	return httpapi.Limit{Requests: l.Requests, Queue: l.Queue, Logins: l.Logins, Streams: l.Streams, Memory: int64(l.MemoryMiB) << 20, BodyTime: seconds(l.BodySeconds),
		Rate: l.ProjectRate, Burst: l.ProjectBurst}
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// busClients is how many connections the bus takes: what HTTP leaves of the process's descriptors, less what the process itself needs.
func busClients(c *config.Config) int {
	if c.Limits.BusConnections > 0 {
		return c.Limits.BusConnections
	}
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur > 1<<20 {
		return 1 << 14
	}
	return max(16, int(files.Cur)/8)
}

// serverTLS is the TLS of the ports that this process opens; nil without. A certificate that clients would refuse is an error now, not theirs later.
func serverTLS(c *config.Config) (*tls.Config, error) {
	if c.TLS.Cert == "" {
		return nil, nil
	}
	cert, err := door.LoadCertificate(c.TLS.Cert, c.TLS.Key)
	if err != nil {
		return nil, err
	}
	if err := cert.Covers(c.PublicHost()); err != nil {
		return nil, fmt.Errorf("TLS certificate %s is not for %s, which the catalog tells clients: %w (set --public to a name of the certificate)", c.TLS.Cert, c.PublicHost(), err)
	}
	return cert.Server(), nil
}

// clientTLS is how an agent reaches the bus: nil when nothing is said of an authority, so that the address decides.
func clientTLS(c *config.Config) (*tls.Config, error) {
	if c.TLS.CA == "" {
		return nil, nil
	}
	return door.Client(c.TLS.CA)
}

// authority is the file that clients are told to trust, "" when the machine's own list will do.
func authority(c *config.Config) (string, error) {
	if c.TLS.Cert == "" || c.TLS.CA == "" {
		return "", nil
	}
	return filepath.Abs(c.TLS.CA)
}
