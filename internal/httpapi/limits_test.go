package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/httpapi"
)

// limited serves the test service behind limits, with a call that waits for a signal.
func limited(t *testing.T, c httpapi.Limit) (url string, hold chan struct{}, entered chan struct{}) {
	t.Helper()
	svc := service(httpapi.NovaErrors, slog.New(slog.DiscardHandler))
	svc.Limits = httpapi.NewLimits(c)
	hold, entered = make(chan struct{}), make(chan struct{}, 100)
	svc.Routes = append(svc.Routes, httpapi.Route{Method: "GET", Path: "/wait", Name: "wait", Handler: func(*httpapi.Request) (any, error) {
		entered <- struct{}{}
		<-hold
		return m{}, nil
	}}, httpapi.Route{Method: "GET", Path: "/big", Name: "big", Handler: func(*httpapi.Request) (any, error) {
		return m{"text": strings.Repeat("x", 1<<20)}, nil
	}})
	h, err := svc.Compile()
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.URL, hold, entered
}

func ask(t *testing.T, url, token string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	require.NoError(t, err)
	req.Header.Set("X-Auth-Token", token)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, res.Header, string(b)
}

func TestBusyIs503(t *testing.T) {
	t.Parallel()
	url, hold, entered := limited(t, httpapi.Limit{Requests: 4, Queue: 1, Wait: 20 * time.Millisecond})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { ask(t, url+"/v2.1/wait", "reader") })
	}
	for range 3 {
		<-entered
	}
	code, head, body := ask(t, url+"/v2.1/things/x", "reader")
	require.Equal(t, 503, code, "the project has three of four places")
	require.Equal(t, "2", head.Get("Retry-After"))
	require.Contains(t, body, `"serviceUnavailable"`)
	code, _, body = ask(t, url+"/v2.1/things/x", "other")
	require.Equal(t, 200, code, "another project: %s", body)
	close(hold)
	wg.Wait()
}

func TestRateIs429(t *testing.T) {
	t.Parallel()
	url, _, _ := limited(t, httpapi.Limit{Rate: 0.01, Burst: 2})
	for range 2 {
		code, _, _ := ask(t, url+"/v2.1/things/x", "reader")
		require.Equal(t, 200, code)
	}
	code, head, body := ask(t, url+"/v2.1/things/x", "reader")
	require.Equal(t, 429, code)
	require.Contains(t, []string{"99", "100"}, head.Get("Retry-After"))
	require.Contains(t, body, `"overLimit"`)
	code, _, _ = ask(t, url+"/v2.1/things/x", "other")
	require.Equal(t, 200, code, "another project has its own rate")
}

// TestSlowBody: a body that does not come is 408, and holds no place meanwhile.
func TestSlowBody(t *testing.T) {
	t.Parallel()
	url, _, _ := limited(t, httpapi.Limit{Requests: 1, BodyTime: 100 * time.Millisecond})
	addr := strings.TrimPrefix(url, "http://")
	var slow []net.Conn
	for range 20 {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer c.Close()
		fmt.Fprintf(c, "POST /v2.1/things HTTP/1.1\r\nHost: x\r\nX-Auth-Token: admin\r\nContent-Length: 100\r\n\r\n{")
		slow = append(slow, c)
	}
	code, _, body := ask(t, url+"/v2.1/things/x", "reader")
	require.Equal(t, 200, code, body)
	for _, c := range slow {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, 408, res.StatusCode)
		res.Body.Close()
	}
}

// TestSlowReader: a client that asks and does not read takes no place from others.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	url, _, _ := limited(t, httpapi.Limit{Requests: 2})
	addr := strings.TrimPrefix(url, "http://")
	for range 20 {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer c.Close()
		for range 10 {
			fmt.Fprintf(c, "GET /v2.1/big HTTP/1.1\r\nHost: x\r\nX-Auth-Token: reader\r\n\r\n")
		}
	}
	for range 50 {
		code, _, body := ask(t, url+"/v2.1/things/x", "reader")
		require.Equal(t, 200, code, body)
	}
}

// TestMemoryForBodies: large bodies beyond the bound are refused for now, small ones never.
func TestMemoryForBodies(t *testing.T) {
	t.Parallel()
	url, _, _ := limited(t, httpapi.Limit{Memory: 100 << 10})
	seize := func(n int) *http.Response {
		req, err := http.NewRequest("POST", url+"/v2.1/things/x/action", strings.NewReader(`{"seize": "`+strings.Repeat("x", n)+`"}`))
		require.NoError(t, err)
		req.Header.Set("X-Auth-Token", "admin")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		res.Body.Close()
		return res
	}
	large := seize(300 << 10)
	require.Equal(t, 503, large.StatusCode)
	require.Equal(t, "2", large.Header.Get("Retry-After"))
	require.Equal(t, 200, seize(100).StatusCode)
}

// TestJSONAsPython: <, > and & are not escaped.
func TestJSONAsPython(t *testing.T) {
	t.Parallel()
	url, _, _ := limited(t, httpapi.Limit{})
	_, _, body := ask(t, url+"/v2.1/things/a%3Cb%3E&c", "reader")
	require.Contains(t, body, `"a<b>&c"`)
	require.False(t, strings.HasSuffix(body, "\n"))
}
