package blockdev

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"nephos/internal/diskformat"
	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path := findTool(name)
	if path == "" {
		t.Skipf("needs %s", name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func wantKind(t *testing.T, err error, k fault.Kind) {
	t.Helper()
	if err == nil || fault.KindOf(err) != k {
		t.Fatalf("got %v, want kind %v", err, k)
	}
}

func rawBase(t *testing.T, dir string, content string, size int64) Backing {
	t.Helper()
	p := filepath.Join(dir, "base.raw")
	if err := os.WriteFile(p, []byte(content), 0o444); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(p, size); err != nil {
		t.Fatal(err)
	}
	return Backing{Path: p, Format: "raw", VirtualBytes: size}
}

// TestOverlayIsWhatQEMUExpects holds the written overlay against qemu-img check and info for sizes around every boundary.
func TestOverlayIsWhatQEMUExpects(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base := rawBase(t, dir, "hello", 1<<20)
	for _, size := range []int64{1 << 20, 1<<20 + 1, perL1Entry, perL1Entry + 512, 10 << 30, perL1Entry * 8192, perL1Entry*8192 + 512, MaxDiskBytes} {
		path := filepath.Join(dir, fmt.Sprint("o", size))
		if err := CreateOverlay(path, base, size, Owner{}); err != nil {
			t.Fatal(err)
		}
		tool(t, "qemu-img", "check", "-q", "-f", "qcow2", path)
		var info struct {
			VirtualSize   int64  `json:"virtual-size"`
			Format        string `json:"format"`
			Backing       string `json:"full-backing-filename"`
			BackingFormat string `json:"backing-filename-format"`
		}
		if err := json.Unmarshal([]byte(tool(t, "qemu-img", "info", "--output=json", path)), &info); err != nil {
			t.Fatal(err)
		}
		want := (size + 511) &^ 511
		if info.VirtualSize != want || info.Format != "qcow2" || info.Backing != base.Path || info.BackingFormat != "raw" {
			t.Fatalf("size %d: %+v", size, info)
		}
		o, err := ReadOverlay(path)
		if err != nil || o != (Overlay{base.Path, "raw", want}) {
			t.Fatalf("%+v %v", o, err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		st, _ := f.Stat()
		di, err := diskformat.Inspect(f, st.Size())
		f.Close()
		if err != nil || di.Problem != "" || di.BackingFile != base.Path {
			t.Fatalf("diskformat finds %+v, %v", di, err)
		}
	}
}

func TestOverlayReadsAndWrites(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base := rawBase(t, dir, strings.Repeat("A", 8192), 1<<20)
	path := filepath.Join(dir, "o")
	if err := CreateOverlay(path, base, MaxDiskBytes, Owner{}); err != nil {
		t.Fatal(err)
	}
	out := tool(t, "qemu-io", "-f", "qcow2", path,
		"-c", "read -P 65 0 8192", "-c", "read -P 0 8192 4096", "-c", "write -P 66 4096 4096",
		"-c", fmt.Sprintf("write -P 67 %d 65536", int64(MaxDiskBytes-65536)), "-c", "write -P 68 3G 40M", "-c", "flush",
		"-c", "read -P 65 0 4096", "-c", "read -P 66 4096 4096", "-c", fmt.Sprintf("read -P 67 %d 65536", int64(MaxDiskBytes-65536)))
	if strings.Contains(out, "fail") {
		t.Fatal(out)
	}
	tool(t, "qemu-img", "check", "-q", "-f", "qcow2", path)
	if b, err := os.ReadFile(base.Path); err != nil || b[4096] != 'A' {
		t.Fatal("the base was written", err)
	}
	// A repeated step keeps what the guest wrote; another size or base does not pass for it.
	if err := CreateOverlay(path, base, MaxDiskBytes, Owner{}); err != nil {
		t.Fatal(err)
	}
	if out := tool(t, "qemu-io", "-r", "-f", "qcow2", path, "-c", "read -P 66 4096 4096"); strings.Contains(out, "fail") {
		t.Fatal(out)
	}
	wantKind(t, CreateOverlay(path, base, 2<<20, Owner{}), fault.KindConflict)
	wantKind(t, CreateOverlay(base.Path, base, 2<<20, Owner{}), fault.KindConflict)
}

func TestOverlayRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base := rawBase(t, dir, "", 2<<20)
	for name, f := range map[string]func() error{
		"too small":     func() error { return CreateOverlay(filepath.Join(dir, "a"), base, 1<<20, Owner{}) },
		"too large":     func() error { return CreateOverlay(filepath.Join(dir, "a"), base, MaxDiskBytes+1, Owner{}) },
		"zero":          func() error { return CreateOverlay(filepath.Join(dir, "a"), Backing{"/b", "raw", 0}, 0, Owner{}) },
		"format":        func() error { return CreateOverlay(filepath.Join(dir, "a"), Backing{"/b", "vmdk", 1}, 512, Owner{}) },
		"relative base": func() error { return CreateOverlay(filepath.Join(dir, "a"), Backing{"b", "raw", 1}, 512, Owner{}) },
	} {
		if err := f(); fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSwap(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "swap")
	if err := CreateSwap(path, "server-1", 64<<20, Owner{}); err != nil {
		t.Fatal(err)
	}
	first, _ := os.ReadFile(path)
	if err := CreateSwap(path, "server-1", 64<<20, Owner{}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, CreateSwap(path, "server-1", 32<<20, Owner{}), fault.KindConflict)
	out := tool(t, "blkid", "-p", path)
	if !strings.Contains(out, `TYPE="swap"`) || !strings.Contains(out, `LABEL="swap0"`) || len(first) != 64<<20 {
		t.Fatal(out)
	}
}

func TestEphemeral(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "eph")
	formatted, err := CreateEphemeral(t.Context(), path, 1<<30, Owner{})
	if err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(path); st.Size() != 1<<30 {
		t.Fatal(st.Size())
	}
	if formatted {
		if out := tool(t, "blkid", "-p", path); !strings.Contains(out, `LABEL="ephemeral0"`) || !strings.Contains(out, "ext4") {
			t.Fatal(out)
		}
	}
}

func TestGrow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	base := rawBase(t, dir, "x", 1<<20)
	over, raw := filepath.Join(dir, "o"), filepath.Join(dir, "r")
	if err := CreateOverlay(over, base, 1<<20, Owner{}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(raw, make([]byte, 512), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Grow(t.Context(), raw, "raw", 5<<20); err != nil {
			t.Fatal(err)
		}
	}
	wantKind(t, Grow(t.Context(), raw+"x", "raw", 1), fault.KindNotFound)
	wantKind(t, Grow(t.Context(), raw+"x", "qcow2", 1), fault.KindNotFound)
	wantKind(t, Grow(t.Context(), raw, "vdi", 1), fault.KindInvalid)
	if findTool("qemu-img") == "" {
		t.Skip("needs qemu-img")
	}
	for range 2 {
		if err := Grow(t.Context(), over, "qcow2", 3<<30); err != nil {
			t.Fatal(err)
		}
	}
	if o, _ := ReadOverlay(over); o.VirtualBytes != 3<<30 || o.Backing != base.Path {
		t.Fatalf("%+v", o)
	}
	tool(t, "qemu-img", "check", "-q", over)
	out := filepath.Join(dir, "exported")
	if err := Export(t.Context(), Backing{over, "qcow2", 3 << 30}, out, "raw", Owner{}); err != nil {
		t.Fatal(err)
	}
	if b := make([]byte, 1); !readAt(t, out, b, 0) || b[0] != 'x' {
		t.Fatal("the export lacks the base's bytes")
	}
}

func readAt(t *testing.T, path string, b []byte, off int64) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, _ := f.ReadAt(b, off)
	return n == len(b)
}

func TestCopySparseKeepsBytesAndHoles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
		os.Remove(src)
		f, err := os.Create(src)
		if err != nil {
			rt.Fatal(err)
		}
		size := rapid.Int64Range(0, 1<<22).Draw(rt, "size")
		f.Truncate(size)
		for range rapid.IntRange(0, 4).Draw(rt, "extents") {
			off := rapid.Int64Range(0, 1<<22).Draw(rt, "off")
			if off < size {
				f.WriteAt(bytes.Repeat([]byte{7}, int(min(size-off, rapid.Int64Range(1, 70000).Draw(rt, "len")))), off)
			}
		}
		f.Sync()
		os.Remove(dst)
		d, err := os.Create(dst)
		if err != nil {
			rt.Fatal(err)
		}
		if err := copySparse(context.Background(), d, src); err != nil {
			rt.Fatal(err)
		}
		a, _ := os.ReadFile(src)
		b, _ := os.ReadFile(dst)
		if !bytes.Equal(a, b) {
			rt.Fatal("copies differ")
		}
		d.Sync()
		var sa, sb unix.Stat_t
		unix.Stat(src, &sa)
		unix.Stat(dst, &sb)
		if sb.Blocks > sa.Blocks+16 {
			rt.Fatalf("holes were filled: %d blocks became %d", sa.Blocks, sb.Blocks)
		}
		f.Close()
		d.Close()
	})
}

func TestRunIsKilledAsAGroup(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := run(ctx, "/bin/sh", "-c", "sleep 600 & wait")
	if err == nil || time.Since(start) > 4*time.Second {
		t.Fatalf("%v after %v", err, time.Since(start))
	}
	wantKind(t, err, fault.KindUnavailable)
	if err := run(t.Context(), "/bin/sh", "-c", "echo one >&2; echo the reason >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "the reason") {
		t.Fatal(err)
	}
}

func open(t *testing.T, opt Options) (*Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func TestVolumeLife(t *testing.T) {
	t.Parallel()
	s, _ := open(t, Options{})
	ctx := t.Context()
	do := func(op hostapi.Op, task hostapi.VolumeTask) hostapi.VolumeSpec {
		t.Helper()
		var spec hostapi.VolumeSpec
		for range 2 { // everything twice
			var err error
			if spec, err = s.Do(ctx, op, task); err != nil {
				t.Fatalf("%s: %v", op, err)
			}
		}
		return spec
	}
	v := do(hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v1", SizeGiB: 1})
	if v.Path != s.VolumePath("v1") || v.Format != "raw" || v.SizeGiB != 1 || v.BootIndex != -1 {
		t.Fatalf("%+v", v)
	}
	write(t, v.Path, "first", 4096)
	do(hostapi.OpSnapshotCreate, hostapi.VolumeTask{VolumeID: "v1", SnapshotID: "s1"})
	write(t, v.Path, "second", 4096)
	do(hostapi.OpVolumeExtend, hostapi.VolumeTask{VolumeID: "v1", SizeGiB: 3})
	do(hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v2", SizeGiB: 2, FromSnapshot: "s1"})
	do(hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v3", SizeGiB: 3, FromVolume: "v1"})
	for id, want := range map[string]string{"v1": "second", "v2": "first\x00", "v3": "second"} {
		b := make([]byte, 6)
		if !readAt(t, s.VolumePath(id), b, 4096) || string(b) != want {
			t.Errorf("%s holds %q, want %q", id, b, want)
		}
	}
	_, err := s.Do(ctx, hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v4", SizeGiB: 2, FromVolume: "v1"})
	wantKind(t, err, fault.KindInvalid)
	_, err = s.Do(ctx, hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v4", SizeGiB: 2, FromVolume: "nope"})
	wantKind(t, err, fault.KindNotFound)
	_, err = s.Do(ctx, hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v4", SizeGiB: 0})
	wantKind(t, err, fault.KindInvalid)
	_, err = s.Do(ctx, hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "../v4", SizeGiB: 1})
	wantKind(t, err, fault.KindInvalid)
	_, err = s.Do(ctx, hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v1", SizeGiB: 1})
	wantKind(t, err, fault.KindConflict)
	_, err = s.Do(ctx, hostapi.OpVolumeExtend, hostapi.VolumeTask{VolumeID: "v1", SizeGiB: 1})
	wantKind(t, err, fault.KindInvalid)
	_, err = s.Do(ctx, hostapi.OpVolumeExtend, hostapi.VolumeTask{VolumeID: "nope", SizeGiB: 1})
	wantKind(t, err, fault.KindNotFound)
	_, err = s.Do(ctx, hostapi.OpSnapshotCreate, hostapi.VolumeTask{VolumeID: "v1", SnapshotID: "s2", InUseBy: "srv"})
	wantKind(t, err, fault.KindConflict)
	_, err = s.Do(ctx, hostapi.OpVolumeDelete, hostapi.VolumeTask{VolumeID: "v1", InUseBy: "srv"})
	wantKind(t, err, fault.KindConflict)

	do(hostapi.OpVolumeDelete, hostapi.VolumeTask{VolumeID: "v1"}) // the snapshot stands alone
	do(hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v5", SizeGiB: 1, FromSnapshot: "s1"})
	do(hostapi.OpSnapshotDelete, hostapi.VolumeTask{VolumeID: "v1", SnapshotID: "s1"})
	l, err := s.List()
	if err != nil || fmt.Sprint(l) != "{[v2 v3 v5] [] []}" {
		t.Fatal(l, err)
	}
	if free, total, err := s.Space(); err != nil || free <= 0 || total < free {
		t.Fatal(free, total, err)
	}
}

func write(t *testing.T, path, s string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(s), off); err != nil {
		t.Fatal(err)
	}
}

func TestVolumeFromImage(t *testing.T) {
	t.Parallel()
	if findTool("qemu-img") == "" {
		t.Skip("needs qemu-img")
	}
	dir := t.TempDir()
	raw := rawBase(t, dir, "boot me", 3<<20)
	q := filepath.Join(dir, "q")
	tool(t, "qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw.Path, q)
	bases := map[string]Backing{"raw": raw, "qcow2": {q, "qcow2", 3 << 20}, "big": {q, "qcow2", 2 << 30}, "broken": {raw.Path, "qcow2", 1}}
	s, _ := open(t, Options{Image: func(_ context.Context, i hostapi.ImageSpec) (Backing, error) { return bases[i.ID], nil }})
	for _, id := range []string{"raw", "qcow2"} {
		v, err := s.Do(t.Context(), hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v-" + id, SizeGiB: 1, Image: &hostapi.ImageSpec{ID: id}})
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 7)
		st, _ := os.Stat(v.Path)
		if !readAt(t, v.Path, b, 0) || string(b) != "boot me" || st.Size() != 1<<30 {
			t.Fatalf("%s: %q, %d bytes", id, b, st.Size())
		}
	}
	_, err := s.Do(t.Context(), hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v", SizeGiB: 1, Image: &hostapi.ImageSpec{ID: "big"}})
	wantKind(t, err, fault.KindInvalid)
	if _, err := s.Do(t.Context(), hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v", SizeGiB: 1, Image: &hostapi.ImageSpec{ID: "broken"}}); err == nil {
		t.Fatal("raw bytes passed for qcow2")
	}
	if left, _ := filepath.Glob(filepath.Join(s.volumes, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestInUseVolumes(t *testing.T) {
	t.Parallel()
	var resized int64
	s, _ := open(t, Options{
		LiveCopy: func(_ context.Context, server, volume, dst string) error {
			if st, err := os.Stat(dst); err != nil || st.Size() != 1<<30 || server != "srv" || volume != "v" {
				return fmt.Errorf("%s %s %v", server, volume, err)
			}
			return os.WriteFile(dst, []byte("live"), 0)
		},
		LiveResize: func(_ context.Context, _, _ string, bytes int64) error { resized = bytes; return nil },
	})
	for _, step := range []struct {
		op   hostapi.Op
		task hostapi.VolumeTask
	}{
		{hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v", SizeGiB: 1}},
		{hostapi.OpSnapshotCreate, hostapi.VolumeTask{VolumeID: "v", SnapshotID: "s", InUseBy: "srv"}},
		{hostapi.OpVolumeExtend, hostapi.VolumeTask{VolumeID: "v", SizeGiB: 2, InUseBy: "srv"}},
	} {
		if _, err := s.Do(t.Context(), step.op, step.task); err != nil {
			t.Fatal(step.op, err)
		}
	}
	b := make([]byte, 4)
	if !readAt(t, s.SnapshotPath("s"), b, 0) || string(b) != "live" || resized != 2<<30 {
		t.Fatal(string(b), resized)
	}
}

// TestCrashLeavesWholeOrNothing makes every half-done state by hand and opens the store again.
func TestCrashLeavesWholeOrNothing(t *testing.T) {
	t.Parallel()
	s, dir := open(t, Options{})
	if _, err := s.Do(t.Context(), hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "whole", SizeGiB: 1}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"volumes/.new-a/volume.raw", "volumes/.new-b/.volume.raw.tmp", "volumes/.old-c/volume.raw", "snapshots/.new-d/snapshot.raw"} {
		p = filepath.Join(dir, p)
		os.MkdirAll(filepath.Dir(p), 0o700)
		os.WriteFile(p, []byte("half"), 0o600)
	}
	// The same leftovers without a restart are replaced by the next try.
	for _, id := range []string{"a", "b"} {
		v, err := s.Do(t.Context(), hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: id, SizeGiB: 1})
		if err != nil {
			t.Fatal(err)
		}
		if b := make([]byte, 4); !readAt(t, v.Path, b, 0) || string(b) != "\x00\x00\x00\x00" {
			t.Fatalf("%q", b)
		}
	}
	os.Mkdir(filepath.Join(dir, "volumes", "odd"), 0o700)
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.List()
	if err != nil || fmt.Sprint(l.Volumes, l.Snapshots) != "[a b whole] []" || len(l.Problems) != 1 {
		t.Fatalf("%+v %v", l, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestStoreAgainstModel runs random operations, some cancelled, and compares contents with a model.
func TestStoreAgainstModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		state := filepath.Join(dir, fmt.Sprint(run))
		defer os.RemoveAll(state)
		s, err := Open(state, Options{})
		if err != nil {
			rt.Fatal(err)
		}
		vols, snaps := map[string]string{}, map[string]string{} // id → first bytes
		id := rapid.SampledFrom([]string{"a", "b", "c"})
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			v, w, n := id.Draw(rt, "v"), id.Draw(rt, "w"), id.Draw(rt, "s")
			_, vok := vols[v]
			switch rapid.IntRange(0, 6).Draw(rt, "op") {
			case 0:
				if _, err := s.Do(t.Context(), hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: v, SizeGiB: 1}); err != nil {
					rt.Fatal(err)
				}
				if !vok {
					vols[v] = "\x00\x00\x00\x00"
				}
			case 1:
				_, err := s.Do(t.Context(), hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: v, SizeGiB: 1, FromVolume: w})
				if _, ok := vols[w]; !vok && ok != (err == nil) {
					rt.Fatal(err)
				} else if !vok && ok {
					vols[v] = vols[w]
				}
			case 2:
				_, err := s.Do(t.Context(), hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: v, SizeGiB: 1, FromSnapshot: n})
				if _, ok := snaps[n]; !vok && ok != (err == nil) {
					rt.Fatal(err)
				} else if !vok && ok {
					vols[v] = snaps[n]
				}
			case 3:
				if vok {
					vols[v] = fmt.Sprintf("%04d", rand.IntN(10000))
					write(t, s.VolumePath(v), vols[v], 0)
				}
			case 4:
				_, err := s.Do(t.Context(), hostapi.OpSnapshotCreate, hostapi.VolumeTask{VolumeID: v, SnapshotID: n})
				if _, ok := snaps[n]; !ok && vok != (err == nil) {
					rt.Fatal(err)
				} else if !ok && vok {
					snaps[n] = vols[v]
				}
			case 5:
				if _, err := s.Do(t.Context(), hostapi.OpVolumeDelete, hostapi.VolumeTask{VolumeID: v}); err != nil {
					rt.Fatal(err)
				}
				delete(vols, v)
			case 6:
				if _, err := s.Do(t.Context(), hostapi.OpSnapshotDelete, hostapi.VolumeTask{VolumeID: v, SnapshotID: n}); err != nil {
					rt.Fatal(err)
				}
				delete(snaps, n)
			}
		}
		l, err := s.List()
		if err != nil || len(l.Volumes) != len(vols) || len(l.Snapshots) != len(snaps) || len(l.Problems) > 0 {
			rt.Fatalf("%+v %v, want %v %v", l, err, vols, snaps)
		}
		for id, want := range vols {
			if b := make([]byte, 4); !readAt(t, s.VolumePath(id), b, 0) || string(b) != want {
				rt.Fatalf("volume %s holds %q, want %q", id, b, want)
			}
		}
		for id, want := range snaps {
			if b := make([]byte, 4); !readAt(t, s.SnapshotPath(id), b, 0) || string(b) != want {
				rt.Fatalf("snapshot %s holds %q, want %q", id, b, want)
			}
		}
	})
}

func TestKeyedLocks(t *testing.T) {
	t.Parallel()
	var k keyed
	unlock, err := k.lock(t.Context(), "v/b", "v/a", "v/a", "s/")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.lock(ctx, "v/0", "v/a"); err == nil {
		t.Fatal("took a held lock")
	}
	unlock()
	if len(k.held) != 0 {
		t.Fatal(k.held)
	}
}

func BenchmarkCreateOverlay(b *testing.B) {
	dir := b.TempDir()
	for i := range b.N {
		if err := CreateOverlay(filepath.Join(dir, fmt.Sprint(i)), Backing{"/base", "qcow2", 1 << 30}, 10<<30, Owner{}); err != nil {
			b.Fatal(err)
		}
	}
}

// A server that is stopped owns its volume but no process holds it: the file is copied, and growing it needs nobody.
func TestVolumeOfAStoppedServer(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, err := Open(t.TempDir(), Options{LiveCopy: func(context.Context, string, string, string) error { return ErrNotHeld },
		LiveResize: func(context.Context, string, string, int64) error { return ErrNotHeld }})
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Do(ctx, hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v1", SizeGiB: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.Path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Do(ctx, hostapi.OpSnapshotCreate, hostapi.VolumeTask{VolumeID: "v1", SnapshotID: "s1", InUseBy: "server"}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(s.SnapshotPath("s1")); err != nil || string(b) != "content" {
		t.Errorf("the snapshot holds %q, %v", b, err)
	}
	if v, err = s.Do(ctx, hostapi.OpVolumeExtend, hostapi.VolumeTask{VolumeID: "v1", SizeGiB: 2, InUseBy: "server"}); err != nil || v.SizeGiB != 2 {
		t.Errorf("extended to %d GiB, %v", v.SizeGiB, err)
	}
}

// A reimage replaces what the volume holds and keeps its size; an image that does not fit changes nothing.
func TestReimage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	dir := t.TempDir()
	raw := filepath.Join(dir, "image")
	if err := os.WriteFile(raw, []byte("new bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	size := int64(9)
	s, err := Open(dir, Options{Image: func(context.Context, hostapi.ImageSpec) (Backing, error) { return Backing{raw, "raw", size}, nil }})
	if err != nil {
		t.Fatal(err)
	}
	v, err := s.Do(ctx, hostapi.OpVolumeCreate, hostapi.VolumeTask{VolumeID: "v1", SizeGiB: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Do(ctx, hostapi.OpVolumeReimage, hostapi.VolumeTask{VolumeID: "v1", Image: &hostapi.ImageSpec{ID: "i"}}); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(v.Path)
	if err != nil || st.Size() != 1<<30 {
		t.Errorf("size %v, %v", st, err)
	}
	f, err := os.Open(v.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 9)
	if _, err := f.Read(head); err != nil || string(head) != "new bytes" {
		t.Errorf("%q, %v", head, err)
	}
	size = 2 << 30
	if _, err := s.Do(ctx, hostapi.OpVolumeReimage, hostapi.VolumeTask{VolumeID: "v1", Image: &hostapi.ImageSpec{ID: "i"}}); fault.KindOf(err) != fault.KindInvalid {
		t.Errorf("an image that is too large: %v", err)
	}
	if _, err := s.Do(ctx, hostapi.OpVolumeReimage, hostapi.VolumeTask{VolumeID: "v2", Image: &hostapi.ImageSpec{ID: "i"}}); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("no such volume: %v", err)
	}
}
