package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const octets = "Content-Type: application/octet-stream"

// TestImageClients walks every noun of the image service with Debian's clients: `openstack` for images and members, `glance` for what that has no words for.
func TestImageClients(t *testing.T) {
	t.Parallel()
	needs(t, "/usr/bin/openstack", "python3-openstackclient")
	c := fakeCloud(t, 2)
	o := newOSC(t, c.env("admin", password, "admin"))
	file := filepath.Join(c.dir, "disk.raw")
	data := bytes.Repeat([]byte("some bytes of a disk"), 50_000)
	require.NoError(t, os.WriteFile(file, data, 0o600))
	before := o.run("image", "list", "-f", "value") // the demo guest, where it is built
	var img struct{ ID, Status, Visibility, Name string }
	o.run("image", "create", "--disk-format", "raw", "--container-format", "bare", "--file", file, "--private", "--min-ram", "64", "--tag", "a", "--property", "os_distro=debian", "--unprotected", "first")
	require.NoError(t, json.Unmarshal([]byte(o.run("image", "show", "first", "-f", "json")), &img)) // what the client shows of a creation is from before the upload
	require.Equal(t, []string{"active", "private", "first"}, []string{img.Status, img.Visibility, img.Name})
	require.Contains(t, o.run("image", "list", "--private", "--name", "first", "--tag", "a", "--property", "os_distro=debian", "--status", "active", "-f", "value"), img.ID)
	require.Contains(t, o.run("image", "list", "--long", "--sort", "name:asc", "--limit", "5"), "first")
	o.run("image", "set", "--name", "second", "--shared", "--property", "hw_disk_bus=virtio", "--tag", "b", "--protected", "--min-disk", "1", img.ID)
	shown := o.run("image", "show", "second", "-f", "json")
	require.Contains(t, shown, `"hw_disk_bus": "virtio"`)
	require.Contains(t, o.fails("image", "delete", "second"), "protected")
	o.run("image", "unset", "--property", "hw_disk_bus", "--tag", "b", "second")
	o.run("image", "set", "--unprotected", "second")
	out := filepath.Join(c.dir, "saved")
	o.run("image", "save", "--file", out, "second")
	saved, err := os.ReadFile(out)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, saved))

	o.run("project", "create", "other")
	o.run("image", "add", "project", "second", "other")
	require.Contains(t, o.run("image", "member", "list", "second"), "pending")
	o.run("project", "create", "third")
	member := newOSC(t, c.env("admin", password, "other"))
	o.run("role", "add", "member", "--user", "admin", "--project", "other")
	member.run("image", "set", "--accept", img.ID)
	require.Contains(t, o.run("image", "member", "list", "second"), "accepted")
	require.Contains(t, member.run("image", "list", "--shared", "--member-status", "accepted"), img.ID)
	member.run("image", "set", "--reject", img.ID)
	o.run("image", "remove", "project", "second", "other")
	o.run("image", "set", "--deactivate", "second")
	require.Contains(t, o.run("image", "show", "second"), "deactivated")
	o.run("image", "set", "--activate", "second")

	needs(t, "/usr/bin/glance", "python3-glanceclient")
	glance := func(args ...string) string { // without a stdin: it takes one for data
		return c.run("/bin/sh", append([]string{"-c", `exec "$0" "$@" <&-`, "/usr/bin/glance"}, args...)...)
	}
	require.Contains(t, glance("import-info"), "web-download")
	require.Contains(t, glance("stores-info"), "archive")
	require.Contains(t, glance("usage"), "image_count_total")
	require.Contains(t, glance("image-create-via-import", "--name", "third", "--disk-format", "raw", "--container-format", "bare", "--file", file, "--import-method", "glance-direct"), "third")
	third := strings.TrimSpace(o.run("image", "list", "--name", "third", "-f", "value", "-c", "ID"))
	require.True(t, poll(20*time.Second, 200*time.Millisecond, func() bool { return strings.Contains(glance("image-tasks", third), "success") }))
	glance("image-import", third, "--import-method", "copy-image", "--all-stores", "true")
	require.True(t, poll(20*time.Second, 200*time.Millisecond, func() bool { return strings.Contains(glance("image-show", third), "archive,file") }))
	glance("stores-delete", "--store", "archive", third)
	require.Contains(t, glance("task-list"), "api_image_import")

	require.Contains(t, glance("md-namespace-list"), "OS::Compute::Hypervisor")
	glance("md-namespace-create", "Mine", "--visibility", "public")
	glance("md-object-create", "Mine", "--name", "o", "--schema", "{}")
	glance("md-property-create", "Mine", "--name", "p", "--title", "P", "--schema", `{"type": "string"}`)
	glance("md-tag-create", "Mine", "--name", "t")
	glance("md-resource-type-associate", "--name", "OS::Glance::Image", "Mine")
	require.Contains(t, glance("md-namespace-show", "Mine"), "OS::Glance::Image")
	require.Contains(t, glance("md-object-list", "Mine")+glance("md-property-list", "Mine")+glance("md-tag-list", "Mine"), "P")
	glance("md-resource-type-deassociate", "Mine", "OS::Glance::Image")
	glance("md-namespace-delete", "Mine")
	require.Contains(t, glance("md-resource-type-list"), "OS::Nova::Flavor")
	o.run("image", "delete", "second", "third")
	require.Equal(t, before, o.run("image", "list", "-f", "value"))
	o.covers("image.v2")
	c.fsckClean()
}

// slowly gives some bytes, says so, and then waits until it is let go.
type slowly struct {
	n     int
	began chan struct{}
	free  chan struct{}
}

func (s *slowly) Read(b []byte) (int, error) {
	if s.n == 0 {
		close(s.began)
		<-s.free
		return 0, io.EOF
	}
	s.n--
	return len(b), nil
}

// TestCrashWithImages kills the process in the middle of an upload, of imports and of deletes: each image ends where its owner can act on it, bytes without a row are
// gone, fsck is clean.
func TestCrashWithImages(t *testing.T) {
	t.Parallel()
	c := fakeCloud(t, 1)
	a := c.admin()
	record := func(name string) string {
		return a.must(201, "POST", image, "/images", object{"name": name, "disk_format": "raw", "container_format": "bare"}).str("id")
	}
	status := func(id string) string { return a.must(200, "GET", image, "/images/"+id, nil).str("status") }
	files := func() (n int) {
		for _, dir := range []string{"images", "images-archive"} {
			es, err := os.ReadDir(filepath.Join(c.dir, dir))
			require.NoError(t, err)
			n += len(es)
		}
		return n
	}
	before := files()                                      // the demo guest, where it is built
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB

	uploading := record("uploading")
	body := &slowly{n: 200, began: make(chan struct{}), free: make(chan struct{})}
	ended := make(chan struct{})
	go func() { // ends when the process dies
		defer close(ended)
		req, err := http.NewRequest("PUT", c.url(image, "/v2/images/"+uploading+"/file"), body)
		if err != nil {
			return
		}
		req.Header.Set("X-Auth-Token", a.token)
		req.Header.Set("Content-Type", "application/octet-stream")
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
		}
	}()
	<-body.began
	require.Equal(t, "saving", status(uploading))
	var staged, gone []string
	for k := range 6 {
		id := record(fmt.Sprintf("staged%d", k))
		require.Equal(t, 204, a.do("PUT", image, "/images/"+id+"/stage", big, octets).code)
		staged = append(staged, id)
		id = a.upload(fmt.Sprintf("gone%d", k), "raw", big[:1<<20])
		gone = append(gone, id)
	}
	half := record("half staged")
	for _, id := range staged {
		a.must(202, "POST", image, "/images/"+id+"/import", object{"method": object{"name": "glance-direct"}, "all_stores": true})
	}
	for _, id := range gone[:3] {
		go trySend("DELETE", c.url(image, "/v2/images/"+id), nil, "X-Auth-Token: "+a.token) //nolint:errcheck // the process dies
	}
	c.crash()
	close(body.free)
	<-ended
	c.start()
	a = c.admin()
	require.Equal(t, "queued", status(uploading), "its owner may upload again")
	require.Equal(t, 204, a.do("PUT", image, "/images/"+uploading+"/file", big, octets).code)
	require.Equal(t, "queued", status(half))
	for _, id := range staged {
		require.True(t, poll(30*time.Second, 50*time.Millisecond, func() bool { return status(id) == "active" }), "an import that was answered 202 goes on: %s", a.must(200, "GET", image, "/images/"+id+"/tasks", nil))
		require.Equal(t, "archive,file", a.must(200, "GET", image, "/images/"+id, nil).str("stores"))
		require.True(t, bytes.Equal(big, a.do("GET", image, "/images/"+id+"/file", nil).body))
	}
	for _, id := range gone {
		r := a.do("GET", image, "/images/"+id, nil)
		require.Contains(t, []int{200, 404}, r.code)
		if r.code == 200 {
			require.Equal(t, "active", r.str("status"))
			require.Equal(t, 1<<20, len(a.do("GET", image, "/images/"+id+"/file", nil).body))
			a.must(204, "DELETE", image, "/images/"+id, nil)
		}
	}
	c.fsckClean()
	require.Equal(t, before+1+2*len(staged), files(), "no byte without a row")
	for _, id := range append(staged, uploading, half) {
		a.must(204, "DELETE", image, "/images/"+id, nil)
	}
	require.Equal(t, before, files())
	c.fsckClean()
}

// TestImageGoneUnderServer deletes an image that a real guest runs on: the guest starts again and again, and new servers cannot be made of it.
func TestImageGoneUnderServer(t *testing.T) {
	c := realCloud(t)
	a := c.admin()
	img := a.named(image, "/images", "images", "nephos-guest")
	id := a.boot("on it", img, nil).str("server/id")
	a.active(id, time.Minute)
	a.console(id, "nephos-guest: ready", 1)
	a.must(204, "DELETE", image, "/images/"+img, nil)
	r := a.boot("too late", img, nil)
	require.Equal(t, 400, r.code, "%s", r)
	a.must(202, "POST", compute, "/servers/"+id+"/action", object{"reboot": object{"type": "HARD"}})
	a.active(id, time.Minute)
	c.stop()
	c.start() // what collects unused images at a start leaves this one
	a = c.admin()
	for _, act := range []string{"os-stop", "os-start"} {
		a.must(202, "POST", compute, "/servers/"+id+"/action", object{act: nil})
		a.settled(id, time.Minute)
	}
	a.active(id, time.Minute)
	require.True(t, poll(time.Minute, time.Second, func() bool {
		out := a.must(200, "POST", compute, "/servers/"+id+"/action", object{"os-getConsoleOutput": object{}})
		return strings.Contains(out.str("output"), "nephos-guest: ready")
	}), "the guest does not come up without the image's record")
	c.fsckClean()
	a.deleteAll([]string{id}, time.Minute)
	c.fsckClean()
}
