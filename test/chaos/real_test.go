package chaos

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// guests are the pids of QEMU processes that have files of an instance open (or of any, for "").
func guests(dir, id string) (out []string) {
	below := filepath.Join(dir, "instances", id)
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err != nil || !strings.HasPrefix(target, below) {
			continue
		}
		proc := filepath.Dir(filepath.Dir(fd))
		name, err := os.ReadFile(filepath.Join(proc, "comm"))
		if err == nil && strings.HasPrefix(string(name), "qemu-system") && !slices.Contains(out, filepath.Base(proc)) {
			out = append(out, filepath.Base(proc))
		}
	}
	slices.Sort(out)
	return out
}
