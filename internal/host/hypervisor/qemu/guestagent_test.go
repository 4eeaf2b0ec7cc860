package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
)

// agentOn answers on a guest's channel as the QEMU guest agent does, after some noise of an earlier connection. It gives the commands it was sent.
func agentOn(t *testing.T, g *guest, answer func(command string, args json.RawMessage) string) <-chan string {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(g.dir, hypervisor.AgentSocket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	seen := make(chan string, 100)
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("{\"return\": 77}\n"))
			in := bufio.NewScanner(c)
			for in.Scan() {
				var cmd struct {
					Execute   string          `json:"execute"`
					Arguments json.RawMessage `json:"arguments"`
				}
				if json.Unmarshal([]byte(strings.TrimLeft(in.Text(), "\xff")), &cmd) != nil {
					continue
				}
				seen <- cmd.Execute
				if cmd.Execute == "guest-sync-delimited" {
					var id struct {
						ID json.RawMessage `json:"id"`
					}
					json.Unmarshal(cmd.Arguments, &id)
					c.Write([]byte("\xff{\"return\": " + string(id.ID) + "}\n"))
					continue
				}
				c.Write([]byte(answer(cmd.Execute, cmd.Arguments) + "\n"))
			}
			c.Close()
		}
	}()
	return seen
}

func agentWorld(t *testing.T) (*Driver, *guest) {
	t.Helper()
	d, err := New(Config{Instances: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	g := &guest{id: "g", dir: d.dir("g"), rec: record{ID: "g", Phase: phaseRunning, Agent: true}, vm: newMachine(&process{pid: 1, fd: os.Stdin})}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return d, g
}

// Whatever happens while the file systems are frozen, they are thawed, and the record says so on both sides.
func TestQuietThaws(t *testing.T) {
	t.Parallel()
	d, g := agentWorld(t)
	seen := agentOn(t, g, func(string, json.RawMessage) string { return `{"return": 1}` })
	during := false
	err := d.quiet(t.Context(), g, func() error {
		r, err := readRecord(g.dir)
		during = err == nil && r.Frozen
		return os.ErrClosed
	})
	if err != os.ErrClosed || !during || g.record().Frozen { //nolint:errorlint // the very error
		t.Errorf("error %v, frozen on disk meanwhile %t, frozen afterwards %t", err, during, g.record().Frozen)
	}
	var all []string
	for len(all) < 4 {
		all = append(all, <-seen)
	}
	if got := strings.Join(all, " "); got != "guest-sync-delimited guest-fsfreeze-freeze guest-sync-delimited guest-fsfreeze-thaw" {
		t.Error(got)
	}
}

// An agent that cannot freeze does not keep a copy from being made.
func TestQuietWithoutFreeze(t *testing.T) {
	t.Parallel()
	d, g := agentWorld(t)
	agentOn(t, g, func(cmd string, _ json.RawMessage) string {
		if cmd == "guest-fsfreeze-freeze" {
			return `{"error": {"class": "GenericError", "desc": "no"}}`
		}
		return `{"return": 0}`
	})
	done := false
	if err := d.quiet(t.Context(), g, func() error { done = true; return nil }); err != nil || !done || g.record().Frozen {
		t.Errorf("%v, %t, %t", err, done, g.record().Frozen)
	}
}

func TestAgentRefusesOrIsSilent(t *testing.T) {
	t.Parallel()
	d, g := agentWorld(t)
	agentOn(t, g, func(string, json.RawMessage) string {
		return `{"error": {"class": "GenericError", "desc": "no such user"}}`
	})
	a, err := d.dialAgent(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	if err := a.call(t.Context(), time.Second, "guest-set-user-password", nil); err == nil || !strings.Contains(err.Error(), "no such user") {
		t.Error(err)
	}

	d, g = agentWorld(t)
	l, err := net.Listen("unix", filepath.Join(g.dir, hypervisor.AgentSocket)) // QEMU listens, nobody in the guest does
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := d.dialAgent(ctx, g); fault.KindOf(err) != fault.KindConflict {
		t.Errorf("a silent channel: %v", err)
	}
}
