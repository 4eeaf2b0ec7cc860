package api

import (
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
)

// schema is GET /schemas/{name}: what glanceclient and warlock build their models from.
func (s *server) schema(r *httpapi.Request) (any, error) {
	switch r.Param("name") {
	case "image":
		return s.imageSchema(), nil
	case "images":
		return listSchema("images", s.imageSchema()), nil
	case "member":
		return memberSchema(), nil
	case "members":
		return listSchema("members", memberSchema()), nil
	case "task":
		return taskSchema(), nil
	case "tasks":
		return listSchema("tasks", taskSchema()), nil
	}
	return nil, fault.NotFound("There is no schema %q.", r.Param("name"))
}

type object = map[string]any

func prop(typ any, description string, more ...object) object {
	o := object{"type": typ, "description": description}
	for _, m := range more {
		for k, v := range m {
			o[k] = v
		}
	}
	return o
}

var fixed = object{"readOnly": true}

// imageSchema has the attributes that are shown only by configuration where they are.
func (s *server) imageSchema() object {
	out := imageSchema()
	properties := out["properties"].(object)
	if s.showLocations {
		properties["locations"] = prop("array", "A set of URLs to access the image file kept in external store", object{"items": object{"type": "object", "required": []string{"url", "metadata"},
			"properties": object{"url": object{"type": "string", "maxLength": image.MaxName}, "metadata": object{"type": "object"}, "validation_data": object{"type": "object"}}}})
	}
	if s.showDirectURL {
		properties["direct_url"] = prop("string", "URL to access the image file kept in external store", fixed)
	}
	return out
}

func taskSchema() object {
	return object{
		"name": "task",
		"properties": object{
			"id":         prop("string", "An identifier for the task", fixed),
			"type":       prop("string", "The type of task represented by this content", object{"enum": []string{"import", "api_image_import", "location_import"}}),
			"status":     prop("string", "The current status of this task", fixed, object{"enum": []string{"pending", "processing", "success", "failure"}}),
			"input":      prop([]string{"null", "object"}, "The parameters required by task, JSON blob"),
			"result":     prop([]string{"null", "object"}, "The result of current task, JSON blob", fixed),
			"owner":      prop("string", "An identifier for the owner of this task", fixed),
			"message":    prop("string", "Human-readable informative message only included when appropriate (usually on failure)", fixed),
			"image_id":   prop([]string{"null", "string"}, "Image associated with the task", fixed),
			"request_id": prop([]string{"null", "string"}, "Human-readable request-id", fixed),
			"user_id":    prop([]string{"null", "string"}, "User associated with the task", fixed),
			"expires_at": prop([]string{"null", "string"}, "Datetime when this resource is subject to removal", fixed),
			"created_at": prop("string", "Datetime when this resource was created", fixed),
			"updated_at": prop("string", "Datetime when this resource was updated", fixed),
			"self":       prop("string", "The task's own URL", fixed),
			"schema":     prop("string", "The URL of this schema", fixed),
		},
	}
}

func imageSchema() object {
	orNone := func(t string) []string { return []string{"null", t} }
	formats := func(names []string) object {
		list := []any{nil}
		for _, n := range names {
			list = append(list, n)
		}
		return object{"enum": list}
	}
	uuid := object{"pattern": "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"}
	most := func(n int) object { return object{"maxLength": n} }
	return object{
		"name":                 "image",
		"additionalProperties": object{"type": "string"},
		"links":                []object{{"rel": "self", "href": "{self}"}, {"rel": "enclosure", "href": "{file}"}, {"rel": "describedby", "href": "{schema}"}},
		"properties": object{
			"id":     prop("string", "An identifier for the image", uuid),
			"name":   prop(orNone("string"), "Descriptive name for the image", most(image.MaxName)),
			"status": prop("string", "Status of the image", fixed, object{"enum": []string{"queued", "saving", "active", "killed", "deleted", "uploading", "importing", "pending_delete", "deactivated"}}),
			"visibility": prop("string", "Scope of image accessibility",
				object{"enum": []string{"community", "public", "private", "shared"}}),
			"protected":        prop("boolean", "If true, image will not be deletable."),
			"os_hidden":        prop("boolean", "If true, image will not appear in default image list response."),
			"checksum":         prop(orNone("string"), "md5 hash of image contents.", fixed, most(32)),
			"os_hash_algo":     prop(orNone("string"), "Algorithm to calculate the os_hash_value", fixed, most(64)),
			"os_hash_value":    prop(orNone("string"), "Hexdigest of the image contents using the algorithm specified by the os_hash_algo", fixed, most(128)),
			"owner":            prop(orNone("string"), "Owner of the image", most(image.MaxName)),
			"size":             prop(orNone("integer"), "Size of image file in bytes", fixed),
			"virtual_size":     prop(orNone("integer"), "Virtual size of image in bytes", fixed),
			"container_format": prop(orNone("string"), "Format of the container", formats(image.ContainerFormats)),
			"disk_format":      prop(orNone("string"), "Format of the disk", formats(image.DiskFormats)),
			"created_at":       prop("string", "Date and time of image registration", fixed),
			"updated_at":       prop("string", "Date and time of the last image modification", fixed),
			"tags":             prop("array", "List of strings related to the image", object{"items": object{"type": "string", "maxLength": image.MaxName}}),
			"min_ram":          prop("integer", "Amount of ram (in MB) required to boot image."),
			"min_disk":         prop("integer", "Amount of disk space (in GB) required to boot image."),
			"self":             prop("string", "An image self url", fixed),
			"file":             prop("string", "An image file url", fixed),
			"schema":           prop("string", "An image schema url", fixed),
		},
	}
}

func memberSchema() object {
	return object{
		"name": "member",
		"properties": object{
			"member_id":  prop("string", "An identifier for the image member (tenantId)"),
			"image_id":   prop("string", "An identifier for the image"),
			"created_at": prop("string", "Date and time of image member creation"),
			"updated_at": prop("string", "Date and time of last modification of image member"),
			"status":     prop("string", "The status of this image member", object{"enum": []string{"pending", "accepted", "rejected"}}),
			"schema":     prop("string", "URL for schema of the member", fixed),
		},
	}
}

func listSchema(name string, item object) object {
	properties := object{
		name:     object{"type": "array", "items": item},
		"schema": object{"type": "string"},
	}
	out := object{"name": name, "properties": properties, "links": []object{{"rel": "describedby", "href": "{schema}"}}}
	if name == "images" || name == "tasks" {
		properties["first"], properties["next"] = object{"type": "string"}, object{"type": "string"}
		out["links"] = []object{{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"}}
	}
	return out
}
