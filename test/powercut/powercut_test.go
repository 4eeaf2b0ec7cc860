package powercut

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ports of the clouds here: this offset and a few after it.
const portOffset = 22100

func needsFUSE(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts a file system")
	}
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skip("needs /dev/fuse")
	} else {
		f.Close()
	}
}

var built struct {
	once sync.Once
	path string
	err  error
}

// binary builds nephos as it is shipped.
func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "nephos-powercut-bin")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "nephos")
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", built.path, "nephos/cmd/nephos")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, built.err)
	return built.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		os.RemoveAll(filepath.Dir(built.path))
	}
	os.Exit(code)
}

// machine is a computer with such a disk and nephos on it.
type machine struct {
	t       *testing.T
	dir     string
	offset  int
	disk    *Disk
	unmount func() error
	cmd     *exec.Cmd
	log     bytes.Buffer

	token, project string
}

func newMachine(t *testing.T, offset int) *machine {
	m := &machine{t: t, dir: t.TempDir(), offset: offset, disk: NewDisk()}
	t.Cleanup(m.off)
	return m
}

// on mounts the disk and runs nephos until it is ready.
func (m *machine) on() {
	m.t.Helper()
	var err error
	m.unmount, err = m.disk.Mount(m.dir)
	require.NoError(m.t, err)
	m.cmd = exec.Command(binary(m.t), "up", "--state-dir", m.dir, "--port-offset", fmt.Sprint(m.offset), "--driver", "fake", "--fake-hosts", "2")
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	m.log.Reset()
	m.cmd.Stderr = &m.log
	out, err := m.cmd.StdoutPipe()
	require.NoError(m.t, err)
	require.NoError(m.t, m.cmd.Start())
	ready := make(chan bool, 1)
	go func() { // ends with the process
		lines, said := bufio.NewScanner(out), false
		for lines.Scan() {
			if !said && strings.HasPrefix(lines.Text(), "ready") {
				said = true
				ready <- true
			}
		}
		if !said {
			ready <- false
		}
	}()
	select {
	case ok := <-ready:
		if !ok {
			m.cmd.Wait() //nolint:errcheck // its log says why
			m.t.Fatalf("nephos does not start:\n%s", m.log.String())
		}
	case <-time.After(2 * time.Minute):
		m.t.Fatal("nephos does not get ready")
	}
	m.login()
}

// off kills nephos and takes the disk out.
func (m *machine) off() {
	if m.cmd != nil {
		syscall.Kill(-m.cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it may be gone
		m.cmd.Wait()                                      //nolint:errcheck // killed
		m.cmd = nil
	}
	if m.unmount != nil {
		if err := m.unmount(); err != nil {
			m.t.Errorf("unmount: %v", err)
		}
		m.unmount = nil
	}
}

func (m *machine) url(port int, path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", port+m.offset, path)
}

const (
	portIdentity = 5000
	portCompute  = 8774
	portImage    = 9292
)

// call is one request; the answer's body is read into out if that is not nil.
func (m *machine) call(method, url string, in, out any) (status int, err error) {
	var body io.Reader
	kind := "application/json"
	switch v := in.(type) {
	case nil:
	case []byte:
		body, kind = bytes.NewReader(v), "application/octet-stream"
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return 0, err
		}
		body = bytes.NewReader(b)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-Auth-Token", m.token)
	req.Header.Set("OpenStack-API-Version", "compute 2.37")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, err
	}
	if strings.HasSuffix(url, "/auth/tokens") {
		m.token = res.Header.Get("X-Subject-Token")
	}
	if out != nil && len(b) > 0 {
		return res.StatusCode, json.Unmarshal(b, out)
	}
	return res.StatusCode, nil
}

type object = map[string]any

func (m *machine) login() {
	m.t.Helper()
	password, err := os.ReadFile(filepath.Join(m.dir, "admin-password"))
	require.NoError(m.t, err)
	var got struct {
		Token struct{ Project struct{ ID string } }
	}
	status, err := m.call("POST", m.url(portIdentity, "/v3/auth/tokens"), object{"auth": object{
		"identity": object{"methods": []string{"password"}, "password": object{"user": object{"name": "admin", "domain": object{"id": "default"}, "password": strings.TrimSpace(string(password))}}},
		"scope":    object{"project": object{"name": "admin", "domain": object{"id": "default"}}}}}, &got)
	require.NoError(m.t, err)
	require.Equal(m.t, 201, status, "the admin's password does not open the cloud any more")
	m.project = got.Token.Project.ID
}

// provision uploads an image and takes the quota away.
func (m *machine) provision() (image string) {
	m.t.Helper()
	var img struct{ ID string }
	status, err := m.call("POST", m.url(portImage, "/v2/images"), object{"name": "tiny", "disk_format": "raw", "container_format": "bare"}, &img)
	require.NoError(m.t, err)
	require.Equal(m.t, 201, status)
	status, err = m.call("PUT", m.url(portImage, "/v2/images/"+img.ID+"/file"), bytes.Repeat([]byte("x"), 4096), nil)
	require.NoError(m.t, err)
	require.Equal(m.t, 204, status)
	status, err = m.call("PUT", m.url(portCompute, "/v2.1/os-quota-sets/"+m.project), object{"quota_set": object{"instances": -1, "cores": -1, "ram": -1, "force": true}}, nil)
	require.NoError(m.t, err)
	require.Equal(m.t, 200, status)
	return img.ID
}

// storm has clients ask for servers until the power is cut, after d, and gives what was answered before. The machine is left without power.
func (m *machine) storm(image string, clients int, d time.Duration, r *rand.Rand) (acked []string) {
	m.t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range clients {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var got struct{ Server struct{ ID string } }
				status, err := m.call("POST", m.url(portCompute, "/v2.1/servers"), object{"server": object{"name": "s", "flavorRef": "42", "imageRef": image, "networks": "none"}}, &got)
				if err != nil || status != 202 {
					continue // the power has gone
				}
				m.disk.Before(func() {
					mu.Lock()
					acked = append(acked, got.Server.ID)
					mu.Unlock()
				})
			}
		})
	}
	timer := time.NewTimer(d) // the moment of the cut is the test's input
	<-timer.C
	next := m.disk.Cut(r)
	m.off()
	close(stop)
	wg.Wait()
	m.disk = next
	return acked
}

// settled gives the status of a server when nothing is under way on it, "gone" if there is none.
func (m *machine) settled(id string) string {
	for end := time.Now().Add(2 * time.Minute); ; {
		var got struct {
			Server struct {
				Status string
				Task   any `json:"OS-EXT-STS:task_state"`
			}
		}
		status, err := m.call("GET", m.url(portCompute, "/v2.1/servers/"+id), nil, &got)
		switch {
		case err == nil && status == 404:
			return "gone"
		case err == nil && status == 200 && got.Server.Status != "BUILD" && got.Server.Task == nil:
			return got.Server.Status
		case time.Now().After(end):
			return fmt.Sprintf("unsettled: %d %v %s %v", status, err, got.Server.Status, got.Server.Task)
		}
		time.Sleep(20 * time.Millisecond) // polls, as a client does
	}
}

// fsck asks as `nephos fsck` does. Simulated hosts keep their guests in a file that is not synced, on purpose: what they have lost is not counted.
func (m *machine) fsck() []string {
	m.t.Helper()
	var report struct{ Fsck struct{ Problems []string } }
	status, err := m.call("GET", m.url(portCompute, "/v2.1/os-nephos-fsck"), nil, &report)
	require.NoError(m.t, err)
	require.Equal(m.t, 200, status)
	return slices.DeleteFunc(report.Fsck.Problems, func(p string) bool { return strings.HasSuffix(p, "should be here and is not") })
}

// Whatever was answered with 202 before the power went is there afterwards, and settles.
func TestAnsweredServersSurviveAPowerCut(t *testing.T) {
	needsFUSE(t)
	m := newMachine(t, portOffset)
	m.on()
	image := m.provision()
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	total := 0
	for round := range 3 {
		some := r
		if round == 0 {
			some = nil // nothing of what was not synced
		}
		acked := m.storm(image, 4, time.Duration(300+r.IntN(1200))*time.Millisecond, some)
		m.on()
		for _, id := range acked {
			if s := m.settled(id); s != "ACTIVE" && s != "ERROR" && s != "SHUTOFF" {
				t.Errorf("round %d: server %s was accepted and is %s", round, id, s)
			}
		}
		require.Empty(t, m.fsck())
		total += len(acked)
		t.Logf("round %d: %d servers were accepted before the cut", round, len(acked))
	}
	require.Positive(t, total, "the cuts came before any answer")
}

// A disk that lies loses what was answered: the test above can fail.
func TestALyingDiskIsFound(t *testing.T) {
	needsFUSE(t)
	m := newMachine(t, portOffset+100)
	m.on()
	image := m.provision()
	m.disk.Lie()
	acked := m.storm(image, 4, time.Second, nil)
	require.NotEmpty(t, acked)
	m.on()
	lost := 0
	for _, id := range acked {
		if m.settled(id) == "gone" {
			lost++
		}
	}
	require.Positive(t, lost)
	t.Logf("%d of %d lost", lost, len(acked))
}
