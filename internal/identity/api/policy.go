package api

import "nephos/internal/policy"

// DefaultRules are Keystone's default policies on its personas. Targets name the thing acted upon: user_id, project_id and domain_id (the
// domain that the thing is in, or is).
//
// admin is role admin on any scope, as Keystone's defaults still have it; the system reader may look at everything; domain readers and
// managers act within their domain-scoped token's domain.
var DefaultRules = withRecords(policy.Rules{
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

	"identity:get_user":             "rule:reader or rule:self",
	"identity:list_users":           "rule:reader",
	"identity:create_user":          "rule:writer",
	"identity:update_user":          "rule:writer",
	"identity:delete_user":          "rule:writer",
	"identity:list_user_projects":   "rule:reader or rule:self",
	"identity:list_groups_for_user": "rule:reader or rule:self",

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
	"identity:create_project_tag":  "rule:writer",
	"identity:update_project_tags": "rule:writer",
	"identity:delete_project_tag":  "rule:writer",
	"identity:delete_project_tags": "rule:writer",

	"identity:get_domain":    "rule:admin or rule:system_reader or domain_id:%(domain_id)s or project_domain_id:%(domain_id)s",
	"identity:list_domains":  "rule:reader",
	"identity:create_domain": "rule:admin",
	"identity:update_domain": "rule:admin",
	"identity:delete_domain": "rule:admin",

	"identity:get_role":                       "rule:admin or rule:system_reader or rule:domain_manager",
	"identity:list_roles":                     "rule:admin or rule:system_reader or rule:domain_manager",
	"identity:get_domain_role":                "rule:admin_or_system_reader",
	"identity:list_domain_roles":              "rule:admin_or_system_reader",
	"identity:create_domain_role":             "rule:admin",
	"identity:update_domain_role":             "rule:admin",
	"identity:delete_domain_role":             "rule:admin",
	"identity:create_role":                    "rule:admin",
	"identity:update_role":                    "rule:admin",
	"identity:delete_role":                    "rule:admin",
	"identity:list_implied_roles":             "rule:admin_or_system_reader",
	"identity:get_implied_role":               "rule:admin_or_system_reader",
	"identity:create_implied_role":            "rule:admin",
	"identity:delete_implied_role":            "rule:admin",
	"identity:list_role_inference_rules":      "rule:admin_or_system_reader",
	"identity:check_implied_role":             "rule:admin_or_system_reader",
	"identity:list_role_assignments":          "rule:reader",
	"identity:list_role_assignments_for_tree": "rule:reader or (role:admin and project_id:%(project_id)s)",
	"identity:list_grants":                    "rule:reader",
	"identity:check_grant":                    "rule:reader",
	"identity:create_grant":                   "rule:admin or (rule:domain_manager and 'yes':%(persona)s)",
	"identity:revoke_grant":                   "rule:admin or (rule:domain_manager and 'yes':%(persona)s)",
	"identity:list_system_grants_for_user":    "rule:admin_or_system_reader",
	"identity:list_system_grants_for_group":   "rule:admin_or_system_reader",
	"identity:check_system_grant_for_user":    "rule:admin_or_system_reader",
	"identity:check_system_grant_for_group":   "rule:admin_or_system_reader",
	"identity:create_system_grant_for_user":   "rule:admin",
	"identity:create_system_grant_for_group":  "rule:admin",
	"identity:revoke_system_grant_for_user":   "rule:admin",
	"identity:revoke_system_grant_for_group":  "rule:admin",

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

	"identity:get_auth_catalog":   "",
	"identity:get_auth_projects":  "",
	"identity:get_auth_domains":   "",
	"identity:get_auth_system":    "",
	"identity:revocation_list":    "rule:admin or role:service",
	"identity:list_revoke_events": "rule:admin or role:service",

	"identity:list_credentials":      "rule:admin_or_system_reader or rule:self",
	"identity:get_credential":        "rule:admin_or_system_reader or rule:self",
	"identity:create_credential":     "rule:admin or rule:self",
	"identity:update_credential":     "rule:admin or rule:self",
	"identity:delete_credential":     "rule:admin or rule:self",
	"identity:ec2_list_credentials":  "rule:admin_or_system_reader or rule:self",
	"identity:ec2_get_credential":    "rule:admin_or_system_reader or rule:self",
	"identity:ec2_create_credential": "rule:admin or (role:member and rule:self)",
	"identity:ec2_delete_credential": "rule:admin or (role:member and rule:self)",
	// Keystone leaves these two open to everybody, as gateways of old had no token; a token of a service is asked for here (see identity.md).
	"identity:ec2_validate": "rule:admin or role:service",
	"identity:s3_validate":  "rule:admin or role:service",

	"identity:list_application_credentials":  "rule:admin_or_system_reader or rule:self",
	"identity:get_application_credential":    "rule:admin_or_system_reader or rule:self",
	"identity:create_application_credential": "rule:self",
	"identity:delete_application_credential": "rule:admin or rule:self",
	"identity:list_access_rules":             "rule:admin_or_system_reader or rule:self",
	"identity:get_access_rule":               "rule:admin_or_system_reader or rule:self",
	"identity:delete_access_rule":            "rule:admin or rule:self",

	"trustor":                       "user_id:%(trustor_user_id)s",
	"trustee":                       "user_id:%(trustee_user_id)s",
	"identity:list_trusts":          "rule:admin_or_system_reader or rule:trustor or rule:trustee",
	"identity:create_trust":         "rule:trustor",
	"identity:get_trust":            "rule:admin_or_system_reader or rule:trustor or rule:trustee",
	"identity:delete_trust":         "rule:admin or rule:trustor",
	"identity:list_roles_for_trust": "rule:admin_or_system_reader or rule:trustor or rule:trustee",
	"identity:get_role_for_trust":   "rule:admin_or_system_reader or rule:trustor or rule:trustee",

	"identity:list_registered_limits":   "",
	"identity:get_registered_limit":     "",
	"identity:create_registered_limits": "rule:admin",
	"identity:update_registered_limit":  "rule:admin",
	"identity:delete_registered_limit":  "rule:admin",
	"identity:list_limits":              "",
	"identity:get_limit_model":          "",
	"identity:get_limit":                "rule:admin_or_system_reader or domain_id:%(domain_id)s or project_id:%(project_id)s or rule:self",
	"identity:create_limits":            "rule:admin",
	"identity:update_limit":             "rule:admin",
	"identity:delete_limit":             "rule:admin",

	"identity:get_domain_config_default":             "rule:admin_or_system_reader",
	"identity:get_domain_config":                     "rule:admin_or_system_reader",
	"identity:get_security_compliance_domain_config": "",
	"identity:create_domain_config":                  "rule:admin",
	"identity:update_domain_config":                  "rule:admin",
	"identity:delete_domain_config":                  "rule:admin",

	"identity:authorize_request_token": "rule:admin",
	"identity:list_access_tokens":      "rule:admin or rule:self",
	"identity:get_access_token":        "rule:admin or rule:self",
	"identity:delete_access_token":     "rule:admin or rule:self",
	"identity:list_access_token_roles": "rule:admin or rule:self",
	"identity:get_access_token_role":   "rule:admin or rule:self",

	// What the v2.0 API of 2012 asks for on its admin side.
	"admin_required":             "rule:admin",
	"identity:v2_validate_token": "rule:admin or role:service",
	"identity:v2_revoke_token":   "rule:admin",
})

// withRecords adds the rules of nouns that administrators change and the system's readers see, under Keystone's names.
func withRecords(rules policy.Rules) policy.Rules {
	const read, change = "rule:admin_or_system_reader", "rule:admin"
	for _, noun := range []struct{ one, many string }{{"policy", "policies"}, {"consumer", "consumers"}, {"identity_provider", "identity_providers"}, {"protocol", "protocols"},
		{"mapping", "mappings"}, {"service_provider", "service_providers"}, {"endpoint_group", "endpoint_groups"}} {
		rules["identity:list_"+noun.many], rules["identity:get_"+noun.one] = read, read
		for _, verb := range []string{"create_", "update_", "delete_"} {
			rules["identity:"+verb+noun.one] = change
		}
	}
	for _, to := range []string{"endpoint", "service", "region_and_service"} {
		rules["identity:check_policy_association_for_"+to] = read
		rules["identity:create_policy_association_for_"+to] = change
		rules["identity:delete_policy_association_for_"+to] = change
	}
	for _, name := range []string{"list_endpoints_for_policy", "get_policy_for_endpoint", "list_endpoints_associated_with_endpoint_group", "list_projects_associated_with_endpoint_group",
		"list_projects_for_endpoint", "list_endpoint_groups_for_project", "list_endpoints_for_project", "check_endpoint_in_project", "get_endpoint_group_in_project"} {
		rules["identity:"+name] = read
	}
	for _, name := range []string{"add_endpoint_to_project", "remove_endpoint_from_project", "add_endpoint_group_to_project", "remove_endpoint_group_from_project"} {
		rules["identity:"+name] = change
	}
	return rules
}
