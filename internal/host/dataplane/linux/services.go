package linux

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"nephos/internal/host/dataplane"
	"nephos/internal/host/dataplane/dhcp"
)

// services are the listeners of all networks: DHCP and metadata. apply and close are called by whoever holds the kernel token; the accept
// loops read only dir and the DHCP tables, which are replaced whole.
type services struct {
	cfg   *Config
	byNet map[string]*service
	http  *http.Server
	dir   atomic.Pointer[dataplane.Directory]
	loops sync.WaitGroup
}

// service is what listens on one bridge. A nil part does not listen.
type service struct {
	index  int // of the bridge: another one means that the sockets are bound to a device that is gone
	dhcp   *dhcp.Server
	conn   net.PacketConn
	frames *frameWriter
	lis    net.Listener
}

func newServices(cfg *Config) *services {
	s := &services{cfg: cfg, byNet: map[string]*service{}}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.metadata),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelDebug), // what guests send is not ours to complain about
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, networkKey{}, c.(*networkConn).network)
		},
	}
	return s
}

type networkKey struct{}

// networkListener remembers on which network a connection came in.
type networkListener struct {
	net.Listener
	network string
}

type networkConn struct {
	net.Conn
	network string
}

func (l *networkListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &networkConn{c, l.network}, nil
}

// metadata finds the port behind the request and hands it on. Who is no port gets 404, as from OpenStack's metadata proxy.
func (s *services) metadata(w http.ResponseWriter, r *http.Request) {
	network, _ := r.Context().Value(networkKey{}).(string)
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, "unknown sender", http.StatusNotFound)
		return
	}
	guest, ok := s.dir.Load().Find(network, from.Addr())
	if !ok {
		http.Error(w, "no port of this network has the address "+from.Addr().String(), http.StatusNotFound)
		return
	}
	s.cfg.Metadata.ServeHTTP(w, r.WithContext(dataplane.WithGuest(r.Context(), guest)))
}

// apply opens and closes listeners so that they match the plan, and gives each DHCP server its new table.
func (s *services) apply(ns *namespace, links map[string]netlink.Link, p *plan, dir *dataplane.Directory) (errs []error) {
	s.dir.Store(dir)
	resolvers := hostResolvers(s.cfg.ResolvConf)
	for id, sv := range s.byNet {
		if p.netByID[id] == nil {
			sv.close()
			delete(s.byNet, id)
		}
	}
	for _, n := range p.networks {
		bridge := links[n.bridge]
		if bridge == nil {
			continue // that it could not be made is in the error already
		}
		if err := s.network(ns, n, bridge.Attrs().Index, resolvers); err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", n.id, err))
		}
	}
	return errs
}

func (s *services) network(ns *namespace, n *netPlan, bridge int, resolvers []netip.Addr) error {
	sv := s.byNet[n.id]
	if sv == nil || sv.index != bridge || (sv.conn != nil) != n.hasDHCP() {
		if sv != nil {
			sv.close()
		}
		sv = &service{}
		s.byNet[n.id] = sv
		if err := s.open(ns, n, sv, bridge, resolvers); err != nil {
			sv.close()
			return err
		}
		return nil
	}
	if sv.dhcp != nil {
		sv.dhcp.SetTable(n.table(s.cfg.Domain, resolvers))
	}
	return nil
}

func (s *services) open(ns *namespace, n *netPlan, sv *service, bridge int, resolvers []netip.Addr) (err error) {
	lc := net.ListenConfig{Control: bindTo(n.bridge)}
	ctx := context.Background() // opening a bound socket does not block
	if n.hasDHCP() {
		if sv.frames, err = ns.openFrames(bridge); err != nil {
			return err
		}
		err = ns.do(func() (err error) {
			sv.conn, err = lc.ListenPacket(ctx, "udp4", ":67")
			return err
		})
		if err != nil {
			return fmt.Errorf("dhcp socket: %w", err)
		}
		sv.dhcp = dhcp.NewServer(sv.conn, sv.frames, dhcp.MAC(n.mac), n.table(s.cfg.Domain, resolvers), s.cfg.Log.With("network", n.id))
		server := sv.dhcp
		s.loops.Go(func() {
			if err := server.Serve(); err != nil {
				s.cfg.Log.Error("dhcp service ended", "network", n.id, "error", err)
			}
		})
	}
	if s.cfg.Metadata != nil {
		err = ns.do(func() (err error) {
			sv.lis, err = lc.Listen(ctx, "tcp4", netip.AddrPortFrom(dataplane.MetadataAddress, 80).String())
			return err
		})
		if err != nil {
			return fmt.Errorf("metadata socket: %w", err)
		}
		lis := &networkListener{sv.lis, n.id}
		s.loops.Go(func() {
			if err := s.http.Serve(lis); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
				s.cfg.Log.Error("metadata service ended", "network", lis.network, "error", err)
			}
		})
	}
	sv.index = bridge
	return nil
}

// bindTo ties a socket to one device before it is bound, so that every network has its own port 67 and 80.
func bindTo(device string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var inner error
		err := c.Control(func(fd uintptr) {
			inner = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.BindToDevice(int(fd), device))
		})
		return errors.Join(err, inner)
	}
}

func (sv *service) close() {
	if sv.conn != nil {
		sv.conn.Close()
	}
	if sv.lis != nil {
		sv.lis.Close()
	}
	if sv.frames != nil {
		sv.frames.Close()
	}
	*sv = service{}
}

// close ends every listener and waits for the loops.
func (s *services) close() error {
	for id, sv := range s.byNet {
		sv.close()
		delete(s.byNet, id)
	}
	err := s.http.Close() // ends connections too; the listeners it knows are closed already
	s.loops.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// table is what DHCP tells the guests of this network. Guests of a subnet without DNS get the host's resolvers.
func (n *netPlan) table(domain string, resolvers []netip.Addr) *dhcp.Table {
	t := &dhcp.Table{Hosts: make(map[dhcp.MAC]dhcp.Host, len(n.ports)), Domain: domain, MTU: n.mtu}
	for _, p := range n.ports {
		h := dhcp.Host{Hostname: p.spec.DNSName, Options: p.spec.DHCPOptions}
		for _, a := range p.addrs {
			for i := range n.subnets {
				s := &n.subnets[i]
				if !s.server.IsValid() || !s.prefix.Contains(a) || p.subnet[a] != "" && p.subnet[a] != s.id {
					continue
				}
				o := dhcp.Offer{Address: a, Subnet: s.prefix, Server: s.server, Gateway: s.gateway, DNS: s.dns}
				if len(o.DNS) == 0 {
					o.DNS = resolvers
				}
				o.Routes = append(o.Routes, dhcp.Route{Destination: netip.PrefixFrom(dataplane.MetadataAddress, 32), NextHop: s.server})
				for _, r := range s.routes {
					if r.dst.Addr().Is4() {
						o.Routes = append(o.Routes, dhcp.Route{Destination: r.dst, NextHop: r.via})
					}
				}
				h.Offers = append(h.Offers, o)
			}
		}
		if len(h.Offers) > 0 {
			t.Hosts[dhcp.MAC(p.mac)] = h
		}
	}
	return t
}

// hostResolvers are the IPv4 resolvers of the host that a guest could use as well: not those on loopback.
func hostResolvers(path string) (out []netip.Addr) {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && a.Is4() && !a.IsLoopback() && !a.IsUnspecified() {
			out = append(out, a)
		}
	}
	return out
}

// frameWriter sends raw frames on one device.
type frameWriter struct {
	mu    sync.Mutex
	fd    int // -1 after Close
	index int
}

// openFrames opens a packet socket that receives nothing (protocol 0) and sends on the device.
func (n *namespace) openFrames(index int) (*frameWriter, error) {
	w := &frameWriter{fd: -1, index: index}
	err := n.do(func() (err error) {
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("packet socket in namespace %q: %w", n.name, err)
	}
	return w, nil
}

// WriteFrame implements dhcp.FrameWriter. Sending to a virtual device does not block.
func (w *frameWriter) WriteFrame(frame []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return net.ErrClosed
	}
	return unix.Sendto(w.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.index, Halen: 6})
}

// Close frees the socket; it may be called twice.
func (w *frameWriter) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		unix.Close(w.fd)
		w.fd = -1
	}
}
