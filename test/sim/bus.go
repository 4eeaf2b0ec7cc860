package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// weather is how badly messages fare. Probabilities are in thousandths.
type weather struct {
	lost, twice, late int
	rough             int // connections that break, stall, damage what goes over them, or lead to the wrong host
}

// wire is the simulated network with the bus on it. A request goes through it like through NATS core: nothing is kept for who is not there.
type wire struct {
	seed  uint64
	trace func(format string, args ...any)
	label func(id string) string // a stable name for what a message is about

	ctx    context.Context // of all messages on their way
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards what follows
	subs    []*sub
	counts  map[string]int
	cuts    map[[2]string]bool // from, to
	weather weather
	doors   []*door
	strands []*strand
	builds  map[[2]string]bool // host, server: the host was told to make it anew
}

type sub struct {
	node    *node
	subject string
	queue   string
	answers bool
	fn      func(ctx context.Context, data []byte) (any, error)
}

// node is one process's connection. It dies with its process.
type node struct {
	w      *wire
	name   string
	ctx    context.Context // of the handlers
	cancel context.CancelFunc
	wg     sync.WaitGroup // handlers under way
	mu     sync.Mutex
	dead   bool
}

func newWire(seed uint64, trace func(string, ...any), label func(string) string) *wire {
	w := &wire{seed: seed, trace: trace, label: label, counts: map[string]int{}, cuts: map[[2]string]bool{}, builds: map[[2]string]bool{}}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

func (w *wire) join(name string) *node {
	n := &node{w: w, name: name}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// die ends the process's connection: nothing comes in or goes out any more. It waits for handlers.
func (n *node) die() {
	n.kill()
	n.wg.Wait()
}

func (n *node) kill() {
	n.mu.Lock()
	n.dead = true
	n.mu.Unlock()
	n.w.mu.Lock()
	n.w.subs = slices.DeleteFunc(n.w.subs, func(s *sub) bool { return s.node == n })
	n.w.mu.Unlock()
	n.cancel()
	n.cutStrands()
}

func (n *node) alive() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.dead
}

// enter counts a handler in; false when the process is dead.
func (n *node) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead {
		return false
	}
	n.wg.Add(1)
	return true
}

// Addr implements app.Bus.
func (n *node) Addr() string { return "" }

// Handle implements app.Bus and agent.Bus.
func (n *node) Handle(subject, queue string, fn func(ctx context.Context, data []byte) (any, error)) error {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.subs = append(n.w.subs, &sub{n, subject, queue, true, fn})
	return nil
}

// Listen implements app.Bus.
func (n *node) Listen(subject string, fn func(ctx context.Context, data []byte) error) error {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.subs = append(n.w.subs, &sub{n, subject, "", false, func(ctx context.Context, data []byte) (any, error) { return nil, fn(ctx, data) }})
	return nil
}

// Publish implements app.Bus and agent.Bus.
func (n *node) Publish(subject string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if !n.alive() {
		return errors.New("the connection is closed")
	}
	m := n.w.message(n.name, subject, data)
	for _, s := range n.w.route(m) {
		n.w.send(n, s, m, nil)
	}
	return nil
}

type reply struct {
	body []byte
	err  string
}

// Request implements app.Bus and agent.Bus, with the errors of bus.Bus.
func (n *node) Request(ctx context.Context, subject string, in, out any) error {
	data, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if !n.alive() {
		return fault.Unavailable("no answer on %s", subject)
	}
	m := n.w.message(n.name, subject, data)
	to := n.w.route(m)
	if !slices.ContainsFunc(to, func(s *sub) bool { return s.answers }) {
		if err := pause(ctx, n.w.ctx, n.w.delay(m.key+"/none")); err != nil {
			return err
		}
		return fault.Unavailable("nobody listens on %s", subject)
	}
	answer := make(chan reply, 1)
	for _, s := range to {
		n.w.send(n, s, m, answer)
	}
	select {
	case r := <-answer:
		switch {
		case r.err != "":
			return fault.Conflict("%s", r.err)
		case out == nil:
			return nil
		}
		if raw, ok := out.(*[]byte); ok {
			*raw = r.body
			return nil
		}
		return json.Unmarshal(r.body, out)
	case <-n.ctx.Done():
		return context.Canceled
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return fault.Unavailable("no answer on %s", subject).WithCause(ctx.Err())
	}
}

// message is one thing sent; key names it the same way in every run of the seed.
type message struct {
	from, subject, key, about string
	data                      []byte
	command                   hostapi.Command // what it is, if it is one
}

// message names what is sent: who, to which subject, about what, and the how-manieth of that name.
func (w *wire) message(from, subject string, data []byte) message {
	m := message{from: from, subject: subject, data: data}
	switch {
	case strings.HasSuffix(subject, ".command"):
		if json.Unmarshal(data, &m.command) == nil {
			m.about = w.about(m.command)
		}
	case subject == hostapi.SubjectHeartbeat:
	case strings.HasSuffix(subject, ".network"):
	}
	name := from + ">" + subject + " " + m.about
	w.mu.Lock()
	w.counts[name]++
	m.key = name + " #" + strconv.Itoa(w.counts[name])
	w.mu.Unlock()
	return m
}

// route finds who gets a message: everybody, but of a queue group one.
func (w *wire) route(m message) []*sub {
	w.mu.Lock()
	defer w.mu.Unlock()
	groups := map[string][]*sub{}
	var names []string
	var out []*sub
	for _, s := range w.subs {
		switch {
		case s.subject != m.subject:
		case s.queue == "":
			out = append(out, s)
		default:
			if groups[s.queue] == nil {
				names = append(names, s.queue)
			}
			groups[s.queue] = append(groups[s.queue], s)
		}
	}
	for _, g := range names {
		members := groups[g]
		out = append(out, members[w.draw(m.key+"/queue")%uint64(len(members))])
	}
	return out
}

// draw is the seed's number for a name.
func (w *wire) draw(name string) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/%s", w.seed, name)
	x := h.Sum64() // FNV's low bits are poor: mix them
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// chance is true in so many of a thousand names.
func (w *wire) chance(name string, thousandths int) bool { return int(w.draw(name)%1000) < thousandths }

// delay is how long a message takes: 0.2 to 3 ms, in late weather sometimes seconds.
func (w *wire) delay(name string) time.Duration {
	d := 200*time.Microsecond + time.Duration(w.draw(name+"/delay")%2_800_000)*time.Nanosecond
	w.mu.Lock()
	late := w.weather.late
	w.mu.Unlock()
	if w.chance(name+"/late", late) {
		d += time.Duration(w.draw(name+"/long")%20_000_000) * time.Microsecond
	}
	return d
}

// built says that a host was told to make a server anew.
func (w *wire) built(host, server string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.builds[[2]string{host, server}]
}

func (w *wire) isCut(from, to string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cuts[[2]string{from, to}]
}

func (w *wire) cut(from, to string, yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if yes {
		w.cuts[[2]string{from, to}] = true
	} else {
		delete(w.cuts, [2]string{from, to})
	}
}

func (w *wire) setWeather(change func(*weather)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.weather)
}

func (w *wire) now() weather {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.weather
}

// send puts a message on its way, once or twice.
func (w *wire) send(from *node, to *sub, m message, answer chan reply) {
	key := m.key + " to " + to.node.name
	sky := w.now()
	if !w.chance(key+"/lost", sky.lost) {
		w.carry(from, to, m, key, w.delay(key), answer)
	} else {
		w.trace("%s lost", key)
	}
	if w.chance(key+"/twice", sky.twice) { // the copy may be very old when it comes
		w.carry(from, to, m, key+" again", w.delay(key+" again")+time.Duration(w.draw(key+"/old")%90_000_000)*time.Microsecond, answer)
	}
}

// carry delivers one copy after its delay and brings the answer back.
func (w *wire) carry(from *node, to *sub, m message, key string, after time.Duration, answer chan reply) {
	w.wg.Go(func() {
		if pause(w.ctx, w.ctx, after) != nil {
			return
		}
		if w.isCut(from.name, to.node.name) || !to.node.enter() {
			w.trace("%s lost on the way", key)
			return
		}
		if m.about != "" || strings.HasSuffix(key, "again") {
			w.trace("%s arrives", key)
		}
		if c := m.command; makes(c) && c.Op != hostapi.OpLiveTarget {
			w.mu.Lock()
			w.builds[[2]string{to.node.name, c.Subject}] = true
			w.mu.Unlock()
		}
		v, err := to.fn(context.WithValue(to.node.ctx, commandKey{}, m.command), m.data)
		to.node.wg.Done()
		if answer == nil || !to.answers || !to.node.alive() {
			return
		}
		var r reply
		if raw, ok := v.([]byte); ok && err == nil {
			r.body = raw
		} else if err == nil {
			r.body, err = json.Marshal(v)
		}
		if err != nil {
			r.err = err.Error()
		}
		if w.chance(key+"/answer lost", w.now().lost) || pause(w.ctx, w.ctx, w.delay(key+"/answer")) != nil || w.isCut(to.node.name, from.name) || !to.node.alive() {
			w.trace("%s answer lost", key)
			return
		}
		select {
		case answer <- r:
		default: // the other copy was answered first
		}
	})
}

// close ends all messages on their way.
func (w *wire) close() {
	w.cancel()
	w.wg.Wait()
}

// pause waits for d, or until one of the contexts ends.
func pause(ctx, other context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-other.Done():
		return other.Err()
	}
}
