package qemu

import (
	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
)

// The slots of the one PCI bus of machine "pc". Interfaces begin at 3, so that a guest's first one is ens3, as in most OpenStack
// clouds. Fixed ranges, because a resumed guest must find every device where it was.
const (
	slotVideo   = 0x02
	slotNIC     = 0x03 // MaxNICs of them: up to 0x0a
	slotDisk    = slotNIC + hypervisor.MaxNICs
	slotRNG     = slotDisk + hypervisor.MaxDisks // 0x1b
	slotSCSI    = slotRNG + 1
	slotSATA    = slotSCSI + 1
	slotChannel = slotSATA + 1    // virtio-serial, for the guest agent
	slotUnfed   = slotChannel + 1 // watchdog
	slotsOnABus = 0x20

	addrUSB = "0x1.0x2" // beside the ISA bridge, where a PC has it
)

func diskDevice(id string) string  { return "disk-" + id }
func nicDevice(port string) string { return "nic-" + port }
func netdev(port string) string    { return "net-" + port }

// takeSlot gives the device its slot in the range [from, from+n): the one it has, else the lowest free.
func takeSlot(slots map[string]int, device string, from, n int) (int, error) {
	if s, ok := slots[device]; ok {
		return s, nil
	}
	used := map[int]bool{}
	for _, s := range slots {
		used[s] = true
	}
	for s := from; s < from+n; s++ {
		if !used[s] {
			slots[device] = s
			return s, nil
		}
	}
	return 0, fault.Conflict("no free slot for %s: all %d are taken", device, n)
}

// takeSlots places every device of g into slots.
func takeSlots(slots map[string]int, g hypervisor.Guest) error {
	for _, d := range g.Disks {
		if _, err := takeSlot(slots, diskDevice(d.ID), slotDisk, hypervisor.MaxDisks); err != nil {
			return err
		}
	}
	for _, n := range g.NICs {
		if _, err := takeSlot(slots, nicDevice(n.PortID), slotNIC, hypervisor.MaxNICs); err != nil {
			return err
		}
	}
	return nil
}
