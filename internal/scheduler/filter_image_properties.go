package scheduler

import (
	"fmt"
	"strings"
)

// imagePropertiesFilter holds what an image demands of the machine (architecture, hypervisor, vm mode) against what the host runs.
var imagePropertiesFilter = filter{name: "ImagePropertiesFilter", kind: true, prepare: func(a *ask) *check {
	arch := first(a.ImageProps, "hw_architecture", "architecture")
	kind := first(a.ImageProps, "img_hv_type", "hypervisor_type")
	mode := first(a.ImageProps, "hw_vm_mode", "vm_mode")
	if arch == "" && kind == "" && mode == "" {
		return nil
	}
	canonical, driver := canonicalArch(arch), strings.ToLower(kind)
	if driver == "kvm" {
		driver = "qemu" // one driver runs both
	}
	mismatch := func(h *Host) int {
		switch {
		case arch != "" && canonical != h.Arch:
			return 1
		case driver != "" && driver != h.Hypervisor && h.Hypervisor != "fake": // the simulated hypervisor stands for any
			return 2
		case mode != "" && !strings.EqualFold(mode, "hvm"):
			return 3
		}
		return 0
	}
	return &check{pass: func(h *Host) bool { return mismatch(h) == 0 }, why: func(h *Host) string {
		switch mismatch(h) {
		case 1:
			return fmt.Sprintf("the image needs architecture %s, the host has %s", arch, h.Arch)
		case 2:
			return fmt.Sprintf("the image needs hypervisor %s, the host runs %s", kind, h.Hypervisor)
		}
		return fmt.Sprintf("the image needs vm mode %s, the host runs hvm", mode)
	}}
}}

// canonicalArch maps the names that images carry to the host's own.
func canonicalArch(a string) string {
	switch a = strings.ToLower(a); a {
	case "amd64", "x86-64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	}
	return a
}

func first(m map[string]string, keys ...string) string {
	for _, k := range keys {
		if m[k] != "" {
			return m[k]
		}
	}
	return ""
}
