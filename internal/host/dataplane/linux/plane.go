package linux

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/dataplane"
	"nephos/internal/hostapi"
)

// renderDeadline bounds one render; a hundred ports from nothing take well under two seconds.
const renderDeadline = 2 * time.Minute

// Plane is the data plane of one host. See the package comment for what it makes.
type Plane struct {
	cfg Config

	mu      sync.Mutex // guards waiting, running and closed; never held across I/O
	waiting *batch
	running bool
	closed  bool
	idle    sync.WaitGroup // the render goroutine

	kernel chan struct{} // one token: who holds it may change the host and touch the fields below
	state  hostState
	serves *services
}

var _ dataplane.Plane = (*Plane)(nil)

// batch is a document that waits, and all callers who wait for it or for an older one that it replaced.
type batch struct {
	doc  hostapi.NetworkDocument
	done chan struct{}
	err  error
}

// hostState is what the last render knows of the host. Only shortcuts depend on it: forget it (zero value) and everything is looked at anew.
type hostState struct {
	fabric  *namespace
	host    *namespace
	books   *books
	last    *plan
	rules   ruleset            // what the fabric's tables hold
	joined  string             // what the links to the root namespace were last made from
	notes   []string           // what could not be done without harm to others; Inventory tells
	nets    map[string]*netKey // networks whose bridge, addresses and tunnel are as they should be
	routers map[string]*routerState
}

// New makes the plane without touching the host. It fails when this process cannot do the work at all.
func New(cfg Config) (*Plane, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, fault.Unavailable("the linux data plane needs root (network namespaces, taps)")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		return nil, fault.Unavailable("nft is not installed (Debian package nftables)").WithCause(err)
	}
	p := &Plane{cfg: cfg, kernel: make(chan struct{}, 1)}
	p.kernel <- struct{}{}
	p.serves = newServices(&p.cfg)
	return p, nil
}

// Apply implements dataplane.Plane.
func (p *Plane) Apply(ctx context.Context, doc hostapi.NetworkDocument) error {
	b, err := p.enqueue(doc)
	if err != nil {
		return err
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return fmt.Errorf("waiting for network revision %d: %w", doc.Revision, ctx.Err())
	}
}

func (p *Plane) enqueue(doc hostapi.NetworkDocument) (*batch, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fault.Unavailable("the data plane is closed")
	}
	switch {
	case p.waiting == nil:
		p.waiting = &batch{doc: doc, done: make(chan struct{})}
	case doc.Revision >= p.waiting.doc.Revision: // of equal ones the later: the agent merges its own ports under one revision
		p.waiting.doc = doc
	}
	if !p.running {
		p.running = true
		p.idle.Add(1)
		go p.render()
	}
	return p.waiting, nil
}

// render works off waiting documents, then ends.
func (p *Plane) render() {
	defer p.idle.Done()
	for {
		p.mu.Lock()
		b := p.waiting
		p.waiting = nil
		if b == nil {
			p.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), renderDeadline)
		if b.err = p.lockKernel(ctx); b.err == nil {
			b.err = p.reconcile(ctx, &b.doc)
			p.unlockKernel()
		}
		cancel()
		close(b.done)
	}
}

func (p *Plane) lockKernel(ctx context.Context) error {
	select {
	case <-p.kernel:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the data plane: %w", ctx.Err())
	}
}

func (p *Plane) unlockKernel() { p.kernel <- struct{}{} }

// Close implements dataplane.Plane.
func (p *Plane) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.idle.Wait() // documents that wait are still rendered: their callers were promised so
	if err := p.lockKernel(ctx); err != nil {
		return err
	}
	defer p.unlockKernel()
	err := p.serves.close()
	p.forget()
	return err
}

// forget drops everything remembered, and the handles; the next render looks at everything.
func (p *Plane) forget() {
	p.state.fabric.close()
	p.state.host.close()
	for _, r := range p.state.routers {
		r.ns.close()
	}
	p.state = hostState{}
}

// reconcile makes the host match doc. The order is what keeps guests safe at each line where the process may die: a new port is attached
// and filtered before it is switched on; what goes is taken off the wire before its rules go.
func (p *Plane) reconcile(ctx context.Context, doc *hostapi.NetworkDocument) error {
	if err := p.open(); err != nil {
		p.forget()
		return err
	}
	st := &p.state
	pl, errPlan := makePlan(&p.cfg, doc, st.books)
	links, err := st.fabric.links()
	if err != nil {
		p.forget()
		return err
	}
	w := &fabricWork{p: p, plan: pl, links: links, ns: st.fabric}
	errs := []error{errPlan, w.removeStale()}
	errs = append(errs, w.bridges()...)
	errs = append(errs, w.ports()...)
	if err := p.filter(ctx, pl); err != nil {
		return errors.Join(append(errs, fmt.Errorf("%w: %w", dataplane.ErrUnfiltered, err))...) // without rules nothing is switched on
	}
	errs = append(errs, w.switchPorts()...)
	errs = append(errs, w.externals(ctx)...)
	errs = append(errs, w.routers(ctx)...)
	errs = append(errs, p.serves.apply(st.fabric, w.links, pl, dataplane.NewDirectory(*doc))...)
	if pl.shrank(st.last) {
		errs = append(errs, p.sweep(pl))
	}
	st.last = pl
	return errors.Join(errs...)
}

// filter brings the fabric's rules up to date: nothing when they are equal, a few elements when only those differ, else whole.
func (p *Plane) filter(ctx context.Context, pl *plan) error {
	st := &p.state
	want := fabricRules(pl)
	text, ok := want.delta(st.rules)
	if !ok || st.rules == nil {
		text = want.text()
	}
	if text == "" {
		return nil
	}
	err := st.fabric.nft(ctx, text)
	if err != nil && ok { // someone else changed the tables: replace them
		err = st.fabric.nft(ctx, want.text())
	}
	if err != nil {
		st.rules = nil
		return err
	}
	if !ok { // the first rules with ct bring the setting into being where conntrack is a module
		if err := st.fabric.set(true, sysctl{"netfilter/nf_conntrack_tcp_loose", "0"}); err != nil {
			return err
		}
	}
	st.rules = want
	return nil
}

// open opens the fabric, making it when it is not there, and enters names and numbers found on the host.
func (p *Plane) open() error {
	st := &p.state
	if st.fabric != nil {
		return nil
	}
	fabric, _, err := ensureNamespace(p.cfg.fabricName())
	if err != nil {
		return err
	}
	st.fabric = fabric
	if st.host, err = openNamespace(p.cfg.HostNetns); err != nil {
		return err
	}
	if err := p.prepareFabric(); err != nil {
		return err
	}
	st.books = newBooks()
	st.nets = map[string]*netKey{}
	st.routers = map[string]*routerState{}
	for _, ns := range []*namespace{st.fabric, st.host} {
		links, err := ns.links()
		if err != nil {
			return err
		}
		for name, l := range links {
			if o, ok := parseAlias(l.Attrs().Alias); ok {
				st.books.adopt(name, o)
			}
		}
	}
	return p.adoptRouters()
}
