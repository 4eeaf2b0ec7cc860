package api

import (
	"slices"

	"nephos/internal/httpapi"
)

// ledger is what each microversion added to the answers, undone for older clients (compute.md section 4 of the API facts).
var ledger = []httpapi.Change{
	{At: v(96), Resource: "server", Name: "pinned availability zone", Response: without("pinned_availability_zone")},
	{At: v(90), Resource: "server", Name: "hostname for all", Response: func(r *httpapi.Request, o map[string]any) {
		if _, admin := o["OS-EXT-SRV-ATTR:host"]; !admin {
			delete(o, "OS-EXT-SRV-ATTR:hostname")
		}
	}},
	{At: v(75), Resource: "server", Name: "update answers with the full server", Response: shortUpdate},
	{At: v(73), Resource: "server", Name: "reason of a lock", Response: without("locked_reason")},
	{At: v(71), Resource: "server", Name: "server groups", Response: without("server_groups")},
	{At: v(63), Resource: "server", Name: "trusted certificates", Response: without("trusted_image_certificates")},
	{At: v(47), Resource: "server", Name: "flavor inside", Response: func(r *httpapi.Request, o map[string]any) {
		if fl, ok := o["flavor"].(flavorForm); ok {
			o["flavor"] = obj{"id": fl.id, "links": []obj{{"rel": "bookmark", "href": r.Bookmark("flavors", fl.id)}}}
		}
	}},
	{At: v(26), Resource: "server", Name: "tags", Response: without("tags")},
	{At: v(19), Resource: "server", Name: "description", Response: without("description")},
	{At: v(16), Resource: "server", Name: "host status", Response: without("host_status")},
	{At: v(9), Resource: "server", Name: "lock", Response: without("locked")},
	{At: v(3), Resource: "server", Name: "more attributes for admins", Response: firstForm},

	{At: v(75), Resource: "flavor", Name: "swap is always a number", Response: func(_ *httpapi.Request, o map[string]any) {
		if o["swap"] == 0 {
			o["swap"] = ""
		}
	}},
	{At: v(61), Resource: "flavor", Name: "extra specs", Response: without("extra_specs")},
	{At: v(55), Resource: "flavor", Name: "description", Response: without("description")},

	{At: v(2), Resource: "keypair", Name: "type", Response: func(_ *httpapi.Request, o map[string]any) {
		if inner, ok := o["keypair"].(map[string]any); ok { // in lists each is wrapped once more
			o = inner
		}
		delete(o, "type")
	}},

	{At: v(64), Resource: "server_group", Name: "one policy and its rules", Response: func(_ *httpapi.Request, o map[string]any) {
		o["policies"], o["metadata"] = []any{o["policy"]}, obj{}
		delete(o, "policy")
		delete(o, "rules")
	}},
	{At: v(13), Resource: "server_group", Name: "owner", Response: without("project_id", "user_id")},

	{At: v(41), Resource: "aggregate", Name: "uuid", Response: without("uuid")},

	{At: v(89), Resource: "volumeAttachment", Name: "ids of attachment and device", Response: func(_ *httpapi.Request, o map[string]any) {
		o["id"] = o["volumeId"]
		delete(o, "attachment_id")
		delete(o, "bdm_uuid")
	}},
	{At: v(79), Resource: "volumeAttachment", Name: "delete on termination", Response: without("delete_on_termination")},
	{At: v(70), Resource: "volumeAttachment", Name: "tag", Response: without("tag")},
	{At: v(70), Resource: "interfaceAttachment", Name: "tag", Response: without("tag")},

	{At: v(11), Resource: "service", Name: "forced down", Response: without("forced_down")},

	{At: v(58), Resource: "instanceAction", Name: "time of change", Response: without("updated_at")},
}

func without(keys ...string) func(*httpapi.Request, map[string]any) {
	return func(_ *httpapi.Request, o map[string]any) {
		for _, k := range keys {
			delete(o, k)
		}
	}
}

// updateKeys are what PUT /servers/{id}, and with a few more the rebuild action, answered before 2.75.
var updateKeys = []string{"accessIPv4", "accessIPv6", "addresses", "created", "updated", "fault", "flavor", "hostId", "id", "OS-DCF:diskConfig", "image", "links", "metadata", "name",
	"progress", "status", "tenant_id", "user_id", "locked", "description", "tags", "trusted_image_certificates", "server_groups", "locked_reason"}

func shortUpdate(r *httpapi.Request, o map[string]any) {
	keys := updateKeys
	switch r.Route.Name {
	case "servers.update":
	case "servers.action.rebuild":
		keys = append(slices.Clone(keys), "adminPass")
		if r.Version.AtLeast(v(54)) {
			keys = append(keys, "key_name")
		}
		if r.Version.AtLeast(v(57)) {
			keys = append(keys, "user_data")
		}
	default:
		return
	}
	for k := range o {
		if !slices.Contains(keys, k) {
			delete(o, k)
		}
	}
	if a, ok := o["addresses"].(map[string][]addressForm); ok {
		o["addresses"] = plain(a)
	}
}

func firstForm(_ *httpapi.Request, o map[string]any) {
	for _, k := range []string{"hostname", "kernel_id", "launch_index", "ramdisk_id", "reservation_id", "root_device_name", "user_data"} {
		delete(o, "OS-EXT-SRV-ATTR:"+k)
	}
	if list, ok := o["os-extended-volumes:volumes_attached"].([]volumeForm); ok {
		for i := range list {
			list[i].DeleteOnTermination = nil
		}
	}
}
