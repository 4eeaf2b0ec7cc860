package scheduler

import (
	"slices"
	"strings"
)

// isolatedHostsFilter keeps the hosts that configuration sets apart for the images that it names (Nova's IsolatedHostsFilter).
var isolatedHostsFilter = filter{name: "IsolatedHostsFilter", prepare: func(a *ask) *check {
	isolated := slices.Contains(a.IsolatedImages, a.ImageID) && a.ImageID != ""
	hosts := a.IsolatedHosts
	switch {
	case len(hosts) == 0 && len(a.IsolatedImages) == 0:
		return nil
	case isolated:
		return &check{same: true, only: true, names: func() []string { return hosts }, why: because("the image is for isolated hosts")}
	case !a.RestrictIsolated:
		return nil
	}
	return &check{same: true, names: func() []string { return hosts }, why: because("the host is kept for isolated images")}
}}

// isolatedAggregatesFilter keeps the hosts of aggregates with metadata trait:NAME=required for servers that require these traits (Nova's isolated aggregates, a
// filter of its placement query).
var isolatedAggregatesFilter = filter{name: "IsolatedAggregatesFilter", kind: true, prepare: func(a *ask) *check {
	if !a.metadata {
		return nil
	}
	required := func(name string) bool {
		return a.ExtraSpecs[name] == "required" || a.ImageProps[name] == "required"
	}
	missing := func(h *Host) string {
		for _, g := range h.Aggregates {
			for k, v := range g.Metadata {
				if strings.HasPrefix(k, "trait:") && v == "required" && !required(k) {
					return strings.TrimPrefix(k, "trait:")
				}
			}
		}
		return ""
	}
	return &check{pass: func(h *Host) bool { return missing(h) == "" }, why: func(h *Host) string {
		return "an aggregate of the host is kept for servers that require " + missing(h)
	}}
}}

// aggregateTypeFilter keeps hosts of aggregates with metadata instance_type for the flavors named there (Nova's AggregateTypeAffinityFilter).
var aggregateTypeFilter = filter{name: "AggregateTypeAffinityFilter", kind: true, prepare: func(a *ask) *check {
	if !a.metadata {
		return nil
	}
	flavor := a.FlavorName
	return &check{same: true, why: because("an aggregate of the host is kept for other flavors"), pass: func(h *Host) bool {
		named := false
		for _, g := range h.Aggregates {
			if list, ok := g.Metadata["instance_type"]; ok {
				if listed(list, func(name string) bool { return name == flavor }) {
					return true
				}
				named = true
			}
		}
		return !named
	}}
}}

// allHostsFilter keeps every host: a name for configurations that want to say so.
var allHostsFilter = filter{name: "AllHostsFilter", prepare: func(*ask) *check { return nil }}
