package compute

import (
	"context"
	"log/slog"
	"time"

	"github.com/jonboulle/clockwork"

	"nephos/internal/db"
	"nephos/internal/hostapi"
	"nephos/internal/image"
	"nephos/internal/network"
	"nephos/internal/policy"
	"nephos/internal/quota"
	"nephos/internal/volume"
	"nephos/internal/workflow"
)

// Networks is what compute needs of the network room.
type Networks interface {
	Resolve(ctx context.Context, creds *policy.Credentials, reqs []network.Request, mode network.Mode) (network.Plan, error)
	ResolveSecurityGroups(ctx context.Context, projectID string, namesOrIDs []string) ([]network.SecurityGroupRef, error)
	AllocatePorts(ctx context.Context, tx *db.Tx, a network.Allocation) ([]hostapi.NICSpec, error)
	AttachPort(ctx context.Context, tx *db.Tx, a network.Allocation) (hostapi.NICSpec, error)
	DetachPort(ctx context.Context, tx *db.Tx, serverID, portID string) error
	NICSpecs(ctx context.Context, tx *db.Tx, serverID string) ([]hostapi.NICSpec, error)
	Rebind(ctx context.Context, tx *db.Tx, serverID, host string) error
	ReleaseServer(ctx context.Context, tx *db.Tx, serverID string) error
	PortsActive(ctx context.Context, tx *db.Tx, serverID string) error
}

// Images is what compute needs of the image room.
type Images interface {
	Get(ctx context.Context, creds *policy.Credentials, id string) (image.Image, error)
	Spec(ctx context.Context, id string) (hostapi.ImageSpec, error)
	ImageMaker
}

// Volumes is what compute needs of the volume room. A volume's bytes lie on one host (file backend).
type Volumes interface {
	Get(ctx context.Context, tx *db.Tx, id string) (volume.Volume, error)
	Snapshot(ctx context.Context, tx *db.Tx, id string) (volume.Snapshot, error)
	// CreateForServer writes the record of a volume that a server's build will make on host (Provision).
	CreateForServer(ctx context.Context, tx *db.Tx, n volume.NewForServer) (volume.Volume, error)
	// Provision makes the bytes of such a volume on host and marks it; idempotent.
	Provision(ctx context.Context, volumeID, host string) error
	// Unprovision takes the bytes away again and forgets the host, so that another host can be tried; idempotent.
	Unprovision(ctx context.Context, volumeID string) error
	// Reserve moves an available volume to "reserved" for a server and gives the attachment's id; fault.KindConflict if it is not free.
	Reserve(ctx context.Context, tx *db.Tx, a volume.Reservation) (attachmentID string, err error)
	// Attached moves it to in-use.
	Attached(ctx context.Context, tx *db.Tx, volumeID, attachmentID, host, device string) error
	// BeginDetach moves in-use to detaching, RollDetach back.
	BeginDetach(ctx context.Context, tx *db.Tx, volumeID string) error
	RollDetach(ctx context.Context, tx *db.Tx, volumeID string) error
	// Detach removes the attachment whatever its state; the volume becomes available. No error when it is gone.
	Detach(ctx context.Context, tx *db.Tx, volumeID, attachmentID string) error
	// BeginDelete starts the deletion of a volume that is no longer attached; no error when it is gone.
	BeginDelete(ctx context.Context, tx *db.Tx, volumeID string) error
	// CreateSnapshotIn begins a snapshot with a workflow of its own; DeleteSnapshotIn its deletion, no error when it is gone.
	CreateSnapshotIn(ctx context.Context, tx *db.Tx, by volume.By, p volume.SnapshotParams) (*volume.Snapshot, error)
	DeleteSnapshotIn(ctx context.Context, tx *db.Tx, by volume.By, id string) error
	// Reimage gives a volume that no guest holds the bytes of an image; idempotent.
	Reimage(ctx context.Context, volumeID string, image hostapi.ImageSpec, key string) error
	// Spec is what a host needs to connect the volume.
	Spec(ctx context.Context, tx *db.Tx, volumeID string) (spec hostapi.VolumeSpec, host string, err error)
}

// Conductor begins the declared workflows; package compute/conductor implements it. All run inside the caller's transaction.
type Conductor interface {
	Actor
	// BeginBuild starts the build of a server whose rows, ports and devices are written in tx.
	BeginBuild(ctx context.Context, tx *db.Tx, s *Server, b Build) error
	BeginDelete(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject) error
	BeginPower(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, a ActionRule) error
	BeginAttachVolume(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, b BlockDevice) error
	BeginDetachVolume(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, b BlockDevice) error
	BeginAttachInterface(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, nic hostapi.NICSpec) (workflowID string, err error)
	BeginDetachInterface(ctx context.Context, tx *db.Tx, s *Server, by workflow.Subject, portID string) error
	Mover
	// BeginCache has a host fetch images into its cache.
	BeginCache(ctx context.Context, tx *db.Tx, by workflow.Subject, host string, images []hostapi.ImageSpec) error
	// Cancel ends what is under way on the server, and names its workflow; "" for nothing.
	Cancel(ctx context.Context, tx *db.Tx, serverID string) (kind string, err error)
}

// Build is what the creating transaction knows of a new server beyond its row.
type Build struct {
	RequestID string
	Placed    *Placed           // nil: no host has been claimed yet
	NICs      []hostapi.NICSpec // the ports just made
	Devices   []BlockDevice
}

// Placed is a scheduling decision that was claimed.
type Placed struct {
	Host              string
	Explain           string // the scheduler's words for the journal
	Started, Finished db.Time
}

// HostClient talks to agents.
type HostClient interface {
	Do(ctx context.Context, host string, cmd hostapi.Command) (hostapi.Result, error)
	Console(ctx context.Context, host string, r hostapi.ConsoleRequest) ([]byte, error)
	Look(ctx context.Context, host string, r hostapi.LookRequest) (hostapi.LookReply, error)
}

// Quotas is what compute needs of the quota room.
type Quotas interface {
	Reserve(ctx context.Context, tx *db.Tx, projectID string, delta map[string]int64) error
	// ReserveFor holds the amounts against the user's own limits too.
	ReserveFor(ctx context.Context, tx *db.Tx, projectID string, user quota.User, delta map[string]int64) error
	Release(ctx context.Context, tx *db.Tx, projectID string, delta map[string]int64) error
	// Fits says how many of want equal units fit, at least atLeast, else the quota fault of Reserve.
	Fits(ctx context.Context, tx *db.Tx, projectID string, user quota.User, unit map[string]int64, atLeast, want int) (int, error)
	Limit(ctx context.Context, tx *db.Tx, projectID, resource string) (int64, error)
	UserLimits(ctx context.Context, tx *db.Tx, projectID, userID string, resources []string) (map[string]int64, error)
}

// Deps are the parts a Service is made of.
type Deps struct {
	DB        *db.DB
	Clock     clockwork.Clock
	Log       *slog.Logger
	Hosts     *Hosts
	Conductor Conductor
	Client    HostClient
	Networks  Networks
	Images    Images
	Volumes   Volumes
	Quotas    Quotas
	Engine    *workflow.Engine

	// ReclaimAfter is how long a deleted server can be restored (Nova's reclaim_instance_interval); 0: a delete is final.
	ReclaimAfter time.Duration
	// ShelvedOffload is when a shelved server leaves its host (Nova's shelved_offload_time): negative never, else at once.
	ShelvedOffload time.Duration
}

// Service is the verbs. It has no goroutines of its own; RunReclaim is one for app to run.
type Service struct {
	Deps
	flavors flavorCache
}

// New makes the Service.
func New(d Deps) *Service {
	s := &Service{Deps: d}
	if d.DB.Shared() {
		s.flavors.ttl = flavorsStale
	}
	return s
}
