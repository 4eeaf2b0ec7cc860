package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const password = "bench-secret"

// cloud is a nephos that bench starts and takes away.
type cloud struct {
	o      options
	dir    string
	offset int
	flags  []string
	cmd    *exec.Cmd
}

func newCloud(o options, flags ...string) (*cloud, error) {
	dir, err := os.MkdirTemp("", "nephos-bench-")
	if err != nil {
		return nil, err
	}
	c := &cloud{o: o, dir: dir, flags: flags}
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
	c.cmd = exec.Command(c.o.bin, append([]string{"up", "--state-dir", c.dir, "--port-offset", strconv.Itoa(c.offset), "--admin-password", password, "--private-cidr", "10.0.0.0/12"}, c.flags...)...)
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

// client logs in to it.
func (c *cloud) client() (*client, error) {
	cl, err := newClient(login{url: fmt.Sprintf("http://127.0.0.1:%d/v3", 5000+c.offset), user: "admin", password: password, project: "admin", userDomain: "Default", projectDomain: "Default"})
	if err != nil {
		return nil, err
	}
	return cl, cl.prepare(c.o, true)
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

// cpu is what the process has used of the processors so far.
func (c *cloud) cpu() time.Duration {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	_, rest, _ := strings.Cut(string(b), ") ") // the name may hold spaces
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}
