package policy

import (
	"maps"
	"strings"
)

// Defaults are the rules that a service's own stand on: Base, and the names under which that OpenStack service has the same, so that a policy file
// written for it finds what it refers to. service is "identity", "image", "compute", "network", "volume" or "placement".
func Defaults(service string) Rules {
	out := maps.Clone(Base)
	maps.Copy(out, aliases[service])
	return out
}

// aliases are the reference rules of Keystone, Glance, Nova, Neutron, Cinder and Placement (each one's policies/base).
var aliases = map[string]Rules{
	"identity": {
		"admin_required": "role:admin or is_admin:1", "service_role": "role:service", "service_or_admin": "rule:admin_required or rule:service_role",
		"owner": "user_id:%(user_id)s", "admin_or_owner": "rule:admin_required or rule:owner", "token_subject": "user_id:%(target.token.user_id)s",
		"admin_or_token_subject": "rule:admin_required or rule:token_subject", "service_admin_or_token_subject": "rule:service_or_admin or rule:token_subject",
	},
	"image": {"context_is_admin": "role:admin"},
	"compute": {
		"context_is_admin": "role:admin", "admin_api": "is_admin:True", "admin_or_owner": "is_admin:True or project_id:%(project_id)s",
		"project_manager_api": "role:manager and project_id:%(project_id)s", "project_member_api": "role:member and project_id:%(project_id)s",
		"project_reader_api": "role:reader and project_id:%(project_id)s", "project_manager_or_admin": "rule:project_manager_api or rule:context_is_admin",
		"project_member_or_admin": "rule:project_member_api or rule:context_is_admin", "project_reader_or_admin": "rule:project_reader_api or rule:context_is_admin",
	},
	"network": {
		"context_is_admin": "role:admin", "owner": "tenant_id:%(tenant_id)s", "admin_or_owner": "rule:context_is_admin or rule:owner", "context_is_advsvc": "role:advsvc",
		"network_owner": "tenant_id:%(network:tenant_id)s", "admin_or_network_owner": "rule:context_is_admin or rule:network_owner",
		"admin_owner_or_network_owner": "rule:owner or rule:admin_or_network_owner", "admin_only": "rule:context_is_admin", "regular_user": "",
		"shared": "field:networks:shared=True",
	},
	"volume": {
		"context_is_admin": "role:admin", "admin_api": "is_admin:True or (role:admin and is_admin_project:True)",
		"admin_or_owner": "is_admin:True or (role:admin and is_admin_project:True) or project_id:%(project_id)s",
	},
	"placement": {
		"admin_api": "role:admin", "system_admin_api": "role:admin and system_scope:all", "system_reader_api": "role:reader and system_scope:all",
		"project_reader_api": "role:reader and project_id:%(project_id)s", "system_or_project_reader": "rule:system_reader_api or rule:project_reader_api",
	},
}

// spelled is how a target's attribute is called here when OpenStack's services call it otherwise: Keystone names the noun, Neutron the tenant and the parent.
func spelled(name string) string {
	switch name {
	case "tenant_id", "owner":
		return "project_id"
	case "network:tenant_id", "network:project_id", "ext_parent:tenant_id":
		return "network_project_id"
	case "shared":
		return "network_shared"
	}
	rest, ok := strings.CutPrefix(name, "target.")
	if !ok {
		return ""
	}
	noun, attr, ok := strings.Cut(rest, ".")
	switch {
	case !ok:
		return ""
	case attr == "id" && (noun == "user" || noun == "project" || noun == "domain"):
		return noun + "_id"
	case attr == "user_id" || attr == "domain_id" || attr == "project_id":
		return attr
	}
	return ""
}
