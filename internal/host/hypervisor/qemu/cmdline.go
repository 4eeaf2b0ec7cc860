package qemu

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"nephos/internal/host/hypervisor"
)

// launch is everything a command line says. Numbers of descriptors are those in the new process.
type launch struct {
	guest    hypervisor.Guest // resolved
	name     string           // marker, see processName
	accel    string           // kvm or tcg
	slots    map[string]int
	monitor  int
	serial   int
	agent    int // 0: no channel to a guest agent
	console  int
	disks    [][]int // per disk: the file itself, then its layers
	taps     []int   // per NIC; -1: none
	kernel   string  // as QEMU opens them
	initrd   string
	firmware []int // UEFI code and variables; nil: the BIOS
	incoming bool  // wait for suspended memory
	place    place // where its layout lies on this host
}

// sandbox denies what no guest needs once its files are open.
const sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

// SMBIOS strings that cloud-init's ds-identify and DataSourceOpenStack look for.
const (
	smbiosVendor  = "OpenStack Foundation"
	smbiosProduct = "OpenStack Nova"
)

// consoleSet is the fdset of the console log; disks follow.
const consoleSet = 1

// commandLine is the arguments of one guest, a pure function.
func commandLine(l launch) []string {
	g := l.guest
	a := []string{"-name", "guest=" + l.name, "-nodefaults", "-no-user-config", "-sandbox", sandbox, "-msg", "timestamp=on"}
	machine := cmp.Or(g.Machine.Type, "pc") + ",usb=off"
	if l.firmware != nil {
		machine += ",pflash0=code,pflash1=vars"
	}
	if g.Machine.HPET != "" {
		machine += ",hpet=" + g.Machine.HPET
	}
	a = append(a, "-machine", machine)
	if l.accel == "kvm" {
		a = append(a, "-accel", "kvm")
	} else {
		a = append(a, "-accel", fmt.Sprintf("tcg,thread=multi,tb-size=%d", translationMiB(g.RAMMiB)))
	}
	a = append(a, "-cpu", cpuArg(l.accel, g.Machine))
	smp, memory := layoutArgs(g.Layout, l.place, g.VCPUs)
	a = append(a, memory...)
	a = append(a,
		"-m", fmt.Sprintf("size=%dM", g.RAMMiB),
		"-smp", smp,
		"-uuid", g.ID,
		"-smbios", fmt.Sprintf("type=1,manufacturer=%s,product=%s,version=%s,serial=%s,uuid=%s,family=Virtual Machine", smbiosVendor, smbiosProduct, "1", g.ID, g.ID),
		"-smbios", "type=3,manufacturer="+smbiosVendor+",asset="+smbiosProduct,
		"-rtc", "base="+clockBase(g.Machine)+",driftfix=slew",
		"-boot", "menu="+onOff(g.Machine.BootMenu)+",strict=on",
		"-action", "reboot=reset,shutdown=pause,panic=pause"+watchdogAction(g.Machine),
		"-display", "none", "-vnc", "none",
		"-chardev", fmt.Sprintf("socket,id=monitor,fd=%d,server=on,wait=off", l.monitor),
		"-mon", "chardev=monitor,mode=control",
		"-add-fd", fmt.Sprintf("fd=%d,set=%d,opaque=console", l.console, consoleSet),
		"-chardev", fmt.Sprintf("socket,id=serial,fd=%d,server=on,wait=off,logfile=/dev/fdset/%d,logappend=on", l.serial, consoleSet),
		"-device", "isa-serial,chardev=serial,index=0",
	)
	a = append(a, machineDevices(g.Machine)...)
	if l.agent != 0 {
		a = append(a, "-chardev", fmt.Sprintf("socket,id=agent,fd=%d,server=on,wait=off", l.agent), "-device", "virtio-serial-pci,id=channel,max_ports=2,addr="+hex2(slotChannel),
			"-device", "virtserialport,bus=channel.0,nr=1,chardev=agent,name="+agentPort)
	}
	set := consoleSet
	addFile := func(fd int, opaque string) string {
		set++
		a = append(a, "-add-fd", fmt.Sprintf("fd=%d,set=%d,opaque=%s", fd, set, opaque))
		return "/dev/fdset/" + strconv.Itoa(set)
	}
	for i, fd := range l.firmware {
		name := []string{"code", "vars"}[i]
		a = append(a, "-blockdev", encode(fileNode{Driver: "raw", NodeName: name, ReadOnly: i == 0, File: &fileNode{Driver: "file", Filename: addFile(fd, "firmware:"+name), ReadOnly: i == 0}}))
	}
	if usesBus(g, "scsi") {
		a = append(a, "-device", "virtio-scsi-pci,id=scsi,addr="+hex2(slotSCSI))
	}
	if usesBus(g, "sata") {
		a = append(a, "-device", "ich9-ahci,id=sata,addr="+hex2(slotSATA))
	}
	units := map[string]int{}
	for i, d := range g.Disks {
		var files []string
		for layer, fd := range l.disks[i] {
			files = append(files, addFile(fd, diskOpaque(d.ID, layer)))
		}
		if l.kernel != "" {
			d.BootIndex = -1 // QEMU's loader of the kernel has index 0, and nothing comes after it
		}
		slot := l.slots[diskDevice(d.ID)]
		a = append(a, "-blockdev", encode(diskNode(d, files)), "-device", encode(diskFrontend(d, slot, units[d.Bus])))
		units[d.Bus]++
	}
	for i, n := range g.NICs {
		connected := l.taps[i] >= 0
		if connected {
			a = append(a, "-netdev", fmt.Sprintf("tap,id=%s,fd=%d,vhost=off", netdev(n.PortID), l.taps[i]))
		}
		a = append(a, "-device", encode(nicFrontend(n, l.slots[nicDevice(n.PortID)], connected)))
	}
	if l.kernel != "" {
		a = append(a, "-kernel", l.kernel)
		if l.initrd != "" {
			a = append(a, "-initrd", l.initrd)
		}
		if line := strings.TrimSpace(g.Cmdline + " " + g.Machine.CmdlineExtra); line != "" {
			a = append(a, "-append", line)
		}
	}
	switch {
	case l.incoming:
		a = append(a, "-S", "-incoming", "defer")
	case heldBack(g):
		a = append(a, "-S")
	}
	return a
}

// processName marks a guest's process: the id, and which state directory it belongs to, so that two clouds on one machine, or two tests,
// never take each other's.
func processName(instances, id string) string {
	sum := sha256.Sum256([]byte(instances))
	return id + "." + hex.EncodeToString(sum[:6])
}

// translationMiB bounds TCG's cache of translated code, which QEMU else lets grow to 1 GiB per guest.
func translationMiB(ramMiB int) int { return min(max(ramMiB/4, 64), 512) }

// Host nodes and devices are given as JSON, as QEMU has it since 6.0: no escaping of commas.

// fileNode is a BlockdevOptions of the drivers file, raw and qcow2.
type fileNode struct {
	Driver   string    `json:"driver"`
	NodeName string    `json:"node-name,omitempty"`
	Filename string    `json:"filename,omitempty"`
	ReadOnly bool      `json:"read-only"`
	Discard  string    `json:"discard,omitempty"`
	File     *fileNode `json:"file,omitempty"`
	Backing  any       `json:"backing,omitempty"` // *fileNode, or noBacking
}

// noBacking tells QEMU not to look at the header for a backing file.
var noBacking = json.RawMessage("null")

// frontend is a -device or device_add of any of the drivers used here.
type frontend struct {
	Driver    string  `json:"driver"`
	ID        string  `json:"id"`
	Drive     string  `json:"drive,omitempty"`
	Serial    string  `json:"serial,omitempty"`
	BootIndex *int    `json:"bootindex,omitempty"`
	Bus       string  `json:"bus,omitempty"`
	Addr      string  `json:"addr,omitempty"`
	SCSIID    *int    `json:"scsi-id,omitempty"`
	Unit      *int    `json:"unit,omitempty"`
	Netdev    string  `json:"netdev,omitempty"`
	MAC       string  `json:"mac,omitempty"`
	MTU       int     `json:"host_mtu,omitempty"`
	ROMFile   *string `json:"romfile,omitempty"`
	Packed    bool    `json:"packed,omitempty"`
}

// nodeName fits a disk id of any length into the 31 bytes of a block node's name.
func nodeName(diskID string) string {
	sum := sha256.Sum256([]byte(diskID))
	return "d" + hex.EncodeToString(sum[:12])
}

// diskOpaque labels a descriptor, so that a later agent finds it with query-fdsets.
func diskOpaque(diskID string, layer int) string { return fmt.Sprintf("disk:%s:%d", diskID, layer) }

// diskNode is the block graph of a disk whose file and layers are open as files.
func diskNode(d hypervisor.Disk, files []string) *fileNode {
	var backing any
	if d.Format == "qcow2" {
		backing = noBacking
	}
	for i := len(d.Backing) - 1; i >= 0; i-- {
		l := d.Backing[i]
		n := &fileNode{Driver: l.Format, ReadOnly: true, File: &fileNode{Driver: "file", Filename: files[i+1], ReadOnly: true}, Backing: backing}
		if l.Format == "raw" {
			n.Backing = nil
		}
		backing = n
	}
	return &fileNode{
		Driver: d.Format, NodeName: nodeName(d.ID), ReadOnly: d.ReadOnly, Discard: "unmap", Backing: backing,
		File: &fileNode{Driver: "file", Filename: files[0], ReadOnly: d.ReadOnly, Discard: "unmap"},
	}
}

// diskFrontend is the device of a disk; unit counts the disks before it on the same bus.
func diskFrontend(d hypervisor.Disk, slot, unit int) frontend {
	f := frontend{ID: diskDevice(d.ID), Drive: nodeName(d.ID), Serial: d.Serial}
	if d.BootIndex >= 0 {
		f.BootIndex = &d.BootIndex
	}
	kind := "hd"
	if d.CDROM {
		kind = "cd"
	}
	switch d.Bus {
	case "scsi":
		target := slot - slotDisk
		f.Driver, f.Bus, f.SCSIID = "scsi-"+kind, "scsi.0", &target
	case "ide":
		half := unit % 2
		f.Driver, f.Bus, f.Unit = "ide-"+kind, "ide."+strconv.Itoa(unit/2), &half
	case "sata":
		f.Driver, f.Bus = "ide-"+kind, "sata."+strconv.Itoa(unit)
	default:
		f.Driver, f.Bus, f.Addr = "virtio-blk-pci", "pci.0", hex2(slot)
	}
	return f
}

// nicFrontend is the device of an interface. The option ROM is left out: no guest boots from the network, and reading it costs
// every start a millisecond and the BIOS a memory hole.
func nicFrontend(n hypervisor.NIC, slot int, connected bool) frontend {
	noROM := ""
	f := frontend{Driver: n.Model, ID: nicDevice(n.PortID), MAC: n.MAC, Bus: "pci.0", Addr: hex2(slot), ROMFile: &noROM}
	if n.Model == "virtio" {
		f.Driver, f.MTU, f.Packed = "virtio-net-pci", n.MTU, n.Packed
	}
	if connected {
		f.Netdev = netdev(n.PortID)
	}
	return f
}

func usesBus(g hypervisor.Guest, bus string) bool {
	for _, d := range g.Disks {
		if d.Bus == bus {
			return true
		}
	}
	return g.Machine.DiskBus == bus
}

func hex2(n int) string { return fmt.Sprintf("0x%x", n) }

func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain structs of strings and numbers: cannot be
	}
	return string(b)
}
