package scheduler

import (
	"fmt"
	"strings"
)

// imagePropertiesFilter holds what an image demands of the machine against what the host runs.
var imagePropertiesFilter = filter{name: "ImagePropertiesFilter",
	needed: func(r *Request, _ *Config) bool {
		return r.ImageProps["hw_architecture"] != "" || r.ImageProps["architecture"] != "" || r.ImageProps["img_hv_type"] != "" || r.ImageProps["hypervisor_type"] != ""
	},
	pass: func(h *Host, r *Request, _ *Config) bool { return imageMismatch(h, r) == "" },
	why:  imageMismatch}

func imageMismatch(h *Host, r *Request) string {
	if a := first(r.ImageProps, "hw_architecture", "architecture"); a != "" && !strings.EqualFold(canonicalArch(a), h.Arch) {
		return fmt.Sprintf("the image needs architecture %s, the host has %s", a, h.Arch)
	}
	t := strings.ToLower(first(r.ImageProps, "img_hv_type", "hypervisor_type"))
	if t == "kvm" {
		t = "qemu" // one driver runs both
	}
	if t != "" && h.Hypervisor != "fake" && t != h.Hypervisor {
		return fmt.Sprintf("the image needs hypervisor %s, the host runs %s", t, h.Hypervisor)
	}
	return ""
}

// canonicalArch maps the names that images carry to the host's own.
func canonicalArch(a string) string {
	switch strings.ToLower(a) {
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
