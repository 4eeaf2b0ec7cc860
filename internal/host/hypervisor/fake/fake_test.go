package fake

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
	"nephos/internal/host/hypervisor/hypervisortest"
	"nephos/internal/host/simlog"
	"nephos/internal/hostapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type world struct {
	file    string
	records *simlog.Log
	d       *Driver
}

func (w *world) open(t *testing.T) {
	var err error
	if w.records, err = simlog.Open(w.file); err != nil {
		t.Fatal(err)
	}
	w.d = New(Config{Records: w.records.Table("guest")})
}

func (w *world) close() {
	w.d.Close()
	w.records.Close()
}

func (w *world) Driver() hypervisor.Driver { return w.d }

func (w *world) Reopen(t *testing.T) {
	w.close()
	w.open(t)
}

func (w *world) Guest(t *testing.T) hypervisor.Guest {
	return hypervisor.Guest{ID: uuid.NewString(), Name: "vm", VCPUs: 1, RAMMiB: 64}
}

func (w *world) Bare(t *testing.T) hypervisor.Guest { return w.Guest(t) }

func (w *world) Ready(*testing.T, string) {}

func (w *world) Disk(t *testing.T, id string) hypervisor.Disk {
	return hypervisor.Disk{ID: id, Path: filepath.Join(t.TempDir(), id), Format: "raw", BootIndex: -1}
}

// The outside world works on the state also when its driver has been closed.
func (w *world) RealDisks() bool                        { return false }
func (w *world) PowerOffInside(t *testing.T, id string) { w.d.PowerOffInside(id) }
func (w *world) Crash(t *testing.T, id string)          { w.d.Crash(id, "killed") }

func TestConformance(t *testing.T) {
	t.Parallel()
	hypervisortest.Run(t, func(t *testing.T) hypervisortest.World {
		w := &world{file: filepath.Join(t.TempDir(), "records")}
		w.open(t)
		t.Cleanup(w.close)
		return w
	})
}

func guest(name string) hypervisor.Guest {
	return hypervisor.Guest{ID: uuid.NewString(), Name: name, VCPUs: 1, RAMMiB: 64}
}

func TestScript(t *testing.T) {
	t.Parallel()
	boom := fault.Unavailable("boom")
	s := new(Script).Add(
		Rule{Verb: Start, Name: "web-*", From: 2, Times: 1, Err: boom},
		Rule{Verb: Start, Name: "lost-*", Err: boom, After: true, Times: 1},
		Rule{Verb: Start, Name: "weak-*", Crash: "oom"},
	)
	d := New(Config{Script: s})
	defer d.Close()
	power := func(g hypervisor.Guest) hostapi.PowerState {
		st, _ := d.Status(t.Context(), g.ID)
		return st.Power
	}
	one, two, three := guest("web-1"), guest("web-2"), guest("web-3")
	if err := d.Start(t.Context(), one); err != nil {
		t.Errorf("first: %v", err)
	}
	if err := d.Start(t.Context(), two); !errors.Is(err, boom) || power(two) != hostapi.PowerNone {
		t.Errorf("second: %v, power %d", err, power(two))
	}
	if err := d.Start(t.Context(), three); err != nil {
		t.Errorf("third: %v", err)
	}
	lost := guest("lost-1")
	if err := d.Start(t.Context(), lost); !errors.Is(err, boom) || power(lost) != hostapi.PowerRunning {
		t.Errorf("lost answer: %v, power %d", err, power(lost))
	}
	if err := d.Start(t.Context(), lost); err != nil {
		t.Errorf("repeat: %v", err)
	}
	weak := guest("weak-1")
	if err := d.Start(t.Context(), weak); err != nil || power(weak) != hostapi.PowerCrashed {
		t.Errorf("weak: %v, power %d", err, power(weak))
	}
	if e := <-d.Events(); e.ID != weak.ID || e.Why != "oom" {
		t.Errorf("event %+v", e)
	}
	s.Clear()
	if err := d.Start(t.Context(), two); err != nil {
		t.Error(err)
	}
}

func TestDelaysAndHolding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Script: new(Script).Add(Rule{Verb: Start, Delay: time.Minute})})
		defer d.Close()
		g := guest("slow")
		began := time.Now()
		if err := d.Start(t.Context(), g); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		d.Behave(g.ID, Behaviour{IgnoresPowerButton: true})
		began = time.Now()
		if err := d.Shutdown(t.Context(), g.ID, time.Hour); err != nil || time.Since(began) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestManyGuestsInParallel(t *testing.T) {
	t.Parallel()
	const hosts, each = 100, 50
	var wg sync.WaitGroup
	for h := range hosts {
		wg.Go(func() {
			d := New(Config{})
			defer d.Close()
			for i := range each {
				g := guest(fmt.Sprint(h, "-", i))
				if err := errors.Join(d.Start(t.Context(), g), d.Shutdown(t.Context(), g.ID, 0)); err != nil {
					t.Error(err)
				}
			}
			if l, _ := d.List(t.Context()); len(l) != each {
				t.Errorf("%d guests", len(l))
			}
		})
	}
	wg.Wait()
}

func BenchmarkStart(b *testing.B) {
	d := New(Config{})
	defer d.Close()
	for b.Loop() {
		g := guest("x")
		if err := d.Start(b.Context(), g); err != nil {
			b.Fatal(err)
		}
	}
}
