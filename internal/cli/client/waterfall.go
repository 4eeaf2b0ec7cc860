package client

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

// drawOperation draws one operation as a waterfall: a line per step with its component, host, a bar at its place in time, and its duration; below, what the
// steps said (the scheduler's reasons, cache hits, errors).
func (s *Session) drawOperation(o operation, server string) error {
	steps := ordered(o)
	begin, end := span(o, steps, s.Now())
	total := end.Sub(begin)

	var b strings.Builder
	head := fmt.Sprintf("%s of %s: %s", strings.TrimPrefix(o.Action, "server."), server, cmp.Or(o.Status, "done"))
	switch {
	case o.Finished == nil && o.Status != "done" && o.Status != "failed":
		head += " for " + brief(total)
	default:
		head += " in " + brief(total)
	}
	if o.Tries > 1 {
		head += fmt.Sprintf(", %d tries", o.Tries)
	}
	if s.colour() {
		head = text.Bold.Sprint(head)
	}
	fmt.Fprintf(&b, "%s\n%s  %s\n", head, begin.UTC().Format("2006-01-02 15:04:05.000 UTC"), o.RequestID)
	s.drawSteps(&b, steps, begin, total)
	s.drawNotes(&b, o, steps)
	_, err := s.Out.Write([]byte(b.String()))
	return err
}

// ordered are the steps with their parts below them. A first line stands for the API's part: from the scheduler's start, which is inside the request, until the rows of
// the operation were written.
func ordered(o operation) []step {
	var tops, out []step
	for _, st := range o.Steps {
		if st.Parent == "" {
			tops = append(tops, st)
		}
	}
	slices.SortStableFunc(tops, func(a, b step) int { return moment(a.Started).Compare(moment(b.Started)) })
	if len(tops) > 0 && o.Started != nil && tops[0].Started != nil && tops[0].Started.Before(*o.Started) {
		out = append(out, step{Name: "accept", Phase: "api", Started: tops[0].Started, Finished: o.Started})
	}
	placed := make([]bool, len(o.Steps))
	parts := func(of func(step) bool) {
		for i, p := range o.Steps {
			if p.Parent != "" && !placed[i] && of(p) {
				placed[i] = true
				out = append(out, p)
			}
		}
	}
	for _, t := range tops {
		out = append(out, t)
		parts(func(p step) bool { return p.Parent == t.Name && p.Try == t.Try && p.Phase == t.Phase })
	}
	parts(func(step) bool { return true }) // parts of a step that is still running
	return out
}

// span is the time from the first moment to the last.
func span(o operation, steps []step, now time.Time) (begin, end time.Time) {
	begin, end = moment(o.Started), moment(o.Finished)
	running := o.Finished == nil && (o.Status == "running" || o.Status == "undoing")
	for _, st := range steps {
		if t := moment(st.Started); !t.IsZero() && (begin.IsZero() || t.Before(begin)) {
			begin = t
		}
		if t := moment(st.Finished); t.After(end) {
			end = t
		}
	}
	if running {
		end = now
	}
	if end.Before(begin) {
		end = begin
	}
	return begin, end
}

// Column widths: names are cut so that bars have at least barMin columns.
const (
	componentWidth = 9
	timeWidth      = 9
	barMin         = 16
)

func (s *Session) drawSteps(b *strings.Builder, steps []step, begin time.Time, total time.Duration) {
	names, hosts := len("STEP"), 0
	for _, st := range steps {
		names = max(names, text.StringWidth(st.label()))
		hosts = max(hosts, text.StringWidth(st.Host))
	}
	names, hosts = min(names, 26), min(hosts, 16)
	gaps := 3 * 2
	if hosts > 0 {
		hosts = max(hosts, len("HOST"))
		gaps += 2
	}
	width := max(min(s.Width, 140)-componentWidth-names-hosts-timeWidth-gaps, barMin)
	line := func(component, name, host, bar, took string) {
		l := pad(component, componentWidth) + "  " + pad(name, names) + "  "
		if hosts > 0 {
			l += pad(host, hosts) + "  "
		}
		fmt.Fprintln(b, strings.TrimRight(l+bar+"  "+fmt.Sprintf("%*s", timeWidth, took), " "))
	}
	scale := brief(total)
	line("COMPONENT", "STEP", "HOST", "0"+strings.Repeat(" ", max(width-1-len(scale), 1))+scale, "TIME")
	for _, st := range steps {
		if st.Started == nil {
			line(st.component(), st.label(), st.Host, strings.Repeat(" ", width), "")
			continue
		}
		finish, took := begin.Add(total), "running"
		if st.Finished != nil {
			finish, took = *st.Finished, brief(st.Finished.Sub(*st.Started))
		}
		line(st.component(), st.label(), st.Host, s.bar(st, st.Started.Sub(begin), finish.Sub(begin), total, width), took)
	}
}

// bar is width columns with a bar from start to end of total; at least one column is filled.
func (s *Session) bar(st step, start, end, total time.Duration, width int) string {
	from, to := 0, 1
	if total > 0 {
		from = int(int64(start) * int64(width) / int64(total))
		to = int((int64(end)*int64(width) + int64(total) - 1) / int64(total))
	}
	from = min(max(from, 0), width-1)
	to = min(max(to, from+1), width)
	fill := strings.Repeat(s.barRune(), to-from)
	if s.colour() {
		c := map[string]text.Color{"api": text.FgBlue, "scheduler": text.FgMagenta, "conductor": text.FgCyan, "host": text.FgGreen}[st.component()]
		if st.Error != "" || st.Phase == "undo" {
			c = text.FgRed
		}
		fill = c.Sprint(fill)
	}
	return strings.Repeat(" ", from) + fill + strings.Repeat(" ", width-to)
}

// barRune is a full block where the locale has it.
func (s *Session) barRune() string {
	for _, v := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if l := strings.ToUpper(s.Getenv(v)); l != "" {
			if strings.Contains(l, "UTF-8") || strings.Contains(l, "UTF8") {
				return "█"
			}
			break
		}
	}
	return "#"
}

// drawNotes prints what steps said and why the operation failed, wrapped.
func (s *Session) drawNotes(b *strings.Builder, o operation, steps []step) {
	note := func(mark, name, words string) {
		first := fmt.Sprintf("%s %s: ", mark, name)
		wrapped := text.WrapSoft(words, max(min(s.Width, 140)-2, 20))
		if len(first)+len(words) <= min(s.Width, 140) {
			fmt.Fprintln(b, first+words)
			return
		}
		fmt.Fprintln(b, strings.TrimRight(first, " "))
		for l := range strings.SplitSeq(wrapped, "\n") {
			fmt.Fprintln(b, "  "+strings.TrimSpace(l))
		}
	}
	for _, st := range steps {
		name := strings.TrimSpace(st.label())
		if st.Detail != "" {
			note("-", name, strings.TrimSpace(st.Detail))
		}
		if st.Error != "" {
			if st.Host != "" {
				name += " on " + st.Host
			}
			note("!", name, strings.TrimSpace(st.Error))
		}
	}
	if o.Error != "" {
		note("!", cmp.Or(o.ErrorStep, "failed"), o.Error)
	}
}

func pad(v string, width int) string {
	if text.StringWidth(v) > width {
		return text.Trim(v, width-1) + "~"
	}
	return text.Pad(v, width, ' ')
}

// brief is a duration in three digits or so: 412 µs, 8.1 ms, 812 ms, 2.31 s, 3m12s.
func brief(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 100*time.Second:
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
