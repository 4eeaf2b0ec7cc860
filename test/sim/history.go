package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// act is one thing that a client asks for, or that goes wrong. What A and B point at is found when the time comes (the A-th of what then exists), so that a plan stays
// meaningful when acts are taken out of it.
type act struct {
	No   int // names it, also in a shrunk plan
	At   time.Duration
	Kind string
	A, B int
	For  time.Duration // of faults: how long
}

func (a act) String() string {
	s := fmt.Sprintf("#%d %v %s %d %d", a.No, a.At.Round(time.Millisecond), a.Kind, a.A, a.B)
	if a.For > 0 {
		s += " for " + a.For.Round(time.Millisecond).String()
	}
	return s
}

// plan is a seed's history before it happens.
type plan struct {
	Seed uint64
	Acts []act
}

func (p plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %d acts\n", p.Seed, len(p.Acts))
	for _, a := range p.Acts {
		fmt.Fprintf(&b, "  %s\n", a)
	}
	return b.String()
}

// weights of what clients ask for, and of what goes wrong.
var (
	asks = []struct {
		kind   string
		weight int
	}{{"create", 26}, {"create-on-volume", 5}, {"delete", 14}, {"stop", 6}, {"start", 6}, {"reboot", 3}, {"reboot-hard", 4}, {"pause", 3}, {"unpause", 3}, {"suspend", 3}, {"resume", 3},
		{"volume", 7}, {"volume-delete", 5}, {"volume-extend", 2}, {"snapshot", 3}, {"snapshot-delete", 2}, {"attach", 6}, {"detach", 4}, {"plug", 3}, {"unplug", 3},
		{"rescue", 3}, {"unrescue", 3}, {"rebuild", 4}, {"evacuate", 8},
		{"resize", 9}, {"migrate", 8}, {"confirm", 6}, {"revert", 7}, {"live-migrate", 12}, {"live-abort", 3}, {"live-force", 1}, {"shelve", 7}, {"offload", 3}, {"unshelve", 6},
		{"image", 6}, {"backup", 5}, {"image-delete", 2}}
	faults = []struct {
		kind   string
		weight int
	}{{"cut-host", 10}, {"cut-to-host", 4}, {"cut-from-host", 4}, {"agent-dies", 10}, {"host-dies", 4}, {"remember", 4}, {"old-state", 5}, {"slow-host", 5}, {"failing-host", 6}, {"lossy", 6}, {"doubling", 8},
		{"late", 6}, {"rough", 9}, {"cut-peers", 5}, {"controller-dies", 10}, {"cut-controller", 5}, {"guest-dies", 4}}
)

const (
	length    = 100 * time.Second // of the part in which things happen
	askCount  = 40
	early     = 5
	faultMost = 14
)

func pick(r *rand.Rand, from []struct {
	kind   string
	weight int
}) string {
	total := 0
	for _, x := range from {
		total += x.weight
	}
	n := r.IntN(total)
	for _, x := range from {
		if n -= x.weight; n < 0 {
			return x.kind
		}
	}
	return ""
}

// newPlan draws a seed's plan.
func newPlan(seed uint64) plan {
	r := rand.New(rand.NewPCG(seed, 0x6e657068))
	p := plan{Seed: seed}
	add := func(kind string, at, dur time.Duration) {
		p.Acts = append(p.Acts, act{No: len(p.Acts) + 1, At: at, Kind: kind, A: r.IntN(1000), B: r.IntN(1000), For: dur})
	}
	burst := r.IntN(3) == 0 // many things at nearly one moment
	center := time.Duration(r.Int64N(int64(length)))
	for range early { // something must be there before anything can happen to it
		add([]string{"create", "create", "volume"}[r.IntN(3)], time.Duration(r.Int64N(int64(10*time.Second))), 0)
	}
	for range askCount - early {
		at := time.Duration(r.Int64N(int64(length)))
		if burst && r.IntN(3) > 0 {
			at = center + time.Duration(r.Int64N(int64(4*time.Second)))
		}
		add(pick(r, asks), at, 0)
	}
	for range r.IntN(faultMost + 1) {
		at := time.Duration(r.Int64N(int64(length)))
		if burst && r.IntN(2) == 0 {
			at = center + time.Duration(r.Int64N(int64(4*time.Second)))
		}
		add(pick(r, faults), at, time.Second+time.Duration(r.Int64N(int64(60*time.Second))))
	}
	slices.SortFunc(p.Acts, func(a, b act) int { return int(a.At - b.At) })
	for i := range p.Acts { // nanoseconds that nothing else has
		p.Acts[i].At = p.Acts[i].At.Truncate(time.Microsecond) + time.Duration(i+1)
		p.Acts[i].No = i + 1
	}
	return p
}
