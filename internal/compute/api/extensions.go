package api

import (
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// extensions are the aliases by which old clients learn what is here.
var extensions = strings.Fields(`NMN OS-DCF OS-EXT-AZ OS-EXT-IMG-SIZE OS-EXT-IPS OS-EXT-IPS-MAC OS-EXT-SRV-ATTR OS-EXT-STS OS-FLV-DISABLED OS-FLV-EXT-DATA OS-SCH-HNT OS-SRV-USG
	os-admin-actions os-admin-password os-aggregates os-assisted-volume-snapshots os-attach-interfaces os-availability-zone os-block-device-mapping-v2-boot os-config-drive
	os-console-auth-tokens os-console-output os-consoles os-create-backup os-create-server-ext os-deferred-delete os-evacuate os-extended-availability-zone os-extended-ips os-extended-ips-mac
	os-extended-server-attributes os-extended-status os-extended-volumes os-flavor-access os-flavor-extra-specs os-flavor-manage os-flavor-rxtx os-flavor-swap os-floating-ip-pools
	os-floating-ips os-hide-server-addresses os-hosts os-hypervisors os-instance-actions os-instance_usage_audit_log os-keypairs os-lock-server os-migrate-server os-migrations os-multinic
	os-multiple-create os-networks os-pause-server os-personality os-preserve-ephemeral-rebuild os-quota-class-sets os-quota-sets os-remote-consoles os-rescue os-security-groups
	os-server-diagnostics os-server-external-events os-server-group-quotas os-server-groups os-server-password os-server-start-stop os-server-tags os-server-usage os-services os-shelve
	os-simple-tenant-usage os-suspend-server os-tenant-networks os-used-limits os-user-data os-volume-attachment-update os-volumes`)

func (f *face) extensionRoutes() []httpapi.Route {
	const rule = "os_compute_api:extensions"
	return []httpapi.Route{
		{Method: get, Path: "/extensions", Name: "extensions.list", Rule: rule, Handler: func(*httpapi.Request) (any, error) {
			out := make([]obj, len(extensions))
			for i, alias := range extensions {
				out[i] = extensionView(alias)
			}
			return obj{"extensions": out}, nil
		}},
		{Method: get, Path: "/extensions/{id}", Name: "extensions.show", Rule: rule, Handler: func(r *httpapi.Request) (any, error) {
			for _, alias := range extensions {
				if alias == r.Param("id") {
					return obj{"extension": extensionView(alias)}, nil
				}
			}
			return nil, fault.NotFound("Extension %s could not be found.", r.Param("id"))
		}},
	}
}

func extensionView(alias string) obj {
	words := strings.Split(strings.TrimPrefix(alias, "os-"), "-")
	for i, w := range words {
		words[i] = strings.ToUpper(w[:1]) + w[1:]
	}
	return obj{"alias": alias, "name": strings.Join(words, ""), "description": strings.Join(words, " ") + ".", "links": []any{}, "updated": "2014-12-03T00:00:00Z",
		"namespace": "http://docs.openstack.org/compute/ext/" + alias + "/api/v2.1"}
}
