package api

import (
	"strconv"
	"strings"

	"nephos/internal/httpapi"
)

// Pieces of the schemas (compute.md section 0 of the API facts: name, bool*, int≥1, host, tag, <mkey>).
const (
	sAny      = `true`
	sText     = `{"type":"string"}`
	sText1    = `{"type":"string","minLength":1}`
	sText255  = `{"type":"string","maxLength":255}`
	sName     = `{"type":"string","minLength":1,"maxLength":255,"pattern":"^[^\\p{Cc}]*$"}`
	sNameNil  = `{"type":["string","null"],"minLength":1,"maxLength":255}`
	sTextNil  = `{"type":["string","null"],"maxLength":255}`
	sLongNil  = `{"type":["string","null"],"maxLength":65535}`
	sHost     = `{"type":"string","minLength":1,"maxLength":255,"pattern":"^[a-zA-Z0-9\\-._]*$"}`
	sHostname = `{"type":"string","minLength":2,"maxLength":63,"pattern":"^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$"}`
	sUUID     = `{"type":"string","format":"uuid"}`
	sUUIDNil  = `{"anyOf":[{"type":"null"},{"type":"string","format":"uuid"}]}`
	sBool     = `{"anyOf":[{"type":"boolean"},{"type":"string","pattern":"^(?i:true|false|1|0|t|f|y|n|yes|no|on|off)$"},{"type":"integer","minimum":0,"maximum":1}]}`
	sInt1     = `{"anyOf":[{"type":"integer","minimum":1,"maximum":2147483647},{"type":"string","pattern":"^0*[1-9][0-9]{0,9}$"}]}`
	sInt0     = `{"anyOf":[{"type":"integer","minimum":0,"maximum":2147483647},{"type":"string","pattern":"^[0-9]{1,10}$"}]}`
	sQuota    = `{"anyOf":[{"type":"integer","minimum":-1,"maximum":2147483647},{"type":"string","pattern":"^(-1|[0-9]{1,10})$"}]}`
	sIPv4     = `{"type":"string","format":"ipv4"}`
	sIPv6     = `{"type":"string","format":"ipv6"}`
	sIP       = `{"anyOf":[{"type":"string","format":"ipv4"},{"type":"string","format":"ipv6"}]}`
	sTag      = `{"type":"string","minLength":1,"maxLength":60,"pattern":"^[^,/]*$"}`
	sRef      = `{"anyOf":[{"type":"string","minLength":1},{"type":"integer","minimum":1}]}`
	sMeta     = `{"type":"object","propertyNames":{"pattern":"^[a-zA-Z0-9\\-_:. ]{1,255}$"},"additionalProperties":{"type":"string","maxLength":255}}`
	sMetaNil  = `{"type":"object","propertyNames":{"pattern":"^[a-zA-Z0-9\\-_:. ]{1,255}$"},"additionalProperties":{"type":["string","null"],"maxLength":255}}`
	sSpecs    = `{"type":"object","propertyNames":{"pattern":"^[a-zA-Z0-9\\-_:. ]{1,255}$"},"additionalProperties":{"type":["string","number"],"maxLength":255}}`
	sDisk     = `{"enum":["AUTO","MANUAL"]}`
)

// prop is one property of a closed object.
type prop struct {
	name, schema string
	required     bool
}

func opt(name, schema string) prop  { return prop{name: name, schema: schema} }
func must(name, schema string) prop { return prop{name, schema, true} }

// object is a schema that knows all its keys.
func object(props ...prop) string { return objectOf(false, props) }

// open is an object that may have other keys too.
func open(props ...prop) string { return objectOf(true, props) }

func objectOf(more bool, props []prop) string {
	var b strings.Builder
	b.WriteString(`{"type":"object","properties":{`)
	var required []string
	for i, p := range props {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(p.name) + ":" + p.schema)
		if p.required {
			required = append(required, strconv.Quote(p.name))
		}
	}
	b.WriteByte('}')
	if len(required) > 0 {
		b.WriteString(`,"required":[` + strings.Join(required, ",") + `]`)
	}
	if !more {
		b.WriteString(`,"additionalProperties":false`)
	}
	b.WriteByte('}')
	return b.String()
}

func array(item, bounds string) string { return `{"type":"array","items":` + item + bounds + `}` }

// wrap is {key: schema} and nothing else.
func wrap(key, schema string) string { return object(must(key, schema)) }

func always(schema string) httpapi.Schemas { return httpapi.Schemas{{JSON: schema}} }

// query is the schema of a query: parameters beyond those named are refused from the given version on (2.75 for most), those that start with "_" never.
func query(since int, params ...string) httpapi.Schemas {
	var b strings.Builder
	b.WriteString(`{"type":"object","patternProperties":{"^_":true},"additionalProperties":false,"properties":{`)
	for i, p := range params {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Quote(p) + ":true")
	}
	b.WriteString("}}")
	return httpapi.Schemas{{Since: v(since), JSON: b.String()}}
}

func networkItem(strict, tag bool) string {
	uuid := opt("uuid", sText)
	if strict {
		uuid = opt("uuid", sUUID)
	}
	props := []prop{opt("fixed_ip", sIP), opt("port", sUUIDNil), uuid}
	if tag {
		props = append(props, opt("tag", sTag))
	}
	return object(props...)
}

func deviceItem(version int) string {
	props := append(legacyDevice(), opt("guest_format", sText255), opt("device_type", sText255), opt("disk_bus", sText255), opt("image_id", sUUID),
		opt("source_type", `{"enum":["volume","image","snapshot","blank"]}`), opt("uuid", `{"type":"string","minLength":1,"maxLength":255,"pattern":"^[a-zA-Z0-9._-]*$"}`),
		opt("destination_type", `{"enum":["local","volume"]}`), opt("boot_index", `{"anyOf":[{"type":["integer","null"]},{"type":"string","pattern":"^-?[0-9]+$"}]}`))
	if version == 32 || version >= 42 {
		props = append(props, opt("tag", sTag))
	}
	if version >= 67 {
		props = append(props, opt("volume_type", sTextNil))
	}
	return object(props...)
}

func legacyDevice() []prop {
	return []prop{opt("virtual_name", sText255), opt("volume_id", sUUID), opt("snapshot_id", sUUID), opt("volume_size", sInt1),
		opt("device_name", `{"type":"string","minLength":1,"maxLength":255,"pattern":"^[a-zA-Z0-9._/-]*$"}`), opt("delete_on_termination", sBool), opt("no_device", sAny),
		opt("connection_info", sText)}
}

var sHints = open(opt("group", `{"anyOf":[`+sUUID+`,`+array(sUUID, "")+`]}`), opt("different_host", `{"anyOf":[`+sUUID+`,`+array(sUUID, "")+`]}`),
	opt("same_host", `{"anyOf":[`+sUUID+`,`+array(sUUID, "")+`]}`), opt("query", `{"type":["string","object","array"]}`), opt("target_cell", sName),
	opt("different_cell", `{"anyOf":[{"type":"string"},`+array(sText, "")+`]}`), opt("build_near_host_ip", sIP), opt("cidr", `{"type":"string","pattern":"^/[0-9a-f.:]+$"}`))

// serverBody is the body of POST /servers as of a microversion.
func serverBody(version int) string {
	props := []prop{must("name", sName), opt("imageRef", sText), must("flavorRef", sRef), opt("adminPass", sText), opt("metadata", sMeta), opt("OS-DCF:diskConfig", sDisk),
		opt("accessIPv4", sIPv4), opt("accessIPv6", sIPv6), opt("availability_zone", sName), opt("key_name", sName), opt("config_drive", `{"anyOf":[`+sBool+`,{"const":""}]}`),
		opt("min_count", sInt1), opt("max_count", sInt1), opt("return_reservation_id", sBool),
		opt("security_groups", array(object(opt("name", sName)), "")), opt("user_data", `{"type":["string","null"],"maxLength":65535}`),
		opt("block_device_mapping", array(object(legacyDevice()...), "")), opt("block_device_mapping_v2", array(deviceItem(version), ""))}
	if version >= 37 {
		props = append(props, must("networks", `{"anyOf":[`+array(networkItem(true, version >= 42), "")+`,{"enum":["none","auto"]}]}`))
	} else {
		props = append(props, opt("networks", array(networkItem(false, version >= 32), "")))
	}
	if version < 57 {
		props = append(props, opt("personality", array(object(opt("path", sText), opt("contents", sText)), "")))
	}
	for _, x := range []struct {
		since int
		p     prop
	}{{19, opt("description", sTextNil)}, {52, opt("tags", array(sTag, `,"maxItems":50`))},
		{63, opt("trusted_image_certificates", `{"type":["array","null"],"minItems":1,"maxItems":50,"uniqueItems":true,"items":`+sText1+`}`)},
		{74, opt("host", sHost)}, {74, opt("hypervisor_hostname", sHost)}} {
		if version >= x.since {
			props = append(props, x.p)
		}
	}
	if version >= 94 {
		props = append(props, opt("hostname", sHost))
	} else if version >= 90 {
		props = append(props, opt("hostname", sHostname))
	}
	return object(must("server", object(props...)), opt("os:scheduler_hints", sHints), opt("OS-SCH-HNT:scheduler_hints", sHints))
}

// updateBody is the body of PUT /servers/{id}.
func updateBody(version int) string {
	props := []prop{opt("name", sName), opt("OS-DCF:diskConfig", sDisk), opt("accessIPv4", `{"anyOf":[`+sIPv4+`,{"const":""}]}`), opt("accessIPv6", `{"anyOf":[`+sIPv6+`,{"const":""}]}`)}
	if version >= 19 {
		props = append(props, opt("description", sTextNil))
	}
	if version >= 94 {
		props = append(props, opt("hostname", sHost))
	} else if version >= 90 {
		props = append(props, opt("hostname", sHostname))
	}
	return wrap("server", object(props...))
}

// at gives a body's schema for each microversion that changes it.
func at(body func(version int) string, versions ...int) httpapi.Schemas {
	out := make(httpapi.Schemas, 0, len(versions))
	for _, n := range versions {
		out = append(out, httpapi.Schema{Since: v(n), JSON: body(n)})
	}
	return out
}
