package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db/dbtest"
	"nephos/internal/identity"
	"nephos/internal/identity/api"
	"nephos/internal/identity/identitytest"
)

func TestLimits(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		require.Equal(t, "flat", c.do(200, "GET", "/v3/limits/model", nil).str("model.name"))
		svc := c.create("service", m{"type": "thing", "name": "thing"})
		reg := c.do(201, "POST", "/v3/registered_limits", m{"registered_limits": []m{{"service_id": svc, "resource_name": "cores", "default_limit": 10, "region_id": "RegionOne"}, {"service_id": svc, "resource_name": "ram", "default_limit": -1}}})
		id := reg.str("registered_limits.0.id")
		c.do(409, "POST", "/v3/registered_limits", m{"registered_limits": []m{{"service_id": svc, "resource_name": "ram", "default_limit": 5}}})
		c.do(400, "POST", "/v3/registered_limits", m{"registered_limits": []m{{"service_id": "nosuch", "resource_name": "x", "default_limit": 5}}})
		c.do(400, "POST", "/v3/registered_limits", m{"registered_limits": []m{{"service_id": svc, "resource_name": "x", "default_limit": "5"}}})
		require.Len(t, c.do(200, "GET", "/v3/registered_limits?resource_name=cores", nil).at("registered_limits"), 1)
		_, p, tok := c.member("ann", "member")
		limit := func(code int, attrs m) answer {
			x := m{"service_id": svc, "resource_name": "cores", "region_id": "RegionOne", "project_id": p, "resource_limit": 5}
			for k, v := range attrs {
				if x[k] = v; v == nil {
					delete(x, k)
				}
			}
			return c.do(code, "POST", "/v3/limits", m{"limits": []m{x}})
		}
		mine := limit(201, nil).str("limits.0.id")
		limit(409, nil)
		limit(403, m{"region_id": nil})
		limit(403, m{"resource_name": "nosuch"})
		limit(400, m{"domain_id": "default"})
		limit(400, m{"project_id": nil})
		limit(400, m{"project_id": "default"})
		limit(201, m{"project_id": nil, "domain_id": "default", "resource_limit": 7})
		c.do(403, "PATCH", "/v3/registered_limits/"+id, m{"registered_limit": m{"resource_name": "other"}})
		c.do(200, "PATCH", "/v3/registered_limits/"+id, m{"registered_limit": m{"default_limit": 11, "description": "x"}})
		c.do(403, "DELETE", "/v3/registered_limits/"+id, nil)
		c.do(403, "DELETE", "/v3/regions/RegionOne", nil)
		require.EqualValues(t, 6, c.do(200, "PATCH", "/v3/limits/"+mine, m{"limit": m{"resource_limit": 6}}).at("limit.resource_limit"))
		require.Len(t, c.call(tok, "GET", "/v3/limits", nil).at("limits"), 1, "only the token's project")
		require.Len(t, c.do(200, "GET", "/v3/limits", nil).at("limits"), 2)
		require.Len(t, c.do(200, "GET", "/v3/limits?domain_id=default", nil).at("limits"), 1)
		require.Equal(t, 200, c.call(tok, "GET", "/v3/limits/"+mine, nil).code)
		require.Equal(t, 403, c.call(tok, "DELETE", "/v3/limits/"+mine, nil).code)
		c.do(204, "DELETE", "/v3/limits/"+mine, nil)
		c.do(404, "GET", "/v3/limits/"+mine, nil)
		c.do(204, "DELETE", "/v3/services/"+svc, nil)
		require.Empty(t, c.do(200, "GET", "/v3/limits", nil).at("limits"))
	})
}

func TestStrictLimits(t *testing.T) {
	t.Parallel()
	d := dbtest.SQLite(t, rooms...)
	svc := identitytest.With(t, identity.Deps{DB: d, Limits: identity.LimitsStrict}, endpoints...)
	table, err := api.New(svc, api.Deps{})
	require.NoError(t, err)
	h, err := table.Compile()
	require.NoError(t, err)
	c := &cloud{t: t, h: h, svc: svc, admin: identitytest.AdminToken(t, svc)}
	s := c.create("service", m{"type": "thing", "name": "thing"})
	c.do(201, "POST", "/v3/registered_limits", m{"registered_limits": []m{{"service_id": s, "resource_name": "cores", "default_limit": 10}}})
	p := c.create("project", m{"name": "p"})
	set := func(code int, key, id string, value int) answer {
		return c.do(code, "POST", "/v3/limits", m{"limits": []m{{"service_id": s, "resource_name": "cores", key: id, "resource_limit": value}}})
	}
	set(403, "project_id", p, 11)
	top := set(201, "domain_id", "default", 20).str("limits.0.id")
	set(403, "project_id", p, -1)
	set(201, "project_id", p, 15)
	c.do(403, "PATCH", "/v3/limits/"+top, m{"limit": m{"resource_limit": 14}})
	c.do(200, "PATCH", "/v3/limits/"+top, m{"limit": m{"resource_limit": 15}})
}

func TestPoliciesAndEndpointFilter(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		pol := c.do(201, "POST", "/v3/policies", m{"policy": m{"type": "application/json", "blob": "{}", "note": 1}}).str("policy.id")
		require.EqualValues(t, 1, c.do(200, "GET", "/v3/policies/"+pol, nil).at("policy.note"))
		eps := c.do(200, "GET", "/v3/endpoints?interface=public", nil)
		ep, svc := eps.str("endpoints.0.id"), eps.str("endpoints.0.service_id")
		base := "/v3/policies/" + pol + "/OS-ENDPOINT-POLICY/"
		for _, path := range []string{"services/" + svc, "services/" + svc + "/regions/RegionOne", "endpoints/" + ep} {
			c.do(404, "GET", base+path, nil)
			c.do(204, "PUT", base+path, nil)
			c.do(204, "PUT", base+path, nil)
			c.do(204, "GET", base+path, nil)
			require.Equal(t, pol, c.do(200, "GET", "/v3/endpoints/"+ep+"/OS-ENDPOINT-POLICY/policy", nil).str("policy.id"))
			require.Contains(t, c.do(200, "GET", base+"endpoints", nil).names("endpoints", "id"), ep)
			c.do(204, "DELETE", base+path, nil)
			c.do(404, "GET", "/v3/endpoints/"+ep+"/OS-ENDPOINT-POLICY/policy", nil)
		}
		c.do(404, "PUT", base+"endpoints/nosuch", nil)
		c.do(200, "PATCH", "/v3/policies/"+pol, m{"policy": m{"blob": "x"}})
		c.do(204, "DELETE", "/v3/policies/"+pol, nil)

		// A project that was given endpoints sees only these in its catalog.
		u, p, _ := c.member("ann", "member")
		catalog := func() []string {
			tok := c.login(u, "pw", m{"project": m{"id": p}})
			return c.call(tok, "GET", "/v3/auth/catalog", nil).names("catalog", "id")
		}
		require.Len(t, catalog(), 3)
		mine := "/v3/OS-EP-FILTER/projects/" + p
		c.do(404, "GET", mine+"/endpoints/"+ep, nil)
		c.do(204, "PUT", mine+"/endpoints/"+ep, nil)
		c.do(204, "GET", mine+"/endpoints/"+ep, nil)
		require.Equal(t, []string{svc}, catalog())
		g := c.do(201, "POST", "/v3/OS-EP-FILTER/endpoint_groups", m{"endpoint_group": m{"name": "internal", "filters": m{"interface": "internal"}}}).str("endpoint_group.id")
		c.do(400, "POST", "/v3/OS-EP-FILTER/endpoint_groups", m{"endpoint_group": m{"name": "x", "filters": m{"color": "red"}}})
		require.Len(t, c.do(200, "GET", "/v3/OS-EP-FILTER/endpoint_groups/"+g+"/endpoints", nil).at("endpoints"), 3)
		c.do(204, "PUT", "/v3/OS-EP-FILTER/endpoint_groups/"+g+"/projects/"+p, nil)
		c.do(200, "GET", "/v3/OS-EP-FILTER/endpoint_groups/"+g+"/projects/"+p, nil)
		require.Equal(t, []string{p}, c.do(200, "GET", "/v3/OS-EP-FILTER/endpoint_groups/"+g+"/projects", nil).names("projects", "id"))
		require.Equal(t, []string{p}, c.do(200, "GET", "/v3/OS-EP-FILTER/endpoints/"+ep+"/projects", nil).names("projects", "id"))
		require.Equal(t, []string{g}, c.do(200, "GET", mine+"/endpoint_groups", nil).names("endpoint_groups", "id"))
		require.Len(t, c.do(200, "GET", mine+"/endpoints", nil).at("endpoints"), 4)
		require.Len(t, catalog(), 3)
		c.do(200, "PATCH", "/v3/OS-EP-FILTER/endpoint_groups/"+g, m{"endpoint_group": m{"filters": m{"service_id": svc}}})
		require.Equal(t, []string{svc}, catalog())
		c.do(204, "DELETE", mine+"/endpoints/"+ep, nil)
		c.do(404, "DELETE", mine+"/endpoints/"+ep, nil)
		c.do(204, "DELETE", "/v3/OS-EP-FILTER/endpoint_groups/"+g, nil)
		require.Len(t, catalog(), 3)
	})
}

func TestDomainConfigAndFederation(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		d := c.create("domain", m{"name": "d"})
		path := "/v3/domains/" + d + "/config"
		c.do(404, "GET", path, nil)
		body := m{"config": m{"identity": m{"driver": "ldap"}, "ldap": m{"url": "ldap://x", "password": "hush"}}}
		c.do(201, "PUT", path, body)
		a := c.do(200, "PUT", path, body)
		require.NotContains(t, a.text, "hush")
		require.Equal(t, "ldap", c.do(200, "GET", path+"/identity/driver", nil).str("config.driver"))
		require.Equal(t, "ldap://x", c.do(200, "GET", path+"/ldap", nil).str("config.ldap.url"))
		c.do(403, "PATCH", path, m{"config": m{"catalog": m{"driver": "x"}}})
		c.do(403, "PATCH", path, m{"config": m{"ldap": m{"nosuch": "x"}}})
		c.do(403, "PATCH", path+"/ldap", m{"config": m{"identity": m{"driver": "x"}}})
		c.do(404, "PATCH", path+"/ldap/suffix", m{"config": m{"suffix": "x"}})
		require.Equal(t, "ldap://y", c.do(200, "PATCH", path+"/ldap/url", m{"config": m{"url": "ldap://y"}}).str("config.ldap.url"))
		c.do(204, "DELETE", path+"/ldap/url", nil)
		c.do(404, "DELETE", path+"/ldap/url", nil)
		c.do(204, "DELETE", path, nil)
		require.Equal(t, "sql", c.do(200, "GET", "/v3/domains/config/identity/driver/default", nil).str("config.driver"))
		c.do(200, "GET", "/v3/domains/config/default", nil)
		c.do(200, "GET", "/v3/domains/config/ldap/default", nil)
		_, _, tok := c.member("ann", "reader")
		require.Equal(t, 403, c.call(tok, "GET", path, nil).code)
		require.Equal(t, 200, c.call(tok, "GET", path+"/security_compliance", nil).code)
		require.Equal(t, 200, c.call(tok, "GET", path+"/security_compliance/password_regex", nil).code)
		require.Equal(t, 403, c.call(tok, "GET", path+"/security_compliance/lockout_duration", nil).code)

		const fed = "/v3/OS-FEDERATION/"
		idp := c.do(201, "PUT", fed+"identity_providers/acme", m{"identity_provider": m{"enabled": true, "remote_ids": []string{"a"}}})
		require.Equal(t, "acme", idp.str("identity_provider.id"))
		c.do(409, "PUT", fed+"identity_providers/acme", m{"identity_provider": m{}})
		c.do(400, "PUT", fed+"identity_providers/x", m{"identity_provider": m{"color": "red"}})
		c.do(400, "PUT", fed+"identity_providers/acme/protocols/saml2", m{"protocol": m{"mapping_id": "m"}})
		c.do(201, "PUT", fed+"mappings/m", m{"mapping": m{"rules": []m{{"local": []m{}, "remote": []m{{"type": "x"}}}}}})
		c.do(201, "PUT", fed+"identity_providers/acme/protocols/saml2", m{"protocol": m{"mapping_id": "m"}})
		require.Equal(t, []string{"saml2"}, c.do(200, "GET", fed+"identity_providers/acme/protocols", nil).names("protocols", "id"))
		require.Equal(t, false, c.do(200, "PATCH", fed+"identity_providers/acme", m{"identity_provider": m{"enabled": false}}).at("identity_provider.enabled"))
		c.do(204, "DELETE", fed+"identity_providers/acme", nil)
		c.do(404, "GET", fed+"identity_providers/acme/protocols/saml2", nil)
		c.do(201, "PUT", fed+"service_providers/sp", m{"service_provider": m{"auth_url": "https://a", "sp_url": "https://b"}})
		require.Equal(t, "ss:mem:", c.do(200, "GET", fed+"service_providers/sp", nil).str("service_provider.relay_state_prefix"))
		require.Equal(t, []string{"sp"}, c.do(200, "GET", fed+"service_providers", nil).names("service_providers", "id"))
	})
}

func TestFolsomAdminSide(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		ten := c.do(200, "POST", "/v2.0/tenants", m{"tenant": m{"name": "t", "description": "d"}}).str("tenant.id")
		require.Equal(t, "d2", c.do(200, "POST", "/v2.0/tenants/"+ten, m{"tenant": m{"description": "d2"}}).str("tenant.description"))
		require.Equal(t, ten, c.do(200, "GET", "/v2.0/tenants?name=t", nil).str("tenant.id"))
		u := c.do(200, "POST", "/v2.0/users", m{"user": m{"name": "u", "password": "pw", "email": "u@x", "tenantId": ten}}).str("user.id")
		require.Equal(t, "u@x", c.do(200, "GET", "/v2.0/users/"+u, nil).str("user.email"))
		require.Equal(t, []string{"u"}, c.do(200, "GET", "/v2.0/tenants/"+ten+"/users", nil).names("users", "name"))
		require.Equal(t, u, c.do(200, "GET", "/v2.0/users?name=u", nil).str("user.id"))
		grants := "/v2.0/tenants/" + ten + "/users/" + u + "/roles"
		require.Equal(t, []string{"member"}, c.do(200, "GET", grants, nil).names("roles", "name"))
		role := c.do(200, "POST", "/v2.0/OS-KSADM/roles", m{"role": m{"name": "r"}}).str("role.id")
		c.do(200, "PUT", grants+"/OS-KSADM/"+role, nil)
		c.do(409, "PUT", grants+"/OS-KSADM/"+role, nil)
		require.Len(t, c.do(200, "GET", "/v2.0/users/"+u+"/roleRefs", nil).at("roles"), 2)
		c.do(204, "DELETE", grants+"/OS-KSADM/"+role, nil)
		c.do(404, "DELETE", grants+"/OS-KSADM/"+role, nil)
		c.do(501, "GET", "/v2.0/users/"+u+"/roles", nil)
		c.do(204, "DELETE", "/v2.0/OS-KSADM/roles/"+role, nil)

		a := c.call("", "POST", "/v2.0/tokens", v2Auth("u", "pw", "t"))
		require.Equal(t, 200, a.code, a.text)
		tok := a.str("access.token.id")
		require.Equal(t, []string{"t"}, c.call(tok, "GET", "/v2.0/tenants", nil).names("tenants", "name"))
		require.Equal(t, 403, c.call(tok, "GET", "/v2.0/users", nil).code)
		require.Equal(t, 401, c.call("", "GET", "/v2.0/users", nil).code)
		own := c.call(tok, "PATCH", "/v2.0/OS-KSCRUD/users/"+u, m{"user": m{"password": "pw2", "original_password": "pw"}})
		require.Equal(t, 200, own.code, own.text)
		require.Equal(t, 401, c.call(tok, "GET", "/v2.0/tenants", nil).code)
		require.Equal(t, 200, c.call(own.str("access.token.id"), "GET", "/v2.0/tenants", nil).code)
		other := c.do(200, "POST", "/v2.0/tenants", m{"tenant": m{"name": "t2"}}).str("tenant.id")
		c.do(200, "PUT", "/v2.0/users/"+u+"/OS-KSADM/tenant", m{"user": m{"tenantId": other}})
		require.Empty(t, c.do(200, "GET", grants, nil).at("roles"))
		c.do(200, "PUT", "/v2.0/users/"+u+"/OS-KSADM/password", m{"user": m{"password": "pw3"}})
		require.Equal(t, false, c.do(200, "PUT", "/v2.0/users/"+u+"/OS-KSADM/enabled", m{"user": m{"enabled": false}}).at("user.enabled"))
		require.Equal(t, 401, c.call("", "POST", "/v2.0/tokens", v2Auth("u", "pw3", "t2")).code)

		svc := c.do(200, "POST", "/v2.0/OS-KSADM/services", m{"OS-KSADM:service": m{"name": "s", "type": "thing", "description": "d"}})
		require.Equal(t, "d", svc.str("OS-KSADM:service.description"))
		id := svc.str("OS-KSADM:service.id")
		ep := c.do(200, "POST", "/v2.0/endpoints", m{"endpoint": m{"service_id": id, "region": "R2", "publicurl": "http://p", "adminurl": "http://a", "internalurl": "http://i"}})
		require.NotContains(t, ep.at("endpoint"), "enabled")
		require.Len(t, c.do(200, "GET", "/v3/endpoints?service_id="+id, nil).at("endpoints"), 3)
		require.Len(t, c.do(200, "GET", "/v2.0/endpoints", nil).at("endpoints"), 4, "one record for each service and region")
		c.do(204, "DELETE", "/v2.0/endpoints/"+ep.str("endpoint.id"), nil)
		require.Empty(t, c.do(200, "GET", "/v3/endpoints?service_id="+id, nil).at("endpoints"))
		c.do(204, "DELETE", "/v2.0/OS-KSADM/services/"+id, nil)
		c.do(204, "DELETE", "/v2.0/users/"+u, nil)
		c.do(204, "DELETE", "/v2.0/tenants/"+ten, nil)
		c.do(404, "GET", "/v2.0/tenants/"+ten, nil)
		c.do(410, "GET", "/v2.0/tokens/revoked", nil)
	})
}

func TestV2CanBeSwitchedOff(t *testing.T) {
	t.Parallel()
	svc := identitytest.New(t, dbtest.SQLite(t, rooms...), nil, endpoints...)
	table, err := api.New(svc, api.Deps{NoV2: true})
	require.NoError(t, err)
	h, err := table.Compile()
	require.NoError(t, err)
	c := &cloud{t: t, h: h, svc: svc, admin: identitytest.AdminToken(t, svc)}
	require.Len(t, c.call("", "GET", "/", nil).at("versions.values"), 1)
	c.do(404, "GET", "/v2.0", nil)
	c.do(404, "POST", "/v2.0/tokens", v2Auth("admin", identitytest.Password, "admin"))
	c.do(200, "GET", "/v3/users", nil)
}
