package qemu

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/hypervisortest"
	"nephos/internal/host/hypervisor/qmp"
	"nephos/internal/hostapi"
)

// unfed is what the guest's driver of an i6300esb does, by the registers in its configuration space (Intel 300682, section 16): two stages of a second each, then begin.
const unfed = `d=/sys/bus/pci/devices/0000:00:1f.0; printf '\007\000' | dd of=$d/config bs=2 seek=48 conv=notrunc 2>/dev/null; printf '\002' | dd of=$d/config bs=1 seek=104 conv=notrunc 2>/dev/null`

// event waits for what the driver tells.
func (w *world) event(t *testing.T) hypervisor.Event {
	t.Helper()
	select {
	case e := <-w.d.Events():
		return e
	case <-time.After(hypervisortest.Patience):
		t.Fatal("the driver told nothing")
		return hypervisor.Event{}
	}
}

// What a guest's options say is what the guest finds.
func TestGuestFindsItsOptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.Guest(t)
	g.Machine = hostapi.MachineOptions{Type: "pc-i440fx-7.0", CDROMBus: "sata", Video: "bochs", HPET: "off", PMU: "off", HideHypervisor: true, NoRNG: true, Tablet: true, Watchdog: "none", BootMenu: true}
	g.NICs = []hypervisor.NIC{{PortID: "port-1", MAC: "fa:16:3e:11:22:33", Packed: true}}
	drive := w.Disk(t, "config")
	drive.CDROM = true
	g.Disks = []hypervisor.Disk{drive}
	ok(t, w.d.Start(t.Context(), g))
	w.Ready(t, g.ID)
	pci := "/sys/bus/pci/devices/0000:00:"
	for _, c := range []struct{ run, want string }{
		{"cat " + pci + "02.0/device", "0x1111"}, // bochs-display
		{"cat " + pci + "02.0/class", "0x038000"},
		{"cat " + pci + "01.2/class", "0x0c0300"}, // UHCI
		{"cat " + pci + "1f.0/device", "0x25ab"},  // i6300esb
		{"ls -d " + pci + "1b.0 2>/dev/null", ""},
		{"cat " + pci + "1d.0/class", "0x010601"}, // AHCI
		{"cat /sys/bus/virtio/devices/virtio0/features | cut -c35", "1"},
		{"grep -c hpet /sys/devices/system/clocksource/clocksource0/available_clocksource", "0"},
	} {
		if got := w.run(t, g.ID, c.run); got != c.want {
			t.Errorf("%s: %q, want %q", c.run, got, c.want)
		}
	}
	action := w.logged(t, g.ID, "WATCHDOG")
	w.run(t, g.ID, unfed)
	if e := <-action; e != "none" {
		t.Errorf("the watchdog's action is %q", e)
	}
	if s, _ := w.d.Status(t.Context(), g.ID); s.Power != hostapi.PowerRunning {
		t.Errorf("the guest is %+v", s)
	}
}

// logged hears the next event of a name on the guest's monitor, and gives its action.
func (w *world) logged(t *testing.T, id, name string) <-chan string {
	t.Helper()
	_, m, err := w.d.live(id)
	ok(t, err)
	sub := m.client.Subscribe(name)
	out := make(chan string, 1)
	go func() { // ends with the event, or with the test
		defer sub.Close()
		e, err := sub.Next(t.Context())
		if err != nil {
			return
		}
		var a struct{ Action string }
		if e.Decode(&a) == nil {
			out <- a.Action
		}
	}()
	return out
}

// A watchdog that is not fed resets, pauses or powers off its guest, and the driver knows; also a driver that was not there when it happened.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	start := func(action string) string {
		g := w.Guest(t)
		g.Machine.Watchdog = action
		ok(t, w.d.Start(t.Context(), g))
		w.Ready(t, g.ID)
		return g.ID
	}
	id := start("reset")
	w.run(t, id, "touch /marked")
	w.run(t, id, unfed)
	for until := time.Now().Add(hypervisortest.Patience); ; {
		if got := w.run(t, id, "ls /marked 2>/dev/null"); got == "" {
			break
		}
		if time.Now().After(until) {
			t.Fatal("the guest was not reset")
		}
	}
	ok(t, w.d.Destroy(t.Context(), id))

	id = start("pause")
	w.run(t, id, unfed)
	if e := w.event(t); e.ID != id || e.Power != hostapi.PowerPaused {
		t.Errorf("told %+v", e)
	}
	if s, _ := w.d.Status(t.Context(), id); s.Power != hostapi.PowerPaused {
		t.Errorf("it is %+v", s)
	}
	w.Reopen(t)
	_, err := w.d.Adopt(t.Context())
	ok(t, err)
	if s, _ := w.d.Status(t.Context(), id); s.Power != hostapi.PowerPaused {
		t.Errorf("adopted, it is %+v", s)
	}
	ok(t, w.d.Unpause(t.Context(), id))
	w.Ready(t, id)
	ok(t, w.d.Destroy(t.Context(), id))

	id = start("poweroff")
	w.run(t, id, unfed)
	if e := w.event(t); e.ID != id || e.Power != hostapi.PowerShutdown || !strings.Contains(e.Why, "watchdog") {
		t.Errorf("told %+v", e)
	}
	if s, _ := w.d.Status(t.Context(), id); s.Power != hostapi.PowerShutdown || s.PID != 0 {
		t.Errorf("it is %+v", s)
	}

	id = start("poweroff")
	w.run(t, id, unfed)
	w.d.Close() // before the two seconds are over
	c, err := qmp.Dial(t.Context(), filepath.Join(w.d.dir(id), monitorFile))
	ok(t, err)
	sub := c.Subscribe("STOP")
	state := func() string {
		var s struct{ Status string }
		ok(t, c.Execute(t.Context(), "query-status", nil, &s))
		return s.Status
	}
	if state() == "running" {
		_, err := sub.Next(t.Context())
		ok(t, err)
	}
	if s := state(); s != "watchdog" {
		t.Errorf("QEMU stands in state %q", s)
	}
	c.Close()
	w.open(t)
	_, err = w.d.Adopt(t.Context())
	ok(t, err)
	if e := w.event(t); e.ID != id || e.Power != hostapi.PowerShutdown || !strings.Contains(e.Why, "watchdog") {
		t.Errorf("adopted, told %+v", e)
	}
}

// Each disk keeps to its limits: after a start, when plugged in hot, after a hard reboot and to a driver that came later.
func TestDisksKeepToTheirLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.Guest(t)
	root, free := w.Disk(t, "root"), w.Disk(t, "free")
	root.Limits = hostapi.DiskLimits{ReadBytes: 256 << 10, WriteOps: 50}
	g.Disks = []hypervisor.Disk{root, free}
	read := func(dev string, want, most time.Duration) {
		t.Helper()
		w.run(t, g.ID, "dd if=/dev/"+dev+" of=/dev/null bs=64k count=4 iflag=direct 2>/dev/null; echo 3 > /proc/sys/vm/drop_caches") // what may be taken at once
		began := time.Now()
		w.run(t, g.ID, "dd if=/dev/"+dev+" of=/dev/null bs=64k count=16 iflag=direct 2>/dev/null")
		if took := time.Since(began); took < want || took > most {
			t.Errorf("a MiB of %s in %v, want %v to %v", dev, took, want, most)
		}
	}
	ok(t, w.d.Start(t.Context(), g))
	w.Ready(t, g.ID)
	read("vda", 3*time.Second, time.Minute)
	read("vdb", 0, 3*time.Second)
	hot := w.Disk(t, "hot")
	hot.Limits = hostapi.DiskLimits{TotalBytes: 256 << 10}
	ok(t, w.d.AttachDisk(t.Context(), g.ID, hot))
	w.run(t, g.ID, "for i in $(seq 100); do [ -e /dev/vdc ] && break; usleep 20000; done")
	read("vdc", 3*time.Second, time.Minute)
	w.Reopen(t)
	_, err := w.d.Adopt(t.Context())
	ok(t, err)
	read("vda", 3*time.Second, time.Minute)
	ok(t, w.d.Shutdown(t.Context(), g.ID, 0))
	w.cons[g.ID].conn.Close()
	delete(w.cons, g.ID)
	ok(t, w.d.Start(t.Context(), g))
	w.Ready(t, g.ID)
	read("vda", 3*time.Second, time.Minute)
}
