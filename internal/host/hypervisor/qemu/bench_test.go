package qemu

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"nephos/internal/host/hypervisor"
)

// BenchmarkStart is a 128 MiB guest with a disk, from the call until its processors run.
func BenchmarkStart(b *testing.B) {
	disk := filepath.Join(b.TempDir(), "disk")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	d, err := New(Config{Instances: b.TempDir(), Accel: "tcg"})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Info(b.Context()); err != nil {
		b.Skip(err)
	}
	g := hypervisor.Guest{ID: serverID, VCPUs: 1, RAMMiB: 128, Disks: []hypervisor.Disk{{ID: "root", Path: disk, Format: "raw"}}}
	for b.Loop() {
		if err := d.Start(b.Context(), g); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := d.Destroy(b.Context(), g.ID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkBareDaemonize is what to compare it with: the same machine by hand. -daemonize forks and calls setsid, so it can have neither
// the sandbox's spawn nor its elevateprivileges rule.
func BenchmarkBareDaemonize(b *testing.B) {
	dir := b.TempDir()
	disk, pidFile := filepath.Join(dir, "disk"), filepath.Join(dir, "pid")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	l := launch{guest: hypervisor.Guest{ID: serverID, VCPUs: 1, RAMMiB: 128}, name: "bench", accel: "tcg"}
	args := strings.Join(commandLine(l), "\n")
	for old, new := range map[string]string{
		"spawn=deny": "spawn=allow", "elevateprivileges=deny": "elevateprivileges=allow",
		"-add-fd\nfd=0,set=1,opaque=console\n": "", "/dev/fdset/1": filepath.Join(dir, "log"),
		"id=monitor,fd=0": "id=monitor,path=" + filepath.Join(dir, "qmp"), "id=serial,fd=0": "id=serial,path=" + filepath.Join(dir, "serial"),
		"-vnc\nnone": "-vnc\nunix:" + filepath.Join(dir, "vnc"),
	} {
		args = strings.ReplaceAll(args, old, new)
	}
	list := append(strings.Split(args, "\n"), "-daemonize", "-pidfile", pidFile, "-blockdev", encode(fileNode{Driver: "raw", NodeName: "d", File: &fileNode{Driver: "file", Filename: disk}}), "-device", "virtio-blk-pci,drive=d")
	for b.Loop() {
		if out, err := exec.Command(binaryName, list...).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		b.StopTimer()
		text, err := os.ReadFile(pidFile)
		if err != nil {
			b.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			b.Fatal(err)
		}
		p, err := watchOrphan(pid)
		if err != nil {
			b.Fatal(err)
		}
		p.kill()
		if err := p.waitGone(b.Context(), 10*time.Second); err != nil {
			b.Fatal(err)
		}
		p.fd.Close()
		os.Remove(pidFile)
		b.StartTimer()
	}
}
