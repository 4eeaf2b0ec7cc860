package api

import (
	"mime"
	"slices"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
)

// The media types of PATCH.
const (
	patchV21 = "application/openstack-images-v2.1-json-patch"
	patchV20 = "application/openstack-images-v2.0-json-patch"
)

var patchTypes = map[string]func(any) ([]operation, error){patchV21: parseV21, patchV20: parseV20}

func mediaType(r *httpapi.Request) string {
	t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

// operation is one step of Glance's cut of JSON patch (RFC 6902): add, replace and remove of whole attributes.
type operation struct {
	op    string
	name  string
	sub   string // locations only: the position, or "-"
	value any
}

var patchOps = []string{"add", "replace", "remove"}

func parseV21(doc any) ([]operation, error) { return parsePatch(doc, readV21) }
func parseV20(doc any) ([]operation, error) { return parsePatch(doc, readV20) }

func parsePatch(doc any, read func(map[string]any) (op, path string, err error)) ([]operation, error) {
	list, ok := doc.([]any)
	if !ok {
		return nil, fault.Invalid("", "Request body must be a JSON array of operation objects.")
	}
	out := make([]operation, 0, len(list))
	for _, x := range list {
		obj, ok := x.(map[string]any)
		if !ok {
			return nil, fault.Invalid("", "Operations must be JSON objects.")
		}
		op, path, err := read(obj)
		if err != nil {
			return nil, err
		}
		name, sub, err := attributeOf(path)
		if err != nil {
			return nil, err
		}
		value, given := obj["value"]
		if op != "remove" && !given {
			return nil, fault.Invalid("value", "Operation \"%s\" requires a member named \"value\".", op)
		}
		out = append(out, operation{op, name, sub, value})
	}
	return out, nil
}

// readV21: {"op": "add", "path": "/name", "value": …}.
func readV21(obj map[string]any) (op, path string, err error) {
	op, ok := obj["op"].(string)
	if !ok {
		return "", "", fault.Invalid("op", "Unable to find 'op' in JSON Schema change: it must be one of %s", strings.Join(patchOps, ", "))
	}
	if !slices.Contains(patchOps, op) {
		return "", "", fault.Invalid("op", "Invalid operation: `%s`. It must be one of the following: %s.", op, strings.Join(patchOps, ", "))
	}
	path, ok = obj["path"].(string)
	if !ok {
		return "", "", fault.Invalid("path", "Unable to find 'path' in JSON Schema change")
	}
	return op, path, nil
}

// readV20: {"add": "/name", "value": …}.
func readV20(obj map[string]any) (op, path string, err error) {
	for _, o := range patchOps {
		v, given := obj[o]
		if !given {
			continue
		}
		p, ok := v.(string)
		if !ok || op != "" {
			return "", "", fault.Invalid(o, "Operation objects must contain exactly one member named 'add', 'replace' or 'remove', with a path.")
		}
		op, path = o, p
	}
	if op == "" {
		return "", "", fault.Invalid("", "Operation objects must contain only one member named 'add', 'replace' or 'remove'.")
	}
	return op, path, nil
}

// attributeOf decodes a JSON pointer (RFC 6901) of one segment; locations may have a second.
func attributeOf(path string) (name, sub string, err error) {
	rest, ok := strings.CutPrefix(path, "/")
	switch {
	case !ok:
		return "", "", fault.Invalid("path", "Pointer `%s` does not start with \"/\".", path)
	case rest == "":
		return "", "", fault.Invalid("path", "Pointer `%s` does not name an attribute.", path)
	case strings.HasPrefix(rest, "locations/"):
		sub, _ = strings.CutPrefix(rest, "locations/")
		if sub == "" || strings.Contains(sub, "/") {
			return "", "", fault.Invalid("path", "Invalid JSON pointer for this resource: '%s'", path)
		}
		return "locations", sub, nil
	case strings.Contains(rest, "/"):
		return "", "", fault.Invalid("path", "Invalid JSON pointer for this resource: '%s'", path)
	}
	for i := 0; i < len(rest); i++ {
		if rest[i] == '~' && (i+1 == len(rest) || rest[i+1] != '0' && rest[i+1] != '1') {
			return "", "", fault.Invalid("path", "Pointer `%s` contains \"~\" not part of a recognized escape sequence.", path)
		}
	}
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(rest), "", nil
}

// apply runs the operations in order on img; after an error img is half changed and must be thrown away. Glance's rules: add makes or
// overwrites; replace and remove of a property that is not there are 409; a base attribute can be given a value but not removed (403).
func apply(img *image.Image, ops []operation) error {
	for _, o := range ops {
		if err := writable(o.name); err != nil {
			return err
		}
		_, there := img.Properties[o.name]
		base := isBase(o.name)
		switch {
		case o.op == "remove" && base:
			return fault.Forbidden("Property %s may not be removed.", o.name)
		case o.op != "add" && !base && !there:
			return fault.Conflict("Property %s does not exist.", o.name)
		case o.op == "remove":
			delete(img.Properties, o.name)
		default:
			if err := set(img, o.name, o.value); err != nil {
				return err
			}
		}
	}
	return nil
}
