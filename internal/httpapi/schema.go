package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"nephos/internal/fault"
)

// Schemas are JSON schemas (draft 2020-12 by default) by the microversion that brought them, oldest first. The one in force is the newest that is not
// newer than the request; an empty JSON means "no schema from here on".
type Schemas []Schema

// Schema is one version of a body's or query's schema.
type Schema struct {
	Since Version
	JSON  string
}

// compiled is a Schemas that is compiled when it is first needed: a cloud has hundreds, of which most are not asked for in the first second, or ever.
type compiled struct {
	since           Version
	strict, lenient func() (*jsonschema.Schema, error) // nil: no schema from here on
}

func (s Schemas) compile(name string) []compiled {
	var out []compiled
	for i, v := range s {
		c := compiled{since: v.Since}
		if v.JSON != "" {
			c.strict = sync.OnceValues(func() (*jsonschema.Schema, error) {
				return compileOne(fmt.Sprintf("mem://%s-%d", name, i), v.JSON, false)
			})
			c.lenient = sync.OnceValues(func() (*jsonschema.Schema, error) {
				return compileOne(fmt.Sprintf("mem://%s-%d-lenient", name, i), v.JSON, true)
			})
		}
		out = append(out, c)
	}
	return out
}

func compileOne(url, text string, lenient bool) (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", url, err)
	}
	if lenient {
		dropAdditional(doc)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(url, doc); err != nil {
		return nil, err
	}
	return c.Compile(url)
}

// dropAdditional removes every "additionalProperties": false.
func dropAdditional(doc any) {
	switch v := doc.(type) {
	case map[string]any:
		if v["additionalProperties"] == false {
			delete(v, "additionalProperties")
		}
		for _, x := range v {
			dropAdditional(x)
		}
	case []any:
		for _, x := range v {
			dropAdditional(x)
		}
	}
}

// pick gives the schema in force, nil for none.
func pick(all []compiled, v Version, lenient bool) (*jsonschema.Schema, error) {
	var in func() (*jsonschema.Schema, error)
	for _, c := range all {
		if v.AtLeast(c.since) {
			in = c.strict
			if lenient {
				in = c.lenient
			}
		}
	}
	if in == nil {
		return nil, nil
	}
	return in()
}

// CheckSchemas compiles every schema of the tables: for tests, since one that is wrong shows only when it is needed.
func (s *Service) CheckSchemas() error {
	var errs []error
	for _, r := range append(slices.Clone(s.Root), s.Routes...) {
		for _, c := range append(r.Body.compile(r.Name+"-body"), r.Query.compile(r.Name+"-query")...) {
			for _, in := range []func() (*jsonschema.Schema, error){c.strict, c.lenient} {
				if in != nil {
					_, err := in()
					errs = append(errs, err)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// parseJSON reads exactly one JSON value.
func parseJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data after the JSON value")
	}
	return v, nil
}

var english = message.NewPrinter(language.English)

// validate turns a schema violation into a 400 that names the field, its value and the reason in OpenStack's form.
func validate(s *jsonschema.Schema, doc any, query bool) error {
	if s == nil {
		return nil
	}
	err := s.Validate(doc)
	if err == nil {
		return nil
	}
	ve, ok := err.(*jsonschema.ValidationError)
	if !ok {
		return err
	}
	leaf := deepest(ve)
	reason := leaf.ErrorKind.LocalizedString(english)
	path := strings.Join(leaf.InstanceLocation, ".")
	if path == "" {
		return fault.Invalid("", "Invalid input: %s", reason)
	}
	found := at(doc, leaf.InstanceLocation)
	if slices.ContainsFunc(leaf.InstanceLocation, isSecret) {
		if text, ok := found.(string); ok && text != "" {
			reason = strings.ReplaceAll(reason, text, hidden)
		}
		found = hidden
	}
	value, _ := json.Marshal(hide(found))
	if len(value) > 200 {
		value = append(value[:200:200], "…"...)
	}
	if query {
		return fault.Invalid(path, "Invalid input for query parameters %s. Value: %s. %s", leaf.InstanceLocation[0], value, reason)
	}
	return fault.Invalid(path, "Invalid input for field/attribute %s. Value: %s. %s", fieldName(doc, leaf.InstanceLocation), value, reason)
}

// hidden stands in messages for what nobody may read there: they are shown on screens and kept in logs of clients and proxies.
const hidden = "***"

// isSecret says whether a field of this name holds a secret, in any service's bodies.
func isSecret(name string) bool {
	switch strings.ToLower(name) {
	case "password", "original_password", "adminpass", "admin_pass", "secret", "passcode", "blob", "token", "credentials", "passwordcredentials":
		return true
	}
	return false
}

// hide is a value with what its secret fields hold taken out.
func hide(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			if out[k] = hidden; !isSecret(k) {
				out[k] = hide(x)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = hide(x)
		}
		return out
	}
	return v
}

// fieldName is the field at fault as a message names it: as in Nova its own name, without what it is in; but within a list, where that would be a bare
// number or the same for every item, the path from the list on: "networks.0.uuid".
func fieldName(doc any, path []string) string {
	for i, p := range path {
		if _, list := doc.([]any); list {
			return strings.Join(path[max(0, i-1):], ".")
		}
		doc = at(doc, []string{p})
	}
	if last := len(path) - 1; last > 0 && strings.TrimSpace(path[last]) == "" { // a key that nobody could read
		return path[last-1] + "." + path[last]
	}
	return path[len(path)-1]
}

// deepest picks the violation with the longest path: of several alternatives the one that fits furthest is what the user meant.
func deepest(e *jsonschema.ValidationError) *jsonschema.ValidationError {
	best := e
	var leaves []*jsonschema.ValidationError
	var walk func(*jsonschema.ValidationError)
	walk = func(x *jsonschema.ValidationError) {
		if len(x.Causes) == 0 {
			leaves = append(leaves, x)
		}
		for _, c := range x.Causes {
			walk(c)
		}
	}
	walk(e)
	sort.SliceStable(leaves, func(i, j int) bool {
		return len(leaves[i].InstanceLocation) > len(leaves[j].InstanceLocation)
	})
	if len(leaves) > 0 {
		best = leaves[0]
	}
	return best
}

func at(doc any, path []string) any {
	for _, p := range path {
		switch v := doc.(type) {
		case map[string]any:
			doc = v[p]
		case []any:
			var i int
			if _, err := fmt.Sscan(p, &i); err != nil || i < 0 || i >= len(v) {
				return nil
			}
			doc = v[i]
		default:
			return nil
		}
	}
	return doc
}
