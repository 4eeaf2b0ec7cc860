package chaos

import (
	"bufio"
	"bytes"
	"encoding/json"
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

const password = "chaos-secret"

// half is one process of a cloud: what it is started with, where it finds its arms, and the one that runs now.
type half struct {
	name   string // controller, agent
	args   []string
	env    []string
	faults string
	state  string
	proc   *process
	cost   time.Duration // of the last start
}

// process is one running nephos.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has been waited for

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

// cloud is a controller and an agent, each a process of its own.
type cloud struct {
	t          testing.TB
	dir        string
	offset     int
	controller *half
	agent      *half
	ended      bool
}

var offsets atomic.Int64

// nextOffset finds free ports below those that the kernel gives away.
func nextOffset(t testing.TB) int {
	t.Helper()
	for range 80 { // two runs side by side begin at different places: a cloud that is just being killed looks as if its ports were free
		n := 21000 + (os.Getpid()*131+int(offsets.Add(1))*10)%2900
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

// prepare lays a cloud out; nothing runs yet. Not t.TempDir: unprivileged guests must reach their files.
func prepare(t testing.TB, agentFlags ...string) *cloud {
	t.Helper()
	dir, err := os.MkdirTemp("", "nephos-chaos-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o711))
	c := &cloud{t: t, dir: dir, offset: nextOffset(t)}
	none, settings := filepath.Join(dir, "no-image"), filepath.Join(dir, "settings.yaml")
	elsewhere := "false" // one host: a resize stays on it
	if slices.Contains(agentFlags, "--fake-hosts") {
		elsewhere = "true" // always the same way: which host is best may change
	}
	require.NoError(t, os.WriteFile(settings, []byte("compute:\n  reclaim_instance_interval: 3600\n  shelved_offload_time: -1\n  resize_to_other_host_only: "+elsewhere+"\n"), 0o600))
	c.controller = c.half("controller", "controller", "--config", settings, "--port-offset", strconv.Itoa(c.offset), "--admin-password", password, "--guest-image", none, "--external-cidr", external(t, c.offset))
	c.agent = c.half("agent", append([]string{"agent", "--host", "h", "--join", fmt.Sprintf("nats://127.0.0.1:%d", 4222+c.offset)}, agentFlags...)...)
	t.Cleanup(c.tearDown)
	return c
}

// external is a range for the first external network that no other cloud of this machine has: two that start at one moment would both find the same one free.
func external(t testing.TB, offset int) string {
	t.Helper()
	routes, err := exec.Command("ip", "-4", "route").Output()
	if err != nil {
		return "172.24.4.0/24" // no such command: nor will anything be put on a device
	}
	for i := range 150 {
		if r := fmt.Sprintf("172.24.%d.0/24", 100+(offset/10+i*7)%150); !strings.Contains(string(routes), r) {
			return r
		}
	}
	t.Fatal("no free range for an external network")
	return ""
}

// cleanLast ends the cloud before what was registered with t since prepare; tearDown then finds nothing more to do.
func (c *cloud) cleanLast(t testing.TB) { t.Cleanup(c.tearDown) }

func (c *cloud) half(name string, args ...string) *half {
	h := &half{name: name, faults: filepath.Join(c.dir, name+"-faults"), state: filepath.Join(c.dir, name)}
	require.NoError(c.t, os.MkdirAll(h.faults, 0o700))
	require.NoError(c.t, os.MkdirAll(h.state, 0o711))
	h.args = append(args, "--state-dir", h.state)
	h.env = append(os.Environ(), "NEPHOS_FAULTS="+h.faults)
	return h
}

// fakeCloud has simulated hosts.
func fakeCloud(t testing.TB, hosts int) *cloud {
	t.Helper()
	c := prepare(t, "--driver", "fake", "--fake-hosts", strconv.Itoa(hosts))
	c.up()
	return c
}

// realPrepared lays out a cloud of real guests.
func realPrepared(t testing.TB) *cloud {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, taps")
	}
	return prepare(t, "--driver", "qemu", "--accel", "tcg")
}

// realCloud makes real guests.
func realCloud(t testing.TB) *cloud {
	t.Helper()
	c := realPrepared(t)
	c.up()
	return c
}

// withGuest has the demo guest uploaded at the start.
func (c *cloud) withGuest(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(guestImage); err != nil {
		t.Skip("needs the demo guest (`make guest`): ", err)
	}
	for i, a := range c.controller.args {
		if a == "--guest-image" {
			c.controller.args[i+1] = guestImage
		}
	}
}

// up starts both halves and waits until a host is up.
func (c *cloud) up() {
	c.t.Helper()
	c.start(c.controller)
	token, err := os.ReadFile(filepath.Join(c.controller.state, "join-token"))
	require.NoError(c.t, err)
	c.agent.env = append(c.agent.env, "NEPHOS_JOIN_TOKEN="+strings.TrimSpace(string(token)))
	c.start(c.agent)
	c.hostsUp()
}

// start runs a half and waits for its ready line.
func (c *cloud) start(h *half) {
	c.t.Helper()
	if err := c.tryStart(h); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloud) tryStart(h *half) error {
	began := time.Now()
	p := &process{cmd: exec.Command(binary, h.args...), done: make(chan struct{})}
	p.cmd.Env = h.env
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		return err
	}
	h.proc = p
	ready := make(chan struct{})
	go func() { // ends with the process's standard output
		said := false
		for r := bufio.NewScanner(io.TeeReader(out, p)); r.Scan(); {
			if strings.HasPrefix(r.Text(), "ready") && !said {
				said = true
				close(ready)
			}
		}
		p.cmd.Wait() //nolint:errcheck // how it ended is what the test looks at
		close(p.done)
	}()
	select {
	case <-ready:
		h.cost = time.Since(began)
		return nil
	case <-p.done:
		return fmt.Errorf("nephos %s ended before it was ready:\n%s", h.name, p.output())
	case <-time.After(90 * time.Second):
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.done
		return fmt.Errorf("nephos %s is not ready within 90 s:\n%s", h.name, p.output())
	}
}

// kill sends a signal and waits for the end.
func (h *half) kill(sig syscall.Signal) error {
	p := h.proc
	if p == nil {
		return nil
	}
	h.proc = nil
	p.cmd.Process.Signal(sig) //nolint:errcheck // it may have ended
	select {
	case <-p.done:
		return nil
	case <-time.After(60 * time.Second):
		p.cmd.Process.Kill() //nolint:errcheck // as above
		<-p.done
		return fmt.Errorf("%s did not end within 60 s of %v:\n%s", h.name, sig, p.output())
	}
}

// alive says that the process runs.
func (h *half) alive() bool {
	if h.proc == nil {
		return false
	}
	select {
	case <-h.proc.done:
		return false
	default:
		return true
	}
}

// arm is one file for package faultpoint.
type arm struct {
	Point   string `json:"point"`
	Do      string `json:"do"`
	Nth     int    `json:"nth,omitempty"`
	Times   int    `json:"times,omitempty"`
	DelayMS int    `json:"delay_ms,omitempty"`
	Err     string `json:"err,omitempty"`
}

// arm puts a under a name of its own into the half's directory.
func (h *half) arm(name string, a arm) {
	b, _ := json.Marshal(a)
	tmp := filepath.Join(h.faults, name+".tmp")
	err := os.WriteFile(tmp, b, 0o600)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(h.faults, name+".arm"))
	}
	if err != nil {
		panic(err) // the test's own directory
	}
}

func (h *half) disarm(name string) { os.Remove(filepath.Join(h.faults, name+".arm")) }

// disarmAll takes every arm and its traces away.
func (h *half) disarmAll() {
	for _, ext := range []string{"arm", "fired"} {
		files, _ := filepath.Glob(filepath.Join(h.faults, "*."+ext))
		for _, f := range files {
			os.Remove(f)
		}
	}
}

// fired waits for an arm to have acted.
func (h *half) fired(name string, within time.Duration) bool {
	return poll(within, 3*time.Millisecond, func() bool {
		_, err := os.Stat(filepath.Join(h.faults, name+".fired"))
		return err == nil
	})
}

// A watch has the points noted that a half passes.
type watch string // the file they are written to

// watch begins with none.
func (h *half) watch() watch {
	file := filepath.Join(h.faults, "trace")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		panic(err) // the test's own directory
	}
	return watch(file)
}

// points are those passed till now, each once, in order.
func (w watch) points() (out []string) {
	b, _ := os.ReadFile(string(w))
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if p := strings.TrimSpace(line); !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	return out
}

// stop ends the watch and gives its points.
func (w watch) stop() []string {
	defer os.Remove(string(w))
	return w.points()
}

// declared is what the controller says of its workflows.
func (c *cloud) declared() (out []workflowKind) {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.controller.faults, "declared.json"))
	require.NoError(c.t, err, "the binary has no fault points: build it with -tags faultpoints")
	require.NoError(c.t, json.Unmarshal(b, &out))
	return out
}

type workflowKind struct {
	Kind  string
	Steps []struct{ Name string }
}

// tearDown ends all that the cloud made.
func (c *cloud) tearDown() {
	if c.ended {
		return
	}
	c.ended = true
	for _, h := range []*half{c.agent, c.controller} {
		h.disarmAll()
		if c.t.Failed() {
			c.t.Logf("%s:\n%s", h.name, h.tail())
		}
		if err := h.kill(syscall.SIGTERM); err != nil {
			c.t.Error(err)
		}
	}
	if c.real() {
		if out, err := exec.Command(binary, "down", "--state-dir", c.agent.state).CombinedOutput(); err != nil {
			c.t.Errorf("nephos down: %v\n%s", err, out)
		}
		c.nothingLeft()
	}
	if !keep {
		c.t.Cleanup(func() { os.RemoveAll(c.dir) }) // when nothing is mounted there any more
	}
}

func (c *cloud) real() bool { return strings.Contains(strings.Join(c.agent.args, " "), "qemu") }

// nothingLeft looks at the machine itself for what `nephos down` should have taken away.
func (c *cloud) nothingLeft() {
	instance, err := os.ReadFile(filepath.Join(c.agent.state, "instance"))
	if err != nil {
		return
	}
	word := strings.TrimSpace(string(instance))
	for name, argv := range map[string][]string{"namespace": {"ip", "netns", "list"}, "table": {"nft", "list", "tables"}, "device": {"ip", "-o", "link"}} {
		text, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "nephos-"+word) || strings.Contains(line, "nephos_"+word) {
				c.t.Errorf("left on the machine: %s %s", name, strings.TrimSpace(line))
			}
		}
	}
	for _, pid := range guests(c.agent.state, "") {
		c.t.Errorf("left on the machine: guest process %s", pid)
	}
}

// tail is the end of a half's log.
func (h *half) tail() string {
	b, err := os.ReadFile(filepath.Join(h.state, "nephos.log"))
	if err != nil {
		return err.Error()
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, "msg=request") {
			out = append(out, line)
		}
	}
	return strings.Join(out[max(0, len(out)-25):], "")
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
