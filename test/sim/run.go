package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"nephos/internal/db"
	fakeplane "nephos/internal/host/dataplane/fake"
	fakehv "nephos/internal/host/hypervisor/fake"
	"nephos/internal/policy"
)

const (
	hostCount    = 3
	controlCount = 2
	checkEvery   = 2 * time.Second
	// settleMost is the longest that healing may take: the longest deadline of a server's workflow, its undo, and heartbeats.
	settleMost = 25 * time.Minute
)

// template is a bootstrapped database and the images behind it, made once per process and copied for each history.
type template struct {
	dir     string
	project string
	image   string
	network string
}

// outcome is what became of a history.
type outcome struct {
	Err     error
	Hash    [32]byte
	Trace   []string
	Elapsed time.Duration // in the history
	Acked   int           // creates that were accepted
}

// thing is a server, volume or snapshot that a client was told of.
type thing struct {
	id, label string
	acked     time.Time
	gone      bool // a delete was accepted
	evacuated bool // an evacuation was asked for
}

// world is one history being played.
type world struct {
	t     *testing.T
	plan  plan
	tpl   *template
	dir   string
	log   *slog.Logger
	ctx   context.Context
	start time.Time
	wire  *wire
	db    *db.DB
	audit *control // never started: reads the rows
	ctl   []*control
	hosts []*host
	creds *policy.Credentials

	hand    chan struct{} // held by who changes or looks at machines (hosts, ctl). A channel, not a mutex: fake time goes on while somebody waits for it
	clients sync.WaitGroup
	heals   sync.WaitGroup

	mu        sync.Mutex // guards what follows
	trace     []line
	labels    map[string]string
	servers   []*thing
	volumes   []*thing
	snapshots []*thing
	images    []*thing
	found     []string // violations that the machines themselves noticed
	broken    error
	healed    bool
}

type line struct {
	at   time.Duration
	text string
}

// seededReader gives the bytes of identifiers.
type seededReader struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func (s *seededReader) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Read(p)
}

// play runs one history in a bubble of its own. One process plays one at a time.
func play(t *testing.T, tpl *template, p plan, verbose io.Writer) outcome {
	return playThen(t, tpl, p, verbose, func(*world) error { return nil })
}

// playThen does more when the history has come to its good end.
func playThen(t *testing.T, tpl *template, p plan, verbose io.Writer, then func(*world) error) (out outcome) {
	dir, err := os.MkdirTemp(scratch(), "nephos-sim")
	if err != nil {
		return outcome{Err: err}
	}
	defer os.RemoveAll(dir)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], p.Seed)
	uuid.SetRand(&seededReader{r: rand.NewChaCha8(key)})
	defer uuid.SetRand(nil)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, plan: p, tpl: tpl, hand: make(chan struct{}, 1), dir: dir, labels: map[string]string{}, start: time.Now(), ctx: context.Background(),
			log: slog.New(slog.DiscardHandler), creds: &policy.Credentials{UserID: "u1", ProjectID: tpl.project, Roles: []string{"member", "reader"}}}
		if verbose != nil {
			w.log = slog.New(slog.NewTextHandler(verbose, &slog.HandlerOptions{Level: slog.LevelInfo}))
		}
		w.wire = newWire(p.Seed, w.say, w.labelOf)
		err := w.run()
		if err == nil {
			err = then(w)
		}
		if derr := w.down(); err == nil {
			err = derr
		}
		out = w.outcome(err)
	})
	return out
}

// scratch is where histories lie: in memory, where there is such a place, since nothing here outlives the test.
func scratch() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func (w *world) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trace = append(w.trace, line{time.Since(w.start), fmt.Sprintf(format, args...)})
}

// violation is what a machine noticed itself.
func (w *world) violation(rule string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found = append(w.found, fmt.Sprintf(rule, args...))
}

func (w *world) labelOf(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l, ok := w.labels[id]; ok {
		return l
	}
	return "new"
}

// outcome sorts what happened at one instant, so that the order of goroutines does not show.
func (w *world) outcome(err error) outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.trace, func(a, b line) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return strings.Compare(a.text, b.text)
	})
	out := outcome{Err: err, Elapsed: time.Since(w.start)}
	h := sha256.New()
	for _, l := range w.trace {
		text := fmt.Sprintf("%12.6f %s", l.at.Seconds(), l.text)
		out.Trace = append(out.Trace, text)
		h.Write([]byte(text))
	}
	h.Sum(out.Hash[:0])
	out.Acked = len(w.servers)
	return out
}

// up makes the cloud: the database copied from the template, controllers, hosts.
func (w *world) up() error {
	if err := os.CopyFS(w.dir, os.DirFS(w.tpl.dir)); err != nil {
		return err
	}
	var err error
	path := filepath.Join(w.dir, "nephos.db")
	if w.db, err = db.Open(w.ctx, path); err != nil {
		return err
	}
	w.audit = &control{name: "audit", base: w.db, wire: w.wire, log: slog.New(slog.DiscardHandler), dir: w.dir}
	if err := w.audit.ready(); err != nil {
		return err
	}
	for i := range controlCount {
		name := fmt.Sprintf("c%d", i+1)
		c := &control{name: name, base: w.db, wire: w.wire, log: w.log.With("c", name), dir: w.dir}
		w.ctl = append(w.ctl, c)
		if err := c.start(w.ctx); err != nil {
			return err
		}
		time.Sleep(217*time.Millisecond + time.Duration(i)*time.Microsecond)
	}
	for i := range hostCount {
		name := fmt.Sprintf("h%d", i+1)
		h := &host{name: name, dir: filepath.Join(w.dir, name), wire: w.wire, log: w.log.With("h", name), kernel: &fakeplane.Host{}, script: &fakehv.Script{},
			tell: w.violation, off: time.Duration(i+1)*731*time.Millisecond + 13*time.Microsecond}
		if err := os.MkdirAll(h.dir, 0o700); err != nil {
			return err
		}
		w.hosts = append(w.hosts, h)
		if err := h.start(w.ctx); err != nil {
			return err
		}
		time.Sleep(131 * time.Millisecond)
	}
	time.Sleep(time.Second)
	synctest.Wait()
	return nil
}

// run plays the plan, heals everything, and waits for the cloud to come to rest.
func (w *world) run() error {
	if err := w.up(); err != nil {
		return fmt.Errorf("the cloud does not come up: %w", err)
	}
	begin := time.Now()
	next := checkEvery
	for _, a := range w.plan.Acts {
		for next < a.At {
			if err := w.stepTo(begin, next); err != nil {
				return err
			}
			next += checkEvery
		}
		time.Sleep(time.Until(begin.Add(a.At)))
		w.do(a)
		synctest.Wait()
		if err := w.check(); err != nil {
			return fmt.Errorf("after %s: %w", a, err)
		}
	}
	if err := w.stepTo(begin, length+time.Second); err != nil {
		return err
	}
	return w.settle()
}

func (w *world) stepTo(begin time.Time, at time.Duration) error {
	time.Sleep(time.Until(begin.Add(at)))
	synctest.Wait()
	return w.check()
}

// settle heals what is broken and waits until nothing is under way; then the stricter invariants must hold.
func (w *world) settle() error {
	w.mu.Lock()
	w.healed = true
	w.mu.Unlock()
	w.heals.Wait()
	if err := w.heal(); err != nil {
		return err
	}
	w.say("healed")
	w.clients.Wait()
	limit := time.Now().Add(settleMost)
	for {
		time.Sleep(checkEvery + 3*time.Microsecond)
		synctest.Wait()
		if err := w.check(); err != nil {
			return fmt.Errorf("while healing: %w", err)
		}
		n, what, err := w.underWay()
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%d workflows have not ended %v after everything was well again: %s", n, settleMost, what)
		}
	}
	// Copies of messages may come up to two minutes late, and hosts judge what they hold at their heartbeats: after that nothing may change any more.
	time.Sleep(lastCopy)
	synctest.Wait()
	w.say("settled")
	return w.final()
}

// lastCopy is when the last late copy of a message has come (wire.carry), and some heartbeats have passed since.
const lastCopy = 150 * time.Second

// down ends every process of the history.
func (w *world) down() error {
	w.mu.Lock()
	w.healed = true
	w.mu.Unlock()
	w.heals.Wait()
	for _, h := range w.hosts {
		h.kill()
	}
	for _, c := range w.ctl {
		c.kill()
	}
	w.clients.Wait()
	w.wire.close()
	if w.db != nil {
		return w.db.Close()
	}
	return nil
}

// traceText is the last lines of a history.
func (o outcome) traceText(most int) string {
	t := o.Trace
	if len(t) > most {
		t = t[len(t)-most:]
	}
	var b bytes.Buffer
	for _, l := range t {
		b.WriteString(l + "\n")
	}
	return b.String()
}
