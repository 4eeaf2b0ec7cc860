package api

import (
	"net/http"

	"nephos/internal/httpapi"
)

const updated21, updated20 = "2013-07-23T11:33:21Z", "2011-01-21T11:33:21Z"

func brief(r *httpapi.Request, legacy bool) obj {
	if legacy {
		return obj{"id": "v2.0", "status": "SUPPORTED", "version": "", "min_version": "", "updated": updated20, "links": []obj{{"rel": "self", "href": r.HostURL() + "/v2/"}}}
	}
	return obj{"id": "v2.1", "status": "CURRENT", "version": newest.String(), "min_version": v(1).String(), "updated": updated21,
		"links": []obj{{"rel": "self", "href": r.HostURL() + "/v2.1/"}}}
}

func document(r *httpapi.Request, legacy bool) obj {
	out := brief(r, legacy)
	media := "application/vnd.openstack.compute+json;version=2.1"
	if legacy {
		media = "application/vnd.openstack.compute+json;version=2"
	}
	out["links"] = append(out["links"].([]obj), obj{"rel": "describedby", "type": "text/html", "href": "http://docs.openstack.org/"})
	out["media-types"] = []obj{{"base": "application/json", "type": media}}
	return obj{"version": out}
}

// roots are the documents that clients read before they have a token.
func (f *face) roots() []httpapi.Route {
	one := func(legacy bool) httpapi.Handler {
		return func(r *httpapi.Request) (any, error) { return document(r, legacy), nil }
	}
	choices := func(r *httpapi.Request) (any, error) {
		return &httpapi.Response{Status: http.StatusMultipleChoices, Body: obj{"choices": []obj{choice(r, false), choice(r, true)}}}, nil
	}
	return []httpapi.Route{
		{Method: get, Path: "/", Name: "versions", Public: true, Handler: func(r *httpapi.Request) (any, error) {
			return obj{"versions": []obj{brief(r, true), brief(r, false)}}, nil
		}},
		{Method: get, Path: "/v2", Name: "versions.v2", Public: true, Handler: one(true)},
		{Method: get, Path: "/v1.1", Name: "versions.v1.1", Public: true, Handler: one(true)},
		{Method: get, Path: "/v2.1", Name: "versions.v2.1", Public: true, Handler: one(false)},
		{Method: get, Path: "/v3", Name: "versions.v3", Public: true, Handler: choices},
		{Method: get, Path: "/v3/{rest...}", Name: "versions.v3.any", Public: true, Handler: choices},
	}
}

func choice(r *httpapi.Request, legacy bool) obj {
	prefix := "/v2.1"
	if legacy {
		prefix = "/v2"
	}
	b := brief(r, legacy)
	return obj{"id": b["id"], "status": b["status"], "links": []obj{{"rel": "self", "href": r.HostURL() + prefix + r.URL.Path}},
		"media-types": document(r, legacy)["version"].(obj)["media-types"]}
}

// versionRoutes are the documents inside a mount: /v2.1/{project_id}.
func (f *face) versionRoutes() []httpapi.Route {
	h := func(r *httpapi.Request) (any, error) { return document(r, r.Mount.Lenient), nil }
	return []httpapi.Route{
		{Method: get, Path: "/", Name: "versions.project", Handler: h},
		{Method: get, Path: "/versions/{id}", Name: "versions.show", Handler: h},
	}
}
