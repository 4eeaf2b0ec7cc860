package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// simulated measures what the controller can do, on clouds of its own with simulated hosts.
func simulated(o options, r *report) error {
	return onEach(o, r, "", simulatedOn)
}

// onEach has a part measure a new cloud for each of the numbers of hosts that are asked for. What it reports is named by the hosts, and by state.
func onEach(o options, r *report, state string, part func(o options, r *report, c *cloud, hosts, on string) error) error {
	one := func(hosts string) error {
		c, err := newCloud(o, "--driver", "fake", "--fake-hosts", hosts)
		if err != nil {
			return err
		}
		defer c.away()
		ready, err := c.start()
		if err != nil {
			return err
		}
		on := state + ", " + hosts + " hosts"
		r.add(result{What: "start to ready, state from nothing" + on, Value: ms(ready), Unit: "ms", Note: fmt.Sprintf("once; %s of processor", round(c.cpu()))})
		return part(o, r, c, hosts, on)
	}
	for _, hosts := range strings.Split(o.hosts, ",") {
		if err := one(hosts); err != nil {
			return fmt.Errorf("%s hosts: %w", hosts, err)
		}
	}
	return nil
}

func simulatedOn(o options, r *report, c *cloud, hosts, on string) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // first heartbeats and documents are over
	empty, used := c.rss(), c.cpu()
	n, err := load(o, r, cl, on, hosts == "1000")
	if err != nil || n == 0 {
		return err
	}
	r.add(result{What: "resident memory with all these servers" + on, Value: c.rss(), Unit: "MiB", Note: fmt.Sprintf("%d servers; %.0f MiB before; %.1f KiB a server", n, empty, (c.rss()-empty)*1024/float64(n))})
	r.add(result{What: "processor of the cloud for a server" + on, Value: ms(c.cpu()-used) / float64(n), Unit: "ms", Note: "all that was asked of it, reads too, by the number of servers"})
	return nil
}

// foreign measures a cloud that somebody else runs.
func foreign(o options, r *report) error {
	l, err := environment()
	if err != nil {
		return err
	}
	cl, err := newClient(l)
	if err != nil {
		return err
	}
	if err := cl.prepare(o, false); err != nil {
		return err
	}
	_, err = load(o, r, cl, "", false)
	return errors.Join(err, cl.clear())
}

// load asks everything of a cloud and says how many servers it has made.
func load(o options, r *report, cl *client, on string, aims bool) (made int, err error) {
	aim := func(v float64) float64 {
		if aims {
			return v
		}
		return 0
	}
	if o.asked("create") {
		for _, n := range []int{1, 8, 64} {
			if err := closedLoop(r, cl, n, max(20, o.servers/5), on); err != nil {
				return made, err
			}
			made += max(20, o.servers/5)
		}
		for range 3 {
			began := time.Now()
			if _, err := cl.boot("bench-multi", o.servers); err != nil {
				return made, err
			}
			accepted := time.Since(began)
			if err := cl.built(); err != nil {
				return made, err
			}
			made += o.servers
			took := time.Since(began)
			r.rate(fmt.Sprintf("servers to ACTIVE, burst of %d%s", o.servers, on), o.servers, took, aim(2000), fmt.Sprintf("202 after %s, all ACTIVE after %s", round(accepted), round(took)))
		}
		for _, n := range []int{8, 8, 8, 64} {
			if err := openLoop(r, cl, n, o.servers, on, aim(1000)); err != nil {
				return made, err
			}
			made += o.servers
		}
	}
	if o.asked("reads") {
		extra, err := reads(o, r, cl, on, aim)
		made += extra
		if err != nil {
			return made, err
		}
	}
	if o.asked("tokens") {
		err = tokens(r, cl, on, aim)
	}
	return made, err
}

// crowd has n clients do a thing until it has been done total times, and gives how long each took and all together.
func crowd(n, total int, do func(i int) error) (times, time.Duration, error) {
	all, errs := make([]times, n), make([]error, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for w := range n {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= total || errs[w] != nil {
					return
				}
				start := time.Now()
				errs[w] = do(i)
				all[w] = append(all[w], time.Since(start))
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	var out times
	for _, t := range all {
		out = append(out, t...)
	}
	return out, took, errors.Join(errs...)
}

// closedLoop has each client wait for its server before it asks for the next.
func closedLoop(r *report, cl *client, clients, total int, on string) error {
	var mu sync.Mutex
	var accepted times
	every := time.Millisecond * time.Duration(clients)
	active, _, err := crowd(clients, total, func(i int) error {
		began := time.Now()
		id, err := cl.boot(fmt.Sprintf("bench-one-%d", i), 1)
		if err != nil {
			return err
		}
		mu.Lock()
		accepted = append(accepted, time.Since(began))
		mu.Unlock()
		return cl.active(id, every)
	})
	if err != nil {
		return err
	}
	s := fmt.Sprintf("%d clients%s", clients, on)
	r.times("POST /servers to 202, each waits for its server, "+s, accepted, 0)
	r.times("POST /servers to ACTIVE, each waits for its server, "+s, active, 0)
	return nil
}

// openLoop has clients ask as quickly as they are answered.
func openLoop(r *report, cl *client, clients, total int, on string, aim float64) error {
	began := time.Now()
	accepted, took, err := crowd(clients, total, func(i int) error {
		_, err := cl.boot(fmt.Sprintf("bench-many-%d", i), 1)
		return err
	})
	if err == nil {
		err = cl.built()
	}
	if err != nil {
		return err
	}
	all := time.Since(began)
	s := fmt.Sprintf("%d clients%s", clients, on)
	r.times("POST /servers to 202, "+s, accepted, 0)
	r.rate("servers to ACTIVE by single POSTs, "+s, total, all, aim, fmt.Sprintf("all 202 after %s, all ACTIVE after %s", round(took), round(all)))
	return nil
}

// reads measures GETs, alone and while servers are being made.
func reads(o options, r *report, cl *client, on string, aim func(float64) float64) (made int, err error) {
	id, err := cl.boot("bench-read", 1)
	if err != nil {
		return 0, err
	}
	if err := cl.active(id, time.Millisecond); err != nil {
		return 1, err
	}
	get := func(path string) func(int) error { return func(int) error { return cl.compute("GET", path, nil, nil) } }
	one, took, err := crowd(8, 20000, get("/servers/"+id))
	if err != nil {
		return 1, err
	}
	r.rate("GET /servers/{id}, 8 clients"+on, len(one), took, aim(10000), fmt.Sprintf("median %s", round(one.percentile(50))))
	list, _, err := crowd(1, 10, get("/servers/detail?limit=1000"))
	if err != nil {
		return 1, err
	}
	r.times("GET /servers/detail, 1000 of them"+on, list, 0)
	done := make(chan error, 1)
	go func() {
		_, err := cl.boot("bench-under", o.servers)
		if err == nil {
			err = cl.built()
		}
		done <- err
	}()
	under, took, err := crowd(8, 5000, get("/servers/"+id))
	r.rate(fmt.Sprintf("GET /servers/{id}, 8 clients, while a burst of %d is made%s", o.servers, on), len(under), took, 0, fmt.Sprintf("99%%: %s", round(under.percentile(99))))
	return 1 + o.servers, errors.Join(err, <-done)
}

// tokens measures what identity does for every other service.
func tokens(r *report, cl *client, on string, aim func(float64) float64) error {
	for _, x := range []struct {
		what, path string
		n          int
	}{{"token validations", "/auth/tokens", 10000}, {"GET /v3/users", "/users", 5000}} {
		t, took, err := crowd(8, x.n, func(int) error { return cl.send("GET", cl.urls["identity"]+x.path, nil, nil) })
		if err != nil {
			return err
		}
		r.rate(x.what+", 8 clients"+on, len(t), took, 0, fmt.Sprintf("median %s", round(t.percentile(50))))
	}
	answer, err := cl.answerOf("/auth/tokens")
	if err != nil {
		return err
	}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(answer) //nolint:errcheck // the client counts
	}))
	defer plain.Close()
	t, took, err := crowd(8, 10000, func(int) error { return cl.send("GET", plain.URL+"/x", nil, nil) })
	if err != nil {
		return err
	}
	r.rate("a fixed answer of a validation's size by net/http, 8 clients"+on, len(t), took, 0, fmt.Sprintf("%d bytes, median %s", len(answer), round(t.percentile(50))))
	body := object{"auth": object{"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": cl.user, "password": cl.password, "domain": object{"name": cl.userDomain}}}}}}
	t, took, err = crowd(8, 40, func(int) error { return cl.fork().send("POST", cl.url+"/auth/tokens", body, nil) })
	if err != nil {
		return err
	}
	r.rate("password log-ins, 8 clients"+on, len(t), took, 0, fmt.Sprintf("median %s; the hash is meant to be slow", round(t.percentile(50))))
	return nil
}

// answerOf is the identity service's answer, to be given again by something that does nothing for it.
func (c *client) answerOf(path string) ([]byte, error) {
	var raw json.RawMessage
	err := c.send("GET", c.urls["identity"]+path, nil, &raw)
	return raw, err
}

// fork is the same client with a token of its own.
func (c *client) fork() *client {
	d := *c
	d.token = ""
	return &d
}

var decision = regexp.MustCompile(`BenchmarkDecide/(\d+)\S*.*?([\d.]+) decisions/s`)

// decisions runs the scheduler's own benchmark.
func decisions(_ options, r *report) error {
	out, err := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkDecide$", "./internal/scheduler").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w %s", err, out)
	}
	aims := map[string]float64{"1000": 20000, "10000": 5000}
	for _, m := range decision.FindAllStringSubmatch(string(out), -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return err
		}
		r.add(result{What: "scheduling decisions, " + m[1] + " hosts", Value: v, Unit: "/s", Aim: aims[m[1]], Note: "one core, choice and claim on the table"})
	}
	return nil
}
