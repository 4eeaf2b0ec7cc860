package scheduler

import (
	"fmt"
	"slices"
)

var antiAffinityFilter = filter{name: "ServerGroupAntiAffinityFilter",
	needed: func(r *Request, _ *Config) bool { return r.Policy == AntiAffinity },
	pass: func(h *Host, r *Request, _ *Config) bool {
		return r.GroupHosts[h.Name] < orDefault(r.MaxPerHost, 1)
	},
	why: func(*Host, *Request) string { return "holds a member of the server group" }}

var affinityFilter = filter{name: "ServerGroupAffinityFilter",
	needed: func(r *Request, _ *Config) bool { return r.Policy == Affinity && len(r.GroupHosts) > 0 },
	pass:   func(h *Host, r *Request, _ *Config) bool { return r.GroupHosts[h.Name] > 0 },
	why:    func(*Host, *Request) string { return "holds no member of the server group" }}

var sameHostFilter = filter{name: "SameHostFilter",
	needed: func(r *Request, _ *Config) bool { return r.Hints.Same },
	pass:   func(h *Host, r *Request, _ *Config) bool { return slices.Contains(r.SameHost, h.Name) },
	why:    func(*Host, *Request) string { return "holds none of the servers of the hint same_host" }}

var differentHostFilter = filter{name: "DifferentHostFilter",
	needed: func(r *Request, _ *Config) bool { return r.Hints.Different },
	pass:   func(h *Host, r *Request, _ *Config) bool { return !slices.Contains(r.DifferentHost, h.Name) },
	why:    func(*Host, *Request) string { return "holds a server of the hint different_host" }}

var nearFilter = filter{name: "SimpleCIDRAffinityFilter",
	needed: func(r *Request, _ *Config) bool { return r.Near.IsValid() },
	pass:   func(h *Host, r *Request, _ *Config) bool { return r.Near.Contains(h.Address) },
	why: func(h *Host, r *Request) string {
		return fmt.Sprintf("its address %v is outside %v", h.Address, r.Near)
	}}
