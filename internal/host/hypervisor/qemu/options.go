package qemu

import (
	"cmp"
	"fmt"

	"nephos/internal/hostapi"
)

// What a guest's machine options add to its command line; with none of them it is as without this file.

// cpuArg is the value of -cpu.
func cpuArg(accel string, m hostapi.MachineOptions) string {
	model := "max"
	if accel == "kvm" {
		model = "host"
	}
	if m.PMU != "" {
		model += ",pmu=" + m.PMU
	}
	switch {
	case !m.HideHypervisor:
	case accel == "kvm":
		model += ",kvm=off"
	default: // what TCG says of itself in the same leaves
		model += ",tcg-cpuid=off"
	}
	return model
}

func clockBase(m hostapi.MachineOptions) string {
	if m.LocalTime {
		return "localtime"
	}
	return "utc"
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// watchdogAction is what QEMU itself does when the watchdog is not fed. A guest that is to be powered off stands still: QEMU would end at once and leave no word why, and
// the driver, also one that starts later, ends it (Driver.follow, Driver.catchUp).
func watchdogAction(m hostapi.MachineOptions) string {
	switch m.Watchdog {
	case "":
		return ""
	case watchdogOff:
		return ",watchdog=pause"
	}
	return ",watchdog=" + m.Watchdog
}

// watchdogOff is the action that powers a guest off.
const watchdogOff = "poweroff"

// screens are the devices of the models.
var screens = map[string]string{"": "VGA", "vga": "VGA", "cirrus": "cirrus-vga", "bochs": "bochs-display", "virtio": "virtio-vga"}

// machineDevices are the devices that do not depend on disks and interfaces.
func machineDevices(m hostapi.MachineOptions) (a []string) {
	if device := screens[m.Video]; device != "" {
		text := device + ",id=video"
		switch {
		case device == "VGA":
			text += fmt.Sprintf(",vgamem_mb=%d", powerOfTwo(cmp.Or(m.VideoMiB, 16)))
		case device == "bochs-display" && m.VideoMiB > 0:
			text += fmt.Sprintf(",vgamem=%dM", powerOfTwo(m.VideoMiB))
		}
		a = append(a, "-device", text+",addr="+hex2(slotVideo))
	}
	if !m.NoRNG {
		text := "virtio-rng-pci,id=rng,rng=random"
		if m.RNGBytes > 0 {
			text += fmt.Sprintf(",max-bytes=%d,period=%d", m.RNGBytes, cmp.Or(m.RNGPeriod, 1000))
		}
		a = append(a, "-object", "rng-builtin,id=random", "-device", text+",addr="+hex2(slotRNG))
	}
	a = append(a, "-device", "pvpanic")
	if m.Tablet {
		a = append(a, "-device", "piix3-usb-uhci,id=usb,addr="+addrUSB, "-device", "usb-tablet,id=tablet,bus=usb.0")
	}
	if m.Watchdog != "" {
		a = append(a, "-device", "i6300esb,id=watchdog,addr="+hex2(slotUnfed))
	}
	return a
}

// powerOfTwo is the least one that is not less than n.
func powerOfTwo(n int) int {
	p := 1
	for p < n {
		p *= 2
	}
	return p
}
