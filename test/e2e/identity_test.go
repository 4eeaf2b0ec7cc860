package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// osc is Debian's openstackclient, kept running for many commands.
type osc struct {
	t     *testing.T
	in    io.Writer
	out   *bufio.Scanner
	asked []string
}

func newOSC(t *testing.T, env []string, flags ...string) *osc {
	t.Helper()
	needs(t, "/usr/bin/openstack", "python3-openstackclient")
	cmd := exec.Command("/usr/bin/python3", append([]string{"testdata/osc.py"}, flags...)...)
	cmd.Env = env
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		kill := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended
		cmd.Wait()                                                            //nolint:errcheck // its answers are what counts
		kill.Stop()
	})
	s := bufio.NewScanner(out)
	s.Buffer(nil, 4<<20)
	return &osc{t: t, in: in, out: s}
}

func (o *osc) try(args ...string) (code int, out, errs string) {
	o.t.Helper()
	o.asked = append(o.asked, strings.Join(args, " ")+" ")
	require.NoError(o.t, json.NewEncoder(o.in).Encode(args))
	require.True(o.t, o.out.Scan(), "%v: the client ended: %v", args, o.out.Err())
	var a struct {
		Code     int
		Out, Err string
	}
	require.NoError(o.t, json.Unmarshal(o.out.Bytes(), &a), "%s", o.out.Text())
	return a.Code, a.Out, a.Err
}

// run is a command that must work.
func (o *osc) run(args ...string) string {
	o.t.Helper()
	code, out, errs := o.try(args...)
	require.Zero(o.t, code, "openstack %v: %s%s", args, out, errs)
	return out
}

// fails is a command that must not.
func (o *osc) fails(args ...string) string {
	o.t.Helper()
	code, out, errs := o.try(args...)
	require.NotZero(o.t, code, "openstack %v: %s", args, out)
	return out + errs
}

// one is a column of what a command shows.
func (o *osc) one(column string, args ...string) string {
	o.t.Helper()
	return trim(o.run(append(args, "-f", "value", "-c", column)...))
}

// covers wants every command that the client has for an API ("identity.v3") to have been run.
func (o *osc) covers(api string) {
	o.t.Helper()
	files, err := filepath.Glob("/usr/lib/python3/dist-packages/python_openstackclient-*.egg-info/entry_points.txt")
	require.NoError(o.t, err)
	require.Len(o.t, files, 1)
	text, err := os.ReadFile(files[0])
	require.NoError(o.t, err)
	_, section, found := strings.Cut(string(text), "[openstack."+api+"]\n")
	require.True(o.t, found)
	section, _, _ = strings.Cut(section, "\n[")
	for line := range strings.Lines(section) {
		name, _, ok := strings.Cut(line, " =")
		if !ok {
			continue
		}
		words := strings.ReplaceAll(name, "_", " ") + " "
		if !slices.ContainsFunc(o.asked, func(a string) bool { return strings.HasPrefix(a, words) }) {
			o.t.Errorf("the walk does not run `openstack %s`", strings.TrimSpace(words))
		}
	}
}

func trim(s string) string {
	for len(s) > 0 && (s[len(s)-1] == '\n' || s[len(s)-1] == ' ') {
		s = s[:len(s)-1]
	}
	return s
}

// TestOpenStackIdentity walks every noun of identity with Debian's openstackclient: create, list with filters, show, set, unset, delete.
func TestOpenStackIdentity(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 1)
	o := newOSC(t, c.env("admin", password, "admin"))

	// Domains, projects, users, groups.
	o.run("domain", "create", "d", "--description", "one")
	o.run("domain", "set", "d", "--description", "two")
	require.Equal(t, "two", o.one("description", "domain", "show", "d"))
	require.Contains(t, o.run("domain", "list", "--enabled"), "two")
	o.run("project", "create", "top", "--domain", "d", "--tag", "blue", "--property", "cost=7")
	o.run("project", "create", "sub", "--domain", "d", "--parent", "top")
	o.run("project", "set", "top", "--domain", "d", "--tag", "red", "--description", "x")
	require.Contains(t, o.run("project", "list", "--domain", "d", "--tags", "blue,red"), "top")
	require.NotContains(t, o.run("project", "list", "--domain", "d", "--not-tags", "blue"), "top")
	require.Contains(t, o.run("project", "show", "sub", "--domain", "d", "--parents"), "parents")
	require.Contains(t, o.run("project", "show", "top", "--domain", "d", "--children"), "subtree")
	o.run("user", "create", "ann", "--domain", "d", "--password", "pw", "--email", "a@x", "--ignore-lockout-failure-attempts")
	o.run("user", "set", "ann", "--domain", "d", "--description", "someone", "--project", "top", "--project-domain", "d")
	require.Equal(t, "someone", o.one("description", "user", "show", "ann", "--domain", "d"))
	require.Contains(t, o.run("user", "list", "--domain", "d", "--long"), "a@x")
	o.run("group", "create", "g", "--domain", "d")
	o.run("group", "set", "g", "--domain", "d", "--description", "x")
	o.run("group", "add", "user", "g", "ann", "--group-domain", "d", "--user-domain", "d")
	o.run("group", "contains", "user", "g", "ann", "--group-domain", "d", "--user-domain", "d")
	require.Contains(t, o.run("user", "list", "--group", "g", "--domain", "d"), "ann")
	require.Contains(t, o.run("group", "list", "--user", "ann", "--user-domain", "d"), "g")
	require.Equal(t, "x", o.one("description", "group", "show", "g", "--domain", "d"))
	o.run("group", "remove", "user", "g", "ann", "--group-domain", "d", "--user-domain", "d")
	require.NotContains(t, o.run("user", "list", "--group", "g", "--domain", "d"), "ann")
	o.run("group", "add", "user", "g", "ann", "--group-domain", "d", "--user-domain", "d")

	// Roles, implied ones, assignments.
	o.run("role", "create", "r1", "--description", "x")
	o.run("role", "create", "r2")
	o.run("role", "create", "local", "--domain", "d")
	require.Contains(t, o.run("role", "list", "--domain", "d"), "local")
	o.run("role", "set", "r1", "--description", "y", "--immutable")
	o.fails("role", "delete", "r1")
	o.run("role", "set", "r1", "--no-immutable")
	require.Equal(t, "y", o.one("description", "role", "show", "r1"))
	o.run("implied", "role", "create", "r1", "--implied-role", "r2")
	require.NotEmpty(t, o.run("implied", "role", "list"))
	on := []string{"--project", "top", "--project-domain", "d"}
	o.run(append([]string{"role", "add", "r1", "--group", "g", "--group-domain", "d"}, on...)...)
	o.run(append([]string{"role", "add", "r1", "--user", "ann", "--user-domain", "d", "--inherited"}, on...)...)
	o.run("role", "add", "reader", "--user", "ann", "--user-domain", "d", "--domain", "d")
	o.run("role", "add", "reader", "--user", "ann", "--user-domain", "d", "--system", "all")
	require.Contains(t, o.run("role", "assignment", "list", "--names", "--user", "ann", "--user-domain", "d", "--effective"), "r2")
	require.Contains(t, o.run("role", "assignment", "list", "--system", "all", "--names"), "ann")
	require.Contains(t, o.run("role", "assignment", "list", "--role", "r1", "--group", "g", "--group-domain", "d"), "False")
	o.run(append([]string{"role", "remove", "r1", "--group", "g", "--group-domain", "d"}, on...)...)
	o.run("implied", "role", "delete", "r1", "--implied-role", "r2")

	// The catalog.
	o.run("region", "create", "R2", "--description", "x")
	o.run("region", "create", "R3", "--parent-region", "R2")
	o.run("region", "set", "R3", "--description", "y")
	require.Contains(t, o.run("region", "list", "--parent-region", "R2"), "R3")
	require.Equal(t, "y", o.one("description", "region", "show", "R3"))
	o.run("service", "create", "thing", "--name", "thinger", "--description", "x")
	o.run("service", "set", "thinger", "--description", "y", "--disable")
	o.run("service", "set", "thinger", "--enable")
	require.Equal(t, "thing", o.one("type", "service", "show", "thinger"))
	require.Contains(t, o.run("service", "list", "--long"), "thinger")
	ep := o.one("id", "endpoint", "create", "thinger", "public", "http://thing/%(project_id)s", "--region", "R2")
	o.run("endpoint", "set", ep, "--url", "http://other/$(project_id)s")
	require.Equal(t, "http://other/$(project_id)s", o.one("url", "endpoint", "show", ep))
	require.Contains(t, o.run("endpoint", "list", "--service", "thinger", "--interface", "public", "--region", "R2"), ep)
	require.Contains(t, o.run("catalog", "show", "thinger"), "http://other/")
	require.Contains(t, o.run("catalog", "list"), "keystone")
	o.run("endpoint", "add", "project", ep, "top", "--project-domain", "d")
	require.Contains(t, o.run("endpoint", "list", "--project", "top", "--project-domain", "d"), ep)
	o.run("endpoint", "remove", "project", ep, "top", "--project-domain", "d")
	filters := filepath.Join(c.dir, "filters.json")
	require.NoError(t, os.WriteFile(filters, []byte(`{"interface": "public"}`), 0o600))
	o.run("endpoint", "group", "create", "eg", filters, "--description", "x")
	o.run("endpoint", "group", "set", "eg", "--name", "eg2")
	require.Contains(t, o.one("filters", "endpoint", "group", "show", "eg2"), "public")
	o.run("endpoint", "group", "add", "project", "eg2", "top", "--project-domain", "d")
	require.Contains(t, o.run("endpoint", "group", "list", "--project", "top", "--domain", "d"), "eg2")
	o.run("endpoint", "group", "remove", "project", "eg2", "top", "--project-domain", "d")
	o.run("endpoint", "group", "delete", "eg2")

	// Limits, policies, credentials, consumers, federation.
	o.run("registered", "limit", "create", "cores", "--service", "thinger", "--default-limit", "5")
	reg := o.one("ID", "registered", "limit", "list", "--service", "thinger")
	o.run("registered", "limit", "set", reg, "--default-limit", "6")
	require.Equal(t, "6", o.one("default_limit", "registered", "limit", "show", reg))
	lim := o.one("id", "limit", "create", "cores", "--service", "thinger", "--resource-limit", "3", "--project", o.one("id", "project", "show", "top", "--domain", "d"))
	o.run("limit", "set", lim, "--resource-limit", "4")
	require.Equal(t, "4", o.one("resource_limit", "limit", "show", lim))
	require.Contains(t, o.run("limit", "list", "--service", "thinger"), lim)
	o.run("limit", "delete", lim)
	o.run("registered", "limit", "delete", reg)
	blob := filepath.Join(c.dir, "blob")
	require.NoError(t, os.WriteFile(blob, []byte("{}"), 0o600))
	pol := o.one("id", "policy", "create", blob, "--type", "application/json")
	o.run("policy", "set", pol, "--type", "text/plain")
	require.Contains(t, o.run("policy", "list", "--long"), "text/plain")
	require.Equal(t, "text/plain", o.one("type", "policy", "show", pol))
	o.run("policy", "delete", pol)
	cred := o.one("id", "credential", "create", "admin", "secret", "--type", "cert")
	o.run("credential", "set", cred, "--user", "admin", "--type", "cert", "--data", "other")
	require.Equal(t, "other", o.one("blob", "credential", "show", cred))
	require.Contains(t, o.run("credential", "list", "--type", "cert"), cred)
	o.run("credential", "delete", cred)
	access := o.one("access", "ec2", "credentials", "create")
	require.Contains(t, o.run("ec2", "credentials", "list"), access)
	o.run("ec2", "credentials", "show", access)
	o.run("ec2", "credentials", "delete", access)
	con := o.one("id", "consumer", "create", "--description", "ci")
	o.run("consumer", "set", con, "--description", "cd")
	require.Equal(t, "cd", o.one("description", "consumer", "show", con))
	require.Contains(t, o.run("consumer", "list"), con)
	oauth := strings.Fields(o.run("consumer", "create", "--description", "oauth", "-f", "value", "-c", "id", "-c", "secret"))
	require.Len(t, oauth, 2)
	key, secret := oauth[0], oauth[1]
	req := strings.Fields(o.run("request", "token", "create", "--consumer-key", key, "--consumer-secret", secret, "--project", "admin", "-f", "value", "-c", "id", "-c", "secret"))
	require.Len(t, req, 2)
	pin := o.one("oauth_verifier", "request", "token", "authorize", "--request-key", req[0], "--role", "reader")
	require.NotEmpty(t, o.one("id", "access", "token", "create", "--consumer-key", key, "--consumer-secret", secret, "--request-key", req[0], "--request-secret", req[1], "--verifier", pin))
	o.run("consumer", "delete", con, key)
	rules := filepath.Join(c.dir, "rules.json")
	require.NoError(t, os.WriteFile(rules, []byte(`[{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "NAME"}]}]`), 0o600))
	o.run("mapping", "create", "m", "--rules", rules)
	o.run("identity", "provider", "create", "idp", "--remote-id", "a", "--domain", "d")
	o.run("identity", "provider", "set", "idp", "--disable", "--description", "x")
	require.Equal(t, "x", o.one("description", "identity", "provider", "show", "idp"))
	o.run("mapping", "set", "m", "--rules", rules)
	require.Contains(t, o.run("mapping", "list"), "m")
	require.Contains(t, o.run("mapping", "show", "m"), "NAME")
	o.run("federation", "protocol", "create", "saml2", "--identity-provider", "idp", "--mapping", "m")
	require.Contains(t, o.run("federation", "protocol", "list", "--identity-provider", "idp"), "saml2")
	o.run("mapping", "create", "m2", "--rules", rules)
	o.run("federation", "protocol", "set", "saml2", "--identity-provider", "idp", "--mapping", "m2")
	require.Equal(t, "m2", o.one("mapping", "federation", "protocol", "show", "saml2", "--identity-provider", "idp"))
	o.run("role", "add", "reader", "--user", "admin", "--domain", "d")
	require.Contains(t, o.run("federation", "domain", "list"), "two")
	require.Contains(t, o.run("federation", "project", "list"), "admin")
	o.run("federation", "protocol", "delete", "saml2", "--identity-provider", "idp")
	require.Contains(t, o.run("identity", "provider", "list"), "idp")
	o.run("identity", "provider", "delete", "idp")
	o.run("mapping", "delete", "m", "m2")
	o.run("service", "provider", "create", "sp", "--auth-url", "https://a/", "--service-provider-url", "https://b/")
	require.Contains(t, o.run("service", "provider", "list"), "sp")
	o.run("service", "provider", "set", "sp", "--disable", "--description", "x")
	require.Equal(t, "x", o.one("description", "service", "provider", "show", "sp"))
	o.run("service", "provider", "delete", "sp")

	// Trusts, and what programs log in with.
	trust := o.one("id", "trust", "create", "admin", "ann", "--trustee-domain", "d", "--project", "admin", "--role", "reader", "--impersonate")
	require.Contains(t, o.run("trust", "list"), trust)
	require.Equal(t, "True", o.one("impersonation", "trust", "show", trust))
	o.run("trust", "delete", trust)
	tok := o.one("id", "token", "issue")
	o.run("token", "revoke", tok)
	id := o.one("id", "application", "credential", "create", "robot", "--secret", "geheim", "--role", "admin", "--unrestricted")
	require.Contains(t, o.run("application", "credential", "list"), "robot")
	require.Equal(t, "robot", o.one("name", "application", "credential", "show", "robot"))
	ruled := o.one("id", "application", "credential", "create", "ruled", "--secret", "geheim", "--access-rules", `[{"service": "identity", "method": "GET", "path": "/v3/users"}]`)
	require.Contains(t, o.run("access", "rule", "list"), "/v3/users")
	require.Equal(t, "GET", o.one("method", "access", "rule", "show", o.one("ID", "access", "rule", "list")))

	// A clouds.yaml with an application credential works for everything.
	config := filepath.Join(c.dir, "robots.yaml") // clouds.yaml is the cloud's own
	entry := func(name, id string) string {
		return "  " + name + ":\n    auth_type: v3applicationcredential\n    region_name: RegionOne\n    auth:\n      auth_url: " + c.url(identity, "/v3") +
			"\n      application_credential_id: " + id + "\n      application_credential_secret: geheim\n"
	}
	require.NoError(t, os.WriteFile(config, []byte("clouds:\n"+entry("robot", id)+entry("ruled", ruled)), 0o600))
	r := newOSC(t, []string{"PATH=/usr/bin:/bin", "HOME=" + c.dir, "LANG=C.UTF-8", "OS_CLIENT_CONFIG_FILE=" + config, "OS_CLOUD=robot"})
	require.Contains(t, r.run("user", "list", "--domain", "d"), "ann")
	r.run("user", "create", "made-by-robot")
	r.run("user", "delete", "made-by-robot")
	for _, noun := range [][]string{{"project", "list"}, {"flavor", "list"}, {"image", "list"}, {"network", "list"}, {"volume", "list"}, {"server", "list"}, {"application", "credential", "list"}} {
		r.run(noun...)
	}
	// Another process: within one the client keeps its first connection whatever cloud is named.
	bound := newOSC(t, []string{"PATH=/usr/bin:/bin", "HOME=" + c.dir, "LANG=C.UTF-8", "OS_CLIENT_CONFIG_FILE=" + config, "OS_CLOUD=ruled"})
	require.Contains(t, bound.run("user", "list"), "admin")
	require.Contains(t, bound.fails("project", "list"), "401")
	require.Contains(t, bound.fails("server", "list"), "401")
	o.run("application", "credential", "delete", "robot", "ruled")
	o.run("access", "rule", "delete", o.one("ID", "access", "rule", "list"))

	// Passwords, and the end.
	o.run("user", "password", "set", "--original-password", password, "--password", "another-secret")
	require.Contains(t, o.fails("user", "list"), "401")
	newOSC(t, c.env("admin", "another-secret", "admin")).run("user", "password", "set", "--original-password", "another-secret", "--password", password)
	o.run("endpoint", "delete", ep)
	o.run("service", "delete", "thinger")
	o.run("region", "delete", "R3", "R2")
	o.run("user", "delete", "ann", "--domain", "d")
	o.run("group", "delete", "g", "--domain", "d")
	o.fails("project", "delete", "top", "--domain", "d")
	o.run("project", "delete", "sub", "--domain", "d")
	require.NotEmpty(t, o.run("project", "list", "--parent", "top", "--domain", "d", "-f", "json"))
	o.run("role", "delete", "r1", "r2")
	o.fails("domain", "delete", "d")
	o.run("domain", "set", "d", "--disable")
	o.run("domain", "delete", "d")
	o.covers("identity.v3")
	c.fsckClean()
}

// TestRotateKeys rotates under a running cloud, whose tokens stay valid, also after a restart and on a second rotation.
func TestRotateKeys(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 1)
	a := c.admin()
	require.Contains(t, c.nephos("identity", "rotate-keys", "--state-dir", c.dir), "rotated")
	require.Contains(t, c.nephos("identity", "rotate-keys", "--state-dir", c.dir, "--credentials"), "rotated")
	require.Equal(t, 200, a.do("GET", identity, "/users", nil).code)
	c.stop()
	c.start()
	require.Equal(t, 200, a.do("GET", identity, "/users", nil).code)
	for range 3 {
		c.nephos("identity", "rotate-keys", "--state-dir", c.dir)
	}
	b := c.admin()
	require.Equal(t, 200, a.do("GET", identity, "/users", nil).code)
	require.Equal(t, 200, b.do("GET", identity, "/users", nil).code)
}
