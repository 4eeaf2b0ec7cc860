package api_test

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v2/tenants"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/stretchr/testify/require"

	"nephos/internal/identity/identitytest"
)

func v2Auth(user, password, tenant string) m {
	a := m{"passwordCredentials": m{"username": user, "password": password}}
	if tenant != "" {
		a["tenantName"] = tenant
	}
	return m{"auth": a}
}

// What novaclient 2.9.0 of 2012 sends and reads.
func TestFolsomLogIn(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		// Written as that client writes it, byte for byte.
		a := c.call("", "POST", "/v2.0/tokens", `{"auth": {"tenantName": "admin", "passwordCredentials": {"username": "admin", "password": "`+identitytest.Password+`"}}}`)
		require.Equal(t, 200, a.code, a.text)
		tok, tenant := a.str("access.token.id"), a.str("access.token.tenant.id")
		require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`, a.str("access.token.expires"))
		require.Equal(t, "admin", a.str("access.token.tenant.name"))
		require.Equal(t, true, a.at("access.token.tenant.enabled"))
		require.Contains(t, a.at("access.token.tenant"), "description")
		require.Equal(t, "admin", a.str("access.user.name"))
		require.Equal(t, "admin", a.str("access.user.username"))
		require.Contains(t, a.names("access.user.roles", "name"), "admin")
		require.Equal(t, []any{}, a.at("access.user.roles_links"))
		require.Equal(t, 0.0, a.at("access.metadata.is_admin"))
		require.Len(t, a.at("access.metadata.roles"), 4)

		require.Equal(t, []string{"compute", "identity", "volumev3"}, a.names("access.serviceCatalog", "type"), "exactly one of type compute")
		require.Len(t, a.at("access.serviceCatalog.0.endpoints"), 1)
		require.Equal(t, []any{}, a.at("access.serviceCatalog.0.endpoints_links"))
		for _, k := range []string{"publicURL", "internalURL", "adminURL"} {
			require.Equal(t, "http://h:8774/v2/"+tenant, a.str("access.serviceCatalog.0.endpoints.0."+k))
		}
		require.Equal(t, "RegionOne", a.str("access.serviceCatalog.0.endpoints.0.region"))
		require.NotContains(t, a.at("access.serviceCatalog.0.endpoints.0"), "versionId")
		require.Equal(t, "http://in:8776/v3/"+tenant, a.str("access.serviceCatalog.2.endpoints.0.internalURL"))

		require.Equal(t, 200, c.call(tok, "GET", "/v3/users", nil).code, "one token for both versions")
		require.Equal(t, []string{"admin", "service"}, c.call(tok, "GET", "/v2.0/tenants", nil).names("tenants", "name"), "an administrator sees all")
		require.Equal(t, 401, c.call("", "GET", "/v2.0/tenants", nil).code)

		// From a token, with the other ways to name things.
		un := c.call("", "POST", "/v2.0/tokens", v2Auth("admin", identitytest.Password, ""))
		require.Equal(t, 200, un.code)
		require.Equal(t, []any{}, un.at("access.serviceCatalog"))
		require.NotContains(t, un.at("access.token"), "tenant")
		require.Equal(t, []any{}, un.at("access.metadata.roles"))
		for _, scope := range []m{{"tenantName": "admin"}, {"tenantId": tenant}} {
			scope["token"] = m{"id": un.str("access.token.id")}
			x := c.call("", "POST", "/v2.0/tokens", m{"auth": scope})
			require.Equal(t, 200, x.code, x.text)
			require.Equal(t, tenant, x.str("access.token.tenant.id"))
		}
		x := c.call("", "POST", "/v2.0/tokens", m{"auth": m{"passwordCredentials": m{"userId": a.str("access.user.id"), "password": identitytest.Password}, "tenantId": tenant}})
		require.Equal(t, 200, x.code)
	})
}

func TestFolsomRefusals(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		good := identitytest.Password
		for _, x := range []struct {
			code int
			body any
		}{
			{401, v2Auth("admin", "x", "admin")}, {401, v2Auth("nobody", good, "admin")}, {401, v2Auth("admin", good, "nothing")},
			{401, m{"auth": m{"token": m{"id": "x"}}}},
			{400, m{"auth": m{}}}, {400, m{}}, {400, `{`}, {400, m{"auth": m{"passwordCredentials": m{"username": "admin"}}}}, {400, m{"auth": m{"passwordCredentials": m{"password": "x"}}}},
			{400, m{"auth": m{"passwordCredentials": "x"}}},
		} {
			a := c.call("", "POST", "/v2.0/tokens", x.body)
			require.Equal(t, x.code, a.code, "%v: %s", x.body, a.text)
			require.NotEmpty(t, a.str("error.message"))
		}
	})
}

func TestFolsomTokenLife(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.call("", "POST", "/v2.0/tokens", v2Auth("admin", identitytest.Password, "admin"))
		path := "/v2.0/tokens/" + a.str("access.token.id")
		require.Equal(t, a.doc, c.do(200, "GET", path, nil).doc)
		c.do(200, "GET", path+"?belongsTo="+a.str("access.token.tenant.id"), nil)
		c.do(401, "GET", path+"?belongsTo=other", nil)
		require.Equal(t, 200, c.call(c.admin, "HEAD", path, nil).code)
		require.Equal(t, []string{"compute", "identity", "volumev3"}, c.do(200, "GET", path+"/endpoints", nil).names("endpoints", "type"))
		u := c.create("user", m{"name": "u", "password": "pw"})
		require.Equal(t, 403, c.call(c.login(u, "pw", nil), "GET", path, nil).code)
		c.do(204, "DELETE", path, nil)
		c.do(404, "GET", path, nil)
		c.do(404, "DELETE", path, nil)
		require.Equal(t, []string{"OS-KSADM", "OS-KSCRUD", "OS-EC2"}, c.do(200, "GET", "/v2.0/extensions", nil).names("extensions.values", "alias"))
		c.do(404, "GET", "/v2.0/extensions/x", nil)
		c.do(405, "PATCH", "/v2.0/tenants", nil)
	})
}

// The admin side is the same API, but the list of all tenants is an administrator's there.
func TestAdminSideOfItsOwn(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		u := c.create("user", m{"name": "u", "password": "pw"})
		p := c.create("project", m{"name": "p"})
		c.do(204, "PUT", "/v3/projects/"+p+"/users/"+u+"/roles/"+c.roleID("member"), nil)
		user := c.login(u, "pw", m{"project": m{"id": p}})
		require.Equal(t, []string{"p"}, c.call(user, "GET", "/v2.0/tenants", nil).names("tenants", "name"))
		require.Equal(t, 403, c.call(user, "GET", "/admin/v2.0/tenants", nil).code)
		require.Equal(t, 401, c.call("", "GET", "/admin/v2.0/tenants", nil).code)
		require.Contains(t, c.do(200, "GET", "/admin/v2.0/tenants", nil).names("tenants", "name"), "p")
		c.do(200, "GET", "/admin/v2.0/tenants/"+p, nil)
		c.do(200, "GET", "/admin/v3/users/"+u, nil)
		c.do(200, "GET", "/admin/v3/", nil)
		require.Equal(t, 300, c.call("", "GET", "/admin/", nil).code)
		require.Equal(t, 300, c.call("", "GET", "/admin", nil).code)
		require.Equal(t, 404, c.call(c.admin, "GET", "/administer/v3/users", nil).code)
	})
}

// gophercloud through a socket, both versions.
func TestGophercloud(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		srv := httptest.NewServer(c.h)
		defer srv.Close()
		ctx := context.Background()
		login := func(url string, v2 bool) *gophercloud.ProviderClient {
			o := gophercloud.AuthOptions{IdentityEndpoint: srv.URL + url, Username: "admin", Password: identitytest.Password, TenantName: "admin", DomainName: "Default", AllowReauth: true}
			if v2 {
				o.DomainName = ""
			}
			p, err := openstack.AuthenticatedClient(ctx, o)
			require.NoError(t, err, url)
			require.NotEmpty(t, p.Token())
			return p
		}
		p := login("/", false)
		id, err := openstack.NewIdentityV3(p, gophercloud.EndpointOpts{})
		require.NoError(t, err)
		id.Endpoint = srv.URL + "/v3/"
		pages, err := projects.List(id, nil).AllPages(ctx)
		require.NoError(t, err)
		all, err := projects.ExtractProjects(pages)
		require.NoError(t, err)
		require.Len(t, all, 2)
		made, err := projects.Create(ctx, id, projects.CreateOpts{Name: "x", Tags: []string{"t"}}).Extract()
		require.NoError(t, err)
		require.Equal(t, "default", made.DomainID)

		login("/v3", false)
		old := login("/v2.0/", true)
		v2, err := openstack.NewIdentityV2(old, gophercloud.EndpointOpts{})
		require.NoError(t, err)
		v2.Endpoint = srv.URL + "/v2.0/"
		pages, err = tenants.List(v2, nil).AllPages(ctx)
		require.NoError(t, err)
		ts, err := tenants.ExtractTenants(pages)
		require.NoError(t, err)
		require.Len(t, ts, 3, "an administrator sees all")
		compute, err := openstack.NewComputeV2(old, gophercloud.EndpointOpts{})
		require.NoError(t, err)
		require.Equal(t, "http://h:8774/v2/"+ts[0].ID+"/", compute.Endpoint)
	})
}
