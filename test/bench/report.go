package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// result is one figure.
type result struct {
	What  string  `json:"what"`
	Value float64 `json:"value"` // the median, where Times are given
	Unit  string  `json:"unit"`  // ms, /s, MiB, …
	// Aim is what the project wants on its own machines, 0 for none; less is better for all units but rates.
	Aim   float64   `json:"aim,omitempty"`
	Note  string    `json:"note,omitempty"`
	Times []float64 `json:"times,omitempty"` // all of them, in ms, for the plot
}

// met says whether the aim is reached.
func (r result) met() bool {
	if strings.HasSuffix(r.Unit, "/s") {
		return r.Value >= r.Aim
	}
	return r.Value <= r.Aim
}

// report is all figures of a run.
type report struct {
	began   time.Time
	Began   string   `json:"began"`
	Machine string   `json:"machine"`
	Commit  string   `json:"commit"`
	Results []result `json:"results"`
}

func (r *report) add(x result) {
	r.Results = append(r.Results, x)
	fmt.Fprintf(os.Stderr, "%s: %s  %s\n", x.What, figure(x.Value, x.Unit), x.Note)
}

// times adds the median of durations with what lies around it.
func (r *report) times(what string, t times, aim float64) {
	if len(t) == 0 {
		return
	}
	x := result{What: what, Value: ms(t.percentile(50)), Unit: "ms", Aim: aim,
		Note: fmt.Sprintf("median of %d; 95%%: %s, 99%%: %s, most: %s", len(t), round(t.percentile(95)), round(t.percentile(99)), round(slices.Max(t)))}
	for _, d := range t {
		x.Times = append(x.Times, ms(d))
	}
	r.add(x)
}

// rate adds how many things a second were done.
func (r *report) rate(what string, n int, took time.Duration, aim float64, note string) {
	r.add(result{What: what, Value: float64(n) / took.Seconds(), Unit: "/s", Aim: aim, Note: note})
}

func figure(v float64, unit string) string {
	format := "%.1f"
	if math.Abs(v) >= 100 {
		format = "%.0f"
	}
	return fmt.Sprintf(format, v) + strings.TrimSuffix(" "+unit, " ")
}

// finish prints the table, writes JSON and draws.
func (r *report) finish(o options) error {
	if len(r.Results) == 0 {
		return nil
	}
	r.Began, r.Machine = r.began.UTC().Format(time.RFC3339), fmt.Sprintf("%d cores, %s", runtime.NumCPU(), cpu())
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		r.Commit = strings.TrimSpace(string(out))
	}
	var before map[string]result
	if o.against != "" {
		var old report
		b, err := os.ReadFile(o.against)
		if err == nil {
			err = json.Unmarshal(b, &old)
		}
		if err != nil {
			return err
		}
		before = map[string]result{}
		for _, x := range old.Results {
			before[x.What] = x
		}
	}
	r.table(os.Stdout, before)
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	name := filepath.Join(o.out, "bench-"+r.began.UTC().Format("20060102-150405"))
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(name+".json", b, 0o644), r.plot(name+".png")); err != nil {
		return err
	}
	fmt.Printf("\n%s.json  %s.png\n", name, name)
	return nil
}

func (r *report) table(w io.Writer, before map[string]result) {
	fmt.Fprintf(w, "\n%s, commit %s\n\n", r.Machine, r.Commit)
	tw := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	for _, x := range r.Results {
		aim, old := "", ""
		if x.Aim != 0 {
			aim = "aim " + figure(x.Aim, x.Unit) + ": missed"
			if x.met() {
				aim = "aim " + figure(x.Aim, x.Unit) + ": met"
			}
		}
		if b, ok := before[x.What]; ok {
			old = fmt.Sprintf("before %s (%+.0f%%)", figure(b.Value, b.Unit), 100*(x.Value/b.Value-1))
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\n", x.What, figure(x.Value, x.Unit), aim, old, x.Note)
	}
	tw.Flush()
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

// times are durations of one thing.
type times []time.Duration

func (t times) percentile(p int) time.Duration {
	s := slices.Sorted(slices.Values(t))
	return s[min(len(s)-1, len(s)*p/100)]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func round(d time.Duration) time.Duration {
	switch {
	case d > 10*time.Second:
		return d.Round(100 * time.Millisecond)
	case d > time.Second:
		return d.Round(10 * time.Millisecond)
	case d > 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(10 * time.Microsecond)
}
