package hostapi

import "time"

// InstanceSpec is everything a host needs to make one server; it is stored as instances/<uuid>/spec.json and is enough to
// start the guest again with no controller in reach.
type InstanceSpec struct {
	ServerID     string         `json:"server_id"`
	ProjectID    string         `json:"project_id"`
	UserID       string         `json:"user_id"`
	Name         string         `json:"name"`
	Hostname     string         `json:"hostname"`
	Epoch        int64          `json:"epoch"`
	VCPUs        int            `json:"vcpus"`
	RAMMiB       int            `json:"ram_mib"`
	RootGiB      int            `json:"root_gib"` // 0: as large as the image (or, for boot from volume, no local root)
	EphemeralGiB int            `json:"ephemeral_gib"`
	SwapMiB      int            `json:"swap_mib"`
	Image        *ImageSpec     `json:"image,omitempty"` // nil for boot from volume
	Volumes      []VolumeSpec   `json:"volumes,omitempty"`
	NICs         []NICSpec      `json:"nics,omitempty"`
	ConfigDrive  bool           `json:"config_drive"`
	Metadata     GuestMetadata  `json:"metadata"`
	ForcedHost   bool           `json:"forced_host,omitempty"` // no other host may be tried when this one fails
	Machine      MachineOptions `json:"machine"`
	Layout       Layout         `json:"layout,omitzero"`
	Limits       Limits         `json:"limits,omitzero"`
	Rescue       *RescueSpec    `json:"rescue,omitempty"` // while the server is rescued
}

// MachineOptions are the hardware choices that image properties and extra specs of flavors may make. Empty fields mean the driver's default.
type MachineOptions struct {
	Type         string `json:"type,omitempty"`          // hw_machine_type: pc (default) or one of its versions
	CDROMBus     string `json:"cdrom_bus,omitempty"`     // hw_cdrom_bus: ide (default), sata, scsi
	DiskBus      string `json:"disk_bus,omitempty"`      // hw_disk_bus: virtio (default), scsi, ide, sata
	VIFModel     string `json:"vif_model,omitempty"`     // hw_vif_model: virtio (default), e1000, e1000e, rtl8139
	Firmware     string `json:"firmware,omitempty"`      // hw_firmware_type: bios (default), uefi
	CmdlineExtra string `json:"cmdline_extra,omitempty"` // os_command_line, only with a kernel
	GuestAgent   bool   `json:"guest_agent,omitempty"`   // hw_qemu_guest_agent: a channel to the QEMU guest agent
	ShutdownTime int    `json:"shutdown_time,omitempty"` // os_shutdown_timeout: seconds that the guest has to end by itself; 0: what the command says

	Watchdog       string `json:"watchdog,omitempty"`        // what happens when the guest leaves its watchdog unfed: none, pause, poweroff, reset; "": it has none
	Video          string `json:"video,omitempty"`           // hw_video_model: vga (default), cirrus, bochs, virtio, none
	VideoMiB       int    `json:"video_mib,omitempty"`       // memory of the screen; 0: the driver's choice
	PMU            string `json:"pmu,omitempty"`             // on or off: the processors' performance counters; "": the accelerator's choice
	HPET           string `json:"hpet,omitempty"`            // on or off; "": the machine's choice
	BootMenu       bool   `json:"boot_menu,omitempty"`       // the firmware asks what to boot
	HideHypervisor bool   `json:"hide_hypervisor,omitempty"` // the processor does not say which hypervisor it runs under
	PackedRing     bool   `json:"packed_ring,omitempty"`     // virtio interfaces offer packed rings
	NoRNG          bool   `json:"no_rng,omitempty"`          // no source of random numbers
	RNGBytes       int    `json:"rng_bytes,omitempty"`       // random bytes per RNGPeriod; 0: no limit
	RNGPeriod      int    `json:"rng_period,omitempty"`      // milliseconds; 0: a second
	Tablet         bool   `json:"tablet,omitempty"`          // a USB tablet in addition to the PS/2 mouse
	LocalTime      bool   `json:"local_time,omitempty"`      // the clock shows local time, as Windows expects
}

// Limits is what a guest may use of its host at most. The zero value limits nothing.
type Limits struct {
	Disk DiskLimits `json:"disk,omitzero"` // of each of its disks
	CPU  CPULimits  `json:"cpu,omitzero"`
	In   Bandwidth  `json:"in,omitzero"`  // of each of its interfaces: towards the guest
	Out  Bandwidth  `json:"out,omitzero"` // from the guest
}

// DiskLimits bound one disk; 0: no limit. A total excludes the two that it is the sum of.
type DiskLimits struct {
	ReadBytes  int64 `json:"read_bytes,omitempty"` // a second
	WriteBytes int64 `json:"write_bytes,omitempty"`
	TotalBytes int64 `json:"total_bytes,omitempty"`
	ReadOps    int64 `json:"read_ops,omitempty"`
	WriteOps   int64 `json:"write_ops,omitempty"`
	TotalOps   int64 `json:"total_ops,omitempty"`
}

// CPULimits bound the processors' time.
type CPULimits struct {
	Shares int64 `json:"shares,omitempty"` // weight beside others when processors are short, 2 to 262144; 1024 is the weight of one busy thread. 0: not weighed
	Quota  int64 `json:"quota,omitempty"`  // microseconds that each virtual processor may run in a period; 0: no bound
	Period int64 `json:"period,omitempty"` // microseconds, 1000 to 1000000; 0: the host's choice, 100000
}

// Bandwidth bounds one direction of an interface.
type Bandwidth struct {
	Average int64 `json:"average,omitempty"` // KiB a second; 0: no bound
	Peak    int64 `json:"peak,omitempty"`    // KiB a second that Burst cannot go beyond either; 0: as fast as can be
	Burst   int64 `json:"burst,omitempty"`   // KiB that may come at once beyond what Average brings in a second
}

// ImageSpec names the image bytes a root disk is made from.
type ImageSpec struct {
	ID           string     `json:"id"`
	DiskFormat   string     `json:"disk_format"` // raw or qcow2 (also ami with Kernel/Ramdisk: raw bytes)
	SizeBytes    int64      `json:"size_bytes"`
	VirtualBytes int64      `json:"virtual_bytes"` // 0 if unknown
	SHA512       string     `json:"sha512"`        // hex; checked once when the image enters the host's cache
	Kernel       *ImageSpec `json:"kernel,omitempty"`
	Ramdisk      *ImageSpec `json:"ramdisk,omitempty"`
}

// VolumeSpec is one attached volume as the host must connect it.
type VolumeSpec struct {
	VolumeID     string `json:"volume_id"`
	AttachmentID string `json:"attachment_id"`
	Path         string `json:"path"`   // file backend: absolute path on this host
	Format       string `json:"format"` // raw or qcow2
	SizeGiB      int    `json:"size_gib"`
	BootIndex    int    `json:"boot_index"` // 0 = root disk, -1 = not bootable
	Device       string `json:"device"`     // /dev/vdb: a name for display; the guest sees Serial
	ReadOnly     bool   `json:"read_only"`
	DiskBus      string `json:"disk_bus,omitempty"`
}

// NICSpec is one network interface of a guest. Address state (fixed IPs, security) lives in the PortSpec of the same id.
type NICSpec struct {
	PortID  string      `json:"port_id"`
	Port    PortSpec    `json:"port"`    // as known when the command was written; a newer NetworkDocument updates it
	Network NetworkSpec `json:"network"` // likewise
	Tag     string      `json:"tag,omitempty"`
	// Groups are the rules of the port's security groups, without members: enough to start the guest safely before the next document.
	Groups []SecurityGroupSpec `json:"groups,omitempty"`
}

// GuestMetadata is what config drive and 169.254.169.254 show to the guest beyond the network.
type GuestMetadata struct {
	AvailabilityZone string            `json:"availability_zone"`
	UserData         []byte            `json:"user_data,omitempty"`   // decoded bytes
	PublicKeys       map[string]string `json:"public_keys,omitempty"` // keypair name → OpenSSH public key
	Meta             map[string]string `json:"meta,omitempty"`
	AdminPass        string            `json:"admin_pass,omitempty"`
	Personality      []File            `json:"personality,omitempty"`
	LaunchIndex      int               `json:"launch_index"`
	ReservationID    string            `json:"reservation_id"`
	InstanceType     string            `json:"instance_type"` // flavor name
	ImageID          string            `json:"image_id"`
	LaunchedAt       time.Time         `json:"launched_at"`
	SecurityGroups   []string          `json:"security_groups,omitempty"`
}

// File is one injected file (personality); only the config drive and metadata carry it.
type File struct {
	Path     string `json:"path"`
	Contents []byte `json:"contents"`
}

// PowerState is Nova's numbering (0 NOSTATE, 1 RUNNING, 3 PAUSED, 4 SHUTDOWN, 6 CRASHED, 7 SUSPENDED).
type PowerState int

// The power states, with Nova's numbers.
const (
	PowerNone      PowerState = 0
	PowerRunning   PowerState = 1
	PowerPaused    PowerState = 3
	PowerShutdown  PowerState = 4
	PowerCrashed   PowerState = 6
	PowerSuspended PowerState = 7
)
