package api

import "nephos/internal/policy"

// DefaultRules are Keystone's default policies on its personas. Targets name the thing acted upon: user_id, project_id and domain_id (the
// domain that the thing is in, or is).
//
// admin is role admin on any scope, as Keystone's defaults still have it; the system reader may look at everything; domain readers and
// managers act within their domain-scoped token's domain.
var DefaultRules = policy.Rules{
	"system_reader":          "role:reader and system_scope:all",
	"domain_reader":          "role:reader and domain_id:%(domain_id)s",
	"domain_manager":         "role:manager and domain_id:%(domain_id)s",
	"self":                   "user_id:%(user_id)s",
	"admin_or_system_reader": "rule:admin or rule:system_reader",
	"reader":                 "rule:admin or rule:system_reader or rule:domain_reader",
	"writer":                 "rule:admin or rule:domain_manager",

	"identity:validate_token": "rule:admin or rule:system_reader or role:service or rule:self",
	"identity:check_token":    "rule:admin or rule:system_reader or role:service or rule:self",
	"identity:revoke_token":   "rule:admin or rule:self",

	"identity:get_user":               "rule:reader or rule:self",
	"identity:list_users":             "rule:reader",
	"identity:create_user":            "rule:writer",
	"identity:update_user":            "rule:writer",
	"identity:delete_user":            "rule:writer",
	"identity:list_projects_for_user": "rule:reader or rule:self",
	"identity:list_groups_for_user":   "rule:reader or rule:self",

	"identity:get_group":              "rule:reader",
	"identity:list_groups":            "rule:reader",
	"identity:create_group":           "rule:writer",
	"identity:update_group":           "rule:writer",
	"identity:delete_group":           "rule:writer",
	"identity:list_users_in_group":    "rule:reader",
	"identity:check_user_in_group":    "rule:reader",
	"identity:add_user_to_group":      "rule:writer",
	"identity:remove_user_from_group": "rule:writer",

	"identity:get_project":         "rule:reader or project_id:%(project_id)s",
	"identity:list_projects":       "rule:reader",
	"identity:create_project":      "rule:writer",
	"identity:update_project":      "rule:writer",
	"identity:delete_project":      "rule:writer",
	"identity:list_project_tags":   "rule:reader or project_id:%(project_id)s",
	"identity:get_project_tag":     "rule:reader or project_id:%(project_id)s",
	"identity:update_project_tags": "rule:writer",
	"identity:delete_project_tags": "rule:writer",

	"identity:get_domain":    "rule:admin or rule:system_reader or domain_id:%(domain_id)s or project_domain_id:%(domain_id)s",
	"identity:list_domains":  "rule:reader",
	"identity:create_domain": "rule:admin",
	"identity:update_domain": "rule:admin",
	"identity:delete_domain": "rule:admin",

	"identity:get_role":              "rule:admin or rule:system_reader or rule:domain_manager",
	"identity:list_roles":            "rule:admin or rule:system_reader or rule:domain_manager",
	"identity:create_role":           "rule:admin",
	"identity:update_role":           "rule:admin",
	"identity:delete_role":           "rule:admin",
	"identity:list_implied_roles":    "rule:admin_or_system_reader",
	"identity:get_implied_role":      "rule:admin_or_system_reader",
	"identity:create_implied_role":   "rule:admin",
	"identity:delete_implied_role":   "rule:admin",
	"identity:list_role_inferences":  "rule:admin_or_system_reader",
	"identity:list_role_assignments": "rule:reader",
	"identity:list_grants":           "rule:reader",
	"identity:check_grant":           "rule:reader",
	"identity:create_grant":          "rule:admin or (rule:domain_manager and 'yes':%(persona)s)",
	"identity:revoke_grant":          "rule:admin or (rule:domain_manager and 'yes':%(persona)s)",
	"identity:list_system_grants":    "rule:admin_or_system_reader",
	"identity:check_system_grant":    "rule:admin_or_system_reader",
	"identity:create_system_grant":   "rule:admin",
	"identity:revoke_system_grant":   "rule:admin",

	"identity:get_region":    "",
	"identity:list_regions":  "",
	"identity:create_region": "rule:admin",
	"identity:update_region": "rule:admin",
	"identity:delete_region": "rule:admin",

	"identity:get_service":    "rule:admin_or_system_reader",
	"identity:list_services":  "rule:admin_or_system_reader",
	"identity:create_service": "rule:admin",
	"identity:update_service": "rule:admin",
	"identity:delete_service": "rule:admin",

	"identity:get_endpoint":    "rule:admin_or_system_reader",
	"identity:list_endpoints":  "rule:admin_or_system_reader",
	"identity:create_endpoint": "rule:admin",
	"identity:update_endpoint": "rule:admin",
	"identity:delete_endpoint": "rule:admin",

	"identity:v2_validate_token": "rule:admin or role:service",
	"identity:v2_revoke_token":   "rule:admin",
}
