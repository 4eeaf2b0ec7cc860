package volume_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"nephos/internal/db"
	"nephos/internal/db/dbtest"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/image"
	"nephos/internal/policy"
	"nephos/internal/quota"
	"nephos/internal/volume"
	"nephos/internal/workflow"
)

// world is a room with hosts that keep volumes in memory.
type world struct {
	*volume.Service
	d *db.DB

	mu    sync.Mutex
	files map[string]string                        // "host/volume id" or "host/snapshot id"
	seen  map[string]int64                         // newest epoch by subject
	say   func(host string, c hostapi.Command) any // scripted answer: nil to go on, error, or hostapi.Result
	hosts []volume.StorageHost
}

func (w *world) StorageHosts() []volume.StorageHost { return w.hosts }

func (w *world) Do(_ context.Context, host string, c hostapi.Command) (hostapi.Result, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.say != nil {
		switch a := w.say(host, c).(type) {
		case error:
			return hostapi.Result{}, a
		case hostapi.Result:
			return a, nil
		}
	}
	if c.Epoch < w.seen[c.Subject] {
		return hostapi.Result{Err: "older epoch", ErrKind: hostapi.ErrStaleEpoch}, nil
	}
	w.seen[c.Subject] = c.Epoch
	res := hostapi.Result{CommandID: c.ID, Host: host}
	t := c.Task
	switch c.Op {
	case hostapi.OpVolumeCreate:
		w.files[host+"/"+t.VolumeID] = fmt.Sprint(t.SizeGiB)
		res.Volume = &hostapi.VolumeSpec{VolumeID: t.VolumeID, Path: "/v/" + t.VolumeID, Format: "raw", SizeGiB: t.SizeGiB}
	case hostapi.OpVolumeDelete:
		delete(w.files, host+"/"+t.VolumeID)
	case hostapi.OpVolumeExtend:
		w.files[host+"/"+t.VolumeID] = fmt.Sprint(t.SizeGiB)
	case hostapi.OpSnapshotCreate:
		w.files[host+"/"+t.SnapshotID] = "snapshot"
	case hostapi.OpSnapshotDelete:
		delete(w.files, host+"/"+t.SnapshotID)
	}
	return res, nil
}

func (w *world) script(f func(host string, c hostapi.Command) any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.say = f
}

func (w *world) file(name string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.files[name]
}

func (w *world) Get(_ context.Context, _ *policy.Credentials, id string) (image.Image, error) {
	if id != "img" {
		return image.Image{}, fault.NotFound("no image %s", id)
	}
	return image.Image{ID: id, Name: "demo", Status: image.Active, SizeBytes: 5 << 20, VirtualBytes: 2 << 30, DiskFormat: "qcow2", Properties: map[string]string{"os": "x"}}, nil
}

func (w *world) Spec(_ context.Context, id string) (hostapi.ImageSpec, error) {
	return hostapi.ImageSpec{ID: id, DiskFormat: "qcow2"}, nil
}

type images struct{ *world }

func (i images) Get(ctx context.Context, c *policy.Credentials, id string) (image.Image, error) {
	return i.world.Get(ctx, c, id)
}

var rooms = []db.Migrations{workflow.Migrations(), quota.Migrations(), volume.Migrations()}

func newWorld(t *testing.T, d *db.DB) *world {
	t.Helper()
	w := &world{d: d, files: map[string]string{}, seen: map[string]int64{}, hosts: []volume.StorageHost{
		{Name: "h1", Up: true, Enabled: true, FreeDiskGiB: 50, DiskGiB: 100}, {Name: "h2", Up: true, Enabled: true, FreeDiskGiB: 90, DiskGiB: 100},
		{Name: "h3", Zone: "far", Up: true, Enabled: true, FreeDiskGiB: 900, DiskGiB: 1000}, {Name: "h4", Up: false, Enabled: true, FreeDiskGiB: 990, DiskGiB: 1000}}}
	log := slog.New(slog.DiscardHandler)
	e := workflow.New(workflow.Options{DB: d, Clock: clockwork.NewRealClock(), Log: log, LeaseFor: time.Second})
	w.Service = volume.New(volume.Deps{DB: d, Log: log, Engine: e, Client: w, Hosts: w, Images: images{w}, Quotas: quota.New()})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); e.Run(ctx) }() //nolint:errcheck // the tests look at the rows
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

func owner(project string) volume.By {
	return volume.By{Creds: &policy.Credentials{UserID: "u", ProjectID: project, Roles: []string{"member", "reader"}}, RequestID: "req-1"}
}

// await polls the row until ok: the workflow's commit is what is waited for.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *world) status(t *testing.T, id string) volume.Status {
	t.Helper()
	v, err := w.Show(t.Context(), volume.By{}, id)
	if fault.IsNotFound(err) {
		return "gone"
	}
	if err != nil {
		t.Fatal(err)
	}
	return v.Status
}

func (w *world) until(t *testing.T, id string, want volume.Status) *volume.Volume {
	t.Helper()
	await(t, fmt.Sprintf("volume %s %s", id, want), func() bool { return w.status(t, id) == want })
	v, _ := w.Show(t.Context(), volume.By{}, id)
	return v
}

func (w *world) snapshotUntil(t *testing.T, id string, want volume.Status) {
	t.Helper()
	await(t, "snapshot "+id, func() bool {
		sn, err := w.ShowSnapshot(t.Context(), volume.By{}, id)
		if fault.IsNotFound(err) {
			return want == "gone"
		}
		return err == nil && sn.Status == want
	})
}

// exact holds the quota room's numbers against the rows.
func (w *world) exact(t *testing.T) {
	t.Helper()
	err := w.d.Read(t.Context(), func(tx *db.Tx) error {
		real, err := volume.Used(t.Context(), tx)
		if err != nil {
			return err
		}
		diff, err := quota.New().Check(t.Context(), tx, []string{"volumes", "snapshots", "gigabytes"}, real)
		if len(diff) > 0 {
			t.Errorf("%v", diff)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, k fault.Kind) {
	t.Helper()
	if err == nil || fault.KindOf(err) != k {
		t.Fatalf("got %v (%v), want %v", err, fault.KindOf(err), k)
	}
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	dbtest.Each(t, rooms, func(t *testing.T, d *db.DB) { fn(t, newWorld(t, d)) })
}

func TestLife(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, me := t.Context(), owner("p")
		v, err := w.Create(ctx, me, volume.CreateParams{Name: "a", SizeGiB: 2, Metadata: map[string]string{"k": "v"}})
		if err != nil || v.Status != volume.Creating || v.Zone != "nova" || v.Type != volume.DefaultType {
			t.Fatalf("%+v %v", v, err)
		}
		v = w.until(t, v.ID, volume.Available)
		if v.Host != "h2" || w.file("h2/"+v.ID) != "2" || v.Path != "/v/"+v.ID || v.HostName() != "h2@nephos-file#nephos-file" {
			t.Fatalf("%+v", v)
		}
		sn, err := w.CreateSnapshot(ctx, me, volume.SnapshotParams{VolumeID: v.ID, Name: "s"})
		if err != nil {
			t.Fatal(err)
		}
		w.snapshotUntil(t, sn.ID, volume.Available)
		if err := w.Extend(ctx, me, v.ID, 5, false); err != nil {
			t.Fatal(err)
		}
		if v = w.until(t, v.ID, volume.Available); v.SizeGiB != 5 || w.file("h2/"+v.ID) != "5" {
			t.Fatalf("%+v", v)
		}
		c, err := w.Create(ctx, me, volume.CreateParams{SnapshotID: sn.ID})
		if err != nil || c.SizeGiB != 2 {
			t.Fatal(c, err)
		}
		if c = w.until(t, c.ID, volume.Available); c.Host != "h2" {
			t.Fatalf("%+v", c)
		}
		b, err := w.Create(ctx, me, volume.CreateParams{ImageID: "img", SizeGiB: 3, Zone: "far"})
		if err != nil {
			t.Fatal(err)
		}
		if b = w.until(t, b.ID, volume.Available); !b.Bootable || b.Host != "h3" || b.ImageMetadata.V["image_name"] != "demo" {
			t.Fatalf("%+v", b)
		}
		w.exact(t)
		wantKind(t, w.Delete(ctx, me, v.ID, volume.DeleteOptions{}), fault.KindInvalid) // has a snapshot
		wantKind(t, w.Delete(ctx, owner("other"), v.ID, volume.DeleteOptions{}), fault.KindNotFound)
		if err := w.Delete(ctx, me, v.ID, volume.DeleteOptions{Cascade: true}); err != nil {
			t.Fatal(err)
		}
		w.until(t, v.ID, "gone")
		w.snapshotUntil(t, sn.ID, "gone")
		for _, id := range []string{b.ID, c.ID} {
			if err := w.Delete(ctx, me, id, volume.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			w.until(t, id, "gone")
		}
		w.mu.Lock()
		if len(w.files) > 0 {
			t.Errorf("left on hosts: %v", w.files)
		}
		w.mu.Unlock()
		w.exact(t)
	})
}

func TestRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, me := t.Context(), owner("p")
		v, err := w.Create(ctx, me, volume.CreateParams{SizeGiB: 4})
		if err != nil {
			t.Fatal(err)
		}
		w.until(t, v.ID, volume.Available)
		for name, c := range map[string]struct {
			p    volume.CreateParams
			kind fault.Kind
		}{
			"no size":           {volume.CreateParams{}, fault.KindInvalid},
			"negative":          {volume.CreateParams{SizeGiB: -1}, fault.KindInvalid},
			"huge":              {volume.CreateParams{SizeGiB: volume.MaxSizeGiB + 1}, fault.KindInvalid},
			"two sources":       {volume.CreateParams{SizeGiB: 9, ImageID: "img", SourceVolume: v.ID}, fault.KindInvalid},
			"unknown image":     {volume.CreateParams{SizeGiB: 9, ImageID: "x"}, fault.KindInvalid},
			"image too large":   {volume.CreateParams{SizeGiB: 1, ImageID: "img"}, fault.KindInvalid},
			"unknown snapshot":  {volume.CreateParams{SnapshotID: "x"}, fault.KindNotFound},
			"unknown volume":    {volume.CreateParams{SourceVolume: "x"}, fault.KindNotFound},
			"smaller than it":   {volume.CreateParams{SizeGiB: 3, SourceVolume: v.ID}, fault.KindInvalid},
			"unknown type":      {volume.CreateParams{SizeGiB: 1, Type: "x"}, fault.KindNotFound},
			"unknown zone":      {volume.CreateParams{SizeGiB: 1, Zone: "x"}, fault.KindInvalid},
			"zone of the other": {volume.CreateParams{SizeGiB: 4, Zone: "far", SourceVolume: v.ID}, fault.KindInvalid},
			"quota":             {volume.CreateParams{SizeGiB: 1001}, fault.KindQuota},
		} {
			if _, err := w.Create(ctx, me, c.p); fault.KindOf(err) != c.kind {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, err = w.Create(ctx, owner("other"), volume.CreateParams{SourceVolume: v.ID})
		wantKind(t, err, fault.KindNotFound)
		wantKind(t, w.Extend(ctx, me, v.ID, 4, false), fault.KindInvalid)
		wantKind(t, w.Extend(ctx, me, v.ID, 2000, false), fault.KindQuota)
		w.exact(t)
	})
}

// TestQuotaRace: fifty requests for the last slots.
func TestQuotaRace(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		made := 0
		for range 50 {
			wg.Go(func() {
				_, err := w.Create(t.Context(), owner("p"), volume.CreateParams{SizeGiB: 1})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made++
				} else if fault.KindOf(err) != fault.KindQuota {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made != 10 {
			t.Errorf("%d volumes were made with a quota of 10", made)
		}
		w.exact(t)
	})
}

func TestHostTrouble(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, me := t.Context(), owner("p")
		no := func(kind hostapi.ErrKind) hostapi.Result { return hostapi.Result{Err: "disk on fire", ErrKind: kind} }
		lost := true
		w.script(func(host string, c hostapi.Command) any {
			switch {
			case c.Op == hostapi.OpVolumeCreate && host == "h2":
				return no(hostapi.ErrHost)
			case c.Op == hostapi.OpVolumeCreate && lost:
				lost = false
				return fault.Unavailable("no answer")
			}
			return nil
		})
		v, err := w.Create(ctx, me, volume.CreateParams{SizeGiB: 1})
		if err != nil {
			t.Fatal(err)
		}
		if v = w.until(t, v.ID, volume.Available); v.Host != "h1" {
			t.Errorf("on %s, not on the next host", v.Host)
		}
		w.script(func(_ string, c hostapi.Command) any {
			if c.Op == hostapi.OpVolumeCreate || c.Op == hostapi.OpVolumeExtend {
				return no(hostapi.ErrPermanent)
			}
			return nil
		})
		bad, err := w.Create(ctx, me, volume.CreateParams{SizeGiB: 1})
		if err != nil {
			t.Fatal(err)
		}
		if bad = w.until(t, bad.ID, volume.Errored); bad.Fault != "host h2: disk on fire" {
			t.Errorf("fault %q", bad.Fault)
		}
		if err := w.Extend(ctx, me, v.ID, 7, false); err != nil {
			t.Fatal(err)
		}
		if v = w.until(t, v.ID, volume.ErrorExtending); v.SizeGiB != 1 {
			t.Errorf("%+v", v)
		}
		w.exact(t)
		w.script(func(_ string, c hostapi.Command) any {
			if c.Op == hostapi.OpVolumeDelete {
				return no(hostapi.ErrPermanent)
			}
			return nil
		})
		if err := w.Delete(ctx, me, v.ID, volume.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.until(t, v.ID, volume.ErrorDeleting)
		w.script(nil)
		for _, id := range []string{v.ID, bad.ID} {
			if err := w.Delete(ctx, me, id, volume.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			w.until(t, id, "gone")
		}
		w.hosts = w.hosts[3:]
		if v, err = w.Create(ctx, me, volume.CreateParams{SizeGiB: 1}); err != nil {
			t.Fatal(err)
		}
		w.until(t, v.ID, volume.Errored) // no host
		w.exact(t)
	})
}

// TestForceDeleteUnderWay: what runs on a volume is cancelled, fenced, and its quota comes back whole.
func TestForceDeleteUnderWay(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, me := t.Context(), owner("p")
		v, err := w.Create(ctx, me, volume.CreateParams{SizeGiB: 1})
		if err != nil {
			t.Fatal(err)
		}
		w.until(t, v.ID, volume.Available)
		w.script(func(_ string, c hostapi.Command) any {
			if c.Op == hostapi.OpVolumeExtend {
				return fault.Unavailable("no answer")
			}
			return nil
		})
		if err := w.Extend(ctx, me, v.ID, 9, false); err != nil {
			t.Fatal(err)
		}
		wantKind(t, w.Delete(ctx, me, v.ID, volume.DeleteOptions{}), fault.KindInvalid)
		if err := w.Delete(ctx, me, v.ID, volume.DeleteOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		w.until(t, v.ID, "gone")
		w.exact(t)
	})
}

func TestForServers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, me := t.Context(), owner("p")
		tx := func(fn func(tx *db.Tx) error) {
			t.Helper()
			if err := w.d.Write(ctx, fn); err != nil {
				t.Fatal(err)
			}
		}
		var v volume.Volume
		var att string
		tx(func(tx *db.Tx) (err error) {
			if v, err = w.CreateForServer(ctx, tx, volume.NewForServer{ProjectID: "p", UserID: "u", ServerID: "srv", SizeGiB: 3, ImageID: "img"}); err != nil {
				return err
			}
			att, err = w.Reserve(ctx, tx, volume.Reservation{VolumeID: v.ID, ServerID: "srv", ProjectID: "p", Creating: true})
			return err
		})
		w.script(func(_ string, c hostapi.Command) any {
			if c.Op == hostapi.OpVolumeCreate {
				return hostapi.Result{Err: "full", ErrKind: hostapi.ErrHost}
			}
			return nil
		})
		if err := w.Provision(ctx, v.ID, "h1"); err == nil {
			t.Fatal("a host's no was not heard")
		}
		w.script(nil)
		for range 2 {
			if err := w.Unprovision(ctx, v.ID); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := w.Provision(ctx, v.ID, "h2"); err != nil {
				t.Fatal(err)
			}
		}
		wantKind(t, w.Provision(ctx, v.ID, "h1"), fault.KindConflict)
		if got := w.status(t, v.ID); got != volume.Reserved {
			t.Fatal(got)
		}
		tx(func(tx *db.Tx) error { return w.Attached(ctx, tx, v.ID, att, "h2", "/dev/vda") })
		tx(func(tx *db.Tx) error {
			spec, host, err := w.Service.Spec(ctx, tx, v.ID)
			if err == nil && (host != "h2" || spec.Path != "/v/"+v.ID || spec.AttachmentID != att || spec.SizeGiB != 3) {
				t.Errorf("%+v on %s", spec, host)
			}
			_, err2 := w.Reserve(ctx, tx, volume.Reservation{VolumeID: v.ID, ServerID: "srv2", ProjectID: "p"})
			if fault.KindOf(err2) != fault.KindConflict {
				t.Error("reserved twice", err2)
			}
			return err
		})
		// Nobody detaches behind the server's back.
		wantKind(t, w.DetachAction(ctx, me, v.ID, ""), fault.KindConflict)
		wantKind(t, w.DeleteAttachment(ctx, me, att), fault.KindConflict)
		wantKind(t, w.Delete(ctx, me, v.ID, volume.DeleteOptions{Force: true}), fault.KindInvalid)
		_, err := w.CreateSnapshot(ctx, me, volume.SnapshotParams{VolumeID: v.ID})
		wantKind(t, err, fault.KindInvalid)
		w.script(func(_ string, c hostapi.Command) any {
			if c.Op == hostapi.OpSnapshotCreate && c.Task.InUseBy != "srv" {
				t.Errorf("the guest that holds the volume is not named: %+v", c.Task)
			}
			return nil
		})
		sn, err := w.CreateSnapshot(ctx, me, volume.SnapshotParams{VolumeID: v.ID, Force: true})
		if err != nil {
			t.Fatal(err)
		}
		w.snapshotUntil(t, sn.ID, volume.Available)
		tx(func(tx *db.Tx) error { return w.BeginDetach(ctx, tx, v.ID) })
		tx(func(tx *db.Tx) error { return w.RollDetach(ctx, tx, v.ID) })
		tx(func(tx *db.Tx) error { return w.BeginDetach(ctx, tx, v.ID) })
		for range 2 {
			tx(func(tx *db.Tx) error { return w.Service.Detach(ctx, tx, v.ID, att) })
		}
		tx(func(tx *db.Tx) error { return w.BeginDelete(ctx, tx, v.ID) })
		if got := w.status(t, v.ID); got != volume.Available {
			t.Fatalf("a volume with snapshots was to stay, but is %s", got)
		}
		if err := w.DeleteSnapshot(ctx, me, sn.ID, false); err != nil {
			t.Fatal(err)
		}
		w.snapshotUntil(t, sn.ID, "gone")
		tx(func(tx *db.Tx) error { return w.BeginDelete(ctx, tx, v.ID) })
		w.until(t, v.ID, "gone")
		tx(func(tx *db.Tx) error { return w.BeginDelete(ctx, tx, v.ID) })

		// A server that could not be built: its new volume never had bytes.
		tx(func(tx *db.Tx) (err error) {
			if v, err = w.CreateForServer(ctx, tx, volume.NewForServer{ProjectID: "p", UserID: "u", SizeGiB: 1}); err != nil {
				return err
			}
			att, err = w.Reserve(ctx, tx, volume.Reservation{VolumeID: v.ID, ServerID: "srv", ProjectID: "p", Creating: true})
			return err
		})
		tx(func(tx *db.Tx) error { return w.Service.Detach(ctx, tx, v.ID, att) })
		if got := w.status(t, v.ID); got != volume.Errored {
			t.Fatal(got)
		}
		if err := w.Delete(ctx, me, v.ID, volume.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.until(t, v.ID, "gone")
		w.exact(t)
	})
}

func TestListing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, me := t.Context(), owner("p")
		var ids []string
		for i := range 4 {
			v, err := w.Create(ctx, me, volume.CreateParams{Name: fmt.Sprintf("n%d", i), SizeGiB: 4 - i, Metadata: map[string]string{"odd": fmt.Sprint(i % 2)}})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, v.ID)
		}
		if _, err := w.Create(ctx, owner("q"), volume.CreateParams{SizeGiB: 1}); err != nil {
			t.Fatal(err)
		}
		list := func(by volume.By, f volume.Filter) (out []string) {
			t.Helper()
			got, _, err := w.List(ctx, by, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range got {
				out = append(out, fmt.Sprint(slices.Index(ids, v.ID)))
			}
			return out
		}
		admin := volume.By{Creds: &policy.Credentials{ProjectID: "p", Roles: []string{"admin"}}}
		for _, c := range []struct {
			by   volume.By
			f    volume.Filter
			want string
		}{
			{me, volume.Filter{Limit: -1}, "[3 2 1 0]"},
			{me, volume.Filter{Limit: -1, AllProjects: true}, "[3 2 1 0]"},
			{admin, volume.Filter{Limit: -1, AllProjects: true}, "[-1 3 2 1 0]"},
			{admin, volume.Filter{Limit: -1, AllProjects: true, ProjectID: "p"}, "[3 2 1 0]"},
			{me, volume.Filter{Limit: 2, Marker: ids[3]}, "[2 1]"},
			{me, volume.Filter{Limit: 2, Offset: 3}, "[0]"},
			{me, volume.Filter{Limit: 0}, "[]"},
			{me, volume.Filter{Limit: -1, Sort: []volume.SortKey{{Key: "size"}}}, "[3 2 1 0]"},
			{me, volume.Filter{Limit: -1, Sort: []volume.SortKey{{Key: "name"}}}, "[0 1 2 3]"},
			{me, volume.Filter{Limit: -1, Equal: map[string]string{"name": "n2"}}, "[2]"},
			{me, volume.Filter{Limit: -1, Equal: map[string]string{"size": "3"}}, "[1]"},
			{me, volume.Filter{Limit: -1, Equal: map[string]string{"bootable": "true"}}, "[]"},
			{me, volume.Filter{Limit: -1, NameLike: "n"}, "[3 2 1 0]"},
			{me, volume.Filter{Limit: -1, NameLike: "%"}, "[]"},
			{me, volume.Filter{Limit: -1, Metadata: map[string]string{"odd": "1"}}, "[3 1]"},
		} {
			if got := fmt.Sprint(list(c.by, c.f)); got != c.want {
				t.Errorf("%+v: %s, want %s", c.f, got, c.want)
			}
		}
		_, _, err := w.List(ctx, me, volume.Filter{Marker: "x", Limit: 1})
		wantKind(t, err, fault.KindNotFound)
		_, _, err = w.List(ctx, me, volume.Filter{Sort: []volume.SortKey{{Key: "x"}}})
		wantKind(t, err, fault.KindInvalid)
	})
}

func TestTypes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx, me := t.Context(), owner("p")
		made, err := w.CreateType(ctx, volume.Type{Name: "fast", Public: false})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.CreateType(ctx, volume.Type{Name: "fast"})
		wantKind(t, err, fault.KindConflict)
		_, err = w.Type(ctx, me, "fast")
		wantKind(t, err, fault.KindNotFound)
		if err := w.SetTypeAccess(ctx, made.ID, "p", true); err != nil {
			t.Fatal(err)
		}
		wantKind(t, w.SetTypeAccess(ctx, made.ID, "p", true), fault.KindConflict)
		v, err := w.Create(ctx, me, volume.CreateParams{SizeGiB: 1, Type: "fast"})
		if err != nil || v.Type != "fast" {
			t.Fatal(v, err)
		}
		wantKind(t, w.DeleteType(ctx, made.ID), fault.KindInvalid)
		wantKind(t, w.DeleteType(ctx, volume.DefaultTypeID), fault.KindInvalid)
		if d, err := w.Type(ctx, me, volume.DefaultAlias); err != nil || d.Name != volume.DefaultType {
			t.Fatal(d, err)
		}
		w.until(t, v.ID, volume.Available)
		if err := w.Delete(ctx, me, v.ID, volume.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		w.until(t, v.ID, "gone")
		if err := w.DeleteType(ctx, made.ID); err != nil {
			t.Fatal(err)
		}
	})
}
