package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"sync"

	"nephos/internal/config"
	"nephos/internal/host/peer"
	"nephos/internal/hostapi"
)

// listenPeers opens the door by which other hosts fetch disks and send guests, for all hosts of this process.
func listenPeers(cfg *config.Config, log *slog.Logger, l *lifecycle) (*peer.Server, string, error) {
	address := hostAddress(cfg)
	s, err := peer.Listen(net.JoinHostPort(address, strconv.Itoa(cfg.TransferPort)), log)
	if err != nil {
		return nil, "", err
	}
	l.run("door for other hosts", s.Serve)
	return s, net.JoinHostPort(address, strconv.Itoa(s.Port())), nil
}

// hostAddress is where other hosts reach this one: what is configured, else the address that this machine has towards the controller, else the one that the services
// listen on.
func hostAddress(cfg *config.Config) string {
	if cfg.Address != "" {
		return cfg.Address
	}
	if u, err := url.Parse(cfg.Join); err == nil && cfg.Join != "" && u.Host != "" {
		// A UDP "connection" sends nothing: it asks the kernel for the route.
		if conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), "4222")); err == nil {
			defer conn.Close()
			if a, ok := conn.LocalAddr().(*net.UDPAddr); ok {
				return a.IP.String()
			}
		}
	}
	return cfg.Listen
}

// tunnelIP is this host's end of the tunnels that join networks of several hosts; "" where other hosts could not reach it.
func tunnelIP(cfg *config.Config) string {
	a, err := netip.ParseAddr(hostAddress(cfg))
	if err != nil || a.IsLoopback() || a.IsUnspecified() {
		return ""
	}
	return a.String()
}

// tunnels remembers what every host was told of the others' tunnel ends.
type tunnels struct {
	mu   sync.Mutex        // guards what follows
	seen int64             // changes
	told map[string]string // by host
}

// tunnelEnds are the tunnel ends that hosts are told.
func (c *controller) tunnelEnds() map[string]string {
	ends, _ := c.registry.TunnelEnds()
	return ends
}

// checkTunnels has every host told when the set of tunnel ends is another one. A host that is alone has nobody to tell of. Every heartbeat asks, so nothing here may grow with
// the hosts while nothing changes.
func (c *controller) checkTunnels() {
	ends, changes := c.registry.TunnelEnds()
	c.tunnels.mu.Lock()
	told := c.tunnels.told
	changed := c.tunnels.seen != changes
	c.tunnels.seen, c.tunnels.told = changes, ends
	c.tunnels.mu.Unlock()
	if changed && max(len(ends), len(told)) > 1 {
		c.networks.Refresh(slices.Sorted(maps.Keys(ends)))
	}
}

// onMoveProgress notes how far a guest has gone.
func (c *controller) onMoveProgress(ctx context.Context, data []byte) (any, error) {
	var p hostapi.MoveProgress
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	return nil, c.compute.MoveProgress(ctx, p)
}
