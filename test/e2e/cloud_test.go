package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const password = "e2e-secret"

// cloud is one `nephos up` with a state directory and ports of its own.
type cloud struct {
	t      testing.TB
	dir    string
	at     string // the address its services listen on
	offset int
	flags  []string
	proc   *process
	began  time.Time
	ready  string // the line that said so
}

// process is one running nephos.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has been waited for
	err  error

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// offsets hands each cloud of this process a port offset; other runs on the machine start elsewhere.
var offsets atomic.Int64

func nextOffset(t testing.TB) int {
	for range 200 {
		n := 10000 + (os.Getpid()%60*10+int(offsets.Add(1))*7)%4000*10
		free := true
		for _, port := range []int{5000, 8774, 9292, 9696, 8776, 8778, 4222} {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+n))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return n
		}
	}
	t.Fatal("no free ports")
	return 0
}

// newCloud starts a cloud that the test's end takes away.
func newCloud(t testing.TB, flags ...string) *cloud {
	t.Helper()
	// Not t.TempDir: guests run unprivileged and must reach their files.
	dir, err := os.MkdirTemp("", "nephos-e2e-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711))
	c := &cloud{t: t, dir: dir, at: "127.0.0.1", offset: nextOffset(t), flags: flags}
	if i := slices.Index(flags, "--listen"); i >= 0 {
		c.at = flags[i+1]
	}
	t.Cleanup(c.tearDown)
	c.start()
	return c
}

// fakeCloud has simulated hosts.
func fakeCloud(t testing.TB, hosts int, flags ...string) *cloud {
	t.Helper()
	return newCloud(t, append([]string{"--driver", "fake", "--fake-hosts", strconv.Itoa(hosts)}, flags...)...)
}

// realCloud makes real guests.
func realCloud(t testing.TB, flags ...string) *cloud {
	t.Helper()
	needsGuests(t)
	return newCloud(t, append([]string{"--driver", "qemu", "--accel", accel, "--guest-image", guestImage}, flags...)...)
}

// start runs `nephos up` and waits for its ready line.
func (c *cloud) start() {
	c.t.Helper()
	c.began = time.Now()
	c.proc, c.ready = c.launch(append([]string{"up", "--state-dir", c.dir, "--port-offset", strconv.Itoa(c.offset), "--admin-password", password}, c.flags...)...)
}

// launch starts a nephos that says "ready".
func (c *cloud) launch(args ...string) (p *process, ready string) {
	c.t.Helper()
	return c.launchAs(exec.Command(binary, args...))
}

// launchAs is launch of a command that becomes nephos.
func (c *cloud) launchAs(cmd *exec.Cmd) (p *process, ready string) {
	c.t.Helper()
	p = &process{cmd: cmd, done: make(chan struct{})}
	out, err := p.cmd.StdoutPipe()
	require.NoError(c.t, err)
	p.cmd.Stderr = p
	require.NoError(c.t, p.cmd.Start())
	said := make(chan string, 1)
	go func() { // ends with the process's standard output
		for r := bufio.NewScanner(io.TeeReader(out, p)); r.Scan(); {
			if strings.HasPrefix(r.Text(), "ready") {
				select {
				case said <- r.Text():
				default:
				}
			}
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	select {
	case ready = <-said:
	case <-p.done:
		c.t.Fatalf("%v ended before it was ready: %v\n%s", cmd, p.err, p.output())
	case <-time.After(90 * time.Second):
		c.signal(p, syscall.SIGKILL)
		c.t.Fatalf("%v not ready within 90 s\n%s\n%s", cmd, p.output(), c.logTail())
	}
	return p, ready
}

// signal sends sig and waits until the process has ended.
func (c *cloud) signal(p *process, sig syscall.Signal) {
	if p == nil {
		return
	}
	p.cmd.Process.Signal(sig) //nolint:errcheck // it may have ended
	select {
	case <-p.done:
	case <-time.After(60 * time.Second):
		p.cmd.Process.Kill() //nolint:errcheck // as above
		<-p.done
		c.t.Errorf("nephos did not stop within 60 s of %v", sig)
	}
}

// crash is kill -9.
func (c *cloud) crash() { c.signal(c.proc, syscall.SIGKILL); c.proc = nil }

// stop is an orderly end.
func (c *cloud) stop() { c.signal(c.proc, syscall.SIGTERM); c.proc = nil }

// tearDown ends all that the cloud made and looks for what it left.
func (c *cloud) tearDown() {
	if c.t.Failed() {
		c.t.Logf("nephos printed:\n%s\nits log ends with:\n%s", c.printed(), c.logTail())
	}
	c.stop()
	instance, _ := os.ReadFile(filepath.Join(c.dir, "instance"))
	args := []string{"down", "--state-dir", c.dir}
	if !keep {
		args = append(args, "--purge")
	}
	if out, err := exec.Command(binary, args...).CombinedOutput(); err != nil {
		c.t.Errorf("nephos %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	for _, left := range c.leftovers(strings.TrimSpace(string(instance))) {
		c.t.Errorf("left behind after `nephos down`: %s", left)
	}
	if !keep {
		os.RemoveAll(c.dir)
	}
}

func (c *cloud) printed() string {
	if c.proc == nil {
		return "(not running)"
	}
	return c.proc.output()
}

func (c *cloud) logTail() string {
	b, err := os.ReadFile(filepath.Join(c.dir, "nephos.log"))
	if err != nil {
		return err.Error()
	}
	if len(b) > 6000 {
		b = b[len(b)-6000:]
	}
	return string(b)
}

// processes are the pids whose command line names what, this process and its tools aside.
func processes(what string) (out []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		b, err := os.ReadFile(filepath.Join(d, "cmdline"))
		if err != nil || !bytes.Contains(b, []byte(what)) {
			continue
		}
		line := strings.ReplaceAll(string(b), "\x00", " ")
		out = append(out, filepath.Base(d)+" "+line[:min(len(line), 120)])
	}
	return out
}

// leftovers names processes, namespaces, devices and rules of a cloud that should be gone.
func (c *cloud) leftovers(instance string) (out []string) {
	for _, p := range processes(c.dir) {
		out = append(out, "process "+p)
	}
	for _, pid := range guests(c.dir, "") {
		out = append(out, "guest "+pid)
	}
	if instance == "" || os.Geteuid() != 0 {
		return out
	}
	for name, cmd := range map[string][]string{"namespace": {"ip", "netns", "list"}, "nftables": {"nft", "list", "tables"}, "device": {"ip", "-o", "link"}} {
		text, err := exec.Command(cmd[0], cmd[1:]...).Output()
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "nephos-"+instance) || strings.Contains(line, "nephos_"+instance) {
				out = append(out, name+" "+strings.TrimSpace(line))
			}
		}
	}
	return out
}

// url is a service's address by its standard port.
func (c *cloud) url(port int, path string) string {
	return fmt.Sprintf("http://%s:%d%s", c.at, port+c.offset, path)
}

// env is a clean environment for clients, in a user's name.
func (c *cloud) env(user, pw, project string) []string {
	return []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + c.dir, "LANG=C.UTF-8", "OS_AUTH_URL=" + c.url(5000, "/v3"), "OS_IDENTITY_API_VERSION=3", "OS_USERNAME=" + user,
		"OS_PASSWORD=" + pw, "OS_PROJECT_NAME=" + project, "OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default", "OS_REGION_NAME=RegionOne"}
}

// try runs a client as the admin. Both streams are returned.
func (c *cloud) try(name string, args ...string) (stdout, stderr string, err error) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = c.env("admin", password, "admin")
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// run is try that must succeed.
func (c *cloud) run(name string, args ...string) string {
	c.t.Helper()
	out, errs, err := c.try(name, args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, errs)
	}
	return out
}

func (c *cloud) openstack(args ...string) string {
	c.t.Helper()
	return c.run("/usr/bin/openstack", args...)
}
func (c *cloud) nova(args ...string) string   { c.t.Helper(); return c.run("/usr/bin/nova", args...) }
func (c *cloud) nephos(args ...string) string { c.t.Helper(); return c.run(binary, args...) }

// fsckClean holds SQL against the hosts until nothing is without an owner; operations that are under way may take a moment to end.
func (c *cloud) fsckClean() {
	c.t.Helper()
	var last string
	if !poll(30*time.Second, 500*time.Millisecond, func() bool {
		out, errs, err := c.try(binary, "fsck", "--state-dir", c.dir)
		last = out + errs
		return err == nil
	}) {
		c.t.Fatalf("nephos fsck is not clean:\n%s", last)
	}
}

// poll asks until ok or the time is over.
func poll(within, every time.Duration, ok func() bool) bool {
	deadline := time.After(within)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if ok() {
			return true
		}
		select {
		case <-tick.C:
		case <-deadline:
			return ok()
		}
	}
}
