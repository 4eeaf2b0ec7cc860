package policy

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// File is a policy file in oslo.policy's form: a YAML (or JSON) mapping of rule names to check strings. Read it with ReadFile, hold it against what
// the services know with Check, and give each service its share with For.
type File struct {
	Name  string
	Rules []FileRule // in the order of the file
}

// FileRule is one entry.
type FileRule struct {
	Name, Check string
	Line        int
}

// ReadFile reads a policy file. An error names each line that is wrong.
func ReadFile(name string) (*File, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return ParseFile(name, b)
}

// ParseFile is ReadFile for bytes.
func ParseFile(name string, text []byte) (*File, error) {
	f := &File{Name: name}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("policy %s: %w", name, err)
	}
	if len(doc.Content) == 0 {
		return f, nil
	}
	top := doc.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return f, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, f.wrong(top.Line, "a mapping of rule names to check strings is wanted")
	}
	var errs []error
	lines := map[string]int{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		text, err := checkString(value)
		if err == nil {
			_, err = parse(text)
		}
		if first, twice := lines[key.Value]; twice {
			errs = append(errs, f.wrong(key.Line, "rule %q stands in line %d already", key.Value, first))
		}
		lines[key.Value] = key.Line
		if err != nil {
			errs = append(errs, f.wrong(value.Line, "rule %q: %v", key.Value, err))
			continue
		}
		f.Rules = append(f.Rules, FileRule{Name: key.Value, Check: text, Line: key.Line})
	}
	return f, errors.Join(errs...)
}

func (f *File) wrong(line int, format string, a ...any) error {
	return fmt.Errorf("policy %s: line %d: %s", f.Name, line, fmt.Sprintf(format, a...))
}

// checkString is a rule's value: a string, or oslo.policy's old form of it, a list of alternatives of which each is a check or a list of checks that must
// all hold.
func checkString(n *yaml.Node) (string, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag != "!!str" && n.Tag != "!!null" {
			return "", fmt.Errorf("%s is no check string: quote it", n.Value)
		}
		return n.Value, nil
	case yaml.SequenceNode:
		var any []string
		for _, alt := range n.Content {
			all := []*yaml.Node{alt}
			if alt.Kind == yaml.SequenceNode {
				all = alt.Content
			}
			var checks []string
			for _, c := range all {
				if c.Kind != yaml.ScalarNode {
					return "", errors.New("a list of lists of checks is wanted")
				}
				checks = append(checks, c.Value)
			}
			any = append(any, "("+strings.Join(checks, " and ")+")")
		}
		return strings.Join(any, " or "), nil
	}
	return "", errors.New("a check string is wanted")
}

// Check holds the file against the default rules of all services (by service name): a rule that no service has and no other rule of the file refers to, a
// reference to a rule that is not there, and rules that refer to each other in a circle are errors with their lines.
func (f *File) Check(services map[string]Rules) error {
	own := map[string]*FileRule{}
	for i := range f.Rules {
		own[f.Rules[i].Name] = &f.Rules[i]
	}
	known := map[string]string{} // to any one of the check strings by that name: circles of ours go through ours
	for _, rules := range services {
		maps.Copy(known, rules)
	}
	referred := map[string]bool{"default": true} // oslo.policy's name for rules without a default; here each rule has one
	var errs []error
	for _, r := range f.Rules {
		for _, to := range references(r.Check) {
			referred[to] = true
			if _, ok := known[to]; !ok && own[to] == nil {
				errs = append(errs, f.wrong(r.Line, "rule %q refers to rule %q, which is not there%s", r.Name, to, suggestRule(to, known)))
			}
		}
	}
	for _, service := range slices.Sorted(maps.Keys(services)) { // each evaluates its rules with its own names
		defaults := services[service]
		share := f.For(defaults)
		for _, name := range slices.Sorted(maps.Keys(share)) {
			for _, to := range references(share[name]) {
				_, given := share[to]
				_, there := defaults[to]
				if _, somewhere := known[to]; somewhere && !given && !there {
					errs = append(errs, f.wrong(own[name].Line, "rule %q refers to rule %q, which service %s does not have", name, to, service))
				}
			}
		}
	}
	for _, r := range f.Rules {
		if _, ok := known[r.Name]; !ok && !referred[r.Name] {
			errs = append(errs, f.wrong(r.Line, "no service has a rule %q%s, and no rule of the file refers to it", r.Name, suggestRule(r.Name, known)))
		}
		if path := circle(r.Name, own, known, nil); path != nil {
			errs = append(errs, f.wrong(r.Line, "rules refer to each other in a circle: %s", strings.Join(path, " → ")))
		}
	}
	return errors.Join(errs...)
}

// For is what the file says to a service with these default rules: its rules, and those that are made for others to refer to. What is another service's
// alone is left out.
func (f *File) For(defaults Rules) Rules {
	if f == nil {
		return nil
	}
	out := Rules{}
	all := map[string]string{}
	for _, r := range f.Rules {
		all[r.Name] = r.Check
	}
	var take func(name string)
	take = func(name string) {
		check, ours := all[name]
		if _, done := out[name]; done || !ours {
			return
		}
		out[name] = check
		for _, to := range references(check) {
			take(to)
		}
	}
	for name := range all {
		if _, ok := defaults[name]; ok {
			take(name)
		}
	}
	return out
}

// Line is where the file has a rule; 0: nowhere.
func (f *File) Line(name string) int {
	if f == nil {
		return 0
	}
	for _, r := range f.Rules {
		if r.Name == name {
			return r.Line
		}
	}
	return 0
}

// references are the rules that a check string names. The string has been parsed before.
func references(text string) []string {
	c, err := parse(text)
	if err != nil {
		return nil
	}
	var out []string
	var walk func(check)
	walk = func(c check) {
		switch c := c.(type) {
		case ruleC:
			out = append(out, string(c))
		case notC:
			walk(c.c)
		case andC:
			for _, x := range c {
				walk(x)
			}
		case orC:
			for _, x := range c {
				walk(x)
			}
		}
	}
	walk(c)
	return out
}

// circle follows references from name until it comes back to it.
func circle(name string, own map[string]*FileRule, known map[string]string, path []string) []string {
	if slices.Contains(path, name) {
		if path[0] == name {
			return append(path, name)
		}
		return nil // a circle, but not through where we began: it is told there
	}
	path = append(path, name)
	text := known[name]
	if r := own[name]; r != nil {
		text = r.Check
	}
	for _, to := range references(text) {
		if found := circle(to, own, known, slices.Clone(path)); found != nil {
			return found
		}
	}
	return nil
}

// suggestRule is " (did you mean …?)" with a known name that differs in a few letters or in its end alone.
func suggestRule(name string, known map[string]string) string {
	best, least := "", len(name)/4+1
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := letters(name, k, least); d < least {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// letters is the edit distance of a and b, or at least most.
func letters(a, b string, most int) int {
	if len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(row[j]+1, row[j-1]+1, cost)
		}
	}
	return row[len(b)]
}
