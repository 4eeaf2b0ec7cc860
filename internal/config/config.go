package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"gopkg.in/yaml.v3"

	"nephos/internal/scheduler"
)

// Config is everything that can be set. Zero values of nested fields mean the default named beside them.
type Config struct {
	StateDir      string `yaml:"state_dir"`      // everything that a process keeps, also what must survive it
	SharedDir     string `yaml:"shared_dir"`     // what several controllers share: token keys, image bytes, the made admin password; empty: StateDir
	AdminPassword string `yaml:"admin_password"` // of user admin; empty: made at first start and kept in StateDir
	PortOffset    int    `yaml:"port_offset"`    // added to each standard port
	Listen        string `yaml:"listen"`         // address that all services bind
	Public        string `yaml:"public"`         // host name or address in the catalog; empty: Listen
	Region        string `yaml:"region"`
	Database      string `yaml:"db"`     // postgres://…, or empty: SQLite in StateDir
	Driver        string `yaml:"driver"` // qemu or fake
	FakeHosts     int    `yaml:"fake_hosts"`
	Accel         string `yaml:"accel"`         // auto, kvm or tcg
	Host          string `yaml:"host"`          // name of this compute host; empty: the machine's
	Zone          string `yaml:"zone"`          // availability zone of this host
	Address       string `yaml:"address"`       // where other hosts reach this compute host; empty: its address towards the controller
	TransferPort  int    `yaml:"transfer_port"` // where other hosts fetch disks and send guests; 0: any free one
	GuestImage    string `yaml:"guest_image"`   // qcow2 uploaded at first start if it is there; empty: found beside the binary
	LogLevel      string `yaml:"log_level"`     // debug, info, warn, error

	TLS        TLS    `yaml:"tls"`
	Limits     Limits `yaml:"limits"`
	PolicyFile string `yaml:"policy_file"` // oslo.policy's YAML over every service's rules; empty: policy.yaml in StateDir, if it is there

	Identity  Identity  `yaml:"identity"`
	Scheduler Scheduler `yaml:"scheduler"`
	// Notifications has versioned notifications sent on the bus, subjects notifications.>.
	Notifications bool    `yaml:"notifications"`
	Compute       Compute `yaml:"compute"`
	Network       Network `yaml:"network"`
	Image         Image   `yaml:"image"`

	Join  string `yaml:"join"`  // agent, and controllers that share a bus: nats://host:port of it, tls:// if it has TLS
	Token string `yaml:"token"` // with Join: the bus's secret; StateDir/join-token of the controller that runs it
}

// TLS of every port that this process opens, and of the way to the controller's bus. All are names of PEM files.
type TLS struct {
	Cert string `yaml:"cert"` // with the chain up to the authority; empty: no TLS
	Key  string `yaml:"key"`
	CA   string `yaml:"ca"` // the authority that clients and agents trust; empty: the machine's own list
}

// Limits of the front door. 0 is the default of packages door and httpapi, named beside each.
type Limits struct {
	Connections    int     `yaml:"connections"`        // HTTP connections, all ports: 16384, less where descriptors are few
	BusConnections int     `yaml:"bus_connections"`    // of agents: an eighth of the process's descriptors
	Requests       int     `yaml:"requests"`           // worked on at once: 128, or 16 for each processor
	Queue          int     `yaml:"queue"`              // waiting for that: 4096
	Logins         int     `yaml:"logins"`             // password checks at once: the number of processors
	Streams        int     `yaml:"streams"`            // up- and downloads at once: 256
	MemoryMiB      int     `yaml:"memory_mib"`         // of large bodies and answers: 256
	HeaderSeconds  int     `yaml:"header_seconds"`     // to send a header: 10
	BodySeconds    int     `yaml:"body_seconds"`       // to send a body that is no upload: 30
	IdleSeconds    int     `yaml:"idle_seconds"`       // between two requests of a connection: 120
	ProjectRate    float64 `yaml:"project_rate"`       // requests a second of one project: no limit
	ProjectBurst   int     `yaml:"project_rate_burst"` // at once before that holds: twice the rate
}

// Identity settings.
type Identity struct {
	BcryptCost   int    `yaml:"bcrypt_cost"`   // 0: 10
	TokenMinutes int    `yaml:"token_minutes"` // 0: 60
	SecretFile   string `yaml:"secret_file"`   // of the cloud's secret, the same on each controller; empty: cloud-secret in StateDir, made at first start
	V2           *bool  `yaml:"v2"`            // the v2.0 API; unset: on
	LimitsModel  string `yaml:"limits_model"`  // flat or strict_two_level; empty: flat

	Security SecurityCompliance `yaml:"security_compliance"`
}

// SecurityCompliance are Keystone's settings of that name; 0 and empty switch a rule off.
type SecurityCompliance struct {
	LockoutFailureAttempts   int    `yaml:"lockout_failure_attempts"`
	LockoutDuration          int    `yaml:"lockout_duration"`      // seconds; 0: 1800
	PasswordExpiresDays      int    `yaml:"password_expires_days"` // counts for passwords set from then on
	UniqueLastPasswordCount  int    `yaml:"unique_last_password_count"`
	MinimumPasswordAge       int    `yaml:"minimum_password_age"` // days
	PasswordRegex            string `yaml:"password_regex"`
	PasswordRegexDescription string `yaml:"password_regex_description"`
	DisableUserDaysInactive  int    `yaml:"disable_user_account_days_inactive"`
	ChangePasswordOnFirstUse bool   `yaml:"change_password_upon_first_use"`
}

// Scheduler settings; see package scheduler.
type Scheduler struct {
	Filters      []string           `yaml:"filters"`
	Multipliers  map[string]float64 `yaml:"multipliers"`
	Pack         bool               `yaml:"pack"` // fill hosts one after the other instead of spreading
	MaxIOOps     int                `yaml:"max_io_ops"`
	MaxInstances int                `yaml:"max_instances"`
	// For IsolatedHostsFilter: hosts set apart for images (ids); with restrict, for these alone.
	IsolatedHosts    []string `yaml:"isolated_hosts"`
	IsolatedImages   []string `yaml:"isolated_images"`
	RestrictIsolated bool     `yaml:"restrict_isolated_hosts_to_isolated_images"`
}

// Compute settings of new hosts.
type Compute struct {
	CPURatio        float64 `yaml:"cpu_allocation_ratio"`
	RAMRatio        float64 `yaml:"ram_allocation_ratio"`
	DiskRatio       float64 `yaml:"disk_allocation_ratio"`
	ReservedRAMMiB  int     `yaml:"reserved_host_memory_mib"`
	ReservedDiskGiB int     `yaml:"reserved_host_disk_gib"`

	// Dedicated are the processors of this host that servers with hw:cpu_policy=dedicated get, each for itself: "2-5,8". Other servers never run on them.
	Dedicated string `yaml:"cpu_dedicated_set"`

	ReclaimSeconds        int `yaml:"reclaim_instance_interval"` // a deleted server can be restored for so long; 0: a delete is final
	ShelvedOffloadSeconds int `yaml:"shelved_offload_time"`      // negative: a shelved server stays on its host until shelveOffload; else it leaves at once
	// ResizeElsewhere has a resize always go to another host (Nova's allow_resize_to_same_host is its contrary).
	ResizeElsewhere bool `yaml:"resize_to_other_host_only"`
	// ResizeConfirmSeconds is after how long a resize is confirmed by itself (Nova's resize_confirm_window); 0: never.
	ResizeConfirmSeconds int `yaml:"resize_confirm_window"`
}

// Network settings of the first start and of the data plane.
type Network struct {
	External   string   `yaml:"external_cidr"` // of the first external network; empty: the first free of 172.24.4.0/24, 172.24.5.0/24, …
	Private    string   `yaml:"private_cidr"`  // of the first private network
	DNS        []string `yaml:"dns"`
	Masquerade bool     `yaml:"masquerade"` // guests reach beyond this machine through its uplink
}

// Default is what holds where nothing is said.
func Default() Config {
	return Config{StateDir: "/var/lib/nephos", Listen: "127.0.0.1", Region: "RegionOne", Driver: "qemu", FakeHosts: 1, Accel: "auto", LogLevel: "info",
		Compute: Compute{CPURatio: 32, RAMRatio: 1, DiskRatio: 1, ReservedRAMMiB: 512}, Network: Network{Private: "10.0.0.0/16"}}
}

// Load reads path over the defaults. Unknown keys and wrong types are errors that name line and key.
func Load(path string) (Config, error) {
	c := Default()
	if path == "" {
		return c, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return c, fmt.Errorf("configuration: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return c, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

// Check says what is wrong with the values, naming the setting.
func (c *Config) Check() error {
	switch {
	case c.StateDir == "":
		return errors.New("state_dir must be set")
	case c.PortOffset < 0 || c.PortOffset > 50000:
		return fmt.Errorf("port_offset %d is outside 0 to 50000", c.PortOffset)
	case net.ParseIP(c.Listen) == nil:
		return fmt.Errorf("listen %q is not an IP address", c.Listen)
	case c.Address != "" && net.ParseIP(c.Address) == nil:
		return fmt.Errorf("address %q is not an IP address", c.Address)
	case c.TransferPort < 0 || c.TransferPort > 65535:
		return fmt.Errorf("transfer_port %d is outside 0 to 65535", c.TransferPort)
	case c.Compute.ResizeConfirmSeconds < 0:
		return errors.New("compute.resize_confirm_window must not be below 0")
	case c.Driver != "qemu" && c.Driver != "fake":
		return fmt.Errorf("driver %q is neither qemu nor fake", c.Driver)
	case c.FakeHosts < 1 || c.FakeHosts > 100000:
		return fmt.Errorf("fake_hosts %d is outside 1 to 100000", c.FakeHosts)
	case c.Accel != "auto" && c.Accel != "kvm" && c.Accel != "tcg":
		return fmt.Errorf("accel %q is none of auto, kvm, tcg", c.Accel)
	case c.Compute.CPURatio <= 0 || c.Compute.RAMRatio <= 0 || c.Compute.DiskRatio <= 0:
		return errors.New("compute: allocation ratios must be above 0")
	case (c.TLS.Cert == "") != (c.TLS.Key == ""):
		return errors.New("tls.cert and tls.key belong together: one is set, the other is not")
	case c.Limits.ProjectRate < 0:
		return fmt.Errorf("limits.project_rate %g is below 0", c.Limits.ProjectRate)
	}
	l := c.Limits
	for name, n := range map[string]int{"connections": l.Connections, "bus_connections": l.BusConnections, "requests": l.Requests, "queue": l.Queue, "logins": l.Logins, "streams": l.Streams,
		"memory_mib": l.MemoryMiB, "header_seconds": l.HeaderSeconds, "body_seconds": l.BodySeconds, "idle_seconds": l.IdleSeconds, "project_rate_burst": l.ProjectBurst} {
		if n < 0 {
			return fmt.Errorf("limits.%s %d is below 0", name, n)
		}
	}
	for name, cidr := range map[string]string{"network.external_cidr": c.Network.External, "network.private_cidr": c.Network.Private} {
		if cidr == "" {
			continue
		}
		p, err := netip.ParsePrefix(cidr)
		if err != nil || p != p.Masked() || !p.Addr().Is4() || p.Bits() > 29 {
			return fmt.Errorf("%s %q is not an IPv4 network of at least 8 addresses, such as 172.24.4.0/24", name, cidr)
		}
	}
	if err := c.Image.check(); err != nil {
		return err
	}
	s := c.SchedulerConfig()
	return s.Check()
}

// SchedulerConfig is the scheduler's own form of its settings. Pack turns the spreading weighers around.
func (c *Config) SchedulerConfig() scheduler.Config {
	m := map[string]float64{}
	if c.Scheduler.Pack {
		m["ram"], m["cpu"], m["disk"] = -1, -1, -1
	}
	for k, v := range c.Scheduler.Multipliers {
		m[k] = v
	}
	return scheduler.Config{Filters: c.Scheduler.Filters, Multipliers: m, MaxIOOps: c.Scheduler.MaxIOOps, MaxInstances: c.Scheduler.MaxInstances,
		IsolatedHosts: c.Scheduler.IsolatedHosts, IsolatedImages: c.Scheduler.IsolatedImages, RestrictIsolated: c.Scheduler.RestrictIsolated}
}

// The standard ports, before PortOffset.
const (
	PortIdentity  = 5000
	PortCompute   = 8774
	PortImage     = 9292
	PortNetwork   = 9696
	PortVolume    = 8776
	PortPlacement = 8778
	PortBus       = 4222
	PortConsole   = 6080 // the page of graphical consoles (noVNC's)
	PortSerial    = 6083 // serial consoles
)

// Addr is where a service listens.
func (c *Config) Addr(port int) string {
	return net.JoinHostPort(c.Listen, strconv.Itoa(port+c.PortOffset))
}

// URL is a service's address as clients are told.
func (c *Config) URL(port int, path string) string {
	scheme := "http://"
	if c.TLS.Cert != "" {
		scheme = "https://"
	}
	return scheme + net.JoinHostPort(c.PublicHost(), strconv.Itoa(port+c.PortOffset)) + path
}

// PublicHost is the host name or address that clients are told.
func (c *Config) PublicHost() string {
	if c.Public != "" {
		return c.Public
	}
	return c.Listen
}

// Path is a file below the state directory.
func (c *Config) Path(elem ...string) string {
	return filepath.Join(append([]string{c.StateDir}, elem...)...)
}

// SharedPath is a file below the directory that several controllers share.
func (c *Config) SharedPath(elem ...string) string {
	dir := c.SharedDir
	if dir == "" {
		dir = c.StateDir
	}
	return filepath.Join(append([]string{dir}, elem...)...)
}
