package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

type options struct {
	bin, guest, accel string
	starts, guests    int // how often each is repeated
	hosts, servers    int // of the simulated cloud
	real              bool
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin/nephos", "the binary")
	flag.StringVar(&o.guest, "guest", "guest/out/nephos-guest.qcow2", "the demo guest")
	flag.StringVar(&o.accel, "accel", "tcg", "accelerator of real guests")
	flag.IntVar(&o.starts, "starts", 7, "starts of the process")
	flag.IntVar(&o.guests, "guests", 11, "real guests, one after the other")
	flag.IntVar(&o.hosts, "hosts", 1000, "simulated hosts")
	flag.IntVar(&o.servers, "servers", 2000, "simulated servers for each rate")
	flag.BoolVar(&o.real, "real", os.Geteuid() == 0, "with real guests")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	var err error
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	if o.guest, err = filepath.Abs(o.guest); err != nil {
		return err
	}
	info, err := os.Stat(o.bin)
	if err != nil {
		return fmt.Errorf("%w (make build)", err)
	}
	t := &table{}
	t.row("machine", fmt.Sprintf("%d cores, %s", runtime.NumCPU(), cpu()), "")
	t.row("binary", fmt.Sprintf("%.1f MiB", float64(info.Size())/(1<<20)), "")
	parts := []func(options, *table) error{starting}
	if o.real {
		parts = append(parts, realServers)
	}
	for _, part := range append(parts, simulated) {
		if err := part(o, t); err != nil {
			t.print(os.Stdout)
			return err
		}
	}
	t.print(os.Stdout)
	return nil
}

func cpu() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			return strings.TrimSpace(v)
		}
	}
	return runtime.GOARCH
}

// table collects what was measured.
type table struct{ rows [][3]string }

func (t *table) row(what, value, note string) {
	t.rows = append(t.rows, [3]string{what, value, note})
	fmt.Fprintf(os.Stderr, "%s: %s %s\n", what, value, note)
}

func (t *table) print(w io.Writer) {
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, r := range t.rows {
		fmt.Fprintln(tw, strings.Join(r[:], "\t"))
	}
	tw.Flush()
}

// times are durations of one thing.
type times []time.Duration

func (t times) median() time.Duration {
	if len(t) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(t))
	return s[len(s)/2]
}

func (t times) percentile(p int) time.Duration {
	s := slices.Sorted(slices.Values(t))
	return s[min(len(s)-1, len(s)*p/100)]
}

// String is the median with what lies around it.
func (t times) String() string {
	return fmt.Sprintf("%s", round(t.median()))
}

func (t times) spread() string {
	return fmt.Sprintf("median of %d; %s to %s, 95%%: %s", len(t), round(slices.Min(t)), round(slices.Max(t)), round(t.percentile(95)))
}

func round(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(100 * time.Microsecond)
}
