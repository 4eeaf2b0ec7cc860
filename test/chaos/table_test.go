package chaos

import (
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

func mapsKeys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

// Marks around the parts of docs/reliability.md that the tests write.
const (
	tableBegin = "<!-- TestMatrix writes from here -->"
	tableEnd   = "<!-- TestMatrix writes to here -->"
	realBegin  = "<!-- TestRealGuests writes from here -->"
	realEnd    = "<!-- TestRealGuests writes to here -->"
)

// writeTable puts text into a file between its marks.
func writeTable(file, begin, end, text string) error {
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(old), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks for the table", file)
	}
	return os.WriteFile(file, []byte(head+begin+"\n"+text+end+tail), 0o644)
}

// table has a section per row and a line per point and fault; trials that differ only in the point come together.
func table(results []result, took time.Duration) string {
	var b strings.Builder
	kinds := map[string]bool{}
	run, missed, none := 0, 0, 0
	for _, r := range results {
		kinds[r.row.kind] = true
		switch r.outcome {
		case notRun:
			missed++
		case idle:
			none++
		default:
			run++
		}
	}
	fmt.Fprintf(&b, "\nWritten by a run of %s, %d s on %d clouds side by side: %d workflows; %d cells run, all at rest, explained, usable, exact and clean afterwards; ",
		time.Now().UTC().Format("2 January 2006"), int(took.Seconds()), lanes, len(kinds), run)
	fmt.Fprintf(&b, "%d do not apply; %d were not run this time (a sample by seed), and say so.\n", none, missed)
	rows := map[string][]result{}
	var order []string
	for _, r := range results {
		name := r.row.String()
		if rows[name] == nil {
			order = append(order, name)
		}
		rows[name] = append(rows[name], r)
	}
	slices.Sort(order)
	for _, name := range order {
		fmt.Fprintf(&b, "\n### %s\n\n| point | fault | outcome |\n|---|---|---|\n", name)
		type line struct{ fault, outcome string }
		at := map[line][]string{}
		var lines []line
		for _, r := range rows[name] {
			p := r.point
			if r.failAt != "" {
				p += " (undoing)"
			}
			l := line{string(r.fault), r.outcome}
			if at[l] == nil {
				lines = append(lines, l)
			}
			if !slices.Contains(at[l], p) {
				at[l] = append(at[l], p)
			}
		}
		for _, l := range lines {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(at[l], "<br>"), l.fault, strings.ReplaceAll(l.outcome, "|", "/"))
		}
	}
	return b.String()
}
