package qemu

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

var update = flag.Bool("update", false, "rewrite testdata")

const (
	serverID = "8f3c1d3e-5a0f-4a56-9d3b-0123456789ab"
	volumeID = "0c4f7a10-1111-4222-8333-444455556666"
	portID   = "77aa88bb-2222-4333-8444-555566667777"
)

// cases are complete launches; testdata/<name>.txt holds one argument a line.
func cases() map[string]launch {
	root := hypervisor.Disk{ID: "root", Path: "/i/root", Format: "qcow2", Backing: []hypervisor.Layer{{Path: "/c/base", Format: "raw"}}, BootIndex: 0}
	config := hypervisor.Disk{ID: "config", Path: "/i/config", Format: "raw", CDROM: true, BootIndex: -1}
	volume := hypervisor.Disk{ID: volumeID, Path: "/v/1", Format: "raw", BootIndex: -1}
	nic := hypervisor.NIC{PortID: portID, MAC: "FA:16:3E:00:00:01", MTU: 1450}
	scsi, sata := volume, volume
	scsi.ID, scsi.Bus, sata.ID, sata.Bus = "s1", "scsi", "s2", "sata"
	flat := hypervisor.Disk{ID: "root", Path: "/i/root", Format: "qcow2", BootIndex: 0}
	return map[string]launch{
		"cloud": {guest: hypervisor.Guest{VCPUs: 2, RAMMiB: 512, Disks: []hypervisor.Disk{root, config, volume}, NICs: []hypervisor.NIC{nic}}, accel: "tcg",
			disks: [][]int{{6, 7}, {8}, {9}}, taps: []int{10}},
		"kernel": {guest: hypervisor.Guest{VCPUs: 1, RAMMiB: 128, Disks: []hypervisor.Disk{flat}, Cmdline: "console=ttyS0 root=/dev/vda", Machine: hostapi.MachineOptions{CmdlineExtra: "quiet"}}, accel: "kvm",
			disks: [][]int{{6}}, kernel: "/proc/self/fd/7", initrd: "/proc/self/fd/8"},
		"buses": {guest: hypervisor.Guest{VCPUs: 1, RAMMiB: 64, Disks: []hypervisor.Disk{scsi, sata}, NICs: []hypervisor.NIC{{PortID: "p", MAC: "fa:16:3e:00:00:02", Model: "e1000"}}}, accel: "tcg",
			disks: [][]int{{6}, {7}}, taps: []int{-1}},
		"layout": {guest: hypervisor.Guest{VCPUs: 4, RAMMiB: 512, Layout: hostapi.Layout{Sockets: 1, Cores: 2, Threads: 2, Dedicated: true, Nodes: []hostapi.Node{{CPUs: []int{0, 1, 2}, RAMMiB: 384},
			{CPUs: []int{3}, RAMMiB: 128}}}}, accel: "tcg", place: place{Cells: []int{1, 0}, Pins: []int{4, 5, 6, 1}}},
		"huge pages": {guest: hypervisor.Guest{VCPUs: 1, RAMMiB: 128, Layout: hostapi.Layout{Pages: 2048, Nodes: []hostapi.Node{{CPUs: []int{0}, RAMMiB: 128}}}}, accel: "tcg",
			place: place{Cells: []int{0}, Pages: 2048}},
		"options": {guest: hypervisor.Guest{VCPUs: 1, RAMMiB: 64, Disks: []hypervisor.Disk{{ID: "root", Path: "/i/root", Format: "qcow2", BootIndex: 0, Limits: hostapi.DiskLimits{TotalOps: 100}}, config},
			NICs: []hypervisor.NIC{nic}, Machine: hostapi.MachineOptions{Type: "pc-i440fx-7.0", CDROMBus: "sata", Watchdog: "reset", Video: "bochs", VideoMiB: 24, PMU: "off", HPET: "off", BootMenu: true,
				HideHypervisor: true, PackedRing: true, RNGBytes: 1024, Tablet: true, LocalTime: true}}, accel: "tcg", disks: [][]int{{6}, {7}}, taps: []int{8}},
		"options kvm": {guest: hypervisor.Guest{VCPUs: 1, RAMMiB: 64, Machine: hostapi.MachineOptions{Watchdog: "poweroff", Video: "none", PMU: "on", HideHypervisor: true, NoRNG: true}}, accel: "kvm"},
		"uefi resume": {guest: hypervisor.Guest{VCPUs: 1, RAMMiB: 4096, Machine: hostapi.MachineOptions{Firmware: "uefi"}}, accel: "tcg",
			firmware: []int{6, 7}, incoming: true},
	}
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	for name, l := range cases() {
		l.guest.ID = serverID
		g, err := l.guest.Resolved()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		l.guest, l.name, l.slots = g, processName("/i", serverID), map[string]int{}
		l.monitor, l.serial, l.console = 3, 4, 5
		if err := takeSlots(l.slots, g); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(commandLine(l), "\n") + "\n"
		file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Two devices never share a slot, a device keeps its slot until it goes, and a full range is refused rather than overrun.
func TestSlots(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		slots := map[string]int{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			kind, from, n := "disk", slotDisk, hypervisor.MaxDisks
			if rapid.Bool().Draw(t, "nic") {
				kind, from, n = "nic", slotNIC, hypervisor.MaxNICs
			}
			id := fmt.Sprint(kind, rapid.IntRange(0, n+3).Draw(t, "id"))
			had, held := slots[id]
			if rapid.Bool().Draw(t, "free") {
				delete(slots, id)
				continue
			}
			s, err := takeSlot(slots, id, from, n)
			if err != nil {
				count := 0
				for other := range slots {
					if strings.HasPrefix(other, kind) {
						count++
					}
				}
				if count != n {
					t.Fatalf("refused with %d of %d: %v", count, n, err)
				}
				continue
			}
			if held && s != had {
				t.Fatalf("%s moved from %d to %d", id, had, s)
			}
			if s < from || s >= from+n {
				t.Fatalf("%s in slot %d", id, s)
			}
		}
		seen := map[int]string{}
		for id, s := range slots {
			if seen[s] != "" {
				t.Fatalf("%s and %s share slot %d", id, seen[s], s)
			}
			seen[s] = id
		}
	})
	if slotSATA >= slotsOnABus {
		t.Error("the bus is full")
	}
}

func TestNodeNamesFit(t *testing.T) {
	t.Parallel()
	if n := nodeName(volumeID); len(n) > 31 || n == nodeName("root") {
		t.Errorf("%q", n)
	}
}

func TestBootSector(t *testing.T) {
	t.Parallel()
	b := bootSector()
	if len(b) != 512 || b[510] != 0x55 || b[511] != 0xaa || len(probeCode) > probeGDT {
		t.Errorf("%d bytes of code in %d", len(probeCode), len(b))
	}
	// The far jump's target is the first instruction after it, and lgdt's operand is where the descriptor lies.
	jump := strings.Index(string(probeCode), "\xea\x5b\x7c\x08\x00")
	if jump < 0 || jump+5 != 0x5b {
		t.Errorf("the jump at %#x goes to 0x5b", jump)
	}
}
