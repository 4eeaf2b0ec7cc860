package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const nowhere = "11111111-2222-4333-8444-555555555555"

// user makes a project and a member of it.
func (a *api) user(name string) *api {
	a.t.Helper()
	project := a.must(201, "POST", identity, "/projects", object{"project": object{"name": name, "domain_id": "default"}}).str("project/id")
	user := a.must(201, "POST", identity, "/users", object{"user": object{"name": name, "password": "pw-" + name, "domain_id": "default"}}).str("user/id")
	role := a.must(200, "GET", identity, "/roles?name=member", nil).str("roles/0/id")
	a.must(204, "PUT", identity, "/projects/"+project+"/users/"+user+"/roles/"+role, nil)
	return a.c.login(name, "pw-"+name, name)
}

// footprint counts what a refused request must not leave.
func (a *api) footprint() string {
	a.t.Helper()
	limits := a.must(200, "GET", compute, "/limits", nil)
	return fmt.Sprintf("%d servers, %v instances and %v MiB used, %d ports", len(a.must(200, "GET", compute, "/servers", nil).list("servers")),
		limits.at("limits/absolute/totalInstancesUsed"), limits.at("limits/absolute/totalRAMUsed"),
		len(a.must(200, "GET", network, "/ports?project_id="+a.project, nil).list("ports")))
}

// TestBadInput: the right code, a message that names what is wrong, nothing left behind.
func TestBadInput(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 2)
	admin := c.admin()
	alice, bob := admin.user("alice"), admin.user("bob")
	img := alice.upload("tiny", "raw", make([]byte, 4096))
	privateNet := alice.must(201, "POST", network, "/networks", object{"network": object{"name": "alices"}}).str("network/id")
	alice.must(201, "POST", network, "/subnets", object{"subnet": object{"network_id": privateNet, "ip_version": 4, "cidr": "10.9.0.0/24"}})
	alicesPort := alice.must(201, "POST", network, "/ports", object{"port": object{"network_id": privateNet}}).str("port/id")
	alicesGroup := alice.must(201, "POST", network, "/security-groups", object{"security_group": object{"name": "alices"}}).str("security_group/id")
	alicesServer := alice.boot("hers", img, object{"networks": []object{{"uuid": privateNet}}}).str("server/id")
	alice.active(alicesServer, 30*time.Second)
	vol := alice.must(202, "POST", volume, "/volumes", object{"volume": object{"size": 1}}).str("volume/id")
	alice.volume(vol, "available")
	bobs := bob.upload("bobs", "raw", make([]byte, 4096))
	shared := bob.named(network, "/networks", "networks", "private")
	before, hers := bob.footprint(), alice.footprint()

	server := func(extra object) object { return object{"server": bob.server("x", bobs, extra)} }
	for _, bad := range []struct {
		name, method string
		port         int
		path         string
		body         any
		code         int
		says         string
	}{
		{"unknown flavor", "POST", compute, "/servers", server(object{"flavorRef": "nosuch"}), 400, "nosuch"},
		{"unknown image", "POST", compute, "/servers", server(object{"imageRef": nowhere}), 400, nowhere},
		{"image that is no id", "POST", compute, "/servers", server(object{"imageRef": "nosuch"}), 400, "imageRef"},
		{"unknown network", "POST", compute, "/servers", server(object{"networks": []object{{"uuid": nowhere}}}), 400, nowhere},
		{"unknown port", "POST", compute, "/servers", server(object{"networks": []object{{"port": nowhere}}}), 400, nowhere},
		{"unknown key", "POST", compute, "/servers", server(object{"key_name": "nosuch"}), 400, "key"},
		{"unknown security group", "POST", compute, "/servers", server(object{"security_groups": []object{{"name": "nosuch"}}}), 400, "nosuch"},
		{"unknown zone", "POST", compute, "/servers", server(object{"availability_zone": "nosuch"}), 400, "nosuch"},
		{"address outside the subnet", "POST", compute, "/servers", server(object{"networks": []object{{"uuid": shared, "fixed_ip": "198.51.100.77"}}}), 400, "198.51.100.77"},
		{"no name", "POST", compute, "/servers", object{"server": object{"imageRef": bobs, "flavorRef": "42", "networks": "auto"}}, 400, "name"},
		{"name of the wrong type", "POST", compute, "/servers", server(object{"name": 7}), 400, "name"},
		{"unknown field", "POST", compute, "/servers", server(object{"flavour": "42"}), 400, "flavour"},
		{"more at least than at most", "POST", compute, "/servers", server(object{"min_count": 3, "max_count": 2}), 400, "min_count"},
		{"too many", "POST", compute, "/servers", server(object{"min_count": 1000, "max_count": 1000}), 403, "Quota exceeded for"},
		{"user data that is no base64", "POST", compute, "/servers", server(object{"user_data": "§"}), 400, "user_data"},
		{"metadata value too long", "POST", compute, "/servers", server(object{"metadata": object{"k": strings.Repeat("v", 256)}}), 400, "attribute k"},
		{"no JSON", "POST", compute, "/servers", "{server", 400, "JSON"},
		{"a list", "POST", compute, "/servers", "[]", 400, ""},
		{"no body", "POST", compute, "/servers", nil, 400, ""},
		{"10 MB", "POST", compute, "/servers", append(append([]byte(`{"server": {"name": "`), bytes.Repeat([]byte("a"), 10<<20)...), `"}}`...), 413, ""},
		{"another's server", "GET", compute, "/servers/" + alicesServer, nil, 404, alicesServer},
		{"delete another's server", "DELETE", compute, "/servers/" + alicesServer, nil, 404, alicesServer},
		{"stop another's server", "POST", compute, "/servers/" + alicesServer + "/action", object{"os-stop": nil}, 404, alicesServer},
		{"another's image", "POST", compute, "/servers", server(object{"imageRef": img}), 400, img},
		{"another's image itself", "GET", image, "/images/" + img, nil, 404, ""},
		{"another's network", "POST", compute, "/servers", server(object{"networks": []object{{"uuid": privateNet}}}), 400, privateNet},
		{"another's port", "POST", compute, "/servers", server(object{"networks": []object{{"port": alicesPort}}}), 400, alicesPort},
		{"another's group", "POST", compute, "/servers", server(object{"security_groups": []object{{"name": alicesGroup}}}), 400, alicesGroup},
		{"another's volume", "GET", volume, "/volumes/" + vol, nil, 404, vol},
		{"boot from another's volume", "POST", compute, "/servers", server(object{"imageRef": "", "block_device_mapping_v2": []object{{"source_type": "volume", "destination_type": "volume", "uuid": vol, "boot_index": 0}}}), 400, vol},
		{"another's project", "GET", identity, "/projects/" + alice.project, nil, 403, ""},
		{"make a flavor", "POST", compute, "/flavors", object{"flavor": object{"name": "f", "ram": 1, "vcpus": 1, "disk": 1}}, 403, ""},
		{"a path that is not there", "GET", compute, "/nosuch", nil, 404, ""},
		{"a method that is not there, which is 404 in Nova", "PATCH", compute, "/servers", object{}, 404, ""},
		{"a method that is not there, elsewhere", "PATCH", identity, "/users", object{}, 405, ""},
		{"volume without size", "POST", volume, "/volumes", object{"volume": object{}}, 400, "size"},
		{"volume of nothing", "POST", volume, "/volumes", object{"volume": object{"size": 0}}, 400, "size"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			var head []string
			if bad.port == compute {
				head = append(head, newest)
			}
			r := bob.do(bad.method, bad.port, bad.path, bad.body, head...)
			require.Equal(t, bad.code, r.code, "%s", r)
			require.Contains(t, r.message(), bad.says)
			require.NotContains(t, string(r.body), "goroutine")
			require.NotEmpty(t, r.head.Get("X-Openstack-Request-Id"))
		})
	}
	t.Run("tokens", func(t *testing.T) {
		for name, token := range map[string]string{"broken": bob.token[:len(bob.token)-3] + "AAA", "nonsense": "x", "empty": "", "huge": strings.Repeat("g", 20000)} {
			for _, url := range []string{c.url(compute, "/v2.1/servers"), c.url(image, "/v2/images"), c.url(network, "/v2.0/networks"), c.url(identity, "/v3/projects"),
				c.url(volume, "/v3/"+bob.project+"/volumes")} {
				r := send(t, "GET", url, nil, "X-Auth-Token: "+token)
				require.Equal(t, http.StatusUnauthorized, r.code, "%s token: %s", name, r)
				require.NotEmpty(t, r.head.Get("WWW-Authenticate"))
			}
		}
		r := send(t, "POST", c.url(identity, "/v3/auth/tokens"), object{"auth": object{"identity": object{"methods": []string{"password"},
			"password": object{"user": object{"name": "bob", "password": "wrong", "domain": object{"id": "default"}}}}}})
		require.Equal(t, 401, r.code, "%s", r)
		r = send(t, "POST", c.url(identity, "/v2.0/tokens"), `{"auth": {"passwordCredentials": {"username": "bob", "password": "wrong"}, "tenantName": "bob"}}`)
		require.Equal(t, 401, r.code, "%s", r)
	})
	require.Equal(t, before, bob.footprint())
	require.Equal(t, hers, alice.footprint())
	c.fsckClean()
}

// TestImagesThatLie: what is no qcow2, and what reaches for files of the host, is refused.
func TestImagesThatLie(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 1)
	a := c.admin()
	header := func(version uint32, backing string) []byte {
		b := make([]byte, 64<<10)
		copy(b, "QFI\xfb")
		b[7] = byte(version)
		if backing != "" {
			copy(b[512:], backing)
			b[14], b[15] = 2, 0 // offset 512
			b[19] = byte(len(backing))
		}
		b[23] = 16                             // cluster bits
		b[24+4] = 0x40                         // size 1 GiB
		b[36+3], b[40+5] = 2, 3                // l1 size and offset
		b[48+5], b[56+3], b[100+3] = 2, 1, 104 // refcount table, header length
		return b
	}
	for _, lie := range []struct {
		name, format string
		data         []byte
		says         string
	}{
		{"no qcow2 at all", "qcow2", bytes.Repeat([]byte("not a qcow2 "), 1000), "qcow2"},
		{"qcow2 with a backing file", "qcow2", header(3, "/etc/shadow"), "backing"},
		{"qcow2 that calls itself raw", "raw", header(3, "/etc/shadow"), "qcow2"},
		{"an ISO that calls itself qcow2", "qcow2", append(make([]byte, 32769), "CD001"...), ""},
	} {
		t.Run(lie.name, func(t *testing.T) {
			id := a.must(201, "POST", image, "/images", object{"name": lie.name, "disk_format": lie.format, "container_format": "bare"}).str("id")
			r := a.do("PUT", image, "/images/"+id+"/file", lie.data, "Content-Type: application/octet-stream")
			require.GreaterOrEqual(t, r.code, 400, "%s", r)
			require.Less(t, r.code, 500, "%s", r)
			require.Contains(t, string(r.body), lie.says)
			require.NotEqual(t, "active", a.must(200, "GET", image, "/images/"+id, nil).str("status"))
			b := a.boot("x", id, nil)
			require.Equal(t, 400, b.code, "%s", b)
			a.must(204, "DELETE", image, "/images/"+id, nil)
		})
	}
	require.Empty(t, a.must(200, "GET", compute, "/servers", nil).list("servers"))
	c.fsckClean()
}

// TestFullHost: no host has room; the user learns which filter took which hosts away.
func TestFullHost(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 2)
	a := c.admin()
	a.quota(object{"instances": -1, "cores": -1, "ram": -1})
	img := a.upload("tiny", "raw", make([]byte, 4096))
	a.must(200, "POST", compute, "/flavors", object{"flavor": object{"id": "big", "name": "big", "ram": 200 << 10, "vcpus": 1, "disk": 1}})
	for i := range 3 {
		id := a.boot(fmt.Sprintf("big%d", i), img, object{"flavorRef": "big"}).str("server/id")
		r := a.settled(id, 30*time.Second)
		if i < 2 {
			require.Equal(t, "ACTIVE", r.str("server/status"), "%s", r)
			continue
		}
		require.Equal(t, "ERROR", r.str("server/status"), "%s", r)
		require.Contains(t, r.str("server/fault/message"), "No valid host was found")
		require.Contains(t, r.str("server/fault/message"), "2 hosts")
		a.must(204, "DELETE", compute, "/servers/"+id, nil)
		a.gone(id, 20*time.Second)
	}
	c.fsckClean()
}

// TestLastSlot: 50 requests race for the last server that the quota allows.
func TestLastSlot(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 4)
	admin := c.admin()
	bob := admin.user("bob")
	admin.must(200, "PUT", compute, "/os-quota-sets/"+bob.project, object{"quota_set": object{"instances": 3}})
	img := bob.upload("tiny", "raw", make([]byte, 4096))
	bob.active(bob.boot("a", img, nil).str("server/id"), 20*time.Second)
	bob.active(bob.boot("b", img, nil).str("server/id"), 20*time.Second)
	var wg sync.WaitGroup
	out := make([]reply, 50)
	for i := range out {
		wg.Go(func() {
			out[i], _ = bob.tryDo("POST", compute, "/servers", object{"server": bob.server(fmt.Sprintf("r%d", i), img, nil)}, newest)
		})
	}
	wg.Wait()
	codes := map[int]int{}
	for _, r := range out {
		codes[r.code]++
		if r.code == 403 {
			require.Contains(t, r.message(), "instances")
		}
	}
	require.Equal(t, map[int]int{202: 1, 403: 49}, codes)
	bob.allActive(3, 30*time.Second)
	require.Len(t, bob.must(200, "GET", network, "/ports?project_id="+bob.project, nil).list("ports"), 3)
	c.fsckClean()
}

// TestPersonality keeps the old way of bringing files within its microversions.
func TestPersonality(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 1)
	a := c.admin()
	img := a.upload("tiny", "raw", make([]byte, 4096))
	files := object{"personality": []object{{"path": "/etc/motd", "contents": base64.StdEncoding.EncodeToString([]byte("hi"))}}}
	r := a.boot("new", img, files)
	require.Equal(t, 400, r.code, "2.57 took it away: %s", r)
	s := a.server("old", img, files)
	delete(s, "networks")
	r = a.do("POST", compute, "/servers", object{"server": s}, "OpenStack-API-Version: compute 2.56")
	require.Equal(t, 400, r.code, "2.37 wants networks: %s", r)
	r = a.do("POST", compute, "/servers", object{"server": s})
	require.Equal(t, 202, r.code, "%s", r)
	a.active(r.str("server/id"), 20*time.Second)
}
