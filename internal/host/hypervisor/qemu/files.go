package qemu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"nephos/internal/fault"
	"nephos/internal/host/hypervisor"
)

// files collects what a new process inherits; the first becomes descriptor 3.
type files struct {
	open []*os.File
}

func (f *files) add(file *os.File) int {
	f.open = append(f.open, file)
	return 2 + len(f.open)
}

func (f *files) close() {
	for _, file := range f.open {
		file.Close()
	}
}

// openDisk opens a disk's file and its layers, nearest first. QEMU takes its locks on these descriptions, so two guests cannot write
// one disk.
func openDisk(d hypervisor.Disk) (opened []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(opened)
			opened = nil
		}
	}()
	mode := os.O_RDWR
	if d.ReadOnly {
		mode = os.O_RDONLY
	}
	paths, formats := []string{d.Path}, []string{d.Format}
	for _, l := range d.Backing {
		paths, formats = append(paths, l.Path), append(formats, l.Format)
	}
	for i, path := range paths {
		f, err := os.OpenFile(path, mode|unix.O_NONBLOCK, 0) // a FIFO in the disk's place must not hang the agent
		if err != nil {
			return opened, openFault(d.ID, err)
		}
		opened = append(opened, f)
		if err := plainDisk(f, d.ID, formats[i], i < len(paths)-1); err != nil {
			return opened, err
		}
		mode = os.O_RDONLY
	}
	return opened, nil
}

func openFault(disk string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fault.NotFound("disk %s has no file on this host", disk).WithCause(err)
	}
	return fault.Unavailable("disk %s cannot be opened", disk).WithCause(err)
}

// plainDisk refuses what would make QEMU look further than it was told to: not a file or block device, or a qcow2 whose header
// disagrees with the given layers or keeps its data elsewhere.
func plainDisk(f *os.File, disk, format string, backed bool) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() && st.Mode()&(os.ModeDevice|os.ModeCharDevice) != os.ModeDevice {
		return fault.Invalid("disk", "disk %s: %s is neither a file nor a block device", disk, f.Name())
	}
	if err := syscall.SetNonblock(int(f.Fd()), false); err != nil {
		return err
	}
	if format != "qcow2" {
		return nil
	}
	var h [104]byte // QEMU docs/interop/qcow2.txt
	if _, err := f.ReadAt(h[:72], 0); err != nil || string(h[:4]) != "QFI\xfb" {
		return fault.Invalid("disk_format", "disk %s: %s is not a qcow2 image", disk, f.Name())
	}
	f.ReadAt(h[72:], 72)
	if hasBacking := binary.BigEndian.Uint64(h[8:]) != 0; hasBacking != backed {
		return fault.Invalid("disk_format", "disk %s: %s names a base: %t, but was given one: %t", disk, f.Name(), hasBacking, backed)
	}
	const externalData = 1 << 2
	if binary.BigEndian.Uint32(h[4:]) >= 3 && binary.BigEndian.Uint64(h[72:])&externalData != 0 {
		return fault.Invalid("disk_format", "disk %s: %s keeps its data in another file", disk, f.Name())
	}
	return nil
}

func closeAll(list []*os.File) {
	for _, f := range list {
		f.Close()
	}
}

// listen binds a unix socket in dir, whatever stood there, and gives the listening descriptor alone: closing it does not remove the
// socket, since QEMU goes on with its own copy.
func listen(dir *os.File, name string) (*os.File, error) {
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && err != unix.ENOENT {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir.Name(), name), err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name)})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	if err := unix.Fchmodat(int(dir.Fd()), name, 0o600, 0); err != nil {
		return nil, err
	}
	return l.File()
}

// memoryFile is an unnamed file in memory that any user may read through /proc/self/fd.
func memoryFile(name string, content io.Reader) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := io.Copy(f, content); err != nil {
		f.Close()
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// openKernel opens a kernel or ramdisk so that QEMU's user can open it again by /proc/self/fd/N, which asks for the file's own
// permission but not its directories'. A file closed to that user is copied into memory.
func openKernel(path string, cred *syscall.Credential) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.NotFound("kernel or ramdisk %s is not on this host", path)
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, err
	}
	if cred == nil || st.Mode&0o004 != 0 || (st.Uid == cred.Uid && st.Mode&0o400 != 0) {
		return f, nil
	}
	defer f.Close()
	return memoryFile("kernel", f)
}

// firmware finds the UEFI images of the distribution (Debian and Ubuntu: ovmf; Fedora: edk2-ovmf) and makes the guest's own copy of
// the variables at first use.
func firmware(dir string) (code, vars *os.File, err error) {
	for _, pair := range [][2]string{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	} {
		code, err = os.Open(pair[0])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		own := filepath.Join(dir, varsFile)
		if _, err := os.Stat(own); errors.Is(err, fs.ErrNotExist) {
			if b, err := os.ReadFile(pair[1]); err != nil {
				code.Close()
				return nil, nil, err
			} else if err := os.WriteFile(own+".new", b, 0o600); err != nil {
				code.Close()
				return nil, nil, err
			} else if err := os.Rename(own+".new", own); err != nil {
				code.Close()
				return nil, nil, err
			}
		}
		if vars, err = os.OpenFile(own, os.O_RDWR, 0); err != nil {
			code.Close()
			return nil, nil, err
		}
		return code, vars, nil
	}
	return nil, nil, fault.Unavailable("this host has no UEFI firmware (Debian package ovmf)")
}

// inherit opens everything that g needs into f and fills l's descriptors.
func (d *Driver) inherit(ctx context.Context, l *launch, f *files) error {
	for _, disk := range l.guest.Disks {
		opened, err := openDisk(disk)
		if err != nil {
			return err
		}
		var fds []int
		for _, file := range opened {
			fds = append(fds, f.add(file))
		}
		l.disks = append(l.disks, fds)
	}
	for _, n := range l.guest.NICs {
		fd := -1
		if n.OpenTap != nil {
			tap, err := n.OpenTap(ctx)
			if err != nil {
				return fmt.Errorf("tap of port %s: %w", n.PortID, err)
			}
			if tap != nil {
				fd = f.add(tap)
			}
		}
		l.taps = append(l.taps, fd)
	}
	for _, k := range []struct {
		from string
		to   *string
	}{{l.guest.Kernel, &l.kernel}, {l.guest.Initrd, &l.initrd}} {
		if k.from == "" {
			continue
		}
		file, err := openKernel(k.from, d.cred)
		if err != nil {
			return err
		}
		*k.to = fmt.Sprintf("/proc/self/fd/%d", f.add(file))
	}
	if l.guest.Machine.Firmware == "uefi" {
		code, vars, err := firmware(d.dir(l.guest.ID))
		if err != nil {
			return err
		}
		l.firmware = []int{f.add(code), f.add(vars)}
	}
	return nil
}

// lastWords is the end of qemu.log, for an error.
func lastWords(dir string) string {
	f, err := os.Open(filepath.Join(dir, stderrFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := tail(f, 2048)
	if err != nil {
		return ""
	}
	words := strings.TrimSpace(string(b))
	if i := strings.LastIndex(words, binaryName+": "); i >= 0 { // the last message, which may go on over lines
		words = words[i+len(binaryName)+2:]
	}
	return strings.ReplaceAll(words, "\n", "; ")
}
