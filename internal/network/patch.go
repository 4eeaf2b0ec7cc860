package network

import "encoding/json"

// Opt is a field of a request: absent, null, or a value.
type Opt[T any] struct {
	Set  bool // the field was given
	Null bool // and it was null
	V    T
}

// Some is a given value.
func Some[T any](v T) Opt[T] { return Opt[T]{Set: true, V: v} }

// UnmarshalJSON is called only for fields that are there.
func (o *Opt[T]) UnmarshalJSON(b []byte) error {
	o.Set = true
	if string(b) == "null" {
		o.Null = true
		return nil
	}
	return json.Unmarshal(b, &o.V)
}

// to stores a given value; null is the zero value.
func (o Opt[T]) to(dst *T) {
	if o.Set {
		*dst = o.V
	}
}

// or is the value, or d where the field is absent or null.
func (o Opt[T]) or(d T) T {
	if o.Set && !o.Null {
		return o.V
	}
	return d
}
