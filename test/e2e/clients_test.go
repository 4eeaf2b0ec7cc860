package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOldFlow is what a client of 2012 sends, request by request (novaclient 2.9: password to v2.0, then the addresses of its catalog).
func TestOldFlow(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 2)
	img := c.admin().upload("tiny", "raw", make([]byte, 4096))
	agent := "User-Agent: python-novaclient"

	// 1. The token, and where compute is.
	r := send(t, "POST", c.url(identity, "/v2.0/tokens"), `{"auth": {"passwordCredentials": {"username": "admin", "password": "`+password+`"}, "tenantName": "admin"}}`, agent)
	require.Equal(t, 200, r.code, "%s", r)
	token, tenant := "X-Auth-Token: "+r.str("access/token/id"), r.str("access/token/tenant/id")
	require.NotEmpty(t, tenant)
	types := map[string]string{}
	for _, s := range r.list("access/serviceCatalog") {
		b, err := json.Marshal(s)
		require.NoError(t, err)
		e := reply{body: b}
		require.Len(t, e.list("endpoints"), 1, "clients of that time want one endpoint: %s", b)
		types[e.str("type")] = e.str("endpoints/0/publicURL")
	}
	base := strings.TrimSuffix(types["compute"], "/")
	require.Equal(t, c.url(compute, "/v2/"+tenant), base)
	for _, want := range []string{"image", "network", "identity"} {
		require.Contains(t, types, want)
	}
	project := "X-Auth-Project-Id: admin"
	get := func(url string) reply {
		r := send(t, "GET", url, nil, agent, token, project)
		require.Equal(t, 200, r.code, "%s", r)
		return r
	}
	require.Equal(t, "admin", get(c.url(identity, "/v2.0/tenants")).str("tenants/0/name"))

	// 2, 3. Flavor and image, the image through compute's own proxy.
	require.Equal(t, "m1.nano", get(base+"/flavors/42").str("flavor/name"))
	require.Equal(t, "tiny", get(base+"/images/"+img).str("image/name"))
	require.NotEmpty(t, get(base+"/flavors/detail").list("flavors"))
	require.NotEmpty(t, get(base+"/images/detail").list("images"))
	r = send(t, "GET", base+"/flavors/m1.nano", nil, agent, token, project)
	require.Equal(t, 404, r.code, "a name is no id: %s", r)

	// 4. The server; 2.9 sends an empty list of networks.
	r = send(t, "POST", base+"/servers", `{"server": {"name": "vm", "imageRef": "`+img+`", "flavorRef": "42", "min_count": 1, "max_count": 1, "networks": []}}`, agent, token, project)
	require.Equal(t, 202, r.code, "%s", r)
	id := r.str("server/id")
	require.NotEmpty(t, id)
	require.NotEmpty(t, r.str("server/adminPass"))
	require.NotEmpty(t, r.list("server/links"))

	// 5 to 8. What it prints, and --poll.
	require.True(t, poll(20*time.Second, 20*time.Millisecond, func() bool { r = get(base + "/servers/" + id); return r.str("server/status") == "ACTIVE" }), "%s", r)
	require.Equal(t, img, r.str("server/image/id"))
	require.Equal(t, "42", r.str("server/flavor/id"))
	require.Equal(t, "vm", get(base+"/servers/detail").str("servers/0/name"))
	r = send(t, "DELETE", base+"/servers/"+id, nil, agent, token, project)
	require.Equal(t, 204, r.code, "%s", r)
	c.admin().gone(id, 20*time.Second)
	c.fsckClean()
}

func needs(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		t.Skipf("needs %s (Debian package %s)", program, pkg)
	}
}

// TestNovaClient is Debian's novaclient, unchanged.
func TestNovaClient(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/nova", "python3-novaclient")
	c := fakeCloud(t, 2)
	c.admin().upload("tiny", "raw", make([]byte, 4096))
	out := c.nova("boot", "vm", "--flavor", "m1.nano", "--image", "tiny", "--poll")
	require.Contains(t, out, "Finished")
	require.Regexp(t, `vm .*ACTIVE.*Running.*=10\.`, c.nova("list"))
	require.Contains(t, c.nova("show", "vm"), "m1.nano")
	require.Contains(t, c.nova("instance-action-list", "vm"), "create")
	c.nova("stop", "vm")
	a := c.admin()
	id := a.named(compute, "/servers", "servers", "vm")
	require.Equal(t, "SHUTOFF", a.settled(id, 20*time.Second).str("server/status"))
	c.nova("start", "vm")
	a.active(id, 20*time.Second)
	c.nova("delete", "vm")
	a.gone(id, 20*time.Second)
	_, errs, err := c.try("/usr/bin/nova", "boot", "vm", "--flavor", "m1.nano", "--image", "nosuch", "--poll")
	require.Error(t, err)
	require.Contains(t, errs, "nosuch")
	c.fsckClean()
}

// TestOpenStackClient is Debian's openstackclient, unchanged, through the commands of the issue.
func TestOpenStackClient(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/openstack", "python3-openstackclient")
	c := fakeCloud(t, 1) // a volume of the file backend is for servers of its own host
	key := filepath.Join(c.dir, "id")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v %s", err, out)
	}
	disk := filepath.Join(c.dir, "disk.raw")
	require.NoError(t, os.WriteFile(disk, make([]byte, 1<<20), 0o644))

	c.openstack("token", "issue")
	require.Contains(t, c.openstack("catalog", "list"), "nova")
	c.openstack("image", "create", "disk", "--file", disk, "--disk-format", "raw", "--container-format", "bare")
	require.Contains(t, c.openstack("image", "list"), "active")
	c.openstack("keypair", "create", "k", "--public-key", key+".pub")
	c.openstack("security", "group", "create", "web")
	c.openstack("security", "group", "rule", "create", "web", "--protocol", "tcp", "--dst-port", "80")
	require.Contains(t, c.openstack("network", "list"), "private")
	c.openstack("server", "create", "vm", "--flavor", "m1.nano", "--image", "disk", "--network", "private", "--key-name", "k", "--security-group", "web", "--wait")
	require.Regexp(t, `vm .*ACTIVE.*private=10\.`, c.openstack("server", "list"))
	show := reply{body: []byte(c.openstack("server", "show", "vm", "-f", "json"))}
	require.Equal(t, "ACTIVE", show.str("status"))
	require.Equal(t, "k", show.str("key_name"))
	require.Contains(t, string(show.body), "web")
	c.openstack("console", "log", "show", "vm")

	c.openstack("volume", "create", "data", "--size", "1")
	require.True(t, poll(20*time.Second, 500*time.Millisecond, func() bool {
		return reply{body: []byte(c.openstack("volume", "show", "data", "-f", "json"))}.str("status") == "available"
	}))
	c.openstack("server", "add", "volume", "vm", "data")
	require.True(t, poll(20*time.Second, 500*time.Millisecond, func() bool {
		return reply{body: []byte(c.openstack("volume", "show", "data", "-f", "json"))}.str("status") == "in-use"
	}))
	fip := reply{body: []byte(c.openstack("floating", "ip", "create", "public", "-f", "json"))}.str("floating_ip_address")
	require.NotEmpty(t, fip)
	c.openstack("server", "add", "floating", "ip", "vm", fip)
	require.Contains(t, c.openstack("server", "list"), fip)
	c.openstack("server", "remove", "volume", "vm", "data")
	c.openstack("server", "delete", "vm", "--wait")
	require.NotContains(t, c.openstack("server", "list"), "vm")
	c.openstack("volume", "delete", "data")
	c.openstack("floating", "ip", "delete", fip)
	c.openstack("quota", "show")
	_, errs, err := c.try("/usr/bin/openstack", "server", "create", "vm2", "--flavor", "nosuch", "--image", "disk", "--network", "private")
	require.Error(t, err)
	require.Contains(t, errs, "nosuch")
	c.fsckClean()
}

// TestPlacementClient is Debian's openstackclient with its placement plugin, unchanged: a tree of providers is made, described, taken of, asked for candidates
// and removed.
func TestPlacementClient(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/openstack", "python3-openstackclient")
	needs(t, "/usr/lib/python3/dist-packages/osc_placement", "python3-osc-placement")
	c := fakeCloud(t, 1)
	op := func(args ...string) string {
		t.Helper()
		return c.openstack(append([]string{"--os-placement-api-version", "1.39"}, args...)...)
	}
	show := func(args ...string) reply { t.Helper(); return reply{body: []byte(op(append(args, "-f", "json")...))} }

	require.Contains(t, op("resource", "provider", "list"), "fake-00001", "a compute host is a provider")
	root := show("resource", "provider", "create", "node").str("uuid")
	child := show("resource", "provider", "create", "card", "--parent-provider", root).str("uuid")
	require.Equal(t, root, show("resource", "provider", "show", child).str("root_provider_uuid"))
	op("resource", "class", "create", "CUSTOM_TAPE")
	op("trait", "create", "CUSTOM_GOLD")
	op("resource", "provider", "inventory", "set", root, "--resource", "VCPU=8", "--resource", "VCPU:allocation_ratio=2.0", "--resource", "MEMORY_MB=1024")
	op("resource", "provider", "inventory", "class", "set", root, "MEMORY_MB", "--total", "2048")
	op("resource", "provider", "inventory", "set", child, "--resource", "CUSTOM_TAPE=3")
	require.Regexp(t, `CUSTOM_TAPE .* 3 `, op("resource", "provider", "inventory", "list", child))
	op("resource", "provider", "trait", "set", child, "--trait", "CUSTOM_GOLD")
	require.Contains(t, op("trait", "list", "--associated"), "CUSTOM_GOLD")
	agg := "4f4a5d6e-56c3-4d9a-b2a2-4c8c9a52f1e0"
	generation := show("resource", "provider", "show", root).str("generation")
	op("resource", "provider", "aggregate", "set", root, "--aggregate", agg, "--generation", generation)
	require.Contains(t, op("resource", "provider", "aggregate", "list", root), agg)

	candidates := op("allocation", "candidate", "list", "--resource", "VCPU=2", "--member-of", agg, "--group", "1", "--resource", "CUSTOM_TAPE=1", "--required", "CUSTOM_GOLD")
	require.Contains(t, candidates, "CUSTOM_TAPE=1")
	require.Contains(t, candidates, root)
	server := "6f1b5d92-5f0d-4a07-9d2f-2d7c6a3f8a11"
	op("resource", "provider", "allocation", "set", server, "--allocation", "rp="+root+",VCPU=2", "--allocation", "rp="+child+",CUSTOM_TAPE=1", "--project-id", "p", "--user-id", "u", "--consumer-type", "INSTANCE")
	require.Contains(t, op("resource", "provider", "allocation", "show", server), child)
	require.Regexp(t, `VCPU .* 2 `, op("resource", "provider", "usage", "show", root))
	_, errs, err := c.try("/usr/bin/openstack", "--os-placement-api-version", "1.39", "resource", "provider", "delete", child)
	require.Error(t, err)
	require.Contains(t, errs, "allocations")
	op("resource", "provider", "allocation", "delete", server)
	op("resource", "provider", "trait", "delete", child)
	op("resource", "provider", "inventory", "delete", child)
	op("resource", "provider", "delete", child)
	op("resource", "provider", "delete", root)
	op("trait", "delete", "CUSTOM_GOLD")
	op("resource", "class", "delete", "CUSTOM_TAPE")
	c.fsckClean()
}
