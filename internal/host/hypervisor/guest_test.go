package hypervisor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	const id = "0c4f7a10-1111-4222-8333-444455556666"
	for _, c := range []struct {
		name    string
		disk    Disk
		machine hostapi.MachineOptions
		bus     string
		serial  string
		ro      bool
	}{
		{"virtio by default", Disk{ID: id}, hostapi.MachineOptions{}, "virtio", "0c4f7a10-1111-4222-8", false},
		{"the machine's bus", Disk{ID: "root"}, hostapi.MachineOptions{DiskBus: "scsi"}, "scsi", "root", false},
		{"its own bus wins", Disk{ID: "root", Bus: "sata"}, hostapi.MachineOptions{DiskBus: "scsi"}, "sata", "root", false},
		{"a CD is IDE", Disk{ID: "config", CDROM: true}, hostapi.MachineOptions{}, "ide", "config", true},
		{"also where disks are virtio", Disk{ID: "config", CDROM: true}, hostapi.MachineOptions{DiskBus: "virtio"}, "ide", "config", true},
		{"a CD on the machine's bus", Disk{ID: "config", CDROM: true}, hostapi.MachineOptions{DiskBus: "sata"}, "sata", "config", true},
		{"own serial", Disk{ID: "a", Serial: id}, hostapi.MachineOptions{}, "virtio", id[:20], false},
	} {
		c.disk.Path, c.disk.Format = "/d", "raw"
		d, err := c.disk.Resolved(c.machine)
		if err != nil || d.Bus != c.bus || d.Serial != c.serial || d.ReadOnly != c.ro {
			t.Errorf("%s: %+v, %v", c.name, d, err)
		}
	}
	n, err := NIC{PortID: "p", MAC: "FA:16:3E:00:00:01"}.Resolved(hostapi.MachineOptions{VIFModel: "e1000"})
	if err != nil || n.Model != "e1000" || n.MAC != "fa:16:3e:00:00:01" {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	good := func() Guest {
		return Guest{ID: "0c4f7a10-1111-4222-8333-444455556666", VCPUs: 1, RAMMiB: 1, Disks: []Disk{{ID: "root", Path: "/d", Format: "qcow2"}}, NICs: []NIC{{PortID: "p", MAC: "fa:16:3e:00:00:01"}}}
	}
	if _, err := good().Resolved(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(g *Guest){
		"firmware":         func(g *Guest) { g.Machine.Firmware = "coreboot" },
		"vcpus":            func(g *Guest) { g.VCPUs = 256 },
		"kernel path":      func(g *Guest) { g.Kernel = "vmlinuz" },
		"disk path":        func(g *Guest) { g.Disks[0].Path = "d" },
		"layer path":       func(g *Guest) { g.Disks[0].Backing = []Layer{{"b", "raw"}} },
		"layer format":     func(g *Guest) { g.Disks[0].Backing = []Layer{{"/b", ""}} },
		"raw on a base":    func(g *Guest) { g.Disks[0].Format, g.Disks[0].Backing = "raw", []Layer{{"/b", "raw"}} },
		"virtio CD":        func(g *Guest) { g.Disks[0].CDROM, g.Disks[0].Bus = true, "virtio" },
		"bus":              func(g *Guest) { g.Disks[0].Bus = "floppy" },
		"serial":           func(g *Guest) { g.Disks[0].Serial = "a,b" },
		"boot index twice": func(g *Guest) { g.Disks = append(g.Disks, Disk{ID: "b", Path: "/b", Format: "raw"}) },
		"model":            func(g *Guest) { g.NICs[0].Model = "ne2k" },
		"mtu":              func(g *Guest) { g.NICs[0].MTU = 20 },
		"port twice":       func(g *Guest) { g.NICs = append(g.NICs, g.NICs[0]) },
		"too many disks":   func(g *Guest) { g.Disks = make([]Disk, MaxDisks+1) },
		"too many nics":    func(g *Guest) { g.NICs = make([]NIC, MaxNICs+1) },
		"long disk id":     func(g *Guest) { g.Disks[0].ID = strings.Repeat("x", 65) },
	} {
		g := good()
		spoil(&g)
		if _, err := g.Resolved(); fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEventQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		q := NewEventQueue()
		for _, id := range []string{"a", "b", "c"} {
			q.Put(Event{ID: id}) // nobody reads yet
		}
		for _, id := range []string{"a", "b", "c"} {
			if e := <-q.C(); e.ID != id {
				t.Errorf("%s, want %s", e.ID, id)
			}
		}
		q.Put(Event{ID: "unread"})
		synctest.Wait()
		q.Close()
		q.Close()
		q.Put(Event{})
		if _, open := <-q.C(); open {
			t.Error("open after Close")
		}
	})
}

func TestLocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		unlock, err := l.Lock(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		other, err := l.Lock(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		other()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		unlock()
		again, err := l.Lock(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		again()
		if len(l.held) != 0 {
			t.Errorf("left: %v", l.held)
		}
	})
}
