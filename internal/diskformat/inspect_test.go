package diskformat

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/fault"
)

// qcow2Header makes a sound version 3 image of 1 GiB without clusters; edit spoils it.
func qcow2Header(edit func(h []byte)) []byte {
	h := make([]byte, 4*65536)
	copy(h, "QFI\xfb")
	be.PutUint32(h[4:], 3)
	be.PutUint32(h[20:], 16)
	be.PutUint64(h[24:], 1<<30)
	be.PutUint32(h[36:], 2)
	be.PutUint64(h[40:], 3*65536)
	be.PutUint64(h[48:], 65536)
	be.PutUint32(h[56:], 1)
	be.PutUint32(h[96:], 4)
	be.PutUint32(h[100:], 104)
	if edit != nil {
		edit(h)
	}
	return h
}

func vmdkImage(descriptor string) []byte {
	b := make([]byte, 128<<10)
	copy(b, "KDMV")
	le.PutUint32(b[4:], 1)
	le.PutUint64(b[12:], 2048)
	le.PutUint64(b[28:], 1)
	le.PutUint64(b[36:], 20)
	copy(b[512:], descriptor)
	return b
}

func vhdFooter(kind uint32, size uint64) []byte {
	f := make([]byte, 512)
	copy(f, "conectix")
	be.PutUint64(f[48:], size)
	be.PutUint32(f[60:], kind)
	be.PutUint32(f[64:], vhdSum(f))
	return f
}

func mbr() []byte {
	b := make([]byte, 1<<20)
	b[510], b[511], b[446], b[450] = 0x55, 0xaa, 0x80, 0x83
	binary.LittleEndian.PutUint32(b[458:], 2000)
	return b
}

func put(n int, off int, s string) []byte {
	b := make([]byte, n)
	copy(b[off:], s)
	return b
}

func both(t *testing.T, b []byte) Info {
	t.Helper()
	info, err := Inspect(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	ins := NewInspector()
	for p := b; len(p) > 0; { // odd pieces, so that the ring and the head see every split
		n := min(len(p), 1+len(p)/3)
		if k, err := ins.Write(p[:n]); k != n || err != nil {
			t.Fatal(k, err)
		}
		p = p[n:]
	}
	streamed := ins.Info()
	if streamed.Format != info.Format || streamed.SizeBytes != info.SizeBytes || streamed.HasBackingFile() != info.HasBackingFile() {
		t.Fatalf("stream says %+v, file says %+v", streamed, info)
	}
	return info
}

func TestCheck(t *testing.T) {
	t.Parallel()
	sparse := "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW 2048 SPARSE \"a.vmdk\"\n"
	ext := func(kind uint32, n uint32) func([]byte) {
		return func(h []byte) { be.PutUint32(h[104:], kind); be.PutUint32(h[108:], n) }
	}
	for _, c := range []struct {
		name, declared string
		bytes          []byte
		want           string // part of the message; empty: accepted
		virtual        int64
	}{
		{"sound qcow2", "qcow2", qcow2Header(nil), "", 1 << 30},
		{"declared in capitals", "QCOW2", qcow2Header(nil), "", 1 << 30},
		{"qcow2 as raw", "raw", qcow2Header(nil), "declared raw but its content is qcow2", 1 << 30},
		{"qcow2 as ami", "ami", qcow2Header(nil), "declared ami but its content is qcow2", 1 << 30},
		{"raw as qcow2", "qcow2", make([]byte, 70000), "declared qcow2 but its content is raw", 70000},
		{"empty as qcow2", "qcow2", nil, "its content is raw", 0},
		{"empty raw", "raw", nil, "", 0},
		{"backing file", "qcow2", qcow2Header(func(h []byte) {
			be.PutUint64(h[8:], 512)
			be.PutUint32(h[16:], 11)
			copy(h[512:], "/etc/shadow")
		}), `backing file ("/etc/shadow")`, 1 << 30},
		{"backing file without a name", "qcow2", qcow2Header(func(h []byte) { be.PutUint64(h[8:], 1<<62) }), "backing file", 1 << 30},
		{"backing length lies", "qcow2", qcow2Header(func(h []byte) { be.PutUint32(h[16:], 0xffffffff) }), "backing file", 1 << 30},
		{"data file", "qcow2", qcow2Header(func(h []byte) { be.PutUint64(h[72:], 4) }), "external data file", 1 << 30},
		{"data file named only", "qcow2", qcow2Header(ext(0x44415441, 4)), "external data file", 1 << 30},
		{"extension leaves the cluster", "qcow2", qcow2Header(ext(1, 0xfffffff0)), "leaves the first cluster", 1 << 30},
		{"corrupt", "qcow2", qcow2Header(func(h []byte) { be.PutUint64(h[72:], 2) }), "marked corrupt", 1 << 30},
		{"unknown feature", "qcow2", qcow2Header(func(h []byte) { be.PutUint64(h[72:], 1<<40) }), "not known", 1 << 30},
		{"encrypted", "qcow2", qcow2Header(func(h []byte) { be.PutUint32(h[32:], 2) }), "encrypted", 1 << 30},
		{"cluster bits", "qcow2", qcow2Header(func(h []byte) { be.PutUint32(h[20:], 63) }), "cluster_bits", 0},
		{"virtual size zero", "qcow2", qcow2Header(func(h []byte) { be.PutUint64(h[24:], 0) }), "virtual size is zero", 0},
		{"virtual size huge", "qcow2", qcow2Header(func(h []byte) { be.PutUint64(h[24:], 1<<63+5) }), "impossible", 0},
		{"L1 too small", "qcow2", qcow2Header(func(h []byte) { be.PutUint64(h[24:], 1<<50) }), "does not cover", 1 << 50},
		{"L1 too large", "qcow2", qcow2Header(func(h []byte) { be.PutUint32(h[36:], 1<<31) }), "too large", 1 << 30},
		{"L1 outside", "qcow2", qcow2Header(func(h []byte) { be.PutUint64(h[40:], 1<<40) }), "L1 table", 1 << 30},
		{"header length", "qcow2", qcow2Header(func(h []byte) { be.PutUint32(h[100:], 1<<30) }), "header length", 1 << 30},
		{"cut off", "qcow2", qcow2Header(nil)[:40], "cut off", 0},
		{"version 1", "qcow2", qcow2Header(func(h []byte) { be.PutUint32(h[4:], 1) }), "its content is qcow", 0},
		{"version 9", "qcow2", qcow2Header(func(h []byte) { be.PutUint32(h[4:], 9) }), "version 9", 0},
		{"qed as raw", "raw", put(4096, 0, "QED\x00"), "its content is qed", 0},
		{"vmdk", "vmdk", vmdkImage(sparse), "", 1 << 20},
		{"vmdk as raw", "raw", vmdkImage(sparse), "its content is vmdk", 1 << 20},
		{"vmdk flat extent", "vmdk", vmdkImage(strings.Replace(sparse, "SPARSE \"a.vmdk\"", "FLAT \"/etc/passwd\" 0", 1)), "external data file", 1 << 20},
		{"vmdk parent", "vmdk", vmdkImage(sparse + "parentFileNameHint=\"/p\"\n"), "backing file", 1 << 20},
		{"vmdk other type", "vmdk", vmdkImage(strings.Replace(sparse, "monolithicSparse", "vmfs", 1)), "monolithicSparse", 1 << 20},
		{"vmdk text", "vmdk", []byte(sparse), "external data file", 0},
		{"vmdk text as raw", "raw", []byte(" # Disk DescriptorFile\n"), "its content is vmdk", 0},
		{"vhd fixed", "vhd", append(make([]byte, 1<<20), vhdFooter(2, 1<<20)...), "", 1 << 20},
		{"vhd fixed as raw", "raw", append(make([]byte, 1<<20), vhdFooter(2, 1<<20)...), "its content is vhd", 1 << 20},
		{"vhd child", "vhd", append(vhdFooter(4, 1<<20), make([]byte, 4096)...), "backing file", 1 << 20},
		{"raw that ends like a vhd", "raw", put(1<<20, 1<<20-512, "conectix"), "", 1 << 20},
		{"vdi", "vdi", func() []byte {
			b := put(4096, 64, "\x7f\x10\xda\xbe")
			le.PutUint32(b[76:], 1)
			le.PutUint64(b[368:], 5<<20)
			return b
		}(), "", 5 << 20},
		{"iso", "iso", put(64<<10, 32769, "CD001"), "", 64 << 10},
		{"iso as raw", "raw", put(64<<10, 32769, "CD001"), "", 64 << 10},
		{"raw as iso", "iso", mbr(), "its content is raw", 1 << 20},
		{"luks as raw", "raw", put(4096, 0, "LUKS\xba\xbe\x00\x02"), "", 4096},
		{"mbr", "raw", mbr(), "", 1 << 20},
		{"unknown name", "floppy", mbr(), `disk format "floppy" is not known`, 1 << 20},
		{"vhdx without tables", "vhdx", put(4096, 0, "vhdxfile"), "region table", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			info := both(t, c.bytes)
			if info.VirtualBytes != c.virtual {
				t.Errorf("virtual size %d, want %d", info.VirtualBytes, c.virtual)
			}
			err := Check(c.declared, info)
			if c.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if fault.KindOf(err) != fault.KindInvalid {
				t.Fatalf("kind %v", fault.KindOf(err))
			}
		})
	}
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	if got := both(t, mbr()).Partitions; got != "mbr" {
		t.Errorf("mbr: %q", got)
	}
	if got := both(t, put(4096, 512, "EFI PART")).Partitions; got != "gpt" {
		t.Errorf("gpt: %q", got)
	}
	if got := both(t, put(512, 510, "\x55\xaa")).Partitions; got != "" {
		t.Errorf("boot sector without partitions: %q", got)
	}
}

// TestQemuImg holds the probes against what QEMU itself writes.
func TestQemuImg(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("needs qemu-img")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "qemu-img", args...).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
		}
	}
	base := filepath.Join(dir, "base.qcow2")
	run("create", "-q", "-f", "qcow2", base, "3M")
	for _, c := range []struct {
		name, declared, want string
		args                 []string
	}{
		{"q3", "qcow2", "", []string{"-f", "qcow2"}},
		{"q2", "qcow2", "", []string{"-f", "qcow2", "-o", "compat=0.10"}},
		{"qext", "qcow2", "", []string{"-f", "qcow2", "-o", "extended_l2=on,compression_type=zstd"}},
		{"qback", "qcow2", "backing file", []string{"-f", "qcow2", "-b", base, "-F", "qcow2"}},
		{"qdata", "qcow2", "external data file", []string{"-f", "qcow2", "-o", "data_file=" + filepath.Join(dir, "data")}},
		{"vmono", "vmdk", "", []string{"-f", "vmdk"}},
		{"vstream", "vmdk", "", []string{"-f", "vmdk", "-o", "subformat=streamOptimized"}},
		{"vflat", "vmdk", "external data file", []string{"-f", "vmdk", "-o", "subformat=monolithicFlat"}},
		{"vhdfix", "vhd", "", []string{"-f", "vpc", "-o", "subformat=fixed,force_size=on"}},
		{"vhddyn", "vhd", "", []string{"-f", "vpc", "-o", "force_size=on"}},
		{"vhdx", "vhdx", "", []string{"-f", "vhdx"}},
		{"vdi", "vdi", "", []string{"-f", "vdi"}},
		{"qed", "qed", "not known", []string{"-f", "qed"}},
		{"raw", "raw", "", []string{"-f", "raw"}},
	} {
		path := filepath.Join(dir, c.name)
		run(append(append([]string{"create", "-q"}, c.args...), path, "3M")...)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		st, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		info, err := Inspect(f, st.Size())
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		err = Check(c.declared, info)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q (%+v)", c.name, err, c.want, info)
		}
		if info.VirtualBytes != 3<<20 && c.name != "vflat" && c.name != "qed" {
			t.Errorf("%s: virtual size %d", c.name, info.VirtualBytes)
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(qcow2Header(nil)[:4096])
	f.Add(qcow2Header(func(h []byte) { be.PutUint64(h[8:], 512); be.PutUint32(h[16:], 9) })[:1024])
	f.Add(vmdkImage("# Disk DescriptorFile\ncreateType=\"x\"\nRW 1 FLAT \"a\"\n")[:2048])
	f.Add(vhdFooter(2, 1<<20))
	f.Add(put(4096, 64, "\x7f\x10\xda\xbe"))
	f.Add(put(4096, 0, "vhdxfile"))
	f.Add(put(512, 0, "WithoutFreeSpace"))
	f.Add(put(512, 0, "LUKS\xba\xbe"))
	f.Add(mbr()[:512])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		info := both(t, b)
		if info.VirtualBytes < 0 || info.SizeBytes != int64(len(b)) {
			t.Fatalf("%+v", info)
		}
		for _, d := range []string{"raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "ami", "?"} {
			if Check(d, info) == nil && (info.HasBackingFile() || info.HasDataFile()) {
				t.Fatalf("accepted as %s: %+v", d, info)
			}
		}
		// The VHDX tables lie beyond what a mutated input reaches: run them on their own.
		w := &fileWindow{r: bytes.NewReader(append(put(256<<10, 192<<10, "regi"), b...)), n: int64(256<<10 + len(b))}
		var i Info
		copy(w.at(192<<10, 16), b)
		vhdxMetadata(w, &i)
		vmdkDescriptor(b, &i)
	})
}

func TestAcceptTakesTheUnrecognisedAndNothingElse(t *testing.T) {
	t.Parallel()
	noise := Info{Format: RAW}
	for _, declared := range []string{"vhd", "vhdx", "vmdk", "vdi", "iso", "ploop", "raw", "ami", "aki", "ari"} {
		require.NoError(t, Accept(declared, noise), declared)
	}
	require.Error(t, Accept("qcow2", noise), "a host opens qcow2 by its name")
	require.Error(t, Accept("tar", noise))
	for _, declared := range []string{"vhd", "vhdx", "vmdk", "vdi", "ploop", "iso"} {
		require.Error(t, Check(declared, noise), "a host opens only what it recognises")
		require.Error(t, Accept(declared, Info{Format: RAW, Partitions: "gpt"}), declared)
		require.Error(t, Accept(declared, Info{Format: QCOW2}), declared)
		require.Error(t, Accept(declared, Info{Format: Format(declared), BackingFile: "/etc/passwd"}), declared)
	}
}
