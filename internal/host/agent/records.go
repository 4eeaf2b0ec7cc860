package agent

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"nephos/internal/host/hypervisor"
	"nephos/internal/host/simlog"
	"nephos/internal/hostapi"
)

// records is where an agent keeps what must outlive its process. Methods of one id are not called at once from two goroutines.
type records interface {
	// load gives all instances that are kept.
	load() ([]kept, error)
	// spec keeps what an instance is; from then on it exists. On a real host it survives a power cut, since a restart of the host starts from it.
	spec(id string, s *hostapi.InstanceSpec) error
	// state keeps what was done with an instance. Nothing is kept of an instance of which nothing was made.
	state(id string, s instanceState) error
	// claim has an instance exist of which nothing is known but that it has a guest.
	claim(id string) error
	// remove forgets an instance and removes its files.
	remove(id string) error
	// grave keeps how an instance ended, fill forgets it; graves gives those that still count.
	grave(id string, g grave) error
	fill(id string) error
	graves() (map[string]grave, error)
	// ids lists the instances by looking.
	ids() ([]string, error)
}

// kept is one instance as an earlier process left it. Without a spec it is a build that died before its first step: its server's command comes again, or
// the heartbeat lets it go.
type kept struct {
	id    string
	spec  *hostapi.InstanceSpec
	state instanceState
	err   error // the spec is there and cannot be read
}

// newer has the state follow a spec of a newer epoch, if it is one.
func (s *instanceState) newer(epoch int64) {
	if epoch > s.Epoch {
		s.Epoch, s.Turn = epoch, 0
	}
}

// folders are the records of a real host: a directory for each instance, which holds its disks too.
type folders struct{ dir string }

func (f folders) of(id string) string { return filepath.Join(f.dir, id) }

func (f folders) load() ([]kept, error) {
	ids, err := f.ids()
	if err != nil {
		return nil, err
	}
	var out []kept
	for _, id := range ids {
		k := kept{id: id}
		var spec hostapi.InstanceSpec
		switch err := readJSON(filepath.Join(f.of(id), "spec.json"), &spec); {
		case err == nil:
			k.spec, k.state.Epoch = &spec, spec.Epoch
		case !errors.Is(err, fs.ErrNotExist):
			k.err = err
		}
		var st instanceState
		if err := readJSON(filepath.Join(f.of(id), "state.json"), &st); err == nil {
			st.newer(k.state.Epoch)
			k.state = st
		}
		out = append(out, k)
	}
	return out, nil
}

func (f folders) ids() ([]string, error) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

func (f folders) spec(id string, s *hostapi.InstanceSpec) error {
	_, serr := os.Stat(f.of(id))
	if err := os.MkdirAll(f.of(id), 0o711); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(f.of(id), "spec.json"), s, true); err != nil {
		return err
	}
	if serr == nil { // the directory is old; its new name for the spec counts
		return syncDir(f.of(id))
	}
	return errors.Join(syncDir(f.of(id)), syncDir(f.dir))
}

func (f folders) state(id string, s instanceState) error {
	if _, err := os.Stat(f.of(id)); err != nil {
		return nil //nolint:nilerr // nothing was made yet, so there is nothing to remember
	}
	return writeJSON(filepath.Join(f.of(id), "state.json"), s, false)
}

func (f folders) claim(id string) error { return os.MkdirAll(f.of(id), 0o711) }

// remove takes the spec away last, so that a crash in between leaves an instance that is still reported and destroyed again.
func (f folders) remove(id string) error {
	entries, err := os.ReadDir(f.of(id))
	if os.IsNotExist(err) {
		return nil
	}
	for _, e := range entries {
		if e.Name() != "spec.json" {
			if rerr := os.RemoveAll(filepath.Join(f.of(id), e.Name())); rerr != nil {
				return rerr
			}
		}
	}
	return errors.Join(err, os.RemoveAll(f.of(id)))
}

// simulated are the records of a simulated host. Its instances have a directory only where a verb needs one (the memory of a suspended guest).
type simulated struct {
	specs, states *simlog.Table
	dead          *simlog.Table // graves
	folders       folders

	mu    sync.Mutex // guards known
	known map[string]bool
}

func newSimulated(l *simlog.Log, host string, f folders) *simulated {
	return &simulated{specs: l.Table(host + "/spec"), states: l.Table(host + "/state"), dead: l.Table(host + "/grave"), folders: f, known: map[string]bool{}}
}

func (s *simulated) load() ([]kept, error) {
	states := s.states.Load()
	var out []kept
	for id, raw := range s.specs.Load() {
		k := kept{id: id}
		var spec hostapi.InstanceSpec
		if k.err = json.Unmarshal(raw, &spec); k.err == nil {
			k.spec, k.state.Epoch = &spec, spec.Epoch
		}
		var st instanceState
		if raw, ok := states[id]; ok && json.Unmarshal(raw, &st) == nil {
			st.newer(k.state.Epoch)
			k.state = st
		}
		s.knows(id, true)
		out = append(out, k)
	}
	return out, nil
}

func (s *simulated) knows(id string, yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if yes {
		s.known[id] = true
	} else {
		delete(s.known, id)
	}
}

func (s *simulated) claim(id string) error {
	s.knows(id, true)
	return nil
}

func (s *simulated) ids() ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.known)), nil
}

func (s *simulated) spec(id string, spec *hostapi.InstanceSpec) error {
	s.knows(id, true)
	return s.specs.Put(id, spec)
}

func (s *simulated) state(id string, st instanceState) error {
	s.mu.Lock()
	known := s.known[id]
	s.mu.Unlock()
	if !known {
		return nil
	}
	return s.states.Put(id, st)
}

func (s *simulated) remove(id string) error {
	err := errors.Join(s.folders.remove(id), s.states.Delete(id), s.specs.Delete(id))
	if err == nil {
		s.knows(id, false)
	}
	return err
}

// writeJSON replaces a file, whole or not at all; sync makes it survive a power cut as well.
func writeJSON(path string, v any, sync bool) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return hypervisor.ReplaceRecord(path, b, sync)
}

// syncDir makes the names in a directory survive a power cut.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}
