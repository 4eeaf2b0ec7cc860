package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
)

// probeCode is the beginning of a boot sector that does what decides about an accelerator: enter 64-bit long mode (poor nested KVM
// fails or crawls there), compute for a while (where KVM wins by far when it is real), leave the guest 200 times for a port.
// The BIOS loads it at 0x7c00 in real mode.
var probeCode = []byte{
	0xfa,       // cli
	0x31, 0xc0, // xor ax, ax
	0x8e, 0xd8, // mov ds, ax
	0x8e, 0xc0, // mov es, ax
	0x8e, 0xd0, // mov ss, ax
	0xbc, 0x00, 0x7c, // mov sp, 0x7c00
	0xfc,             // cld
	0xbf, 0x00, 0x10, // mov di, 0x1000      three zeroed pages at 0x1000:
	0xb9, 0x00, 0x18, // mov cx, 0x1800
	0xf3, 0xab, // rep stosw
	0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, // mov word [0x1000], 0x2003   PML4[0] → 0x2000
	0xc7, 0x06, 0x00, 0x20, 0x03, 0x30, // mov word [0x2000], 0x3003   PDPT[0] → 0x3000
	0xc7, 0x06, 0x00, 0x30, 0x83, 0x00, // mov word [0x3000], 0x0083   PD[0]: the first 2 MiB, itself
	0x66, 0xb8, 0x00, 0x10, 0x00, 0x00, // mov eax, 0x1000
	0x0f, 0x22, 0xd8, // mov cr3, eax
	0x0f, 0x20, 0xe0, // mov eax, cr4
	0x0c, 0x20, // or al, 0x20          PAE
	0x0f, 0x22, 0xe0, // mov cr4, eax
	0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, // mov ecx, 0xc0000080  EFER
	0x0f, 0x32, // rdmsr
	0x80, 0xcc, 0x01, // or ah, 1            LME
	0x0f, 0x30, // wrmsr
	0x0f, 0x20, 0xc0, // mov eax, cr0
	0x66, 0x0d, 0x01, 0x00, 0x00, 0x80, // or eax, 0x80000001   PG, PE
	0x0f, 0x22, 0xc0, // mov cr0, eax
	0x0f, 0x01, 0x16, 0x90, 0x7c, // lgdt [0x7c90]
	0xea, 0x5b, 0x7c, 0x08, 0x00, // jmp 0x08:0x7c5b     64 bits from here
	0xb9, 0x00, 0x00, 0x00, 0x08, // mov ecx, 0x08000000 134 million rounds
	0x48, 0x31, 0xc8, // xor rax, rcx
	0xff, 0xc9, // dec ecx
	0x75, 0xf9, // jnz -7
	0xb9, 0xc8, 0x00, 0x00, 0x00, // mov ecx, 200
	0xe6, 0x80, // out 0x80, al        a port nobody minds
	0xff, 0xc9, // dec ecx
	0x75, 0xfa, // jnz -6
	0xb0, probeValue, // mov al, probeValue
	0xe6, 0xf4, // out 0xf4, al        isa-debug-exit: QEMU ends with (value<<1)|1
	0xf4,       // hlt
	0xeb, 0xfd, // jmp -3
}

const (
	probeValue  = 0x31
	probeStatus = probeValue<<1 | 1
	probeGDT    = 0x80    // null descriptor, then a 64-bit code segment
	probeGDTR   = 0x90    // limit 15, linear address 0x7c80
	probeDisk   = 1 << 20 // SeaBIOS boots no virtio disk of a single sector
	probeTCG    = 20 * time.Second
)

// bootSector is the whole 512 bytes.
func bootSector() []byte {
	b := make([]byte, 512)
	copy(b, probeCode)
	copy(b[probeGDT+8:], []byte{0, 0, 0, 0, 0, 0x9a, 0x20, 0})
	copy(b[probeGDTR:], []byte{15, 0, 0x80, 0x7c, 0, 0})
	b[510], b[511] = 0x55, 0xaa
	return b
}

// accelerator is an answer of the probe, as cached.
type accelerator struct {
	Key     string `json:"key"` // what it was measured on
	Accel   string `json:"accel"`
	Version string `json:"version"`
	Detail  string `json:"detail"`
	Traits  string `json:"traits"` // what guests find under this accelerator: names with blanks between
}

// Choose gives the accelerator to use: the configured one, the cached answer for this QEMU, kernel and processor, or a new probe.
func choose(ctx context.Context, binary, want, cache string, cred *syscall.Credential) (accelerator, error) {
	path, err := exec.LookPath(binary)
	if err != nil {
		return accelerator{}, fault.Unavailable("this host has no %s", binary).WithCause(err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return accelerator{}, err
	}
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return accelerator{}, err
	}
	_, noKVM := os.Stat("/dev/kvm")
	key := fmt.Sprintf("3 | %s %d %d | %s | %s | kvm %t | %s", path, st.Size(), st.ModTime().Unix(), unix.ByteSliceToString(kernel.Release[:]), cpuModel(), noKVM == nil, want)
	var a accelerator
	if b, err := os.ReadFile(cache); err == nil && json.Unmarshal(b, &a) == nil && a.Key == key {
		return a, nil
	}
	a = accelerator{Key: key, Accel: want, Detail: "configured"}
	if a.Version, err = version(ctx, path); err != nil {
		return a, err
	}
	if want == "auto" {
		if err := a.measure(ctx, path, noKVM == nil, cred); err != nil {
			return a, err
		}
	}
	if a.Traits, err = traits(ctx, path, a.Accel, cred); err != nil {
		return a, fault.Unavailable("%s under %s does not tell what it can do", path, a.Accel).WithCause(err)
	}
	if cache != "" {
		// A torn or lost cache costs a new probe, no more.
		if b, err := json.MarshalIndent(a, "", "  "); err == nil {
			if os.WriteFile(cache+".new", append(b, '\n'), 0o600) == nil {
				os.Rename(cache+".new", cache)
			}
		}
	}
	return a, nil
}

func (a *accelerator) measure(ctx context.Context, binary string, hasKVM bool, cred *syscall.Credential) error {
	tcg, tcgErr := probe(ctx, binary, "tcg", cred, probeTCG)
	if ctx.Err() != nil {
		return fault.Unavailable("the accelerator probe was cut short").WithCause(context.Cause(ctx))
	}
	a.Accel, a.Detail = "tcg", fmt.Sprintf("tcg %.2f s", tcg.Seconds())
	if !hasKVM {
		a.Detail += ", no /dev/kvm"
	} else {
		limit := tcg // slower than that has lost already
		if tcgErr != nil {
			limit = probeTCG
		}
		kvm, err := probe(ctx, binary, "kvm", cred, limit)
		if ctx.Err() != nil {
			return fault.Unavailable("the accelerator probe was cut short").WithCause(context.Cause(ctx))
		}
		if err == nil {
			a.Accel, a.Detail = "kvm", fmt.Sprintf("kvm %.2f s, %s", kvm.Seconds(), a.Detail)
			return nil
		}
		a.Detail += ", kvm no: " + err.Error()
	}
	if tcgErr != nil {
		return fault.Unavailable("no accelerator runs a guest here: %s", a.Detail).WithCause(tcgErr)
	}
	return nil
}

// probe runs the boot sector as guests run: same user, same sandbox, same processor model.
func probe(ctx context.Context, binary, accel string, cred *syscall.Credential, limit time.Duration) (time.Duration, error) {
	disk, err := memoryFile("probe", bytes.NewReader(append(bootSector(), make([]byte, probeDisk-512)...)))
	if err != nil {
		return 0, err
	}
	defer disk.Close()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	model := "max"
	if accel == "kvm" {
		model = "host"
	}
	cmd := exec.CommandContext(ctx, binary, "-nodefaults", "-no-user-config", "-sandbox", sandbox, "-machine", "pc,usb=off", "-accel", accel,
		"-cpu", model, "-m", "32", "-display", "none", "-no-reboot", "-add-fd", "fd=3,set=1",
		"-blockdev", encode(fileNode{Driver: "raw", NodeName: "boot", File: &fileNode{Driver: "file", Filename: "/dev/fdset/1"}}),
		"-device", "virtio-blk-pci,drive=boot,bootindex=0", "-device", "isa-debug-exit,iobase=0xf4")
	cmd.ExtraFiles = []*os.File{disk}
	cmd.Env, cmd.Dir = environment, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cred}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	began := time.Now()
	err = cmd.Run()
	took := time.Since(began)
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == probeStatus:
		return took, nil
	case ctx.Err() != nil:
		return took, fmt.Errorf("no answer in %.2f s", took.Seconds())
	case complaint.Len() > 0:
		return took, errors.New(firstLine(complaint.String()))
	case err == nil:
		return took, errors.New("ended without an answer")
	}
	return took, err
}

func version(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", fault.Unavailable("%s does not run", binary).WithCause(err)
	}
	_, v, ok := strings.Cut(firstLine(string(out)), "version ")
	if !ok {
		return "", fault.Unavailable("%s tells no version: %.60q", binary, out)
	}
	v, _, _ = strings.Cut(v, " ")
	return v, nil
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimPrefix(line, filepath.Base(binaryName)+": ")
}
