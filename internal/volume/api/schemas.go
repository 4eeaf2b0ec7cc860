package api

import "nephos/internal/httpapi"

// Pieces of the schemas (compute.md section 0 of the API facts: bool*, int≥1, nullable strings).
const (
	text255    = `{"type":["string","null"],"maxLength":255}`
	flag       = `{"anyOf":[{"type":"boolean"},{"type":"string","pattern":"^(?i:true|false|1|0|t|f|y|n|yes|no|on|off)$"},{"type":"integer","minimum":0,"maximum":1}]}`
	uuid       = `{"type":"string","format":"uuid"}`
	uuidOrNil  = `{"anyOf":[{"type":"null"},{"type":"string","format":"uuid"}]}`
	metadata   = `{"type":["object","null"],"propertyNames":{"pattern":"^[a-zA-Z0-9\\-_:. /]{1,255}$"},"additionalProperties":{"type":"string","maxLength":255}}`
	metaStrict = `{"type":"object","propertyNames":{"pattern":"^[a-zA-Z0-9\\-_:. /]{1,255}$"},"additionalProperties":{"type":"string","maxLength":255}}`
	specs      = `{"type":["object","null"],"propertyNames":{"pattern":"^[a-zA-Z0-9\\-_:. /]{1,255}$"},"additionalProperties":{"type":["string","null"],"maxLength":255}}`
	size       = `{"anyOf":[{"type":"integer","minimum":1,"maximum":2147483647},{"type":"string","pattern":"^[0-9]{1,10}$"}]}`
	sizeOrNil  = `{"anyOf":[{"type":"null"},{"type":"integer","minimum":1,"maximum":2147483647},{"type":"string","pattern":"^[0-9]{1,10}$"}]}`
	words      = `"name":` + text255 + `,"description":` + text255 + `,"display_name":` + text255 + `,"display_description":` + text255
)

func always(json string) httpapi.Schemas { return httpapi.Schemas{{JSON: json}} }

// wrapped is {"<key>": {properties}}; closed refuses other keys.
func wrapped(key, properties, required string, closed bool) string {
	extra := ""
	if closed {
		extra = `,"additionalProperties":false`
	}
	if required != "" {
		extra += `,"required":[` + required + `]`
	}
	return `{"type":"object","required":["` + key + `"],"properties":{"` + key + `":{"type":"object","properties":{` + properties + `}` + extra + `}}}`
}

const volumeCreate = words + `,"volume_type":` + text255 + `,"image_id":` + text255 + `,"imageRef":` + text255 + `,"metadata":` + metadata + `,"snapshot_id":` + uuidOrNil +
	`,"source_volid":` + uuidOrNil + `,"consistencygroup_id":` + uuidOrNil + `,"size":` + sizeOrNil + `,"availability_zone":{"type":["string","null"],"minLength":1,"maxLength":255}` +
	`,"multiattach":{"anyOf":[{"type":"null"},` + flag + `]},"group_id":` + text255 + `,"backup_id":` + uuidOrNil

var (
	// From 3.53 on unknown keys are refused; clients before it send what they like (user_id, project_id, status, attach_status …).
	bodyVolumeCreate = httpapi.Schemas{{JSON: wrapped("volume", volumeCreate, "", false)}, {Since: v(53), JSON: wrapped("volume", volumeCreate, "", true)}}
	bodyVolumeUpdate = httpapi.Schemas{{JSON: wrapped("volume", words+`,"metadata":`+metaStrict, "", false)}, {Since: v(53), JSON: wrapped("volume", words+`,"metadata":`+metaStrict, "", true)}}
	bodyMetadata     = always(`{"type":"object","required":["metadata"],"properties":{"metadata":` + metaStrict + `}}`)
	bodyMeta         = always(`{"type":"object","required":["meta"],"properties":{"meta":{"allOf":[` + metaStrict + `,{"minProperties":1,"maxProperties":1}]}}}`)

	bodyExtend             = always(wrapped("os-extend", `"new_size":`+size, `"new_size"`, true))
	bodyAttach             = always(wrapped("os-attach", `"instance_uuid":`+uuid+`,"mountpoint":{"type":"string","minLength":1,"maxLength":255},"host_name":{"type":"string","maxLength":255},"mode":{"enum":["rw","ro"]}`, `"mountpoint"`, true))
	bodyBootable           = always(wrapped("os-set_bootable", `"bootable":`+flag, `"bootable"`, true))
	bodyReadOnly           = always(wrapped("os-update_readonly_flag", `"readonly":`+flag, `"readonly"`, true))
	bodyRetype             = always(wrapped("os-retype", `"new_type":{"type":"string"},"migration_policy":{"enum":["on-demand","never"]}`, `"new_type"`, true))
	bodyReset              = always(wrapped("os-reset_status", `"status":{"type":["string","null"]},"attach_status":{"type":["string","null"]},"migration_status":{"type":["string","null"]}`, "", true))
	bodyResetSnapshot      = always(wrapped("os-reset_status", `"status":{"type":"string"}`, `"status"`, true))
	bodySetImageMetadata   = always(wrapped("os-set_image_metadata", `"metadata":{"type":"object","additionalProperties":{"type":"string","maxLength":65535}}`, `"metadata"`, true))
	bodyUnsetImageMetadata = always(wrapped("os-unset_image_metadata", `"key":{"type":"string","minLength":1,"maxLength":255}`, `"key"`, true))

	bodySnapshotCreate = always(wrapped("snapshot", words+`,"volume_id":`+uuidOrNil+`,"force":`+flag+`,"metadata":`+metadata, `"volume_id"`, false))
	bodySnapshotUpdate = always(wrapped("snapshot", words, "", true))

	bodyTypeCreate = always(wrapped("volume_type", `"name":{"type":"string","minLength":1,"maxLength":255},"description":`+text255+`,"extra_specs":`+specs+`,"os-volume-type-access:is_public":`+flag, `"name"`, true))
	bodyTypeUpdate = always(wrapped("volume_type", `"name":{"type":["string","null"],"minLength":1,"maxLength":255},"description":`+text255+`,"is_public":`+flag, "", true))
	bodyExtraSpecs = always(`{"type":"object","required":["extra_specs"],"properties":{"extra_specs":{"allOf":[{"type":"object"},` + specs + `]}}}`)
	bodyExtraSpec  = always(`{"allOf":[` + specs + `,{"type":"object","minProperties":1,"maxProperties":1}]}`)

	bodyAttachmentCreate = httpapi.Schemas{{JSON: wrapped("attachment", attachmentCreate, `"volume_uuid"`, true)}, {Since: v(54), JSON: wrapped("attachment", attachmentCreate+`,"mode":{"enum":["rw","ro"]}`, `"volume_uuid"`, true)}}
	bodyAttachmentUpdate = always(wrapped("attachment", `"connector":{"type":"object"}`, `"connector"`, true))
)

const attachmentCreate = `"instance_uuid":` + uuidOrNil + `,"volume_uuid":` + uuid + `,"connector":{"type":["object","null"]}`

func accessBody(action string) httpapi.Schemas {
	return always(wrapped(action, `"project":{"type":"string","minLength":1,"maxLength":255}`, `"project"`, true))
}

func bodyQuota(key string) httpapi.Schemas {
	return always(`{"type":"object","required":["` + key + `"],"properties":{"` + key + `":{"type":"object","additionalProperties":{"type":["integer","string","boolean","null"]}}}}`)
}
