package api_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every resource: create, show, list, update (merging unknown attributes), delete, gone.
func TestResourceLives(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		service := c.create("service", m{"type": "dns", "name": "designate"})
		for _, x := range []struct {
			kind           string
			attrs, patch   m
			changed, value string
			reply          []string // keys that must be there
		}{
			{"user", m{"name": "u", "password": "pw", "email": "u@x", "mood": 3}, m{"name": "u2", "email": "v@x"}, "email", "v@x", []string{"domain_id", "enabled", "options", "password_expires_at", "mood"}},
			{"group", m{"name": "g"}, m{"description": "d"}, "description", "d", []string{"domain_id"}},
			{"project", m{"name": "p", "color": "red"}, m{"name": "p2"}, "name", "p2", []string{"domain_id", "parent_id", "is_domain", "enabled", "tags", "options", "description", "color"}},
			{"domain", m{"name": "d"}, m{"enabled": false, "description": "x"}, "description", "x", []string{"enabled", "tags", "options"}},
			{"role", m{"name": "r"}, m{"description": "x"}, "description", "x", []string{"domain_id", "options"}},
			{"region", m{"id": "R9"}, m{"description": "x"}, "description", "x", []string{"parent_region_id"}},
			{"service", m{"type": "x", "name": "y", "description": "z"}, m{"name": "w"}, "name", "w", []string{"enabled", "description"}},
			{"endpoint", m{"interface": "public", "service_id": service, "url": "http://x", "region": "New"}, m{"url": "http://y"}, "url", "http://y", []string{"enabled", "region", "region_id"}},
		} {
			a := c.do(201, "POST", "/v3/"+x.kind+"s", m{x.kind: x.attrs})
			id := a.str(x.kind + ".id")
			path := "/v3/" + x.kind + "s/" + id
			require.Equal(t, "http://h:5000"+path, a.str(x.kind+".links.self"))
			require.NotContains(t, a.text, "password\":\"", "no hash, no password")
			for _, k := range x.reply {
				require.Contains(t, a.at(x.kind), k, x.kind)
			}
			require.Equal(t, a.doc, c.do(200, "GET", path, nil).doc)
			require.Equal(t, 200, c.call(c.admin, "HEAD", path, nil).code)
			l := c.do(200, "GET", "/v3/"+x.kind+"s", nil)
			require.Contains(t, l.names(x.kind+"s", "id"), id)
			require.Equal(t, "http://h:5000/v3/"+x.kind+"s", l.str("links.self"))
			require.Contains(t, l.at("links"), "next")
			require.NotContains(t, l.text, "$2a$")

			u := c.do(200, "PATCH", path, m{x.kind: x.patch})
			require.Equal(t, x.value, u.str(x.kind+"."+x.changed))
			for k := range x.attrs {
				if k != "password" && k != "region" {
					require.Contains(t, u.at(x.kind), k, "PATCH merges")
				}
			}
			require.Equal(t, u.doc, c.do(200, "GET", path, nil).doc)
			c.do(400, "PATCH", path, m{x.kind: m{"id": "other", "description": ""}})
			c.do(400, "PATCH", path, m{"wrong": m{}})
			c.do(204, "DELETE", path, nil)
			for _, method := range []string{"GET", "DELETE"} {
				require.Contains(t, c.do(404, method, path, nil).str("error.message"), "Could not find "+x.kind+": "+id)
			}
			c.do(404, "PATCH", path, m{x.kind: x.patch})
		}
	})
}

func TestBadInput(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		svc := c.create("service", m{"type": "x"})
		c.create("user", m{"name": "taken"})
		c.create("project", m{"name": "taken"})
		c.create("group", m{"name": "taken"})
		c.create("region", m{"id": "taken"})
		off := c.create("project", m{"name": "off", "enabled": false})
		ep := func(over m) m {
			e := m{"interface": "public", "service_id": svc, "url": "http://x"}
			for k, v := range over {
				e[k] = v
			}
			return m{"endpoint": e}
		}
		for _, x := range []struct {
			code int
			path string
			body any
			says string
		}{
			{409, "users", m{"user": m{"name": "taken"}}, "Duplicate entry found with name taken"},
			{409, "projects", m{"project": m{"name": "taken"}}, "Conflict occurred attempting to store project"},
			{409, "groups", m{"group": m{"name": "taken"}}, "Conflict"},
			{409, "roles", m{"role": m{"name": "admin"}}, "Conflict"},
			{409, "domains", m{"domain": m{"name": "Default"}}, "store domain"},
			{409, "regions", m{"region": m{"id": "taken"}}, "Duplicate ID"},
			{400, "users", m{"user": m{}}, "name"},
			{400, "users", m{"user": m{"name": ""}}, "name"},
			{400, "users", m{"user": m{"name": "   "}}, "name"},
			{400, "users", m{"user": m{"name": strings.Repeat("x", 256)}}, "name"},
			{400, "users", m{"user": m{"name": "x", "enabled": "yes"}}, "enabled"},
			{400, "users", m{"user": m{"name": "x", "password": 5}}, "password"},
			{400, "users", m{"user": m{"name": "x", "password": strings.Repeat("x", 4097)}}, "4096"},
			{404, "users", m{"user": m{"name": "x", "domain_id": "nope"}}, "domain"},
			{400, "users", m{"user": m{"name": "x", "default_project_id": "default"}}, "domain ID"},
			{400, "users", `{"user":`, "JSON"},
			{400, "projects", m{"project": m{"name": strings.Repeat("x", 65)}}, "name"},
			{400, "projects", m{"project": m{"name": "x", "parent_id": "nope"}}, "nope"},
			{400, "projects", m{"project": m{"name": "x", "parent_id": off}}, "disabled"},
			{400, "projects", m{"project": m{"name": "x", "tags": []string{"a/b"}}}, "a/b"},
			{400, "projects", m{"project": m{"name": "x", "tags": []string{"a", "a"}}}, "tags"},
			{400, "endpoints", ep(m{"interface": "secret"}), "interface"},
			{400, "endpoints", ep(m{"service_id": "nope"}), "service"},
			{400, "endpoints", ep(m{"region_id": "nope"}), "region"},
			{400, "endpoints", ep(m{"url": "http://x/$(who)s"}), "URL"},
			{404, "regions", m{"region": m{"id": "y", "parent_region_id": "nope"}}, "nope"},
			{400, "services", m{"service": m{"name": "x"}}, "type"},
		} {
			a := c.do(x.code, "POST", "/v3/"+x.path, x.body)
			require.Contains(t, a.str("error.message"), x.says, "%v", x.body)
		}
		c.do(403, "DELETE", "/v3/domains/default", nil)
		c.do(403, "PATCH", "/v3/domains/default", m{"domain": m{"enabled": false}})
		d := c.create("domain", m{"name": "dd"})
		require.Equal(t, "Cannot delete a domain that is enabled, please disable it first.", c.do(403, "DELETE", "/v3/domains/"+d, nil).str("error.message"))
		fixed := c.create("role", m{"name": "fixed", "options": m{"immutable": true}})
		c.do(403, "DELETE", "/v3/roles/"+fixed, nil)
		c.do(403, "PATCH", "/v3/roles/"+fixed, m{"role": m{"name": "loose"}})
		c.do(200, "PATCH", "/v3/roles/"+fixed, m{"role": m{"options": m{"immutable": false}}})
		c.do(204, "DELETE", "/v3/roles/"+fixed, nil)
	})
}

func TestListFilters(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		d := c.create("domain", m{"name": "d"})
		for _, name := range []string{"alpha", "beta", "Gamma"} {
			c.create("project", m{"name": name, "domain_id": d, "enabled": name != "beta", "tags": []string{"t-" + name, "all"}})
			c.create("user", m{"name": name, "domain_id": d, "enabled": name != "beta"})
		}
		for query, want := range map[string][]string{
			"":                                     {"Gamma", "alpha", "beta"},
			"&name=beta":                           {"beta"},
			"&enabled=false":                       {"beta"},
			"&enabled=1":                           {"Gamma", "alpha"},
			"&name__contains=a":                    {"Gamma", "alpha", "beta"},
			"&name__startswith=al":                 {"alpha"},
			"&name__icontains=GAM":                 {"Gamma"},
			"&name__endswith=ta":                   {"beta"},
			"&limit=1&sort_key=name&sort_dir=desc": {"beta"},
			"&unknown=1":                           {"Gamma", "alpha", "beta"},
		} {
			for _, kind := range []string{"projects", "users"} {
				require.ElementsMatch(t, want, c.do(200, "GET", "/v3/"+kind+"?domain_id="+d+query, nil).names(kind, "name"), "%s %s", kind, query)
			}
		}
		for query, want := range map[string][]string{
			"tags=all,t-beta": {"beta"}, "tags-any=t-alpha,t-beta": {"alpha", "beta"}, "not-tags=all,t-beta": {"Gamma", "alpha"}, "not-tags-any=t-beta,t-alpha": {"Gamma"},
			"parent_id=" + d: {"Gamma", "alpha", "beta"}, "is_domain=true": {},
		} {
			require.ElementsMatch(t, want, c.do(200, "GET", "/v3/projects?domain_id="+d+"&"+query, nil).names("projects", "name")[:len(want)], query)
		}
		// Pages follow each other.
		var seen []string
		next := "/v3/users?limit=2&domain_id=" + d
		for next != "" {
			a := c.do(200, "GET", next, nil)
			seen = append(seen, a.names("users", "name")...)
			n, _ := a.at("links.next").(string)
			next = strings.TrimPrefix(n, "http://h:5000")
		}
		require.ElementsMatch(t, []string{"Gamma", "alpha", "beta"}, seen)
		require.Len(t, seen, 3)
		c.do(400, "GET", "/v3/users?limit=-1", nil)
	})
}

func TestGrants(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		u, g := c.create("user", m{"name": "u"}), c.create("group", m{"name": "g"})
		p, member := c.create("project", m{"name": "p"}), c.roleID("member")
		for _, place := range []string{"/projects/" + p, "/domains/default", "/system"} {
			for _, actor := range []string{"/users/" + u, "/groups/" + g} {
				base := "/v3" + place + actor + "/roles"
				one := base + "/" + member
				c.do(404, "GET", one, nil)
				c.do(404, "DELETE", one, nil)
				c.do(204, "PUT", one, nil)
				c.do(204, "PUT", one, nil)
				c.do(204, "GET", one, nil)
				require.Equal(t, 204, c.call(c.admin, "HEAD", one, nil).code)
				require.Equal(t, []string{"member"}, c.do(200, "GET", base, nil).names("roles", "name"))
				c.do(404, "PUT", base+"/nope", nil)
				if place != "/system" {
					inherited := "/v3/OS-INHERIT" + place + actor + "/roles/" + member + "/inherited_to_projects"
					c.do(404, "GET", inherited, nil)
					c.do(204, "PUT", inherited, nil)
					c.do(204, "GET", inherited, nil)
					c.do(204, "DELETE", inherited, nil)
				}
			}
		}
		c.do(404, "PUT", "/v3/projects/nope/users/"+u+"/roles/"+member, nil)
		c.do(404, "PUT", "/v3/projects/"+p+"/users/nope/roles/"+member, nil)
		c.do(404, "PUT", "/v3/domains/"+p+"/users/"+u+"/roles/"+member, nil)

		list := func(query string) []any {
			return c.do(200, "GET", "/v3/role_assignments?"+query, nil).at("role_assignments").([]any)
		}
		require.Len(t, list("user.id="+u), 3)
		require.Len(t, list("group.id="+g), 3)
		require.Len(t, list("scope.project.id="+p), 2)
		require.Len(t, list("scope.domain.id=default&role.id="+member), 2)
		require.Len(t, list("scope.system=all&user.id="+u), 1)
		require.Len(t, list("user.id="+u+"&effective"), 6, "with the implied reader")
		c.do(204, "PUT", "/v3/groups/"+g+"/users/"+u, nil)
		require.Len(t, list("user.id="+u+"&effective"), 6, "each once, from whichever side")
		a := c.do(200, "GET", "/v3/role_assignments?include_names&user.id="+u+"&scope.project.id="+p, nil)
		require.Equal(t, m{"id": u, "name": "u", "domain": m{"id": "default", "name": "Default"}}, a.at("role_assignments.0.user"))
		require.Equal(t, m{"id": p, "name": "p", "domain": m{"id": "default", "name": "Default"}}, a.at("role_assignments.0.scope.project"))
		require.Equal(t, m{"id": member, "name": "member"}, a.at("role_assignments.0.role"))
		require.Equal(t, "http://h:5000/v3/projects/"+p+"/users/"+u+"/roles/"+member, a.str("role_assignments.0.links.assignment"))
		for _, bad := range []string{"user.id=x&group.id=y", "scope.project.id=x&scope.domain.id=y", "effective&group.id=x", "effective&scope.OS-INHERIT:inherited_to=projects", "include_subtree"} {
			c.do(400, "GET", "/v3/role_assignments?"+bad, nil)
		}
		require.Equal(t, []string{"p"}, c.do(200, "GET", "/v3/users/"+u+"/projects", nil).names("projects", "name"))
		require.Equal(t, []string{"g"}, c.do(200, "GET", "/v3/users/"+u+"/groups", nil).names("groups", "name"))
		require.Equal(t, []string{"u"}, c.do(200, "GET", "/v3/groups/"+g+"/users", nil).names("users", "name"))
		c.do(204, "GET", "/v3/groups/"+g+"/users/"+u, nil)
		c.do(204, "DELETE", "/v3/groups/"+g+"/users/"+u, nil)
		c.do(404, "GET", "/v3/groups/"+g+"/users/"+u, nil)
	})
}

func TestImpliedRoles(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.do(200, "GET", "/v3/role_inferences", nil)
		require.Len(t, a.at("role_inferences"), 3)
		x, reader := c.create("role", m{"name": "x"}), c.roleID("reader")
		c.do(404, "GET", "/v3/roles/"+x+"/implies/"+reader, nil)
		a = c.do(201, "PUT", "/v3/roles/"+x+"/implies/"+reader, nil)
		require.Equal(t, "reader", a.str("role_inference.implies.name"))
		require.Equal(t, "x", a.str("role_inference.prior_role.name"))
		require.Equal(t, 204, c.call(c.admin, "HEAD", "/v3/roles/"+x+"/implies/"+reader, nil).code)
		require.Equal(t, []string{"reader"}, c.do(200, "GET", "/v3/roles/"+x+"/implies", nil).names("role_inference.implies", "name"))
		c.do(204, "DELETE", "/v3/roles/"+x+"/implies/"+reader, nil)
		c.do(404, "DELETE", "/v3/roles/"+x+"/implies/"+reader, nil)
		d := c.create("domain", m{"name": "d"})
		own := c.create("role", m{"name": "x", "domain_id": d})
		c.do(403, "PUT", "/v3/roles/"+x+"/implies/"+own, nil)
		require.Len(t, c.do(200, "GET", "/v3/roles?domain_id="+d, nil).at("roles"), 1)
		require.NotContains(t, c.do(200, "GET", "/v3/roles", nil).names("roles", "id"), own)
		u := c.create("user", m{"name": "u"})
		c.do(403, "PUT", "/v3/domains/default/users/"+u+"/roles/"+own, nil)

		second := c.create("role", m{"name": "y", "domain_id": d})
		c.do(201, "PUT", "/v3/roles/"+own+"/implies/"+second, nil)
		c.do(201, "PUT", "/v3/roles/"+second+"/implies/"+reader, nil)
		c.do(403, "PUT", "/v3/roles/"+own+"/implies/"+own, nil)
		p := c.create("project", m{"name": "p", "domain_id": d})
		c.do(204, "PUT", "/v3/projects/"+p+"/users/"+u+"/roles/"+own, nil)
		for query, want := range map[string]string{"": own, "&effective": reader} { // a token has no domain's roles
			a := c.do(200, "GET", "/v3/role_assignments?user.id="+u+query, nil)
			require.Len(t, a.at("role_assignments"), 1, query)
			require.Equal(t, want, a.str("role_assignments.0.role.id"), query)
		}
	})
}

func TestProjectTreeAndTags(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.create("project", m{"name": "a"})
		b := c.create("project", m{"name": "b", "parent_id": a})
		d := c.do(200, "GET", "/v3/projects/"+b+"?parents_as_ids", nil)
		require.Equal(t, m{a: m{"default": nil}}, d.at("project.parents"))
		require.Equal(t, m{b: nil}, c.do(200, "GET", "/v3/projects/"+a+"?subtree_as_ids", nil).at("project.subtree"))
		require.Empty(t, c.do(200, "GET", "/v3/projects/"+a+"?subtree_as_list", nil).at("project.subtree"), "no role there")
		c.do(400, "GET", "/v3/projects/"+a+"?subtree_as_list&subtree_as_ids", nil)
		c.do(403, "PATCH", "/v3/projects/"+b, m{"project": m{"parent_id": "default"}})
		c.do(400, "PATCH", "/v3/projects/"+b, m{"project": m{"is_domain": true}})
		c.do(403, "DELETE", "/v3/projects/"+a, nil)

		c.do(201, "PUT", "/v3/projects/"+a+"/tags/x", nil)
		c.do(204, "GET", "/v3/projects/"+a+"/tags/x", nil)
		c.do(404, "GET", "/v3/projects/"+a+"/tags/y", nil)
		require.Equal(t, []any{"m", "n"}, c.do(200, "PUT", "/v3/projects/"+a+"/tags", m{"tags": []string{"m", "n"}}).at("tags"))
		c.do(204, "DELETE", "/v3/projects/"+a+"/tags/m", nil)
		require.Equal(t, []any{"n"}, c.do(200, "GET", "/v3/projects/"+a+"/tags", nil).at("tags"))
		c.do(204, "DELETE", "/v3/projects/"+a+"/tags", nil)

		asDomain := c.create("project", m{"name": "dom", "is_domain": true})
		require.Equal(t, "dom", c.do(200, "GET", "/v3/domains/"+asDomain, nil).str("domain.name"))
		require.Nil(t, c.do(200, "GET", "/v3/projects/"+asDomain, nil).at("project.domain_id"))
		c.do(400, "DELETE", "/v3/projects/"+asDomain, nil)
		c.do(404, "GET", "/v3/domains/"+a, nil)
	})
}

// Who may do what: a code for each of several callers.
func TestPolicy(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		d := c.create("domain", m{"name": "d"})
		p, q := c.create("project", m{"name": "p"}), c.create("project", m{"name": "q", "domain_id": d})
		tok := map[string]string{"admin": c.admin}
		user := map[string]string{}
		for who, place := range map[string]string{"member": "/projects/" + p, "manager": "/domains/" + d, "reader": "/domains/" + d, "sysreader": "/system"} {
			u := c.create("user", m{"name": who, "password": "pw", "domain_id": d})
			user[who] = u
			c.do(204, "PUT", "/v3"+place+"/users/"+u+"/roles/"+c.roleID(strings.TrimPrefix(who, "sys")), nil)
			scope := m{"domain": m{"id": d}}
			switch {
			case who == "member":
				scope = m{"project": m{"id": p}}
			case place == "/system":
				scope = m{"system": m{"all": true}}
			}
			tok[who] = c.login(u, "pw", scope)
		}
		member, adminRole := c.roleID("member"), c.roleID("admin")
		for _, x := range []struct {
			method, path                            string
			body                                    any
			admin, sysreader, manager, reader, user int
		}{
			{"GET", "/users", nil, 200, 200, 200, 200, 403},
			{"GET", "/users?domain_id=default", nil, 200, 200, 403, 403, 403},
			{"GET", "/users/" + user["member"], nil, 200, 200, 200, 200, 200},
			{"GET", "/users/" + user["manager"], nil, 200, 200, 200, 200, 403},
			{"GET", "/users/nope", nil, 404, 404, 403, 403, 403},
			{"PATCH", "/users/" + user["member"], m{"user": m{"mood": "x"}}, 200, 403, 200, 403, 403},
			{"POST", "/users", m{"user": m{"name": ""}}, 400, 400, 400, 400, 400},
			{"POST", "/projects", m{"project": m{"name": "n", "domain_id": "default", "parent_id": "nope"}}, 400, 403, 403, 403, 403},
			{"POST", "/projects", m{"project": m{"name": "taken-over", "domain_id": d, "parent_id": p}}, 400, 403, 403, 403, 403},
			{"GET", "/projects", nil, 200, 200, 200, 200, 403},
			{"GET", "/projects/" + p, nil, 200, 200, 403, 403, 200},
			{"GET", "/projects/" + q, nil, 200, 200, 200, 200, 403},
			{"PATCH", "/projects/" + q, m{"project": m{"x": "y"}}, 200, 403, 200, 403, 403},
			{"PATCH", "/projects/" + d, m{"project": m{"x": "y"}}, 200, 403, 403, 403, 403}, // a domain, whose manager does not own it
			{"GET", "/domains", nil, 200, 200, 200, 200, 403},
			{"GET", "/domains/" + d, nil, 200, 200, 200, 200, 403},
			{"GET", "/domains/default", nil, 200, 200, 403, 403, 200},
			{"PATCH", "/domains/" + d, m{"domain": m{"x": "y"}}, 200, 403, 403, 403, 403},
			{"GET", "/roles", nil, 200, 200, 200, 403, 403},
			{"PATCH", "/roles/" + member, m{"role": m{"x": "y"}}, 200, 403, 403, 403, 403},
			{"GET", "/role_assignments", nil, 200, 200, 200, 200, 403},
			{"PUT", "/projects/" + q + "/users/" + user["reader"] + "/roles/" + member, nil, 204, 403, 204, 403, 403},
			{"PUT", "/projects/" + q + "/users/" + user["reader"] + "/roles/" + adminRole, nil, 204, 403, 403, 403, 403},
			{"PUT", "/projects/" + p + "/users/" + user["reader"] + "/roles/" + member, nil, 204, 403, 403, 403, 403},
			{"GET", "/system/users/" + user["reader"] + "/roles", nil, 200, 200, 403, 403, 403},
			{"PUT", "/system/users/" + user["reader"] + "/roles/" + member, nil, 204, 403, 403, 403, 403},
			{"GET", "/regions", nil, 200, 200, 200, 200, 200},
			{"GET", "/services", nil, 200, 200, 403, 403, 403},
			{"GET", "/endpoints", nil, 200, 200, 403, 403, 403},
			{"POST", "/services", m{"service": m{"type": "z"}}, 201, 403, 403, 403, 403},
			{"DELETE", "/users/nope", nil, 404, 403, 403, 403, 403},
			{"GET", "/users/" + user["member"] + "/projects", nil, 200, 200, 200, 200, 200},
		} {
			for who, want := range map[string]int{"admin": x.admin, "sysreader": x.sysreader, "manager": x.manager, "reader": x.reader, "member": x.user} {
				a := c.call(tok[who], x.method, "/v3"+x.path, x.body)
				require.Equal(t, want, a.code, "%s %s by %s: %s", x.method, x.path, who, a.text)
				if want == 403 {
					require.True(t, strings.HasPrefix(a.str("error.message"), "You are not authorized to perform the requested action: identity:"), a.text)
				}
			}
			require.Equal(t, 401, c.call("", x.method, "/v3"+x.path, x.body).code)
		}
		require.Equal(t, []string{"d"}, c.call(tok["reader"], "GET", "/v3/domains", nil).names("domains", "name"))
		require.NotContains(t, c.call(tok["reader"], "GET", "/v3/users", nil).names("users", "name"), "admin")
		for _, x := range c.call(tok["reader"], "GET", "/v3/role_assignments", nil).at("role_assignments").([]any) {
			require.NotContains(t, x.(m)["scope"], "system")
		}
	})
}

// A region in use stays.
func TestRegionsAreATree(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.do(201, "PUT", "/v3/regions/a", m{"region": m{}})
		c.create("region", m{"id": "b", "parent_region_id": "a"})
		c.do(403, "DELETE", "/v3/regions/a", nil)
		c.do(403, "DELETE", "/v3/regions/RegionOne", nil)
		c.do(400, "PATCH", "/v3/regions/a", m{"region": m{"parent_region_id": "b"}})
		require.Equal(t, []string{"b"}, c.do(200, "GET", "/v3/regions?parent_region_id=a", nil).names("regions", "id"))
		c.do(200, "PATCH", "/v3/regions/b", m{"region": m{"parent_region_id": nil}})
		c.do(204, "DELETE", "/v3/regions/a", nil)
	})
}
