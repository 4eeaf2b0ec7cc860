package api

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/fault"
)

// kind is the type of an attribute's value.
type kind uint8

const (
	kString kind = iota
	kBool
	kInt
	kUUID
	kIP
	kCIDR
	kMAC
	kStrings // list of strings
	kUUIDs   // list of ids
	kObject
	kObjects // list of objects
)

// when says in which requests an attribute may be given.
type when uint8

const (
	never when = 0
	post  when = 1
	put   when = 2
	both  when = post | put
)

// attr is one row of a resource's table. All attributes can be filtered, sorted and projected by.
type attr struct {
	name     string
	kind     kind
	set      when
	required bool // in POST
	null     bool // null is a value
	min, max int  // kInt: bounds (both 0: none); kString: max length, 0 for 255
	enum     []string
	keys     []string          // kObject, kObjects: the keys an object may have; nil: any
	setRule  string            // policy expression to set it, beside the resource's own rule; "" = none
	setIf    func(v any) bool  // the rule is asked only for such values; nil: for all
	getRule  string            // policy expression to see it
	check    func(v any) error // a last check on the converted value
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$`)

func (a *attr) bad(format string, args ...any) error {
	return fault.Invalid(a.name, "Invalid input for %s. Reason: %s", a.name, fmt.Sprintf(format, args...)).WithType("HTTPBadRequest")
}

// convert gives the value in its own type, or Neutron's words for why not.
func (a *attr) convert(v any) (any, error) {
	if v == nil {
		if a.null {
			return nil, nil
		}
		return nil, a.bad("'None' is not a valid value.")
	}
	out, err := a.byKind(v)
	if err != nil {
		return nil, err
	}
	if s, ok := out.(string); ok && len(a.enum) > 0 && !slices.ContainsFunc(a.enum, func(e string) bool { return strings.EqualFold(e, s) }) {
		return nil, a.bad("'%s' is not in ['%s'].", s, strings.Join(a.enum, "', '"))
	}
	if n, ok := out.(int); ok && (a.min != 0 || a.max != 0) && (n < a.min || n > a.max) {
		return nil, a.bad("'%d' is not in the range %d to %d.", n, a.min, a.max)
	}
	if a.check != nil {
		return out, a.check(out)
	}
	return out, nil
}

func (a *attr) byKind(v any) (any, error) {
	switch a.kind {
	case kBool:
		return a.bool(v)
	case kInt:
		return a.int(v)
	case kStrings, kUUIDs:
		list, ok := v.([]any)
		if !ok {
			return nil, a.bad("'%v' is not a list.", v)
		}
		item := attr{name: a.name, kind: kString, max: a.max}
		if a.kind == kUUIDs {
			item.kind = kUUID
		}
		out := []string{}
		for _, x := range list {
			s, err := item.convert(x)
			if err != nil {
				return nil, err
			}
			if a.kind == kUUIDs && slices.Contains(out, s.(string)) {
				return nil, a.bad("Duplicate items in the list: '%s'.", s)
			}
			out = append(out, s.(string))
		}
		return out, nil
	case kObject:
		return v, a.object(v)
	case kObjects:
		list, ok := v.([]any)
		if !ok {
			return nil, a.bad("'%v' is not a list.", v)
		}
		for _, x := range list {
			if err := a.object(x); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
	s, ok := v.(string)
	if !ok {
		if n, isNumber := v.(json.Number); isNumber && a.kind == kString && len(a.enum) == 0 && a.name == "protocol" {
			return n.String(), nil // a protocol number may come as a number
		}
		return nil, a.bad("'%v' is not a valid string.", v)
	}
	return s, a.text(s)
}

func (a *attr) text(s string) error {
	var err error
	switch a.kind {
	case kUUID:
		if !uuidForm.MatchString(s) {
			return a.bad("'%s' is not a valid UUID.", s)
		}
	case kIP:
		if _, err = netip.ParseAddr(s); err != nil {
			return a.bad("'%s' is not a valid IP address.", s)
		}
	case kCIDR:
		_, err = netip.ParsePrefix(s)
		if _, err2 := netip.ParseAddr(s); err != nil && err2 != nil {
			return a.bad("'%s' is not a valid IP subnet.", s)
		}
	case kMAC:
		if m, err := net.ParseMAC(s); err != nil || len(m) != 6 {
			return a.bad("'%s' is not a valid MAC address.", s)
		}
	default:
		most := a.max
		if most == 0 {
			most = 255
		}
		if len([]rune(s)) > most {
			return a.bad("'%s' exceeds maximum length of %d.", s, most)
		}
		if strings.ContainsRune(s, 0) {
			return a.bad("a null character is not allowed.")
		}
	}
	return nil
}

func (a *attr) bool(v any) (any, error) {
	switch fmt.Sprint(v) {
	case "true", "True", "TRUE", "1":
		return true, nil
	case "false", "False", "FALSE", "0":
		return false, nil
	}
	return nil, a.bad("'%v' cannot be converted to boolean.", v)
}

func (a *attr) int(v any) (any, error) {
	switch v.(type) {
	case json.Number, string:
	default:
		return nil, a.bad("'%v' is not an integer.", v)
	}
	n, err := strconv.Atoi(fmt.Sprint(v))
	if err != nil {
		return nil, a.bad("'%v' is not an integer.", v)
	}
	return n, nil
}

// object checks the keys, and that values that the room reads as text are text.
func (a *attr) object(v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return a.bad("'%v' is not a dictionary.", v)
	}
	if a.keys == nil {
		return nil
	}
	for k, x := range m {
		if !slices.Contains(a.keys, k) {
			return a.bad("Invalid data format: unexpected key '%s'.", k)
		}
		switch x.(type) {
		case string, nil:
		case json.Number:
			if k != "ip_version" {
				return a.bad("'%v' is not a valid value of %s.", x, k)
			}
		case bool:
			if k != "enable_snat" {
				return a.bad("'%v' is not a valid value of %s.", x, k)
			}
		case []any:
			if k != "external_fixed_ips" {
				return a.bad("'%v' is not a valid value of %s.", x, k)
			}
		default:
			return a.bad("'%v' is not a valid value of %s.", x, k)
		}
	}
	return nil
}

// body checks the object of a request against the table and gives it in the attributes' types.
func (s *spec) body(in map[string]any, w when) (map[string]any, error) {
	out := make(map[string]any, len(in))
	var unknown []string
	for k, v := range in {
		a := s.attr(k)
		switch {
		case a == nil:
			unknown = append(unknown, k)
			continue
		case a.set&w == 0 && w == post:
			return nil, fault.Invalid(k, "Attribute '%s' not allowed in POST", k).WithType("HTTPBadRequest")
		case a.set&w == 0:
			return nil, fault.Invalid(k, "Cannot update read-only attribute %s", k).WithType("HTTPBadRequest")
		}
		c, err := a.convert(v)
		if err != nil {
			return nil, err
		}
		out[k] = c
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return nil, fault.Invalid(unknown[0], "Unrecognized attribute(s) '%s'", strings.Join(unknown, ", ")).WithType("HTTPBadRequest")
	}
	if w == post {
		for i := range s.attrs {
			a := &s.attrs[i]
			if _, ok := out[a.name]; a.required && !ok {
				return nil, fault.Invalid(a.name, "Failed to parse request. Required attribute '%s' not specified", a.name).WithType("HTTPBadRequest")
			}
		}
	}
	return out, nil
}
