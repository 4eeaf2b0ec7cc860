package api

import (
	"net/http"
	"slices"

	"nephos/internal/httpapi"
)

// rootRoutes are the version documents and v2.0, at absolute paths.
func (f *face) rootRoutes() []httpapi.Route {
	rows := []httpapi.Route{
		{Method: "GET", Path: "/", Name: "versions", Public: true, Handler: f.versions},
		{Method: "GET", Path: "/identity", Name: "versions-at-mount", Public: true, Handler: f.versions},
		{Method: "GET", Path: "/v3", Name: "v3", Public: true, Handler: f.v3Version},
	}
	if f.v2 {
		rows = slices.Concat(rows, f.v2Routes(), f.v2PeopleRoutes(), f.v2CatalogRoutes())
	}
	return rows
}

// v3Routes is the table of /v3.
func (f *face) v3Routes() []httpapi.Route {
	return slices.Concat(f.authRoutes(), f.peopleRoutes(), f.projectRoutes(), f.roleRoutes(), f.catalogRoutes(), f.allGrantRoutes(), f.credentialRoutes(), f.appCredRoutes(),
		f.trustRoutes(), f.limitRoutes(), f.policyRoutes(), f.endpointFilterRoutes(), f.domainConfigRoutes(), f.oauthRoutes(), f.federationRoutes(), f.revokeRoutes())
}

func (f *face) authRoutes() []httpapi.Route {
	return []httpapi.Route{
		{Method: "POST", Path: "/auth/tokens", Name: "tokens.create", Public: true, Login: true, Body: authBody, Status: http.StatusCreated, Handler: f.issueToken},
		{Method: "HEAD", Path: "/auth/tokens", Name: "tokens.check", Rule: "identity:check_token", Target: f.subjectTarget, Handler: f.checkToken},
		{Method: "GET", Path: "/auth/tokens", Name: "tokens.show", Rule: "identity:validate_token", Target: f.subjectTarget, Handler: f.showToken},
		{Method: "DELETE", Path: "/auth/tokens", Name: "tokens.revoke", Rule: "identity:revoke_token", Target: f.subjectTarget, Handler: f.revokeToken},
		{Method: "GET", Path: "/auth/catalog", Name: "auth.catalog", Rule: "identity:get_auth_catalog", Handler: f.ownCatalog},
		{Method: "GET", Path: "/auth/projects", Name: "auth.projects", Rule: "identity:get_auth_projects", Handler: f.ownProjects},
		{Method: "GET", Path: "/auth/domains", Name: "auth.domains", Rule: "identity:get_auth_domains", Handler: f.ownDomains},
		{Method: "GET", Path: "/auth/system", Name: "auth.system", Rule: "identity:get_auth_system", Handler: f.ownSystem},
	}
}

func (f *face) peopleRoutes() []httpapi.Route {
	return []httpapi.Route{
		{Method: "GET", Path: "/users", Name: "users.list", Rule: "identity:list_users", Target: queryDomain, Handler: f.listUsers},
		{Method: "POST", Path: "/users", Name: "users.create", Rule: "identity:create_user", Target: bodyDomain("user"), Body: body("user", userAttrs, "name"), Handler: f.createUser},
		{Method: "GET", Path: "/users/{id}", Name: "users.show", Rule: "identity:get_user", Target: f.userTarget, Handler: f.showUser},
		{Method: "PATCH", Path: "/users/{id}", Name: "users.update", Rule: "identity:update_user", Target: f.userTarget, Body: body("user", userAttrs), Handler: f.updateUser},
		{Method: "DELETE", Path: "/users/{id}", Name: "users.delete", Rule: "identity:delete_user", Target: f.userTarget, Handler: f.deleteUser},
		{Method: "POST", Path: "/users/{id}/password", Name: "users.password", Public: true, Login: true, Body: passwordChange, Handler: f.changePassword},
		{Method: "GET", Path: "/users/{id}/projects", Name: "users.projects", Rule: "identity:list_user_projects", Target: f.userTarget, Handler: f.userProjects},
		{Method: "GET", Path: "/users/{id}/groups", Name: "users.groups", Rule: "identity:list_groups_for_user", Target: f.userTarget, Handler: f.userGroups},

		{Method: "GET", Path: "/groups", Name: "groups.list", Rule: "identity:list_groups", Target: queryDomain, Handler: f.listGroups},
		{Method: "POST", Path: "/groups", Name: "groups.create", Rule: "identity:create_group", Target: bodyDomain("group"), Body: body("group", groupAttrs, "name"), Handler: f.createGroup},
		{Method: "GET", Path: "/groups/{id}", Name: "groups.show", Rule: "identity:get_group", Target: f.groupTarget, Handler: f.showGroup},
		{Method: "PATCH", Path: "/groups/{id}", Name: "groups.update", Rule: "identity:update_group", Target: f.groupTarget, Body: body("group", groupAttrs), Handler: f.updateGroup},
		{Method: "DELETE", Path: "/groups/{id}", Name: "groups.delete", Rule: "identity:delete_group", Target: f.groupTarget, Handler: f.deleteGroup},
		{Method: "GET", Path: "/groups/{id}/users", Name: "groups.users", Rule: "identity:list_users_in_group", Target: f.groupTarget, Handler: f.groupUsers},
		{Method: "GET", Path: "/groups/{id}/users/{user}", Name: "groups.check-user", Rule: "identity:check_user_in_group", Target: f.memberTarget, Handler: f.checkMember},
		{Method: "PUT", Path: "/groups/{id}/users/{user}", Name: "groups.add-user", Rule: "identity:add_user_to_group", Target: f.memberTarget, Handler: f.addMember},
		{Method: "DELETE", Path: "/groups/{id}/users/{user}", Name: "groups.remove-user", Rule: "identity:remove_user_from_group", Target: f.memberTarget, Handler: f.removeMember},
	}
}

func (f *face) projectRoutes() []httpapi.Route {
	return []httpapi.Route{
		{Method: "GET", Path: "/projects", Name: "projects.list", Rule: "identity:list_projects", Target: queryDomain, Handler: f.listProjects},
		{Method: "POST", Path: "/projects", Name: "projects.create", Rule: "identity:create_project", Target: bodyDomain("project"), Body: body("project", projectAttrs, "name"), Handler: f.createProject},
		{Method: "GET", Path: "/projects/{id}", Name: "projects.show", Rule: "identity:get_project", Target: f.projectTarget, Handler: f.showProject},
		{Method: "PATCH", Path: "/projects/{id}", Name: "projects.update", Rule: "identity:update_project", Target: f.projectTarget, Body: body("project", projectAttrs), Handler: f.updateProject},
		{Method: "DELETE", Path: "/projects/{id}", Name: "projects.delete", Rule: "identity:delete_project", Target: f.projectTarget, Handler: f.deleteProject},
		{Method: "GET", Path: "/projects/{id}/tags", Name: "projects.tags", Rule: "identity:list_project_tags", Target: f.projectTarget, Handler: f.listTags},
		{Method: "PUT", Path: "/projects/{id}/tags", Name: "projects.set-tags", Rule: "identity:update_project_tags", Target: f.projectTarget, Body: tagsBody, Handler: f.replaceTags},
		{Method: "DELETE", Path: "/projects/{id}/tags", Name: "projects.delete-tags", Rule: "identity:delete_project_tags", Target: f.projectTarget, Handler: f.deleteTags},
		{Method: "GET", Path: "/projects/{id}/tags/{tag}", Name: "projects.check-tag", Rule: "identity:get_project_tag", Target: f.projectTarget, Handler: f.checkTag},
		{Method: "PUT", Path: "/projects/{id}/tags/{tag}", Name: "projects.add-tag", Rule: "identity:create_project_tag", Target: f.projectTarget, Status: http.StatusCreated, Handler: f.addTag},
		{Method: "DELETE", Path: "/projects/{id}/tags/{tag}", Name: "projects.remove-tag", Rule: "identity:delete_project_tag", Target: f.projectTarget, Handler: f.removeTag},

		{Method: "GET", Path: "/domains", Name: "domains.list", Rule: "identity:list_domains", Target: callerDomain, Handler: f.listDomains},
		{Method: "POST", Path: "/domains", Name: "domains.create", Rule: "identity:create_domain", Body: body("domain", projectAttrs, "name"), Handler: f.createDomain},
		{Method: "GET", Path: "/domains/{id}", Name: "domains.show", Rule: "identity:get_domain", Target: domainTarget, Handler: f.showDomain},
		{Method: "PATCH", Path: "/domains/{id}", Name: "domains.update", Rule: "identity:update_domain", Body: body("domain", projectAttrs), Handler: f.updateDomain},
		{Method: "DELETE", Path: "/domains/{id}", Name: "domains.delete", Rule: "identity:delete_domain", Handler: f.deleteDomain},
	}
}

func (f *face) roleRoutes() []httpapi.Route {
	return []httpapi.Route{
		{Method: "GET", Path: "/roles", Name: "roles.list", Rule: "identity:list_roles", Target: callerDomain, Handler: f.listRoles},
		{Method: "POST", Path: "/roles", Name: "roles.create", Rule: "identity:create_role", Body: body("role", roleAttrs, "name"), Handler: f.createRole},
		{Method: "GET", Path: "/roles/{id}", Name: "roles.show", Rule: "identity:get_role", Target: callerDomain, Handler: f.showRole},
		{Method: "PATCH", Path: "/roles/{id}", Name: "roles.update", Rule: "identity:update_role", Body: body("role", roleAttrs), Handler: f.updateRole},
		{Method: "DELETE", Path: "/roles/{id}", Name: "roles.delete", Rule: "identity:delete_role", Handler: f.deleteRole},
		{Method: "GET", Path: "/roles/{id}/implies", Name: "roles.implied", Rule: "identity:list_implied_roles", Handler: f.listImplied},
		{Method: "GET", Path: "/roles/{id}/implies/{implied}", Name: "roles.show-implied", Rule: "identity:get_implied_role", Handler: f.showImplied},
		{Method: "HEAD", Path: "/roles/{id}/implies/{implied}", Name: "roles.check-implied", Rule: "identity:check_implied_role", Handler: f.checkImplied},
		{Method: "PUT", Path: "/roles/{id}/implies/{implied}", Name: "roles.imply", Rule: "identity:create_implied_role", Handler: f.imply},
		{Method: "DELETE", Path: "/roles/{id}/implies/{implied}", Name: "roles.unimply", Rule: "identity:delete_implied_role", Handler: f.unimply},
		{Method: "GET", Path: "/role_inferences", Name: "roles.inferences", Rule: "identity:list_role_inference_rules", Handler: f.listInferences},
		{Method: "GET", Path: "/role_assignments", Name: "assignments.list", Rule: "identity:list_role_assignments", Target: callerDomain, Handler: f.listAssignments},
	}
}

func (f *face) catalogRoutes() []httpapi.Route {
	return []httpapi.Route{
		{Method: "GET", Path: "/regions", Name: "regions.list", Rule: "identity:list_regions", Handler: f.listRegions},
		{Method: "POST", Path: "/regions", Name: "regions.create", Rule: "identity:create_region", Body: regionBody, Handler: f.createRegion},
		{Method: "GET", Path: "/regions/{id}", Name: "regions.show", Rule: "identity:get_region", Handler: f.showRegion},
		{Method: "PUT", Path: "/regions/{id}", Name: "regions.put", Rule: "identity:create_region", Body: regionBody, Handler: f.createRegion},
		{Method: "PATCH", Path: "/regions/{id}", Name: "regions.update", Rule: "identity:update_region", Body: body("region", regionAttrs), Handler: f.updateRegion},
		{Method: "DELETE", Path: "/regions/{id}", Name: "regions.delete", Rule: "identity:delete_region", Handler: f.deleteRegion},

		{Method: "GET", Path: "/services", Name: "services.list", Rule: "identity:list_services", Handler: f.listServices},
		{Method: "POST", Path: "/services", Name: "services.create", Rule: "identity:create_service", Body: body("service", serviceAttrs, "type"), Handler: f.createService},
		{Method: "GET", Path: "/services/{id}", Name: "services.show", Rule: "identity:get_service", Handler: f.showService},
		{Method: "PATCH", Path: "/services/{id}", Name: "services.update", Rule: "identity:update_service", Body: body("service", serviceAttrs), Handler: f.updateService},
		{Method: "DELETE", Path: "/services/{id}", Name: "services.delete", Rule: "identity:delete_service", Handler: f.deleteService},

		{Method: "GET", Path: "/endpoints", Name: "endpoints.list", Rule: "identity:list_endpoints", Handler: f.listEndpoints},
		{Method: "POST", Path: "/endpoints", Name: "endpoints.create", Rule: "identity:create_endpoint", Body: body("endpoint", endpointAttrs, "interface", "service_id", "url"), Handler: f.createEndpoint},
		{Method: "GET", Path: "/endpoints/{id}", Name: "endpoints.show", Rule: "identity:get_endpoint", Handler: f.showEndpoint},
		{Method: "PATCH", Path: "/endpoints/{id}", Name: "endpoints.update", Rule: "identity:update_endpoint", Body: body("endpoint", endpointAttrs), Handler: f.updateEndpoint},
		{Method: "DELETE", Path: "/endpoints/{id}", Name: "endpoints.delete", Rule: "identity:delete_endpoint", Handler: f.deleteEndpoint},
	}
}
