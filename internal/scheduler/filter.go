package scheduler

import (
	"fmt"
	"slices"
	"strings"
)

// filter is one condition on hosts.
type filter struct {
	name string
	// always says that even a forced host must pass, and that configuration cannot leave the filter out: without it a decision would be wrong.
	always bool
	// room marks the filters of life and room, which a chunk's columns answer together (chunk.fitting).
	room bool
	// kind marks the filters that ask only what Host.describe says: they are run once for each kind of host.
	kind bool
	// prepare makes the check of one request; nil: the request cannot be refused by this filter.
	prepare func(a *ask) *check
}

// ask is what a filter is prepared from.
type ask struct {
	*Request
	*Config
	metadata bool // some host is in an aggregate with metadata
}

// check is a filter at work for one request. It must give the same answer for the same host, and be quick: it runs for every host.
type check struct {
	filter *filter
	// One of pass, column, names and alive is set. pass is the condition on a host.
	pass func(h *Host) bool
	// column is what a filter of amounts compares with need, and unit is for people.
	column func(c *chunk) *[chunkSize]int
	need   int
	unit   string
	// names are the hosts that pass (only) or do not pass (not only); all others are the contrary.
	names func() []string
	only  bool
	// alive asks whether the host is.
	alive bool
	// why says for a host that did not pass what was missing.
	why func(h *Host) string
	// same says that why does not depend on the host.
	same bool
}

// always the same reason.
func because(why string) func(*Host) string { return func(*Host) string { return why } }

// filters in the order in which a removed host is attributed, unless configuration orders them.
var filters = [...]filter{forcedFilter, computeFilter, retryFilter, sourceFilter, targetFilter, volumeHostFilter, zoneFilter, ramFilter, coreFilter, diskFilter, imagePropertiesFilter, topologyFilter, devicesFilter, placementFilter, traitsFilter,
	capabilitiesFilter, aggregateSpecsFilter, aggregateImageFilter, aggregateTenancyFilter, antiAffinityFilter, affinityFilter, sameHostFilter, differentHostFilter,
	nearFilter, ioOpsFilter, numInstancesFilter, aggregateTypeFilter, aggregateIOOpsFilter, aggregateInstancesFilter, isolatedHostsFilter, isolatedAggregatesFilter, jsonFilter, allHostsFilter}

// optional are the filters that are on only when configuration names them.
var optional = []string{"IoOpsFilter", "NumInstancesFilter", "AggregateTypeAffinityFilter", "AggregateIoOpsFilter", "AggregateNumInstancesFilter", "IsolatedHostsFilter", "IsolatedAggregatesFilter",
	"JsonFilter", "AllHostsFilter"}

func filterNamed(name string) *filter {
	for i := range filters {
		if filters[i].name == name {
			return &filters[i]
		}
	}
	return nil
}

// Check says what is wrong with a configuration, naming the setting.
func (c *Config) Check() error {
	for _, name := range c.Filters {
		if filterNamed(name) == nil {
			return fmt.Errorf("scheduler.filters: unknown filter %q", name)
		}
	}
	for name := range c.Multipliers {
		if _, ok := Multiplier(name); !ok {
			return fmt.Errorf("scheduler.multipliers: unknown weigher %q", name)
		}
	}
	return nil
}

// active lists the filters in force: those that configuration names, in its order, after those that are always on and that it does not name.
func (c *Config) active() []*filter {
	out := make([]*filter, 0, len(filters))
	for i := range filters {
		f := &filters[i]
		if c.Filters == nil && !slices.Contains(optional, f.name) || c.Filters != nil && f.always && !slices.Contains(c.Filters, f.name) {
			out = append(out, f)
		}
	}
	for _, name := range c.Filters {
		if f := filterNamed(name); f != nil && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out
}

// checks prepares the filters in force for a request.
func checks(a *ask) []check {
	out := make([]check, 0, 12)
	for _, f := range a.active() {
		if a.Forced != "" && !f.always {
			continue
		}
		if c := f.prepare(a); c != nil {
			c.filter = f
			out = append(out, *c)
		}
	}
	return out
}

// scoped picks the entries of m whose key has the prefix, without it, in the order of their keys: explanations are the same for the same input.
func scoped(m map[string]string, prefix string) []pair {
	var out []pair
	for k, v := range m {
		if rest, ok := strings.CutPrefix(k, prefix); ok {
			out = append(out, pair{rest, v})
		}
	}
	slices.SortFunc(out, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	return out
}

type pair struct{ key, value string }

// listed goes through the parts of a list with commas until yes says so.
func listed(list string, yes func(string) bool) bool {
	for part := range strings.SplitSeq(list, ",") {
		if yes(strings.TrimSpace(part)) {
			return true
		}
	}
	return false
}
