package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
	"nephos/internal/network/api"
	"nephos/internal/policy"
	"nephos/internal/quota"
)

const (
	adminProject = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	demoProject  = "dddddddddddddddddddddddddddddddd"
	otherProject = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"
)

type tokens map[string]*policy.Credentials

func (t tokens) Authenticate(_ context.Context, token string) (*policy.Credentials, error) {
	if c, ok := t[token]; ok {
		return c, nil
	}
	return nil, fault.Unauthorized("The request you have made requires authentication.")
}

type cloud struct {
	t   *testing.T
	svc *network.Service
	srv *httptest.Server
}

type answer struct {
	status int
	body   map[string]any
	text   string
}

func each(t *testing.T, fn func(c *cloud)) {
	t.Parallel()
	dbtest.Each(t, []db.Migrations{quota.Migrations(), network.Migrations()}, func(t *testing.T, d *db.DB) { fn(newCloud(t, d)) })
}

func newCloud(t *testing.T, d *db.DB) *cloud {
	q := quota.New()
	svc := network.New(network.Deps{DB: d, Quotas: q})
	require.NoError(t, svc.Bootstrap(t.Context(), adminProject))
	p, err := policy.New(policy.Base, api.Rules)
	require.NoError(t, err)
	s := api.New(svc, api.Deps{Policy: p, DB: d, Quotas: q, Log: slog.New(slog.DiscardHandler), AuthURI: "http://h:5000/v3", Auth: tokens{
		"admin":  {ProjectID: adminProject, Roles: []string{"admin", "manager", "member", "reader"}},
		"demo":   {ProjectID: demoProject, Roles: []string{"member", "reader"}},
		"other":  {ProjectID: otherProject, Roles: []string{"member", "reader"}},
		"reader": {ProjectID: demoProject, Roles: []string{"reader"}},
	}})
	h, err := s.Compile()
	require.NoError(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &cloud{t: t, svc: svc, srv: srv}
}

func (c *cloud) do(token, method, path string, body any, headers ...string) answer {
	c.t.Helper()
	var in io.Reader
	if s, ok := body.(string); ok {
		in = strings.NewReader(s)
	} else if body != nil {
		b, err := json.Marshal(body)
		require.NoError(c.t, err)
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.srv.URL+path, in)
	require.NoError(c.t, err)
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	out := answer{status: resp.StatusCode, text: string(b)}
	if len(b) > 0 {
		require.NoError(c.t, json.Unmarshal(b, &out.body), out.text)
	}
	return out
}

type m = map[string]any

// want does a call and insists on the status; it gives the object under key.
func (c *cloud) want(status int, token, method, path string, body any) m {
	c.t.Helper()
	a := c.do(token, method, path, body)
	require.Equal(c.t, status, a.status, "%s %s: %s", method, path, a.text)
	for k, v := range a.body {
		if o, ok := v.(m); ok && !strings.HasSuffix(k, "_links") {
			return o
		}
	}
	return a.body
}

func (c *cloud) refused(status int, typ, says, token, method, path string, body any) {
	c.t.Helper()
	a := c.do(token, method, path, body)
	require.Equal(c.t, status, a.status, "%s %s: %s", method, path, a.text)
	e, ok := a.body["NeutronError"].(m)
	require.True(c.t, ok, a.text)
	if typ != "" {
		require.Equal(c.t, typ, e["type"], a.text)
	}
	require.Contains(c.t, e["message"], says)
}

func (c *cloud) list(token, path, key string) []m {
	c.t.Helper()
	a := c.do(token, "GET", path, nil)
	require.Equal(c.t, 200, a.status, "%s: %s", path, a.text)
	require.Contains(c.t, a.body, key)
	var out []m
	for _, v := range a.body[key].([]any) {
		out = append(out, v.(m))
	}
	return out
}

// tenant makes a network with a subnet for demo.
func (c *cloud) tenant(name, cidr string) (net, sub m) {
	c.t.Helper()
	net = c.want(201, "demo", "POST", "/v2.0/networks", m{"network": m{"name": name, "admin_state_up": true}})
	sub = c.want(201, "demo", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": net["id"], "ip_version": 4, "cidr": cidr}})
	return net, sub
}

func (c *cloud) id(path, key string) string {
	c.t.Helper()
	l := c.list("admin", path, key)
	require.Len(c.t, l, 1)
	return l[0]["id"].(string)
}

func TestRootsAndDiscovery(t *testing.T) {
	each(t, func(c *cloud) {
		v := c.do("", "GET", "/", nil)
		require.Equal(t, 200, v.status)
		require.Equal(t, "v2.0", v.body["versions"].([]any)[0].(m)["id"])
		require.Equal(t, 401, c.do("", "GET", "/v2.0/networks", nil).status)
		require.Equal(t, 401, c.do("bad", "GET", "/v2.0/", nil).status)
		require.NotEmpty(t, c.list("demo", "/v2.0/", "resources"))
		require.NotEmpty(t, c.list("demo", "/v2.0/extensions", "extensions"))
		require.Equal(t, "router", c.want(200, "demo", "GET", "/v2.0/extensions/router", nil)["alias"])
		c.refused(404, "ExtensionNotFound", "vpnaas", "demo", "GET", "/v2.0/extensions/vpnaas", nil)
		require.Len(t, c.list("demo", "/v2.0/networks.json", "networks"), 2)
		require.Equal(t, 404, c.do("demo", "GET", "/v2.0/nothing", nil).status)
	})
}

func TestNetworkLife(t *testing.T) {
	each(t, func(c *cloud) {
		n := c.want(201, "demo", "POST", "/v2.0/networks", m{"network": m{"name": "blue", "description": "d"}})
		require.Equal(t, demoProject, n["project_id"])
		require.Equal(t, demoProject, n["tenant_id"])
		require.EqualValues(t, 1450, n["mtu"])
		require.NotContains(t, n, "provider:network_type")
		path := "/v2.0/networks/" + n["id"].(string)
		require.Contains(t, c.want(200, "admin", "GET", path, nil), "provider:segmentation_id")
		n = c.want(200, "demo", "PUT", path, m{"network": m{"name": "green", "admin_state_up": "false"}})
		require.Equal(t, "green", n["name"])
		require.Equal(t, false, n["admin_state_up"])
		require.EqualValues(t, 2, n["revision_number"])
		require.Equal(t, 412, c.do("demo", "PUT", path, m{"network": m{"name": "x"}}, "If-Match", "revision_number=1").status)
		require.Equal(t, 200, c.do("demo", "PUT", path, m{"network": m{"name": "x"}}, "If-Match", "revision_number=2").status)

		c.refused(404, "NetworkNotFound", "could not be found", "other", "GET", path, nil)
		c.refused(404, "NetworkNotFound", "could not be found", "other", "DELETE", path, nil)
		c.refused(403, "PolicyNotAuthorized", "update_network", "reader", "PUT", path, m{"network": m{"name": "y"}})
		public := "/v2.0/networks/" + c.id("/v2.0/networks?router:external=true", "networks")
		c.refused(403, "PolicyNotAuthorized", "delete_network", "demo", "DELETE", public, nil)
		c.refused(409, "NetworkInUse", "", "admin", "DELETE", public, nil)

		c.refused(403, "PolicyNotAuthorized", "create_network:shared", "demo", "POST", "/v2.0/networks", m{"network": m{"shared": true}})
		c.refused(403, "PolicyNotAuthorized", "create_network:router:external", "demo", "POST", "/v2.0/networks", m{"network": m{"router:external": true}})
		c.refused(403, "AdminRequired", "", "demo", "POST", "/v2.0/networks", m{"network": m{"tenant_id": otherProject}})
		c.refused(400, "HTTPBadRequest", "Unrecognized attribute(s) 'colour'", "demo", "POST", "/v2.0/networks", m{"network": m{"colour": "blue"}})
		c.refused(400, "HTTPBadRequest", "Attribute 'status' not allowed in POST", "demo", "POST", "/v2.0/networks", m{"network": m{"status": "x"}})
		c.refused(400, "HTTPBadRequest", "Cannot update read-only attribute status", "demo", "PUT", path, m{"network": m{"status": "x"}})
		c.refused(400, "HTTPBadRequest", "cannot be converted to boolean", "demo", "POST", "/v2.0/networks", m{"network": m{"admin_state_up": "perhaps"}})
		c.refused(400, "HTTPBadRequest", "exceeds maximum length", "demo", "POST", "/v2.0/networks", m{"network": m{"name": strings.Repeat("n", 256)}})
		c.refused(400, "HTTPBadRequest", "'network'", "demo", "POST", "/v2.0/networks", m{"net": m{}})
		require.Equal(t, 400, c.do("demo", "POST", "/v2.0/networks", "{not json").status)

		require.Equal(t, 204, c.do("demo", "DELETE", path, nil).status)
		require.Equal(t, 404, c.do("demo", "GET", path, nil).status)
	})
}

func TestBulkIsAllOrNothing(t *testing.T) {
	each(t, func(c *cloud) {
		c.want(200, "admin", "PUT", "/v2.0/quotas/"+demoProject, m{"quota": m{"network": 3}})
		a := c.do("demo", "POST", "/v2.0/networks", m{"networks": []m{{"name": "a"}, {"name": "b"}}})
		require.Equal(t, 201, a.status, a.text)
		require.Len(t, a.body["networks"], 2)
		c.refused(409, "OverQuota", "Quota exceeded for resources: ['network'].", "demo", "POST", "/v2.0/networks", m{"networks": []m{{"name": "c"}, {"name": "d"}}})
		require.Len(t, c.list("demo", "/v2.0/networks?tenant_id="+demoProject, "networks"), 2)
		listed := fmt.Sprint(c.do("admin", "GET", "/v2.0/quotas", nil).body)
		require.Contains(t, listed, demoProject)
		require.NotContains(t, listed, otherProject)
		d := c.want(200, "demo", "GET", "/v2.0/quotas/"+demoProject+"/details.json", nil)
		require.EqualValues(t, 2, d["network"].(m)["used"])
		require.EqualValues(t, 3, c.want(200, "demo", "GET", "/v2.0/quotas/"+demoProject, nil)["network"])
		require.EqualValues(t, 100, c.want(200, "demo", "GET", "/v2.0/quotas/"+demoProject+"/default", nil)["network"])
		c.refused(403, "PolicyNotAuthorized", "", "demo", "PUT", "/v2.0/quotas/"+demoProject, m{"quota": m{"network": 30}})
		c.refused(403, "PolicyNotAuthorized", "", "demo", "GET", "/v2.0/quotas/"+otherProject, nil)
		require.Equal(t, 204, c.do("admin", "DELETE", "/v2.0/quotas/"+demoProject, nil).status)
		require.EqualValues(t, 100, c.want(200, "demo", "GET", "/v2.0/quotas/"+demoProject, nil)["network"])
	})
}

func TestSubnetRules(t *testing.T) {
	each(t, func(c *cloud) {
		net, sub := c.tenant("blue", "192.168.7.77/24")
		require.Equal(t, "192.168.7.0/24", sub["cidr"])
		require.Equal(t, "192.168.7.1", sub["gateway_ip"])
		require.Equal(t, []any{m{"start": "192.168.7.2", "end": "192.168.7.254"}}, sub["allocation_pools"])
		id := net["id"]
		for name, x := range map[string]struct {
			sub    m
			status int
			typ    string
			says   string
		}{
			"overlap":           {m{"cidr": "192.168.7.128/25"}, 400, "InvalidInput", "overlaps"},
			"version":           {m{"cidr": "2001:db8::/64"}, 400, "InvalidInput", "ip_version"},
			"not a cidr":        {m{"cidr": "ten"}, 400, "HTTPBadRequest", "valid IP subnet"},
			"no cidr":           {m{}, 400, "BadRequest", "subnetpool"},
			"pool outside":      {m{"cidr": "10.1.0.0/24", "allocation_pools": []m{{"start": "10.1.1.1", "end": "10.1.1.2"}}}, 400, "OutOfBoundsAllocationPool", "beyond"},
			"pools overlap":     {m{"cidr": "10.1.0.0/24", "allocation_pools": []m{{"start": "10.1.0.2", "end": "10.1.0.9"}, {"start": "10.1.0.9", "end": "10.1.0.12"}}}, 409, "OverlappingAllocationPools", "overlap"},
			"gateway in pool":   {m{"cidr": "10.1.0.0/24", "allocation_pools": []m{{"start": "10.1.0.1", "end": "10.1.0.9"}}}, 409, "GatewayConflictWithAllocationPools", "10.1.0.1"},
			"gateway elsewhere": {m{"cidr": "10.1.0.0/24", "gateway_ip": "10.2.0.1"}, 400, "InvalidInput", "not valid"},
			"many name servers": {m{"cidr": "10.1.0.0/24", "dns_nameservers": []string{"1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "1.1.1.5", "1.1.1.6"}}, 400, "DNSNameServersExhausted", "5"},
			"slaac":             {m{"cidr": "2001:db8::/64", "ip_version": 6, "ipv6_ra_mode": "slaac"}, 400, "HTTPBadRequest", "static"},
		} {
			x.sub["network_id"] = id
			if x.sub["ip_version"] == nil {
				x.sub["ip_version"] = 4
			}
			a := c.do("demo", "POST", "/v2.0/subnets", m{"subnet": x.sub})
			require.Equal(t, x.status, a.status, "%s: %s", name, a.text)
			require.Equal(t, x.typ, a.body["NeutronError"].(m)["type"], name)
			require.Contains(t, a.text, x.says, name)
		}
		c.refused(404, "NetworkNotFound", "", "other", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": id, "ip_version": 4, "cidr": "10.1.0.0/24"}})
		private := c.id("/v2.0/networks?name=private", "networks")
		c.refused(403, "PolicyNotAuthorized", "create_subnet", "demo", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": private, "ip_version": 4, "cidr": "10.1.0.0/24"}})

		path := "/v2.0/subnets/" + sub["id"].(string)
		sub = c.want(200, "demo", "PUT", path, m{"subnet": m{"gateway_ip": nil, "dns_nameservers": []string{"9.9.9.9"}, "host_routes": []m{{"destination": "10.3.0.0/16", "nexthop": "192.168.7.9"}}}})
		require.Nil(t, sub["gateway_ip"])
		require.Equal(t, []any{"9.9.9.9"}, sub["dns_nameservers"])
		p := c.want(201, "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id}})
		c.refused(409, "SubnetInUse", "", "demo", "DELETE", path, nil)
		c.refused(409, "NetworkInUse", "", "demo", "DELETE", "/v2.0/networks/"+id.(string), nil)
		require.Equal(t, 204, c.do("demo", "DELETE", "/v2.0/ports/"+p["id"].(string), nil).status)
		require.Equal(t, 204, c.do("demo", "DELETE", path, nil).status)
		c.want(201, "demo", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": id, "ip_version": 6, "cidr": "2001:db8:7::/64"}})
		p6 := c.want(201, "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id}})
		require.Contains(t, p6["fixed_ips"].([]any)[0].(m)["ip_address"], "2001:db8:7:")
	})
}

func TestPortRules(t *testing.T) {
	each(t, func(c *cloud) {
		net, sub := c.tenant("blue", "192.168.7.0/24")
		id := net["id"]
		p := c.want(201, "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id, "name": "p", "fixed_ips": []m{{"ip_address": "192.168.7.50"}}, "tags": []string{"red"}}})
		require.Equal(t, "DOWN", p["status"])
		require.Equal(t, []any{m{"subnet_id": sub["id"], "ip_address": "192.168.7.50"}}, p["fixed_ips"])
		require.Len(t, p["security_groups"], 1)
		require.Equal(t, []any{"red"}, p["tags"])
		require.NotContains(t, p, "binding:host_id")
		c.refused(409, "IpAddressAlreadyAllocated", "192.168.7.50", "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id, "fixed_ips": []m{{"ip_address": "192.168.7.50"}}}})
		c.refused(400, "InvalidIpForNetwork", "", "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id, "fixed_ips": []m{{"ip_address": "10.99.0.1"}}}})
		c.refused(400, "InvalidIpForSubnet", "", "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id, "fixed_ips": []m{{"ip_address": "192.168.7.255"}}}})
		c.refused(409, "MacAddressInUse", "", "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id, "mac_address": p["mac_address"]}})
		c.refused(404, "SecurityGroupNotFound", "", "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id, "security_groups": []string{"3b9d9c1e-0000-4000-8000-000000000000"}}})
		foreign := c.list("other", "/v2.0/security-groups", "security_groups")[0]["id"]
		c.refused(404, "SecurityGroupNotFound", "", "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id, "security_groups": []any{foreign}}})
		c.refused(409, "PortSecurityAndIPRequiredForSecurityGroups", "", "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id, "port_security_enabled": false, "security_groups": p["security_groups"]}})
		c.refused(403, "PolicyNotAuthorized", "binding:host_id", "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": id, "binding:host_id": "h"}})
		private := c.id("/v2.0/networks?name=private", "networks")
		c.refused(403, "PolicyNotAuthorized", "mac_address", "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": private, "mac_address": "fa:16:3e:00:00:01"}})
		c.want(201, "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": private}})

		path := "/v2.0/ports/" + p["id"].(string)
		p = c.want(200, "demo", "PUT", path, m{"port": m{"fixed_ips": []m{{"ip_address": "192.168.7.50"}, {"subnet_id": sub["id"]}}, "allowed_address_pairs": []m{{"ip_address": "192.168.7.0/28"}}}})
		require.Len(t, p["fixed_ips"], 2)
		p = c.want(200, "demo", "PUT", path, m{"port": m{"fixed_ips": []m{{"ip_address": "192.168.7.60"}}, "security_groups": []string{}}})
		require.Equal(t, "192.168.7.60", p["fixed_ips"].([]any)[0].(m)["ip_address"])
		require.Empty(t, p["security_groups"])
		require.Equal(t, 204, c.do("demo", "DELETE", path, nil).status)
		// the DHCP port is the network's own
		dhcp := c.list("demo", "/v2.0/ports?device_owner=network:dhcp&network_id="+id.(string), "ports")
		require.Len(t, dhcp, 1)
		c.refused(409, "ServicePortInUse", "", "demo", "DELETE", "/v2.0/ports/"+dhcp[0]["id"].(string), nil)
		require.Equal(t, 204, c.do("demo", "DELETE", "/v2.0/networks/"+id.(string), nil).status)
	})
}

func TestListing(t *testing.T) {
	each(t, func(c *cloud) {
		for i := range 5 {
			c.want(201, "demo", "POST", "/v2.0/networks", m{"network": m{"name": fmt.Sprint("n", i)}})
		}
		own := "tenant_id=" + demoProject
		names := func(l []m) (out []string) {
			for _, n := range l {
				out = append(out, n["name"].(string))
			}
			return out
		}
		require.Equal(t, []string{"n4", "n3", "n2", "n1", "n0"}, names(c.list("demo", "/v2.0/networks?sort_key=name&sort_dir=desc&"+own, "networks")))
		require.Equal(t, []string{"n1", "n3"}, names(c.list("demo", "/v2.0/networks?name=n1&name=n3&sort_key=name", "networks")))
		require.Len(t, c.list("demo", "/v2.0/networks?shared=true", "networks"), 1)
		require.Len(t, c.list("demo", "/v2.0/networks?router%3Aexternal=True", "networks"), 1)
		only := c.list("demo", "/v2.0/networks?fields=id&fields=name&name=n1", "networks")[0]
		require.Len(t, only, 2)
		c.refused(400, "", "", "demo", "GET", "/v2.0/networks?sort_key=colour", nil)
		c.refused(400, "", "", "demo", "GET", "/v2.0/networks?limit=-1", nil)
		c.refused(404, "", "", "demo", "GET", "/v2.0/networks?limit=1&marker=nope", nil)
		var walked []string
		next := "/v2.0/networks?limit=2&sort_key=name&" + own
		for next != "" {
			a := c.do("demo", "GET", next, nil)
			require.Equal(t, 200, a.status, a.text)
			for _, n := range a.body["networks"].([]any) {
				walked = append(walked, n.(m)["name"].(string))
			}
			next = ""
			links, _ := a.body["networks_links"].([]any)
			for _, l := range links {
				if l.(m)["rel"] == "next" {
					u, err := url.Parse(l.(m)["href"].(string))
					require.NoError(t, err)
					next = u.RequestURI()
				}
			}
		}
		require.Equal(t, []string{"n0", "n1", "n2", "n3", "n4"}, walked)
	})
}

func TestTags(t *testing.T) {
	each(t, func(c *cloud) {
		n := c.want(201, "demo", "POST", "/v2.0/networks", m{"network": m{"name": "blue"}})
		path := "/v2.0/networks/" + n["id"].(string) + "/tags"
		require.Equal(t, 200, c.do("demo", "PUT", path, m{"tags": []string{"a", "b"}}).status)
		require.Equal(t, 201, c.do("demo", "PUT", path+"/c", nil).status)
		require.Equal(t, 204, c.do("demo", "GET", path+"/c", nil).status)
		require.Equal(t, 404, c.do("demo", "GET", path+"/z", nil).status)
		require.Equal(t, 204, c.do("demo", "DELETE", path+"/a", nil).status)
		require.Equal(t, []any{"b", "c"}, c.do("demo", "GET", path, nil).body["tags"])
		require.Len(t, c.list("demo", "/v2.0/networks?tags=b,c", "networks"), 1)
		require.Empty(t, c.list("demo", "/v2.0/networks?tags=b,z", "networks"))
		require.Equal(t, 404, c.do("other", "PUT", path, m{"tags": []string{"x"}}).status)
		require.Equal(t, 204, c.do("demo", "DELETE", path, nil).status)
	})
}

func TestSecurityGroups(t *testing.T) {
	each(t, func(c *cloud) {
		l := c.list("demo", "/v2.0/security-groups", "security_groups")
		require.Len(t, l, 1)
		def := l[0]
		require.Equal(t, "default", def["name"])
		require.Len(t, def["security_group_rules"], 4)
		c.refused(409, "SecurityGroupCannotRemoveDefault", "", "demo", "DELETE", "/v2.0/security-groups/"+def["id"].(string), nil)
		c.refused(409, "SecurityGroupCannotUpdateDefault", "", "demo", "PUT", "/v2.0/security-groups/"+def["id"].(string), m{"security_group": m{"name": "x"}})
		g := c.want(201, "demo", "POST", "/v2.0/security-groups", m{"security_group": m{"name": "web"}})
		require.Len(t, g["security_group_rules"], 2)
		gid := g["id"].(string)
		rule := func(more m) m {
			out := m{"security_group_id": gid, "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}
			for k, v := range more {
				out[k] = v
			}
			return m{"security_group_rule": out}
		}
		r := c.want(201, "demo", "POST", "/v2.0/security-group-rules", rule(m{"remote_ip_prefix": "10.0.0.1/8"}))
		require.Equal(t, "10.0.0.0/8", r["normalized_cidr"])
		require.Equal(t, "10.0.0.1/8", r["remote_ip_prefix"])
		c.refused(409, "SecurityGroupRuleExists", r["id"].(string), "demo", "POST", "/v2.0/security-group-rules", rule(m{"remote_ip_prefix": "10.0.0.1/8"}))
		c.refused(400, "SecurityGroupInvalidPortRange", "", "demo", "POST", "/v2.0/security-group-rules", rule(m{"port_range_min": 90}))
		for _, x := range []struct {
			protocol  string
			low, up   any
			typ, says string
		}{
			{"tcp", -16, 80, "SecurityGroupInvalidPortValue", "Invalid value for port -16"}, {"tcp", 80, 65536, "SecurityGroupInvalidPortValue", "Invalid value for port 65536"},
			{"udp", 0, 80, "SecurityGroupInvalidPortValue", "Invalid value for port 0"}, {"tcp", nil, 6, "SecurityGroupInvalidPortRange", "port_range_min must be <= port_range_max"},
			{"icmp", 1, 256, "SecurityGroupInvalidIcmpValue", "Invalid value for ICMP code"}, {"icmp", 300, 1, "SecurityGroupInvalidIcmpValue", "Invalid value for ICMP type"},
			{"icmp", -1, 25, "SecurityGroupInvalidPortValue", "Invalid value"}, {"icmp", nil, 6, "SecurityGroupMissingIcmpType", "ICMP type (port-range-min) is missing"},
		} {
			c.refused(400, x.typ, x.says, "demo", "POST", "/v2.0/security-group-rules", rule(m{"protocol": x.protocol, "port_range_min": x.low, "port_range_max": x.up}))
		}
		c.refused(404, "SecurityGroupNotFound", "no-id", "demo", "POST", "/v2.0/security-group-rules", rule(m{"remote_group_id": "no-id"}))
		c.refused(404, "SecurityGroupNotFound", "no-id", "demo", "POST", "/v2.0/security-group-rules", rule(m{"security_group_id": "no-id"}))
		c.refused(400, "SecurityGroupProtocolRequiredWithPorts", "", "demo", "POST", "/v2.0/security-group-rules", rule(m{"protocol": nil}))
		c.refused(400, "SecurityGroupRuleParameterConflict", "", "demo", "POST", "/v2.0/security-group-rules", rule(m{"remote_ip_prefix": "2001:db8::/64"}))
		c.refused(400, "SecurityGroupMultipleRemoteIPPrefixes", "", "demo", "POST", "/v2.0/security-group-rules", rule(m{"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": gid}))
		c.refused(400, "SecurityGroupRuleInvalidProtocol", "", "demo", "POST", "/v2.0/security-group-rules", rule(m{"protocol": "smoke"}))
		c.refused(400, "HTTPBadRequest", "is not in", "demo", "POST", "/v2.0/security-group-rules", rule(m{"direction": "up"}))
		c.refused(404, "SecurityGroupNotFound", "", "other", "POST", "/v2.0/security-group-rules", rule(nil))
		c.want(201, "demo", "POST", "/v2.0/security-group-rules", rule(m{"protocol": 47, "port_range_min": nil, "port_range_max": nil}))
		require.Len(t, c.list("demo", "/v2.0/security-group-rules?security_group_id="+gid, "security_group_rules"), 4)
		net, _ := c.tenant("blue", "192.168.7.0/24")
		p := c.want(201, "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": net["id"], "security_groups": []string{gid}}})
		c.refused(409, "SecurityGroupInUse", "", "demo", "DELETE", "/v2.0/security-groups/"+gid, nil)
		require.Equal(t, 204, c.do("demo", "DELETE", "/v2.0/security-group-rules/"+r["id"].(string), nil).status)
		require.Equal(t, 204, c.do("demo", "DELETE", "/v2.0/ports/"+p["id"].(string), nil).status)
		require.Equal(t, 204, c.do("demo", "DELETE", "/v2.0/security-groups/"+gid, nil).status)
		require.Equal(t, 405, c.do("demo", "PUT", "/v2.0/security-group-rules/"+r["id"].(string), m{}).status)
	})
}

func TestRouterAndFloatingIP(t *testing.T) {
	each(t, func(c *cloud) {
		public := c.id("/v2.0/networks?router:external=true", "networks")
		net, sub := c.tenant("blue", "192.168.7.0/24")
		r := c.want(201, "demo", "POST", "/v2.0/routers", m{"router": m{"name": "r"}})
		path := "/v2.0/routers/" + r["id"].(string)
		c.refused(400, "BadRequest", "not an external network", "demo", "PUT", path, m{"router": m{"external_gateway_info": m{"network_id": net["id"]}}})
		c.refused(400, "BadRequest", "", "demo", "PUT", path+"/add_router_interface", m{})
		c.refused(404, "SubnetNotFound", "", "demo", "PUT", path+"/add_router_interface", m{"subnet_id": "3b9d9c1e-0000-4000-8000-000000000000"})
		got := c.do("demo", "PUT", path+"/add_router_interface", m{"subnet_id": sub["id"]})
		require.Equal(t, 200, got.status, got.text)
		require.Equal(t, sub["id"], got.body["subnet_id"])
		c.refused(400, "BadRequest", "already has a port", "demo", "PUT", path+"/add_router_interface", m{"subnet_id": sub["id"]})
		p := c.want(201, "demo", "POST", "/v2.0/ports", m{"port": m{"network_id": net["id"]}})
		f := c.want(201, "demo", "POST", "/v2.0/floatingips", m{"floatingip": m{"floating_network_id": public}})
		fpath := "/v2.0/floatingips/" + f["id"].(string)
		c.refused(404, "ExternalGatewayForFloatingIPNotFound", "", "demo", "PUT", fpath, m{"floatingip": m{"port_id": p["id"]}})
		r = c.want(200, "demo", "PUT", path, m{"router": m{"external_gateway_info": m{"network_id": public}}})
		require.Len(t, r["external_gateway_info"].(m)["external_fixed_ips"], 1)
		c.refused(403, "PolicyNotAuthorized", "enable_snat", "demo", "PUT", path, m{"router": m{"external_gateway_info": m{"network_id": public, "enable_snat": false}}})
		f = c.want(200, "demo", "PUT", fpath, m{"floatingip": m{"port_id": p["id"]}})
		require.Equal(t, "ACTIVE", f["status"])
		require.Equal(t, r["id"], f["router_id"])
		require.NotNil(t, f["port_details"])
		c.refused(409, "FloatingIPPortAlreadyAssociated", "", "demo", "POST", "/v2.0/floatingips", m{"floatingip": m{"floating_network_id": public, "port_id": p["id"]}})
		c.refused(409, "RouterExternalGatewayInUseByFloatingIp", "", "demo", "PUT", path, m{"router": m{"external_gateway_info": nil}})
		c.refused(409, "RouterInterfaceInUseByFloatingIP", "", "demo", "PUT", path+"/remove_router_interface", m{"subnet_id": sub["id"]})
		c.refused(409, "RouterInUse", "", "demo", "DELETE", path, nil)
		f = c.want(200, "demo", "PUT", fpath, m{"floatingip": m{"port_id": nil}})
		require.Equal(t, "DOWN", f["status"])
		r = c.want(200, "demo", "PUT", path, m{"router": m{"routes": []m{{"destination": "10.9.0.0/16", "nexthop": "192.168.7.9"}}}})
		require.Len(t, r["routes"], 1)
		c.refused(400, "InvalidRoutes", "", "demo", "PUT", path, m{"router": m{"routes": []m{{"destination": "10.9.0.0/16", "nexthop": "10.77.0.1"}}}})
		c.refused(409, "RouterInterfaceInUseByRoute", "", "demo", "PUT", path+"/remove_router_interface", m{"subnet_id": sub["id"]})
		c.want(200, "demo", "PUT", path+"/remove_extraroutes", m{"router": m{"routes": []m{{"destination": "10.9.0.0/16", "nexthop": "192.168.7.9"}}}})
		c.refused(400, "", "", "demo", "POST", "/v2.0/floatingips", m{"floatingip": m{"floating_network_id": net["id"]}})
		require.Equal(t, 200, c.do("demo", "PUT", path+"/remove_router_interface", m{"subnet_id": sub["id"]}).status)
		require.Equal(t, 204, c.do("demo", "DELETE", path, nil).status)
		require.Equal(t, 204, c.do("demo", "DELETE", fpath, nil).status)
		outer := c.want(201, "admin", "POST", "/v2.0/networks", m{"network": m{"name": "outer", "router:external": true}})
		opath := "/v2.0/networks/" + outer["id"].(string)
		c.want(201, "admin", "POST", "/v2.0/subnets", m{"subnet": m{"network_id": outer["id"], "ip_version": 4, "cidr": "198.51.100.0/29"}})
		require.Empty(t, c.list("demo", "/v2.0/subnets?network_id="+outer["id"].(string), "subnets"))
		require.Len(t, c.list("admin", "/v2.0/subnets?network_id="+outer["id"].(string), "subnets"), 1)
		idle := c.want(201, "demo", "POST", "/v2.0/floatingips", m{"floatingip": m{"floating_network_id": outer["id"]}})
		held := c.want(201, "admin", "POST", "/v2.0/routers", m{"router": m{"external_gateway_info": m{"network_id": outer["id"]}}})
		c.refused(409, "NetworkInUse", "", "admin", "DELETE", opath, nil)
		require.Equal(t, 200, c.do("demo", "GET", "/v2.0/floatingips/"+idle["id"].(string), nil).status, "a refused delete takes nothing")
		require.Equal(t, 204, c.do("admin", "DELETE", "/v2.0/routers/"+held["id"].(string), nil).status)
		require.Equal(t, 204, c.do("admin", "DELETE", opath, nil).status)
		require.Equal(t, 404, c.do("demo", "GET", "/v2.0/floatingips/"+idle["id"].(string), nil).status)
		c.refused(404, "RouterNotFound", "", "other", "PUT", "/v2.0/routers/"+c.id("/v2.0/routers", "routers")+"/add_router_interface", m{"subnet_id": sub["id"]})
	})
}

func TestAgentsAndZones(t *testing.T) {
	each(t, func(c *cloud) {
		require.NoError(t, c.svc.HostSeen(t.Context(), "h1", true, 0))
		require.NoError(t, c.svc.HostSeen(t.Context(), "h2", false, 0))
		require.Len(t, c.list("admin", "/v2.0/agents", "agents"), 3)
		require.Len(t, c.list("admin", "/v2.0/agents?host=h2", "agents"), 1)
		require.Empty(t, c.list("demo", "/v2.0/agents", "agents"))
		one := "/v2.0/agents/" + c.list("admin", "/v2.0/agents", "agents")[0]["id"].(string)
		require.Equal(t, 200, c.do("admin", "GET", one, nil).status)
		require.Equal(t, 404, c.do("demo", "GET", one, nil).status)
		require.Len(t, c.list("demo", "/v2.0/availability_zones", "availability_zones"), 2)
	})
}

var _ httpapi.Authenticator = tokens{}
