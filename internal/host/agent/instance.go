package agent

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"nephos/internal/hostapi"
)

// resultsKept bounds the recorded results per instance: a repeat comes soon or never.
const resultsKept = 8

// instance is one server on this host.
type instance struct {
	id   string
	dir  string // where a real host has its files
	keep records

	run chan struct{} // capacity 1: held by the operation under way; taken with a context, unlike a mutex

	mu      sync.Mutex // guards what follows
	spec    *hostapi.InstanceSpec
	state   instanceState
	flights map[string]*flight
	gone    bool // destroyed: whoever waits for run must look again
}

// instanceState is state.json.
type instanceState struct {
	Epoch   int64            `json:"epoch"`          // newest seen
	Turn    int              `json:"turn,omitempty"` // newest seen of that epoch
	Built   bool             `json:"built"`
	Parked  bool             `json:"parked,omitempty"` // it has left, or is leaving, for another host: its ports are not plugged here
	Offer   string           `json:"offer,omitempty"`  // the token by which the other host may ask for it, or send it
	Results []hostapi.Result `json:"results"`

	Copies map[string]time.Time `json:"copies,omitempty"` // by image: copies of the root disk that may lie here, and since when
}

// fences says that a newer command has been seen. New metadata belongs to no workflow and has no turn.
func (s *instanceState) fences(cmd hostapi.Command) bool {
	return cmd.Epoch < s.Epoch || cmd.Epoch == s.Epoch && cmd.Turn < s.Turn && cmd.Op != hostapi.OpUpdateMetadata
}

// flight is a command being run; those who send it again wait on done.
type flight struct {
	epoch  int64
	turn   int
	cancel context.CancelFunc
	done   chan struct{}
	result hostapi.Result // valid when done is closed
}

func (a *Agent) newInstance(id string) *instance {
	return &instance{id: id, dir: a.InstanceDir(id), keep: a.records, run: make(chan struct{}, 1), flights: map[string]*flight{}}
}

func (in *instance) currentSpec() *hostapi.InstanceSpec {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.spec
}

// plugged is the spec whose ports the host shall have; nil when there are none.
func (in *instance) plugged() *hostapi.InstanceSpec {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.state.Parked {
		return nil
	}
	return in.spec
}

// setSpec replaces the spec, whole or not at all.
func (in *instance) setSpec(spec *hostapi.InstanceSpec) error {
	if err := in.keep.spec(in.id, spec); err != nil {
		return err
	}
	in.mu.Lock()
	in.spec = spec
	in.mu.Unlock()
	return nil
}

// editSpec changes a copy of the spec and stores it.
func (in *instance) editSpec(edit func(*hostapi.InstanceSpec)) error {
	old := in.currentSpec()
	if old == nil {
		return nil
	}
	b, err := json.Marshal(old)
	if err != nil {
		return err
	}
	var spec hostapi.InstanceSpec
	if err := json.Unmarshal(b, &spec); err != nil {
		return err
	}
	edit(&spec)
	return in.setSpec(&spec)
}

// mark changes the state in memory; the result of the operation under way stores it (record).
func (in *instance) mark(edit func(*instanceState)) {
	in.mu.Lock()
	defer in.mu.Unlock()
	edit(&in.state)
}

// setState changes the state and stores it. A process that dies here forgets the newest result only: the command comes again and its steps find
// their work done.
func (in *instance) setState(edit func(*instanceState)) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.gone {
		return nil
	}
	edit(&in.state)
	if over := len(in.state.Results) - resultsKept; over > 0 {
		in.state.Results = in.state.Results[over:]
	}
	return in.keep.state(in.id, in.state)
}

// loadInstances takes over what an earlier process left.
func (a *Agent) loadInstances() error {
	all, err := a.records.load()
	if err != nil {
		return err
	}
	for _, k := range all {
		if k.err != nil {
			a.cfg.Log.Warn("spec of an instance cannot be read", "server", k.id, "err", k.err)
		}
		in := a.newInstance(k.id)
		in.spec, in.state = k.spec, k.state
		a.instances[in.id] = in
	}
	return nil
}
