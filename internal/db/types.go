package db

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"time"
)

// Time is a column of microseconds since 1970 UTC; the zero Time is 0.
type Time struct{ time.Time }

// Now is the present with the precision that the database keeps.
func Now() Time { return At(time.Now()) }

// At converts t, cutting it to microseconds.
func At(t time.Time) Time {
	if t.IsZero() {
		return Time{}
	}
	return Time{t.UTC().Truncate(time.Microsecond)}
}

// Value implements driver.Valuer.
func (t Time) Value() (driver.Value, error) {
	if t.IsZero() {
		return int64(0), nil
	}
	return t.UnixMicro(), nil
}

// Scan implements sql.Scanner; NULL and 0 give the zero Time.
func (t *Time) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		t.Time = time.Time{}
	case int64:
		t.Time = time.Time{}
		if v != 0 {
			t.Time = time.UnixMicro(v).UTC()
		}
	default:
		return fmt.Errorf("db.Time: cannot scan %T", src)
	}
	return nil
}

// JSON is a TEXT column that holds V as JSON; NULL and "" give the zero V.
type JSON[T any] struct{ V T }

// AsJSON wraps v.
func AsJSON[T any](v T) JSON[T] { return JSON[T]{V: v} }

// Value implements driver.Valuer.
func (j JSON[T]) Value() (driver.Value, error) {
	b, err := json.Marshal(j.V)
	return string(b), err
}

// Scan implements sql.Scanner.
func (j *JSON[T]) Scan(src any) error {
	var b []byte
	switch v := src.(type) {
	case nil:
	case string:
		b = []byte(v)
	case []byte:
		b = v
	default:
		return fmt.Errorf("db.JSON: cannot scan %T", src)
	}
	var zero T
	j.V = zero
	if len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, &j.V)
}
