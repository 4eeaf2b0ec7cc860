package api_test

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// events opens the feed and gives its lines until stop.
func (w *world) events(srv *httptest.Server, who, query, last string) (lines *bufio.Scanner, stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), waitFor)
	req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/v2.1/events"+query, nil)
	require.NoError(w.t, err)
	req.Header.Set("X-Auth-Token", who)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w.t, err)
	require.Equal(w.t, 200, resp.StatusCode)
	require.Equal(w.t, "text/event-stream", resp.Header.Get("Content-Type"))
	return bufio.NewScanner(resp.Body), func() { cancel(); resp.Body.Close() }
}

// until reads events to the first whose data has all parts, and gives its id and data. others are those that came before.
func (w *world) until(lines *bufio.Scanner, parts ...string) (id, data string, others []string) {
	w.t.Helper()
next:
	for lines.Scan() {
		line := lines.Text()
		if x, ok := strings.CutPrefix(line, "id: "); ok {
			id = x
		}
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		for _, p := range parts {
			if !strings.Contains(data, p) {
				others = append(others, data)
				continue next
			}
		}
		return id, data, others
	}
	w.t.Fatalf("the feed ended (%v) without %v; it had %v", lines.Err(), parts, others)
	return "", "", nil
}

// The feed shows each project its own servers, operators all; who comes back with the last id gets what has changed since, also that a server is gone.
func TestEvents(t *testing.T) {
	each(t, func(w *world) {
		srv := httptest.NewServer(w.handler)
		w.t.Cleanup(srv.Close)
		require.Equal(w.t, 403, w.call("a", "", "GET", "/v2.1/events?all_projects=1", nil).Code)
		require.Equal(w.t, 401, w.call("", "", "GET", "/v2.1/events", nil).Code)
		mine, stop := w.events(srv, "a", "", "")
		all, stopAll := w.events(srv, "admin", "?all_projects=1", "")
		defer stopAll()
		other := w.server("b", nil)
		id := w.server("a", nil)
		last, data, others := w.until(mine, id, `"status":"ACTIVE"`)
		require.NotContains(w.t, data, `"host"`)
		for _, x := range others {
			require.NotContains(w.t, x, other, "another project's")
		}
		w.until(all, other, `"host":"host`)
		stop()

		w.call("a", "", "DELETE", "/v2.1/servers/"+id, nil).want(204)
		w.settle(id)
		again, stop := w.events(srv, "a", "", last)
		defer stop()
		w.until(again, id, `"deleted":true`)
		bad, err := http.NewRequest("GET", srv.URL+"/v2.1/events", nil)
		require.NoError(w.t, err)
		bad.Header.Set("X-Auth-Token", "a")
		bad.Header.Set("Last-Event-ID", "yesterday")
		resp, err := http.DefaultClient.Do(bad)
		require.NoError(w.t, err)
		resp.Body.Close()
		require.Equal(w.t, 400, resp.StatusCode)
	})
}
