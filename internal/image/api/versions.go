package api

import (
	"net/http"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

// current is the newest minor version told to clients. Glance tells 2.17 where image caching is off; minors announce features, there is
// no negotiation, and every /v2.N is an alias of /v2.
const current = "v2.17"

// supported leaves out what Glance ties to options that are off here: multiple stores (2.8, 2.10 to 2.13) and image caching.
var supported = []string{current, "v2.15", "v2.9", "v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"}

func mounts() []httpapi.Mount {
	out := []httpapi.Mount{{Prefix: "/v2"}}
	for _, v := range supported {
		out = append(out, httpapi.Mount{Prefix: "/" + v})
	}
	return out
}

func roots() []httpapi.Route {
	return []httpapi.Route{
		{Method: http.MethodGet, Path: "/", Name: "versions", Public: true, Status: http.StatusMultipleChoices, Handler: versionList},
		{Method: http.MethodGet, Path: "/versions", Name: "versions.all", Public: true, Handler: versionList},
	}
}

func versionList(r *httpapi.Request) (any, error) {
	out := make([]map[string]any, 0, len(supported))
	for _, v := range supported {
		status := "SUPPORTED"
		if v == current {
			status = "CURRENT"
		}
		out = append(out, map[string]any{"id": v, "status": status, "links": []map[string]any{{"rel": "self", "href": r.HostURL() + "/v2/"}}})
	}
	return map[string]any{"versions": out}, nil
}

// importMethods are those of POST /images/{id}/import.
const importMethods = "glance-direct"

func importInfo(*httpapi.Request) (any, error) {
	return map[string]any{"import-methods": map[string]any{"description": "Import methods available.", "type": "array", "value": []string{importMethods}}}, nil
}

// storesInfo answers as a Glance with one store: the call exists only with several.
func storesInfo(*httpapi.Request) (any, error) {
	return nil, fault.NotFound("Multi backend is not supported at this site.")
}
