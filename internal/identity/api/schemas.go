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
		"multi_factor_auth_enabled": nullBool, "multi_factor_auth_rules": obj{"type": []string{"array", "null"}, "items": obj{"type": "array", "items": str, "minItems": 1, "uniqueItems": true}}}, "additionalProperties": false}
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
	endpointAttrs = obj{"interface": iface, "service_id": str, "url": obj{"type": "string", "minLength": 1}, "name": nullStr, "description": nullStr, "legacy_url": nullStr,
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

// The attributes of what delegates, limits and associates.
var (
	credentialAttrs = obj{"blob": str, "type": anyName, "user_id": nullID, "project_id": nullID}
	limitValue      = obj{"type": "integer", "minimum": -1, "maximum": 2147483647}
	nullRegion      = obj{"type": []string{"string", "null"}, "minLength": 1, "maxLength": 255}
	registeredAttrs = obj{"service_id": obj{"type": "string", "minLength": 1, "maxLength": 255}, "region_id": nullRegion,
		"resource_name": anyName, "default_limit": limitValue, "description": nullStr}
	policyAttrs        = obj{"blob": str, "type": anyName}
	endpointGroupAttrs = obj{"name": str, "description": nullStr, "filters": obj{"type": "object", "properties": obj{"service_id": str, "region_id": str,
		"interface": iface, "enabled": boolean}, "additionalProperties": false}}
	roleRefs1   = obj{"type": "array", "items": obj{"type": "object", "properties": obj{"id": str, "name": str}, "anyOf": []obj{{"required": []string{"id"}}, {"required": []string{"name"}}}}}
	nullTime    = obj{"type": []string{"string", "null"}, "maxLength": 64}
	nullInteger = obj{"type": []string{"integer", "null"}}
)

// strictBody is body without room for attributes that are not known.
func strictBody(key string, attrs obj, required ...string) httpapi.Schemas {
	return schema(obj{"type": "object", "required": []string{key}, "properties": obj{key: closed(attrs, required...)}})
}

func closed(attrs obj, required ...string) obj {
	out := obj{"type": "object", "properties": attrs, "additionalProperties": false}
	if len(required) > 0 {
		out["required"] = required
	}
	return out
}

// optionalBody is body where the inner object may be empty.
func optionalBody(key string, attrs obj) httpapi.Schemas {
	return schema(obj{"type": "object", "required": []string{key}, "properties": obj{key: obj{"type": "object", "properties": attrs}}})
}

var (
	registeredBody = schema(obj{"type": "object", "required": []string{"registered_limits"}, "properties": obj{"registered_limits": obj{"type": "array", "minItems": 1,
		"items": closed(registeredAttrs, "service_id", "resource_name", "default_limit")}}})
	limitsBody = schema(obj{"type": "object", "required": []string{"limits"}, "properties": obj{"limits": obj{"type": "array", "minItems": 1, "items": limitItem}}})
	limitItem  = obj{"type": "object", "additionalProperties": false, "required": []string{"service_id", "resource_name", "resource_limit"},
		"properties": obj{"service_id": str, "region_id": nullRegion, "resource_name": anyName, "resource_limit": limitValue, "description": nullStr,
			"project_id": obj{"type": []string{"string", "null"}, "minLength": 1}, "domain_id": obj{"type": []string{"string", "null"}, "minLength": 1}},
		"oneOf": []obj{{"required": []string{"project_id"}, "properties": obj{"project_id": str}, "not": obj{"required": []string{"domain_id"}, "properties": obj{"domain_id": str}}},
			{"required": []string{"domain_id"}, "properties": obj{"domain_id": str}, "not": obj{"required": []string{"project_id"}, "properties": obj{"project_id": str}}}}}

	appCredBody = schema(obj{"type": "object", "required": []string{"application_credential"}, "properties": obj{"application_credential": obj{
		"type": "object", "required": []string{"name"}, "properties": obj{"name": anyName, "description": nullStr, "secret": obj{"type": []string{"string", "null"}, "maxLength": 4096},
			"expires_at": nullTime, "roles": roleRefs1, "unrestricted": nullBool, "access_rules": obj{"type": []string{"array", "null"}, "maxItems": 200, "items": accessRule}}}}})
	accessRule = obj{"type": "object", "additionalProperties": false, "properties": obj{"id": str, "service": obj{"type": "string", "minLength": 1, "maxLength": 64},
		"path":   obj{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^/"},
		"method": obj{"enum": []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}}},
		"anyOf": []obj{{"required": []string{"id"}}, {"required": []string{"service", "path", "method"}}}}

	trustBody = schema(obj{"type": "object", "required": []string{"trust"}, "properties": obj{"trust": obj{
		"type": "object", "required": []string{"trustor_user_id", "trustee_user_id", "impersonation"}, "properties": obj{"trustor_user_id": str, "trustee_user_id": str,
			"impersonation": boolean, "project_id": nullID, "expires_at": nullTime, "remaining_uses": obj{"type": []string{"integer", "null"}, "minimum": 1},
			"roles": roleRefs1, "allow_redelegation": nullBool, "redelegation_count": nullInteger}}}})

	ec2Body = schema(obj{"type": "object", "required": []string{"tenant_id"}, "properties": obj{"tenant_id": obj{"type": "string", "minLength": 1}}})
	// signedBody is a request that was signed elsewhere; old gateways call it ec2Credentials.
	signedBody   = schema(obj{"type": "object", "anyOf": []obj{{"required": []string{"credentials"}}, {"required": []string{"ec2Credentials"}}}, "properties": obj{"credentials": signedInside, "ec2Credentials": signedInside}})
	signedInside = obj{"type": "object", "required": []string{"access", "signature"}, "properties": obj{"access": str, "signature": str, "host": str, "verb": str, "path": str,
		"params": texts, "headers": texts, "body_hash": str, "token": str}}
	texts = obj{"type": "object", "additionalProperties": str}

	authorizeBody = schema(obj{"type": "object", "required": []string{"roles"}, "properties": obj{"roles": obj{"type": "array", "minItems": 1, "items": roleRefs1["items"]}}})
	configBody    = schema(obj{"type": "object", "required": []string{"config"}, "properties": obj{"config": object}})
	mappingRules  = obj{"type": "array", "minItems": 1, "items": obj{"type": "object", "required": []string{"local", "remote"}, "properties": obj{
		"local": obj{"type": "array"}, "remote": obj{"type": "array", "minItems": 1}}}}
)

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
			"totp": obj{"type": "object", "required": []string{"user"}, "properties": obj{"user": obj{"type": "object", "required": []string{"passcode"},
				"properties": obj{"id": str, "name": str, "domain": domainRef, "passcode": str}, "anyOf": namedRef["anyOf"]}}},
			"application_credential": obj{"type": "object", "required": []string{"secret"}, "properties": obj{"id": str, "name": str, "secret": str,
				"user": obj{"type": "object", "properties": obj{"id": str, "name": str, "domain": domainRef}, "anyOf": namedRef["anyOf"]}},
				"anyOf": []obj{{"required": []string{"id"}}, {"required": []string{"name", "user"}}}},
			"oauth1": object,
		}},
		"scope": obj{"type": []string{"object", "string"}, "properties": obj{
			"project":        obj{"type": "object", "properties": obj{"id": str, "name": str, "domain": domainRef}, "anyOf": namedRef["anyOf"]},
			"domain":         domainRef,
			"system":         obj{"type": "object", "required": []string{"all"}, "properties": obj{"all": obj{"const": true}}},
			"unscoped":       object,
			"OS-TRUST:trust": obj{"type": "object", "required": []string{"id"}, "properties": obj{"id": str}},
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

// What the admin side of v2.0 takes.
var (
	v2TenantAttrs   = obj{"name": shortName, "description": nullStr, "enabled": boolean}
	v2UserAttrs     = obj{"name": anyName, "password": nullStr, "tenantId": nullID, "enabled": boolean, "email": nullStr}
	v2EndpointAttrs = obj{"service_id": str, "region": nullStr, "publicurl": obj{"type": "string", "minLength": 1}, "adminurl": nullStr, "internalurl": nullStr}
)

// regionBody may be empty: the id is made then.
var regionBody = schema(obj{"type": "object", "required": []string{"region"}, "properties": obj{"region": obj{"type": "object", "properties": regionAttrs}}})
