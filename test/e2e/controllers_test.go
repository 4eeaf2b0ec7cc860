package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/db/dbtest"
)

// newController starts `nephos controller` on a database, with a directory that controllers share. Without flags to join another's bus it has its own.
func newController(t testing.TB, db, shared string, flags ...string) *cloud {
	t.Helper()
	dir, err := os.MkdirTemp("", "nephos-e2e-")
	require.NoError(t, err)
	c := &cloud{t: t, dir: dir, offset: nextOffset(t), flags: flags}
	t.Cleanup(c.tearDown)
	c.control(db, shared)
	return c
}

// control is start for a controller.
func (c *cloud) control(db, shared string) {
	c.t.Helper()
	c.proc, c.ready = c.launch(append([]string{"controller", "--driver", "fake", "--state-dir", c.dir, "--shared", shared, "--db", db, "--port-offset", strconv.Itoa(c.offset), "--admin-password", password}, c.flags...)...)
}

// TestTwoControllers has two controllers on one PostgreSQL: tokens of one hold on the other, through rotations of the keys and a restart, and what one revokes is
// revoked on both, then too; an upload staged at one is imported through the other.
func TestTwoControllers(t *testing.T) {
	t.Parallel()
	db := dbtest.PostgresURL(t)
	shared, err := os.MkdirTemp("", "nephos-e2e-shared-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(shared) })
	one := newController(t, db, shared)
	token, err := os.ReadFile(filepath.Join(one.dir, "join-token"))
	require.NoError(t, err)
	two := newController(t, db, shared, "--join", fmt.Sprintf("nats://127.0.0.1:%d", 4222+one.offset), "--token", strings.TrimSpace(string(token)))
	both := []*cloud{one, two}
	code := func(c *cloud, token string) int {
		return send(t, "GET", c.url(identity, "/v3/auth/tokens"), nil, "X-Auth-Token: "+token, "X-Subject-Token: "+token).code
	}
	valid := func(what string, tokens ...string) {
		t.Helper()
		for _, c := range both {
			for _, tok := range tokens {
				require.Equal(t, 200, code(c, tok), what)
			}
		}
	}
	dead := func(what, token string) {
		t.Helper()
		for _, c := range both {
			began := time.Now()
			require.True(t, poll(10*time.Second, 5*time.Millisecond, func() bool { return code(c, token) == 401 }), "%s: a revoked token holds", what)
			t.Logf("%s: refused by the controller on port %d after %v", what, identity+c.offset, time.Since(began).Round(time.Millisecond))
		}
	}
	rotate := func() {
		t.Helper()
		out, err := two.tryBinary("identity", "rotate-keys", "--db", db, "--state-dir", two.dir, "--shared", shared)
		require.NoError(t, err, out)
	}

	a, b := one.admin(), two.admin()
	old, doomed, ofTwo := one.admin(), one.admin(), two.admin()
	valid("of both, on both", a.token, b.token, old.token, doomed.token, ofTwo.token)
	require.Equal(t, 204, send(t, "DELETE", one.url(identity, "/v3/auth/tokens"), nil, "X-Auth-Token: "+a.token, "X-Subject-Token: "+doomed.token).code)
	dead("revoked at the first", doomed.token)
	user := a.must(201, "POST", identity, "/users", object{"user": object{"name": "ann", "password": "pw"}}).str("user/id")
	role := a.must(200, "GET", identity, "/roles?name=member", nil).str("roles/0/id")
	a.must(204, "PUT", identity, "/projects/"+a.project+"/users/"+user+"/roles/"+role, nil)
	ann, annTwo := one.login("ann", "pw", "admin"), two.login("ann", "pw", "admin")
	valid("of a new user", ann.token, annTwo.token)
	b.must(200, "PATCH", identity, "/users/"+user, object{"user": object{"password": "other"}})
	dead("password changed at the second, token of the first", ann.token)
	dead("password changed at the second, token of the second", annTwo.token)

	rotate()
	fresh, freshTwo := one.admin(), two.admin()
	alive := []string{a.token, b.token, old.token, ofTwo.token, fresh.token, freshTwo.token}
	valid("after a rotation", alive...)
	dead("revoked, after a rotation", doomed.token)
	one.signal(one.proc, syscall.SIGKILL)
	for _, tok := range alive {
		require.Equal(t, 200, code(two, tok), "while the other is away")
	}
	require.Equal(t, 401, code(two, doomed.token))
	rotate() // nobody can be told
	one.control(db, shared)
	alive = append(alive, one.admin().token, two.admin().token)
	valid("after a restart and a second rotation", alive...)
	for what, tok := range map[string]string{"revoked": doomed.token, "password changed": ann.token, "password changed, of the second": annTwo.token} {
		dead(what+", after a restart", tok)
	}
	two.stop()
	two.control(db, shared)
	valid("after the other's restart", alive...)
	dead("revoked, after the other's restart", doomed.token)

	// Bytes that one took are the other's too.
	a, b = one.admin(), two.admin()
	files := func() (names []string) {
		es, err := os.ReadDir(filepath.Join(shared, "images"))
		require.NoError(t, err)
		for _, e := range es {
			names = append(names, e.Name())
		}
		return names
	}
	before := files() // the demo guest, where it is built
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	id := a.must(201, "POST", image, "/images", object{"name": "x", "disk_format": "raw", "container_format": "bare"}).str("id")
	require.Equal(t, 204, a.do("PUT", image, "/images/"+id+"/stage", data, octets).code)
	b.must(202, "POST", image, "/images/"+id+"/import", object{"method": object{"name": "glance-direct"}})
	for _, x := range []*api{a, b} {
		require.True(t, poll(20*time.Second, 20*time.Millisecond, func() bool {
			return x.must(200, "GET", image, "/images/"+id, nil).str("status") == "active"
		}))
		require.True(t, bytes.Equal(data, x.do("GET", image, "/images/"+id+"/file", nil).body))
	}
	staged := a.must(201, "POST", image, "/images", object{"name": "y", "disk_format": "raw", "container_format": "bare"}).str("id")
	require.Equal(t, 204, a.do("PUT", image, "/images/"+staged+"/stage", data, octets).code)
	for _, x := range []string{id, staged} {
		b.must(204, "DELETE", image, "/images/"+x, nil)
		require.True(t, poll(10*time.Second, 20*time.Millisecond, func() bool { return a.do("GET", image, "/images/"+x, nil).code == 404 }))
	}
	require.Equal(t, before, files())
}

// tryBinary runs nephos with nothing of the environment.
func (c *cloud) tryBinary(args ...string) (string, error) {
	out, errs, err := c.try(binary, args...)
	return out + errs, err
}
