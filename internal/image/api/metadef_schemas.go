package api

import (
	"encoding/json"

	"nephos/internal/httpapi"
)

// The bodies of the metadata definition calls (JSON Schema).
const (
	schemaProperty = `{"type": "object", "required": ["type", "title"], "additionalProperties": false, "properties": {` + propertyMembers + `}}`

	propertyMembers = `
		"name": {"type": "string", "minLength": 1, "maxLength": 80},
		"title": {"type": "string"}, "description": {"type": "string"},
		"type": {"type": "string", "enum": ["array", "boolean", "integer", "number", "object", "string", null]},
		"operators": {"type": "array", "items": {"type": "string"}},
		"minimum": {"type": "number"}, "maximum": {"type": "number"},
		"minLength": {"type": "integer", "minimum": 0}, "maxLength": {"type": "integer", "minimum": 0},
		"minItems": {"type": "integer", "minimum": 0}, "maxItems": {"type": "integer", "minimum": 0},
		"pattern": {"type": "string"}, "uniqueItems": {"type": "boolean"}, "additionalItems": {"type": "boolean"},
		"enum": {"type": "array"}, "items": {"type": "object"}, "default": {}, "readonly": {"type": "boolean"}, "confidential": {"type": "boolean"},
		"required": {"type": "array", "items": {"type": "string"}},
		"created_at": {"type": "string"}, "updated_at": {"type": "string"}, "self": {"type": "string"}, "schema": {"type": "string"}`

	schemaNamedProperty = `{"type": "object", "required": ["name", "type", "title"], "additionalProperties": false, "properties": {` + propertyMembers + `}}`

	schemaObject = `{"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
		"name": {"type": "string", "minLength": 1, "maxLength": 80}, "description": {"type": "string"},
		"required": {"type": "array", "items": {"type": "string"}},
		"properties": {"type": "object", "additionalProperties": ` + schemaProperty + `},
		"created_at": {"type": "string"}, "updated_at": {"type": "string"}, "self": {"type": "string"}, "schema": {"type": "string"}}}`

	schemaTag = `{"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
		"name": {"type": "string", "minLength": 1, "maxLength": 80}, "created_at": {"type": "string"}, "updated_at": {"type": "string"}}}`

	schemaTags = `{"type": "object", "required": ["tags"], "additionalProperties": false, "properties": {"tags": {"type": "array", "items": ` + schemaTag + `}}}`

	schemaAssociation = `{"type": "object", "required": ["name"], "additionalProperties": false, "properties": {
		"name": {"type": "string", "minLength": 1, "maxLength": 80}, "prefix": {"type": ["string", "null"], "maxLength": 80},
		"properties_target": {"type": ["string", "null"], "maxLength": 80}, "created_at": {"type": "string"}, "updated_at": {"type": "string"}}}`

	namespaceMembers = `
		"namespace": {"type": "string", "minLength": 1, "maxLength": 80}, "display_name": {"type": ["string", "null"], "maxLength": 80},
		"description": {"type": ["string", "null"], "maxLength": 500}, "visibility": {"type": "string", "enum": ["public", "private"]},
		"protected": {"type": "boolean"}, "owner": {"type": "string", "maxLength": 255},
		"created_at": {"type": "string"}, "updated_at": {"type": "string"}, "self": {"type": "string"}, "schema": {"type": "string"},
		"resource_type_associations": {"type": "array", "items": ` + schemaAssociation + `},
		"properties": {"type": "object", "additionalProperties": ` + schemaProperty + `},
		"objects": {"type": "array", "items": ` + schemaObject + `},
		"tags": {"type": "array", "items": ` + schemaTag + `}`

	schemaNamespace       = `{"type": "object", "required": ["namespace"], "additionalProperties": false, "properties": {` + namespaceMembers + `}}`
	schemaNamespaceUpdate = `{"type": "object", "additionalProperties": false, "properties": {` + namespaceMembers + `}}`
)

func body(schema string) httpapi.Schemas { return httpapi.Schemas{{JSON: schema}} }

// namedSchema is a schema as clients are given it.
func namedSchema(name, text string) (object, error) {
	o := object{}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return nil, err
	}
	delete(o, "additionalProperties")
	delete(o, "type")
	if name == "resource_type" {
		name = "resource_type_association"
	}
	o["name"] = name
	return o, nil
}
