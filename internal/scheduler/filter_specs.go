package scheduler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// computeCapabilitiesFilter reads flavor extra specs "capabilities:NAME" against what the host says of itself.
var computeCapabilitiesFilter = filter{name: "ComputeCapabilitiesFilter",
	needed: func(r *Request, _ *Config) bool { return hasPrefix(r.ExtraSpecs, "capabilities:") },
	pass:   func(h *Host, r *Request, _ *Config) bool { return capabilityMismatch(h, r) == "" },
	why:    capabilityMismatch}

func capabilityMismatch(h *Host, r *Request) string {
	for k, want := range r.ExtraSpecs {
		name, ok := strings.CutPrefix(k, "capabilities:")
		if ok && !Matches(h.Capabilities[name], want) {
			return fmt.Sprintf("the flavor needs %s %s, the host has %q", name, want, h.Capabilities[name])
		}
	}
	return ""
}

// aggregateExtraSpecsFilter reads flavor extra specs "aggregate_instance_extra_specs:KEY" against the metadata of the host's aggregates.
var aggregateExtraSpecsFilter = filter{name: "AggregateInstanceExtraSpecsFilter",
	needed: func(r *Request, _ *Config) bool { return hasPrefix(r.ExtraSpecs, "aggregate_instance_extra_specs:") },
	pass:   func(h *Host, r *Request, _ *Config) bool { return aggregateMismatch(h, r) == "" },
	why:    aggregateMismatch}

func aggregateMismatch(h *Host, r *Request) string {
	for k, want := range r.ExtraSpecs {
		key, ok := strings.CutPrefix(k, "aggregate_instance_extra_specs:")
		if !ok {
			continue
		}
		if !slices.ContainsFunc(aggregateValues(h, key), func(v string) bool { return Matches(v, want) }) {
			return fmt.Sprintf("no aggregate of the host has %s %s", key, want)
		}
	}
	return ""
}

// aggregateImageFilter keeps hosts of an aggregate with image properties as metadata for images that have them.
var aggregateImageFilter = filter{name: "AggregateImagePropertiesIsolation",
	needed: func(r *Request, _ *Config) bool { return len(r.ImageProps) > 0 },
	pass: func(h *Host, r *Request, _ *Config) bool {
		for _, a := range h.Aggregates {
			for k, v := range a.Metadata {
				if p, ok := r.ImageProps[k]; ok && !slices.Contains(splitList(v), p) {
					return false
				}
			}
		}
		return true
	},
	why: func(*Host, *Request) string { return "an aggregate of the host is kept for other image properties" }}

// aggregateTenancyFilter keeps hosts of an aggregate with filter_tenant_id* for these projects.
var aggregateTenancyFilter = filter{name: "AggregateMultiTenancyIsolation",
	pass: func(h *Host, r *Request, _ *Config) bool {
		kept := false
		for _, a := range h.Aggregates {
			for k, v := range a.Metadata {
				if strings.HasPrefix(k, "filter_tenant_id") {
					kept = true
					if slices.Contains(splitList(v), r.ProjectID) {
						return true
					}
				}
			}
		}
		return !kept
	},
	why: func(*Host, *Request) string { return "an aggregate of the host is kept for other projects" }}

func aggregateValues(h *Host, key string) []string {
	var out []string
	for _, a := range h.Aggregates {
		if v, ok := a.Metadata[key]; ok {
			out = append(out, splitList(v)...)
		}
	}
	return out
}

func splitList(v string) []string {
	parts := strings.Split(v, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func hasPrefix(m map[string]string, prefix string) bool {
	for k := range m {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}

// Matches evaluates an extra spec's value against have, with Nova's operators: numbers by = (at least), ==, !=, >=, <=; text by s==, s!=, s<, s<=, s>,
// s>=; <in> (contains), <all-in>, <or>; no operator means equal.
func Matches(have, want string) bool {
	op, rest, _ := strings.Cut(want, " ")
	rest = strings.TrimSpace(rest)
	switch op {
	case "=", "==", "!=", ">=", "<=":
		x, err1 := strconv.ParseFloat(have, 64)
		y, err2 := strconv.ParseFloat(rest, 64)
		if err1 != nil || err2 != nil {
			return false
		}
		return map[string]bool{"=": x >= y, "==": x == y, "!=": x != y, ">=": x >= y, "<=": x <= y}[op]
	case "s==", "s!=", "s<", "s<=", "s>", "s>=":
		return map[string]bool{"s==": have == rest, "s!=": have != rest, "s<": have < rest, "s<=": have <= rest, "s>": have > rest, "s>=": have >= rest}[op]
	case "<in>":
		return strings.Contains(have, rest)
	case "<all-in>":
		for w := range strings.FieldsSeq(rest) {
			if !strings.Contains(have, w) {
				return false
			}
		}
		return true
	case "<or>":
		for w := range strings.SplitSeq(rest, "<or>") {
			if have == strings.TrimSpace(w) {
				return true
			}
		}
		return false
	}
	return have == want
}
