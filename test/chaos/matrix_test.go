package chaos

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fault is what happens at a point.
type fault string

const (
	none        fault = "none"
	fails       fault = "the step fails"
	killed      fault = "kill -9"
	killedTwice fault = "kill -9, again on the way back"
	stopped     fault = "SIGTERM"
	otherKilled fault = "kill -9 of the other process"
	bothKilled  fault = "kill -9 of both"
	qemuKilled  fault = "kill -9 of QEMU"
	diskFull    fault = "the host's disk is full"
	qmpSilent   fault = "QMP is silent"
	nftFails    fault = "nft fails"
	storeSlow   fault = "the image store is slow"
	storeWrong  fault = "the image store gives wrong bytes"
)

// conditions are faults that last: they begin while the point is held and end when all has settled.
var conditions = []fault{diskFull, qmpSilent, nftFails, storeSlow, storeWrong}

// trial is one cell of the matrix.
type trial struct {
	row    scenario
	failAt string // a workflow point at which the step fails, so that everything is undone; "" for the way forward
	point  string // where the fault strikes
	fault  fault
}

func (c trial) String() string {
	s := fmt.Sprintf("%v at %s: %s", c.row, c.point, c.fault)
	if c.failAt != "" {
		s += " while undoing " + c.failAt
	}
	return s
}

// result is a trial with what came of it.
type result struct {
	trial
	outcome string
	took    time.Duration
	err     error
}

// errNothing says that a trial has nothing to strike: no guest runs at its point, or rules are not loaded this time.
var errNothing = errors.New("there is nothing to strike")

// errOther says that a rehearsal did not take the way it was to be led.
var errOther = errors.New("it came to rest another way: nothing failed where it was to, or something where nothing was to")

// lane is one cloud that trials follow one another in.
type lane struct {
	t     *testing.T
	c     *cloud
	a     *client
	image string
	n     int
	real  bool
}

func newLane(t *testing.T) *lane {
	t.Helper()
	c := fakeCloud(t, 4)
	a := c.login()
	img, err := a.upload("tiny", make([]byte, 4096))
	require.NoError(t, err)
	return &lane{t: t, c: c, a: a, image: img}
}

// stage is a new case. On real hosts fresh has it boot from an image that no host has yet.
func (l *lane) stage(fresh bool) (*stage, error) {
	l.n++
	s := &stage{client: l.a, name: fmt.Sprintf("case%d-", l.n), image: l.image}
	if !fresh || !l.real {
		return s, nil
	}
	var err error
	s.image, err = l.a.upload(fmt.Sprint("fresh", l.n), bytes.Repeat([]byte{byte(l.n), byte(l.n >> 8), 7, 1}, 1<<18))
	return s, err
}

// owner is the half that a point lies in.
func (l *lane) owner(point string) (own, other *half) {
	if strings.HasPrefix(point, "agent/") || strings.HasPrefix(point, "nft/") {
		return l.c.agent, l.c.controller
	}
	return l.c.controller, l.c.agent
}

// lead arms what brings the workflow onto the trial's way.
func (l *lane) lead(row scenario, failAt string) {
	for i, a := range row.agentArms {
		l.c.agent.arm(fmt.Sprintf("lead%d-%d", l.n, i), a) // passages are counted by the name
	}
	if failAt != "" {
		l.c.controller.arm(leading(l.n), arm{Point: failAt, Do: "error"})
	}
}

// leading names the arm that has a case fail and be undone.
func leading(n int) string { return fmt.Sprintf("fail%d", n) }

func (l *lane) disarm() {
	l.c.agent.disarmAll()
	l.c.controller.disarmAll()
}

// rehearse runs a row without a fault (but on its way) and gives the points that it passes, the controller's and the agent's.
func (l *lane) rehearse(row scenario, failAt string) (points []string, outcome string, err error) {
	defer l.disarm()
	s, err := l.stage(true)
	if err != nil {
		return nil, "", err
	}
	if row.before != nil {
		if err := row.before(s); err != nil {
			return nil, "", fmt.Errorf("preparing: %w", err)
		}
	}
	l.lead(row, failAt)
	atController, atAgent := l.c.controller.watch(), l.c.agent.watch()
	if err := row.begin(s); err != nil && failAt == "" {
		return nil, "", fmt.Errorf("beginning: %w", err)
	}
	if _, err := s.settled(); err != nil {
		return nil, "", err
	}
	if failAt != "" {
		// Not every workflow shows in a server's state or trace. One that goes on forward again need not say this, and is given its time.
		_ = poll(2*time.Second, 10*time.Millisecond, func() bool {
			return slices.Contains(atController.points(), "workflow/"+row.kind+"/-/failed")
		})
	}
	points = append(atController.stop(), atAgent.stop()...)
	undone := slices.ContainsFunc(points, func(p string) bool {
		return strings.HasPrefix(p, "workflow/"+row.kind+"/") && strings.HasSuffix(p, "/undo")
	})
	if failAt != "" && !l.c.controller.fired(leading(l.n), time.Second) || failAt == "" && undone && len(row.agentArms) == 0 {
		return nil, "", errOther
	}
	l.disarm()
	if err := row.restore(s); err != nil {
		return nil, "", err
	}
	outcome, err = s.verdict(false)
	return points, outcome, err
}

// rehearseAgain gives a rehearsal that took another way two more.
func (l *lane) rehearseAgain(row scenario, failAt string) (points []string, outcome string, err error) {
	for again := 0; ; again++ {
		points, outcome, err = l.rehearse(row, failAt)
		if again == 2 || !errors.Is(err, errOther) {
			return points, outcome, err
		}
		l.t.Logf("%v, failing at %q: %v: once more", row, failAt, err)
	}
}

// run is one trial.
func (l *lane) run(c trial) (outcome string, err error) {
	defer l.disarm()
	s, err := l.stage(strings.HasPrefix(c.point, "image/") || c.fault == storeSlow || c.fault == storeWrong)
	if err != nil {
		return "", err
	}
	if c.row.before != nil {
		if err := c.row.before(s); err != nil {
			return "", fmt.Errorf("preparing: %w", err)
		}
	}
	l.lead(c.row, c.failAt)
	own, other := l.owner(c.point)
	do := "crash"
	switch c.fault {
	case fails:
		do = "error"
	case stopped, otherKilled, bothKilled, qemuKilled, diskFull, qmpSilent, nftFails, storeSlow, storeWrong:
		do = "hold"
	}
	name := fmt.Sprintf("strike%d", l.n)
	own.arm(name, arm{Point: c.point, Do: do, Times: 1})
	answer := make(chan error, 1)
	go func() { answer <- c.row.begin(s) }() // ends with the client's time at the latest
	if !own.fired(name, 20*time.Second) {
		err := <-answer
		if err != nil || !strings.HasPrefix(c.point, "nft/") {
			return "", fmt.Errorf("the point was not reached; the request: %v", err)
		}
		// The rules were loaded together with another change's, or were in force already.
		own.disarm(name)
		if _, err := s.verdict(false); err != nil {
			return "", err
		}
		return "", errNothing
	}
	var over func() error
	if slices.Contains(conditions, c.fault) {
		over, err = l.impose(c.fault)
		own.disarm(name)
	} else {
		err = l.strike(c.fault, name, own, other)
	}
	if err != nil {
		if errors.Is(err, errNothing) {
			<-answer
			if _, serr := s.verdict(false); serr != nil {
				return "", serr
			}
		}
		return "", err
	}
	asked := <-answer
	s.ill = over != nil
	all, err := s.settled() // still led: what the verdict does is not
	if s.ill {
		err = errors.Join(err, over())
		s.ill = false
	}
	if err != nil {
		return describe(all), err
	}
	l.disarm()
	if err := c.row.restore(s); err != nil {
		return "", err
	}
	outcome, err = s.verdict(asked == nil && strings.HasSuffix(c.row.kind, ".create"))
	return outcome, err
}

// strike lets the fault run its course and starts again what it ended.
func (l *lane) strike(f fault, name string, own, other *half) error {
	switch f {
	case fails:
		return nil
	case killed, killedTwice:
		if err := l.again(own); err != nil {
			return err
		}
		if f == killedTwice {
			return l.killLater(own)
		}
	case stopped:
		if err := own.kill(syscall.SIGTERM); err != nil {
			return err
		}
		own.disarmAll()
		return l.c.tryStart(own)
	case otherKilled:
		if err := other.kill(syscall.SIGKILL); err != nil {
			return err
		}
		own.disarm(name)
		return l.c.tryStart(other)
	case qemuKilled:
		n := signalGuests(l.c.agent, syscall.SIGKILL)
		own.disarm(name)
		if n == 0 {
			return errNothing
		}
	case bothKilled:
		if err := errors.Join(other.kill(syscall.SIGKILL), own.kill(syscall.SIGKILL)); err != nil {
			return err
		}
		own.disarmAll()
		return errors.Join(l.c.tryStart(l.c.controller), l.c.tryStart(l.c.agent))
	}
	return nil
}

// again waits for a half to have died and starts it.
func (l *lane) again(h *half) error {
	select {
	case <-h.proc.done:
	case <-time.After(10 * time.Second):
		return errors.New("the process did not die at its point")
	}
	return l.c.tryStart(h)
}

// killLater kills a half that is taking over what it left, at whatever line it is in.
func (l *lane) killLater(h *half) error {
	if err := h.kill(syscall.SIGKILL); err != nil {
		return err
	}
	return l.c.tryStart(h)
}

// plan is the trials of one row: first what it passes, then what strikes there.
type plan struct {
	row     scenario
	forward []string
	undo    map[string][]string // failAt → points that only the undoing passes
	trivial []result            // the rehearsals
}

// rehearseAll finds every row's ways, on several clouds side by side.
func rehearseAll(t *testing.T, rows []scenario) []plan {
	plans := make([]plan, len(rows))
	share(t, "rehearsal", len(rows), newLane, func(l *lane, i int) error {
		p := plan{row: rows[i], undo: map[string][]string{}}
		var err error
		var outcome string
		if p.forward, outcome, err = l.rehearseAgain(p.row, ""); err != nil {
			return fmt.Errorf("%v: %w", p.row, err)
		}
		p.trivial = append(p.trivial, result{trial: trial{row: p.row, point: "-", fault: none}, outcome: outcome})
		for _, point := range p.forward {
			if !strings.HasPrefix(point, "workflow/"+p.row.kind+"/") || !strings.HasSuffix(point, "/effect") {
				continue
			}
			began := time.Now()
			points, outcome, err := l.rehearseAgain(p.row, point)
			if err != nil {
				return fmt.Errorf("%v, failing at %s: %w", p.row, point, err)
			}
			p.undo[point] = slices.DeleteFunc(points, func(x string) bool {
				before := strings.HasSuffix(x, "/committed") && !strings.HasPrefix(x, "workflow/"+p.row.kind+"/") // the last word of what prepared the case
				return before || slices.Contains(p.forward, x)
			})
			p.trivial = append(p.trivial, result{trial: trial{row: p.row, point: point, fault: fails}, outcome: outcome, took: time.Since(began)})
		}
		plans[i] = p
		return nil
	})
	return plans
}

// covered wants a row for every declared workflow, and every step of it passed by one of them.
func covered(t *testing.T, declared []workflowKind, plans []plan) {
	t.Helper()
	passed := map[string]bool{}
	for _, p := range plans {
		for _, x := range p.forward {
			parts := strings.Split(x, "/")
			if parts[0] == "workflow" && parts[1] == p.row.kind {
				passed[parts[1]] = true
				passed[parts[1]+"/"+parts[2]] = true
			}
		}
	}
	for _, w := range declared {
		if !passed[w.Kind] {
			t.Errorf("the declared workflow %s has no scenario: add a row to scenarios (test/chaos/scenario_test.go)", w.Kind)
			continue
		}
		for _, s := range w.Steps {
			if !passed[w.Kind+"/"+s.Name] {
				t.Errorf("no scenario of %s passes its step %s", w.Kind, s.Name)
			}
		}
	}
	for _, p := range plans {
		if !passed[p.row.kind] {
			t.Errorf("the scenario %v begins no workflow of that kind", p.row)
		}
	}
}

// trials multiplies points by faults.
func (p plan) trials() (out []trial) {
	add := func(failAt string, points []string) {
		for _, x := range points {
			parts := strings.Split(x, "/")
			if parts[0] == "workflow" && parts[1] != p.row.kind {
				continue // a workflow that this one begins has rows of its own
			}
			faults := []fault{killed}
			if parts[0] == "agent" && parts[2] != "command" && failAt == "" {
				faults = append(faults, fails)
			}
			if parts[0] == "workflow" && parts[3] == "before" {
				faults = append(faults, fails)
			}
			if long {
				faults = append(faults, killedTwice, stopped, otherKilled, bothKilled)
			} else if parts[3] == "effect" || parts[0] == "agent" && parts[3] == "done" {
				faults = append(faults, stopped, otherKilled)
			}
			for _, f := range faults {
				out = append(out, trial{row: p.row, failAt: failAt, point: x, fault: f})
			}
		}
	}
	add("", p.forward)
	for _, failAt := range slices.Sorted(mapsKeys(p.undo)) {
		add(failAt, p.undo[failAt])
	}
	return out
}

// shuffled is an order of the seed's for n trials, so that each may come after any other, and when to stop beginning new ones: a quick run has no time for all of them.
func shuffled(n int) (order []int, until time.Time) {
	budget := 100 * time.Second
	if d, err := time.ParseDuration(os.Getenv("NEPHOS_CHAOS_TIME")); err == nil {
		budget = d
	}
	if long {
		budget = 24 * time.Hour
	}
	return rand.New(rand.NewPCG(uint64(seed), 0)).Perm(n), time.Now().Add(budget)
}

// TestMatrix kills, stops and fails every process at every point of every workflow, on simulated hosts.
func TestMatrix(t *testing.T) {
	began := time.Now()
	rows := selected(scenarios)
	plans := rehearseAll(t, rows)
	if t.Failed() {
		return
	}
	c := fakeCloud(t, 1)
	if len(rows) == len(scenarios) {
		covered(t, c.declared(), plans)
	}
	var all []trial
	var results []result
	for _, p := range plans {
		all = append(all, p.trials()...)
		results = append(results, p.trivial...)
	}
	order, until := shuffled(len(all))
	t.Logf("seed %d (NEPHOS_CHAOS_SEED)", seed)
	t.Logf("%d workflows, %d scenarios, %d trials; rehearsed in %v", len(c.declared()), len(rows), len(all), time.Since(began).Round(time.Second))
	done := make([]result, len(all))
	share(t, "trials", len(all), newLane, func(l *lane, i int) error { return l.try(all[order[i]], until, &done[order[i]]) })
	report(t, append(results, done...), time.Since(began), tableBegin, tableEnd)
}

// try runs a trial into r unless the time is over; a trial with nothing to strike says so.
func (l *lane) try(c trial, until time.Time, r *result) error {
	*r = result{trial: c, outcome: notRun}
	start := time.Now()
	if start.After(until) {
		return nil
	}
	outcome, err := l.run(c)
	if errors.Is(err, errNothing) {
		r.outcome = idle
		return nil
	}
	*r = result{trial: c, outcome: outcome, took: time.Since(start), err: err}
	if err != nil {
		return fmt.Errorf("%v: %w", c, err)
	}
	return nil
}

// Outcomes of trials that were none.
const (
	notRun = "not run"
	idle   = "does not apply: nothing is there to strike"
)

// selected are the rows that NEPHOS_CHAOS_ROWS, a regular expression, names; all without it.
func selected(rows []scenario) []scenario {
	only := regexp.MustCompile(os.Getenv("NEPHOS_CHAOS_ROWS"))
	return slices.DeleteFunc(slices.Clone(rows), func(s scenario) bool { return !only.MatchString(s.String()) })
}

// share has n pieces of work done on several clouds. After a failure the lane goes on in a new cloud: the old one may be in pieces.
func share(t *testing.T, name string, n int, open func(*testing.T) *lane, work func(l *lane, i int) error) {
	t.Helper()
	var mu sync.Mutex
	next := 0
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1
	}
	t.Run(name, func(t *testing.T) {
		for k := range min(lanes, n) {
			t.Run(fmt.Sprint(k+1), func(t *testing.T) {
				t.Parallel()
				var l *lane
				for i := take(); i < n; i = take() {
					if l == nil {
						l = open(t)
					}
					if err := work(l, i); err != nil {
						f := fmt.Sprintf("%v\ncontroller:\n%s\nagent:\n%s", err, l.c.controller.tail(), l.c.agent.tail())
						t.Error(f)
						mu.Lock()
						found = append(found, f)
						mu.Unlock()
						l = nil
					}
				}
			})
		}
	})
}

// report prints what the run was like and writes the table if asked.
func report(t *testing.T, results []result, took time.Duration, begin, end string) {
	t.Helper()
	bad, left := 0, 0
	for _, r := range results {
		switch {
		case r.err != nil:
			bad++
		case r.outcome == notRun || r.outcome == idle:
			left++
		}
	}
	t.Logf("%d trials, %d of them bad, %d others not run, in %v on %d clouds", len(results)-left, bad, left, took.Round(time.Second), lanes)
	slow := slices.Clone(results)
	slices.SortFunc(slow, func(a, b result) int { return cmp.Compare(b.took, a.took) })
	for _, r := range slow[:min(12, len(slow))] {
		t.Logf("%6.2fs %v -> %s", r.took.Seconds(), r.trial, r.outcome)
	}
	if doc != "" && bad == 0 {
		require.NoError(t, writeTable(doc, begin, end, table(results, took)))
	}
}
