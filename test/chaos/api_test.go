package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// The services' standard ports.
const (
	identity = 5000
	compute  = 8774
	image    = 9292
	network  = 9696
	volume   = 8776
)

// object is a JSON object in a request.
type object = map[string]any

// reply is what a service said.
type reply struct {
	code int
	head http.Header
	body []byte
	what string // the request, for messages
}

// at walks the body by keys and indexes: at("servers/0/id").
func (r reply) at(path string) any {
	var v any
	if json.Unmarshal(r.body, &v) != nil {
		return nil
	}
	for key := range strings.SplitSeq(path, "/") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

func (r reply) str(path string) string {
	if v := r.at(path); v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

func (r reply) list(path string) []any {
	l, _ := r.at(path).([]any)
	return l
}

func (r reply) String() string { return fmt.Sprintf("%s: %d %s", r.what, r.code, r.body) }

// client is the admin of one cloud.
type client struct {
	c       *cloud
	http    *http.Client
	token   string
	project string
}

func (c *cloud) login() *client {
	c.t.Helper()
	a := &client{c: c, http: &http.Client{Timeout: 100 * time.Second}}
	r, err := a.send("POST", fmt.Sprintf("http://127.0.0.1:%d/v3/auth/tokens", identity+c.offset), object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": "admin", "password": password, "domain": object{"id": "default"}}}},
		"scope":    object{"project": object{"name": "admin", "domain": object{"id": "default"}}}}})
	require.NoError(c.t, err)
	require.Equal(c.t, 201, r.code, "%s", r)
	a.token, a.project = r.head.Get("X-Subject-Token"), r.str("token/project/id")
	return a
}

func (a *client) send(method, url string, body any) (reply, error) {
	r := reply{what: method + " " + url}
	var in io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		in, kind = bytes.NewReader(b), "application/octet-stream"
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return r, err
		}
		in = bytes.NewReader(j)
	}
	req, err := http.NewRequest(method, url, in)
	if err != nil {
		return r, err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-Auth-Token", a.token)
	req.Header.Set("OpenStack-API-Version", "compute 2.96")
	res, err := a.http.Do(req)
	if err != nil {
		return r, err
	}
	defer res.Body.Close()
	r.code, r.head = res.StatusCode, res.Header
	r.body, err = io.ReadAll(res.Body)
	return r, err
}

// try makes a request whose answer may be lost.
func (a *client) try(method string, port int, path string, body any) (reply, error) {
	prefix := map[int]string{identity: "/v3", compute: "/v2.1", image: "/v2", network: "/v2.0", volume: "/v3/" + a.project}[port]
	return a.send(method, fmt.Sprintf("http://127.0.0.1:%d%s%s", port+a.c.offset, prefix, path), body)
}

// get reads something that must be readable; while a controller starts its ports refuse for a moment.
func (a *client) get(port int, path string) (reply, error) {
	var r reply
	var err error
	poll(30*time.Second, 20*time.Millisecond, func() bool {
		r, err = a.try("GET", port, path, nil)
		return err == nil && r.code != 503
	})
	return r, err
}

// do is try that must be accepted.
func (a *client) do(method string, port int, path string, body any) (reply, error) {
	r, err := a.try(method, port, path, body)
	if err == nil && r.code >= 300 {
		err = fmt.Errorf("%s", r)
	}
	return r, err
}

// hostsUp waits until every host of the agent counts as up.
func (c *cloud) hostsUp() {
	c.t.Helper()
	a := c.login()
	want := 1
	for i, f := range c.agent.args {
		if f == "--fake-hosts" {
			want, _ = strconv.Atoi(c.agent.args[i+1])
		}
	}
	var r reply
	if !poll(30*time.Second, 20*time.Millisecond, func() bool {
		r, _ = a.try("GET", compute, "/os-services?binary=nova-compute", nil)
		up := 0
		for i := range r.list("services") {
			if r.str(fmt.Sprintf("services/%d/state", i)) == "up" {
				up++
			}
		}
		return up >= want
	}) {
		c.t.Fatalf("hosts do not come up: %s", r)
	}
}

// upload makes a small image.
func (a *client) upload(name string, data []byte) (string, error) {
	r, err := a.do("POST", image, "/images", object{"name": name, "disk_format": "raw", "container_format": "bare", "hw_qemu_guest_agent": "yes", "os_shutdown_timeout": "1"})
	if err != nil {
		return "", err
	}
	id := r.str("id")
	_, err = a.do("PUT", image, "/images/"+id+"/file", data)
	return id, err
}
