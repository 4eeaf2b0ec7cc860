package agent

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"nephos/internal/hostapi"
)

// graveTime is how long a destroyed instance is remembered against late commands. The controller stops repeating a command long before.
const graveTime = time.Hour

// gravesKept is how many graves there may be before the old ones are looked for.
const gravesKept = 1000

// grave is what remains of a destroyed instance, a deleted volume or snapshot, here and after a restart: commands up to its epoch must not bring it back.
type grave struct {
	Epoch int64     `json:"epoch"`
	At    time.Time `json:"at"`
}

// dig keeps the grave before the instance goes: a process that dies in between leaves both, and the instance counts. It can only fail when the disk takes
// nothing more, and then destroying, which frees the disk, must go on all the same.
func (a *Agent) dig(id string, epoch int64) {
	if err := a.records.grave(id, grave{epoch, time.Now()}); err != nil {
		a.cfg.Log.Warn("the end of an instance is not recorded: until the agent ends it is known", "server", id, "err", err)
	}
}

// bury forgets a destroyed instance; its grave has been dug.
func (a *Agent) bury(in *instance, epoch int64) {
	in.mu.Lock()
	in.gone = true
	in.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.instances, in.id)
	a.graves[in.id] = grave{max(epoch, a.graves[in.id].Epoch), time.Now()}
}

// buried says that what the command is about was deleted by a command that is not older.
func (a *Agent) buried(cmd hostapi.Command) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	g, ok := a.graves[cmd.Subject]
	return ok && cmd.Epoch <= g.Epoch
}

// fillIn forgets graves that are old enough, when there are many.
func (a *Agent) fillIn() {
	var old []string
	a.mu.Lock()
	if len(a.graves) > gravesKept {
		for id, g := range a.graves {
			if time.Since(g.At) > graveTime {
				delete(a.graves, id)
				delete(a.volumes, id)
				old = append(old, id)
			}
		}
	}
	a.mu.Unlock()
	for _, id := range old {
		if err := a.records.fill(id); err != nil {
			a.cfg.Log.Warn("an old grave stays", "server", id, "err", err)
		}
	}
}

func (f folders) grave(id string, g grave) error {
	if err := os.MkdirAll(f.cemetery(), 0o700); err != nil {
		return err
	}
	return writeJSON(filepath.Join(f.cemetery(), id), g, false)
}

func (f folders) fill(id string) error {
	if err := os.Remove(filepath.Join(f.cemetery(), id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// graves reads those that still count and removes the others. One that cannot be read (torn by a power cut) is as good as none: its host was off for longer than
// a command travels.
func (f folders) graves() (map[string]grave, error) {
	out := map[string]grave{}
	entries, err := os.ReadDir(f.cemetery())
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	for _, e := range entries {
		var g grave
		if rerr := readJSON(filepath.Join(f.cemetery(), e.Name()), &g); rerr == nil && time.Since(g.At) < graveTime {
			out[e.Name()] = g
		} else {
			err = errors.Join(err, f.fill(e.Name()))
		}
	}
	return out, err
}

// cemetery lies beside instances/, so that nothing there looks like an instance.
func (f folders) cemetery() string { return filepath.Join(filepath.Dir(f.dir), "graves") }

func (s *simulated) grave(id string, g grave) error { return s.dead.Put(id, g) }

func (s *simulated) fill(id string) error { return s.dead.Delete(id) }

func (s *simulated) graves() (map[string]grave, error) {
	out := map[string]grave{}
	var err error
	for id, raw := range s.dead.Load() {
		var g grave
		if json.Unmarshal(raw, &g) == nil && time.Since(g.At) < graveTime {
			out[id] = g
		} else {
			err = errors.Join(err, s.fill(id))
		}
	}
	return out, err
}
