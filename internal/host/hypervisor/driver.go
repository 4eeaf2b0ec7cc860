package hypervisor

import (
	"context"
	"time"

	"nephos/internal/hostapi"
)

// Driver runs guests. All methods may be called from any goroutine; each ends when its context does, and an ended context never
// leaves a guest half changed in a way that a repeat of the verb would not mend.
type Driver interface {
	// Info says what this driver is; it may probe the accelerator on its first call, which takes seconds on a machine never seen before.
	Info(ctx context.Context) (Info, error)

	// Adopt finds the guests that an earlier process left, takes them over and returns them sorted by id, stopped ones included. It
	// also ends what a crash left half started. Call it once, before other verbs.
	Adopt(ctx context.Context) ([]Status, error)

	// Start powers a guest on from g and returns when its processors run. A guest that already runs is left alone, whatever g says.
	// After an error nothing of the guest runs. Any suspended memory of the guest is forgotten: it is a cold start.
	Start(ctx context.Context, g Guest) error

	// Shutdown presses the power button, waits up to grace for the guest to end by itself, then cuts the power. Grace ≤ 0 cuts at once.
	// A paused guest is cut at once: it could not hear the button. Done when nothing runs; a guest that does not run is left alone.
	Shutdown(ctx context.Context, id string, grace time.Duration) error

	// SoftReboot presses the power button and starts the guest again when it has ended by itself, or resets it after grace.
	// fault.KindConflict when it does not run.
	SoftReboot(ctx context.Context, id string, grace time.Duration) error

	// Reset presses the reset button; a paused guest runs afterwards. fault.KindConflict when it does not run.
	Reset(ctx context.Context, id string) error

	// Pause stops the processors, memory stays. Unpause lets them go on. fault.KindConflict when there is no running or paused guest.
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error

	// Suspend writes the guest's memory to the file state (made 0600, whole or not at all) and ends the guest. Suspending a suspended
	// guest does nothing.
	Suspend(ctx context.Context, id, state string) error

	// Resume starts g from a file that Suspend wrote. G must have the disks, interfaces and sizes it had then. The file is removed once
	// the guest runs. A guest that already runs is left alone. After an error the guest is suspended as before.
	Resume(ctx context.Context, g Guest, state string) error

	// Destroy ends the guest at once if it runs and forgets it. No such guest is not an error. Disks and the console log stay.
	Destroy(ctx context.Context, id string) error

	// AttachDisk plugs a disk into a running or paused guest. A disk of that ID already there is left alone.
	AttachDisk(ctx context.Context, id string, d Disk) error

	// DetachDisk asks the guest to let a disk go and waits for it until the context ends: then fault.KindConflict, and the guest still
	// has it. A disk that is not there is not an error. When DetachDisk returns nil the file is closed.
	DetachDisk(ctx context.Context, id, diskID string) error

	// ResizeDisk tells the guest that a disk has grown to bytes; a raw or qcow2 file that is smaller is grown.
	ResizeDisk(ctx context.Context, id, diskID string, bytes int64) error

	// CopyDisk writes a point-in-time copy of a disk of a running or paused guest, raw and whole, into dst, a file that exists and is as
	// large as the disk. It is done when dst is complete. After an error dst holds rubbish. Where the guest's agent answers, the guest's file
	// systems are frozen for the moment of the copy, so that it needs no repair; where none answers the copy is as after a power cut.
	CopyDisk(ctx context.Context, id, diskID, dst string) error

	// SwapDisk moves a running or paused guest from one disk to another, which is at least as large: what is on the old one is copied, what the guest writes
	// meanwhile goes to both, and in one moment the guest has the new one instead, in the same place. After an error the guest has the old one.
	// Swapping again after success does nothing. fault.KindNotFound when the guest has neither.
	SwapDisk(ctx context.Context, id, diskID string, to Disk) error

	// NMI raises a non-maskable interrupt on every processor of a running or paused guest. What the guest does with it is its own affair.
	NMI(ctx context.Context, id string) error

	// Diagnose reads the numbers of a running or paused guest. Interface counters are not the driver's. fault.KindConflict when it does not run.
	Diagnose(ctx context.Context, id string) (hostapi.Diagnostics, error)

	// AgentAnswers is nil when the guest's agent (Guest.Machine.GuestAgent) answers within a few seconds; fault.KindConflict when the guest was started without
	// a channel to one, or none answers.
	AgentAnswers(ctx context.Context, id string) error

	// SetPassword sets a user's password through the guest's agent. fault.KindConflict when no agent answers or it refuses.
	SetPassword(ctx context.Context, id, user, password string) error

	// AttachNIC and DetachNIC are to interfaces what AttachDisk and DetachDisk are to disks.
	AttachNIC(ctx context.Context, id string, n NIC) error
	DetachNIC(ctx context.Context, id, portID string) error

	Mover

	// Status says how a guest is. A guest the driver does not know has PowerNone and no error.
	Status(ctx context.Context, id string) (Status, error)

	// List gives every guest known, sorted by id, found by looking.
	List(ctx context.Context) ([]Status, error)

	// Processes lists every process on this machine that runs a guest of this driver's state, known to it or not, for fsck.
	Processes(ctx context.Context) ([]hostapi.InventoryProcess, error)

	// ConsoleLog gives the last n bytes that the guest wrote to its serial console (n ≤ 0: all that is kept).
	// fault.KindNotFound when there never was such a guest.
	ConsoleLog(ctx context.Context, id string, n int) ([]byte, error)

	// Events carries the ends and pauses of guests that no verb of the driver asked for. The channel is closed by Close. It never blocks the driver:
	// a reader who is slow gets them later.
	Events() <-chan Event

	// Close lets go of every guest without touching it, and stops the driver's goroutines.
	Close() error
}

// Info describes a driver on this machine.
type Info struct {
	Driver  string   // qemu, fake
	Version string   // of the hypervisor: 7.2.22
	Accel   string   // kvm, tcg, fake
	Detail  string   // why this accelerator, for doctor: "tcg 0.08 s, kvm 2.90 s"
	Traits  []string // names of os-traits that are true of guests here, sorted

	NUMACells int   // NUMA nodes that guests' nodes may lie on
	Dedicated int   // processors that guests may have for themselves
	PageSizes []int // KiB, of huge pages that guests' memory may be made of, rising
}

// Status is how one guest is.
type Status struct {
	ID    string
	Power hostapi.PowerState
	PID   int    // 0 when no process runs
	Why   string // what led to it, for people: "shut down from inside", "killed by signal 9"
}

// Running says that a process holds the guest's memory.
func (s Status) Running() bool {
	return s.Power == hostapi.PowerRunning || s.Power == hostapi.PowerPaused
}

// Event is a guest's end that came from the guest or from outside, or its being paused by its watchdog. Reboots from inside are none: the guest runs before and after, and a
// BIOS makes them too.
type Event struct {
	ID    string
	Power hostapi.PowerState // PowerShutdown, PowerCrashed or PowerPaused
	Why   string
	At    time.Time
}

// The files a driver keeps in a guest's directory that others may open.
const (
	ConsoleFile  = "console.log" // what the guest wrote to ttyS0, bounded
	SerialSocket = "serial.sock" // unix stream: ttyS0 both ways, one client at a time
	VNCSocket    = "vnc.sock"    // unix stream: RFB
	AgentSocket  = "agent.sock"  // unix stream: the guest agent's channel; the driver is its only client
)
