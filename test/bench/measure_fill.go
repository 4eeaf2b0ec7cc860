package main

import (
	"fmt"
	"time"
)

// filled makes servers until a cloud holds as many as -fill says, or -fill-within is over, and measures what a full cloud does.
func filled(o options, r *report) error {
	if o.fill == 0 {
		return nil
	}
	return onEach(o, r, ", filled", filledOn)
}

func filledOn(o options, r *report, c *cloud, _, on string) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	idle := c.cpu()
	time.Sleep(5 * time.Second) // what hosts cost that hold nothing
	empty := c.rss()
	r.add(result{What: "processor with no server, share of one core" + on, Value: 100 * float64(c.cpu()-idle) / float64(5*time.Second), Unit: "%", Note: "5 s from ready on"})
	r.add(result{What: "resident memory with no server" + on, Value: empty, Unit: "MiB", Note: "controller and simulated hosts in one process"})
	n, err := fill(o, r, c, cl, on)
	if err != nil {
		return err
	}
	r.add(result{What: "resident memory, full" + on, Value: c.rss(), Unit: "MiB", Note: fmt.Sprintf("%d servers; %.1f KiB a server, the simulated hosts' records with it", n, (c.rss()-empty)*1024/float64(n))})
	accepted, took, err := crowd(8, 1000, func(i int) error {
		_, err := cl.boot(fmt.Sprintf("bench-full-%d", i), 1)
		return err
	})
	if err == nil {
		err = cl.built()
	}
	if err != nil {
		return err
	}
	r.times("POST /servers to 202, 8 clients"+on, accepted, 50)
	r.add(result{What: "POST /servers to 202, 8 clients, 99%" + on, Value: ms(accepted.percentile(99)), Unit: "ms"})
	r.rate("single POSTs scheduled and accepted, 8 clients"+on, len(accepted), took, 0, "decision and claim with each")
	used := c.cpu()
	list, _, err := crowd(1, 10, func(int) error { return cl.compute("GET", "/servers/detail?limit=1000", nil, nil) })
	if err != nil {
		return err
	}
	r.times("GET /servers/detail, 1000 of them"+on, list, 150)
	r.add(result{What: "processor for GET /servers/detail, 1000 of them" + on, Value: ms(c.cpu()-used) / float64(len(list)), Unit: "ms", Note: "what hosts do meanwhile is in it"})
	return nil
}

// fill makes servers in bursts and gives how many there are. It reports the first burst, the slowest of all and the last one, in time and in processor: the second does not
// depend on what else the machine does.
func fill(o options, r *report, c *cloud, cl *client, on string) (n int, err error) {
	type burst struct {
		at             int // servers there before it
		rate, cpu, rss float64
	}
	var all []burst
	began := time.Now()
	for n < o.fill && time.Since(began) < o.fillWithin {
		size := min(o.servers, o.fill-n)
		start, used := time.Now(), c.cpu()
		if _, err := cl.boot("bench-fill", size); err != nil {
			return n, err
		}
		if err := cl.built(); err != nil {
			return n, err
		}
		b := burst{n, float64(size) / time.Since(start).Seconds(), ms(c.cpu()-used) / float64(size), c.rss()}
		all = append(all, b)
		n += size
	}
	if len(all) == 0 {
		return 0, fmt.Errorf("no burst within %s", o.fillWithin)
	}
	note := func(b burst) string {
		return fmt.Sprintf("burst at %d servers; %.2f ms of processor a server, %.0f MiB resident", b.at, b.cpu, b.rss)
	}
	first, last, slow := all[0], all[len(all)-1], all[0]
	for _, b := range all {
		if b.rate < slow.rate {
			slow = b
		}
	}
	r.rate("servers made"+on, n, time.Since(began), 0, fmt.Sprintf("%d of %d within %s", n, o.fill, round(time.Since(began))))
	r.add(result{What: "servers to ACTIVE, first burst" + on, Value: first.rate, Unit: "/s", Note: note(first)})
	r.add(result{What: "servers to ACTIVE, slowest burst" + on, Value: slow.rate, Unit: "/s", Aim: first.rate / 2, Note: note(slow)})
	r.add(result{What: "servers to ACTIVE, last burst" + on, Value: last.rate, Unit: "/s", Note: note(last)})
	r.add(result{What: "processor for a server, first burst" + on, Value: first.cpu, Unit: "ms"})
	r.add(result{What: "processor for a server, last burst" + on, Value: last.cpu, Unit: "ms"})
	return n, nil
}
