package api

import (
	"encoding/json"
	"slices"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/image"
)

// Glance's three sorts of attribute names that are no free properties.
var (
	readOnly = []string{"created_at", "updated_at", "status", "checksum", "size", "virtual_size", "direct_url", "self", "file", "schema", "stores",
		"os_hash_algo", "os_hash_value"}
	reserved = []string{"deleted", "deleted_at", "location", "is_public"}
	settable = []string{"name", "owner", "visibility", "disk_format", "container_format", "min_disk", "min_ram", "protected", "os_hidden", "tags"}
)

// writable refuses (403) what nobody sets by hand. id is settable at creation only and handled there.
func writable(name string) error {
	switch {
	case slices.Contains(readOnly, name), name == "id":
		return fault.Forbidden("Attribute '%s' is read-only.", name)
	case slices.Contains(reserved, name), strings.HasPrefix(name, "os_glance"):
		return fault.Forbidden("Attribute '%s' is reserved.", name)
	case name == "locations": // PATCH has its own way for them
		return fault.Forbidden("It's not allowed to update locations if locations are invisible.")
	}
	return nil
}

func isBase(name string) bool {
	return name == "id" || slices.Contains(settable, name) || slices.Contains(readOnly, name)
}

func wrongType(name, want string) error {
	return fault.Invalid(name, "Provided object does not match schema 'image': %s is not of type %s", name, want)
}

// set gives one attribute a value of a JSON document: 400 when it has not the schema's type, 403 when it may not be set. Whether the value
// is allowed is the room's to say.
func set(img *image.Image, name string, value any) error {
	if err := writable(name); err != nil {
		return err
	}
	switch name {
	case "name":
		return setText(&img.Name, name, value, true)
	case "owner":
		return setText(&img.Owner, name, value, true)
	case "disk_format":
		return setText(&img.DiskFormat, name, value, true)
	case "container_format":
		return setText(&img.ContainerFormat, name, value, true)
	case "visibility":
		var v string
		if err := setText(&v, name, value, false); err != nil {
			return err
		}
		if v == "" {
			return fault.Invalid(name, "Invalid value '' for attribute visibility: it must be public, community, shared or private")
		}
		img.Visibility = image.Visibility(v)
		return nil
	case "min_disk":
		return setNumber(&img.MinDiskGiB, name, value)
	case "min_ram":
		return setNumber(&img.MinRAMMiB, name, value)
	case "protected":
		return setBool(&img.Protected, name, value)
	case "os_hidden":
		return setBool(&img.Hidden, name, value)
	case "tags":
		return setTags(img, value)
	}
	var text string
	if err := setText(&text, name, value, false); err != nil {
		return err
	}
	if img.Properties == nil {
		img.Properties = map[string]string{}
	}
	img.Properties[name] = text
	return nil
}

func setText(to *string, name string, value any, null bool) error {
	switch v := value.(type) {
	case string:
		*to = v
	case nil:
		if !null {
			return wrongType(name, "string")
		}
		*to = ""
	default:
		return wrongType(name, "string")
	}
	return nil
}

func setNumber(to *int64, name string, value any) error {
	n, ok := value.(json.Number)
	if !ok {
		return wrongType(name, "integer")
	}
	i, err := n.Int64()
	if err != nil {
		return wrongType(name, "integer")
	}
	*to = i
	return nil
}

func setBool(to *bool, name string, value any) error {
	b, ok := value.(bool)
	if !ok {
		return wrongType(name, "boolean")
	}
	*to = b
	return nil
}

func setTags(img *image.Image, value any) error {
	list, ok := value.([]any)
	if !ok {
		return wrongType("tags", "array of strings")
	}
	tags := make([]string, 0, len(list))
	for _, x := range list {
		t, ok := x.(string)
		if !ok {
			return wrongType("tags", "array of strings")
		}
		tags = append(tags, t)
	}
	img.Tags = tags
	return nil
}
