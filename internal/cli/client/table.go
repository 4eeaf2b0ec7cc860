package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// listing is a table: rows of plain values (string, number, bool, time.Time, []string), one per heading.
type listing struct {
	head  []string
	rows  [][]any
	empty string // said on stderr instead of an empty table
}

func (l *listing) add(values ...any) { l.rows = append(l.rows, values) }

// field is one line of what show prints.
type field struct {
	name  string
	value any
}

// printList prints a table, or a JSON array of objects whose keys are the headings in snake case.
func (s *Session) printList(l listing) error {
	if s.JSON {
		return s.printJSON(func(b *bytes.Buffer) error {
			b.WriteByte('[')
			for i, row := range l.rows {
				if i > 0 {
					b.WriteByte(',')
				}
				fields := make([]field, len(row))
				for j, v := range row {
					fields[j] = field{l.head[j], v}
				}
				if err := writeObject(b, fields); err != nil {
					return err
				}
			}
			b.WriteByte(']')
			return nil
		})
	}
	if len(l.rows) == 0 {
		if l.empty != "" {
			fmt.Fprintln(s.Err, l.empty)
		}
		return nil
	}
	t := s.newTable()
	head := make(table.Row, len(l.head))
	var columns []table.ColumnConfig
	for i, h := range l.head {
		head[i] = strings.ToUpper(h)
		c := table.ColumnConfig{Number: i + 1}
		if isNumber(l.rows[0][i]) {
			c.Align, c.AlignHeader = text.AlignRight, text.AlignRight
		}
		columns = append(columns, c)
	}
	t.SetColumnConfigs(columns)
	t.AppendHeader(head)
	for _, row := range l.rows {
		cells := make(table.Row, len(row))
		for i, v := range row {
			cells[i] = s.cell(v)
		}
		t.AppendRow(cells)
	}
	return s.render(t)
}

// printFields prints what show shows: a line per field, or a JSON object.
func (s *Session) printFields(fields []field) error {
	if s.JSON {
		return s.printJSON(func(b *bytes.Buffer) error { return writeObject(b, fields) })
	}
	t := s.newTable()
	for _, f := range fields {
		c := s.cell(f.value)
		if c == "" {
			continue
		}
		name := f.name
		if s.colour() {
			name = text.Bold.Sprint(name)
		}
		t.AppendRow(table.Row{name, strings.ReplaceAll(c, "\n", " ")})
	}
	return s.render(t)
}

func (s *Session) newTable() table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault
	if s.colour() {
		style.Color.Header = text.Colors{text.Bold}
	}
	t.SetStyle(style)
	return t
}

// render writes the table without the padding at the ends of its lines.
func (s *Session) render(t table.Writer) error {
	for line := range strings.SplitSeq(t.Render(), "\n") {
		if _, err := fmt.Fprintln(s.Out, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// cell is a value for a table; states are coloured on a terminal.
func (s *Session) cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return s.paint(v)
	case []string:
		return strings.Join(v, ", ")
	case time.Time:
		if v.IsZero() {
			return ""
		}
		return v.UTC().Format("2006-01-02 15:04:05")
	case bool:
		if v {
			return "yes"
		}
		return "no"
	case map[string]string:
		var parts []string
		for _, k := range sortedKeys(v) {
			parts = append(parts, k+"="+v[k])
		}
		return strings.Join(parts, ", ")
	default:
		return fmt.Sprint(v)
	}
}

func (s *Session) paint(v string) string {
	if !s.colour() {
		return v
	}
	word, _, _ := strings.Cut(v, " ")
	switch word {
	case "ACTIVE", "active", "available", "in-use", "ok":
		return text.FgGreen.Sprint(v)
	case "ERROR", "error", "FAIL", "killed":
		return text.FgRed.Sprint(v)
	case "BUILD", "queued", "saving", "creating", "deleting", "warn":
		return text.FgYellow.Sprint(v)
	}
	return v
}

func isNumber(v any) bool {
	switch v.(type) {
	case int, int64, float64:
		return true
	}
	return false
}

func (s *Session) printJSON(write func(*bytes.Buffer) error) error {
	var b, out bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err := out.WriteTo(s.Out)
	return err
}

// writeObject keeps the order of fields, which maps would not.
func writeObject(b *bytes.Buffer, fields []field) error {
	b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		v := f.value
		if t, ok := v.(time.Time); ok && t.IsZero() {
			v = nil
		}
		val, err := json.Marshal(v)
		if err != nil {
			return err
		}
		b.WriteString(strconv.Quote(strings.ReplaceAll(f.name, " ", "_")) + ":")
		b.Write(val)
	}
	b.WriteByte('}')
	return nil
}

// size is a number of bytes for people, in powers of 1024.
func size(n int64) string {
	const units = "KMGTP"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, u := float64(n), -1
	for f >= 1024 && u < len(units)-1 {
		f /= 1024
		u++
	}
	return fmt.Sprintf("%.1f %ciB", f, units[u])
}

// age is a duration for people: 5s, 3m, 2h, 4d.
func age(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
