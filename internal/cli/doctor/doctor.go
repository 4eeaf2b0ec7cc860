package doctor

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"nephos/internal/config"
)

// State is how a check came out.
type State string

// The states. A machine with a FAIL cannot run `nephos up` as configured.
const (
	OK   State = "ok"
	Warn State = "warn"
	Fail State = "FAIL"
)

// Result is what one check found. Fix is what to do about it; empty when all is well.
type Result struct {
	State State
	What  string
	Found string
	Fix   string
}

// Options say what is planned for the machine.
type Options struct {
	Config *config.Config
}

func ok(what, format string, a ...any) Result {
	return Result{State: OK, What: what, Found: fmt.Sprintf(format, a...)}
}

func (r Result) mend(format string, a ...any) Result {
	r.Fix = fmt.Sprintf(format, a...)
	return r
}

func warn(what, format string, a ...any) Result {
	return Result{State: Warn, What: what, Found: fmt.Sprintf(format, a...)}
}

func failed(what, format string, a ...any) Result {
	return Result{State: Fail, What: what, Found: fmt.Sprintf(format, a...)}
}

// Run makes all checks that the configuration calls for: simulated hosts need neither rights nor QEMU.
func Run(ctx context.Context, o Options) []Result {
	var out []Result
	cfg := o.Config
	running := inUse(cfg)
	if cfg.Driver == "qemu" {
		rights := checkRights()
		out = append(out, rights)
		out = append(out, checkTools()...)
		out = append(out, checkAccelerator(ctx, cfg))
		out = append(out, checkTun())
		if rights.State == OK {
			out = append(out, checkKernel(ctx)...)
		}
		out = append(out, checkRange(cfg, running))
	}
	out = append(out, checkPorts(cfg, running), checkDisk(cfg), checkMemory(cfg))
	if cfg.Database != "" {
		out = append(out, checkDatabase(ctx, cfg.Database))
	}
	return out
}

// Print writes a line per result and the fixes below their lines; it says whether nothing failed. colour is for terminals.
func Print(w io.Writer, results []Result, colour bool) bool {
	width, fails, warns := 0, 0, 0
	for _, r := range results {
		width = max(width, len(r.What))
	}
	for _, r := range results {
		mark := fmt.Sprintf("%-4s", r.State)
		switch r.State {
		case Fail:
			fails++
		case Warn:
			warns++
		}
		if colour {
			mark = map[State]text.Color{OK: text.FgGreen, Warn: text.FgYellow, Fail: text.FgRed}[r.State].Sprint(mark)
		}
		fmt.Fprintf(w, "%s  %-*s  %s\n", mark, width, r.What, r.Found)
		if r.Fix != "" {
			fmt.Fprintf(w, "%s=> %s\n", strings.Repeat(" ", 8+width), r.Fix)
		}
	}
	switch {
	case fails > 0:
		fmt.Fprintf(w, "%d of %d checks failed: `nephos up` cannot work until they are mended\n", fails, len(results))
	case warns > 0:
		fmt.Fprintf(w, "fit for `nephos up`, with %d warnings\n", warns)
	default:
		fmt.Fprintln(w, "fit for `nephos up`")
	}
	return fails == 0
}
