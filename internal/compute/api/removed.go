package api

import (
	"slices"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// removed are the resources that Nova has taken out at every microversion, with the paths below them and the methods they had.
var removed = []struct {
	path    string
	methods []string
}{
	{"/os-agents", []string{get, post}}, {"/os-agents/{id}", []string{put, del}},
	{"/os-cells", []string{get, post}}, {"/os-cells/capacities", []string{get}}, {"/os-cells/detail", []string{get}}, {"/os-cells/info", []string{get}}, {"/os-cells/sync_instances", []string{post}},
	{"/os-cells/{id}", []string{get, put, del}}, {"/os-cells/{id}/capacities", []string{get}},
	{"/os-certificates", []string{get, post}}, {"/os-certificates/{id}", []string{get}},
	{"/os-cloudpipe", []string{get, post}}, {"/os-cloudpipe/{id}", []string{put}},
	{"/os-fixed-ips/{id}", []string{get}}, {"/os-fixed-ips/{id}/action", []string{post}},
	{"/os-floating-ip-dns", []string{get}}, {"/os-floating-ip-dns/{id}", []string{get, put, del}}, {"/os-floating-ip-dns/{domain}/entries/{id}", []string{get, put, del}},
	{"/os-floating-ips-bulk", []string{get, post}}, {"/os-floating-ips-bulk/{id}", []string{get, put}},
	{"/os-fping", []string{get}}, {"/os-fping/{id}", []string{get}},
	{"/os-security-group-default-rules", []string{get, post}}, {"/os-security-group-default-rules/{id}", []string{get, del}},
	{"/os-networks", []string{post}}, {"/os-networks/add", []string{post}}, {"/os-networks/{id}", []string{del}}, {"/os-networks/{id}/action", []string{post}},
	{"/os-tenant-networks", []string{post}}, {"/os-tenant-networks/{id}", []string{del}},
	{"/servers/{id}/consoles", []string{get, post}}, {"/servers/{id}/consoles/{console}", []string{get, del}},
	{"/servers/{id}/os-virtual-interfaces", []string{get}},
}

func gone(*httpapi.Request) (any, error) {
	return nil, fault.New(fault.KindGone, "This resource is no longer available. No forwarding address is given.")
}

// oldRoutes are the calls of old clients that others of our rooms answer, and those that nobody answers any more.
func (f *face) oldRoutes() []httpapi.Route {
	return slices.Concat(f.oldGroupRoutes(), f.oldVolumeRoutes(), f.oldHostRoutes(), f.imageWriteRoutes(), f.auditRoutes(), f.removedRoutes())
}

// removedRoutes answer 410 to everybody with a token.
func (f *face) removedRoutes() []httpapi.Route {
	var out []httpapi.Route
	for _, x := range removed {
		for _, m := range x.methods {
			out = append(out, httpapi.Route{Method: m, Path: x.path, Name: "removed" + x.path, Rule: "os_compute_api:removed", Handler: gone})
		}
	}
	for _, key := range []string{"resetNetwork", "os-getRDPConsole"} {
		out = append(out, action(key, "removed", "", gone))
	}
	return out
}
