package dhcp

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// FrameWriter sends one Ethernet frame on the network. Frames are written whole, with finished checksums, because the client has no
// address yet (so no ARP) and old clients refuse the half-done checksums of a virtual device.
type FrameWriter interface {
	WriteFrame(frame []byte) error
}

// Server answers the requests of one network.
type Server struct {
	conn   net.PacketConn
	frames FrameWriter
	mac    MAC // the service's own Ethernet address
	table  atomic.Pointer[Table]
	log    *slog.Logger
}

// NewServer makes a server that reads from conn (UDP port 67, bound to the network's device) and writes frames from mac.
func NewServer(conn net.PacketConn, frames FrameWriter, mac MAC, table *Table, log *slog.Logger) *Server {
	s := &Server{conn: conn, frames: frames, mac: mac, log: log}
	s.table.Store(table)
	return s
}

// SetTable replaces what the server knows; requests from now on are answered by it.
func (s *Server) SetTable(t *Table) { s.table.Store(t) }

// Serve answers until conn is closed. It returns nil then.
func (s *Server) Serve() error {
	buf := make([]byte, 4096)
	for {
		n, _, err := s.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		req, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			continue // not DHCP; anyone may send to the port
		}
		if req.MessageType() == dhcpv4.MessageTypeDecline {
			s.log.Warn("dhcp client declined its address: another machine on the network uses it", "mac", req.ClientHWAddr.String(), "address", req.RequestedIPAddress().String())
		}
		resp, err := Answer(s.table.Load(), req)
		if err != nil || resp == nil {
			continue
		}
		if err := s.frames.WriteFrame(Frame(s.mac, req, resp)); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Warn("dhcp reply not sent", "mac", req.ClientHWAddr.String(), "error", err)
		}
	}
}

// Frame wraps resp in UDP, IPv4 and Ethernet for the client of req. Destinations follow RFC 2131, 4.1: NAK and clients with the
// broadcast flag get a broadcast, a client that has its address (renewal, INFORM) gets it there, others at the offered address by MAC.
func Frame(from MAC, req, resp *dhcpv4.DHCPv4) []byte {
	dstMAC := MAC(req.ClientHWAddr)
	dst := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	switch ciaddr := address(req.ClientIPAddr); {
	case resp.MessageType() == dhcpv4.MessageTypeNak:
		dstMAC = MAC{255, 255, 255, 255, 255, 255}
	case ciaddr.IsValid():
		dst = ciaddr
	case req.IsBroadcast():
		dstMAC = MAC{255, 255, 255, 255, 255, 255}
	default:
		if a := address(resp.YourIPAddr); a.IsValid() {
			dst = a
		}
	}
	src := address(resp.ServerIdentifier())
	payload := resp.ToBytes()

	f := make([]byte, 14+20+8, 14+20+8+len(payload))
	copy(f[0:], dstMAC[:])
	copy(f[6:], from[:])
	binary.BigEndian.PutUint16(f[12:], 0x0800)
	ip, udp := f[14:34], f[34:42]
	ip[0], ip[1], ip[8], ip[9] = 0x45, 0x10, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(20+8+len(payload)))
	s4, d4 := src.As4(), dst.As4()
	copy(ip[12:], s4[:])
	copy(ip[16:], d4[:])
	binary.BigEndian.PutUint16(ip[10:], ^sum(0, ip))
	binary.BigEndian.PutUint16(udp[0:], 67)
	binary.BigEndian.PutUint16(udp[2:], 68)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
	pseudo := uint32(17) + uint32(8+len(payload))
	c := sum(uint32(sum(uint32(sum(pseudo, ip[12:20])), udp)), payload)
	if c = ^c; c == 0 {
		c = 0xffff // zero would mean "no checksum"
	}
	binary.BigEndian.PutUint16(udp[6:], c)
	return append(f, payload...)
}

// sum is the ones' complement sum of RFC 1071 over b, starting from acc.
func sum(acc uint32, b []byte) uint16 {
	for len(b) >= 2 {
		acc += uint32(b[0])<<8 | uint32(b[1])
		b = b[2:]
	}
	if len(b) == 1 {
		acc += uint32(b[0]) << 8
	}
	for acc > 0xffff {
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}
