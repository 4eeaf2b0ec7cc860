package qemu

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// clockTicks are the ticks in a second that /proc counts in: fixed at 100 for every architecture that Linux shows to programs (proc(5), USER_HZ).
const clockTicks = 100

// Diagnose implements hypervisor.Driver. Processor times and memory are the process's as the kernel counts them, disks' are QEMU's.
func (d *Driver) Diagnose(ctx context.Context, id string) (out hostapi.Diagnostics, err error) {
	err = d.sure(ctx, id, func(g *guest, m *machine) error {
		s := g.status()
		out.Power = s.Power
		stat, err := procFields(fmt.Sprintf("/proc/%d/stat", s.PID))
		if err != nil {
			return fault.Conflict("guest %s does not run", id).WithCause(err)
		}
		up, err := hostUptime()
		if err != nil {
			return err
		}
		out.Uptime = max(0, int64(up-float64(stat[19])/clockTicks)) // field 22: when the process started
		out.Resident = stat[21] * int64(os.Getpagesize())           // field 24: its pages
		var cpus []struct {
			Index  int `json:"cpu-index"`
			Thread int `json:"thread-id"`
		}
		if err := m.do(ctx, "query-cpus-fast", nil, &cpus); err != nil {
			return err
		}
		for _, c := range cpus {
			t, err := procFields(fmt.Sprintf("/proc/%d/task/%d/stat", s.PID, c.Thread))
			if err != nil {
				return fault.Conflict("guest %s ends", id).WithCause(err)
			}
			out.CPUs = append(out.CPUs, hostapi.CPUCount{ID: c.Index, Time: (t[11] + t[12]) * int64(time.Second/clockTicks)}) // fields 14 and 15: in user and in kernel mode
		}
		var memory struct {
			Base int64 `json:"base-memory"`
			More int64 `json:"plugged-memory"`
		}
		if err := m.do(ctx, "query-memory-size-summary", nil, &memory); err != nil {
			return err
		}
		out.Memory = memory.Base + memory.More
		if p := g.record().Place; len(p.Cells) > 0 {
			out.Placed = &hostapi.Placed{Cells: p.Cells, Pins: p.Pins, Pages: p.Pages}
		}
		return d.countDisks(ctx, m, &out)
	})
	return out, err
}

func (d *Driver) countDisks(ctx context.Context, m *machine, out *hostapi.Diagnostics) error {
	var disks []struct {
		Device string `json:"qdev"`
		Stats  struct {
			ReadBytes   int64 `json:"rd_bytes"`
			Reads       int64 `json:"rd_operations"`
			WriteBytes  int64 `json:"wr_bytes"`
			Writes      int64 `json:"wr_operations"`
			FailedReads int64 `json:"failed_rd_operations"`
			FailedWrite int64 `json:"failed_wr_operations"`
		} `json:"stats"`
	}
	if err := m.do(ctx, "query-blockstats", nil, &disks); err != nil {
		return err
	}
	for _, x := range disks {
		name := attachedDisk{Device: x.Device}.deviceID()
		if name == "" {
			continue
		}
		out.Disks = append(out.Disks, hostapi.DiskCount{ID: strings.TrimPrefix(name, diskDevice("")), ReadBytes: x.Stats.ReadBytes, ReadRequests: x.Stats.Reads, WriteBytes: x.Stats.WriteBytes,
			WriteRequests: x.Stats.Writes, Errors: x.Stats.FailedReads + x.Stats.FailedWrite})
	}
	return nil
}

// procFields are the fields of a stat file of /proc after the name: the first is field 3 of proc(5), a letter. The name may hold anything, so what comes
// after its last parenthesis counts.
func procFields(path string) ([]int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text := string(b)
	words := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	out := make([]int64, len(words))
	for i, w := range words {
		out[i], _ = strconv.ParseInt(w, 10, 64) // a few are unsigned and larger, or a letter: nobody asks for those
	}
	if len(out) < 22 {
		return nil, fmt.Errorf("%s: %d fields", path, len(out))
	}
	return out, nil
}

// hostUptime is in seconds.
func hostUptime() (float64, error) {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	word, _, _ := strings.Cut(string(b), " ")
	return strconv.ParseFloat(word, 64)
}
