package configdrive

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kdomanski/iso9660"
	"pgregory.net/rapid"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
	"nephos/internal/metadata"
)

func spec() *hostapi.InstanceSpec {
	return &hostapi.InstanceSpec{
		ServerID: "5d3c1a2b-0000-4000-8000-000000000001", Name: "vm", Hostname: "vm",
		Metadata: hostapi.GuestMetadata{
			UserData: []byte("#!/bin/sh\n"), AdminPass: "pw", LaunchedAt: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC),
			Personality: []hostapi.File{{Path: "/etc/motd", Contents: []byte("welcome")}, {Path: "/empty"}},
		},
	}
}

var opts = Options{Metadata: metadata.Options{RandomSeed: []byte("seed")}}

// readBack gives the files of an image by their Rock Ridge names.
func readBack(t interface{ Fatal(...any) }, img []byte) map[string][]byte {
	i, err := iso9660.OpenImage(bytes.NewReader(img))
	if err != nil {
		t.Fatal(err)
	}
	root, err := i.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	var walk func(dir *iso9660.File, path string)
	walk = func(dir *iso9660.File, path string) {
		children, err := dir.GetChildren()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range children {
			if c.IsDir() {
				walk(c, path+c.Name()+"/")
				continue
			}
			b, err := io.ReadAll(c.Reader())
			if err != nil {
				t.Fatal(err)
			}
			files[path+c.Name()] = b
		}
	}
	walk(root, "")
	return files
}

func same(a, b map[string][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || !bytes.Equal(v, w) {
			return false
		}
	}
	return true
}

func TestBuild(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.iso")
	os.WriteFile(filepath.Join(dir, ".config.iso.tmp"), []byte("left by a crash"), 0o600)
	if err := Build(path, spec(), opts); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := metadata.ConfigDrive(spec(), opts.Metadata)
	if got := readBack(t, first); !same(got, want) {
		t.Errorf("the image holds other files")
	}
	if err := Build(path, spec(), opts); err != nil {
		t.Fatal(err)
	}
	if second, _ := os.ReadFile(path); !bytes.Equal(first, second) {
		t.Error("the same input gave other bytes")
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	big := spec()
	big.Metadata.UserData = make([]byte, MaxBytes/8)
	if err := Build(path, big, opts); fault.KindOf(err) != fault.KindTooLarge {
		t.Errorf("a drive above the limit: %v", err)
	}
	if now, _ := os.ReadFile(path); !bytes.Equal(first, now) {
		t.Error("a refused build touched the drive")
	}
}

// TestMounted looks at the image as Linux shows it.
func TestMounted(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts the image")
	}
	dir := t.TempDir()
	path, at := filepath.Join(dir, "config.iso"), filepath.Join(dir, "mnt")
	many := spec()
	for range 200 { // a directory of several sectors
		many.Metadata.Personality = append(many.Metadata.Personality, hostapi.File{Path: "/x", Contents: []byte("x")})
	}
	if err := Build(path, many, opts); err != nil {
		t.Fatal(err)
	}
	os.Mkdir(at, 0o700)
	for _, options := range []string{"loop,ro", "loop,ro,norock"} { // Rock Ridge, then Joliet
		if out, err := run("mount", "-t", "iso9660", "-o", options, path, at); err != nil {
			t.Skipf("needs loop mounts of iso9660, which this kernel refuses: %v: %s", err, out)
		}
		got := map[string][]byte{}
		err := filepath.WalkDir(at, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(p)
			got[strings.TrimPrefix(p, at+"/")] = b
			return err
		})
		if out, uerr := run("umount", at); uerr != nil {
			t.Fatal(uerr, out)
		}
		if err != nil || !same(got, metadata.ConfigDrive(many, opts.Metadata)) {
			t.Errorf("%s: %v: mounted are %d other files", options, err, len(got))
		}
	}
	if out, err := run("blkid", "-p", "-o", "value", "-s", "LABEL", path); err == nil && strings.TrimSpace(out) != Label {
		t.Errorf("label %q", out)
	}
}

// TestIsoinfo has genisoimage's reader judge the structure.
func TestIsoinfo(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("isoinfo"); err != nil {
		t.Skip("needs isoinfo")
	}
	path := filepath.Join(t.TempDir(), "config.iso")
	if err := Build(path, spec(), opts); err != nil {
		t.Fatal(err)
	}
	for flag, suffix := range map[string]string{"-R": "", "-J": ";1"} {
		out, err := run("isoinfo", flag, "-f", "-i", path)
		if err != nil || !slices.Contains(strings.Split(out, "\n"), "/openstack/2018-08-27/meta_data.json"+suffix) {
			t.Errorf("%s: %v\n%s", flag, err, out)
		}
	}
	out, err := run("isoinfo", "-d", "-i", path)
	if err != nil || !strings.Contains(out, "Volume id: config-2") || !strings.Contains(out, "Joliet with UCS level 3 found") || !strings.Contains(out, "Rock Ridge signatures version 1 found") {
		t.Errorf("%v\n%s", err, out)
	}
}

func run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

// records reads both trees by the letter of the standards. (The library's reader mixes up names in directories of several sectors.)
func records(t interface{ Fatalf(string, ...any) }, img []byte, tree int) map[string][]byte {
	at := func(sector, n uint32) []byte { return img[sector*sectorBytes : sector*sectorBytes+n] }
	files := map[string][]byte{}
	var walk func(dir []byte, path string)
	walk = func(dir []byte, path string) {
		for off := 0; off < len(dir); {
			n := int(dir[off])
			if n == 0 {
				off = (off/sectorBytes + 1) * sectorBytes
				continue
			}
			r := dir[off : off+n]
			off += n
			if (off-1)/sectorBytes != (off-n)/sectorBytes {
				t.Fatalf("a record crosses a sector")
			}
			id := r[33 : 33+int(r[32])]
			if len(id) == 1 && id[0] < 2 {
				continue
			}
			name := ""
			if tree == joliet {
				for k := 0; k < len(id); k += 2 {
					name += string(rune(id[k])<<8 | rune(id[k+1]))
				}
				name = strings.TrimSuffix(name, ";1")
			} else {
				for use := r[33+(len(id)|1):]; len(use) >= 4; use = use[use[2]:] {
					if string(use[:2]) == "NM" {
						name = string(use[5:use[2]])
					}
				}
			}
			body := at(binary.LittleEndian.Uint32(r[2:]), binary.LittleEndian.Uint32(r[10:]))
			if r[25]&2 != 0 {
				walk(body, path+name+"/")
			} else {
				files[path+name] = body
			}
		}
	}
	root := at(uint32(16+tree), sectorBytes)[156:190]
	walk(at(binary.LittleEndian.Uint32(root[2:]), binary.LittleEndian.Uint32(root[10:])), "")
	return files
}

// TestImageHoldsWhatItWasGiven draws trees large enough that directories need several sectors.
func TestImageHoldsWhatItWasGiven(t *testing.T) {
	t.Parallel()
	name := rapid.StringMatching(`[a-zA-Z0-9_-]{1,20}(\.[a-z]{1,4})?`)
	rapid.Check(t, func(t *rapid.T) {
		files := map[string][]byte{}
		for range rapid.IntRange(0, 50).Draw(t, "files") {
			parts := rapid.SliceOfN(name, 1, 5).Draw(t, "path")
			files[strings.Join(parts, "/")] = bytes.Repeat([]byte("x"), rapid.IntRange(0, 5000).Draw(t, "bytes"))
		}
		img, err := image("l", files, time.Time{})
		if err != nil {
			t.Skip(err) // names that collide are refused
		}
		for tree := range 2 {
			if !same(records(t, img, tree), files) {
				t.Fatalf("tree %d holds other files", tree)
			}
		}
	})
}

func TestNamesThatDoNotFit(t *testing.T) {
	t.Parallel()
	for _, paths := range [][]string{{"a//b"}, {"/a"}, {".."}, {strings.Repeat("x", 65)}, {"a", "a/b"}, {"a-b", "a_b"}, {"1/2/3/4/5/6/7/8"}} {
		files := map[string][]byte{}
		for _, p := range paths {
			files[p] = nil
		}
		if _, err := image("l", files, time.Time{}); err == nil {
			t.Errorf("%v was taken", paths)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	path := filepath.Join(b.TempDir(), "c")
	for range b.N {
		if err := Build(path, spec(), opts); err != nil {
			b.Fatal(err)
		}
	}
}
