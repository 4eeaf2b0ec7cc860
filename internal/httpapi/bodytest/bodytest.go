package bodytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Case is one body.
type Case struct {
	Body  string
	Right bool   // the schema takes it
	Field string // the key that was touched; "" for an untouched body
}

// Maker makes bodies for one schema.
type Maker struct {
	doc      any
	compiled *jsonschema.Schema
	rng      *rand.Rand
}

// New reads a schema (JSON text).
func New(schema string, rng *rand.Rand) (*Maker, error) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("mem://schema", doc); err != nil {
		return nil, err
	}
	compiled, err := c.Compile("mem://schema")
	return &Maker{doc: doc, compiled: compiled, rng: rng}, err
}

// raw is a piece of JSON text that stands for itself, so that numbers can be written which no Go type holds.
type raw string

// MarshalJSON implements json.Marshaler.
func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// strange are values that something down the line may stumble over.
var strange = []any{nil, true, false, raw("0"), raw("-1"), raw("1.5"), raw("2147483648"), raw("9223372036854775808"), raw("-9223372036854775809"), raw("1e308"), raw("1e400"), raw("1e99999999"),
	raw("-0.0"), "", " ", "0", "-1", "x", "null", "NaN", "9223372036854775808", "1e5", "９", strings.Repeat("x", 256), strings.Repeat("9", 400), strings.Repeat("ä", 70000), "a\x00b", "line\nbreak", "\x7f",
	"😀", "\u202eabc", raw(`"\ud800"`), "%s%n%x", "../../../etc/passwd", "' OR 1=1; --", "{{7*7}}", "00000000-0000-0000-0000-000000000000", "2001:db8::1", "127.0.0.1", "2024-13-45T99:99:99Z",
	[]any{}, []any{nil}, []any{"x", "x"}, []any{[]any{}}, map[string]any{}, map[string]any{"": nil}, map[string]any{"x": map[string]any{"y": []any{}}}, raw(strings.Repeat("[", 200) + strings.Repeat("]", 200))}

// Cases makes n bodies, of which the first is as right as it could be made.
func (m *Maker) Cases(n int) []Case {
	out := []Case{m.judge(m.sample(m.doc, false), "")}
	for tries := 0; len(out) < n && tries < 20*n; tries++ {
		doc := m.sample(m.doc, m.rng.IntN(3) > 0)
		places := places(nil, doc)
		if len(places) == 0 {
			out = append(out, m.judge(pick(m.rng, strange), ""))
			continue
		}
		p := pick(m.rng, places)
		field := p[len(p)-1]
		switch what := m.rng.IntN(10); {
		case what < 7:
			doc = set(doc, p, pick(m.rng, strange), false)
		case what < 8:
			doc = set(doc, p, nil, true)
		default:
			field = "unknown key"
			doc = set(doc, append(slices.Clone(p[:len(p)-1]), field), "x", false)
		}
		if _, isIndex := index(field); isIndex {
			field = ""
		}
		out = append(out, m.judge(doc, field))
	}
	return out
}

func pick[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

func (m *Maker) judge(doc any, field string) Case {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		panic(fmt.Sprintf("a body that cannot be written: %v", err)) // of our own making
	}
	c := Case{Body: strings.TrimSpace(b.String()), Field: field}
	parsed, err := jsonschema.UnmarshalJSON(&b)
	c.Right = err == nil && m.compiled.Validate(parsed) == nil
	return c
}

// places are the paths of all values below a document.
func places(at []string, doc any) (out [][]string) {
	down := func(key string, value any) {
		path := append(slices.Clone(at), key)
		out = append(append(out, path), places(path, value)...)
	}
	switch v := doc.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			down(k, v[k])
		}
	case []any:
		for i, x := range v {
			down(fmt.Sprint(i), x)
		}
	}
	return out
}

func index(key string) (i int, ok bool) {
	n, err := fmt.Sscanf(key+" ", "%d ", &i)
	return i, err == nil && n == 1
}

// set gives the document another value at a path, or takes it away. A list keeps its length.
func set(doc any, path []string, value any, remove bool) any {
	if len(path) == 0 {
		return value
	}
	switch v := doc.(type) {
	case map[string]any:
		if len(path) == 1 && remove {
			delete(v, path[0])
		} else {
			v[path[0]] = set(v[path[0]], path[1:], value, remove)
		}
		return v
	case []any:
		if i, ok := index(path[0]); ok && i < len(v) {
			v[i] = set(v[i], path[1:], value, remove)
		}
		return v
	}
	return doc
}

// texts are tried where a pattern is asked for.
var texts = []string{"abc", "x", "1", "host1", "true", "0", "-1", "/dev/vdb", "2.0", "a-b", "a:b", "/10.0.0.0"}

var formats = map[string]string{"uuid": "10000000-0000-4000-8000-000000000001", "ipv4": "10.9.8.7", "ipv6": "fd00::1", "date-time": "2024-01-01T00:00:00Z", "uri": "http://example.com/"}

// sample makes a value that the schema should take. all has the optional keys too.
func (m *Maker) sample(schema any, all bool) any {
	s, ok := schema.(map[string]any)
	if !ok {
		return "x"
	}
	if c, ok := s["const"]; ok {
		return c
	}
	if list, ok := s["enum"].([]any); ok && len(list) > 0 {
		return pick(m.rng, list)
	}
	for _, k := range []string{"anyOf", "oneOf"} {
		if list, ok := s[k].([]any); ok && len(list) > 0 && s["properties"] == nil {
			return m.sample(pick(m.rng, list), all)
		}
	}
	if list, ok := s["allOf"].([]any); ok && len(list) > 0 && s["properties"] == nil {
		return m.sample(list[0], all)
	}
	switch m.typeOf(s) {
	case "object":
		return m.object(s, all)
	case "array":
		n := max(int(number(s["minItems"], 0)), 1)
		out := make([]any, n)
		for i := range out {
			out[i] = m.sample(s["items"], all)
		}
		return out
	case "string":
		return m.text(s)
	case "integer", "number":
		return raw(fmt.Sprint(int64(max(number(s["minimum"], 1), number(s["exclusiveMinimum"], 0)+1))))
	case "boolean":
		return m.rng.IntN(2) == 0
	case "null":
		return nil
	}
	return "x"
}

func (m *Maker) typeOf(s map[string]any) string {
	switch t := s["type"].(type) {
	case string:
		return t
	case []any:
		word, _ := pick(m.rng, t).(string)
		return word
	}
	if s["properties"] != nil || s["additionalProperties"] != nil {
		return "object"
	}
	return ""
}

func (m *Maker) object(s map[string]any, all bool) map[string]any {
	out := map[string]any{}
	props, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, k := range slices.Sorted(maps.Keys(props)) {
		if slices.Contains(required, any(k)) || all && m.rng.IntN(2) == 0 {
			out[k] = m.sample(props[k], all)
		}
	}
	if more, ok := s["additionalProperties"].(map[string]any); ok && len(props) == 0 {
		out["key"] = m.sample(more, all)
	}
	return out
}

func (m *Maker) text(s map[string]any) string {
	if f, ok := s["format"].(string); ok {
		return formats[f]
	}
	least, most := int(number(s["minLength"], 0)), int(number(s["maxLength"], 1<<20))
	p, _ := s["pattern"].(string)
	re, err := regexp.Compile(p)
	for _, t := range texts {
		if err == nil && re.MatchString(t) && len(t) >= least && len(t) <= most {
			return t
		}
	}
	return strings.Repeat("x", max(least, 1))
}

func number(x any, otherwise float64) float64 {
	if n, ok := x.(json.Number); ok {
		if f, err := n.Float64(); err == nil {
			return f
		}
	}
	return otherwise
}
