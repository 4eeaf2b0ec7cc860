package doctor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nephos/internal/config"
	"nephos/internal/host/hypervisor/qemu"
)

// checkRights wants what namespaces, taps and nftables need.
func checkRights() Result {
	const what = "rights"
	if os.Geteuid() == 0 {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&hdr, &data[0]); err == nil && data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
			return failed(what, "root without CAP_NET_ADMIN").mend("give the container the capabilities NET_ADMIN and SYS_ADMIN (docker run --privileged)")
		}
		return ok(what, "root")
	}
	return failed(what, "user %d may not make networks", os.Geteuid()).mend("run as root (sudo nephos up), or simulate: nephos up --driver fake")
}

// tool is a program that is run, with the Debian package that brings it.
type tool struct {
	name, pkg string
	need      State // of its absence
	why       string
}

var tools = []tool{
	{"qemu-system-x86_64", "qemu-system-x86", Fail, "runs the guests"},
	{"qemu-img", "qemu-utils", Fail, "makes their disks"},
	{"nft", "nftables", Fail, "security groups and NAT"},
	{"mkfs.ext4", "e2fsprogs", Warn, "formats ephemeral disks; without it they are blank"},
	{"ssh", "openssh-client", Warn, "nephos server ssh"},
}

func checkTools() []Result {
	var out []Result
	for _, t := range tools {
		path, err := find(t.name)
		if err != nil {
			out = append(out, Result{State: t.need, What: t.name, Found: "not installed: " + t.why, Fix: "apt-get install " + t.pkg})
			continue
		}
		out = append(out, ok(t.name, "%s", path))
	}
	return append(out, checkFirmware())
}

// find looks where root's PATH may not lead, too.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p := filepath.Join(dir, name); unix.Access(p, unix.X_OK) == nil {
			return p, nil
		}
	}
	return "", err
}

// checkFirmware looks for the BIOS that QEMU's pc and q35 machines start with.
func checkFirmware() Result {
	const what = "seabios"
	for _, dir := range []string{"/usr/share/seabios", "/usr/share/qemu", "/usr/local/share/qemu", "/usr/share/qemu-kvm"} {
		p := filepath.Join(dir, "bios-256k.bin")
		if _, err := os.Stat(p); err == nil {
			return ok(what, "%s", p)
		}
	}
	return failed(what, "no bios-256k.bin").mend("apt-get install seabios")
}

// probeLimit bounds the boot sectors of the accelerator probe; a KVM that is emulated itself needs seconds.
const probeLimit = 60 * time.Second

// checkAccelerator says how guests will run: the probe that `nephos up` makes, with its cached answer where there is one.
func checkAccelerator(ctx context.Context, cfg *config.Config) Result {
	const what = "accelerator"
	kvm := "no /dev/kvm"
	if _, err := os.Stat("/dev/kvm"); err == nil {
		kvm = "/dev/kvm is there"
		if err := unix.Access("/dev/kvm", unix.R_OK|unix.W_OK); err != nil {
			kvm = "/dev/kvm may not be opened"
		}
	}
	if _, err := find("qemu-system-x86_64"); err != nil {
		return warn(what, "%s; not tried without QEMU", kvm)
	}
	dir, err := os.MkdirTemp("", "nephos-doctor-")
	if err != nil {
		return failed(what, "%v", err).mend("make room in %s", os.TempDir())
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // guests run as another user
		return failed(what, "%v", err)
	}
	cache := filepath.Join(dir, "accelerator.json")
	if b, err := os.ReadFile(cfg.Path("accelerator.json")); err == nil {
		if err := os.WriteFile(cache, b, 0o600); err != nil {
			return failed(what, "%v", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	d, err := qemu.New(qemu.Config{Instances: filepath.Join(dir, "instances"), Cache: cache, Accel: cfg.Accel})
	if err != nil {
		return failed(what, "%s; %v", kvm, err)
	}
	defer d.Close()
	info, err := d.Info(ctx)
	if err != nil {
		return failed(what, "%s; %v", kvm, err).mend("try --accel tcg, which needs no hardware support; if that fails too, reinstall qemu-system-x86 and seabios")
	}
	found := info.Accel + " (" + strings.Join(nonEmpty(kvm, info.Detail, "QEMU "+info.Version), "; ") + ")"
	if info.Accel == "tcg" && !strings.HasPrefix(kvm, "/dev/kvm is") {
		return warn(what, "%s: guests are emulated, which is slow", found).mend("on hardware with VT-x or AMD-V: load kvm_intel or kvm_amd; in a machine that is virtual itself: turn nested virtualization on")
	}
	return ok(what, "%s", found)
}

func nonEmpty(words ...string) []string {
	var out []string
	for _, w := range words {
		if w != "" {
			out = append(out, w)
		}
	}
	return out
}

// checkTun opens the device that taps are made with.
func checkTun() Result {
	const what = "/dev/net/tun"
	fd, err := syscall.Open(what, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return failed(what, "%v", err).mend("modprobe tun; in a container: give it the device /dev/net/tun")
	}
	syscall.Close(fd)
	return ok(what, "opens")
}
