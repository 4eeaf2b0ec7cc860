package hypervisor

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// Guest is everything needed to power one server on.
type Guest struct {
	ID      string // server id; also SMBIOS serial and uuid, so it must be a UUID
	Name    string // what people call it; never reaches the guest or a command line
	VCPUs   int
	RAMMiB  int
	Disks   []Disk
	NICs    []NIC
	Kernel  string // direct kernel boot when not empty; absolute paths
	Initrd  string
	Cmdline string
	Layout  hostapi.Layout
	Machine hostapi.MachineOptions // DiskBus, CDROMBus and VIFModel are the default for disks and NICs that name none
	CPU     hostapi.CPULimits
}

// Disk is one disk. The driver opens the files itself, with the agent's rights; the process that runs the guest never sees a path.
type Disk struct {
	ID        string  // unique in the guest: a volume id, or a name such as "root", "config"
	Path      string  // absolute
	Format    string  // raw or qcow2; never guessed
	Backing   []Layer // what a qcow2 stands on, nearest first; must be there when, and only when, the file's header names one
	ReadOnly  bool
	BootIndex int    // 0 boots first, -1 never; equal indexes ≥ 0 are refused
	Bus       string // virtio, scsi, ide, sata; empty: the machine's DiskBus, else virtio (for a CDROM: ide)
	Serial    string // what the guest reads as the serial number, cut to 20 bytes as Nova does; empty: the ID
	CDROM     bool
	Limits    hostapi.DiskLimits
}

// Layer is one read-only file below a qcow2 overlay.
type Layer struct {
	Path   string
	Format string
}

// NIC is one network interface.
type NIC struct {
	PortID string
	MAC    string
	Model  string // virtio, e1000, e1000e, rtl8139; empty: the machine's VIFModel, else virtio
	MTU    int    // told to the guest by virtio-net; 0: not told
	Packed bool   // offers packed rings, where the model is virtio
	// OpenTap gives the open tap (the data plane's OpenTap); the driver closes it. Nil: a NIC whose cable is not plugged in.
	OpenTap func(ctx context.Context) (*os.File, error)
}

// MaxDisks and MaxNICs are what one guest may hold, hot-plugged ones included; PCI slots of the machine set them.
const (
	MaxDisks = 16
	MaxNICs  = 8
)

// SerialBytes is how much of a disk's serial a guest sees (virtio-blk's limit, and what udev's by-id names carry in Nova).
const SerialBytes = 20

var (
	uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$`)
	nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	buses    = []string{"virtio", "scsi", "ide", "sata"}
	models   = []string{"virtio", "e1000", "e1000e", "rtl8139"}
	screens  = []string{"", "vga", "cirrus", "bochs", "virtio", "none"}
	unfed    = []string{"", "none", "pause", "poweroff", "reset"}
	machine  = regexp.MustCompile(`^(pc(-i440fx-[0-9]+\.[0-9]+)?)?$`)
)

// Resolved checks g and returns it with every default filled in. The error is fault.KindInvalid and names the part.
func (g Guest) Resolved() (Guest, error) {
	switch {
	case !uuidForm.MatchString(g.ID):
		return g, fault.Invalid("id", "guest id %q is not a UUID", g.ID)
	case g.VCPUs < 1 || g.VCPUs > 255:
		return g, fault.Invalid("vcpus", "guest %s: %d vCPUs are outside 1 to 255", g.ID, g.VCPUs)
	case g.RAMMiB < 1:
		return g, fault.Invalid("ram", "guest %s: %d MiB of memory", g.ID, g.RAMMiB)
	case g.Machine.Firmware != "" && g.Machine.Firmware != "bios" && g.Machine.Firmware != "uefi":
		return g, fault.Invalid("hw_firmware_type", "guest %s: firmware %q is neither bios nor uefi", g.ID, g.Machine.Firmware)
	case !machine.MatchString(g.Machine.Type):
		return g, fault.Invalid("hw_machine_type", "guest %s: machine type %q is none of pc, pc-i440fx-N.N", g.ID, g.Machine.Type)
	case !slices.Contains(screens, g.Machine.Video):
		return g, fault.Invalid("hw_video_model", "guest %s: screen %q is none of vga, cirrus, bochs, virtio, none", g.ID, g.Machine.Video)
	case !slices.Contains(unfed, g.Machine.Watchdog):
		return g, fault.Invalid("hw_watchdog_action", "guest %s: watchdog action %q is none of none, pause, poweroff, reset", g.ID, g.Machine.Watchdog)
	case g.Kernel == "" && g.Initrd != "":
		return g, fault.Invalid("ramdisk_id", "guest %s: a ramdisk without a kernel", g.ID)
	case len(g.Disks) > MaxDisks:
		return g, fault.Invalid("disks", "guest %s: %d disks, at most %d fit", g.ID, len(g.Disks), MaxDisks)
	case len(g.NICs) > MaxNICs:
		return g, fault.Invalid("nics", "guest %s: %d interfaces, at most %d fit", g.ID, len(g.NICs), MaxNICs)
	}
	if err := g.checkLayout(); err != nil {
		return g, err
	}
	for _, p := range []string{g.Kernel, g.Initrd} {
		if p != "" && !filepath.IsAbs(p) {
			return g, fault.Invalid("kernel_id", "guest %s: %q is not an absolute path", g.ID, p)
		}
	}
	g.Disks, g.NICs = slices.Clone(g.Disks), slices.Clone(g.NICs)
	ids, boots, ports := map[string]bool{}, map[int]bool{}, map[string]bool{}
	for i, d := range g.Disks {
		d, err := d.Resolved(g.Machine)
		if err != nil {
			return g, err
		}
		if ids[d.ID] {
			return g, fault.Invalid("disks", "guest %s: two disks %s", g.ID, d.ID)
		}
		if d.BootIndex >= 0 && boots[d.BootIndex] {
			return g, fault.Invalid("boot_index", "guest %s: boot index %d twice", g.ID, d.BootIndex)
		}
		ids[d.ID], boots[d.BootIndex], g.Disks[i] = true, true, d
	}
	for i, n := range g.NICs {
		n, err := n.Resolved(g.Machine)
		if err != nil {
			return g, err
		}
		if ports[n.PortID] {
			return g, fault.Invalid("nics", "guest %s: port %s twice", g.ID, n.PortID)
		}
		ports[n.PortID], g.NICs[i] = true, n
	}
	return g, nil
}

// Resolved checks d and fills in its defaults for a machine.
func (d Disk) Resolved(m hostapi.MachineOptions) (Disk, error) {
	if d.Bus == "" {
		switch {
		case d.CDROM && m.CDROMBus != "":
			d.Bus = m.CDROMBus
		case m.DiskBus != "":
			d.Bus = m.DiskBus
		case d.CDROM:
			d.Bus = "ide"
		default:
			d.Bus = "virtio"
		}
		if d.CDROM && d.Bus == "virtio" {
			d.Bus = "ide" // virtio has no CD drive
		}
	}
	if d.Serial == "" {
		d.Serial = d.ID
	}
	if len(d.Serial) > SerialBytes {
		d.Serial = d.Serial[:SerialBytes]
	}
	d.ReadOnly = d.ReadOnly || d.CDROM
	switch {
	case !nameForm.MatchString(d.ID):
		return d, fault.Invalid("disk", "disk id %q: letters, digits, - and _ are allowed", d.ID)
	case !nameForm.MatchString(d.Serial):
		return d, fault.Invalid("serial", "disk %s: serial %q: letters, digits, - and _ are allowed", d.ID, d.Serial)
	case !slices.Contains(buses, d.Bus):
		return d, fault.Invalid("hw_disk_bus", "disk %s: bus %q is none of virtio, scsi, ide, sata", d.ID, d.Bus)
	case d.CDROM && d.Bus == "virtio":
		return d, fault.Invalid("hw_disk_bus", "disk %s: virtio has no CD drive", d.ID)
	case d.Format != "raw" && d.Format != "qcow2":
		return d, fault.Invalid("disk_format", "disk %s: format %q is neither raw nor qcow2", d.ID, d.Format)
	case !filepath.IsAbs(d.Path):
		return d, fault.Invalid("disk", "disk %s: %q is not an absolute path", d.ID, d.Path)
	case d.Format == "raw" && len(d.Backing) > 0:
		return d, fault.Invalid("disk_format", "disk %s: a raw disk stands on nothing", d.ID)
	}
	for _, l := range d.Backing {
		if (l.Format != "raw" && l.Format != "qcow2") || !filepath.IsAbs(l.Path) {
			return d, fault.Invalid("disk_format", "disk %s: base %q of format %q", d.ID, l.Path, l.Format)
		}
	}
	return d, nil
}

// Resolved checks n and fills in its defaults for a machine.
func (n NIC) Resolved(m hostapi.MachineOptions) (NIC, error) {
	if n.Model == "" {
		n.Model = m.VIFModel
	}
	if n.Model == "" {
		n.Model = "virtio"
	}
	mac, err := net.ParseMAC(n.MAC)
	switch {
	case !nameForm.MatchString(n.PortID):
		return n, fault.Invalid("port", "port id %q: letters, digits, - and _ are allowed", n.PortID)
	case err != nil || len(mac) != 6:
		return n, fault.Invalid("mac_address", "port %s: %q is not a MAC address", n.PortID, n.MAC)
	case !slices.Contains(models, n.Model):
		return n, fault.Invalid("hw_vif_model", "port %s: model %q is none of virtio, e1000, e1000e, rtl8139", n.PortID, n.Model)
	case n.MTU != 0 && (n.MTU < 68 || n.MTU > 65535):
		return n, fault.Invalid("mtu", "port %s: MTU %d", n.PortID, n.MTU)
	}
	n.MAC = mac.String()
	n.Packed = n.Packed || m.PackedRing
	return n, nil
}

// checkLayout holds the layout against the sizes: every processor on one NUMA node, all memory on them, and the shape's product.
func (g Guest) checkLayout() error {
	l := g.Layout
	if l.Sockets*l.Cores*l.Threads != g.VCPUs && (l.Sockets != 0 || l.Cores != 0 || l.Threads != 0) {
		return fault.Invalid("hw_cpu_sockets", "guest %s: %d sockets of %d cores of %d threads are not %d vCPUs", g.ID, l.Sockets, l.Cores, l.Threads, g.VCPUs)
	}
	if len(l.Nodes) == 0 {
		if !l.Free() {
			return fault.Invalid("hw_numa_nodes", "guest %s: dedicated processors or huge pages without a NUMA node", g.ID)
		}
		return nil
	}
	seen, ram := map[int]bool{}, 0
	for _, n := range l.Nodes {
		for _, cpu := range n.CPUs {
			if cpu < 0 || cpu >= g.VCPUs || seen[cpu] {
				return fault.Invalid("hw_numa_cpus", "guest %s: vCPU %d is on two NUMA nodes or beyond %d", g.ID, cpu, g.VCPUs)
			}
			seen[cpu] = true
		}
		ram += n.RAMMiB
	}
	if len(seen) != g.VCPUs || ram != g.RAMMiB {
		return fault.Invalid("hw_numa_nodes", "guest %s: its NUMA nodes have %d of %d vCPUs and %d of %d MiB", g.ID, len(seen), g.VCPUs, ram, g.RAMMiB)
	}
	return nil
}
