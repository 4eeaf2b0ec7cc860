package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"nephos/internal/config"
	"nephos/internal/host/peer"
	"nephos/internal/hostapi"
	"nephos/internal/network"
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

// tunnels remembers which hosts have tunnel ends, to notice a change.
type tunnels struct {
	mu   sync.Mutex // guards last
	last string
}

// tunnelPeers are the tunnel ends of all hosts, as they told at registration.
func (c *controller) tunnelPeers() []network.Peer {
	var out []network.Peer
	for _, r := range c.registry.Rows() {
		if ip := r.Info.V.TunnelIP; ip != "" {
			out = append(out, network.Peer{Host: r.Name, Address: ip})
		}
	}
	return out
}

// checkTunnels has every host told when the set of tunnel ends is another one.
func (c *controller) checkTunnels() {
	peers := c.tunnelPeers()
	if len(peers) < 2 {
		return
	}
	var b strings.Builder
	for _, p := range peers {
		b.WriteString(p.Host + "=" + p.Address + "\n")
	}
	c.tunnels.mu.Lock()
	changed := c.tunnels.last != b.String()
	c.tunnels.last = b.String()
	c.tunnels.mu.Unlock()
	if changed {
		names := make([]string, len(peers))
		for i, p := range peers {
			names[i] = p.Host
		}
		slices.Sort(names)
		c.networks.Refresh(names)
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
