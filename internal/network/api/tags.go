package api

import (
	"net/http"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/policy"
)

// tagRoutes are the tags sub-resource (standard-attr-tag).
func (x *resource[P, V]) tagRoutes() []httpapi.Route {
	all, one := "/"+x.path+"/{id}/tags", "/"+x.path+"/{id}/tags/{tag}"
	route := func(method, path, name string, status int, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: method, Path: path, Name: x.collection + ".tags." + name, Rule: "get_" + x.name + ":any", Status: status, Handler: h}
	}
	return []httpapi.Route{
		route(http.MethodGet, all, "list", 0, func(r *httpapi.Request) (any, error) {
			v, err := x.find(r)
			if err != nil {
				return nil, err
			}
			return map[string]any{"tags": v["tags"]}, nil
		}),
		route(http.MethodPut, all, "replace", 0, func(r *httpapi.Request) (any, error) {
			doc, _ := r.Document().(map[string]any)
			a := attr{name: "tags", kind: kStrings}
			v, err := a.convert(doc["tags"])
			if err != nil {
				return nil, err
			}
			tags, err := x.editTags(r, func([]string) ([]string, error) { return v.([]string), nil })
			return map[string]any{"tags": tags}, err
		}),
		route(http.MethodDelete, all, "clear", http.StatusNoContent, func(r *httpapi.Request) (any, error) {
			_, err := x.editTags(r, func([]string) ([]string, error) { return nil, nil })
			return nil, err
		}),
		route(http.MethodGet, one, "has", http.StatusNoContent, func(r *httpapi.Request) (any, error) {
			v, err := x.find(r)
			if err != nil {
				return nil, err
			}
			if tags, _ := v["tags"].([]string); !slices.Contains(tags, r.Param("tag")) {
				return nil, noTag(r)
			}
			return nil, nil
		}),
		route(http.MethodPut, one, "add", http.StatusCreated, func(r *httpapi.Request) (any, error) {
			_, err := x.editTags(r, func(have []string) ([]string, error) { return append(have, r.Param("tag")), nil })
			return nil, err
		}),
		route(http.MethodDelete, one, "remove", http.StatusNoContent, func(r *httpapi.Request) (any, error) {
			_, err := x.editTags(r, func(have []string) ([]string, error) {
				i := slices.Index(have, r.Param("tag"))
				if i < 0 {
					return nil, noTag(r)
				}
				return slices.Delete(have, i, i+1), nil
			})
			return nil, err
		}),
	}
}

func noTag(r *httpapi.Request) error {
	return fault.NotFound("Tag %s could not be found.", r.Param("tag")).WithType("TagNotFound")
}

func (x *resource[P, V]) editTags(r *httpapi.Request, fn func([]string) ([]string, error)) ([]string, error) {
	v, err := x.find(r)
	if err != nil {
		return nil, err
	}
	t := policy.Target{"project_id": text(v["project_id"])}
	if x.target != nil {
		if err := x.target(r, v, t); err != nil {
			return nil, err
		}
	}
	if err := allowed(r, "update_"+x.name, t); err != nil {
		return nil, err
	}
	return x.s.svc.EditTags(r.Context(), x.kind, r.Param("id"), fn)
}
