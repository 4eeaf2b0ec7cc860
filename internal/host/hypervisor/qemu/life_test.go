package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/qmp"
	"nephos/internal/hostapi"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func qemuImg(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("needs the Debian package qemu-utils: ", err)
	}
	if out, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// What a guest sees: disks by serial with their bytes through a qcow2 overlay, read-only where asked, a hot-plugged volume, SMBIOS, and
// its process without rights.
func TestGuestSees(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.d.Adopt(t.Context())
	ok(t, err)
	g := w.Guest(t)
	dir := t.TempDir()
	base, over := filepath.Join(dir, "base"), filepath.Join(dir, "over")
	ok(t, os.WriteFile(base, append([]byte("from the base"), make([]byte, 1<<20-13)...), 0o600))
	qemuImg(t, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, over, "4M")
	ro := w.Disk(t, "config")
	ro.ReadOnly = true
	g.Disks = []hypervisor.Disk{{ID: "root", Path: over, Format: "qcow2", Backing: []hypervisor.Layer{{Path: base, Format: "raw"}}}, ro}
	g.NICs = []hypervisor.NIC{{PortID: "port-1", MAC: "fa:16:3e:11:22:33", MTU: 1400}}
	ok(t, w.d.Start(t.Context(), g))
	volume := w.Disk(t, "0c4f7a10-1111-4222-8333-444455556666")
	ok(t, os.WriteFile(volume.Path, append([]byte("from the volume"), make([]byte, 1<<20-15)...), 0o600))
	w.Ready(t, g.ID)
	ok(t, w.d.AttachDisk(t.Context(), g.ID, volume))

	wait := "for i in $(seq 100); do [ -e /dev/vdc ] && break; usleep 20000; done; "
	for _, c := range []struct{ run, want string }{
		{"head -c 13 /dev/vda", "from the base"},
		{"cat /sys/block/vda/serial", "root"},
		{"cat /sys/block/vdb/ro", "1"},
		{"cat /sys/class/dmi/id/product_name", smbiosProduct},
		{"cat /sys/class/dmi/id/sys_vendor", smbiosVendor},
		{"cat /sys/class/dmi/id/product_uuid", g.ID},
		{"cat /sys/class/dmi/id/chassis_asset_tag", smbiosProduct},
		{"cat /sys/class/net/eth0/address", "fa:16:3e:11:22:33"},
		{"cat /sys/class/net/eth0/mtu", "1400"},
		{"cat /sys/bus/pci/devices/0000:00:03.0/class", "0x020000"},
		{wait + "head -c 15 /dev/vdc", "from the volume"},
		{"cat /sys/block/vdc/serial", volume.ID[:20]},
		{"echo -n written | dd of=/dev/vdc conv=notrunc,fsync 2>/dev/null; echo -n written | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null", ""},
	} {
		if got := w.run(t, g.ID, c.run); got != c.want {
			t.Errorf("%s: %q, want %q", c.run, got, c.want)
		}
	}
	b, err := os.ReadFile(volume.Path)
	ok(t, err)
	if !bytes.HasPrefix(b, []byte("written")) {
		t.Errorf("volume begins with %q", b[:16])
	}
	if b, _ := os.ReadFile(base); !bytes.HasPrefix(b, []byte("from the base")) {
		t.Error("the guest wrote into the base")
	}
	dst := filepath.Join(dir, "copy")
	ok(t, os.WriteFile(dst, make([]byte, 4<<20), 0o600))
	ok(t, w.d.CopyDisk(t.Context(), g.ID, "root", dst))
	if b, _ := os.ReadFile(dst); !bytes.HasPrefix(b, []byte("writtene base")) {
		t.Errorf("the copy begins with %q", b[:16])
	}
	ok(t, os.Truncate(volume.Path, 2<<20))
	ok(t, w.d.ResizeDisk(t.Context(), g.ID, volume.ID, 2<<20))
	if got := w.run(t, g.ID, "cat /sys/block/vdc/size"); got != "4096" {
		t.Errorf("the guest sees %s sectors", got)
	}
	if err := w.d.ResizeDisk(t.Context(), g.ID, volume.ID, 1<<20); fault.KindOf(err) != fault.KindInvalid {
		t.Errorf("shrunk: %v", err)
	}
	noFilesLeft(t, w, g.ID, volume)
	unprivileged(t, w, g.ID)
	screen(t, w, g.ID)
	log, err := w.d.ConsoleLog(t.Context(), g.ID, 0)
	if err != nil || !bytes.Contains(log, []byte("ready")) {
		t.Errorf("console log %q, %v", log, err)
	}
	if short, _ := w.d.ConsoleLog(t.Context(), g.ID, 5); len(short) != 5 {
		t.Errorf("%d bytes of log", len(short))
	}
	ok(t, w.d.Destroy(t.Context(), g.ID))
	left, err := os.ReadDir(w.d.dir(g.ID))
	ok(t, err)
	if len(left) != 1 || left[0].Name() != hypervisor.ConsoleFile {
		t.Errorf("left behind: %v", left)
	}
}

// noFilesLeft detaches the volume and looks whether QEMU closed it.
func noFilesLeft(t *testing.T, w *world, id string, volume hypervisor.Disk) {
	t.Helper()
	ok(t, w.d.DetachDisk(t.Context(), id, volume.ID))
	s, _ := w.d.Status(t.Context(), id)
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID))
	ok(t, err)
	for _, fd := range fds {
		if target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", s.PID, fd.Name())); target == volume.Path {
			t.Errorf("descriptor %s is still the detached volume", fd.Name())
		}
	}
}

func unprivileged(t *testing.T, w *world, id string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	s, _ := w.d.Status(t.Context(), id)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID))
	ok(t, err)
	for _, want := range []string{
		fmt.Sprintf("Uid:\t%d\t%[1]d\t%[1]d\t%[1]d", w.d.cred.Uid), "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "Seccomp:\t2", "NoNewPrivs:\t1",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("/proc/%d/status has no %q", s.PID, want)
		}
	}
	if w.d.cred.Uid == 0 {
		t.Error("guests run as root")
	}
}

func screen(t *testing.T, w *world, id string) {
	t.Helper()
	c, err := qmp.DialUnix(t.Context(), filepath.Join(w.d.dir(id), hypervisor.VNCSocket))
	ok(t, err)
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, 12)
	if _, err := c.Read(b); err != nil || string(b[:4]) != "RFB " {
		t.Errorf("vnc says %q, %v", b, err)
	}
}

// Whatever is wrong with a disk is said by name, and nothing is left.
func TestStartRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.d.Adopt(t.Context())
	ok(t, err)
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	ok(t, os.WriteFile(raw, make([]byte, 1<<16), 0o600))
	backed, plain, foreign := filepath.Join(dir, "backed"), filepath.Join(dir, "plain"), filepath.Join(dir, "foreign")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", raw, backed)
	qemuImg(t, "create", "-q", "-f", "qcow2", plain, "1M")
	qemuImg(t, "create", "-q", "-f", "qcow2", "-o", "data_file="+filepath.Join(dir, "data"), foreign, "1M")
	fifo := filepath.Join(dir, "fifo")
	ok(t, syscall.Mkfifo(fifo, 0o600))
	disk := func(path, format string, layers ...hypervisor.Layer) func(g *hypervisor.Guest) {
		return func(g *hypervisor.Guest) {
			g.Disks = []hypervisor.Disk{{ID: "root", Path: path, Format: format, Backing: layers}}
		}
	}
	for _, c := range []struct {
		name string
		edit func(g *hypervisor.Guest)
		kind fault.Kind
		says string
	}{
		{"missing", disk(filepath.Join(dir, "no"), "raw"), fault.KindNotFound, "root"},
		{"not a qcow2", disk(raw, "qcow2"), fault.KindInvalid, "not a qcow2"},
		{"base not told", disk(backed, "qcow2"), fault.KindInvalid, "names a base"},
		{"base invented", disk(plain, "qcow2", hypervisor.Layer{Path: raw, Format: "raw"}), fault.KindInvalid, "names a base"},
		{"base of base not told", disk(backed, "qcow2", hypervisor.Layer{Path: backed, Format: "qcow2"}), fault.KindInvalid, "names a base"},
		{"data elsewhere", disk(foreign, "qcow2"), fault.KindInvalid, "another file"},
		{"fifo", disk(fifo, "raw"), fault.KindInvalid, "neither a file"},
		{"directory", disk(dir, "raw"), fault.KindUnavailable, "root"},
		{"no kernel", func(g *hypervisor.Guest) { g.Kernel = filepath.Join(dir, "no") }, fault.KindNotFound, "kernel"},
		{"qemu's own refusal", func(g *hypervisor.Guest) { g.RAMMiB = 1 << 30 }, fault.KindUnavailable, "memory"},
	} {
		g := w.Bare(t)
		c.edit(&g)
		err := w.d.Start(t.Context(), g)
		if err == nil || fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: kind %s, %v", c.name, fault.KindOf(err), err)
		}
	}
	if p, err := w.d.Processes(t.Context()); err != nil || len(p) != 0 {
		t.Errorf("left: %v, %v", p, err)
	}
}

// One disk is never written by two guests.
func TestDiskInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.Bare(t), w.Bare(t)
	a.Disks = []hypervisor.Disk{w.Disk(t, "root")}
	b.Disks = slices.Clone(a.Disks)
	ok(t, w.d.Start(t.Context(), a))
	if err := w.d.Start(t.Context(), b); fault.KindOf(err) != fault.KindUnavailable || !strings.Contains(err.Error(), "lock") {
		t.Errorf("second guest on one disk: %v", err)
	}
	ok(t, w.d.Destroy(t.Context(), a.ID))
	ok(t, w.d.Start(t.Context(), b))
	ok(t, w.d.Destroy(t.Context(), b.ID))
}

// An agent that dies at any line of a start, resume or destroy leaves something that the next one puts right.
func TestCrashedAgent(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		spoil func(r *record)
		power hostapi.PowerState
		lives bool
	}{
		{"forked, pid not written", func(r *record) { r.Phase, r.PID, r.Ticks = phaseStarting, 0, 0 }, hostapi.PowerShutdown, false},
		{"pid written, not yet running", func(r *record) { r.Phase = phaseStarting }, hostapi.PowerShutdown, false},
		{"resume interrupted", func(r *record) { r.Phase, r.State = phaseStarting, "/nowhere/memory" }, hostapi.PowerSuspended, false},
		{"resumed, memory not removed", func(r *record) { r.State = "/nowhere/memory" }, hostapi.PowerRunning, true},
		{"end recorded, not ended", func(r *record) { r.Phase = phaseShutdown }, hostapi.PowerShutdown, false},
		{"another process has the pid", func(r *record) { r.PID, r.Ticks = os.Getpid(), 1 }, hostapi.PowerRunning, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			g := w.Bare(t)
			ok(t, w.d.Start(t.Context(), g))
			dir := w.d.dir(g.ID)
			w.d.Close()
			r, err := readRecord(dir)
			ok(t, err)
			c.spoil(&r)
			ok(t, writeRecord(dir, r, false))
			w.open(t)
			if err := w.d.Start(t.Context(), g); fault.KindOf(err) != fault.KindConflict {
				t.Errorf("started beside an unadopted guest: %v", err)
			}
			_, err = w.d.Adopt(t.Context())
			ok(t, err)
			s, _ := w.d.Status(t.Context(), g.ID)
			if s.Power != c.power || s.Running() != c.lives {
				t.Errorf("power %d (%s)", s.Power, s.Why)
			}
			ok(t, w.d.Destroy(t.Context(), g.ID))
			if p, err := w.d.Processes(t.Context()); err != nil || len(p) != 0 {
				t.Errorf("left: %v, %v", p, err)
			}
		})
	}
}

func TestHostRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.Bare(t)
	ok(t, w.d.Start(t.Context(), g))
	w.d.Close()
	w.Crash(t, g.ID)
	r, err := readRecord(w.d.dir(g.ID))
	ok(t, err)
	r.Boot = "another boot"
	ok(t, writeRecord(w.d.dir(g.ID), r, false))
	w.open(t)
	list, err := w.d.Adopt(t.Context())
	ok(t, err)
	if len(list) != 1 || list[0].Power != hostapi.PowerShutdown || !strings.Contains(list[0].Why, "host") {
		t.Errorf("%+v", list)
	}
}

// Destroy needs no adoption: fsck may name a guest whose record is lost.
func TestDestroyWithoutAdoption(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.Bare(t)
	ok(t, w.d.Start(t.Context(), g))
	w.d.Close()
	ok(t, os.Remove(filepath.Join(w.d.dir(g.ID), recordFile)))
	w.open(t)
	if p, err := w.d.Processes(t.Context()); err != nil || len(p) != 1 || p[0].ServerID != g.ID {
		t.Errorf("processes %v, %v", p, err)
	}
	ok(t, w.d.Destroy(t.Context(), g.ID))
	if p, err := w.d.Processes(t.Context()); err != nil || len(p) != 0 {
		t.Errorf("left: %v, %v", p, err)
	}
}

func TestConsoleIsBounded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), hypervisor.ConsoleFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	ok(t, err)
	defer f.Close()
	const keep = 64 << 10
	line := []byte(strings.Repeat("x", 1023) + "\n")
	for range 40 {
		for range 100 {
			_, err := f.Write(line)
			ok(t, err)
		}
		ok(t, trim(path, keep))
		var st syscall.Stat_t
		ok(t, syscall.Stat(path, &st))
		if st.Blocks*512 > 2*keep+8192 {
			t.Fatalf("%d bytes on disk", st.Blocks*512)
		}
	}
	_, err = f.WriteString("the end\n")
	ok(t, err)
	d := &Driver{cfg: Config{ConsoleBytes: keep}}
	check := func() {
		r, err := os.Open(path)
		ok(t, err)
		defer r.Close()
		b, err := tail(r, keep)
		if err != nil || len(b) != keep || !bytes.HasSuffix(b, []byte("x\nthe end\n")) || bytes.IndexByte(b, 0) >= 0 {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}
	check()
	ok(t, d.shorten(filepath.Dir(path)))
	if st, _ := os.Stat(path); st.Size() != keep {
		t.Errorf("%d bytes", st.Size())
	}
	check()
}

func TestManyStartsInParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var wg sync.WaitGroup
	var guests []hypervisor.Guest
	for range 8 {
		g := w.Bare(t)
		guests = append(guests, g)
		wg.Go(func() {
			if err := w.d.Start(t.Context(), g); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if p, err := w.d.Processes(t.Context()); err != nil || len(p) != len(guests) {
		t.Errorf("processes %v, %v", p, err)
	}
	for _, g := range guests {
		wg.Go(func() {
			if err := w.d.Destroy(t.Context(), g.ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestAccelerator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := filepath.Join(t.TempDir(), "accel.json")
	a, err := choose(t.Context(), binaryName, "auto", cache, w.d.cred)
	ok(t, err)
	t.Log(a.Accel, a.Version, a.Detail)
	if (a.Accel != "tcg" && a.Accel != "kvm") || !strings.Contains(a.Detail, a.Accel) {
		t.Errorf("%+v", a)
	}
	for _, trait := range []string{"COMPUTE_NODE", "HW_CPU_X86_SSE2"} {
		if !strings.Contains(a.Traits, trait) {
			t.Errorf("%s is not among the traits %s", trait, a.Traits)
		}
	}
	began := time.Now()
	again, err := choose(t.Context(), binaryName, "auto", cache, w.d.cred)
	if err != nil || again != a || time.Since(began) > 50*time.Millisecond {
		t.Errorf("%+v, %v after %v", again, err, time.Since(began))
	}
	forced, err := choose(t.Context(), binaryName, "tcg", cache, w.d.cred)
	if err != nil || forced.Accel != "tcg" || forced.Detail != "configured" {
		t.Errorf("%+v, %v", forced, err)
	}
	if _, err := choose(t.Context(), "qemu-system-none", "auto", "", nil); fault.KindOf(err) != fault.KindUnavailable {
		t.Error(err)
	}
	if _, err := New(Config{Instances: "relative"}); fault.KindOf(err) != fault.KindInvalid {
		t.Error(err)
	}
	if _, err := New(Config{Instances: t.TempDir(), User: "root"}); os.Geteuid() == 0 && !errors.As(err, new(*fault.Fault)) {
		t.Error(err)
	}
}
