package api

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// specForm is what one extra spec may hold; the zero form takes any text.
type specForm struct {
	least   *int           // an integer of at least this
	words   []string       // one of these
	pattern *regexp.Regexp // of the whole value
	boolean bool
}

func atLeast(n int) specForm         { return specForm{least: &n} }
func oneOf(words ...string) specForm { return specForm{words: words} }
func shaped(pattern string) specForm {
	return specForm{pattern: regexp.MustCompile(`^(?:` + pattern + `)$`)}
}
func (s specForm) or(m map[string]specForm, keys ...string) map[string]specForm {
	for _, k := range keys {
		m[k] = s
	}
	return m
}

// The extra specs that Nova checks from 2.86 on, whether they have an effect here or not: a flavor that Nova takes must be taken, one that it refuses refused. Of the
// scopes in knownSpecs only these names are right; what has another scope, or none, is free.
var (
	truth, positive, count = specForm{boolean: true}, atLeast(1), atLeast(0)
	shares                 = oneOf("low", "normal", "high", "custom")

	knownSpecs = map[string]map[string]specForm{
		"hw": positive.or(count.or(truth.or(map[string]specForm{
			"cpu_policy": oneOf("dedicated", "shared", "mixed"), "cpu_thread_policy": oneOf("prefer", "isolate", "require"), "emulator_threads_policy": oneOf("isolate", "share"),
			"cpu_dedicated_mask": {}, "cpu_realtime_mask": {}, "mem_page_size": shaped(`large|small|any|\d+([kKMGT]i?)?(b|bit|B)?`), "pmem": {},
			"pci_numa_affinity_policy": oneOf("required", "preferred", "legacy", "socket"), "tpm_model": oneOf("tpm-tis", "tpm-crb"), "tpm_version": oneOf("1.2", "2.0"),
			"watchdog_action": oneOf("none", "pause", "poweroff", "reset", "disabled"), "viommu_model": oneOf("intel", "smmuv3", "virtio", "auto"),
			"maxphysaddr_mode": oneOf("passthrough", "emulate"), "ephemeral_encryption_format": oneOf("luks"),
		}, "cpu_realtime", "boot_menu", "mem_encryption", "pmu", "vif_multiqueue_enabled", "locked_memory", "virtio_packed_ring", "hide_hypervisor_id", "ephemeral_encryption"),
			"serial_port_count", "maxphysaddr_bits"), "numa_nodes", "cpu_sockets", "cpu_cores", "cpu_threads", "cpu_max_sockets", "cpu_max_cores", "cpu_max_threads"),
		"hw_rng":          {"allowed": truth, "rate_bytes": count, "rate_period": count},
		"hw_video":        {"ram_max_mb": count},
		"os":              {"secure_boot": oneOf("disabled", "required", "optional")},
		"accel":           {"device_profile": {}},
		"pci_passthrough": {"alias": shaped(`[^:,]+:\d+(,[^:,]+:\d+)*`)},
		"quota": count.or(map[string]specForm{"cpu_shares_level": shares, "memory_shares_level": shares, "disk_io_shares_level": shares, "vif_shares_level": shares},
			"cpu_shares", "cpu_period", "cpu_quota", "cpu_limit", "cpu_reservation", "cpu_shares_share", "memory_limit", "memory_reservation", "memory_shares_share",
			"disk_io_limit", "disk_io_reservation", "disk_io_shares_share", "disk_read_bytes_sec", "disk_read_iops_sec", "disk_write_bytes_sec", "disk_write_iops_sec",
			"disk_total_bytes_sec", "disk_total_iops_sec", "vif_limit", "vif_reservation", "vif_shares_share", "vif_inbound_average", "vif_inbound_burst", "vif_inbound_peak",
			"vif_outbound_average", "vif_outbound_burst", "vif_outbound_peak"),
	}
	bareSpecs = map[string]specForm{"group_policy": oneOf("isolate", "none"), "hide_hypervisor_id": truth}
	// numbered are specs of one NUMA node of the guest.
	numbered = regexp.MustCompile(`^numa_(cpus|mem)\.\d+$`)
	// granular are resources and traits of the flavor, or of a numbered or named group of it.
	granular = regexp.MustCompile(`^(resources|trait)([0-9]+|_[a-zA-Z0-9_-]{1,64})?$`)
)

// checkSpec is the check of 2.86.
func checkSpec(r *httpapi.Request, key, value string) error {
	if !r.Version.AtLeast(v(86)) {
		return nil
	}
	scope, name, scoped := strings.Cut(key, ":")
	if !scoped {
		return bareSpecs[key].check(key, value)
	}
	if g := granular.FindStringSubmatch(scope); g != nil {
		if g[1] == "trait" {
			return oneOf("required", "forbidden").check(key, value)
		}
		return count.check(key, value)
	}
	known, ok := knownSpecs[scope]
	if !ok {
		return nil
	}
	form, ok := known[name]
	switch {
	case ok:
	case scope == "hw" && numbered.MatchString(name):
		if strings.HasPrefix(name, "numa_mem") {
			form = positive
		}
	default:
		return fault.Invalid(key, "Validation failed; extra spec '%s' does not appear to be a valid extra spec.", key)
	}
	return form.check(key, value)
}

func (s specForm) check(key, value string) error {
	wrong := func(want string) error {
		return fault.Invalid(key, "Validation failed; invalid value '%s' for extra spec '%s': it must be %s.", value, key, want)
	}
	switch {
	case s.least != nil:
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < int64(*s.least) {
			return wrong("an integer of at least " + itoa(*s.least))
		}
	case len(s.words) > 0:
		if !slices.Contains(s.words, value) {
			return wrong("one of " + strings.Join(s.words, ", "))
		}
	case s.boolean:
		if _, ok := parseBool(value); !ok || value == "" {
			return wrong("a boolean")
		}
	case s.pattern != nil:
		if !s.pattern.MatchString(value) {
			return wrong("of the form " + s.pattern.String())
		}
	}
	return nil
}
