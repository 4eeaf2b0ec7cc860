package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// configFile writes settings to a file.
func configFile(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "nephos.yaml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// authority is a certificate authority made for a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	var err error
	a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a.cert = &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of a test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.write(t, "ca", a.cert, a.key)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name+".pem") }

func (a *authority) write(t testing.TB, name string, c *x509.Certificate, key *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	kb, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(a.file(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	require.NoError(t, os.WriteFile(a.file(name+"-key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb}), 0o600))
}

// server makes a certificate for localhost.
func (a *authority) server(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a.write(t, "server", &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, key)
}

// TestTLS: one certificate, and every port speaks TLS, the catalog and the files for clients say so, and an agent knows its controller.
func TestTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ca.server(t)
	c := fakeCloud(t, 1, "--tls-cert", ca.file("server"), "--tls-key", ca.file("server-key"), "--tls-ca", ca.file("ca"), "--public", "localhost")

	pool := x509.NewCertPool()
	pem, err := os.ReadFile(ca.file("ca"))
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(pem))
	for _, port := range faces {
		conn, err := tls.Dial("tcp", fmt.Sprintf("localhost:%d", port+c.offset), &tls.Config{RootCAs: pool})
		require.NoError(t, err, "port %d", port)
		conn.Close()
		_, err = tls.Dial("tcp", fmt.Sprintf("localhost:%d", port+c.offset), &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
		require.Error(t, err, "TLS 1.1 on port %d", port)
		res, err := http.Get(fmt.Sprintf("http://localhost:%d/", port+c.offset))
		require.NoError(t, err)
		res.Body.Close()
		require.Equal(t, 400, res.StatusCode, "plain HTTP on port %d", port)
	}

	rc, err := os.ReadFile(filepath.Join(c.dir, "openrc"))
	require.NoError(t, err)
	require.Contains(t, string(rc), "export OS_AUTH_URL=https://localhost:")
	require.Contains(t, string(rc), "export OS_CACERT='"+ca.file("ca")+"'")
	shell := func(line string) string {
		cmd := exec.Command("/bin/sh", "-ec", ". "+filepath.Join(c.dir, "openrc")+"; "+line)
		cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + c.dir}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s\n%s", line, out)
		return string(out)
	}
	catalog := shell("/usr/bin/openstack catalog list -f json")
	require.NotContains(t, catalog, "http://")
	require.Equal(t, 6, strings.Count(catalog, `"public"`)+strings.Count(catalog, "public: https://"), catalog)
	for _, noun := range []string{"server list", "image list", "network list", "volume list", "hypervisor list"} {
		shell("/usr/bin/openstack " + noun)
	}
	shell(binary + " server list")
	shell("unset OS_AUTH_URL OS_CACERT; OS_CLIENT_CONFIG_FILE=" + filepath.Join(c.dir, "clouds.yaml") + " OS_CLOUD=nephos " + binary + " server list")

	token, err := os.ReadFile(filepath.Join(c.dir, "join-token"))
	require.NoError(t, err)
	join := func(name string, flags ...string) *process {
		dir := t.TempDir()
		p := &process{cmd: exec.Command(binary, append([]string{"agent", "--driver", "fake", "--state-dir", dir, "--host", name, "--token", strings.TrimSpace(string(token)),
			"--join", fmt.Sprintf("tls://localhost:%d", 4222+c.offset)}, flags...)...), done: make(chan struct{})}
		p.cmd.Stdout, p.cmd.Stderr = p, p
		require.NoError(t, p.cmd.Start())
		go func() { p.err = p.cmd.Wait(); close(p.done) }()
		t.Cleanup(func() { c.signal(p, syscall.SIGTERM) })
		return p
	}
	other := newAuthority(t)
	deceived := join("deceived", "--tls-ca", other.file("ca"))
	trusting := join("trusting") // the machine's own authorities know nothing of ours
	join("knowing", "--tls-ca", ca.file("ca"))
	require.True(t, poll(30*time.Second, 500*time.Millisecond, func() bool { return strings.Contains(shell("/usr/bin/openstack compute service list"), "knowing") }))
	for _, p := range []*process{deceived, trusting} {
		require.True(t, poll(10*time.Second, 100*time.Millisecond, func() bool { return strings.Contains(p.output(), "unknown authority") }), "it says why: %s", p.output())
		require.NotContains(t, p.output(), "ready")
	}
	require.NotContains(t, shell("/usr/bin/openstack compute service list"), "deceived")
}

// TestSecretsArePrivate: what only the owner may read is 0600, wherever it lies; nothing at all is writable for others.
func TestSecretsArePrivate(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 2)
	a := c.admin()
	img := a.upload("tiny", "raw", make([]byte, 4096))
	r := a.boot("vm", img, object{"user_data": "c2VjcmV0", "adminPass": "hidden"})
	a.active(r.str("server/id"), 20*time.Second)
	private(t, c.dir)
}

// private walks a state directory.
func private(t testing.TB, dir string) {
	t.Helper()
	seen := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if os.IsNotExist(err) {
			return nil // a temporary file of the running cloud
		}
		if err != nil {
			return err
		}
		mode, rel := i.Mode(), strings.TrimPrefix(path, dir+"/")
		if mode&fs.ModeSymlink != 0 {
			return nil
		}
		if mode.Perm()&0o022 != 0 {
			t.Errorf("%s is %v: others may write it", rel, mode)
		}
		switch {
		case d.IsDir():
			if mode.Perm()&0o044 != 0 {
				t.Errorf("%s is %v: others may list it", rel, mode)
			}
		default:
			seen++
			if mode.Perm()&0o077 != 0 {
				t.Errorf("%s is %v: others may read it", rel, mode)
			}
		}
		return nil
	}))
	require.Greater(t, seen, 8, "files were looked at")
}

// TestGuestIsUnprivileged: what a real machine's process may do, and that its files stay private.
func TestGuestIsUnprivileged(t *testing.T) {
	c := realCloud(t)
	a := c.admin()
	r := a.must(202, "POST", compute, "/servers", object{"server": object{"name": "vm", "imageRef": a.named(image, "/images", "images", "nephos-guest"), "flavorRef": "42", "networks": "auto",
		"user_data": "c2VjcmV0", "config_drive": true}}, newest)
	id := r.str("server/id")
	a.active(id, time.Minute)
	pids := guests(c.dir, id)
	require.Len(t, pids, 1)
	b, err := os.ReadFile("/proc/" + pids[0] + "/status")
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); name {
		case "Uid", "Gid":
			require.NotContains(t, strings.Fields(value), "0", "%s of the guest's process", name)
		case "Groups":
			require.NotContains(t, strings.Fields(value), "0")
		case "CapPrm", "CapEff", "CapAmb":
			require.Equal(t, "0000000000000000", value, name)
		case "NoNewPrivs":
			require.Equal(t, "1", value)
		case "Seccomp":
			require.Equal(t, "2", value, "a filter is in force")
		}
	}
	cmdline, err := os.ReadFile("/proc/" + pids[0] + "/cmdline")
	require.NoError(t, err)
	require.NotContains(t, string(cmdline), "secret")
	private(t, c.dir)
}

// TestPolicyFile: a policy.yaml in the state directory holds for every service, and a mistake in it is told before anything is served.
func TestPolicyFile(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 1)
	admin := c.admin()
	bob := admin.user("bob")
	img := bob.upload("tiny", "raw", make([]byte, 4096))
	require.Equal(t, 202, bob.boot("vm", img, nil).code)
	file := filepath.Join(c.dir, "policy.yaml")
	require.NoError(t, os.WriteFile(file, []byte("\"os_compute_api:servers:create\": rule:builders\nbuilders: role:builder or rule:context_is_admin\nadd_image: '!'\ncreate_network: role:nobody\n"), 0o600))
	c.stop()
	c.start()
	require.Equal(t, 403, bob.boot("vm2", img, nil).code)
	bob.must(403, "POST", image, "/images", object{"name": "x"})
	bob.must(403, "POST", network, "/networks", object{"network": object{}})
	bob.must(202, "POST", volume, "/volumes", object{"volume": object{"size": 1}})

	out := c.run(binary, "policy", "explain", "--state-dir", c.dir, "POST", "/v2.1/servers")
	require.Contains(t, out, "yes  os_compute_api:servers:create")
	require.Contains(t, out, "rule:builders")
	out, _, err := c.try(binary, "policy", "explain", "--state-dir", c.dir, "os_compute_api:servers:create", "--role", "member", "--project-id", "p")
	require.Error(t, err)
	require.Contains(t, out, "no   os_compute_api:servers:create")
	require.Contains(t, c.run(binary, "policy", "list", "--state-dir", c.dir, "--changed"), "line 3 of "+file)

	c.stop()
	require.NoError(t, os.WriteFile(file, []byte("# mine\nadd_imagee: '!'\n"), 0o600))
	b, err := exec.Command(binary, "up", "--state-dir", c.dir, "--driver", "fake", "--port-offset", fmt.Sprint(c.offset)).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(b), `policy.yaml: line 2: no service has a rule "add_imagee" (did you mean "add_image"?)`)
	require.NoError(t, os.Remove(file))
	c.start()
}

// TestPeople: a project, a user in it and their roles, by nephos's own verbs; the user then works in the project, and no more when the role is gone.
func TestPeople(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 1)
	nephos := func(stdin string, args ...string) string {
		cmd := exec.Command(binary, append(args, "--state-dir", c.dir)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "nephos %s: %s", strings.Join(args, " "), out)
		return string(out)
	}
	nephos("", "project", "create", "lab")
	require.NotContains(t, nephos("first-secret\n", "user", "create", "ada", "--project", "lab"), "first-secret")
	require.Contains(t, nephos("", "role", "list", "--user", "ada"), "member")
	c.login("ada", "first-secret", "lab").must(200, "GET", compute, "/servers", nil)
	nephos("second-secret\n", "user", "password", "ada")
	c.login("ada", "second-secret", "lab")
	nephos("", "role", "create", "auditor")
	nephos("", "role", "add", "auditor", "--user", "ada", "--project", "lab")
	require.Contains(t, nephos("", "role", "list", "--project", "lab"), "auditor")
	nephos("", "role", "remove", "auditor", "--user", "ada", "--project", "lab")
	require.NotContains(t, nephos("", "role", "list", "--project", "lab"), "auditor")
	nephos("", "role", "delete", "auditor")
	nephos("", "user", "delete", "ada")
	nephos("", "project", "delete", "lab")
	require.NotContains(t, nephos("", "project", "list"), "lab")
}

// TestNoSecretIsLogged does everything that carries a secret, good and bad, at the most talkative log level, and looks for each secret in what was written and said.
func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 1, "--log-level", "debug")
	a := c.admin()
	secrets := map[string]string{"the admin's password": password, "the admin's token": a.token}
	refusals := []reply{}
	refused := func(code int, method string, port int, path string, body any, headers ...string) {
		t.Helper()
		r := a.do(method, port, path, body, headers...)
		require.Equal(t, code, r.code, "%s", r)
		refusals = append(refusals, r)
	}
	user := a.must(201, "POST", identity, "/users", object{"user": object{"name": "ann", "password": "pw-of-ann-1"}}).str("user/id")
	role := a.must(200, "GET", identity, "/roles?name=member", nil).str("roles/0/id")
	a.must(204, "PUT", identity, "/projects/"+a.project+"/users/"+user+"/roles/"+role, nil)
	secrets["a password"] = "pw-of-ann-1"
	ann := c.login("ann", "pw-of-ann-1", "admin")
	secrets["a token"] = ann.token
	try := func(auth any) reply {
		t.Helper()
		return send(t, "POST", c.url(identity, "/v3/auth/tokens"), object{"auth": auth})
	}
	wrong := func(name, pw string) object {
		return object{"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": name, "password": pw, "domain": object{"id": "default"}}}}}
	}
	secrets["a wrong password"], secrets["a password for nobody"] = "guess-of-ann", "guess-of-nobody"
	refusals = append(refusals, try(wrong("ann", "guess-of-ann")), try(wrong("nobody", "guess-of-nobody")), try(object{"identity": object{"methods": []string{"password"}, "password": "misplaced-secret"}}))
	secrets["a password in the wrong place"] = "misplaced-secret"
	secrets["a password of the wrong type"] = "secret-in-a-list"
	refused(400, "POST", identity, "/users", object{"user": object{"name": "x", "password": []string{"secret-in-a-list"}}})
	r := ann.must(201, "POST", identity, "/users/"+user+"/application_credentials", object{"application_credential": object{"name": "robot"}})
	secrets["an application credential's secret"] = r.str("application_credential/secret")
	try(object{"identity": object{"methods": []string{"application_credential"}, "application_credential": object{"id": r.str("application_credential/id"), "secret": r.str("application_credential/secret")}}})
	try(object{"identity": object{"methods": []string{"application_credential"}, "application_credential": object{"id": r.str("application_credential/id"), "secret": "wrong-robot-secret"}}})
	secrets["a wrong one"] = "wrong-robot-secret"
	r = ann.must(201, "POST", identity, "/users/"+user+"/credentials/OS-EC2", object{"tenant_id": a.project})
	secrets["an EC2 secret"] = r.str("credential/secret")
	seed := "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
	secrets["a TOTP seed"] = seed
	a.must(201, "POST", identity, "/credentials", object{"credential": object{"type": "totp", "user_id": user, "blob": seed}})
	require.Equal(t, 204, send(t, "POST", c.url(identity, "/v3/users/"+user+"/password"), object{"user": object{"original_password": "pw-of-ann-1", "password": "pw-of-ann-2"}}).code)
	secrets["a new password"] = "pw-of-ann-2"
	old := send(t, "POST", c.url(identity, "/v2.0/tokens"), object{"auth": object{"passwordCredentials": object{"username": "ann", "password": "pw-of-ann-2"}, "tenantName": "admin"}})
	require.Equal(t, 200, old.code, "%s", old)
	secrets["a v2.0 token"] = old.str("access/token/id")
	for _, path := range []string{"", "/endpoints"} {
		require.Equal(t, 200, send(t, "GET", c.url(identity, "/v2.0/tokens/"+old.str("access/token/id")+path), nil, "X-Auth-Token: "+a.token).code)
	}
	refusals = append(refusals, send(t, "GET", c.url(identity, "/v2.0/tokens/secret-token-in-a-path"), nil, "X-Auth-Token: "+a.token), send(t, "GET", c.url(compute, "/v2.1/servers"), nil, "X-Auth-Token: forged-token-of-somebody"))
	secrets["a wrong v2.0 token"], secrets["a forged token"] = "secret-token-in-a-path", "forged-token-of-somebody"
	id := a.must(201, "POST", image, "/images", object{"name": "x", "disk_format": "raw", "container_format": "bare"}).str("id")
	secrets["a password in a URL"] = "pw-in-a-url"
	a.do("POST", image, "/images/"+id+"/import", object{"method": object{"name": "web-download", "uri": "http://bob:pw-in-a-url@example.org/x"}})
	c.nephos("identity", "rotate-keys", "--state-dir", c.dir)
	log, err := os.ReadFile(filepath.Join(c.dir, "nephos.log"))
	require.NoError(t, err)
	said := map[string]string{"the log": string(log), "the terminal": c.proc.output()}
	for i, r := range refusals {
		require.GreaterOrEqual(t, r.code, 400, "%s", r)
		said[fmt.Sprintf("refusal %d", i)] = string(r.body)
	}
	require.Contains(t, said["the log"], "op=tokens.create")
	for what, secret := range secrets {
		require.Greater(t, len(secret), 8, what)
		for where, text := range said {
			require.False(t, strings.Contains(text, secret), "%s stands in %s", what, where)
		}
	}
}
