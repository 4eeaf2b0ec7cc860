package qemu

import (
	"bufio"
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/hypervisortest"
	"nephos/internal/host/hypervisor/qmp"
)

type world struct {
	cfg  Config
	d    *Driver
	cons map[string]*serial
}

// newWorld is for tests that start QEMU. They take half a minute, so they run where the environment asks for the real thing (make race does).
func newWorld(t *testing.T) *world {
	if os.Getenv("NEPHOS_REAL") == "" {
		t.Skip("starts QEMU: NEPHOS_REAL=1 go test, or make race")
	}
	if _, err := exec.LookPath(binaryName); err != nil {
		t.Skip("needs the Debian package qemu-system-x86: ", err)
	}
	// TempDir's parents are closed to others, and the name is longer than a socket address: both must do.
	w := &world{cons: map[string]*serial{}, cfg: Config{
		Instances: filepath.Join(t.TempDir(), strings.Repeat("deep-", 20), "instances"),
		Accel:     "tcg",
		Log:       slog.New(slog.NewTextHandler(t.Output(), nil)),
	}}
	w.open(t)
	t.Cleanup(func() {
		for _, s := range w.cons {
			s.conn.Close()
		}
		w.d.Close()
		found, err := scan(w.d.name(""))
		if err != nil {
			t.Error(err)
		}
		for name, pid := range found {
			if err := killPID(pid, name); err != nil {
				t.Error(err)
			}
		}
	})
	return w
}

func (w *world) open(t *testing.T) {
	d, err := New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.d = d
}

func (w *world) Driver() hypervisor.Driver { return w.d }

func (w *world) Reopen(t *testing.T) {
	w.d.Close()
	w.open(t)
}

func (w *world) Bare(t *testing.T) hypervisor.Guest {
	return hypervisor.Guest{ID: uuid.NewString(), Name: t.Name(), VCPUs: 1, RAMMiB: 64}
}

func (w *world) Guest(t *testing.T) hypervisor.Guest {
	s, err := system()
	if err != nil {
		t.Skip(err)
	}
	g := w.Bare(t)
	g.RAMMiB, g.Kernel, g.Initrd, g.Cmdline = 160, s.kernel, s.initrd, "console=ttyS0 quiet panic=-1 mitigations=off"
	return g
}

func (w *world) Disk(t *testing.T, id string) hypervisor.Disk {
	path := filepath.Join(t.TempDir(), id)
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return hypervisor.Disk{ID: id, Path: path, Format: "raw", BootIndex: -1}
}

// serial is a session on a guest's ttyS0.
type serial struct {
	conn interface {
		Write([]byte) (int, error)
		Close() error
		SetDeadline(time.Time) error
	}
	in *bufio.Reader
}

func (w *world) console(t *testing.T, id string) *serial {
	t.Helper()
	if s := w.cons[id]; s != nil {
		return s
	}
	conn, err := qmp.DialUnix(t.Context(), filepath.Join(w.d.dir(id), hypervisor.SerialSocket))
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(hypervisortest.Patience))
	s := &serial{conn, bufio.NewReader(conn)}
	w.cons[id] = s
	return s
}

// Ready pokes the guest's shell until it answers: the word "ready" may have been printed before anybody listened.
func (w *world) Ready(t *testing.T, id string) {
	t.Helper()
	w.run(t, id, "")
}

// run has the guest run a line and gives what it printed.
func (w *world) run(t *testing.T, id, line string) string {
	t.Helper()
	s := w.console(t, id)
	s.conn.SetDeadline(time.Now().Add(4 * hypervisortest.Patience)) // a guest may boot meanwhile, on a busy machine
	mark := "mark-" + uuid.NewString()[:8]
	send := func() { fmt.Fprintf(s.conn, "%s; echo; echo %s''%s\n", cmp.Or(line, "true"), mark[:5], mark[5:]) }
	send()
	var out strings.Builder
	for {
		got, err := s.in.ReadString('\n')
		if err != nil {
			log, _ := w.d.ConsoleLog(t.Context(), id, 4000)
			t.Fatalf("guest does not answer: %v\n%s", err, log)
		}
		got = strings.TrimRight(got, "\r\n")
		switch {
		case got == mark:
			return strings.TrimSpace(out.String())
		case strings.HasSuffix(got, "ready"): // what was sent before may have been eaten by the BIOS; a reset may have cut a line short
			send()
		case got == "done":
		default:
			out.WriteString(got + "\n")
		}
	}
}

func (w *world) RealDisks() bool { return true }

func (w *world) PowerOffInside(t *testing.T, id string) {
	s := w.console(t, id)
	fmt.Fprintln(s.conn, "poweroff -f")
	// Without a driver nobody ends the process: wait until QEMU stands in its shutdown state, or is gone.
	if w.d.background.Err() == nil {
		return
	}
	c, err := qmp.Dial(t.Context(), filepath.Join(w.d.dir(id), monitorFile))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sub := c.Subscribe("SHUTDOWN")
	var st struct{ Status string }
	if err := c.Execute(t.Context(), "query-status", nil, &st); err != nil {
		t.Fatal(err)
	}
	if st.Status != "shutdown" {
		if _, err := sub.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) Crash(t *testing.T, id string) {
	found, err := scan(w.d.name(""))
	if err != nil {
		t.Fatal(err)
	}
	p, err := watchOrphan(found[w.d.name(id)])
	if err != nil {
		t.Fatal(err)
	}
	defer p.fd.Close()
	p.kill()
	if err := p.waitGone(t.Context(), hypervisortest.Patience); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	hypervisortest.Run(t, func(t *testing.T) hypervisortest.World { return newWorld(t) })
}
