package network

import (
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
	groups  map[string]bool // whose members have changed: resolved to hosts when lazyAt comes
	lazyAt  time.Time
	cost    time.Duration // of rendering a document, a moving average
	paced   time.Time     // when the last host marked by pace is due
	members map[string]membership
	sharing sharing // between documents; it has a mutex of its own
}

// membership is a group's member list as documents have it. It is kept for half of LazyDelay, so that many hosts' documents share it; a change
// marks hosts no sooner than LazyDelay after its commit, so the documents that this brings never have a list from before it.
type membership struct {
	addresses []string
	read      time.Time
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
	return &Publisher{s: s, sem: semaphore.NewWeighted(pushesAtOnce), wake: make(chan struct{}, 1), hosts: map[string]*hostState{}, groups: map[string]bool{}, members: map[string]membership{}}
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

// lazyOnCommit notes groups whose members change with this commit; hosts with rules about them hear of it LazyDelay later.
func (s *Service) lazyOnCommit(tx *db.Tx, groups []string) {
	if len(groups) == 0 {
		return
	}
	tx.OnCommit(func() { s.pub.membersChanged(groups) })
}

func (p *Publisher) membersChanged(groups []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) == 0 {
		p.lazyAt = p.s.clock.Now().Add(p.s.cfg.LazyDelay)
		if p.lazyAt.Before(p.paced) { // the hosts of the round before come first
			p.lazyAt = p.paced
		}
		defer p.nudge()
	}
	for _, g := range groups {
		p.groups[g] = true
	}
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

// readMembers is the memberReader that pushes share.
func (p *Publisher) readMembers(ctx context.Context, tx *db.Tx, groupIDs []string) (map[string][]string, error) {
	now := p.s.clock.Now()
	out := make(map[string][]string, len(groupIDs))
	var missing []string
	p.mu.Lock()
	for _, g := range groupIDs {
		if m, ok := p.members[g]; ok && now.Sub(m.read) < p.s.cfg.LazyDelay/2 {
			out[g] = m.addresses
		} else {
			missing = append(missing, g)
		}
	}
	p.mu.Unlock()
	if len(missing) == 0 {
		return out, nil
	}
	read, err := readMembers(ctx, tx, missing)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.members) > 1000 {
		clear(p.members)
	}
	for _, g := range missing {
		out[g] = read[g]
		p.members[g] = membership{read[g], now}
	}
	return out, nil
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
			h.due = due
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

// Revision is the revision of the newest document that this controller has sent to a host, for the reply to its heartbeat; 0 before any.
func (p *Publisher) Revision(host string) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.hosts[host]; h != nil {
		return h.sent
	}
	return 0
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
	if p.s.db.Dialect == db.SQLite {
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
	p.spreadMembers(ctx)
	now := p.s.clock.Now()
	wait := time.Minute
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.groups) > 0 {
		wait = max(p.lazyAt.Sub(now), 0)
	}
	for name, h := range p.hosts {
		if h.want == h.done || h.flying || h.seen.IsZero() { // a host never seen gets its document when it comes
			continue
		}
		if d := h.due.Sub(now); d > 0 {
			wait = min(wait, d)
			continue
		}
		if !p.sem.TryAcquire(1) {
			break // the next push that ends wakes Run
		}
		h.flying, h.due = true, now.Add(24*time.Hour) // marks that come meanwhile bring their own time
		want := h.want
		pushes.Add(1)
		go func() {
			defer pushes.Done()
			defer p.sem.Release(1)
			doc, err := p.push(ctx, pusher, name)
			p.pushed(ctx, name, want, doc, err)
		}()
	}
	return wait
}

// spreadMembers turns changed groups into marks on hosts, when it is time.
func (p *Publisher) spreadMembers(ctx context.Context) {
	now := p.s.clock.Now()
	p.mu.Lock()
	if len(p.groups) == 0 || now.Before(p.lazyAt) {
		p.mu.Unlock()
		return
	}
	groups := make([]string, 0, len(p.groups))
	for g := range p.groups {
		groups = append(groups, g)
	}
	clear(p.groups)
	p.mu.Unlock()
	var hosts []string
	err := p.s.db.Read(ctx, func(tx *db.Tx) (err error) {
		for chunk := range slices.Chunk(groups, 500) {
			hs, err := hostsWatching(ctx, tx, chunk)
			if err != nil {
				return err
			}
			hosts = append(hosts, hs...)
		}
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			p.s.log.Warn("hosts of changed security groups not found", "err", err)
		}
		p.membersChanged(groups)
		return
	}
	p.pace(slices.Compact(slices.Sorted(slices.Values(hosts))), 0)
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
		h.due = p.s.clock.Now().Add(h.backoff)
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
	}
	p.mu.Unlock()
	p.nudge()
}
