package hostapi

// The operations of a server's moves between hosts and sizes. Each is idempotent per (subject, epoch, command id), and finds and finishes its own half-made work.
const (
	OpMoveOut  Op = "move-out"  // Move: the guest ends, its disks stay and are offered to who has the token; on one host they are set aside
	OpMoveIn   Op = "move-in"   // Spec, Move: disks come from the other host (or what was set aside), grow to the spec's sizes; the guest starts if asked
	OpMoveBack Op = "move-back" // Spec, Move: the undo of move-out: the server is here again as it was
	OpMoveDone Op = "move-done" // Move: what was kept for the way back goes

	OpLiveTarget Op = "live-target" // Spec, Move: disks of the same sizes and a process that waits for the guest
	OpLiveSend   Op = "live-send"   // Move: the running guest goes over to the other host; after success this host has only what is left to remove
	OpLiveFinish Op = "live-finish" // Move: the guest has come: it runs here now; ErrAbsent when it has not
	OpLiveAbort  Op = "live-abort"  // the sending is given up; the guest stays
	OpLiveForce  Op = "live-force"  // the sending comes to its end now, at the price of a longer standstill
)

// MoveTask says what moves from where to where.
type MoveTask struct {
	Key     string `json:"key"`                // of the migration: names what is kept, the same for every repetition and for the undo
	Same    bool   `json:"same,omitempty"`     // source and destination are one host
	PowerOn bool   `json:"power_on,omitempty"` // the guest is started at the end
	Fresh   bool   `json:"fresh,omitempty"`    // no disks come along: they are made anew (evacuation)
	Peer    string `json:"peer,omitempty"`     // the other host's name
	Address string `json:"address,omitempty"`  // where its agent gives and takes: host:port
	Token   string `json:"token,omitempty"`    // lets one agent ask the other for this move alone
	Alone   bool   `json:"alone,omitempty"`    // for OpMoveBack: the other host has given its word that it has nothing of the server. Without it a guest that has left does not go on here
}

// MoveProgress is published (not stored) while a guest goes over to another host; bytes, 0 is unknown.
type MoveProgress struct {
	Subject         string `json:"subject"`
	Epoch           int64  `json:"epoch"`
	MemoryTotal     int64  `json:"memory_total"`
	MemoryProcessed int64  `json:"memory_processed"`
	MemoryRemaining int64  `json:"memory_remaining"`
	DiskTotal       int64  `json:"disk_total"`
	DiskProcessed   int64  `json:"disk_processed"`
	DiskRemaining   int64  `json:"disk_remaining"`
}

// SubjectMoveProgress is where agents publish MoveProgress; every controller listens.
const SubjectMoveProgress = "controller.move.progress"

// AbortedMove are the words of a sending that ended because of OpLiveAbort.
const AbortedMove = "the live migration was aborted"
