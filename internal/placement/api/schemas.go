package api

import (
	"fmt"
	"strings"

	"nephos/internal/httpapi"
)

// The pieces that the bodies are made of; bounds as in Placement's api-ref.
const (
	count        = `{"type": "integer", "minimum": 1, "maximum": 2147483647}`
	identifier   = `{"type": "string", "minLength": 1, "maxLength": 255}`
	uuidText     = `{"type": "string", "format": "uuid"}`
	uuidOrNull   = `{"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}`
	providerName = `{"type": "string", "maxLength": 200}`
	customText   = `{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^CUSTOM_[A-Z0-9_]+$"}`
	generation   = `"resource_provider_generation": {"type": "integer", "minimum": 0}`
	inventory    = generation + `, "total": ` + count + `, "min_unit": ` + count + `, "max_unit": ` + count + `, "step_size": ` + count + `,
		"reserved": {"type": "integer", "minimum": 0, "maximum": 2147483647}, "allocation_ratio": {"type": "number", "exclusiveMinimum": 0, "maximum": 3.40282e+38}`
	resources = `{"type": "object", "minProperties": 1, "propertyNames": {"pattern": "^[A-Z0-9_]+$"}, "additionalProperties": {"type": "integer", "minimum": 1}}`
)

// object writes a closed object schema; properties is the inside of its braces, required a list of names with blanks between.
func object(properties, required string) string {
	list := `"` + strings.ReplaceAll(required, " ", `", "`) + `"`
	if required == "" {
		list = ""
	}
	return `{"type": "object", "properties": {` + properties + `}, "required": [` + list + `], "additionalProperties": false}`
}

// keyed writes the schema of a map from uuids.
func keyed(value string, least int) string {
	return fmt.Sprintf(`{"type": "object", "minProperties": %d, "propertyNames": {"format": "uuid"}, "additionalProperties": %s}`, least, value)
}

func since(minor int, json string) httpapi.Schema {
	return httpapi.Schema{Since: httpapi.V(1, minor), JSON: json}
}

var (
	createProviderBody = httpapi.Schemas{
		since(0, object(`"name": `+providerName+`, "uuid": `+uuidText, "name")),
		since(14, object(`"name": `+providerName+`, "uuid": `+uuidText+`, "parent_provider_uuid": `+uuidOrNull, "name")),
	}
	updateProviderBody = httpapi.Schemas{
		since(0, object(`"name": `+providerName, "name")),
		since(14, object(`"name": `+providerName+`, "parent_provider_uuid": `+uuidOrNull, "name")),
	}
	inventoryBody       = httpapi.Schemas{since(0, object(inventory, "total resource_provider_generation"))}
	createInventoryBody = httpapi.Schemas{since(0, object(inventory+`, "resource_class": {"type": "string", "pattern": "^[A-Z0-9_]+$"}`, "total resource_class"))}
	inventoriesBody     = httpapi.Schemas{since(0, object(generation+`, "inventories": {"type": "object", "propertyNames": {"pattern": "^[A-Z0-9_]+$"},
		"additionalProperties": `+object(inventory, "total")+`}`, "resource_provider_generation inventories"))}
	aggregatesBody = httpapi.Schemas{
		since(1, uuidSet),
		since(19, object(generation+`, "aggregates": `+uuidSet, "aggregates resource_provider_generation")),
	}
	traitsBody = httpapi.Schemas{since(6, object(generation+`, "traits": {"type": "array", "items": `+identifier+`}`, "traits resource_provider_generation"))}
	classBody  = httpapi.Schemas{since(2, object(`"name": `+customText, "name"))}

	allocationsBody = allocationSchemas(false)
	bulkBody        = allocationSchemas(true)
	reshaperBody    = reshaperSchemas()
)

const uuidSet = `{"type": "array", "uniqueItems": true, "items": ` + uuidText + `}`

// allocationSchemas are the bodies of PUT /allocations/{consumer}, or of POST /allocations, which maps consumers to such bodies and may empty one.
func allocationSchemas(bulk bool) httpapi.Schemas {
	const owner = `, "project_id": ` + identifier + `, "user_id": ` + identifier
	list := `"allocations": {"type": "array", "minItems": 1, "items": ` +
		object(`"resource_provider": `+object(`"uuid": `+uuidText, "uuid")+`, "resources": `+resources, "resource_provider resources") + `}`
	entry := object(`"generation": {"type": "integer"}, "resources": `+resources, "resources")
	least := 1
	if bulk {
		least = 0
	}
	some, maybe := `"allocations": `+keyed(entry, least), `"allocations": `+keyed(entry, 0)
	const consumerGeneration = `, "consumer_generation": {"type": ["integer", "null"]}`
	const mappings = `, "mappings": {"type": "object", "propertyNames": {"pattern": "^[a-zA-Z0-9_-]{0,64}$"}, "additionalProperties": {"type": "array", "minItems": 1, "items": ` + uuidText + `}}`
	const kind = `, "consumer_type": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[A-Z0-9_]+$"}`
	const need = "allocations project_id user_id"
	all := httpapi.Schemas{
		since(0, object(list, "allocations")),
		since(8, object(list+owner, need)),
		since(12, object(some+owner, need)),
		since(28, object(maybe+owner+consumerGeneration, need+" consumer_generation")),
		since(34, object(maybe+owner+consumerGeneration+mappings, need+" consumer_generation")),
		since(38, object(maybe+owner+consumerGeneration+mappings+kind, need+" consumer_generation consumer_type")),
	}
	if !bulk {
		return all
	}
	all = all[2:]
	for i := range all {
		all[i].JSON = keyed(all[i].JSON, 1)
	}
	all[0].Since = httpapi.V(1, 13)
	return all
}

// reshaperSchemas are inventories by provider, and allocations as in POST /allocations, where here there may be none.
func reshaperSchemas() httpapi.Schemas {
	var out httpapi.Schemas
	for _, bulk := range allocationSchemas(true) {
		minor := max(30, bulk.Since.Minor)
		if len(out) > 0 && out[len(out)-1].Since.Minor == minor {
			out = out[:0]
		}
		allocations := strings.Replace(bulk.JSON, `"minProperties": 1`, `"minProperties": 0`, 1)
		out = append(out, since(minor, object(`"inventories": `+keyed(inventoriesBody[0].JSON, 0)+`, "allocations": `+allocations, "inventories allocations")))
	}
	return out
}

// params are the names that a query may have from a microversion on, each once.
func params(from httpapi.Version, names ...string) httpapi.Schemas {
	return httpapi.Schemas{{Since: from, JSON: querySchema(names...)}}
}

// querySchema writes a query's schema; a name that ends in * may be repeated.
func querySchema(names ...string) string {
	var list []string
	for _, n := range names {
		name, many := strings.CutSuffix(n, "*")
		most := `, "maxItems": 1`
		if many {
			most = ""
		}
		list = append(list, `"`+name+`": {"type": "array"`+most+`}`)
	}
	return object(strings.Join(list, ", "), "")
}

var (
	providerQuery = httpapi.Schemas{
		since(0, querySchema("name", "uuid")),
		since(3, querySchema("name", "uuid", "member_of")),
		since(4, querySchema("name", "uuid", "member_of", "resources")),
		since(14, querySchema("name", "uuid", "member_of", "resources", "in_tree")),
		since(18, querySchema("name", "uuid", "member_of", "resources", "in_tree", "required")),
		since(24, querySchema("name", "uuid", "member_of*", "resources", "in_tree", "required")),
		since(39, querySchema("name", "uuid", "member_of*", "resources", "in_tree", "required*")),
	}
	usageQuery = httpapi.Schemas{
		since(9, `{"type": "object", "properties": {"project_id": {"type": "array", "maxItems": 1}, "user_id": {"type": "array", "maxItems": 1}}, "required": ["project_id"], "additionalProperties": false}`),
		since(38, `{"type": "object", "properties": {"project_id": {"type": "array", "maxItems": 1}, "user_id": {"type": "array", "maxItems": 1},
			"consumer_type": {"type": "array", "maxItems": 1, "items": {"pattern": "^([A-Z0-9_]+|all|unknown)$"}}}, "required": ["project_id"], "additionalProperties": false}`),
	}
)
