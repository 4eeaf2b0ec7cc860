package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/blockdev"
	"nephos/internal/host/dataplane"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/peer"
	"nephos/internal/host/simlog"
	"nephos/internal/hostapi"
)

// Bus is what the agent needs of the message bus.
type Bus interface {
	Request(ctx context.Context, subject string, in, out any) error
	Publish(subject string, v any) error
	Handle(subject, queue string, fn func(ctx context.Context, data []byte) (any, error)) error
}

// Disks is how an agent gets the disks of its servers; files.go has the real one, a fake driver needs none.
type Disks interface {
	// Prepare makes (or finds) the disks of an instance in its directory and gives the guest's list, steps reported through done.
	Prepare(ctx context.Context, dir string, spec *hostapi.InstanceSpec, step func(name string, fn func() (string, error)) error) (Prepared, error)
	// ConfigDrive writes the drive anew and gives its path.
	ConfigDrive(ctx context.Context, dir string, spec *hostapi.InstanceSpec) (string, error)
	// Fetch has an image in the cache, whole.
	Fetch(ctx context.Context, image hostapi.ImageSpec) error
	// Rescue makes (or finds) the disk of spec.Rescue and gives it with its kernel. DropRescue removes it; none is no error.
	Rescue(ctx context.Context, dir string, spec *hostapi.InstanceSpec) (Prepared, error)
	DropRescue(dir string) error
	// SetAside moves the local disks away under t.Key, once; PutBack has them again, and finds nothing to do where none were set aside; DropAside removes all
	// that was ever set aside.
	SetAside(dir string, t hostapi.RebuildTask) error
	PutBack(dir, key string) error
	DropAside(dir string) error
	// Snapshot makes a standing-alone copy of the root disk, once, and gives its path. live copies a disk of the running guest into a file that exists with the
	// disk's size; nil when no process holds the disk. DropSnapshot removes the copy.
	Snapshot(ctx context.Context, dir, imageID string, live func(diskID, dst string) error) (string, error)
	DropSnapshot(dir, imageID string) error
	MovingDisks
	// Do carries out a storage operation.
	Do(ctx context.Context, op hostapi.Op, t hostapi.VolumeTask) (hostapi.VolumeSpec, error)
	// List and Images tell what exists, for the inventory.
	List() (blockdev.Listing, error)
	Images() ([]string, error)
	// FreeGiB is the space left for disks.
	FreeGiB() (free, total int, err error)
}

// Prepared is the disks and boot files of a guest.
type Prepared struct {
	Disks           []hypervisor.Disk
	Kernel, Ramdisk string
	Cmdline         string
}

// ImageSink takes an image's bytes from this host into the image room. The file may be shared with it: it is not written to afterwards. Sending an image that is
// whole already is no error.
type ImageSink interface {
	Put(ctx context.Context, t hostapi.SnapshotTask, path string) error
}

// Config makes an Agent.
type Config struct {
	Info     hostapi.HostInfo
	StateDir string // holds instances/ and network.json
	Bus      Bus
	Driver   hypervisor.Driver
	Plane    dataplane.Plane
	Disks    Disks
	Sink     ImageSink     // nil: no images are made of this host's servers
	Peers    *peer.Client  // the way to other hosts; nil: over TCP
	Parallel int           // builds at once; 0: no bound
	Every    time.Duration // between heartbeats; 0: hostapi.HeartbeatEvery
	// Offset gives when, after the first heartbeat at once, the regular ones begin: less than what it is given. nil: by chance, since hosts that start together must
	// not report together.
	Offset func(every time.Duration) time.Duration
	// Simulated is where a simulated host keeps its records, nil on a real one. It survives a restart of the process but no power cut: nothing is synced, and
	// the network document is not kept. It filters no packets, so it keeps no members of groups: a thousand hosts in one process would each have a copy.
	Simulated *simlog.Log
	Log       *slog.Logger
}

// Agent runs one host.
type Agent struct {
	cfg     Config
	records records
	slots   chan struct{} // bounds builds at once; nil: no bound

	mu        sync.Mutex // guards the maps and doc; never held across I/O
	instances map[string]*instance
	volumes   map[string]*sync.Mutex // serialises storage operations per volume
	graves    map[string]grave       // instances that were here, so that a late command cannot bring them back
	doc       hostapi.NetworkDocument

	docFile sync.Mutex // held while network.json is written; taken before mu
	renders struct {
		mu      sync.Mutex // guards the rest
		running bool       // renderRounds is
		next    *round     // whom the callers of now wait for; nil: nobody waits
	}

	applied  atomic.Int64 // revision of the controller's document in force
	members  atomic.Int64 // revision of the newest MemberChange heard
	told     int64        // of the newest that a controller had told by the last heartbeat; the heartbeat loop's
	answered time.Time    // of the last answer to a heartbeat, by the controller; the heartbeat loop's
	seq      atomic.Int64

	leaving   sync.WaitGroup  // letGo under way; Run waits for them
	leavingMu sync.Mutex      // guards leavingID
	leavingID map[string]bool // instances being let go
}

// New makes the agent; Open must come next.
func New(cfg Config) *Agent {
	if cfg.Peers == nil {
		cfg.Peers = peer.NewClient(nil)
	}
	a := &Agent{cfg: cfg, instances: map[string]*instance{}, volumes: map[string]*sync.Mutex{}, graves: map[string]grave{}, leavingID: map[string]bool{}}
	dirs := folders{filepath.Join(cfg.StateDir, "instances")}
	if a.records = dirs; cfg.Simulated != nil {
		a.records = newSimulated(cfg.Simulated, cfg.Info.Name, dirs)
	}
	if cfg.Parallel > 0 {
		a.slots = make(chan struct{}, cfg.Parallel)
	}
	return a
}

// Open takes over what an earlier process left: instances from their directories, guests from the driver, networking from the last document.
func (a *Agent) Open(ctx context.Context) error {
	if a.cfg.Simulated == nil {
		if err := os.MkdirAll(filepath.Join(a.cfg.StateDir, "instances"), 0o711); err != nil {
			return err
		}
	}
	if err := a.loadInstances(); err != nil {
		return err
	}
	graves, err := a.records.graves()
	if err != nil {
		return err
	}
	a.graves = graves
	found, err := a.cfg.Driver.Adopt(ctx)
	if err != nil {
		return fmt.Errorf("adopt guests: %w", err)
	}
	for _, s := range found {
		a.cfg.Log.Info("guest adopted", "server", s.ID, "power", s.Power, "pid", s.PID)
		if a.instances[s.ID] == nil { // its records are lost: heartbeats must tell of it all the same, or nobody ever takes it away
			if err := a.records.claim(s.ID); err != nil {
				return err
			}
			a.instances[s.ID] = a.newInstance(s.ID)
		}
	}
	if err := a.loadDocument(); err != nil {
		return err
	}
	if len(a.instances) > 0 || a.doc.Revision > 0 {
		if err := a.render(ctx); err != nil { // guests run on; the next document tries again
			a.cfg.Log.Warn("networking not whole after start", "err", err)
		}
	}
	return nil
}

func (a *Agent) onConsole(ctx context.Context, data []byte) (any, error) {
	var r hostapi.ConsoleRequest
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	log, err := a.cfg.Driver.ConsoleLog(ctx, r.ServerID, r.Bytes)
	if fault.IsNotFound(err) {
		return hostapi.ConsoleReply{}, nil // it has not been started yet: an empty console
	}
	if err != nil {
		return hostapi.ConsoleReply{Err: err.Error()}, nil
	}
	return hostapi.ConsoleReply{Log: log}, nil
}

// Spec finds the instance behind a server id, for the metadata service.
func (a *Agent) Spec(serverID string) (*hostapi.InstanceSpec, error) {
	a.mu.Lock()
	in := a.instances[serverID]
	a.mu.Unlock()
	if in != nil {
		if spec := in.currentSpec(); spec != nil { // none: being built or destroyed
			return spec, nil
		}
	}
	return nil, fault.NotFound("no server %s on this host", serverID)
}

// InstanceDir is where an instance's files lie.
func (a *Agent) InstanceDir(serverID string) string {
	return filepath.Join(a.cfg.StateDir, "instances", serverID)
}

// FloatingIP is the floating address that leads to an instance by the last document, "" for none.
func (a *Agent) FloatingIP(spec *hostapi.InstanceSpec) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, n := range spec.NICs {
		for _, addr := range n.Port.Addresses {
			for _, r := range a.doc.Routers {
				for _, f := range r.FloatingIPs {
					if f.Fixed == addr.IP {
						return f.Floating
					}
				}
			}
		}
	}
	return ""
}
