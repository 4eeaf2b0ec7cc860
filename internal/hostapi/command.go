package hostapi

import (
	"strconv"
	"strings"
	"time"
)

// Op is an operation on a server or a volume that a host carries out.
type Op string

// The operations. Each is idempotent per (subject, epoch, command id).
const (
	OpBuild           Op = "build"   // Spec: make and start
	OpDestroy         Op = "destroy" // remove guest, disks, ports; succeeds if nothing is there
	OpStart           Op = "start"   // Spec: power on from the local disks
	OpStop            Op = "stop"    // ACPI, then power off after Grace
	OpRebootSoft      Op = "reboot-soft"
	OpRebootHard      Op = "reboot-hard" // Spec
	OpPause           Op = "pause"
	OpUnpause         Op = "unpause"
	OpSuspend         Op = "suspend" // memory to disk, process ends
	OpResume          Op = "resume"
	OpAttachVolume    Op = "attach-volume" // Volume; hot when running, else in the spec
	OpDetachVolume    Op = "detach-volume"
	OpAttachInterface Op = "attach-interface" // NIC
	OpDetachInterface Op = "detach-interface"
	OpUpdateMetadata  Op = "update-metadata" // Spec.Metadata changed; no guest is touched

	OpVolumeCreate   Op = "volume-create" // VolumeTask
	OpVolumeDelete   Op = "volume-delete"
	OpVolumeExtend   Op = "volume-extend"
	OpSnapshotCreate Op = "snapshot-create"
	OpSnapshotDelete Op = "snapshot-delete"
	OpImageCache     Op = "image-cache"    // Task.Image: is in the host's cache, whole; the subject is the image
	OpVolumeReimage  Op = "volume-reimage" // Image: new bytes in place of the old; no guest holds it
)

// Command asks a host for one operation on one subject.
type Command struct {
	ID       string        `json:"id"`             // unique per workflow step and try; a repeat with the same id is answered with the recorded result
	Subject  string        `json:"subject"`        // server or volume id
	Epoch    int64         `json:"epoch"`          // fences: older than the newest seen for the subject is refused
	Turn     int           `json:"turn,omitempty"` // fences within an epoch: a workflow that undoes raises it, so that what it asked before and is late is refused
	Op       Op            `json:"op"`
	Spec     *InstanceSpec `json:"spec,omitempty"`
	Volume   *VolumeSpec   `json:"volume,omitempty"`
	NIC      *NICSpec      `json:"nic,omitempty"`
	Task     *VolumeTask   `json:"task,omitempty"`
	Rebuild  *RebuildTask  `json:"rebuild,omitempty"`
	Snapshot *SnapshotTask `json:"snapshot,omitempty"`
	Move     *MoveTask     `json:"move,omitempty"`
	Swap     *VolumeSpec   `json:"swap,omitempty"`
	Password string        `json:"password,omitempty"`
	Grace    time.Duration `json:"grace,omitempty"` // OpStop, OpRebootSoft: time the guest has to end by itself
	Deadline time.Time     `json:"deadline"`        // the agent gives up after this
	Trace    string        `json:"trace,omitempty"` // request id that caused it
}

// VolumeTask is what a storage operation needs.
type VolumeTask struct {
	VolumeID     string     `json:"volume_id"`
	SnapshotID   string     `json:"snapshot_id,omitempty"`
	SizeGiB      int        `json:"size_gib"`
	Image        *ImageSpec `json:"image,omitempty"`       // create from image
	FromVolume   string     `json:"from_volume,omitempty"` // clone: source volume on the same host
	FromSnapshot string     `json:"from_snapshot,omitempty"`
	InUseBy      string     `json:"in_use_by,omitempty"` // server id whose running guest holds the volume (extend tells QEMU)
}

// Result is a host's answer to a Command. Err empty means done.
type Result struct {
	CommandID string      `json:"command_id"`
	Host      string      `json:"host"`
	Err       string      `json:"err,omitempty"`      // reason in words for the user
	ErrStep   string      `json:"err_step,omitempty"` // host step that failed: image, disk, configdrive, network, hypervisor …
	ErrKind   ErrKind     `json:"err_kind,omitempty"`
	Power     PowerState  `json:"power"`
	Steps     []StepTime  `json:"steps,omitempty"`  // what was done, for trace and instance actions
	Volume    *VolumeSpec `json:"volume,omitempty"` // storage operations: path and format on the host; attach: device name
	Console   string      `json:"console,omitempty"`
}

// ErrKind tells the controller what to do about a failure.
type ErrKind string

// The kinds of host failure.
const (
	ErrHost       ErrKind = "host"        // this host cannot: another may (next host)
	ErrPermanent  ErrKind = "permanent"   // the request cannot work anywhere: bad image …
	ErrStaleEpoch ErrKind = "stale-epoch" // fenced
	ErrAbsent     ErrKind = "absent"      // the subject is not on this host
	ErrState      ErrKind = "state"       // guest is in a state that forbids it
)

// StepTime is one finished (or failed) host step with its times.
type StepTime struct {
	Name     string    `json:"name"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Err      string    `json:"err,omitempty"`
	Detail   string    `json:"detail,omitempty"` // e.g. "cache hit", "tcg", "pid 4711"
}

// Progress is published (not stored) while a command runs, so that task_state can be shown.
type Progress struct {
	Subject string `json:"subject"`
	Epoch   int64  `json:"epoch"`
	Op      Op     `json:"op"`
	Step    string `json:"step"`
}

// HostInfo describes a host when its agent registers.
type HostInfo struct {
	Name          string    `json:"name"`
	Zone          string    `json:"zone,omitempty"`
	Driver        string    `json:"driver"` // qemu or fake
	Accel         string    `json:"accel"`  // kvm, tcg, fake
	DriverVersion string    `json:"driver_version"`
	CPUModel      string    `json:"cpu_model"`
	Arch          string    `json:"arch"` // x86_64, aarch64
	VCPUs         int       `json:"vcpus"`
	RAMMiB        int       `json:"ram_mib"`
	DiskGiB       int       `json:"disk_gib"`
	Address       string    `json:"address"`             // for tunnels and consoles
	Transfer      string    `json:"transfer,omitempty"`  // host:port where other agents fetch a server's disks and send running guests
	TunnelIP      string    `json:"tunnel_ip,omitempty"` // this host's end of the tunnels that join networks; "" while it has none
	Gateway       bool      `json:"gateway"`             // may run routers
	Version       string    `json:"version"`             // nephos version of the agent
	Started       time.Time `json:"started"`

	// What servers may ask for by name, as text with single blanks so that a HostInfo can be compared.
	Traits    string `json:"traits,omitempty"`     // sorted names of os-traits that the driver really has
	NUMACells int    `json:"numa_cells,omitempty"` // NUMA nodes that the driver can give a guest; 0: it lays out none
	PCPUs     int    `json:"pcpus,omitempty"`      // processors that one guest may have for itself
	PageSizes string `json:"page_sizes,omitempty"` // KiB, of the huge pages that guests' memory may be made of: "2048 1048576"
	PCI       string `json:"pci,omitempty"`        // devices to hand to guests, by alias: "gpu=2 nic=4"
}

// The names by which hosts tell that they can do what os-traits have no name for.
const (
	TraitCPULimits = "CUSTOM_NEPHOS_CPU_LIMITS" // hold guests to CPULimits
	TraitPMU       = "CUSTOM_NEPHOS_PMU"        // give guests performance counters
)

// PCIDevices are the counts of PCI, by alias.
func (h HostInfo) PCIDevices() map[string]int {
	out := map[string]int{}
	for _, part := range strings.Fields(h.PCI) {
		if alias, text, ok := strings.Cut(part, "="); ok {
			if n, err := strconv.Atoi(text); err == nil && n > 0 {
				out[alias] += n
			}
		}
	}
	return out
}

// Heartbeat is published every HeartbeatEvery by each agent.
type Heartbeat struct {
	Host            HostInfo         `json:"host"`
	Seq             int64            `json:"seq"`
	Answered        time.Time        `json:"answered,omitzero"` // Time of the last answer that this agent has had: what the heartbeat tells is younger. Zero: it has had none
	FreeDiskGiB     int              `json:"free_disk_gib"`
	NetworkRevision int64            `json:"network_revision"` // last document applied
	Instances       []InstanceStatus `json:"instances"`
}

// InstanceStatus is one guest that the agent holds.
type InstanceStatus struct {
	ServerID string     `json:"server_id"`
	Epoch    int64      `json:"epoch"`
	Power    PowerState `json:"power"`
	Busy     bool       `json:"busy"` // a command is running: do not judge the power state
}

// HeartbeatReply tells the agent what it must let go of: instances the controller knows to be elsewhere or gone, with the epoch
// below which it must destroy them.
type HeartbeatReply struct {
	Time            time.Time        `json:"time"` // by the controller's clock
	Known           bool             `json:"known"`
	Destroy         map[string]int64 `json:"destroy,omitempty"` // server id → epoch: destroy if yours is not newer
	NetworkRevision int64            `json:"network_revision"`  // newest; fetch the document if yours is older
	MembersRevision int64            `json:"members_revision"`  // newest MemberChange told; fetch the document if you have not heard it
}

// HeartbeatEvery is how often an agent reports; a host is down after three are missed.
const HeartbeatEvery = 5 * time.Second

// ConsoleRequest asks a host for the console log of a guest.
type ConsoleRequest struct {
	ServerID string `json:"server_id"`
	Bytes    int    `json:"bytes"` // last so many bytes; ≤0: all that is kept
}

// ConsoleReply is the log, or Err.
type ConsoleReply struct {
	Log []byte `json:"log"`
	Err string `json:"err,omitempty"`
}

// ImageChunkRequest asks a controller for bytes of an image (agents without access to the store).
type ImageChunkRequest struct {
	ImageID string `json:"image_id"`
	Offset  int64  `json:"offset"`
	Length  int    `json:"length"` // at most ImageChunkMax
}

// ImageChunkMax bounds one chunk, in bytes, below the bus's message limit.
const ImageChunkMax = 512 << 10

// Inventory is the whole truth of a host for fsck: what exists, found by looking, not by remembering.
type Inventory struct {
	Host       string             `json:"host"`
	Instances  []string           `json:"instances"` // directories, by server id
	Processes  []InventoryProcess `json:"processes"`
	Ports      []InventoryDevice  `json:"ports"`    // taps
	Networks   []InventoryDevice  `json:"networks"` // bridges
	Routers    []InventoryDevice  `json:"routers"`  // namespaces
	Namespaces []string           `json:"namespaces"`
	Volumes    []string           `json:"volumes"`
	Snapshots  []string           `json:"snapshots"`
	Images     []string           `json:"images"`   // cached
	Problems   []string           `json:"problems"` // what the host itself finds wrong, a sentence each
}

// InventoryProcess is one guest process.
type InventoryProcess struct {
	PID      int    `json:"pid"`
	ServerID string `json:"server_id"`
}

// InventoryDevice is one thing of the data plane: its name on the host and the id of the row that owns it, "" when unknown.
type InventoryDevice struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}
