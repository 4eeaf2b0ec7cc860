package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"nephos/internal/db/dbtest"
	"nephos/internal/identity/api"
	"nephos/internal/identity/identitytest"
)

// fuzzed are the calls whose bodies are thrown at them.
var fuzzed = []struct{ method, path, seed string }{
	{"POST", "/v3/auth/tokens", `{"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": "x"}}}, "scope": {"project": {"name": "admin", "domain": {"name": "Default"}}}}}`},
	{"POST", "/v3/auth/tokens", `{"auth": {"identity": {"methods": ["application_credential", "totp"], "application_credential": {"id": "x", "secret": "y"}, "totp": {"user": {"id": "u", "passcode": "000000"}}}, "scope": {"OS-TRUST:trust": {"id": "x"}}}}`},
	{"POST", "/v2.0/tokens", `{"auth": {"passwordCredentials": {"username": "admin", "password": "x"}, "tenantName": "admin"}}`},
	{"POST", "/v3/users", `{"user": {"name": "u", "domain_id": "default", "password": null, "options": {"multi_factor_auth_rules": [["password"]]}, "x": [1]}}`},
	{"POST", "/v3/projects", `{"project": {"name": "p", "tags": ["a"], "options": {"immutable": true}, "parent_id": "default", "is_domain": false}}`},
	{"POST", "/v3/roles", `{"role": {"name": "r", "domain_id": null, "description": "x"}}`},
	{"POST", "/v3/groups", `{"group": {"name": "g"}}`},
	{"POST", "/v3/endpoints", `{"endpoint": {"interface": "public", "service_id": "x", "url": "http://x/%(project_id)s", "region": "R"}}`},
	{"POST", "/v3/credentials", `{"credential": {"type": "ec2", "blob": "{\"access\": \"a\", \"secret\": \"b\"}", "project_id": "x"}}`},
	{"POST", "/v3/OS-TRUST/trusts", `{"trust": {"trustor_user_id": "a", "trustee_user_id": "b", "impersonation": true, "roles": [{"name": "member"}], "expires_at": "2030-01-01T00:00:00Z", "remaining_uses": 1}}`},
	{"POST", "/v3/limits", `{"limits": [{"service_id": "s", "resource_name": "r", "resource_limit": 1, "project_id": "p"}]}`},
	{"POST", "/v3/registered_limits", `{"registered_limits": [{"service_id": "s", "resource_name": "r", "default_limit": 1}]}`},
	{"POST", "/v3/ec2tokens", `{"credentials": {"access": "a", "signature": "s", "params": {"Timestamp": "x"}, "headers": {}}}`},
	{"POST", "/v3/s3tokens", `{"credentials": {"access": "a", "signature": "s", "token": "UFVU"}}`},
	{"PUT", "/v3/domains/default/config", `{"config": {"ldap": {"url": "x", "password": "y"}}}`},
	{"PUT", "/v3/OS-FEDERATION/mappings/m", `{"mapping": {"rules": [{"local": [], "remote": [{"type": "x"}]}]}}`},
	{"PATCH", "/v3/users/nosuch", `{"user": {"name": "x", "enabled": false}}`},
}

// FuzzBodies throws bodies at the calls that take one: never a 5xx, never a panic.
func FuzzBodies(f *testing.F) {
	svc := identitytest.New(f, dbtest.SQLite(f, rooms...), nil, endpoints...)
	table, err := api.New(svc, api.Deps{})
	if err != nil {
		f.Fatal(err)
	}
	h, err := table.Compile()
	if err != nil {
		f.Fatal(err)
	}
	admin := identitytest.AdminToken(f, svc)
	for i, c := range fuzzed {
		f.Add(uint8(i), c.seed)
		f.Add(uint8(i), strings.ReplaceAll(c.seed, `"x"`, `"\u0000"`))
		f.Add(uint8(i), strings.NewReplacer("true", "1", "1", "1e400", "[", "{", "]", "}").Replace(c.seed))
	}
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		c := fuzzed[int(which)%len(fuzzed)]
		r := httptest.NewRequest(c.method, "http://h:5000"+c.path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Auth-Token", admin)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= http.StatusInternalServerError && w.Code != http.StatusNotImplemented {
			t.Fatalf("%s %s with %q: %d %s", c.method, c.path, body, w.Code, w.Body)
		}
	})
}
