package policy

import (
	"strings"
	"testing"
	"time"
)

func TestAccessRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule, path string
		want       bool
	}{
		{"/v2.1/servers", "/v2.1/servers", true},
		{"/v2.1/servers", "/v2.1/servers/", true},
		{"/v2.1/servers", "/v2.1/servers/1", false},
		{"/v2.1/servers/*", "/v2.1/servers/1", true},
		{"/v2.1/servers/*", "/v2.1/servers/1/ips", false},
		{"/v2.1/servers/*/ips", "/v2.1/servers/1/ips", true},
		{"/v2.1/servers/{id}/ips", "/v2.1/servers/1/ips", true},
		{"/v2.1/servers/{id}/ips", "/v2.1/servers/1/2/ips", false},
		{"/v2.1/**", "/v2.1/servers/1/ips", true},
		{"/v2.1/**/ips", "/v2.1/servers/1/ips", true},
		{"/v2.1/**/ips", "/v2.1/servers/1/action", false},
		{"**", "/anything/at/all", true},
		{"/v2.1/serv*s", "/v2.1/servers", true},
		{"/v2.1/serv*s", "/v2.1/server", false},
		{"/a{", "/a{", true},
	} {
		creds := &Credentials{Ruled: true, AccessRules: []AccessRule{{Service: "compute", Method: "GET", Path: c.rule}}}
		if got := creds.Permits([]string{"compute"}, "GET", c.path); got != c.want {
			t.Errorf("%s on %s: %v", c.rule, c.path, got)
		}
		if creds.Permits([]string{"compute"}, "POST", c.path) || creds.Permits([]string{"image"}, "GET", c.path) {
			t.Errorf("%s lets another method or service through", c.rule)
		}
	}
	if !(&Credentials{}).Permits(nil, "GET", "/") || (&Credentials{Ruled: true}).Permits([]string{"x"}, "GET", "/") {
		t.Error("without rules all is open, with none of them nothing")
	}
	began := time.Now()
	pathFits("/"+strings.Repeat("**/*a", 50), "/"+strings.Repeat("a/", 4000))
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("a rule full of stars takes %v", took)
	}
}
