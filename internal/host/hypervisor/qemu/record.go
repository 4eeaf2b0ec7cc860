package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// phase is how far a guest is, as far as the driver has written it down.
type phase string

const (
	phaseStarting  phase = "starting"  // a process may exist; nothing may rely on it
	phaseRunning   phase = "running"   // running or paused: the monitor knows which
	phaseShutdown  phase = "shutdown"  // ended on purpose
	phaseCrashed   phase = "crashed"   // ended otherwise
	phaseSuspended phase = "suspended" // State holds its memory
)

func (p phase) power() hostapi.PowerState {
	switch p {
	case phaseRunning, phaseStarting:
		return hostapi.PowerRunning
	case phaseCrashed:
		return hostapi.PowerCrashed
	case phaseSuspended:
		return hostapi.PowerSuspended
	}
	return hostapi.PowerShutdown
}

// record is run.json. It is replaced whole; a crash leaves the old or the new one.
type record struct {
	ID        string         `json:"id"`
	Phase     phase          `json:"phase"`
	Why       string         `json:"why"`
	PID       int            `json:"pid,omitempty"`
	Ticks     uint64         `json:"ticks,omitempty"`     // start time of the pid, clock ticks since boot: a pid used again differs
	Boot      string         `json:"boot,omitempty"`      // boot id of the host
	State     string         `json:"state,omitempty"`     // suspended memory; while running: being resumed from it, to be removed
	Rebooting bool           `json:"rebooting,omitempty"` // when the guest shuts down it is to start again
	Agent     bool           `json:"agent,omitempty"`     // it was started with a channel to a guest agent
	Frozen    bool           `json:"frozen,omitempty"`    // its file systems may be frozen: whoever finds this thaws them
	Sending   string         `json:"sending,omitempty"`   // it is being sent to another host, or has been: "running" or "paused", as it was before
	Place     place          `json:"place,omitzero"`      // where its layout lies, while it runs
	Unfed     bool           `json:"unfed,omitempty"`     // its watchdog powers it off: QEMU then stands in state "watchdog"
	Came      bool           `json:"came,omitempty"`      // from another host; also when it has ended since
	Slots     map[string]int `json:"slots"`               // device id → PCI slot; kept over a suspend, as memory and slots belong together
}

func (r record) clone() record {
	r.Slots = maps.Clone(r.Slots)
	return r
}

const (
	recordFile  = "run.json"
	monitorFile = "qmp.sock"
	stderrFile  = "qemu.log"
	varsFile    = "uefi-vars.fd"
)

func readRecord(dir string) (record, error) {
	var r record
	b, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s: %w", filepath.Join(dir, recordFile), err)
	}
	if r.Slots == nil {
		r.Slots = map[string]int{}
	}
	return r, nil
}

// writeRecord replaces run.json. Durable costs an fsync: only what must survive a power cut needs it, and that is a suspend, because
// everything else that a record tells ends with the machine.
func writeRecord(dir string, r record, durable bool) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return hypervisor.ReplaceRecord(filepath.Join(dir, recordFile), b, durable)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// forget removes what the driver made, the record last: a crash before that leaves a record to forget again.
func forget(dir string) error {
	for _, name := range []string{monitorFile, hypervisor.SerialSocket, hypervisor.VNCSocket, hypervisor.AgentSocket, nbdFile, stderrFile, varsFile, "." + recordFile, "." + recordFile + ".new", recordFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
