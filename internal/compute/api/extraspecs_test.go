package api_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/hostapi"
	"nephos/internal/image"
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

// What a flavor or an image asks for reaches the host, or is refused with its key when a server is created, resized or rebuilt with it.
func TestExtraSpecsReachTheHostOrAreRefused(t *testing.T) {
	w := lite(t)
	flavors := 0
	flavor := func(specs m) string {
		flavors++
		id := fmt.Sprint("f", flavors)
		w.call("admin", "", "POST", "/v2.1/flavors", m{"flavor": m{"id": id, "name": id, "vcpus": 1, "ram": 64, "disk": 1}}).want(200)
		w.call("admin", "", "POST", "/v2.1/flavors/"+id+"/os-extra_specs", m{"extra_specs": specs}).want(200)
		return id
	}
	good := flavor(m{"hw:watchdog_action": "reset", "quota:disk_read_iops_sec": "100", "quota:vif_inbound_average": "64", "quota:cpu_limit": "1", "os:secure_boot": "optional"})
	id := w.server("a", m{"flavorRef": good})
	spec := w.built(t, id)
	require.Equal(t, "reset", spec.Machine.Watchdog)
	require.Equal(t, hostapi.Limits{Disk: hostapi.DiskLimits{ReadOps: 100}, In: hostapi.Bandwidth{Average: 64}}, spec.Limits)

	for key, value := range map[string]string{"hw:tpm_version": "2.0", "hw:watchdog_action": "bark", "quota:cpu_quota": "lots", "accel:device_profile": "x"} {
		bad := flavor(m{key: value}) // before 2.86 nothing is checked
		r := w.call("a", "", "POST", "/v2.1/servers", boot(m{"flavorRef": bad})).want(400)
		require.Contains(t, r.Body, key)
		r = w.call("a", "", "POST", "/v2.1/servers/"+id+"/action", m{"resize": m{"flavorRef": bad}}).want(400)
		require.Contains(t, r.Body, key)
	}
	other, err := w.images.Ensure(t.Context(), image.CreateParams{ID: "aaaaaaaa-0000-4000-8000-000000000077", Name: "strange", Owner: project0, Visibility: image.Public, DiskFormat: "raw", ContainerFormat: "bare",
		Properties: map[string]string{"hw_machine_type": "q35"}}, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil })
	require.NoError(t, err)
	require.Contains(t, w.call("a", "", "POST", "/v2.1/servers/"+id+"/action", m{"rebuild": m{"imageRef": other.ID}}).want(400).Body, "hw_machine_type=q35")
	require.Contains(t, w.call("a", "", "POST", "/v2.1/servers", boot(m{"imageRef": other.ID})).want(400).Body, "hw_machine_type=q35")

	// No host of this world says that it can hold processors to a limit.
	id = w.call("a", "", "POST", "/v2.1/servers", boot(m{"flavorRef": flavor(m{"quota:cpu_quota": "20000"})})).want(202).text("server", "id")
	require.Contains(t, w.settle(id).text("server", "fault", "message"), hostapi.TraitCPULimits)
}

// built is the spec with which a host was told to build a server.
func (w *world) built(t *testing.T, id string) *hostapi.InstanceSpec {
	t.Helper()
	w.client.mu.Lock()
	defer w.client.mu.Unlock()
	for _, c := range w.client.seen {
		if c.Subject == id && c.Op == hostapi.OpBuild {
			return c.Spec
		}
	}
	t.Fatal("no host was told to build ", id)
	return nil
}
