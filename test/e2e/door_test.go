package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// faces are the ports that speak HTTP.
var faces = []int{identity, compute, image, network, volume, 8778}

// memory is the process's resident memory in MiB.
func (c *cloud) memory() int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.proc.cmd.Process.Pid))
	require.NoError(c.t, err)
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			require.NoError(c.t, err)
			return n >> 10
		}
	}
	c.t.Fatal("no VmRSS")
	return 0
}

// crowd is connections that an attacker holds.
type crowd struct {
	mu    sync.Mutex
	conns []net.Conn
}

// open dials n connections to the ports in turn and sends each what first says.
func (x *crowd) open(t *testing.T, c *cloud, ports []int, n int, first func(i int) string) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < n; i += 8 {
				conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", ports[i%len(ports)]+c.offset), 10*time.Second)
				if err != nil {
					t.Errorf("connection %d of %d: %v", i, n, err)
					return
				}
				x.mu.Lock()
				x.conns = append(x.conns, conn)
				x.mu.Unlock()
				io.WriteString(conn, first(i)) //nolint:errcheck // it may be closed for the next already
			}
		})
	}
	wg.Wait()
}

func (x *crowd) close() {
	for _, c := range x.conns {
		c.Close()
	}
}

// latency is what honest clients see: n reads on each of 4 connections, and a server made now and then.
func (a *api) latency(t *testing.T, img string, n int) (p50, p99 time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range n {
				began := time.Now()
				r, err := a.tryDo("GET", compute, "/servers/detail?limit=10", nil)
				took := time.Since(began)
				if err != nil || r.code != 200 {
					t.Errorf("an honest client: %v %s", err, r)
					return
				}
				mu.Lock()
				all = append(all, took)
				mu.Unlock()
				if i%50 == 0 {
					if r := a.boot(fmt.Sprintf("s%d-%d", w, i), img, nil); r.code != 202 {
						t.Errorf("an honest client's server: %s", r)
					} else {
						a.do("DELETE", compute, "/servers/"+r.str("server/id"), nil)
					}
				}
			}
		})
	}
	wg.Wait()
	require.NotEmpty(t, all)
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100]
}

// TestFrontDoor: whatever stands before the ports, memory is bounded and honest clients are served. Figures are in the log of the test.
func TestFrontDoor(t *testing.T) {
	c := fakeCloud(t, 4)
	a := c.admin()
	img := a.upload("tiny", "raw", make([]byte, 4096))
	a.quota(object{"instances": -1, "cores": -1, "ram": -1})
	mallory := a.user("mallory")
	hers := mallory.upload("tiny", "raw", make([]byte, 4096))
	for i := range 10 { // something to read, so that slow readers are slow
		mallory.boot(fmt.Sprintf("m%d", i), hers, nil)
	}
	var files syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	many := min(10000, int(files.Cur)/2-500)
	quiet, quiet99 := a.latency(t, img, 200)
	start := c.memory()
	t.Logf("nobody else: honest p50 %v, p99 %v; memory %d MiB", quiet, quiet99, start)
	most := start + 512

	check := func(t *testing.T, what string) {
		t.Helper()
		p50, p99 := a.in(t).latency(t, img, 200)
		mem := c.memory()
		t.Logf("%s: honest p50 %v, p99 %v; memory %d MiB (+%d)", what, p50, p99, mem, mem-start)
		require.Less(t, p99, 3*time.Second)
		require.Less(t, mem, most)
	}
	get := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	t.Run("idle", func(t *testing.T) {
		var x crowd
		defer x.close()
		x.open(t, c, faces, many, func(i int) string { return get })
		check(t, fmt.Sprintf("%d idle connections", many))
	})
	t.Run("silent", func(t *testing.T) {
		var x crowd
		defer x.close()
		x.open(t, c, faces, many, func(int) string { return "" })
		check(t, fmt.Sprintf("%d silent connections", many))
	})
	t.Run("slow headers", func(t *testing.T) {
		var x crowd
		defer x.close()
		pad := strings.Repeat("x", 30<<10)
		x.open(t, c, faces, 3000, func(int) string { return "GET /v2.1/servers HTTP/1.1\r\nHost: x\r\nX-A: " + pad })
		check(t, "3000 half headers of 30 KiB")
	})
	t.Run("slow bodies", func(t *testing.T) {
		var x crowd
		defer x.close()
		x.open(t, c, []int{identity}, 1500, func(int) string {
			return "POST /v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 400000\r\n\r\n{" + strings.Repeat(" ", 3000)
		})
		x.open(t, c, []int{compute}, 1500, func(int) string {
			return "POST /v2.1/servers HTTP/1.1\r\nHost: x\r\nX-Auth-Token: " + mallory.token + "\r\nContent-Length: 500000\r\n\r\n{" + strings.Repeat(" ", 100<<10)
		})
		check(t, "3000 half bodies, 1500 of them 100 KiB with a token")
	})
	t.Run("slow readers", func(t *testing.T) {
		var x crowd
		defer x.close()
		one := "GET /v2.1/servers/detail HTTP/1.1\r\nHost: x\r\nX-Auth-Token: " + mallory.token + "\r\n\r\n"
		x.open(t, c, []int{compute}, 1000, func(int) string { return strings.Repeat(one, 100) })
		check(t, "1000 clients that ask 100 times and read nothing")
	})
	t.Run("log-ins", func(t *testing.T) {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					trySend("POST", c.url(identity, "/v3/auth/tokens"), object{"auth": object{"identity": object{"methods": []string{"password"}, //nolint:errcheck // whatever it says
						"password": object{"user": object{"name": "admin", "password": "guess", "domain": object{"id": "default"}}}}}})
				}
			})
		}
		check(t, "64 clients that guess a password")
		close(stop)
		wg.Wait()
	})
	t.Run("garbage", func(t *testing.T) {
		noise := make([]byte, 64<<10)
		rand.Read(noise) //nolint:errcheck // never fails
		said := []string{string(noise), "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + string(noise[:500]), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET /" + strings.Repeat("a", 200<<10) + " HTTP/1.1\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "POST /v3/auth/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
			"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "CONNECT {\"auth_token\":\"wrong\"}\r\nPING\r\n", "PUB x 9999999999\r\n", "SUB > 1\r\n", strings.Repeat("\x00", 10000), "INFO {}\r\n",
			"GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 30000) + "\r\n", "GET http://[::1 HTTP/1.1\r\n\r\n", "\r\n\r\n\r\n", "CONNECT " + strings.Repeat("{", 100000) + "\r\n"}
		var x crowd
		defer x.close()
		x.open(t, c, append([]int{4222}, faces...), 1400, func(i int) string { return said[i/7%len(said)] })
		check(t, "1400 connections with garbage, the bus's port too")
	})
	t.Run("bus", func(t *testing.T) {
		var x crowd
		defer x.close()
		x.open(t, c, []int{4222}, 5000, func(int) string { return "" })
		c.join("late", "--driver", "fake")
		a.in(t).hostUp("late")
		check(t, "5000 strangers at the bus, and an agent that joins")
	})
	t.Run("afterwards", func(t *testing.T) {
		check(t, "they have gone")
		c.fsckClean()
	})
}

// TestTooMuchAtOnce: over its limits a service says so in its own words, and when to come again.
func TestTooMuchAtOnce(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 1, "--config", configFile(t, "limits: {project_rate: 20, project_rate_burst: 30}\n"))
	a := c.admin()
	var last reply
	for range 200 {
		if last = a.do("GET", network, "/networks", nil); last.code != 200 {
			break
		}
	}
	require.Equal(t, 429, last.code, "%s", last)
	require.Equal(t, "1", last.head.Get("Retry-After"))
	require.Contains(t, string(last.body), `"NeutronError"`)
	require.True(t, poll(10*time.Second, 100*time.Millisecond, func() bool { return a.do("GET", network, "/networks", nil).code == 200 }))
	r := send(t, "POST", c.url(identity, "/v3/auth/tokens"), bytes.Repeat([]byte(" "), 1<<20))
	require.Equal(t, 413, r.code, "%s", r)
	require.Contains(t, string(r.body), `"error"`)
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", identity+c.offset))
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v3 HTTP/1.1\r\nHost: x\r\nX-A: %s\r\n\r\n", strings.Repeat("a", 100<<10))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer res.Body.Close()
	require.Equal(t, 431, res.StatusCode)
}
