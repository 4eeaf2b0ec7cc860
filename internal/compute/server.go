package compute

import (
	"slices"

	"nephos/internal/db"
	"nephos/internal/hostapi"
)

// Flavor is a flavor as it was when the server was made, or the row itself.
type Flavor struct {
	ID           string            `json:"id"`
	Name         string            `json:"name"`
	VCPUs        int               `json:"vcpus"`
	RAMMiB       int               `json:"ram_mib"`
	RootGiB      int               `json:"root_gib"`
	EphemeralGiB int               `json:"ephemeral_gib"`
	SwapMiB      int               `json:"swap_mib"`
	RxTxFactor   float64           `json:"rxtx_factor"`
	ExtraSpecs   map[string]string `json:"extra_specs,omitempty"`
	Public       bool              `json:"public"`
	Disabled     bool              `json:"disabled"`
	Description  *string           `json:"description,omitempty"`
}

// Fault is why a server is in ERROR. Code is the HTTP status that fits: 500 for the cloud's own failings.
type Fault struct {
	Code    int     `json:"code"`
	Message string  `json:"message"`
	Details string  `json:"details"` // the step, and the scheduler's explanation
	Created db.Time `json:"created"`
}

// Hints are the scheduler hints of a request.
type Hints struct {
	Group           string   `json:"group,omitempty"`
	SameHost        []string `json:"same_host,omitempty"`
	DifferentHost   []string `json:"different_host,omitempty"`
	BuildNearHostIP string   `json:"build_near_host_ip,omitempty"`
	CIDR            string   `json:"cidr,omitempty"`
	Query           string   `json:"query,omitempty"` // JSON, of JsonFilter
}

// ImageMeta is what a server keeps of its image: enough to build, start and rebuild it when the image is long gone.
type ImageMeta struct {
	Spec       *hostapi.ImageSpec `json:"spec,omitempty"` // nil for boot from volume
	Properties map[string]string  `json:"properties,omitempty"`
	MinDiskGiB int                `json:"min_disk_gib"`
	MinRAMMiB  int                `json:"min_ram_mib"`
}

// Server is one row.
type Server struct {
	ID             string                     `db:"id"`
	ProjectID      string                     `db:"project_id"`
	UserID         string                     `db:"user_id"`
	Name           string                     `db:"name"`
	Description    *string                    `db:"description"`
	Hostname       string                     `db:"hostname"`
	VMState        VMState                    `db:"vm_state"`
	TaskState      TaskState                  `db:"task_state"`
	PowerState     hostapi.PowerState         `db:"power_state"`
	Host           string                     `db:"host"` // "" while none is chosen, and after a failed build
	Epoch          int64                      `db:"epoch"`
	Generation     int64                      `db:"generation"`
	Flavor         db.JSON[Flavor]            `db:"flavor"`
	FlavorID       string                     `db:"flavor_id"`
	ImageID        string                     `db:"image_id"`
	Image          db.JSON[ImageMeta]         `db:"image"`
	KeyName        string                     `db:"key_name"`
	PublicKey      string                     `db:"public_key"`
	UserData       string                     `db:"user_data"` // base64, as given
	AdminPass      string                     `db:"admin_pass"`
	ConfigDrive    bool                       `db:"config_drive"`
	Metadata       db.JSON[map[string]string] `db:"metadata"`
	Tags           db.JSON[[]string]          `db:"tags"`
	Hints          db.JSON[Hints]             `db:"hints"`
	Personality    db.JSON[[]hostapi.File]    `db:"personality"`
	SecurityGroups db.JSON[[]string]          `db:"security_groups"` // ids, of the ports made for this server
	GroupID        string                     `db:"group_id"`
	Zone           string                     `db:"zone"`        // of the host
	PinnedZone     string                     `db:"pinned_zone"` // as asked for
	ForcedHost     string                     `db:"forced_host"`
	ReservationID  string                     `db:"reservation_id"`
	LaunchIndex    int                        `db:"launch_index"`
	AccessIPv4     string                     `db:"access_ip_v4"`
	AccessIPv6     string                     `db:"access_ip_v6"`
	DiskConfig     string                     `db:"disk_config"`
	RootDevice     string                     `db:"root_device"`
	Locked         bool                       `db:"locked"`
	LockedReason   string                     `db:"locked_reason"`
	LockedBy       string                     `db:"locked_by"` // owner or admin
	Fault          db.JSON[*Fault]            `db:"fault"`
	Making         db.JSON[*Making]           `db:"making"` // the image that is being made of it
	Shelf          db.JSON[*Shelf]            `db:"shelf"`  // while it is shelved
	SoftDeletedAt  db.Time                    `db:"soft_deleted_at"`
	MigrationID    string                     `db:"migration_id"` // the migration under way, a finished one that waits to be confirmed included; "" for none
	Created        db.Time                    `db:"created_at"`
	Updated        db.Time                    `db:"updated_at"`
	Launched       db.Time                    `db:"launched_at"`
	Terminated     db.Time                    `db:"terminated_at"`
	Deleted        bool                       `db:"deleted"`
}

// BlockDevice is one row of a server's block device mapping (states.md §4).
type BlockDevice struct {
	ID                  string  `db:"id"`
	ServerID            string  `db:"server_id"`
	SourceType          string  `db:"source_type"`      // image, volume, snapshot, blank
	DestinationType     string  `db:"destination_type"` // local, volume
	ImageID             string  `db:"image_id"`
	SnapshotID          string  `db:"snapshot_id"`
	VolumeID            string  `db:"volume_id"`
	AttachmentID        string  `db:"attachment_id"`
	SizeGiB             int     `db:"size_gib"`
	BootIndex           int     `db:"boot_index"` // 0 root, -1 not bootable
	Device              string  `db:"device"`     // /dev/vdb
	DiskBus             string  `db:"disk_bus"`
	GuestFormat         string  `db:"guest_format"` // local blank: "swap" or a file system
	VolumeType          string  `db:"volume_type"`
	Tag                 string  `db:"tag"`
	DeleteOnTermination bool    `db:"delete_on_termination"`
	CreatedVolume       bool    `db:"created_volume"` // the volume was made for this server
	Created             db.Time `db:"created_at"`
}

// VolumeBooted says that the root disk is a volume.
func (s *Server) VolumeBooted() bool { return s.ImageID == "" }

// Resources is what the server takes of its host, in placement's classes. disk is root (none when booted from a volume) + ephemeral + swap.
// Extra specs "resources:CLASS" of the flavor say otherwise.
func (s *Server) Resources() (vcpus, ramMiB, diskGiB int) {
	if asks(s.Flavor.V.ExtraSpecs) || s.Image.V.Properties["hw_cpu_policy"] != "" {
		if d, err := s.demands(); err == nil { // else it is refused where it would be claimed
			r := d.share()
			return r.VCPUs, r.RAMMiB, r.DiskGiB
		}
	}
	return s.flavorResources()
}

func (s *Server) flavorResources() (vcpus, ramMiB, diskGiB int) {
	f := s.Flavor.V
	diskGiB = f.EphemeralGiB + (f.SwapMiB+1023)/1024
	if !s.VolumeBooted() {
		diskGiB += f.RootGiB
	}
	return f.VCPUs, f.RAMMiB, diskGiB
}

// ActionRule says from where an action may start (compute.md §7).
type ActionRule struct {
	Name  string      // instance action and workflow kind: "server." + Name
	From  []VMState   // allowed vm_states
	Tasks []TaskState // allowed task states besides None
	Any   bool        // every task state is
	Task  TaskState   // set while it runs
}

// Allows is the check of vm_state and task_state.
func (a ActionRule) Allows(vm VMState, task TaskState) bool {
	return (a.From == nil || slices.Contains(a.From, vm)) && (task == None || a.Any || slices.Contains(a.Tasks, task))
}
