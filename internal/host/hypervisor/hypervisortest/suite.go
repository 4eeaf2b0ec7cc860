package hypervisortest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/hostapi"
)

// World is one driver with its state directory, made for one subtest and cleaned up by it.
type World interface {
	// Driver is the present one.
	Driver() hypervisor.Driver
	// Reopen closes the driver and opens another on the same state, as an agent's restart does. It does not call Adopt.
	Reopen(t *testing.T)
	// Guest makes a guest with a fresh id, no disk but what it needs, and a system that hears the power button and unplugs devices, once
	// Ready has returned for it.
	Guest(t *testing.T) hypervisor.Guest
	// Bare makes a guest with no system: quick to start, deaf.
	Bare(t *testing.T) hypervisor.Guest
	// Ready waits for the guest's system.
	Ready(t *testing.T, id string)
	// Disk makes a disk of 1 MiB, not attached.
	Disk(t *testing.T, id string) hypervisor.Disk
	// RealDisks says that disks are files whose bytes matter.
	RealDisks() bool
	// PowerOffInside has a ready guest turn itself off.
	PowerOffInside(t *testing.T, id string)
	// Crash ends the guest as a fault of its process would.
	Crash(t *testing.T, id string)
}

// Patience bounds every wait of the suite.
const Patience = 30 * time.Second

// Run runs the suite. NewWorld is called once per subtest (twice for moving); subtests run in parallel.
func Run(t *testing.T, newWorld func(t *testing.T) World) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, w World)
	}{
		{"unknown guest", unknownGuest},
		{"bad guest", badGuest},
		{"power", power},
		{"adoption", adoption},
		{"suspend", suspend},
		{"hot plug", hotPlug},
		{"swap", swap},
		{"interrupt and agent", interruptAndAgent},
		{"shutdown and reboot", shutdownAndReboot},
		{"ends from outside", endsFromOutside},
		{"ends while no driver looks", endsUnseen},
		{"start that fails leaves nothing", failedStart},
		{"verbs on a stopped guest", stopped},
		{"ended context", endedContext},
		{"close", closing},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newWorld(t))
		})
	}
	t.Run("moving", func(t *testing.T) {
		t.Parallel()
		moving(t, newWorld(t), newWorld(t))
	})
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return c
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func kind(t *testing.T, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.KindOf(err) != want {
		t.Errorf("error %v, want a %s", err, want)
	}
}

func is(t *testing.T, w World, id string, want hostapi.PowerState) hypervisor.Status {
	t.Helper()
	s, err := w.Driver().Status(ctx(t), id)
	ok(t, err)
	if s.Power != want || s.ID != id {
		t.Fatalf("guest %s: power %d (%s), want %d", s.ID, s.Power, s.Why, want)
	}
	if s.Running() != (s.PID != 0) {
		t.Errorf("power %d with pid %d", s.Power, s.PID)
	}
	return s
}

func processes(t *testing.T, w World, want int) {
	t.Helper()
	p, err := w.Driver().Processes(ctx(t))
	ok(t, err)
	if len(p) != want {
		t.Errorf("processes %v, want %d", p, want)
	}
}

func started(t *testing.T, w World, g hypervisor.Guest) hypervisor.Guest {
	t.Helper()
	_, err := w.Driver().Adopt(ctx(t))
	ok(t, err)
	ok(t, w.Driver().Start(ctx(t), g))
	is(t, w, g.ID, hostapi.PowerRunning)
	return g
}

func event(t *testing.T, w World) hypervisor.Event {
	t.Helper()
	select {
	case e := <-w.Driver().Events():
		return e
	case <-time.After(Patience):
		t.Fatal("no event")
	}
	panic("unreachable")
}

func silent(t *testing.T, w World) {
	t.Helper()
	select {
	case e, open := <-w.Driver().Events():
		if open {
			t.Errorf("event %+v for what a verb did", e)
		}
	default:
	}
}

func unknownGuest(t *testing.T, w World) {
	d, id := w.Driver(), w.Bare(t).ID
	list, err := d.Adopt(ctx(t))
	ok(t, err)
	if len(list) != 0 {
		t.Errorf("guests from nowhere: %v", list)
	}
	is(t, w, id, hostapi.PowerNone)
	ok(t, d.Destroy(ctx(t), id))
	ok(t, d.Shutdown(ctx(t), id, time.Second))
	kind(t, d.Reset(ctx(t), id), fault.KindNotFound)
	kind(t, d.SoftReboot(ctx(t), id, time.Second), fault.KindNotFound)
	kind(t, d.Pause(ctx(t), id), fault.KindNotFound)
	kind(t, d.AttachDisk(ctx(t), id, w.Disk(t, "x")), fault.KindNotFound)
	kind(t, d.DetachDisk(ctx(t), id, "x"), fault.KindNotFound)
	kind(t, d.SwapDisk(ctx(t), id, "x", w.Disk(t, "y")), fault.KindNotFound)
	kind(t, d.NMI(ctx(t), id), fault.KindNotFound)
	_, err = d.Diagnose(ctx(t), id)
	kind(t, err, fault.KindNotFound)
	kind(t, d.AgentAnswers(ctx(t), id), fault.KindNotFound)
	kind(t, d.SetPassword(ctx(t), id, "root", "x"), fault.KindNotFound)
	_, err = d.ConsoleLog(ctx(t), id, 0)
	kind(t, err, fault.KindNotFound)
	info, err := d.Info(ctx(t))
	if err != nil || info.Driver == "" || info.Accel == "" || info.Version == "" {
		t.Errorf("info %+v, %v", info, err)
	}
}

func badGuest(t *testing.T, w World) {
	for name, spoil := range map[string]func(g *hypervisor.Guest){
		"id":      func(g *hypervisor.Guest) { g.ID = "../../etc" },
		"vcpus":   func(g *hypervisor.Guest) { g.VCPUs = 0 },
		"ram":     func(g *hypervisor.Guest) { g.RAMMiB = 0 },
		"format":  func(g *hypervisor.Guest) { g.Disks[0].Format = "vmdk" },
		"twice":   func(g *hypervisor.Guest) { g.Disks = append(g.Disks, g.Disks[0]) },
		"comma":   func(g *hypervisor.Guest) { g.Disks[0].ID = "a,readonly=off" },
		"mac":     func(g *hypervisor.Guest) { g.NICs = []hypervisor.NIC{{PortID: "p", MAC: "no"}} },
		"ramdisk": func(g *hypervisor.Guest) { g.Kernel, g.Initrd = "", "/x" },
	} {
		g := w.Bare(t)
		g.Disks = []hypervisor.Disk{w.Disk(t, "root")}
		spoil(&g)
		err := w.Driver().Start(ctx(t), g)
		if fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	processes(t, w, 0)
}

func power(t *testing.T, w World) {
	d, g := w.Driver(), started(t, w, w.Bare(t))
	pid := is(t, w, g.ID, hostapi.PowerRunning).PID
	ok(t, d.Start(ctx(t), g))
	if now := is(t, w, g.ID, hostapi.PowerRunning).PID; now != pid {
		t.Errorf("a running guest was started again: pid %d, then %d", pid, now)
	}
	for range 2 {
		ok(t, d.Pause(ctx(t), g.ID))
		is(t, w, g.ID, hostapi.PowerPaused)
	}
	for range 2 {
		ok(t, d.Unpause(ctx(t), g.ID))
		is(t, w, g.ID, hostapi.PowerRunning)
	}
	ok(t, d.Pause(ctx(t), g.ID))
	ok(t, d.Reset(ctx(t), g.ID))
	is(t, w, g.ID, hostapi.PowerRunning)
	processes(t, w, 1)
	for range 2 {
		ok(t, d.Shutdown(ctx(t), g.ID, 0))
		is(t, w, g.ID, hostapi.PowerShutdown)
	}
	processes(t, w, 0)
	ok(t, d.Start(ctx(t), g))
	is(t, w, g.ID, hostapi.PowerRunning)
	ok(t, d.Pause(ctx(t), g.ID))
	ok(t, d.Shutdown(ctx(t), g.ID, time.Hour)) // cut at once
	ok(t, d.Start(ctx(t), g))
	_, err := d.ConsoleLog(ctx(t), g.ID, 100)
	ok(t, err)
	for range 2 {
		ok(t, d.Destroy(ctx(t), g.ID))
		is(t, w, g.ID, hostapi.PowerNone)
	}
	processes(t, w, 0)
	silent(t, w)
}

func adoption(t *testing.T, w World) {
	a, b, c := started(t, w, w.Bare(t)), started(t, w, w.Bare(t)), started(t, w, w.Bare(t))
	pid := is(t, w, a.ID, hostapi.PowerRunning).PID
	ok(t, w.Driver().Pause(ctx(t), b.ID))
	ok(t, w.Driver().Shutdown(ctx(t), c.ID, 0))
	for range 2 { // a guest adopted once can be adopted again
		w.Reopen(t)
		list, err := w.Driver().Adopt(ctx(t))
		ok(t, err)
		if len(list) != 3 {
			t.Fatalf("adopted %v", list)
		}
		if now := is(t, w, a.ID, hostapi.PowerRunning).PID; now != pid {
			t.Errorf("pid %d, then %d", pid, now)
		}
		is(t, w, b.ID, hostapi.PowerPaused)
		is(t, w, c.ID, hostapi.PowerShutdown)
	}
	d := w.Driver()
	ok(t, d.Start(ctx(t), a)) // still the same
	ok(t, d.Unpause(ctx(t), b.ID))
	is(t, w, b.ID, hostapi.PowerRunning)
	ok(t, d.Shutdown(ctx(t), b.ID, 0))
	is(t, w, b.ID, hostapi.PowerShutdown)
	ok(t, d.Start(ctx(t), c))
	w.Crash(t, a.ID)
	if e := event(t, w); e.ID != a.ID || e.Power != hostapi.PowerCrashed {
		t.Errorf("event %+v", e)
	}
	for _, g := range []hypervisor.Guest{a, b, c} {
		ok(t, d.Destroy(ctx(t), g.ID))
	}
	processes(t, w, 0)
}

func suspend(t *testing.T, w World) {
	g := started(t, w, w.Guest(t))
	w.Ready(t, g.ID)
	extra := w.Disk(t, "extra")
	ok(t, w.Driver().AttachDisk(ctx(t), g.ID, extra)) // it must be found where it was
	g.Disks = append(g.Disks, extra)
	g.Disks[len(g.Disks)-1].BootIndex = -1
	state := filepath.Join(t.TempDir(), "memory")
	for range 2 {
		ok(t, w.Driver().Suspend(ctx(t), g.ID, state))
		is(t, w, g.ID, hostapi.PowerSuspended)
	}
	processes(t, w, 0)
	if st, err := os.Stat(state); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("memory file: %v, %v", st, err)
	}
	w.Reopen(t)
	_, err := w.Driver().Adopt(ctx(t))
	ok(t, err)
	is(t, w, g.ID, hostapi.PowerSuspended)
	kind(t, w.Driver().Resume(ctx(t), g, state+".other"), fault.KindConflict)
	is(t, w, g.ID, hostapi.PowerSuspended)
	for range 2 {
		ok(t, w.Driver().Resume(ctx(t), g, state))
		is(t, w, g.ID, hostapi.PowerRunning)
	}
	if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the memory file stays after the guest runs: %v", err)
	}
	// It is the same system as before: it hears the button without booting.
	ok(t, w.Driver().Shutdown(ctx(t), g.ID, Patience))
	if s := is(t, w, g.ID, hostapi.PowerShutdown); s.Why == "powered off" {
		t.Error("the resumed guest did not hear the power button")
	}
	kind(t, w.Driver().Resume(ctx(t), g, state), fault.KindConflict)
	ok(t, w.Driver().Destroy(ctx(t), g.ID))
	silent(t, w)
}

func hotPlug(t *testing.T, w World) {
	d, g := w.Driver(), started(t, w, w.Guest(t))
	w.Ready(t, g.ID)
	disk := w.Disk(t, "4c2a8d5e-0000-4000-8000-0000000000d1")
	nic := hypervisor.NIC{PortID: "4c2a8d5e-0000-4000-8000-0000000000a1", MAC: "fa:16:3e:00:00:01", MTU: 1450}
	for range 2 { // what was let go can be plugged again
		for range 2 {
			ok(t, d.AttachDisk(ctx(t), g.ID, disk))
			ok(t, d.AttachNIC(ctx(t), g.ID, nic))
		}
		for range 2 {
			ok(t, d.DetachDisk(ctx(t), g.ID, disk.ID))
			ok(t, d.DetachNIC(ctx(t), g.ID, nic.PortID))
		}
	}
	ok(t, d.AttachDisk(ctx(t), g.ID, disk))
	dst := filepath.Join(t.TempDir(), "copy")
	ok(t, os.WriteFile(dst, make([]byte, 1<<20), 0o600))
	ok(t, d.CopyDisk(ctx(t), g.ID, disk.ID, dst))
	ok(t, d.ResizeDisk(ctx(t), g.ID, disk.ID, 2<<20))
	kind(t, d.ResizeDisk(ctx(t), g.ID, "other", 2<<20), fault.KindNotFound)
	kind(t, d.CopyDisk(ctx(t), g.ID, "other", dst), fault.KindNotFound)

	ide := w.Disk(t, "ide")
	ide.Bus = "ide"
	kind(t, d.AttachDisk(ctx(t), g.ID, ide), fault.KindConflict)
	bad := errors.New("no such tap")
	broken := hypervisor.NIC{PortID: "broken", MAC: "fa:16:3e:00:00:02", OpenTap: func(context.Context) (*os.File, error) { return nil, bad }}
	if err := d.AttachNIC(ctx(t), g.ID, broken); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
	ok(t, d.DetachNIC(ctx(t), g.ID, broken.PortID))

	w.Reopen(t) // a new agent can let go what the old one plugged
	d = w.Driver()
	_, err := d.Adopt(ctx(t))
	ok(t, err)
	ok(t, d.AttachDisk(ctx(t), g.ID, disk))
	ok(t, d.DetachDisk(ctx(t), g.ID, disk.ID))
	ok(t, d.Destroy(ctx(t), g.ID))
}

// swap moves a guest from disk to disk and back; each can be let go and plugged again afterwards.
func swap(t *testing.T, w World) {
	d, g := w.Driver(), started(t, w, w.Guest(t))
	w.Ready(t, g.ID)
	one, two := w.Disk(t, "4c2a8d5e-0000-4000-8000-0000000000d1"), w.Disk(t, "4c2a8d5e-0000-4000-8000-0000000000d2")
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(i >> 8)
	}
	if w.RealDisks() {
		ok(t, os.WriteFile(one.Path, content, 0o600))
	}
	ok(t, d.AttachDisk(ctx(t), g.ID, one))
	for range 2 {
		ok(t, d.SwapDisk(ctx(t), g.ID, one.ID, two))
	}
	if w.RealDisks() {
		if got, err := os.ReadFile(two.Path); err != nil || !bytes.Equal(got, content) {
			t.Errorf("the new disk does not hold what the old one held: %v", err)
		}
	}
	kind(t, d.SwapDisk(ctx(t), g.ID, "other", one), fault.KindNotFound)
	kind(t, d.CopyDisk(ctx(t), g.ID, one.ID, filepath.Join(t.TempDir(), "copy")), fault.KindNotFound)
	ok(t, d.AttachDisk(ctx(t), g.ID, one)) // the old one is free, and may come as another disk
	ok(t, d.DetachDisk(ctx(t), g.ID, one.ID))
	ok(t, d.SwapDisk(ctx(t), g.ID, two.ID, one))
	w.Reopen(t)
	d = w.Driver()
	_, err := d.Adopt(ctx(t))
	ok(t, err)
	ok(t, d.SwapDisk(ctx(t), g.ID, two.ID, one)) // found done
	for range 2 {
		ok(t, d.DetachDisk(ctx(t), g.ID, one.ID))
	}
	ok(t, d.AttachDisk(ctx(t), g.ID, two))
	ok(t, d.DetachDisk(ctx(t), g.ID, two.ID))
	ok(t, d.Destroy(ctx(t), g.ID))
}

func interruptAndAgent(t *testing.T, w World) {
	d, g := w.Driver(), started(t, w, w.Bare(t))
	ok(t, d.NMI(ctx(t), g.ID))
	is(t, w, g.ID, hostapi.PowerRunning)
	seen, err := d.Diagnose(ctx(t), g.ID)
	ok(t, err)
	if seen.Power != hostapi.PowerRunning || len(seen.Disks) != len(g.Disks) {
		t.Fatalf("diagnostics of a guest with %d disks: %+v", len(g.Disks), seen)
	}
	kind(t, d.AgentAnswers(ctx(t), g.ID), fault.KindConflict)
	kind(t, d.SetPassword(ctx(t), g.ID, "root", "secret"), fault.KindConflict)
	ok(t, d.Destroy(ctx(t), g.ID))
}

func shutdownAndReboot(t *testing.T, w World) {
	d, g := w.Driver(), started(t, w, w.Guest(t))
	w.Ready(t, g.ID)
	pid := is(t, w, g.ID, hostapi.PowerRunning).PID
	ok(t, d.SoftReboot(ctx(t), g.ID, Patience))
	if now := is(t, w, g.ID, hostapi.PowerRunning).PID; now != pid {
		t.Errorf("pid %d, then %d", pid, now)
	}
	w.Ready(t, g.ID)
	ok(t, d.Shutdown(ctx(t), g.ID, Patience))
	is(t, w, g.ID, hostapi.PowerShutdown)

	deaf := started(t, w, w.Bare(t))
	pid = is(t, w, deaf.ID, hostapi.PowerRunning).PID
	ok(t, d.SoftReboot(ctx(t), deaf.ID, time.Millisecond))
	if now := is(t, w, deaf.ID, hostapi.PowerRunning).PID; now != pid {
		t.Errorf("pid %d, then %d", pid, now)
	}
	ok(t, d.Shutdown(ctx(t), deaf.ID, time.Millisecond))
	is(t, w, deaf.ID, hostapi.PowerShutdown)
	silent(t, w)
}

func endsFromOutside(t *testing.T, w World) {
	g := started(t, w, w.Guest(t))
	w.Ready(t, g.ID)
	w.PowerOffInside(t, g.ID)
	if e := event(t, w); e.ID != g.ID || e.Power != hostapi.PowerShutdown || e.Why == "" || e.At.IsZero() {
		t.Errorf("event %+v", e)
	}
	is(t, w, g.ID, hostapi.PowerShutdown)
	processes(t, w, 0)

	c := started(t, w, w.Bare(t))
	w.Crash(t, c.ID)
	if e := event(t, w); e.ID != c.ID || e.Power != hostapi.PowerCrashed || e.Why == "" {
		t.Errorf("event %+v", e)
	}
	is(t, w, c.ID, hostapi.PowerCrashed)
	ok(t, w.Driver().Start(ctx(t), c))
	is(t, w, c.ID, hostapi.PowerRunning)
	ok(t, w.Driver().Destroy(ctx(t), c.ID))
	list, err := w.Driver().List(ctx(t))
	if err != nil || len(list) != 1 || list[0].ID != g.ID {
		t.Errorf("list %v, %v", list, err)
	}
}

func endsUnseen(t *testing.T, w World) {
	off, dead := started(t, w, w.Guest(t)), started(t, w, w.Bare(t))
	w.Ready(t, off.ID)
	ok(t, w.Driver().Close())
	w.PowerOffInside(t, off.ID)
	w.Crash(t, dead.ID)
	w.Reopen(t)
	_, err := w.Driver().Adopt(ctx(t))
	ok(t, err)
	for {
		// The powered-off guest's process is ended by the new driver, which may take a moment.
		s, err := w.Driver().Status(ctx(t), off.ID)
		ok(t, err)
		if !s.Running() && s.PID == 0 {
			break
		}
		event(t, w)
	}
	is(t, w, off.ID, hostapi.PowerShutdown)
	is(t, w, dead.ID, hostapi.PowerCrashed)
	processes(t, w, 0)
}

func failedStart(t *testing.T, w World) {
	g := w.Bare(t)
	bad := errors.New("no such tap")
	g.NICs = []hypervisor.NIC{{PortID: "p", MAC: "fa:16:3e:00:00:03", OpenTap: func(context.Context) (*os.File, error) { return nil, bad }}}
	_, err := w.Driver().Adopt(ctx(t))
	ok(t, err)
	if err := w.Driver().Start(ctx(t), g); !errors.Is(err, bad) {
		t.Errorf("error %v", err)
	}
	processes(t, w, 0)
	s, err := w.Driver().Status(ctx(t), g.ID)
	if err != nil || s.Running() {
		t.Errorf("status %+v, %v", s, err)
	}
	g.NICs = nil
	ok(t, w.Driver().Start(ctx(t), g))
	is(t, w, g.ID, hostapi.PowerRunning)
	ok(t, w.Driver().Destroy(ctx(t), g.ID))
}

func stopped(t *testing.T, w World) {
	d, g := w.Driver(), started(t, w, w.Bare(t))
	ok(t, d.Shutdown(ctx(t), g.ID, 0))
	state := filepath.Join(t.TempDir(), "memory")
	for name, err := range map[string]error{
		"reset":       d.Reset(ctx(t), g.ID),
		"soft reboot": d.SoftReboot(ctx(t), g.ID, time.Second),
		"pause":       d.Pause(ctx(t), g.ID),
		"unpause":     d.Unpause(ctx(t), g.ID),
		"suspend":     d.Suspend(ctx(t), g.ID, state),
		"resume":      d.Resume(ctx(t), g, state),
		"attach":      d.AttachDisk(ctx(t), g.ID, w.Disk(t, "x")),
		"detach":      d.DetachDisk(ctx(t), g.ID, "x"),
		"resize":      d.ResizeDisk(ctx(t), g.ID, "x", 1),
		"swap":        d.SwapDisk(ctx(t), g.ID, "x", w.Disk(t, "y")),
		"nmi":         d.NMI(ctx(t), g.ID),
		"agent":       d.AgentAnswers(ctx(t), g.ID),
		"password":    d.SetPassword(ctx(t), g.ID, "root", "x"),
		"attach nic":  d.AttachNIC(ctx(t), g.ID, hypervisor.NIC{PortID: "p", MAC: "fa:16:3e:00:00:04"}),
		"detach nic":  d.DetachNIC(ctx(t), g.ID, "p"),
	} {
		if fault.KindOf(err) != fault.KindConflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	is(t, w, g.ID, hostapi.PowerShutdown)
	ok(t, d.Destroy(ctx(t), g.ID))
}

func endedContext(t *testing.T, w World) {
	g := w.Bare(t)
	_, err := w.Driver().Adopt(ctx(t))
	ok(t, err)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	kind(t, w.Driver().Start(over, g), fault.KindUnavailable)
	processes(t, w, 0)
	ok(t, w.Driver().Start(ctx(t), g))
	ok(t, w.Driver().Destroy(ctx(t), g.ID))
}

func closing(t *testing.T, w World) {
	g := started(t, w, w.Bare(t))
	events := w.Driver().Events()
	ok(t, w.Driver().Close())
	if _, open := <-events; open {
		t.Error("an event after Close")
	}
	w.Reopen(t)
	_, err := w.Driver().Adopt(ctx(t))
	ok(t, err)
	is(t, w, g.ID, hostapi.PowerRunning)
	ok(t, w.Driver().Destroy(ctx(t), g.ID))
}
