package api_test

import (
	"testing"
)

// Extra specs are checked from 2.86 on: names in the scopes that Nova knows, and their values.
func TestExtraSpecsAreChecked(t *testing.T) {
	w := lite(t)
	for _, c := range []struct {
		key, value string
		ok         bool
	}{
		{"hw:cpu_policy", "dedicated", true}, {"hw:cpu_policy", "sharrred", false}, {"hw:foo", "bar", false}, {"hw:numa_nodes", "2", true}, {"hw:numa_nodes", "0", false}, {"hw:numa_nodes", "two", false},
		{"hw:numa_cpus.1", "0-3", true}, {"hw:numa_cpus.x", "0-3", false}, {"hw:numa_mem.0", "512", true}, {"hw:numa_mem.0", "much", false}, {"hw:mem_page_size", "large", true}, {"hw:mem_page_size", "2MB", true},
		{"hw:mem_page_size", "huge", false}, {"hw:boot_menu", "yes", true}, {"hw:boot_menu", "maybe", false}, {"hw_rng:allowed", "True", true}, {"hw_rng:rate_bytes", "-1", false}, {"hw_video:ram_max_mb", "64", true},
		{"os:secure_boot", "required", true}, {"os:secure_boot", "yes", false}, {"quota:disk_read_iops_sec", "100", true}, {"quota:cpu_shares_level", "high", true}, {"quota:nothing", "1", false},
		{"pci_passthrough:alias", "gpu:1", true}, {"pci_passthrough:alias", "gpu", false}, {"accel:device_profile", "fpga", true}, {"trait:HW_CPU_X86_AVX2", "required", true}, {"trait1:CUSTOM_X", "forbidden", true},
		{"trait:CUSTOM_X", "wanted", false}, {"resources:VCPU", "4", true}, {"resources_disk:CUSTOM_GOLD", "one", false}, {"group_policy", "isolate", true}, {"group_policy", "whatever", false},
		{"capabilities:cpu_info:arch", "s== x86_64", true}, {"aggregate_instance_extra_specs:ssd", "true", true}, {"mine:anything", "goes", true}, {"free", "too", true},
	} {
		body, want := m{"extra_specs": m{c.key: c.value}}, 400
		if c.ok {
			want = 200
		}
		w.call("admin", "2.86", "POST", "/v2.1/flavors/42/os-extra_specs", body).want(want)
		w.call("admin", "2.85", "POST", "/v2.1/flavors/42/os-extra_specs", body).want(200)
		w.call("admin", "2.86", "PUT", "/v2.1/flavors/42/os-extra_specs/"+c.key, m{c.key: c.value}).want(want)
	}
}
