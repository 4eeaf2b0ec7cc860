package fake

import (
	"path"
	"slices"
	"sync"
	"time"

	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// Verb names a method of the driver in a script.
type Verb string

// The verbs that scripts may touch. Any matches all of them.
const (
	Any        Verb = "*"
	Start      Verb = "start"
	Shutdown   Verb = "shutdown"
	SoftReboot Verb = "soft-reboot"
	Reset      Verb = "reset"
	Pause      Verb = "pause"
	Unpause    Verb = "unpause"
	Suspend    Verb = "suspend"
	Resume     Verb = "resume"
	Destroy    Verb = "destroy"
	AttachDisk Verb = "attach-disk"
	DetachDisk Verb = "detach-disk"
	ResizeDisk Verb = "resize-disk"
	CopyDisk   Verb = "copy-disk"
	AttachNIC  Verb = "attach-nic"
	DetachNIC  Verb = "detach-nic"
	SwapDisk   Verb = "swap-disk"
	NMI        Verb = "nmi"
	Await      Verb = "await"
	Take       Verb = "take"
	Arrived    Verb = "arrived"
	Send       Verb = "send"  // its delay is how long the sending takes
	Agent      Verb = "agent" // what goes through the guest's agent
)

// Rule changes what some calls do. A call takes part in a rule when Verb, Guest and Name all fit; of those calls, the rule acts on the
// From-th (counted from 1; 0 is 1) and on Times in all (0: all that follow).
type Rule struct {
	Verb  Verb
	Guest string // server id; empty: any
	Name  string // path.Match pattern on Guest.Name; empty: any
	From  int
	Times int

	Delay time.Duration // spent before anything happens; ends with the caller's context
	Err   error         // returned instead of doing it
	After bool          // Err is returned although it has been done: the answer is lost
	Crash string        // the guest crashes right after the verb, for this reason
}

// Script is a list of rules, safe for concurrent use; several drivers may share one (and then share its counts). The zero value lets
// everything be.
type Script struct {
	mu    sync.Mutex
	rules []*counted
}

type counted struct {
	Rule
	seen int
}

// Add appends rules. Delays of all that fit add up; the first error and the first crash win.
func (s *Script) Add(rules ...Rule) *Script {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range rules {
		s.rules = append(s.rules, &counted{Rule: r})
	}
	return s
}

// Clear removes every rule.
func (s *Script) Clear() {
	s.mu.Lock()
	s.rules = nil
	s.mu.Unlock()
}

// effect is what the rules make of one call.
type effect struct {
	delay time.Duration
	err   error
	after bool
	crash string
}

func (s *Script) take(v Verb, id, name string) (e effect) {
	if s == nil {
		return e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if (r.Verb != Any && r.Verb != v) || (r.Guest != "" && r.Guest != id) {
			continue
		}
		if ok, err := path.Match(r.Name, name); r.Name != "" && (err != nil || !ok) {
			continue
		}
		r.seen++
		from := max(r.From, 1)
		if r.seen < from || (r.Times > 0 && r.seen >= from+r.Times) {
			continue
		}
		e.delay += r.Delay
		if e.err == nil && r.Err != nil {
			e.err, e.after = r.Err, r.After
		}
		if e.crash == "" {
			e.crash = r.Crash
		}
	}
	return e
}

// record is one guest, as kept in memory and in its file.
type record struct {
	ID      string             `json:"id"`
	Name    string             `json:"name"`
	Power   hostapi.PowerState `json:"power"`
	PID     int                `json:"pid"`
	Why     string             `json:"why"`
	Disks   []string           `json:"disks"`
	NICs    []string           `json:"nics"`
	State   string             `json:"state,omitempty"` // file of the suspended memory
	Came    bool               `json:"came,omitempty"`  // from another host, whatever became of it since
	Agent   bool               `json:"agent,omitempty"` // it has a channel to its agent, and an agent
	Console []byte             `json:"console"`

	behaviour Behaviour
}

// Behaviour is how a guest's system meets requests.
type Behaviour struct {
	IgnoresPowerButton bool // ACPI has no effect: grace passes
	HoldsDevices       bool // never lets a disk or interface go
}

func (r *record) status() hypervisor.Status {
	return hypervisor.Status{ID: r.ID, Power: r.Power, PID: r.PID, Why: r.Why}
}

func (r *record) fill(g hypervisor.Guest) {
	r.Name, r.Disks, r.NICs, r.Agent = g.Name, nil, nil, g.Machine.GuestAgent
	for _, d := range g.Disks {
		r.Disks = append(r.Disks, d.ID)
	}
	for _, n := range g.NICs {
		r.NICs = append(r.NICs, n.PortID)
	}
}

func without(list []string, s string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(x string) bool { return x == s })
}
