package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const password = "bench-secret"

// cloud is a nephos under measurement.
type cloud struct {
	o      options
	dir    string
	offset int
	flags  []string
	cmd    *exec.Cmd
	token  string
	image  string // what servers boot
	client *http.Client
}

func newCloud(o options, flags ...string) (*cloud, error) {
	dir, err := os.MkdirTemp("", "nephos-bench-")
	if err != nil {
		return nil, err
	}
	c := &cloud{o: o, dir: dir, flags: flags, client: &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	for c.offset = 30000; c.offset < 50000; c.offset += 10 {
		if free(c.offset) {
			break
		}
	}
	return c, os.Chmod(dir, 0o711)
}

func free(offset int) bool {
	for _, p := range []int{4222, 5000, 8774, 8776, 8778, 9292, 9696} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p+offset))
		if err != nil {
			return false
		}
		l.Close()
	}
	return true
}

// start gives the time from exec to the ready line.
func (c *cloud) start() (time.Duration, error) {
	began := time.Now()
	c.cmd = exec.Command(c.o.bin, append([]string{"up", "--state-dir", c.dir, "--port-offset", strconv.Itoa(c.offset), "--admin-password", password, "--private-cidr", "10.0.0.0/16"}, c.flags...)...)
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		return 0, err
	}
	said := make(chan time.Duration, 1)
	go func() { // ends with the process
		for r := bufio.NewScanner(out); r.Scan(); {
			if strings.HasPrefix(r.Text(), "ready") {
				said <- time.Since(began)
			}
		}
		close(said)
	}()
	took, ok := <-said
	if !ok {
		return 0, errors.Join(errors.New("nephos up ended before it was ready"), c.cmd.Wait())
	}
	return took, nil
}

func (c *cloud) stop() {
	if c.cmd == nil {
		return
	}
	c.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
	c.cmd.Wait()                          //nolint:errcheck // as above
	c.cmd = nil
}

// away ends the cloud and what it made.
func (c *cloud) away() {
	c.stop()
	if out, err := exec.Command(c.o.bin, "down", "--state-dir", c.dir, "--purge").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "bench: nephos down: %v %s\n", err, out)
	}
	os.RemoveAll(c.dir)
}

// rss is the process's resident memory in MiB.
func (c *cloud) rss() float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	return 0
}

type object = map[string]any

// send makes one request; out may be nil. Anything over 299 is an error.
func (c *cloud) send(method string, port int, path string, body any, kind string, out any) error {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			return err
		}
		in = bytes.NewReader(j)
	}
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", port+c.offset, path), in)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-Auth-Token", c.token)
	req.Header.Set("OpenStack-API-Version", "compute 2.96")
	res, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode > 299 {
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, b)
	}
	if t := res.Header.Get("X-Subject-Token"); t != "" {
		c.token = t
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, out)
}

func (c *cloud) compute(method, path string, body, out any) error {
	return c.send(method, 8774, "/v2.1"+path, body, "application/json", out)
}

// open logs in, lifts quotas and finds or makes an image.
func (c *cloud) open() error {
	var token struct {
		Token struct{ Project struct{ ID string } }
	}
	err := c.send("POST", 5000, "/v3/auth/tokens", object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": "admin", "password": password, "domain": object{"id": "default"}}}},
		"scope":    object{"project": object{"name": "admin", "domain": object{"id": "default"}}}}}, "application/json", &token)
	if err != nil {
		return err
	}
	project := token.Token.Project.ID
	if err := c.compute("PUT", "/os-quota-sets/"+project, object{"quota_set": object{"instances": -1, "cores": -1, "ram": -1}}, nil); err != nil {
		return err
	}
	if err := c.send("PUT", 9696, "/v2.0/quotas/"+project, object{"quota": object{"port": -1}}, "application/json", nil); err != nil {
		return err
	}
	var found struct{ Images []struct{ ID, Name string } }
	if err := c.send("GET", 9292, "/v2/images?name=nephos-guest", nil, "", &found); err != nil {
		return err
	}
	if len(found.Images) > 0 {
		c.image = found.Images[0].ID
		return nil
	}
	var made struct{ ID string }
	if err := c.send("POST", 9292, "/v2/images", object{"name": "tiny", "disk_format": "raw", "container_format": "bare"}, "application/json", &made); err != nil {
		return err
	}
	c.image = made.ID
	return c.send("PUT", 9292, "/v2/images/"+made.ID+"/file", make([]byte, 4096), "application/octet-stream", nil)
}

// boot posts one create request for n servers.
func (c *cloud) boot(name string, n int) (id string, err error) {
	var made struct{ Server struct{ ID string } }
	err = c.compute("POST", "/servers", object{"server": object{"name": name, "imageRef": c.image, "flavorRef": "42", "networks": "auto", "min_count": n, "max_count": n}}, &made)
	return made.Server.ID, err
}

// active waits until a server is ACTIVE.
func (c *cloud) active(id string) error {
	for {
		var got struct {
			Server struct {
				Status string
				Fault  struct{ Message string }
			}
		}
		if err := c.compute("GET", "/servers/"+id, nil, &got); err != nil {
			return err
		}
		switch got.Server.Status {
		case "ACTIVE":
			return nil
		case "ERROR":
			return fmt.Errorf("server %s: %s", id, got.Server.Fault.Message)
		}
		time.Sleep(time.Millisecond)
	}
}

// built waits until no server is in BUILD, and then wants none in ERROR.
func (c *cloud) built() error {
	in := func(status string) (int, error) {
		var got struct{ Servers []struct{ ID string } }
		err := c.compute("GET", "/servers?limit=1&status="+status, nil, &got)
		return len(got.Servers), err
	}
	for {
		n, err := in("BUILD")
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond) // the question itself costs the cloud some
	}
	if n, err := in("ERROR"); err != nil || n > 0 {
		return errors.Join(err, fmt.Errorf("%d servers or more in ERROR", n))
	}
	return nil
}

func (c *cloud) remove(id string) error {
	if err := c.compute("DELETE", "/servers/"+id, nil, nil); err != nil {
		return err
	}
	for c.compute("GET", "/servers/"+id, nil, nil) == nil {
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}
