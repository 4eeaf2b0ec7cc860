package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/identity"
)

// opt is a field that may be absent, null or there.
type opt[T any] struct {
	set, null bool
	v         T
}

// UnmarshalJSON implements json.Unmarshaler; encoding/json calls it for null too, and not at all for an absent field.
func (o *opt[T]) UnmarshalJSON(b []byte) error {
	o.set = true
	if bytes.Equal(b, []byte("null")) {
		o.null = true
		return nil
	}
	return json.Unmarshal(b, &o.v)
}

// into sets dst if the field is there; null is the zero value.
func (o opt[T]) into(dst *T) {
	if o.set {
		*dst = o.v
	}
}

// or gives the value, or d if the field is absent or null.
func (o opt[T]) or(d T) T {
	if o.set && !o.null {
		return o.v
	}
	return d
}

// read takes {key: {…}} apart: what T names, and all other attributes as extra. The route's schema has checked the types.
func read[T any](r *httpapi.Request, key string) (T, identity.Extra, error) {
	var t T
	var doc map[string]json.RawMessage
	if err := r.Decode(&doc); err != nil {
		return t, nil, err
	}
	if err := json.Unmarshal(doc[key], &t); err != nil {
		return t, nil, fault.Invalid(key, "Invalid input for field '%s': %v", key, err)
	}
	extra := identity.Extra{}
	if err := json.Unmarshal(doc[key], &extra); err != nil {
		return t, nil, fault.Invalid(key, "Invalid input for field '%s': %v", key, err)
	}
	var id string
	if have := r.Param("id"); have != "" && extra["id"] != nil && (json.Unmarshal(extra["id"], &id) != nil || id != have) {
		return t, nil, fault.Invalid("id", "Cannot change the id of %s %s.", key, have)
	}
	delete(extra, "id")
	delete(extra, "links")
	typ := reflect.TypeFor[T]()
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		delete(extra, name)
	}
	return t, extra, nil
}

// merge puts new attributes over old ones.
func merge(old, more identity.Extra) identity.Extra {
	out := maps.Clone(old)
	if out == nil {
		out = identity.Extra{}
	}
	maps.Copy(out, more)
	return out
}

// mergeOptions is merge for options, where null takes one away.
func mergeOptions(old, more identity.Options) identity.Options {
	out := maps.Clone(old)
	if out == nil {
		out = identity.Options{}
	}
	for k, v := range more {
		if string(v) == "null" {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

// view starts an answer with the extra attributes; what the caller sets afterwards wins.
func view(r *httpapi.Request, extra identity.Extra, segments ...string) map[string]any {
	out := map[string]any{}
	for k, v := range extra {
		out[k] = v
	}
	out["links"] = map[string]any{"self": r.Link(segments...)}
	return out
}

func options(o identity.Options) identity.Options {
	if o == nil {
		return identity.Options{}
	}
	return o
}

// null gives nil for "".
func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}
