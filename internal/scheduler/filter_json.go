package scheduler

import (
	"encoding/json"
	"fmt"
	"strings"
)

// jsonFilter evaluates the hint query: a JSON list whose first member is an operator (=, <, >, in, <=, >=, not, or, and), the rest numbers, texts, lists, and
// variables "$name" of the host (Nova's JsonFilter).
var jsonFilter = filter{name: "JsonFilter", prepare: func(a *ask) *check {
	if a.Query == "" {
		return nil
	}
	var query any
	if err := json.Unmarshal([]byte(a.Query), &query); err != nil {
		return &check{same: true, pass: func(*Host) bool { return false }, why: because(fmt.Sprintf("the hint query is not JSON: %v", err))}
	}
	return &check{same: true, why: because("does not match the hint query " + a.Query), pass: func(h *Host) bool { return truth(evaluate(query, h)) }}
}}

// variable is what "$name" stands for; nil if it is not known, which compares with nothing.
func variable(name string, h *Host) any {
	switch name {
	case "free_ram_mb":
		return float64(h.free().RAMMiB)
	case "free_disk_mb":
		return float64(h.free().DiskGiB) * 1024
	case "vcpus_total":
		return float64(h.Physical.VCPUs)
	case "vcpus_used":
		return float64(h.Used.VCPUs)
	case "total_usable_ram_mb":
		return float64(h.Capacity.RAMMiB)
	case "num_instances":
		return float64(h.Instances)
	case "num_io_ops":
		return float64(h.IOOps)
	case "host", "hypervisor_hostname":
		return h.Name
	case "hypervisor_type":
		return h.Hypervisor
	}
	if v, ok := h.Capabilities[name]; ok {
		return v
	}
	return nil
}

func truth(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case nil:
		return false
	case float64:
		return v != 0
	case string:
		return v != ""
	case []any:
		for _, x := range v {
			if truth(x) {
				return true
			}
		}
		return false
	}
	return false
}

func evaluate(q any, h *Host) any {
	switch q := q.(type) {
	case string:
		if name, ok := strings.CutPrefix(q, "$"); ok {
			return variable(name, h)
		}
	case []any:
		if len(q) == 0 {
			return true
		}
		op, ok := q[0].(string)
		if !ok {
			return false
		}
		args := make([]any, 0, len(q)-1)
		for _, x := range q[1:] {
			args = append(args, evaluate(x, h))
		}
		return apply(op, args)
	}
	return q
}

func apply(op string, args []any) any {
	compare := func(holds func(order int) bool) bool {
		for i := 1; i < len(args); i++ {
			order, ok := compareValues(args[0], args[i])
			if !ok || !holds(order) {
				return false
			}
		}
		return len(args) > 1
	}
	switch op {
	case "=":
		return compare(func(o int) bool { return o == 0 })
	case "<":
		return compare(func(o int) bool { return o < 0 })
	case ">":
		return compare(func(o int) bool { return o > 0 })
	case "<=":
		return compare(func(o int) bool { return o <= 0 })
	case ">=":
		return compare(func(o int) bool { return o >= 0 })
	case "in":
		for i := 1; i < len(args); i++ {
			if order, ok := compareValues(args[0], args[i]); ok && order == 0 {
				return true
			}
		}
		return false
	case "not":
		return len(args) > 0 && !truth(args[0])
	case "or":
		return truth(args)
	case "and":
		for _, x := range args {
			if !truth(x) {
				return false
			}
		}
		return true
	}
	return false
}

// compareValues orders two numbers or two texts; false when they are not of one kind.
func compareValues(a, b any) (int, bool) {
	switch x := a.(type) {
	case float64:
		if y, ok := b.(float64); ok {
			switch {
			case x < y:
				return -1, true
			case x > y:
				return 1, true
			}
			return 0, true
		}
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), true
		}
	}
	return 0, false
}
