package api

import (
	"encoding/json"

	"nephos/internal/httpapi"
)

// Schemas of bodies. Attributes that are not named are kept as extra ones, so only the known ones are checked.

type obj = map[string]any

var (
	anyName   = obj{"type": "string", "minLength": 1, "maxLength": 255, "pattern": `\S`}
	shortName = obj{"type": "string", "minLength": 1, "maxLength": 64, "pattern": `\S`}
	str       = obj{"type": "string"}
	nullStr   = obj{"type": []string{"string", "null"}}
	nullID    = obj{"type": []string{"string", "null"}, "maxLength": 64}
	boolean   = obj{"type": "boolean"}
	nullBool  = obj{"type": []string{"boolean", "null"}}
	object    = obj{"type": "object"}
	tagList   = obj{"type": "array", "maxItems": 80, "items": obj{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^,/]*$"}, "uniqueItems": true}
	iface     = obj{"enum": []string{"public", "internal", "admin"}}
	userOpts  = obj{"type": "object", "properties": obj{"lock_password": nullBool, "ignore_password_expiry": nullBool,
		"ignore_change_password_upon_first_use": nullBool, "ignore_lockout_failure_attempts": nullBool, "ignore_user_inactivity": nullBool,
		"multi_factor_auth_enabled": nullBool, "multi_factor_auth_rules": obj{"type": []string{"array", "null"}}}, "additionalProperties": false}
	resourceOpts = obj{"type": "object", "properties": obj{"immutable": nullBool}, "additionalProperties": false}
)

// The attributes of each resource.
var (
	userAttrs = obj{"name": anyName, "domain_id": nullID, "password": nullStr, "enabled": boolean, "default_project_id": nullID,
		"description": nullStr, "email": nullStr, "options": userOpts}
	groupAttrs   = obj{"name": shortName, "domain_id": nullID, "description": nullStr}
	projectAttrs = obj{"name": shortName, "domain_id": nullID, "parent_id": nullID, "is_domain": boolean, "enabled": boolean,
		"description": nullStr, "tags": tagList, "options": resourceOpts}
	roleAttrs     = obj{"name": anyName, "domain_id": nullID, "description": nullStr, "options": resourceOpts}
	regionAttrs   = obj{"id": obj{"type": []string{"string", "null"}, "maxLength": 255}, "description": nullStr, "parent_region_id": obj{"type": []string{"string", "null"}, "maxLength": 255}}
	serviceAttrs  = obj{"type": anyName, "name": nullStr, "enabled": boolean, "description": nullStr}
	endpointAttrs = obj{"interface": iface, "service_id": str, "url": obj{"type": "string", "minLength": 1}, "legacy_url": nullStr,
		"region_id": obj{"type": []string{"string", "null"}, "maxLength": 255}, "region": obj{"type": []string{"string", "null"}, "maxLength": 255}, "enabled": boolean}
)

// body is the schema of {key: {…attrs…}} with the required attributes.
func body(key string, attrs obj, required ...string) httpapi.Schemas {
	inner := obj{"type": "object", "properties": attrs}
	if len(required) > 0 {
		inner["required"] = required
	} else {
		inner["minProperties"] = 1
	}
	return schema(obj{"type": "object", "required": []string{key}, "properties": obj{key: inner}})
}

func schema(doc obj) httpapi.Schemas {
	text, err := json.Marshal(doc)
	if err != nil {
		panic(err) // literals of this file
	}
	return httpapi.Schemas{{JSON: string(text)}}
}

var passwordChange = body("user", obj{"original_password": str, "password": str}, "original_password", "password")

var tagsBody = schema(obj{"type": "object", "required": []string{"tags"}, "properties": obj{"tags": tagList}})

var (
	domainRef = obj{"type": "object", "properties": obj{"id": str, "name": str}, "anyOf": []obj{{"required": []string{"id"}}, {"required": []string{"name"}}}}
	namedRef  = obj{"anyOf": []obj{{"required": []string{"id"}}, {"required": []string{"name", "domain"}}}}
	userRef   = obj{"type": "object", "required": []string{"password"}, "properties": obj{"id": str, "name": str, "domain": domainRef, "password": str}, "anyOf": namedRef["anyOf"]}
)

// authBody is POST /v3/auth/tokens. The scope is checked in code: its forms exclude each other and 400 shall say so.
var authBody = schema(obj{"type": "object", "required": []string{"auth"}, "properties": obj{"auth": obj{
	"type": "object", "required": []string{"identity"}, "properties": obj{
		"identity": obj{"type": "object", "required": []string{"methods"}, "properties": obj{
			"methods":  obj{"type": "array", "items": str, "minItems": 1},
			"password": obj{"type": "object", "required": []string{"user"}, "properties": obj{"user": userRef}},
			"token":    obj{"type": "object", "required": []string{"id"}, "properties": obj{"id": str}},
		}},
		"scope": obj{"type": []string{"object", "string"}, "properties": obj{
			"project":  obj{"type": "object", "properties": obj{"id": str, "name": str, "domain": domainRef}, "anyOf": namedRef["anyOf"]},
			"domain":   domainRef,
			"system":   obj{"type": "object", "required": []string{"all"}, "properties": obj{"all": obj{"const": true}}},
			"unscoped": object,
		}},
	}}}})

// v2AuthBody is POST /v2.0/tokens.
var v2AuthBody = schema(obj{"type": "object", "required": []string{"auth"}, "properties": obj{"auth": obj{
	"type":  "object",
	"anyOf": []obj{{"required": []string{"passwordCredentials"}}, {"required": []string{"token"}}},
	"properties": obj{
		"passwordCredentials": obj{"type": "object", "required": []string{"password"}, "properties": obj{"username": str, "userId": str, "password": str},
			"anyOf": []obj{{"required": []string{"username"}}, {"required": []string{"userId"}}}},
		"token":      obj{"type": "object", "required": []string{"id"}, "properties": obj{"id": str}},
		"tenantName": nullStr, "tenantId": nullStr,
	}}}})

// regionBody may be empty: the id is made then.
var regionBody = schema(obj{"type": "object", "required": []string{"region"}, "properties": obj{"region": obj{"type": "object", "properties": regionAttrs}}})
