package api

import (
	"net/http"
	"slices"
	"strconv"

	"nephos/internal/httpapi"
)

// minors are the minor versions of v2 that there are. They announce features, there is no negotiation, and every /v2.N is an alias of /v2. Those of image caching (2.14 and
// 2.16 to 2.18 as Glance ties them) are told only where there is a cache.
const newest = 18

var caching = []int{14, 16, 18}

func version(n int) string { return "v2." + strconv.Itoa(n) }

func mounts() []httpapi.Mount {
	out := []httpapi.Mount{{Prefix: "/v2"}}
	for n := range newest + 1 {
		out = append(out, httpapi.Mount{Prefix: "/" + version(n)})
	}
	return out
}

func (s *server) roots() []httpapi.Route {
	return []httpapi.Route{
		{Method: http.MethodGet, Path: "/", Name: "versions", Public: true, Status: http.StatusMultipleChoices, Handler: s.versionList},
		{Method: http.MethodGet, Path: "/versions", Name: "versions.all", Public: true, Handler: s.versionList},
		// Whatever else stands alone is taken for a version that is not there, and answered with those that are.
		{Method: http.MethodGet, Path: "/{version}", Name: "versions.unknown", Public: true, Status: http.StatusMultipleChoices, Handler: s.versionList},
	}
}

func (s *server) versionList(r *httpapi.Request) (any, error) {
	out := []object{}
	for n := newest; n >= 0; n-- {
		if slices.Contains(caching, n) && !s.svc.HasCache() {
			continue
		}
		status := "SUPPORTED"
		if len(out) == 0 {
			status = "CURRENT"
		}
		out = append(out, object{"id": version(n), "status": status, "links": []object{{"rel": "self", "href": r.HostURL() + "/v2/"}}})
	}
	return object{"versions": out}, nil
}
