package sim

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	seeds   = flag.Int("seeds", 0, "how many histories TestSeeds plays; 0: the quick share")
	first   = flag.Uint64("first", 1, "the first seed")
	oneSeed = flag.Uint64("seed", 0, "play this history alone and print its trace")
	workers = flag.Int("workers", runtime.NumCPU(), "processes that play histories")
	noTail  = flag.Bool("worker", false, "this process is one of the workers")
)

// quick is what `go test ./...` plays; `make sim` plays 200, `make soak` 10,000.
const quick = 12

func makeTemplate(t *testing.T) *template {
	t.Helper()
	dir, err := os.MkdirTemp(scratch(), "nephos-sim-template")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	tpl, err := newTemplate(t.Context(), dir)
	require.NoError(t, err)
	return tpl
}

// TestSeeds plays histories, some processes at once: a process plays one at a time.
func TestSeeds(t *testing.T) {
	switch {
	case *oneSeed != 0:
		runtime.GOMAXPROCS(1)
		p := newPlan(*oneSeed)
		t.Log(p)
		out := play(t, makeTemplate(t), p, logTo(t))
		t.Log("\n" + out.traceText(100000))
		require.NoError(t, out.Err)
	case *noTail:
		playRange(t, *first, *seeds)
	default:
		n := *seeds
		if n == 0 {
			n = quick
		}
		spread(t, n)
	}
}

func logTo(t *testing.T) io.Writer {
	if testing.Verbose() {
		return t.Output()
	}
	return nil
}

// spread gives each worker its part of the seeds and gathers what they found.
func spread(t *testing.T, n int) {
	began := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	per := (n + *workers - 1) / *workers
	for i := range *workers {
		from, count := *first+uint64(i*per), min(per, n-i*per)
		if count <= 0 {
			continue
		}
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSeeds$", "-test.timeout=0", "-worker", "-first="+strconv.FormatUint(from, 10), "-seeds="+strconv.Itoa(count))
			cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
			out, err := cmd.CombinedOutput()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("seeds %d to %d: %v\n%s", from, from+uint64(count)-1, err, out)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	t.Logf("%d histories in %v: %.1f a second", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
}

// playRange plays seeds one after the other and shrinks what fails.
func playRange(t *testing.T, from uint64, count int) {
	tpl := makeTemplate(t)
	bad := map[string]int{}
	for s := from; s < from+uint64(count); s++ {
		p := newPlan(s)
		out := play(t, tpl, p, nil)
		if out.Err == nil {
			continue
		}
		rule := ruleOf(out.Err)
		if bad[rule]++; bad[rule] > 2 {
			t.Errorf("seed %d: %s (again)", s, rule)
			continue
		}
		var last outcome
		small := shrink(p, rule, func(q plan) string {
			o := play(t, tpl, q, nil)
			if o.Err == nil {
				return ""
			}
			if r := ruleOf(o.Err); r != rule {
				return r
			}
			last = o
			return rule
		})
		if last.Err == nil {
			last = out
		}
		t.Errorf("seed %d: %v\n%s%s", s, last.Err, small, last.traceText(120))
		if len(bad) > 8 {
			t.Fatal("too much is wrong")
		}
	}
}

// TestSameSeedSameHistory: what a seed finds can be found again.
func TestSameSeedSameHistory(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	tpl := makeTemplate(t)
	for s := uint64(100); s < 106; s++ {
		p := newPlan(s)
		a, b := play(t, tpl, p, nil), play(t, tpl, p, nil)
		if a.Hash != b.Hash {
			t.Errorf("seed %d is two histories: %s", s, difference(a.Trace, b.Trace))
		}
	}
}

// difference is where two traces part.
func difference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d\n  %s\n  %s", i, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(a), len(b))
}
