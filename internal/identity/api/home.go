package api

import (
	"net/http"
	"strings"

	"nephos/internal/httpapi"
)

// relation is what JSON Home's relations and parameters begin with at Keystone.
const relation = "https://docs.openstack.org/api/openstack-identity/3/"

// wantsHome says whether the caller asks for the JSON Home document instead of the versions.
func wantsHome(r *httpapi.Request) bool {
	for kind := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if kind, _, _ = strings.Cut(kind, ";"); strings.TrimSpace(kind) == "application/json-home" {
			return true
		}
	}
	return false
}

// jsonHome is the document (draft-nottingham-json-home-03) that names v3's resources by their relations, made of the route table. A relation is the path in words, what
// stands before a variable in the singular: /groups/{id}/users/{user} is group_user. Extensions have relations of their own.
func jsonHome(routes []httpapi.Route) obj {
	resources := obj{}
	for _, route := range routes {
		name, template, vars := homeEntry(route.Path)
		entry := obj{"href": "/v3" + template}
		if len(vars) > 0 {
			entry = obj{"href-template": "/v3" + template, "href-vars": vars}
		}
		resources[name] = entry
	}
	return obj{"resources": resources}
}

func homeEntry(path string) (rel, template string, vars obj) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	base := relation + "rel/"
	var words []string
	vars = obj{}
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			v := strings.Trim(p, "{}")
			if i > 0 && !strings.HasPrefix(parts[i-1], "{") && parts[i-1] != "config" && parts[i-1] != "tags" {
				v = singular(parts[i-1]) + "_id"
			}
			template += "/{" + v + "}"
			vars[v] = relation + "param/" + v
			continue
		}
		template += "/" + p
		if ext, ok := strings.CutPrefix(p, "OS-"); ok {
			base = relation + "ext/OS-" + ext + "/1.0/rel/"
			continue
		}
		if i+1 < len(parts) && strings.HasPrefix(parts[i+1], "{") {
			p = singular(p)
			if p == "implied_role" {
				words = nil // Keystone's relation does not name the role that implies
			}
		}
		words = append(words, strings.ReplaceAll(p, "-", "_"))
	}
	return base + strings.Join(words, "_"), template, vars
}

func singular(s string) string {
	s = strings.ReplaceAll(s, "-", "_")
	switch {
	case s == "implies":
		return "implied_role"
	case strings.HasSuffix(s, "ies"):
		return strings.TrimSuffix(s, "ies") + "y"
	case strings.HasSuffix(s, "ss"):
		return s
	}
	return strings.TrimSuffix(s, "s")
}

// homeResponse answers a request for the JSON Home document.
func (f *face) homeResponse() *httpapi.Response {
	return &httpapi.Response{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json-home"}}, Body: jsonHome(f.v3Routes())}
}
