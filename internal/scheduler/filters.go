package scheduler

import (
	"fmt"
	"slices"
)

// filter is one condition on a host.
type filter struct {
	name string
	// needed says whether the request can be refused by it at all; nil: always.
	needed func(r *Request, c *Config) bool
	// pass is the condition.
	pass func(h *Host, r *Request, c *Config) bool
	// why says for one host that did not pass what was missing.
	why func(h *Host, r *Request) string
	// always says that even a forced host must pass.
	always bool
}

var filters = []filter{
	{name: "ComputeFilter", always: true,
		pass: func(h *Host, _ *Request, _ *Config) bool { return h.Enabled && h.Up },
		why: func(h *Host, _ *Request) string {
			if h.Why != "" {
				return h.Why
			}
			if !h.Enabled {
				return "disabled"
			}
			return "down"
		}},
	{name: "RetryFilter", always: true,
		needed: func(r *Request, _ *Config) bool { return len(r.Exclude) > 0 },
		pass:   func(h *Host, r *Request, _ *Config) bool { return !slices.Contains(r.Exclude, h.Name) },
		why:    func(*Host, *Request) string { return "tried already" }},
	{name: "VolumeHostFilter", always: true,
		needed: func(r *Request, _ *Config) bool { return r.Tied != "" },
		pass:   func(h *Host, r *Request, _ *Config) bool { return h.Name == r.Tied },
		why:    func(_ *Host, r *Request) string { return "a volume of the server is on " + r.Tied }},
	{name: "AvailabilityZoneFilter",
		needed: func(r *Request, _ *Config) bool { return r.Zone != "" },
		pass:   func(h *Host, r *Request, _ *Config) bool { return h.Zone == r.Zone },
		why:    func(h *Host, r *Request) string { return fmt.Sprintf("in zone %s, not %s", h.Zone, r.Zone) }},
	{name: "RamFilter", always: true,
		pass: func(h *Host, r *Request, _ *Config) bool {
			return h.Used.RAMMiB+r.RAMMiB <= h.Capacity.RAMMiB && r.RAMMiB <= h.Physical.RAMMiB
		},
		why: func(h *Host, r *Request) string {
			return fmt.Sprintf("needs %d MiB of RAM, %d MiB are free", r.RAMMiB, max(0, h.free().RAMMiB))
		}},
	{name: "CoreFilter", always: true,
		pass: func(h *Host, r *Request, _ *Config) bool {
			return h.Used.VCPUs+r.VCPUs <= h.Capacity.VCPUs && r.VCPUs <= h.Physical.VCPUs
		},
		why: func(h *Host, r *Request) string {
			return fmt.Sprintf("needs %d vCPUs, %d are free and the host has %d", r.VCPUs, max(0, h.free().VCPUs), h.Physical.VCPUs)
		}},
	{name: "DiskFilter", always: true,
		pass: func(h *Host, r *Request, _ *Config) bool { return h.Used.DiskGiB+r.DiskGiB <= h.Capacity.DiskGiB },
		why: func(h *Host, r *Request) string {
			return fmt.Sprintf("needs %d GiB of disk, %d GiB are free", r.DiskGiB, max(0, h.free().DiskGiB))
		}},
	imagePropertiesFilter,
	computeCapabilitiesFilter,
	aggregateExtraSpecsFilter,
	aggregateImageFilter,
	aggregateTenancyFilter,
	antiAffinityFilter,
	affinityFilter,
	sameHostFilter,
	differentHostFilter,
	nearFilter,
	{name: "IoOpsFilter",
		pass: func(h *Host, _ *Request, c *Config) bool { return h.IOOps < orDefault(c.MaxIOOps, 8) },
		why:  func(h *Host, _ *Request) string { return fmt.Sprintf("%d builds are under way there", h.IOOps) }},
	{name: "NumInstancesFilter",
		pass: func(h *Host, _ *Request, c *Config) bool { return h.Instances < orDefault(c.MaxInstances, 50) },
		why:  func(h *Host, _ *Request) string { return fmt.Sprintf("%d servers are there", h.Instances) }},
}

// DefaultFilters are those that are on when configuration says nothing.
var DefaultFilters = []string{"ComputeFilter", "RetryFilter", "VolumeHostFilter", "AvailabilityZoneFilter", "RamFilter", "CoreFilter", "DiskFilter", "ImagePropertiesFilter",
	"ComputeCapabilitiesFilter", "AggregateInstanceExtraSpecsFilter", "AggregateImagePropertiesIsolation", "AggregateMultiTenancyIsolation",
	"ServerGroupAntiAffinityFilter", "ServerGroupAffinityFilter", "SameHostFilter", "DifferentHostFilter", "SimpleCIDRAffinityFilter"}

// needful are the filters without which a decision would be wrong; configuration cannot leave them out.
var needful = []string{"ComputeFilter", "RetryFilter", "VolumeHostFilter", "RamFilter", "CoreFilter", "DiskFilter"}

func orDefault(v, def int) int {
	if v == 0 {
		return def
	}
	return v
}

// Check says what is wrong with a configuration, naming the setting.
func (c *Config) Check() error {
	for _, name := range c.Filters {
		if !slices.ContainsFunc(filters, func(f filter) bool { return f.name == name }) {
			return fmt.Errorf("scheduler.filters: unknown filter %q", name)
		}
	}
	for name := range c.Multipliers {
		if _, ok := DefaultMultipliers[name]; !ok {
			return fmt.Errorf("scheduler.multipliers: unknown weigher %q", name)
		}
	}
	return nil
}

// active picks the filters that this request has to pass, in the configured order.
func active(r *Request, c *Config) []*filter {
	names := c.Filters
	if names == nil {
		names = DefaultFilters
	} else {
		names = append(slices.Clone(needful), names...)
	}
	out := make([]*filter, 0, 8)
	for _, name := range names {
		i := slices.IndexFunc(filters, func(f filter) bool { return f.name == name })
		if i < 0 || slices.Contains(out, &filters[i]) {
			continue
		}
		f := &filters[i]
		if (f.needed == nil || f.needed(r, c)) && (r.Forced == "" || f.always) {
			out = append(out, f)
		}
	}
	return out
}
