package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// object is a piece of an OpenAPI document.
type object = map[string]any

// documentPath is where every service shows its OpenAPI document, at its root and below each mount, to whoever asks.
const documentPath = "/openapi.json"

// documentRoute serves the document; it is made when it is first asked for.
func (s *Service) documentRoute() Route {
	text := sync.OnceValues(func() (json.RawMessage, error) {
		doc, err := s.OpenAPI()
		if err != nil {
			return nil, err
		}
		return marshal(doc)
	})
	path := documentPath
	if s.TrimSuffix != "" {
		path = strings.TrimSuffix(path, s.TrimSuffix)
	}
	return Route{Method: http.MethodGet, Path: path, Name: "openapi", Public: true, Handler: func(*Request) (any, error) { return text() }}
}

// OpenAPI is the service's route tables as an OpenAPI 3.1 document. Calls that share path and method (actions, microversions) are one operation whose body is
// any of theirs; x-openstack says which is which, in the words of OpenStack's own generator. Paths are those of the first mount, which is the one that clients
// are told; the others are named in the description.
func (s *Service) OpenAPI() (map[string]any, error) {
	paths := object{}
	seen := map[string]bool{}
	add := func(prefix string, routes []Route) error {
		for _, group := range operations(routes) {
			path := prefix + group[0].Path
			if path == "" {
				path = "/"
			}
			path = strings.ReplaceAll(path, "...}", "}")
			item, _ := paths[path].(object)
			if item == nil {
				item = object{}
				if params := pathParameters(path); len(params) > 0 {
					item["parameters"] = params
				}
				paths[path] = item
			}
			method := strings.ToLower(group[0].Method)
			if item[method] != nil {
				return fmt.Errorf("%s: %s %s stands in two tables", s.Name, group[0].Method, path)
			}
			op, err := s.operation(group)
			if err != nil {
				return err
			}
			id := group[0].Name
			if seen[id] {
				id += "." + method
			}
			if seen[id] {
				id += "." + strconv.Itoa(len(seen))
			}
			seen[id] = true
			op["operationId"] = id
			item[method] = op
		}
		return nil
	}
	if err := add("", s.Root); err != nil {
		return nil, err
	}
	about := "What this cloud answers on its " + s.Name + " endpoint, made from the tables that serve it."
	if len(s.Mounts) > 0 {
		m := s.Mounts[0]
		prefix := m.Prefix
		if m.Project == ProjectRequired {
			prefix += "/{project_id}"
		}
		if err := add(prefix, s.Routes); err != nil {
			return nil, err
		}
		about += mountsText(s.Mounts)
	}
	info := object{"title": "nephos " + s.Name + " API", "version": "1", "description": about}
	if s.Micro != nil {
		info["version"] = s.Micro.Max.String()
		info["x-openstack"] = object{"min-ver": s.Micro.Min.String(), "max-ver": s.Micro.Max.String()}
	}
	components := object{
		"securitySchemes": object{"token": object{"type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "A token of the identity service."}},
		"responses":       object{"error": object{"description": "Refused or failed: the service's own error body.", "content": object{"application/json": object{"schema": object{"type": "object"}}}}},
	}
	if s.Micro != nil {
		components["parameters"] = object{"microversion": object{"name": "OpenStack-API-Version", "in": "header", "description": "The microversion that the request is written in: " + s.Micro.Service + " " + s.Micro.Max.String() + ".",
			"schema": object{"type": "string"}}}
	}
	return object{"openapi": "3.1.0", "info": info, "servers": []object{{"url": "/"}}, "security": []object{{"token": []string{}}}, "paths": paths, "components": components}, nil
}

func mountsText(mounts []Mount) string {
	var b strings.Builder
	if mounts[0].Project == ProjectOptional {
		fmt.Fprintf(&b, " The id of the token's project may follow %s in every path.", mounts[0].Prefix)
	}
	for _, m := range mounts[1:] {
		fmt.Fprintf(&b, " The same calls are under %s.", m.Prefix)
	}
	return b.String()
}

// operations groups rows by path and method, the newest microversion first.
func operations(routes []Route) [][]*Route {
	byKey := map[string][]*Route{}
	var keys []string
	for i := range routes {
		r := &routes[i]
		k := r.Method + " " + r.Path
		if byKey[k] == nil {
			keys = append(keys, k)
		}
		byKey[k] = append(byKey[k], r)
	}
	out := make([][]*Route, 0, len(keys))
	for _, k := range keys {
		g := byKey[k]
		sort.SliceStable(g, func(i, j int) bool { return g[j].Min.Less(g[i].Min) })
		out = append(out, g)
	}
	return out
}

func pathParameters(path string) []object {
	var out []object
	for seg := range strings.SplitSeq(path, "/") {
		if len(seg) > 2 && seg[0] == '{' && seg != "{$}" {
			out = append(out, object{"name": seg[1 : len(seg)-1], "in": "path", "required": true, "schema": object{"type": "string"}})
		}
	}
	return out
}

func (s *Service) operation(group []*Route) (object, error) {
	op := object{}
	responses := object{"default": object{"$ref": "#/components/responses/error"}}
	var rows, bodies []object
	query := map[string]object{}
	public := true
	for _, r := range group {
		public = public && r.Public
		said := object{"name": r.Name}
		if r.Rule != "" {
			said["rule"] = r.Rule
		}
		about(said, r, r.Min)
		rows = append(rows, said)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			b, err := bodiesOf(r)
			if err != nil {
				return nil, err
			}
			bodies = append(bodies, b...)
		}
		for _, q := range r.Query {
			if err := queryOf(query, q.JSON); err != nil {
				return nil, fmt.Errorf("%s: %w", r.Name, err)
			}
		}
		for _, code := range successes(r) {
			responses[strconv.Itoa(code)] = success(r, code)
		}
	}
	op["x-openstack"] = rows
	op["responses"] = responses
	op["tags"] = []string{tag(group[0].Path)}
	if public {
		op["security"] = []object{}
	}
	if r := group[0]; r.Stream && len(bodies) == 0 && r.Method != http.MethodGet && r.Method != http.MethodHead {
		bodies = append(bodies, object{})
	}
	if len(bodies) > 0 {
		op["requestBody"] = requestBody(group, bodies)
	}
	var params []object
	for _, name := range slices.Sorted(maps.Keys(query)) {
		params = append(params, query[name])
	}
	if s.Micro != nil && !public {
		params = append(params, object{"$ref": "#/components/parameters/microversion"})
	}
	if len(params) > 0 {
		op["parameters"] = params
	}
	return op, nil
}

// about adds which microversions and which action a piece is for.
func about(o object, r *Route, min Version) {
	if !min.IsZero() {
		o["min-ver"] = min.String()
	}
	if !r.Max.IsZero() {
		o["max-ver"] = r.Max.String()
	}
	if r.Action != "" {
		o["action-name"] = r.Action
	}
}

// bodiesOf are the schemas of a row's body, one for each microversion that changed it.
func bodiesOf(r *Route) ([]object, error) {
	var out []object
	for _, v := range r.Body {
		if v.JSON == "" {
			continue
		}
		var schema object
		if err := json.Unmarshal([]byte(v.JSON), &schema); err != nil {
			return nil, fmt.Errorf("schema of %s: %w", r.Name, err)
		}
		if strings.Contains(v.JSON, `"$ref"`) { // its references are to itself
			schema["$id"] = "urn:nephos:" + r.Name + ":" + v.Since.String()
		}
		note := object{}
		about(note, r, v.Since)
		if len(note) > 0 {
			schema["x-openstack"] = note
		}
		out = append(out, schema)
	}
	if len(out) == 0 && r.Action != "" {
		out = append(out, object{"type": "object", "required": []string{r.Action}, "x-openstack": object{"action-name": r.Action}})
	}
	return out, nil
}

func requestBody(group []*Route, bodies []object) object {
	schema := bodies[0]
	if len(bodies) > 1 {
		schema = object{"anyOf": bodies}
	}
	kind := "application/json"
	if group[0].Stream {
		kind = "application/octet-stream"
	}
	return object{"required": true, "content": object{kind: object{"schema": schema}}}
}

// queryOf turns a schema of lists by name into parameters.
func queryOf(into map[string]object, text string) error {
	if text == "" {
		return nil
	}
	var schema struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal([]byte(text), &schema); err != nil {
		return err
	}
	for name, p := range schema.Properties {
		list := object{"type": "array"}
		var more object
		if json.Unmarshal(p, &more) == nil { // else it is true: whatever is given
			maps.Copy(list, more)
		}
		into[name] = object{"name": name, "in": "query", "schema": list}
	}
	return nil
}

func successes(r *Route) []int {
	switch {
	case r.Status != 0:
		return []int{r.Status}
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return []int{http.StatusOK}
	case r.Method == http.MethodDelete:
		return []int{http.StatusNoContent}
	}
	return []int{http.StatusOK, http.StatusNoContent}
}

func success(r *Route, code int) object {
	out := object{"description": http.StatusText(code)}
	if code == http.StatusNoContent || r.Method == http.MethodHead {
		return out
	}
	kind := "application/json"
	if r.Stream {
		kind = "application/octet-stream"
	}
	out["content"] = object{kind: object{}}
	return out
}

// tag is the noun of a path: its first segment that is a name.
func tag(path string) string {
	for seg := range strings.SplitSeq(path, "/") {
		if seg != "" && seg[0] != '{' && !strings.HasPrefix(seg, "v2") && !strings.HasPrefix(seg, "v3") {
			return seg
		}
	}
	return "versions"
}
