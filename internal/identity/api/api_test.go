package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/identity"
	"nephos/internal/identity/api"
	"nephos/internal/identity/identitytest"
)

var rooms = []db.Migrations{identity.Migrations()}

var endpoints = []identity.BootstrapEndpoint{
	{Type: "compute", Name: "nova", Description: "Compute", URL: "http://h:8774/v2.1", LegacyURL: "http://h:8774/v2/%(tenant_id)s"},
	{Type: "volumev3", Name: "cinder", URL: "http://h:8776/v3/%(project_id)s", InternalURL: "http://in:8776/v3/$(project_id)s"},
	{Type: "identity", Name: "keystone", URL: "http://h:5000/v3", LegacyURL: "http://h:5000/v2.0"},
}

// cloud is identity behind its HTTP face.
type cloud struct {
	t     *testing.T
	h     http.Handler
	svc   *identity.Service
	admin string // a token
}

func newCloud(t *testing.T, d *db.DB) *cloud {
	svc := identitytest.New(t, d, nil, endpoints...)
	table, err := api.New(svc, api.Deps{AuthURI: "http://h:5000/v3"})
	require.NoError(t, err)
	h, err := table.Compile()
	require.NoError(t, err)
	return &cloud{t: t, h: api.AdminSide(h), svc: svc, admin: identitytest.AdminToken(t, svc)}
}

// each runs fn on both databases.
func each(t *testing.T, fn func(t *testing.T, c *cloud)) {
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) { fn(t, newCloud(t, d)) })
}

// answer is a reply with its JSON taken apart.
type answer struct {
	t    *testing.T
	code int
	head http.Header
	text string
	doc  any
}

func (c *cloud) call(token, method, path string, body any, more ...string) answer {
	c.t.Helper()
	var b bytes.Buffer
	switch x := body.(type) {
	case nil:
	case string:
		b.WriteString(x)
	default:
		require.NoError(c.t, json.NewEncoder(&b).Encode(x))
	}
	r := httptest.NewRequest(method, "http://h:5000"+path, &b)
	if b.Len() > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i < len(more); i += 2 {
		r.Header.Set(more[i], more[i+1])
	}
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	a := answer{t: c.t, code: w.Code, head: w.Header(), text: w.Body.String()}
	if strings.HasPrefix(a.text, "{") {
		require.NoError(c.t, json.Unmarshal(w.Body.Bytes(), &a.doc))
	}
	return a
}

// do is call by admin with an expected code.
func (c *cloud) do(code int, method, path string, body any) answer {
	c.t.Helper()
	a := c.call(c.admin, method, path, body)
	require.Equal(c.t, code, a.code, "%s %s: %s", method, path, a.text)
	return a
}

// at walks a path of keys and list indexes: "token.roles.0.name".
func (a answer) at(path string) any {
	a.t.Helper()
	v := a.doc
	for key := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			var i int
			_, err := fmt.Sscan(key, &i)
			require.NoError(a.t, err, "%s of %s", path, a.text)
			require.Less(a.t, i, len(x), "%s of %s", path, a.text)
			v = x[i]
		default:
			require.Fail(a.t, "no such path", "%s of %s", path, a.text)
		}
	}
	return v
}

func (a answer) str(path string) string {
	a.t.Helper()
	s, ok := a.at(path).(string)
	require.True(a.t, ok, "%s of %s is no string", path, a.text)
	return s
}

// names lists one attribute of a list's members.
func (a answer) names(key, attr string) []string {
	a.t.Helper()
	out := []string{}
	for _, x := range a.at(key).([]any) {
		out = append(out, x.(map[string]any)[attr].(string))
	}
	return out
}

type m = map[string]any

func passwordAuth(user m, password string, scope any) m {
	u := m{"password": password}
	for k, v := range user {
		u[k] = v
	}
	auth := m{"identity": m{"methods": []string{"password"}, "password": m{"user": u}}}
	if scope != nil {
		auth["scope"] = scope
	}
	return m{"auth": auth}
}

var byName = m{"name": "admin", "domain": m{"id": "default"}}

func (c *cloud) create(kind string, attrs m) string {
	c.t.Helper()
	return c.do(201, "POST", "/v3/"+kind+"s", m{kind: attrs}).str(kind + ".id")
}

func (c *cloud) roleID(name string) string {
	c.t.Helper()
	return c.do(200, "GET", "/v3/roles?name="+name, nil).str("roles.0.id")
}

// login gives a token for a user id.
func (c *cloud) login(user, password string, scope any) string {
	c.t.Helper()
	a := c.call("", "POST", "/v3/auth/tokens", passwordAuth(m{"id": user}, password, scope))
	require.Equal(c.t, 201, a.code, a.text)
	return a.head.Get("X-Subject-Token")
}

func TestVersionDocuments(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.call("", "GET", "/", nil)
		require.Equal(t, 300, a.code)
		require.Equal(t, "http://h:5000/v3/", a.head.Get("Location"))
		require.Equal(t, "v3.14", a.str("versions.values.0.id"))
		require.Equal(t, "http://h:5000/v3/", a.str("versions.values.0.links.0.href"))
		for _, p := range []string{"/v3", "/v3/", "/v2.0", "/v2.0/"} {
			a := c.call("", "GET", p, nil)
			require.Equal(t, 200, a.code)
			require.True(t, strings.HasPrefix(a.str("version.id"), p[1:3]))
			require.Equal(t, "X-Auth-Token", a.head.Get("Vary"))
			require.True(t, strings.HasPrefix(a.head.Get("X-Openstack-Request-Id"), "req-"))
		}
		const rel = "https://docs.openstack.org/api/openstack-identity/3/"
		for _, p := range []string{"/", "/v3"} {
			a := c.call("", "GET", p, nil, "Accept", "application/json-home")
			require.Equal(t, 200, a.code)
			require.Equal(t, "application/json-home", a.head.Get("Content-Type"))
			home := a.at("resources").(map[string]any)
			for name, want := range map[string]m{
				"rel/auth_tokens": {"href": "/v3/auth/tokens"}, "rel/users": {"href": "/v3/users"}, "ext/OS-TRUST/1.0/rel/trusts": {"href": "/v3/OS-TRUST/trusts"},
				"rel/group_user":   {"href-template": "/v3/groups/{group_id}/users/{user_id}", "href-vars": m{"group_id": rel + "param/group_id", "user_id": rel + "param/user_id"}},
				"rel/implied_role": {"href-template": "/v3/roles/{role_id}/implies/{implied_role_id}", "href-vars": m{"role_id": rel + "param/role_id", "implied_role_id": rel + "param/implied_role_id"}},
			} {
				require.Equal(t, want, home[rel+name], name)
			}
		}
		require.Equal(t, 405, c.call(c.admin, "PUT", "/v3/users", m{"user": m{}}).code)
		require.Equal(t, 404, c.call(c.admin, "GET", "/v3/nothing", nil).code)
	})
}

func TestLogInByScope(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.call("", "POST", "/v3/auth/tokens", passwordAuth(byName, identitytest.Password, m{"project": m{"name": "admin", "domain": m{"name": "Default"}}}))
		require.Equal(t, 201, a.code, a.text)
		tok := a.head.Get("X-Subject-Token")
		require.Less(t, len(tok), 256)
		require.Equal(t, []any{"password"}, a.at("token.methods"))
		require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`, a.str("token.issued_at"))
		require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`, a.str("token.expires_at"))
		require.Equal(t, m{"id": "default", "name": "Default"}, a.at("token.user.domain"))
		require.Equal(t, m{"id": "default", "name": "Default"}, a.at("token.project.domain"))
		require.Equal(t, false, a.at("token.is_domain"))
		require.Nil(t, a.at("token.user.password_expires_at"))
		require.Equal(t, []string{"admin", "manager", "member", "reader"}, a.names("token.roles", "name"))
		require.Len(t, a.at("token.audit_ids"), 1)
		pid := a.str("token.project.id")
		require.Regexp(t, `^[0-9a-f]{32}$`, pid)
		require.Equal(t, []string{"compute", "identity", "volumev3"}, a.names("token.catalog", "type"))
		require.Equal(t, "http://h:8774/v2.1", a.str("token.catalog.0.endpoints.0.url"))
		require.NotContains(t, a.text, "/v2/")
		urls := a.names("token.catalog.2.endpoints", "url")
		require.ElementsMatch(t, []string{"http://h:8776/v3/" + pid, "http://in:8776/v3/" + pid, "http://h:8776/v3/" + pid}, urls)
		require.Equal(t, "RegionOne", a.str("token.catalog.0.endpoints.0.region"))
		require.Equal(t, "RegionOne", a.str("token.catalog.0.endpoints.0.region_id"))

		for name, x := range map[string]struct {
			scope any
			has   string
			not   []string
		}{
			"unscoped":        {"unscoped", "", []string{"project", "catalog", "roles", "domain", "system"}},
			"unscoped object": {m{"unscoped": m{}}, "", []string{"project", "catalog", "roles"}},
			"none":            {nil, "", []string{"project", "catalog", "roles"}},
			"system":          {m{"system": m{"all": true}}, "system", []string{"project", "domain"}},
			"project id":      {m{"project": m{"id": pid}}, "project", []string{"system", "domain"}},
		} {
			a := c.call("", "POST", "/v3/auth/tokens", passwordAuth(byName, identitytest.Password, x.scope))
			require.Equal(t, 201, a.code, "%s: %s", name, a.text)
			token := a.at("token").(m)
			for _, k := range x.not {
				require.NotContains(t, token, k, name)
			}
			if x.has != "" {
				require.Contains(t, token, x.has, name)
				require.Contains(t, token, "catalog", name)
			}
		}
		// Endpoints that need a project are left out of a system token's catalog.
		a = c.call("", "POST", "/v3/auth/tokens", passwordAuth(byName, identitytest.Password, m{"system": m{"all": true}}))
		require.Empty(t, a.at("token.catalog.2.endpoints"))
		a = c.call("", "POST", "/v3/auth/tokens?nocatalog", passwordAuth(byName, identitytest.Password, m{"project": m{"id": pid}}))
		require.NotContains(t, a.at("token"), "catalog")
	})
}

func TestLogInDefaultProjectAndDomain(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		p := c.create("project", m{"name": "p"})
		u := c.create("user", m{"name": "u", "password": "pw", "default_project_id": p})
		a := c.call("", "POST", "/v3/auth/tokens", passwordAuth(m{"id": u}, "pw", nil))
		require.NotContains(t, a.at("token"), "project", "no role there: unscoped")
		c.do(204, "PUT", "/v3/projects/"+p+"/users/"+u+"/roles/"+c.roleID("member"), nil)
		a = c.call("", "POST", "/v3/auth/tokens", passwordAuth(m{"id": u}, "pw", nil))
		require.Equal(t, p, a.str("token.project.id"))
		a = c.call("", "POST", "/v3/auth/tokens", passwordAuth(m{"id": u}, "pw", "unscoped"))
		require.NotContains(t, a.at("token"), "project")

		d := c.create("domain", m{"name": "d"})
		c.do(204, "PUT", "/v3/domains/"+d+"/users/"+u+"/roles/"+c.roleID("manager"), nil)
		a = c.call("", "POST", "/v3/auth/tokens", passwordAuth(m{"id": u}, "pw", m{"domain": m{"name": "d"}}))
		require.Equal(t, 201, a.code)
		require.Equal(t, m{"id": d, "name": "d"}, a.at("token.domain"))
		require.Contains(t, a.at("token"), "catalog")
	})
}

func TestLogInRefused(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		idle := c.create("user", m{"name": "idle", "password": "pw", "enabled": false})
		bare := c.create("user", m{"name": "bare"})
		admin := m{"project": m{"name": "admin", "domain": m{"id": "default"}}}
		var texts []string
		for name, body := range map[string]m{
			"wrong password":    passwordAuth(byName, "x", admin),
			"unknown user":      passwordAuth(m{"name": "nobody", "domain": m{"id": "default"}}, identitytest.Password, admin),
			"unknown user id":   passwordAuth(m{"id": "nobody"}, identitytest.Password, admin),
			"other case":        passwordAuth(m{"name": "Admin", "domain": m{"id": "default"}}, identitytest.Password, admin),
			"unknown domain":    passwordAuth(m{"name": "admin", "domain": m{"id": "nope"}}, identitytest.Password, admin),
			"disabled user":     passwordAuth(m{"id": idle}, "pw", nil),
			"no password":       passwordAuth(m{"id": bare}, "", nil),
			"unknown project":   passwordAuth(byName, identitytest.Password, m{"project": m{"id": "nope"}}),
			"project by name":   passwordAuth(byName, identitytest.Password, m{"project": m{"name": "nope", "domain": m{"id": "default"}}}),
			"no role on domain": passwordAuth(byName, identitytest.Password, m{"domain": m{"id": "default"}}),
		} {
			a := c.call("", "POST", "/v3/auth/tokens", body)
			require.Equal(t, 401, a.code, "%s: %s", name, a.text)
			require.Equal(t, `Keystone uri="http://h:5000/v3"`, a.head.Get("WWW-Authenticate"))
			texts = append(texts, a.text)
		}
		for _, x := range texts {
			require.Equal(t, texts[0], x, "the answer does not say which part was wrong")
		}
		require.Equal(t, 400, c.call("", "POST", "/v3/auth/tokens", m{"auth": m{"identity": m{"methods": []string{"totp"}}}}).code, "named but not described")
		require.Equal(t, 404, c.call("", "POST", "/v3/auth/tokens", m{"auth": m{"identity": m{"methods": []string{"token"}, "token": m{"id": "gAAAA"}}}}).code, "a token that is none")
		a := c.call("", "POST", "/v3/auth/tokens", m{"auth": m{"identity": m{"methods": []string{"saml2"}}}})
		require.Equal(t, 401, a.code)
		require.Equal(t, "Attempted to authenticate with an unsupported method.", a.str("error.message"))
	})
}

func TestLogInMalformed(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		good := identitytest.Password
		for name, body := range map[string]any{
			"no JSON":             `{"auth":`,
			"a list":              `[]`,
			"empty":               ``,
			"no auth":             m{},
			"no identity":         m{"auth": m{}},
			"no methods":          m{"auth": m{"identity": m{}}},
			"methods no list":     m{"auth": m{"identity": m{"methods": "password"}}},
			"no payload":          m{"auth": m{"identity": m{"methods": []string{"password"}}}},
			"user without domain": passwordAuth(m{"name": "admin"}, good, nil),
			"nobody":              passwordAuth(m{}, good, nil),
			"number as password":  m{"auth": m{"identity": m{"methods": []string{"password"}, "password": m{"user": m{"id": "x", "password": 5}}}}},
			"two scopes":          passwordAuth(byName, good, m{"project": m{"id": "x"}, "domain": m{"id": "x"}}),
			"empty scope":         passwordAuth(byName, good, m{}),
			"project name only":   passwordAuth(byName, good, m{"project": m{"name": "admin"}}),
			"project nothing":     passwordAuth(byName, good, m{"project": m{}}),
			"domain nothing":      passwordAuth(byName, good, m{"domain": m{}}),
			"system some":         passwordAuth(byName, good, m{"system": m{"all": false}}),
			"a word":              passwordAuth(byName, good, "everything"),
			"a number":            passwordAuth(byName, good, 7),
		} {
			a := c.call("", "POST", "/v3/auth/tokens", body)
			require.Equal(t, 400, a.code, "%s: %s", name, a.text)
			require.Equal(t, "Bad Request", a.str("error.title"), name)
		}
		big := `{"auth":"` + strings.Repeat("x", 10<<20) + `"}`
		require.Equal(t, 413, c.call("", "POST", "/v3/auth/tokens", big).code)
	})
}

func TestTokenLife(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		u := c.create("user", m{"name": "u", "password": "pw"})
		p := c.create("project", m{"name": "p"})
		c.do(204, "PUT", "/v3/projects/"+p+"/users/"+u+"/roles/"+c.roleID("member"), nil)
		first := c.login(u, "pw", m{"project": m{"id": p}})

		// A token from a token keeps the expiry and the audit chain.
		body := m{"auth": m{"identity": m{"methods": []string{"token"}, "token": m{"id": first}}, "scope": m{"project": m{"id": p}}}}
		a := c.call("", "POST", "/v3/auth/tokens", body)
		require.Equal(t, 201, a.code, a.text)
		second := a.head.Get("X-Subject-Token")
		was := c.call(first, "GET", "/v3/auth/tokens", nil, "X-Subject-Token", first)
		require.Equal(t, was.at("token.expires_at"), a.at("token.expires_at"))
		require.ElementsMatch(t, []any{"password", "token"}, a.at("token.methods"))
		require.Equal(t, was.at("token.audit_ids.0"), a.at("token.audit_ids.1"))

		shown := c.call(c.admin, "GET", "/v3/auth/tokens", nil, "X-Subject-Token", second)
		require.Equal(t, 200, shown.code)
		require.Equal(t, a.doc, shown.doc)
		require.Equal(t, second, shown.head.Get("X-Subject-Token"))
		require.Equal(t, 200, c.call(second, "HEAD", "/v3/auth/tokens", nil, "X-Subject-Token", second).code)
		require.NotContains(t, c.call(c.admin, "GET", "/v3/auth/tokens?nocatalog=1", nil, "X-Subject-Token", second).at("token"), "catalog")

		// Others' tokens: only who may.
		require.Equal(t, 403, c.call(second, "GET", "/v3/auth/tokens", nil, "X-Subject-Token", c.admin).code)
		// Keystone looks the token up before it asks the policy.
		require.Equal(t, 404, c.call(second, "GET", "/v3/auth/tokens", nil, "X-Subject-Token", "junk").code)
		require.Equal(t, 404, c.call(c.admin, "GET", "/v3/auth/tokens", nil, "X-Subject-Token", "junk").code)
		require.Equal(t, 404, c.call(c.admin, "GET", "/v3/auth/tokens", nil).code)
		require.Equal(t, 401, c.call("junk", "GET", "/v3/auth/tokens", nil, "X-Subject-Token", second).code)
		require.Equal(t, 401, c.call("", "GET", "/v3/auth/tokens", nil, "X-Subject-Token", second).code)

		require.Equal(t, []string{"p"}, c.call(second, "GET", "/v3/auth/projects", nil).names("projects", "name"))
		require.Empty(t, c.call(second, "GET", "/v3/auth/domains", nil).at("domains"))
		require.Empty(t, c.call(second, "GET", "/v3/auth/system", nil).at("system"))
		require.Equal(t, true, c.call(c.admin, "GET", "/v3/auth/system", nil).at("system.0.all"))
		require.Len(t, c.call(second, "GET", "/v3/auth/catalog", nil).at("catalog"), 3)
		require.Equal(t, 403, c.call(c.login(u, "pw", "unscoped"), "GET", "/v3/auth/catalog", nil).code)

		require.Equal(t, 204, c.call(second, "DELETE", "/v3/auth/tokens", nil, "X-Subject-Token", second).code)
		require.Equal(t, 404, c.call(c.admin, "GET", "/v3/auth/tokens", nil, "X-Subject-Token", second).code)
		require.Equal(t, 401, c.call(second, "GET", "/v3/auth/projects", nil).code)
		require.Equal(t, 200, c.call(first, "GET", "/v3/auth/projects", nil).code, "its sibling lives on")

		// The user's own change of password, without a token.
		change := func(old, new string) int {
			return c.call("", "POST", "/v3/users/"+u+"/password", m{"user": m{"original_password": old, "password": new}}).code
		}
		require.Equal(t, 401, change("wrong", "pw2"))
		require.Equal(t, 204, change("pw", "pw2"))
		require.Equal(t, 401, c.call(first, "GET", "/v3/auth/projects", nil).code)
		require.Equal(t, 405, c.call(c.admin, "GET", "/v3/users/"+u+"/password", nil).code)
		c.login(u, "pw2", nil)
	})
}
