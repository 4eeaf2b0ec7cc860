package api

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// flexBool is a bool as Nova takes it: also as word or number.
type flexBool bool

var words = map[string]bool{"1": true, "t": true, "true": true, "on": true, "y": true, "yes": true, "0": false, "f": false, "false": false, "off": false, "n": false, "no": false, "": false}

func parseBool(s string) (value, ok bool) {
	value, ok = words[strings.ToLower(strings.TrimSpace(s))]
	return value, ok
}

// UnmarshalJSON implements json.Unmarshaler.
func (b *flexBool) UnmarshalJSON(data []byte) error {
	value, ok := parseBool(strings.Trim(string(data), `"`))
	if !ok && string(data) != "null" {
		return fmt.Errorf("%s is no boolean", data)
	}
	*b = flexBool(value)
	return nil
}

// flexInt is an integer that may come as a string of digits.
type flexInt int

// UnmarshalJSON implements json.Unmarshaler.
func (i *flexInt) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	n, err := strconv.Atoi(strings.Trim(string(data), `"`))
	if err != nil {
		return fmt.Errorf("%s is no integer", data)
	}
	*i = flexInt(n)
	return nil
}

// flexText is a string that may come as a number or a boolean.
type flexText string

// UnmarshalJSON implements json.Unmarshaler.
func (t *flexText) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = flexText(s)
		return nil
	}
	var yes bool
	if json.Unmarshal(data, &yes) == nil {
		*t = flexText(strconv.FormatBool(yes))
		return nil
	}
	var n json.Number
	if err := json.Unmarshal(data, &n); err != nil {
		return err
	}
	*t = flexText(n.String())
	return nil
}

// shortest is an IPv6 address in its canonical form (RFC 5952), in which Nova keeps accessIPv6; what is none stays as it is.
func shortest(addr string) string {
	if a, err := netip.ParseAddr(addr); err == nil {
		return a.String()
	}
	return addr
}

// textOf is a JSON value as it was written.
func textOf(x any) string {
	b, err := json.Marshal(x)
	if err != nil {
		return ""
	}
	return string(b)
}

// lastPart is the id in a reference that may be a URL.
func lastPart(ref string) string {
	ref = strings.TrimRight(ref, "/")
	return ref[strings.LastIndexByte(ref, '/')+1:]
}

// zulu is Nova's usual form of a time; null when there is none.
func zulu(t db.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// micros is the form of OS-SRV-USG, instance actions and services: microseconds, no zone.
func micros(t db.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}

var timeForms = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02T15:04", "2006-01-02"}

// parseTime reads ISO 8601 as Nova's clients write it; without a zone it is UTC. A "+" that a client did not escape arrives as a blank.
func parseTime(s string) (time.Time, bool) {
	for _, text := range []string{s, strings.Replace(s, " ", "+", 1)} {
		for _, form := range timeForms {
			if t, err := time.Parse(form, text); err == nil {
				return t.UTC(), true
			}
		}
	}
	return time.Time{}, false
}

// timeParam reads a time of the query; zero when it is not there, 400 when it cannot be read.
func timeParam(r *httpapi.Request, name string) (time.Time, error) {
	s := r.URL.Query().Get(name)
	if s == "" {
		return time.Time{}, nil
	}
	t, ok := parseTime(s)
	if !ok {
		return t, fault.Invalid(name, "Invalid input for query parameters %s. Value: %s. It is not a date and time.", name, s)
	}
	return t, nil
}

// number is the integer by which clients before 2.53 know what has a uuid: they only hand it back.
func number(uuid string) int { return int(crc32.ChecksumIEEE([]byte(uuid)) & 0x7fffffff) }

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func orNothing(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func orNone(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// name cleans a display name: /v2 strips blanks around it, /v2.1 refuses them (Nova).
func name(r *httpapi.Request, field, s string) (string, error) {
	t := strings.TrimSpace(s)
	if r.Mount.Lenient {
		s = t
	}
	if s != t || s == "" {
		return "", fault.Invalid(field, "Invalid input for field/attribute %s. Value: %s. Leading or trailing blanks are not allowed, and it must not be empty.", field, s)
	}
	return s, nil
}

// listed finds a page in a list that lies in memory: what is behind the marker, at most the limit. id names an item.
func listed[T any](p httpapi.Page, all []T, id func(*T) string) ([]T, error) {
	if p.Marker != "" {
		at := -1
		for i := range all {
			if id(&all[i]) == p.Marker {
				at = i
			}
		}
		if at < 0 {
			return nil, fault.Invalid("marker", "Marker %s could not be found.", p.Marker)
		}
		all = all[at+1:]
	}
	return all[:min(len(all), p.Limit)], nil
}
