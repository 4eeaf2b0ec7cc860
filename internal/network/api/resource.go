package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/network"
	"nephos/internal/policy"
)

// spec is what is declared of a resource.
type spec struct {
	name       string // "security_group": the key of one, and what rules are named by
	collection string // "security_groups"
	path       string // "security-groups"
	attrs      []attr
	push       []string // filters that are narrowed in SQL too: id, name, project_id, network_id, device_id
	kind       network.Kind
	missing    string // type of the 404
	label      string // "Security group": how messages call it
}

func (s *spec) attr(name string) *attr {
	if name == "tenant_id" {
		name = "project_id"
	}
	for i := range s.attrs {
		if s.attrs[i].name == name {
			return &s.attrs[i]
		}
	}
	return nil
}

// standard are the attributes every resource has.
func standard(tags bool) []attr {
	out := []attr{
		{name: "id"}, {name: "project_id", set: post, null: true},
		{name: "description", set: both, null: true}, {name: "created_at"}, {name: "updated_at"}, {name: "revision_number", kind: kInt},
	}
	if tags {
		out = append(out, attr{name: "tags", kind: kStrings})
	}
	return out
}

// resource binds a spec to the room's verbs. P is its patch, V what the room shows.
type resource[P, V any] struct {
	spec
	s      *server
	list   func(r *httpapi.Request, sc network.Scope, q network.Query) ([]V, error)
	view   func(v *V) map[string]any
	create func(r *httpapi.Request, ps []P) ([]V, error)
	update func(r *httpapi.Request, id string, p P, c *network.Cond) (V, error)
	remove func(r *httpapi.Request, id string) error
	// target adds to what rules may name: obj is a request's object or a view.
	target func(r *httpapi.Request, obj map[string]any, t policy.Target) error
	// extra is a last check of a request's object.
	extra func(r *httpapi.Request, verb string, obj map[string]any, t policy.Target) error
}

func scope(r *httpapi.Request) network.Scope {
	return network.Scope{ProjectID: r.Creds.ProjectID, Admin: r.Creds.IsAdmin()}
}

func (x *resource[P, V]) routes() []httpapi.Route {
	one := "/" + x.path + "/{id}"
	out := []httpapi.Route{
		{Method: http.MethodGet, Path: "/" + x.path, Name: x.collection + ".list", Rule: "get_" + x.name + ":any", Handler: x.index},
		{Method: http.MethodPost, Path: "/" + x.path, Name: x.collection + ".create", Status: http.StatusCreated, Handler: x.post},
		{Method: http.MethodGet, Path: one, Name: x.collection + ".show", Rule: "get_" + x.name + ":any", Handler: x.show},
		{Method: http.MethodDelete, Path: one, Name: x.collection + ".delete", Status: http.StatusNoContent, Handler: x.delete},
	}
	if x.update != nil {
		out = append(out, httpapi.Route{Method: http.MethodPut, Path: one, Name: x.collection + ".update", Handler: x.put})
	}
	if x.kind != "" {
		out = append(out, x.tagRoutes()...)
	}
	return out
}

func (x *resource[P, V]) query(r *httpapi.Request) network.Query {
	q := r.URL.Query()
	var out network.Query
	for _, p := range x.push {
		switch p {
		case "id":
			out.IDs = q["id"]
		case "name":
			out.Names = q["name"]
		case "project_id":
			out.ProjectIDs = append(q["project_id"], q["tenant_id"]...)
		case "network_id":
			out.NetworkIDs = q["network_id"]
		case "device_id":
			out.DeviceIDs = q["device_id"]
		}
	}
	return out
}

// seen is the view as this caller may see it.
func (x *resource[P, V]) seen(r *httpapi.Request, v *V) map[string]any {
	view := x.view(v)
	view["tenant_id"] = view["project_id"]
	var t policy.Target
	for i := range x.attrs {
		a := &x.attrs[i]
		if a.getRule == "" {
			continue
		}
		if t == nil {
			t = policy.Target{"project_id": text(view["project_id"])}
		}
		if !r.Allowed("get_"+x.name+":"+a.name, t) {
			delete(view, a.name)
		}
	}
	return view
}

func (x *resource[P, V]) index(r *httpapi.Request) (any, error) {
	rows, err := x.list(r, scope(r), x.query(r))
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	views := make([]map[string]any, 0, len(rows))
	for i := range rows {
		if v := x.seen(r, &rows[i]); x.keep(v, q) {
			views = append(views, v)
		}
	}
	if err := x.order(views, q); err != nil {
		return nil, err
	}
	views, links, err := x.page(r, views)
	if err != nil {
		return nil, err
	}
	for i := range views {
		views[i] = project(views[i], q["fields"])
	}
	out := map[string]any{x.collection: views}
	if links != nil {
		out[x.collection+"_links"] = links
	}
	return out, nil
}

// find is one resource that the caller may see.
func (x *resource[P, V]) find(r *httpapi.Request) (map[string]any, error) {
	id := r.Param("id")
	rows, err := x.list(r, scope(r), network.Query{IDs: []string{id}})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, fault.NotFound("%s %s could not be found.", x.label, id).WithType(x.missing)
	}
	return x.seen(r, &rows[0]), nil
}

func (x *resource[P, V]) show(r *httpapi.Request) (any, error) {
	v, err := x.find(r)
	if err != nil {
		return nil, err
	}
	return map[string]any{x.name: project(v, r.URL.Query()["fields"])}, nil
}

// allowed asks a rule in Neutron's words.
func allowed(r *httpapi.Request, rule string, t policy.Target) error {
	if r.Allowed(rule, t) {
		return nil
	}
	return fault.Forbidden("rule:%s is disallowed by policy", rule).WithType("PolicyNotAuthorized")
}

// authorize asks the resource's rule and those of the attributes that are set.
func (x *resource[P, V]) authorize(r *httpapi.Request, verb string, obj map[string]any, project string, about map[string]any) error {
	t := policy.Target{"project_id": project, "tenant_id": project}
	if x.target != nil {
		if err := x.target(r, about, t); err != nil {
			return err
		}
	}
	rule := verb + "_" + x.name
	if err := allowed(r, rule, t); err != nil {
		return err
	}
	for name, v := range obj {
		a := x.attr(name)
		if a == nil || a.setRule == "" || a.setIf != nil && !a.setIf(v) {
			continue
		}
		if err := allowed(r, rule+":"+a.name, t); err != nil {
			return err
		}
	}
	if x.extra != nil {
		return x.extra(r, verb, obj, t)
	}
	return nil
}

// object is the request's one object under the resource's key.
func (x *resource[P, V]) object(r *httpapi.Request) (map[string]any, error) {
	doc, _ := r.Document().(map[string]any)
	obj, ok := doc[x.name].(map[string]any)
	if !ok {
		return nil, fault.Invalid(x.name, "Unable to find '%s' in request body", x.name).WithType("HTTPBadRequest")
	}
	return obj, nil
}

func (x *resource[P, V]) post(r *httpapi.Request) (any, error) {
	doc, _ := r.Document().(map[string]any)
	var objs []map[string]any
	list, bulk := doc[x.collection].([]any)
	if bulk {
		for _, o := range list {
			m, ok := o.(map[string]any)
			if !ok {
				return nil, fault.Invalid(x.collection, "Invalid input for %s. Reason: a list of dictionaries is required.", x.collection).WithType("HTTPBadRequest")
			}
			objs = append(objs, m)
		}
		if len(objs) == 0 {
			return nil, fault.Invalid(x.collection, "Resources required").WithType("HTTPBadRequest")
		}
	} else {
		obj, err := x.object(r)
		if err != nil {
			return nil, err
		}
		objs = append(objs, obj)
	}
	patches := make([]P, len(objs))
	for i, o := range objs {
		in, err := owned(r, o)
		if err != nil {
			return nil, err
		}
		obj, err := x.body(in, post)
		if err != nil {
			return nil, err
		}
		if err := x.authorize(r, "create", obj, text(obj["project_id"]), obj); err != nil {
			return nil, err
		}
		if err := decode(obj, &patches[i]); err != nil {
			return nil, err
		}
	}
	rows, err := x.create(r, patches)
	if err != nil {
		return nil, err
	}
	views := make([]map[string]any, len(rows))
	for i := range rows {
		views[i] = project(x.seen(r, &rows[i]), r.URL.Query()["fields"])
	}
	if bulk {
		return map[string]any{x.collection: views}, nil
	}
	return map[string]any{x.name: views[0]}, nil
}

// owned gives the object with project_id alone of the twins: the one named, else the caller's. Only an admin may name another's.
func owned(r *httpapi.Request, in map[string]any) (map[string]any, error) {
	out := maps.Clone(in)
	p, hasP := out["project_id"].(string)
	t, hasT := out["tenant_id"].(string)
	delete(out, "tenant_id")
	if hasP && hasT && p != t {
		return nil, fault.Invalid("project_id", "'project_id' and 'tenant_id' do not match").WithType("HTTPBadRequest")
	}
	if hasT {
		p = t
	}
	if p == "" {
		p = r.Creds.ProjectID
	}
	if p != r.Creds.ProjectID && !r.Creds.IsAdmin() {
		return nil, fault.Forbidden("Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin privileges").WithType("AdminRequired")
	}
	if p == "" {
		return nil, fault.Invalid("project_id", "Running without keystone AuthN requires that tenant_id is specified: the token has no project").WithType("HTTPBadRequest")
	}
	out["project_id"] = p
	return out, nil
}

func decode(obj map[string]any, dst any) error {
	b, err := json.Marshal(obj)
	if err == nil {
		err = json.Unmarshal(b, dst)
	}
	if err != nil {
		return fault.Invalid("", "Invalid input: %v", err).WithType("HTTPBadRequest")
	}
	return nil
}

func (x *resource[P, V]) put(r *httpapi.Request) (any, error) {
	in, err := x.object(r)
	if err != nil {
		return nil, err
	}
	have, err := x.find(r)
	if err != nil {
		return nil, err
	}
	obj, err := x.body(in, put)
	if err != nil {
		return nil, err
	}
	if err := x.authorize(r, "update", obj, text(have["project_id"]), have); err != nil {
		return nil, err
	}
	c, err := cond(r)
	if err != nil {
		return nil, err
	}
	var p P
	if err := decode(obj, &p); err != nil {
		return nil, err
	}
	row, err := x.update(r, r.Param("id"), p, c)
	if err != nil {
		return nil, err
	}
	return map[string]any{x.name: project(x.seen(r, &row), r.URL.Query()["fields"])}, nil
}

// cond reads If-Match: revision_number=N.
func cond(r *httpapi.Request) (*network.Cond, error) {
	h := r.Header.Get("If-Match")
	v, ok := strings.CutPrefix(strings.Trim(h, `" `), "revision_number=")
	if h == "" {
		return nil, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if !ok || err != nil {
		return nil, fault.Invalid("If-Match", "Bad format for If-Match: %s", h).WithType("HTTPBadRequest")
	}
	return &network.Cond{Revision: n}, nil
}

func (x *resource[P, V]) delete(r *httpapi.Request) (any, error) {
	have, err := x.find(r)
	if err != nil {
		return nil, err
	}
	if err := x.authorize(r, "delete", nil, text(have["project_id"]), have); err != nil {
		return nil, err
	}
	return nil, x.remove(r, r.Param("id"))
}

// stamp adds the standard attributes to a view.
func stamp(view map[string]any, st *network.Standard, tags bool) map[string]any {
	view["description"] = st.Description
	view["revision_number"] = st.RevisionNumber
	view["created_at"] = when8601(st.Created)
	view["updated_at"] = when8601(st.Updated)
	if tags {
		view["tags"] = list(st.Tags.V)
	}
	return view
}

func when8601(t db.Time) string { return t.UTC().Format(time.RFC3339) }

// list is never null in JSON.
func list[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

// orNull is null for an empty text.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func deref[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}
