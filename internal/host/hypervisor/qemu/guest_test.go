package qemu

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The tests' guest: the distribution's kernel with a ramdisk made here of busybox and a few modules. It prints "ready", hears the power
// button, unplugs what it is asked to, and runs every line that comes in on ttyS0.
const initScript = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for m in $(cat /modules); do insmod /$m; done
echo 0 > /proc/sys/kernel/printk
for i in 1 2 3 4 5 6 7 8 9; do
  for e in /dev/input/event*; do [ -e $e ] && break 2; done
  usleep 50000
done
for e in /dev/input/event*; do (head -c 1 $e > /dev/null && poweroff -f) & done
stty -echo < /dev/ttyS0
echo ready
while read -r line; do sh -c "$line"; echo "done"; done < /dev/ttyS0
poweroff -f
`

// cpio writes an archive of the "newc" format (kernel documentation, driver-api/early-userspace/buffer-format).
type cpio struct {
	bytes.Buffer
	ino int
}

func (c *cpio) add(name string, mode int, data []byte) {
	c.ino++
	fmt.Fprintf(c, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", c.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	c.WriteString(name + "\x00")
	c.pad()
	c.Write(data)
	c.pad()
}

func (c *cpio) pad() {
	for c.Len()%4 != 0 {
		c.WriteByte(0)
	}
}

var system = sync.OnceValues(func() (s struct{ kernel, initrd string }, err error) {
	kernels, _ := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
	if len(kernels) == 0 {
		return s, fmt.Errorf("needs the Debian package linux-image-cloud-amd64")
	}
	s.kernel = kernels[len(kernels)-1]
	release := strings.TrimPrefix(s.kernel, "/boot/vmlinuz-")
	root := filepath.Join("/lib/modules", release)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return s, fmt.Errorf("needs the Debian package busybox-static: %w", err)
	}
	deps, err := os.ReadFile(filepath.Join(root, "modules.dep"))
	if err != nil {
		return s, err
	}
	needs := map[string][]string{}
	for line := range strings.Lines(string(deps)) {
		mod, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[strings.TrimSuffix(filepath.Base(mod), ".ko")] = append([]string{mod}, strings.Fields(rest)...)
	}
	var order []string
	seen := map[string]bool{}
	for _, want := range []string{"virtio_pci", "virtio_blk", "virtio_net", "button", "evdev", "serio_raw", "virtio-rng"} {
		chain := needs[want]
		for i := len(chain) - 1; i >= 0; i-- {
			if !seen[chain[i]] {
				seen[chain[i]] = true
				order = append(order, chain[i])
			}
		}
	}
	var c cpio
	for _, dir := range []string{"bin", "dev", "proc", "sys", "mod"} {
		c.add(dir, 0o040755, nil)
	}
	c.add("bin/busybox", 0o100755, busybox)
	c.add("init", 0o100755, []byte(initScript))
	var names []string
	for i, m := range order {
		b, err := os.ReadFile(filepath.Join(root, m))
		if err != nil {
			return s, err
		}
		name := fmt.Sprintf("mod/%02d", i)
		c.add(name, 0o100644, b)
		names = append(names, name)
	}
	c.add("modules", 0o100644, []byte(strings.Join(names, "\n")+"\n"))
	c.add("TRAILER!!!", 0, nil)
	f, err := os.CreateTemp("", "nephos-test-initrd-*")
	if err != nil {
		return s, err
	}
	defer f.Close()
	s.initrd = f.Name()
	_, err = f.Write(c.Bytes()) // 0600 and root's: QEMU's user may not read it, so it goes through memory
	return s, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if s, err := system(); err == nil {
		os.Remove(s.initrd)
	}
	os.Exit(code)
}
