package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// quota lifts limits of the admin project.
func (a *api) quota(limits object) {
	a.t.Helper()
	a.must(200, "PUT", compute, "/os-quota-sets/"+a.project, object{"quota_set": limits})
}

// boot posts one create request and gives its answer.
func (a *api) boot(name, img string, extra object) reply {
	a.t.Helper()
	return a.do("POST", compute, "/servers", object{"server": a.server(name, img, extra)}, newest)
}

func (a *api) server(name, img string, extra object) object {
	s := object{"name": name, "imageRef": img, "flavorRef": "42", "networks": "auto"}
	for k, v := range extra {
		s[k] = v
	}
	return s
}

// all are the project's servers by id.
func (a *api) all() map[string]reply {
	a.t.Helper()
	out := map[string]reply{}
	r := a.must(200, "GET", compute, "/servers/detail?limit=1000", nil, newest)
	for i := range r.list("servers") {
		id := r.str(fmt.Sprintf("servers/%d/id", i))
		out[id] = reply{body: fmt.Appendf(nil, `{"server": %s}`, jsonOf(r.at(fmt.Sprintf("servers/%d", i)))), what: id}
	}
	return out
}

// allActive waits until n servers are there, all ACTIVE, each with an address of its own.
func (a *api) allActive(n int, within time.Duration) (ids []string) {
	a.t.Helper()
	var list map[string]reply
	if !poll(within, 300*time.Millisecond, func() bool {
		list = a.all()
		for _, r := range list {
			if r.str("server/status") == "BUILD" {
				return false
			}
		}
		return len(list) == n
	}) {
		a.t.Fatalf("%d servers, not all out of BUILD within %v: %v", len(list), within, list)
	}
	seen := map[string]bool{}
	for id, r := range list {
		require.Equal(a.t, "ACTIVE", r.str("server/status"), "%s", r)
		addrs := addresses(r, "server/")
		require.Len(a.t, addrs, 1, "%s", r)
		require.False(a.t, seen[addrs[0]], "address %s twice", addrs[0])
		seen[addrs[0]] = true
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// deleteAll deletes servers side by side and waits until they are gone.
func (a *api) deleteAll(ids []string, within time.Duration) {
	a.t.Helper()
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() { a.tryDo("DELETE", compute, "/servers/"+id, nil) }) //nolint:errcheck // gone, below, tells
	}
	wg.Wait()
	for _, id := range ids {
		a.gone(id, within)
	}
}

// parallel posts n create requests at once.
func (a *api) parallel(n int, img string) (ids []string) {
	a.t.Helper()
	out := make([]reply, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			out[i], errs[i] = a.tryDo("POST", compute, "/servers", object{"server": a.server(fmt.Sprintf("p-%d", i), img, nil)}, newest)
		})
	}
	wg.Wait()
	for i := range n {
		require.NoError(a.t, errs[i])
		require.Equal(a.t, 202, out[i].code, "%s", out[i])
		ids = append(ids, out[i].str("server/id"))
	}
	return ids
}

// TestTwentyAndTwenty makes 20 real servers of 128 MiB in one request, then 20 by requests at once.
func TestTwentyAndTwenty(t *testing.T) {
	c := realCloud(t)
	a := c.admin()
	a.quota(object{"instances": 100, "cores": 100, "ram": 100 << 10})
	img := a.named(image, "/images", "images", "nephos-guest")

	for _, way := range []struct {
		name string
		make func(a *api)
	}{
		{"one multi-create", func(a *api) {
			require.Equal(a.t, 202, a.boot("m", img, object{"min_count": 20, "max_count": 20}).code)
		}},
		{"requests at once", func(a *api) { a.parallel(20, img) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			a := a.in(t)
			began := time.Now()
			way.make(a)
			accepted := time.Since(began)
			ids := a.allActive(20, 5*time.Minute)
			t.Logf("20 servers: accepted after %v, all ACTIVE after %v", accepted, time.Since(began))
			require.Len(t, guests(c.dir, ""), 20)
			require.Len(t, c.taps(), 20)
			began = time.Now()
			a.deleteAll(ids, 2*time.Minute)
			t.Logf("all deleted after %v", time.Since(began))
			c.fsckClean()
			c.nothingOf(ids...)
			require.Empty(t, a.must(200, "GET", network, "/ports?device_owner=compute:nova", nil).list("ports"))
		})
	}
}
