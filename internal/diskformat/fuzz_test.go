package diskformat

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
)

// seeds are heads of every format, true and lying. A fuzzer finds its way from there.
func seeds() [][]byte {
	at := func(n int, parts ...any) []byte {
		b := make([]byte, n)
		for k := 0; k+1 < len(parts); k += 2 {
			off := parts[k].(int)
			switch v := parts[k+1].(type) {
			case string:
				copy(b[off:], v)
			case uint32:
				binary.BigEndian.PutUint32(b[off:], v)
			case uint64:
				binary.BigEndian.PutUint64(b[off:], v)
			}
		}
		return b
	}
	descriptor := "# Disk DescriptorFile\nversion=1\nparentCID=12345678\ncreateType=\"monolithicSparse\"\nRW 4 SPARSE \"/etc/passwd\"\n"
	return [][]byte{
		nil, []byte("x"), []byte(strings.Repeat("\x00", 4096)),
		at(1024, 0, "QFI\xfb", 4, uint32(3), 20, uint32(16), 24, uint64(1<<30), 36, uint32(2), 40, uint64(196608), 48, uint64(65536), 56, uint32(1), 96, uint32(4), 100, uint32(104)),
		at(1024, 0, "QFI\xfb", 4, uint32(3), 8, uint64(512), 16, uint32(11), 20, uint32(16), 24, uint64(1<<63), 512, "/etc/shadow"),
		at(1024, 0, "QFI\xfb", 4, uint32(3), 20, uint32(16), 24, uint64(1<<62), 72, uint64(4), 100, uint32(104), 104, uint32(0x44415441), 108, uint32(0xfffffff0)),
		at(104, 0, "QFI\xfb", 4, uint32(3), 20, uint32(63)), at(72, 0, "QFI\xfb", 4, uint32(2)), at(40, 0, "QFI\xfb", 4, uint32(1)), at(64, 0, "QED\x00"),
		at(2048, 0, "KDMV\x01\x00\x00\x00", 12, "\x00\x08\x00\x00\x00\x00\x00\x00", 28, "\x01\x00\x00\x00\x00\x00\x00\x00", 36, "\x02\x00\x00\x00\x00\x00\x00\x00", 512, descriptor),
		at(512, 0, "KDMV", 12, uint64(1<<63), 28, uint64(1<<62)), at(512, 0, "COWD"), []byte(descriptor),
		at(1024, 0, "conectix", 48, uint64(1<<40), 60, uint32(4)), at(1024, 512, "conectix", 560, uint64(1<<20), 572, uint32(2)),
		at(300<<10, 0, "vhdxfile", 192<<10, "regi\x00\x00\x00\x00\x02\x00\x00\x00"), at(512, 64, "\x7f\x10\xda\xbe\x01\x00\x01\x00", 76, "\x04\x00\x00\x00"),
		at(512, 0, "LUKS\xba\xbe\x00\x02"), at(64, 0, "WithoutFreeSpace", 36, uint64(1<<63)), at(34<<10, 32769, "CD001"),
		at(1024, 510, "\x55\xaa", 446, "\x00\x00\x02\x00\xee\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\xff", 512, "EFI PART"), at(1024, 512, "EFI PART", 584, uint64(1<<63)),
		[]byte("\x1f\x8b\x08\x00bomb"), []byte("PK\x03\x04"), []byte("BZh91AY"), []byte("\xfd7zXZ\x00"),
	}
}

// FuzzVerdicts: whatever the bytes, nothing panics, the stream and the file are judged alike where the stream keeps enough, sizes are possible, and what is
// accepted stands alone.
func FuzzVerdicts(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	formats := []string{"ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop", "", "tar"}
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Inspect(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		i := NewInspector()
		for k := 0; k < len(data); k += 1000 {
			i.Write(data[k:min(k+1000, len(data))]) //nolint:errcheck // never fails
		}
		if seen := i.Info(); seen.Format != info.Format {
			t.Fatalf("as a file it is %s, as a stream %s", info.Format, seen.Format)
		}
		if info.VirtualBytes < 0 || info.Format != RAW && info.Format != ISO && info.Format != LUKS && info.VirtualBytes > MaxVirtualBytes {
			t.Fatalf("a virtual size of %d", info.VirtualBytes)
		}
		for _, declared := range formats {
			strict, lax := Check(declared, info), Accept(declared, info)
			if strict == nil && lax != nil {
				t.Fatalf("%s: opened by a host, refused by the store: %v", declared, lax)
			}
			if lax == nil && (info.HasBackingFile() || info.HasDataFile() || info.Problem != "") {
				t.Fatalf("%s: accepted with %+v", declared, info)
			}
			if strict == nil && Format(declared) != info.Format && info.Format != RAW && info.Format != ISO && info.Format != LUKS {
				t.Fatalf("%s: a host would open %s", declared, info.Format)
			}
		}
	})
}
