package scheduler

import "fmt"

// nearFilter keeps hosts whose address is in the network of the hints build_near_host_ip and cidr.
var nearFilter = filter{name: "SimpleCIDRAffinityFilter", prepare: func(a *ask) *check {
	if !a.Near.IsValid() {
		return nil
	}
	near := a.Near
	return &check{pass: func(h *Host) bool { return near.Contains(h.Address) }, why: func(h *Host) string {
		if !h.Address.IsValid() {
			return "its address is not known"
		}
		return fmt.Sprintf("its address %v is outside %v", h.Address, near)
	}}
}}
