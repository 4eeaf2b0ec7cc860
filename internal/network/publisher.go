package network

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// Pusher carries a document to a host and answers with the revision that the host has applied.
type Pusher interface {
	Push(ctx context.Context, host string, doc hostapi.NetworkDocument) (appliedRevision int64, err error)
	// TellMembers publishes a change to all hosts and waits for none.
	TellMembers(c hostapi.MemberChange) error
}

const (
	pushTimeout  = 10 * time.Second
	pushesAtOnce = 8
	backoffFirst = 250 * time.Millisecond
	backoffMost  = 15 * time.Second
	auditAge     = time.Minute
	promptDelay  = 50 * time.Millisecond // a host that gets its first port of a group: guests boot for longer than that
)

// Publisher delivers documents. Marks may come from any goroutine; Run's goroutine dispatches, and at most one push per host is in flight.
type Publisher struct {
	s    *Service
	sem  *semaphore.Weighted
	wake chan struct{}

	mu      sync.Mutex
	running bool
	hosts   map[string]*hostState
	due     dueQueue
	groups  map[string]bool // whose members have changed: told when lazyAt comes
	lazyAt  time.Time
	members map[string]membership // as documents have them
	told    map[string]membership // as last told; the same map as members where this is the only controller
	toldAt  int64                 // revision of the newest change told
	cost    time.Duration         // of rendering a document, a moving average
	paced   time.Time             // when the last host marked by pace is due
	sharing sharing               // between documents; it has a mutex of its own
}

// hostState is what the publisher knows of one host. want and done count marks, not revisions.
type hostState struct {
	seen    time.Time // last heartbeat; zero: never
	gateway bool
	applied int64           // revision of the newest document it has acknowledged
	sent    int64           // revision of the newest document pushed with success from here
	groups  map[string]bool // security groups in that document
	want    uint64
	done    uint64
	due     time.Time // when to push while want > done
	flying  bool
	pushed  time.Time // last success
	backoff time.Duration
	changed chan struct{} // closed and replaced when done moves
}

// mark remembers what a call has asked for, so that it can wait for it.
type mark struct{ tickets []ticket }

type ticket struct {
	host string
	want uint64
}

func newPublisher(s *Service) *Publisher {
	p := &Publisher{s: s, sem: semaphore.NewWeighted(pushesAtOnce), wake: make(chan struct{}, 1), hosts: map[string]*hostState{}, groups: map[string]bool{}, members: map[string]membership{}}
	if p.told = p.members; s.db.Shared() {
		p.told = map[string]membership{}
	}
	return p
}

func (p *Publisher) host(name string) *hostState {
	h := p.hosts[name]
	if h == nil {
		h = &hostState{changed: make(chan struct{})}
		p.hosts[name] = h
	}
	return h
}

func (p *Publisher) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// markOnCommit moves the clock and, after the commit, marks hosts for an immediate push; m receives what await waits for.
func (s *Service) markOnCommit(ctx context.Context, tx *db.Tx, m *mark, hosts []string) error {
	hosts = compactHosts(hosts)
	if err := tick(ctx, tx); err != nil {
		return err
	}
	tx.OnCommit(func() { m.tickets = s.pub.dirty(hosts, 0) })
	return nil
}

// needs marks a host soon if its newest document lacks one of the groups.
func (p *Publisher) needs(host string, groups []string) {
	p.mu.Lock()
	h := p.host(host)
	lacks := slices.ContainsFunc(groups, func(g string) bool { return !h.groups[g] })
	waiting := h.want > h.done && !h.flying
	p.mu.Unlock()
	if lacks && !waiting {
		p.pace([]string{host}, promptDelay)
	}
}

// pace marks hosts for which nobody waits one after the other, so far apart that rendering for them takes an eighth of the machine at most:
// a storm of boots must not be slowed by its own documents.
func (p *Publisher) pace(hosts []string, delay time.Duration) {
	now := p.s.clock.Now()
	for _, h := range hosts {
		p.mu.Lock()
		due := now.Add(delay)
		if due.Before(p.paced) {
			due = p.paced
		}
		p.paced = due.Add(p.cost * 8 / time.Duration(runtime.NumCPU()))
		p.mu.Unlock()
		p.dirty([]string{h}, due.Sub(now))
	}
}

func (p *Publisher) dirty(hosts []string, delay time.Duration) []ticket {
	if len(hosts) == 0 {
		return nil
	}
	due := p.s.clock.Now().Add(delay)
	out := make([]ticket, 0, len(hosts))
	p.mu.Lock()
	for _, name := range hosts {
		h := p.host(name)
		if h.want == h.done || due.Before(h.due) {
			p.schedule(name, h, due)
		}
		h.want++
		out = append(out, ticket{name, h.want})
	}
	p.mu.Unlock()
	p.nudge()
	return out
}

// await waits until the hosts of m that are alive have the change, at most AckWait. Hosts that do not answer stay marked.
func (p *Publisher) await(ctx context.Context, m *mark) {
	if len(m.tickets) == 0 {
		return
	}
	limit := p.s.clock.NewTimer(p.s.cfg.AckWait)
	defer limit.Stop()
	for _, t := range m.tickets {
		for {
			p.mu.Lock()
			h := p.host(t.host)
			done, changed := h.done >= t.want || !p.running || !p.alive(h), h.changed
			p.mu.Unlock()
			if done {
				break
			}
			select {
			case <-changed:
			case <-limit.Chan():
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

func (p *Publisher) alive(h *hostState) bool {
	return !h.seen.IsZero() && p.s.clock.Now().Sub(h.seen) < p.s.cfg.HostTimeout
}

// Revision is the revision of the newest document that this controller has sent to a host, and of the newest change of members that it has told, for the reply to
// its heartbeat; 0 before any.
func (p *Publisher) Revision(host string) (document, members int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.hosts[host]; h != nil {
		document = h.sent
	}
	return document, p.toldAt
}

// Run delivers until ctx ends, and looks after routers whose host is gone.
func (p *Publisher) Run(ctx context.Context, pusher Pusher) error {
	p.mu.Lock()
	p.running = true
	p.mu.Unlock()
	var pushes sync.WaitGroup
	defer func() {
		p.mu.Lock()
		p.running = false
		for _, h := range p.hosts { // nobody waits for what will not come
			close(h.changed)
			h.changed = make(chan struct{})
		}
		p.mu.Unlock()
		pushes.Wait()
	}()
	routers := p.s.clock.NewTicker(p.s.cfg.HostTimeout / 3)
	defer routers.Stop()
	for {
		timer := p.s.clock.NewTimer(p.dispatch(ctx, pusher, &pushes))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-p.wake:
		case <-timer.Chan():
		case <-routers.Chan():
			if err := errors.Join(p.s.rehostRouters(ctx), p.audit(ctx)); err != nil && ctx.Err() == nil {
				p.s.log.Warn("hosts not looked after", "err", err)
			}
		}
		timer.Stop()
	}
}

// audit marks hosts that have long not been sent anything and are behind the clock: another controller may have died between a commit and
// its push. A single controller has no other.
func (p *Publisher) audit(ctx context.Context) error {
	if !p.s.db.Shared() {
		return nil
	}
	var clock int64
	if err := p.s.db.Read(ctx, func(tx *db.Tx) (err error) { clock, err = now(ctx, tx); return err }); err != nil {
		return err
	}
	var stale []string
	p.mu.Lock()
	for name, h := range p.hosts {
		if p.alive(h) && h.want == h.done && h.applied < clock && p.s.clock.Now().Sub(h.pushed) > auditAge {
			stale = append(stale, name)
		}
	}
	p.mu.Unlock()
	p.pace(stale, 0)
	return nil
}

// dispatch starts the pushes that are due and says how long until the next.
func (p *Publisher) dispatch(ctx context.Context, pusher Pusher, pushes *sync.WaitGroup) time.Duration {
	p.tellMembers(ctx, pusher)
	now := p.s.clock.Now()
	wait := time.Minute
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) > 0 {
		wait = max(p.lazyAt.Sub(now), 0)
	}
	for len(p.due) > 0 {
		next := p.due[0]
		h := p.hosts[next.host]
		if h.want == h.done || h.flying || h.seen.IsZero() || !h.due.Equal(next.at) { // a host never seen gets its document when it comes
			heap.Pop(&p.due)
			continue
		}
		if d := next.at.Sub(now); d > 0 {
			return min(wait, d)
		}
		if !p.sem.TryAcquire(1) {
			break // the next push that ends wakes Run
		}
		heap.Pop(&p.due)
		h.flying, h.due = true, now.Add(24*time.Hour) // marks that come meanwhile bring their own time
		want := h.want
		pushes.Add(1)
		go func() {
			defer pushes.Done()
			defer p.sem.Release(1)
			doc, err := p.push(ctx, pusher, next.host)
			p.pushed(ctx, next.host, want, doc, err)
		}()
	}
	return wait
}

// schedule sets when a host is due. The caller holds mu.
func (p *Publisher) schedule(name string, h *hostState, at time.Time) {
	h.due = at
	heap.Push(&p.due, dueHost{name, at})
}

// dueHost is an entry of the queue. It counts while the host is still due at that time.
type dueHost struct {
	host string
	at   time.Time
}

// dueQueue is a heap of hosts, the next one first.
type dueQueue []dueHost

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q dueQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *dueQueue) Push(x any)        { *q = append(*q, x.(dueHost)) }
func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}

func (p *Publisher) push(ctx context.Context, pusher Pusher, host string) (*hostapi.NetworkDocument, error) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	var doc hostapi.NetworkDocument
	err := p.s.db.Read(ctx, func(tx *db.Tx) (err error) {
		start := time.Now() // not before a reader was free: waiting is no work
		doc, err = p.s.document(ctx, tx, host, &p.sharing, p.readMembers)
		took := time.Since(start)
		p.mu.Lock()
		p.cost += (took - p.cost) / 8
		p.mu.Unlock()
		return err
	})
	if err != nil {
		return nil, err
	}
	applied, err := pusher.Push(ctx, host, doc)
	if err == nil && applied < doc.Revision {
		err = fault.Unavailable("host %s has applied revision %d of its network, not %d", host, applied, doc.Revision)
	}
	return &doc, err
}

// pushed takes the outcome of a push of everything up to mark want.
func (p *Publisher) pushed(ctx context.Context, host string, want uint64, doc *hostapi.NetworkDocument, err error) {
	p.mu.Lock()
	h := p.host(host)
	h.flying = false
	if err != nil {
		h.backoff = min(max(2*h.backoff, backoffFirst), backoffMost)
		p.schedule(host, h, p.s.clock.Now().Add(h.backoff))
		if ctx.Err() == nil {
			p.s.log.LogAttrs(ctx, slog.LevelWarn, "network document not delivered", slog.String("host", host), slog.Duration("again_in", h.backoff), slog.Any("err", err))
		}
	} else {
		h.backoff, h.applied, h.sent, h.done, h.pushed = 0, doc.Revision, doc.Revision, want, p.s.clock.Now()
		h.groups = make(map[string]bool, len(doc.SecurityGroups))
		for _, g := range doc.SecurityGroups {
			h.groups[g.ID] = true
		}
		close(h.changed)
		h.changed = make(chan struct{})
		if h.want > h.done { // marked meanwhile
			p.schedule(host, h, h.due)
		}
	}
	p.mu.Unlock()
	p.nudge()
}
