package linux

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"nephos/internal/host/dataplane"
	"nephos/internal/hostapi"
)

const (
	soon  = 5 * time.Second        // what must happen, happens within
	never = 250 * time.Millisecond // what must not happen is waited for so long
)

func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, taps")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("needs nft (Debian package nftables)")
	}
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)[:n]
}

// host is a plane with a namespace of its own for the host's root.
type host struct {
	t     testing.TB
	root  *namespace
	plane *Plane
	cfg   Config
}

func newHost(t testing.TB) *host {
	t.Helper()
	needsRoot(t)
	inst := random(7)
	root, _, err := ensureNamespace("nt-" + inst)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, root: root, cfg: Config{Instance: inst, HostNetns: "nt-" + inst, External: External{Enabled: true},
		Domain: "example.test", ResolvConf: "/dev/null", Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Metadata: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			port, server, _ := dataplane.PortFromContext(r.Context())
			fmt.Fprintf(w, "%s %s", port, server)
		})}}
	h.plane = h.newPlane()
	t.Cleanup(func() {
		if err := h.plane.Destroy(context.Background()); err != nil {
			t.Errorf("destroy: %v", err)
		}
		root.close()
		removeNamespace("nt-" + inst)
	})
	return h
}

func (h *host) newPlane() *Plane {
	h.t.Helper()
	p, err := New(h.cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h *host) apply(doc hostapi.NetworkDocument) {
	h.t.Helper()
	if err := h.plane.Apply(context.Background(), doc); err != nil {
		h.t.Fatalf("apply: %v", err)
	}
}

func (h *host) fabric() *namespace {
	h.t.Helper()
	ns, err := openNamespace(h.cfg.fabricName())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(ns.close)
	return ns
}

// guest is a namespace whose eth0 stands for a server's NIC: the other end of the veth has the port's tap name in the fabric.
type guest struct {
	*namespace
	t    testing.TB
	port hostapi.PortSpec
	eth0 netlink.Link
	ack  *dhcpv4.DHCPv4
}

// plug makes the guest's NIC. The fabric must exist and the port must not have been applied yet.
func (h *host) plug(port hostapi.PortSpec) *guest {
	h.t.Helper()
	fabric := h.fabric()
	ns, _, err := ensureNamespace("nt-" + h.cfg.Instance + "-" + port.ID[:8])
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { ns.close(); removeNamespace(ns.name) })
	mac, err := net.ParseMAC(port.MAC)
	if err != nil {
		h.t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "tap" + port.ID[:11]
	err = fabric.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns.fd), PeerHardwareAddr: mac})
	if err != nil {
		h.t.Fatal(err)
	}
	g := &guest{namespace: ns, t: h.t, port: port}
	if g.eth0, err = ns.LinkByName("eth0"); err != nil {
		h.t.Fatal(err)
	}
	if err := ns.LinkSetUp(g.eth0); err != nil {
		h.t.Fatal(err)
	}
	lo, _ := ns.LinkByName("lo")
	ns.LinkSetUp(lo)
	return g
}

// dhcp gets an address and configures eth0 with all that the server told.
func (g *guest) dhcp() {
	g.t.Helper()
	if err := g.tryDHCP(soon); err != nil {
		g.t.Fatalf("dhcp of %s: %v", g.port.ID, err)
	}
}

func (g *guest) tryDHCP(timeout time.Duration) error {
	return g.do(func() error {
		c, err := nclient4.New("eth0", nclient4.WithTimeout(timeout/25), nclient4.WithRetry(25))
		if err != nil {
			return err
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		lease, err := c.Request(ctx)
		if err != nil {
			return err
		}
		g.ack = lease.ACK
		if err := g.AddrAdd(g.eth0, &netlink.Addr{IPNet: &net.IPNet{IP: g.ack.YourIPAddr, Mask: g.ack.SubnetMask()}}); err != nil {
			return err
		}
		for _, r := range g.ack.ClasslessStaticRoute() {
			if err := g.RouteAdd(&netlink.Route{LinkIndex: g.eth0.Attrs().Index, Dst: r.Dest, Gw: r.Router}); err != nil {
				return fmt.Errorf("route %v: %w", r, err)
			}
		}
		return nil
	})
}

// static gives eth0 an address by hand.
func (g *guest) static(cidr string) {
	g.t.Helper()
	a, _ := netlink.ParseAddr(cidr)
	if err := g.AddrReplace(g.eth0, a); err != nil {
		g.t.Fatal(err)
	}
}

// ping says whether dst answers an echo request within the time.
func (n *namespace) ping(dst string, within time.Duration) bool {
	err := n.do(func() error {
		c, err := icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		if err != nil {
			return err
		}
		defer c.Close()
		id := int(time.Now().UnixNano() & 0xffff)
		deadline := time.Now().Add(within)
		buf := make([]byte, 1500)
		for seq := 1; time.Now().Before(deadline); seq++ {
			msg, _ := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: id, Seq: seq, Data: []byte("nephos")}}).Marshal(nil)
			if _, err := c.WriteTo(msg, &net.IPAddr{IP: net.ParseIP(dst)}); err != nil {
				return err
			}
			c.SetReadDeadline(minTime(deadline, time.Now().Add(200*time.Millisecond)))
			for {
				k, from, err := c.ReadFrom(buf)
				if err != nil {
					break
				}
				m, err := icmp.ParseMessage(1, buf[:k])
				if err == nil && m.Type == ipv4.ICMPTypeEchoReply && from.String() == dst && m.Body.(*icmp.Echo).ID == id {
					return nil
				}
			}
		}
		return os.ErrDeadlineExceeded
	})
	return err == nil
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// serve accepts TCP on the port and answers each line with the sender's address.
func (n *namespace) serve(t testing.TB, port int) {
	t.Helper()
	var lis net.Listener
	err := n.do(func() (err error) {
		lis, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var loops sync.WaitGroup
	t.Cleanup(func() {
		lis.Close()
		mu.Lock()
		for _, c := range conns { // a peer that was cut off never says goodbye
			c.Close()
		}
		mu.Unlock()
		loops.Wait()
	})
	loops.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			loops.Go(func() {
				defer c.Close()
				for sc := bufio.NewScanner(c); sc.Scan(); {
					from := netip.MustParseAddrPort(c.RemoteAddr().String())
					fmt.Fprintln(c, from.Addr())
				}
			})
		}
	})
}

// dial connects from inside the namespace.
func (n *namespace) dial(dst string, port int, within time.Duration) (c net.Conn, err error) {
	err = n.do(func() (err error) {
		c, err = net.DialTimeout("tcp4", fmt.Sprintf("%s:%d", dst, port), within)
		return err
	})
	return c, err
}

// ask sends a line and returns the answer: the address that the server sees.
func ask(c net.Conn, within time.Duration) (string, error) {
	c.SetDeadline(time.Now().Add(within))
	if _, err := fmt.Fprintln(c, "who am i"); err != nil {
		return "", err
	}
	s, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(s), err
}

// whoami dials and asks.
func (n *namespace) whoami(t testing.TB, dst string, port int) string {
	t.Helper()
	c, err := n.dial(dst, port, soon)
	if err != nil {
		t.Fatalf("dial %s:%d from %s: %v", dst, port, n.name, err)
	}
	defer c.Close()
	s, err := ask(c, soon)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (n *namespace) metadata(t testing.TB) string {
	t.Helper()
	c, err := n.dial("169.254.169.254", 80, soon)
	if err != nil {
		t.Fatalf("metadata from %s: %v", n.name, err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }, DisableKeepAlives: true}, Timeout: soon}
	resp, err := client.Get("http://169.254.169.254/openstack/latest/meta_data.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

func (n *namespace) out(t testing.TB, argv ...string) string {
	t.Helper()
	s, err := n.run(context.Background(), "", argv...)
	if err != nil {
		t.Fatalf("%v: %v %s", argv, err, s)
	}
	return s
}

// join lays a cable between two namespaces.
func join(t testing.TB, a *namespace, cidrA string, b *namespace, cidrB string) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "uplink"
	if err := a.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "uplink", PeerNamespace: netlink.NsFd(b.fd)}); err != nil {
		t.Fatal(err)
	}
	for ns, cidr := range map[*namespace]string{a: cidrA, b: cidrB} {
		l, err := ns.LinkByName("uplink")
		if err != nil {
			t.Fatal(err)
		}
		addr, _ := netlink.ParseAddr(cidr)
		if err := ns.AddrAdd(l, addr); err != nil {
			t.Fatal(err)
		}
		if err := ns.LinkSetUp(l); err != nil {
			t.Fatal(err)
		}
	}
}
