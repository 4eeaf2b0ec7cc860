package compute

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

var update = flag.Bool("update", false, "rewrite the table in docs/extra-specs.md")

// said is a flavor of 2 VCPUs, or an image, that says one thing.
func said(key, value string) (Flavor, specs) {
	f := Flavor{VCPUs: 2, RAMMiB: 512}
	if IsProperty(key) {
		return f, specs{key: value}
	}
	f.ExtraSpecs = specs{key: value}
	return f, nil
}

// What Words calls refused is refused with its key in the message, what it says has an effect changes what goes to the host, and what it calls ignored changes nothing.
func TestWordsAreKept(t *testing.T) {
	t.Parallel()
	for key, w := range Words {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, []Bearing{Effect, Chooses, Refused, Ignored}, w.Bearing)
			require.NotEmpty(t, w.Why)
			f, props := said(key, w.Sample)
			err := f.fits(props)
			hw, _ := f.Hardware(props)
			nothing := hw.Machine == (hostapi.MachineOptions{}) && hw.Limits == (hostapi.Limits{}) && hw.Traits == nil
			switch w.Bearing {
			case Refused:
				require.NotEmpty(t, w.Sample)
				require.Equal(t, fault.KindInvalid, fault.KindOf(err), "%v", err)
				require.ErrorContains(t, err, key)
				require.True(t, nothing, "%+v", hw)
				for _, v := range w.harmless {
					f, props := said(key, v)
					require.NoError(t, f.fits(props), "%s=%s", key, v)
				}
			case Effect:
				if !w.elsewhere && w.Sample != "" {
					require.NoError(t, err)
					require.False(t, nothing)
				}
			default:
				require.NoError(t, err)
				require.True(t, nothing, "%+v", hw)
			}
		})
	}
}

// What flavor and image say of devices and limits, and what is refused.
func TestHardware(t *testing.T) {
	t.Parallel()
	type opts = hostapi.MachineOptions
	cpu, kilo := []string{hostapi.TraitCPULimits}, func(n int64) hostapi.Limits { return hostapi.Limits{Disk: hostapi.DiskLimits{TotalBytes: n}} }
	for name, c := range map[string]struct {
		flavor, image specs
		want          Hardware
		err           string
	}{
		"nothing":                  {},
		"what public images carry": {image: specs{"hw_qemu_guest_agent": "yes", "os_distro": "debian", "architecture": "x86_64", "hypervisor_type": "qemu", "hw_vif_multiqueue_enabled": "true", "hw_rng_model": "virtio", "hw_scsi_model": "virtio-scsi", "hw_disk_bus": "scsi"}, want: Hardware{Machine: opts{GuestAgent: true, DiskBus: "scsi"}}},
		"watchdog":                 {flavor: specs{"hw:watchdog_action": "reset"}, want: Hardware{Machine: opts{Watchdog: "reset"}}},
		"the image's watchdog":     {flavor: specs{"hw:watchdog_action": "reset"}, image: specs{"hw_watchdog_action": "pause"}, want: Hardware{Machine: opts{Watchdog: "pause"}}},
		"the image's want of one":  {flavor: specs{"hw:watchdog_action": "reset"}, image: specs{"hw_watchdog_action": "disabled"}},
		"the flavor's boot menu":   {flavor: specs{"hw:boot_menu": "no"}, image: specs{"hw_boot_menu": "yes"}},
		"the image's boot menu":    {image: specs{"hw_boot_menu": "yes"}, want: Hardware{Machine: opts{BootMenu: true}}},
		"counters":                 {flavor: specs{"hw:pmu": "True"}, want: Hardware{Machine: opts{PMU: "on"}, Traits: []string{hostapi.TraitPMU}}},
		"no counters":              {image: specs{"hw_pmu": "off"}, want: Hardware{Machine: opts{PMU: "off"}}},
		"packed":                   {flavor: specs{"hw:virtio_packed_ring": "1"}, want: Hardware{Machine: opts{PackedRing: true}, Traits: []string{"COMPUTE_NET_VIRTIO_PACKED"}}},
		"hidden by the old name":   {flavor: specs{"hide_hypervisor_id": "true"}, want: Hardware{Machine: opts{HideHypervisor: true}}},
		"hidden":                   {image: specs{"img_hide_hypervisor_id": "true"}, want: Hardware{Machine: opts{HideHypervisor: true}}},
		"randomness":               {flavor: specs{"hw_rng:allowed": "True", "hw_rng:rate_bytes": "100", "hw_rng:rate_period": "50"}, want: Hardware{Machine: opts{RNGBytes: 100, RNGPeriod: 50}}},
		"no randomness":            {flavor: specs{"hw_rng:allowed": "False"}, want: Hardware{Machine: opts{NoRNG: true}}},
		"screen":                   {flavor: specs{"hw_video:ram_max_mb": "64"}, image: specs{"hw_video_model": "bochs", "hw_video_ram": "32"}, want: Hardware{Machine: opts{Video: "bochs", VideoMiB: 32}, Traits: []string{"COMPUTE_GRAPHICS_MODEL_BOCHS"}}},
		"windows":                  {image: specs{"os_type": "windows", "hw_input_bus": "usb"}, want: Hardware{Machine: opts{LocalTime: true, Tablet: true}}},
		"disk":                     {flavor: specs{"quota:disk_total_bytes_sec": "1000"}, want: Hardware{Limits: kilo(1000)}},
		"no limit":                 {flavor: specs{"quota:disk_total_bytes_sec": "0", "quota:cpu_shares": "0", "quota:cpu_quota": "0", "quota:cpu_period": "5000"}},
		"processors":               {flavor: specs{"quota:cpu_shares": "512", "quota:cpu_quota": "50000", "quota:cpu_period": "100000"}, want: Hardware{Limits: hostapi.Limits{CPU: hostapi.CPULimits{Shares: 512, Quota: 50000, Period: 100000}}, Traits: cpu}},
		"interfaces":               {flavor: specs{"quota:vif_inbound_average": "100", "quota:vif_inbound_peak": "200", "quota:vif_outbound_average": "50", "quota:vif_outbound_burst": "70"}, want: Hardware{Limits: hostapi.Limits{In: hostapi.Bandwidth{Average: 100, Peak: 200}, Out: hostapi.Bandwidth{Average: 50, Burst: 70}}}},
		"VMware's":                 {flavor: specs{"quota:vif_limit": "10", "quota:cpu_shares_level": "high"}},

		"no action":                    {flavor: specs{"hw:watchdog_action": "bark"}, err: "hw:watchdog_action=bark is none of"},
		"no boolean":                   {flavor: specs{"hw:boot_menu": "maybe"}, err: "hw:boot_menu=maybe is no boolean"},
		"they contradict each other":   {flavor: specs{"hw:pmu": "yes"}, image: specs{"hw_pmu": "no"}, err: "contradict each other"},
		"no number":                    {flavor: specs{"quota:disk_read_iops_sec": "many"}, err: "quota:disk_read_iops_sec=many is not a number"},
		"less than nothing":            {flavor: specs{"quota:vif_inbound_average": "-1"}, err: "quota:vif_inbound_average=-1"},
		"a total and a part":           {flavor: specs{"quota:disk_read_iops_sec": "1", "quota:disk_total_iops_sec": "2"}, err: "quota:disk_total_iops_sec cannot be combined"},
		"a period beyond the kernel's": {flavor: specs{"quota:cpu_quota": "1000", "quota:cpu_period": "2000000"}, err: "quota:cpu_period=2000000 is not a number from 1000 to 1000000"},
		"a burst of nothing":           {flavor: specs{"quota:vif_outbound_burst": "1"}, err: "need quota:vif_outbound_average"},
		"a peak below":                 {flavor: specs{"quota:vif_outbound_average": "10", "quota:vif_outbound_peak": "5"}, err: "less than the average"},
		"no bus":                       {image: specs{"hw_disk_bus": "nvme"}, err: "hw_disk_bus=nvme is none of virtio, scsi, ide, sata"},
		"no machine":                   {image: specs{"hw_machine_type": "q35"}, err: "hw_machine_type=q35"},
		"no screen":                    {image: specs{"hw_video_model": "qxl"}, err: "hw_video_model=qxl is none of"},
		"too much screen":              {image: specs{"hw_video_ram": "16"}, err: "beyond the flavor's hw_video:ram_max_mb=0"},
		"the first by its name":        {flavor: specs{"hw:tpm_model": "tpm-crb", "hw:pmem": "4GB"}, err: "hw:pmem=4GB is asked for, which no host of this cloud can do: there is no persistent memory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Flavor{VCPUs: 2, RAMMiB: 512, ExtraSpecs: c.flavor}.Hardware(c.image)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.Equal(t, fault.KindInvalid, fault.KindOf(err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// The table in docs/extra-specs.md is Words; go test -run TestWordsInTheDocs -update writes it.
func TestWordsInTheDocs(t *testing.T) {
	t.Parallel()
	const file, begin, end = "../../docs/extra-specs.md", "<!-- words: begin (written by internal/compute/words_test.go) -->\n", "<!-- words: end -->\n"
	var table strings.Builder
	for _, part := range []struct {
		title string
		image bool
	}{{"extra spec of a flavor", false}, {"property of an image", true}} {
		fmt.Fprintf(&table, "\n| %s | what becomes of it | |\n|---|---|---|\n", part.title)
		for _, key := range slices.Sorted(maps.Keys(Words)) {
			if w := Words[key]; IsProperty(key) == part.image {
				fmt.Fprintf(&table, "| `%s` | %s | %s |\n", key, w.Bearing, w.Why)
			}
		}
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(text), begin)
	require.True(t, found, "%s has no %s", file, begin)
	old, after, found := strings.Cut(rest, end)
	require.True(t, found, "%s has no %s", file, end)
	want := table.String() + "\n"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+begin+want+end+after), 0o644))
		return
	}
	require.Equal(t, want, old, "go test ./internal/compute -run TestWordsInTheDocs -update")
}
