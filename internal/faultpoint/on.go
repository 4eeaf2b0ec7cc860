//go:build faultpoints

package faultpoint

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled says that this binary has fault points.
const Enabled = true

// counts are the passages by arm's file, of this process. Package state, because points lie in rooms that know nothing of each other; only in the tagged build.
var counts struct {
	sync.Mutex // also makes "first" unambiguous when several pass at once
	seen       map[string]int
}

// Hit passes a point: it dies, waits or fails as the arms say. The error has no kind, so that nobody tries again.
func Hit(ctx context.Context, room, what, step, moment string) error {
	return pass(ctx, join(room, what, step, moment), nil)
}

// Spoil passes a point with bytes on their way, which Corrupt turns around in place.
func Spoil(ctx context.Context, room, what, step, moment string, b []byte) error {
	return pass(ctx, join(room, what, step, moment), b)
}

// Describe writes v as NAME.json into the directory of arms, whole or not at all.
func Describe(name string, v any) error {
	dir := os.Getenv(Dir)
	if dir == "" {
		return nil
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, name+".new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, name+".json"))
}

func join(parts ...string) string {
	for i, p := range parts {
		if p == "" {
			parts[i] = "-"
		}
		parts[i] = strings.ReplaceAll(parts[i], "/", "_")
	}
	return strings.Join(parts, "/")
}

func pass(ctx context.Context, name string, b []byte) error {
	dir := os.Getenv(Dir)
	if dir == "" {
		return nil
	}
	note(dir, name)
	files, _ := filepath.Glob(filepath.Join(dir, "*.arm"))
	for _, f := range files {
		arm, ok := read(f)
		if !ok {
			continue
		}
		if match, err := path.Match(arm.Point, name); err != nil || !match {
			continue
		}
		if !due(f, arm) {
			continue
		}
		if err := act(ctx, f, name, arm, b); err != nil {
			return err
		}
	}
	return nil
}

// note adds a line to the trace, if one is wanted.
func note(dir, name string) {
	f, err := os.OpenFile(filepath.Join(dir, "trace"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return
	}
	defer f.Close()
	f.WriteString(name + "\n") //nolint:errcheck // a test that misses a line says so
}

func read(file string) (arm Arm, ok bool) {
	b, err := os.ReadFile(file)
	return arm, err == nil && json.Unmarshal(b, &arm) == nil
}

// due counts the passage and says whether the arm acts on it. A crash takes its file away first: the next process must not die of it again, and of
// several passers one does.
func due(file string, arm Arm) bool {
	counts.Lock()
	defer counts.Unlock()
	if counts.seen == nil {
		counts.seen = map[string]int{}
	}
	counts.seen[file]++
	n, from := counts.seen[file], max(arm.Nth, 1)
	if n < from || arm.Times > 0 && n >= from+arm.Times {
		return false
	}
	fired := strings.TrimSuffix(file, ".arm") + ".fired"
	if arm.Do == Crash {
		return os.Rename(file, fired) == nil
	}
	f, err := os.OpenFile(fired, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		f.Close()
	}
	return true
}

func act(ctx context.Context, file, name string, arm Arm, b []byte) error {
	switch arm.Do {
	case Crash:
		syscall.Kill(os.Getpid(), syscall.SIGKILL) //nolint:errcheck // this process always may
		select {}                                  // the signal comes before anything else is done
	case Hold:
		return wait(ctx, 5*time.Minute, func() bool { _, err := os.Stat(file); return err != nil })
	case Slow:
		return wait(ctx, time.Duration(arm.DelayMS)*time.Millisecond, func() bool { return false })
	case Fail:
		if arm.Err != "" {
			return errors.New(arm.Err)
		}
		return errors.New("fault at " + name)
	case Corrupt:
		for i := range b {
			b[i] = ^b[i]
		}
	}
	return nil
}

// wait returns when over, after long, or with the context's error.
func wait(ctx context.Context, long time.Duration, over func() bool) error {
	end := time.NewTimer(long)
	defer end.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !over() {
		select {
		case <-tick.C:
		case <-end.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
