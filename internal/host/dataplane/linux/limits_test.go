package linux

import (
	"net"
	"testing"
	"time"

	"nephos/internal/hostapi"
)

// arrives counts the KiB that come of 512 sent at once, in datagrams of one.
func arrives(t *testing.T, from *guest, to *net.UDPConn, dst string) int {
	t.Helper()
	var c net.Conn
	err := from.do(func() (err error) {
		c, err = net.Dial("udp4", net.JoinHostPort(dst, "5000"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	packet := make([]byte, 1<<10)
	for range 512 {
		c.Write(packet) // a full queue is one way of being dropped, and the counts below tell
		time.Sleep(200 * time.Microsecond)
	}
	n := 0
	for {
		to.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		if _, _, err := to.ReadFrom(packet); err != nil {
			return n
		}
		n++
	}
}

// TestBandwidth: a port that has a limit gets, and lets through, no more than its bucket holds; others are free. The limits change with the document.
func TestBandwidth(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	doc := scene()
	for i := range 2 { // the limits do not ask for port security
		doc.Ports[i].PortSecurity, doc.Ports[i].SecurityGroups = false, nil
	}
	h.apply(networksOnly(doc))
	one, two := h.plug(doc.Ports[0]), h.plug(doc.Ports[1])
	h.apply(doc)
	one.dhcp()
	two.dhcp()
	at := listenUDP(t, one, 5000)
	at.SetReadBuffer(4 << 20)
	dst := doc.Ports[0].Addresses[0].IP
	if !two.ping(dst, soon) {
		t.Fatal("they do not reach each other")
	}
	measure := func(what string, in, out hostapi.Bandwidth, least, most int) {
		t.Helper()
		doc.Revision++
		doc.Ports[0].In, doc.Ports[1].Out = in, out
		h.apply(doc)
		if n := arrives(t, two, at, dst); n < least || n > most {
			t.Errorf("%s: %d KiB of 512 arrive, want %d to %d", what, n, least, most)
		}
	}
	tight := hostapi.Bandwidth{Average: 32}
	measure("no limit", hostapi.Bandwidth{}, hostapi.Bandwidth{}, 400, 512)
	measure("towards the guest", tight, hostapi.Bandwidth{}, 32, 220) // 32 of a second and 64 of the burst, and what comes by while it is sent
	measure("from the guest", hostapi.Bandwidth{}, tight, 32, 220)
	measure("a large burst", hostapi.Bandwidth{Average: 32, Burst: 600}, hostapi.Bandwidth{}, 400, 512)
	measure("a large burst below a peak", hostapi.Bandwidth{Average: 32, Burst: 600, Peak: 40}, hostapi.Bandwidth{}, 32, 220)
	measure("the other direction", hostapi.Bandwidth{}, hostapi.Bandwidth{}, 400, 512)
}
