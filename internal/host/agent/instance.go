package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"nephos/internal/hostapi"
)

// resultsKept bounds the recorded results per instance: a repeat comes soon or never.
const resultsKept = 8

// instance is one server on this host.
type instance struct {
	id, dir string
	durable bool // files are replaced whole, spec.json is synced

	run chan struct{} // capacity 1: held by the operation under way; taken with a context, unlike a mutex

	mu      sync.Mutex // guards what follows
	spec    *hostapi.InstanceSpec
	state   instanceState
	flights map[string]*flight
	gone    bool // destroyed: whoever waits for run must look again
}

// instanceState is state.json.
type instanceState struct {
	Epoch     int64            `json:"epoch"` // newest seen
	Built     bool             `json:"built"`
	Suspended bool             `json:"suspended"`
	Results   []hostapi.Result `json:"results"`
}

// flight is a command being run; those who send it again wait on done.
type flight struct {
	epoch  int64
	cancel context.CancelFunc
	done   chan struct{}
	result hostapi.Result // valid when done is closed
}

func newInstance(id, dir string, durable bool) *instance {
	return &instance{id: id, dir: dir, durable: durable, run: make(chan struct{}, 1), flights: map[string]*flight{}}
}

func (in *instance) currentSpec() *hostapi.InstanceSpec {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.spec
}

// setSpec replaces spec.json, whole or not at all, durably: it is what a restart of the host starts from.
func (in *instance) setSpec(spec *hostapi.InstanceSpec) error {
	if err := os.MkdirAll(in.dir, 0o711); err != nil {
		return err
	}
	if err := in.write("spec.json", spec, true); err != nil {
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
	if _, err := os.Stat(in.dir); err != nil {
		return nil //nolint:nilerr // nothing was made yet, so there is nothing to remember
	}
	return in.write("state.json", in.state, false)
}

// write stores one of the instance's files. On simulated hosts, of which a thousand share one disk, it is written in place: what a kill in that moment tears
// is a simulation.
func (in *instance) write(name string, v any, sync bool) error {
	path := filepath.Join(in.dir, name)
	if in.durable {
		return writeJSON(path, v, sync)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// writeJSON replaces a file by renaming; sync makes it survive a power cut as well.
func writeJSON(path string, v any, sync bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// loadInstances reads instances/ at start. A directory without a readable spec.json belongs to a build that died before its first step:
// its server's command comes again, or the heartbeat lets it go; it is kept as an instance without a spec.
func (a *Agent) loadInstances(dirs string) error {
	entries, err := os.ReadDir(dirs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		in := newInstance(e.Name(), filepath.Join(dirs, e.Name()), !a.cfg.Simulated)
		var spec hostapi.InstanceSpec
		switch err := readJSON(filepath.Join(in.dir, "spec.json"), &spec); {
		case err == nil:
			in.spec = &spec
			in.state.Epoch = spec.Epoch
		case !errors.Is(err, fs.ErrNotExist):
			a.cfg.Log.Warn("spec of an instance cannot be read", "server", in.id, "err", err)
		}
		var st instanceState
		if err := readJSON(filepath.Join(in.dir, "state.json"), &st); err == nil {
			st.Epoch = max(st.Epoch, in.state.Epoch)
			in.state = st
		}
		a.instances[in.id] = in
	}
	return nil
}
