package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image/metadef"
)

// metadefRoutes are the calls on metadata definitions.
func (s *server) metadefRoutes() []httpapi.Route {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	const ns = "/metadefs/namespaces"
	const read, write = "metadef_read", "metadef_admin"
	out := []httpapi.Route{
		{Method: get, Path: ns, Name: "metadefs.namespaces.list", Rule: read, Handler: s.namespaceList},
		{Method: post, Path: ns, Name: "metadefs.namespaces.create", Rule: write, Body: body(schemaNamespace), Status: http.StatusCreated, Handler: s.namespaceCreate},
		{Method: get, Path: ns + "/{ns}", Name: "metadefs.namespaces.show", Rule: read, Handler: s.namespaceShow},
		{Method: put, Path: ns + "/{ns}", Name: "metadefs.namespaces.update", Rule: write, Body: body(schemaNamespaceUpdate), Handler: s.namespaceUpdate},
		{Method: del, Path: ns + "/{ns}", Name: "metadefs.namespaces.delete", Rule: write, Handler: s.namespaceDelete},

		{Method: get, Path: "/metadefs/resource_types", Name: "metadefs.types.list", Rule: read, Handler: s.typeList},
		{Method: get, Path: ns + "/{ns}/resource_types", Name: "metadefs.associations.list", Rule: read, Handler: s.associationList},
		{Method: post, Path: ns + "/{ns}/resource_types", Name: "metadefs.associations.create", Rule: write, Body: body(schemaAssociation), Status: http.StatusCreated, Handler: s.associationCreate},
		{Method: del, Path: ns + "/{ns}/resource_types/{name}", Name: "metadefs.associations.delete", Rule: write, Handler: s.associationDelete},

		{Method: post, Path: ns + "/{ns}/tags", Name: "metadefs.tags.replace", Rule: write, Body: body(schemaTags), Status: http.StatusCreated, Handler: s.tagsReplace},
		{Method: post, Path: ns + "/{ns}/tags/{name}", Name: "metadefs.tags.create", Rule: write, Status: http.StatusCreated, Handler: s.tagCreate},

		{Method: get, Path: "/schemas/metadefs/{name}", Name: "schemas.metadefs", Handler: metadefSchema},
	}
	for _, k := range []struct {
		kind         metadef.Kind
		plural       string
		create, edit string
	}{{metadef.Object, "objects", schemaObject, schemaObject}, {metadef.Property, "properties", schemaNamedProperty, schemaNamedProperty}, {metadef.Tag, "tags", "", schemaTag}} {
		h := itemCalls{s, k.kind, k.plural}
		out = append(out,
			httpapi.Route{Method: get, Path: ns + "/{ns}/" + k.plural, Name: "metadefs." + k.plural + ".list", Rule: read, Handler: h.list},
			httpapi.Route{Method: del, Path: ns + "/{ns}/" + k.plural, Name: "metadefs." + k.plural + ".clear", Rule: write, Handler: h.clear},
			httpapi.Route{Method: get, Path: ns + "/{ns}/" + k.plural + "/{name}", Name: "metadefs." + k.plural + ".show", Rule: read, Handler: h.show},
			httpapi.Route{Method: put, Path: ns + "/{ns}/" + k.plural + "/{name}", Name: "metadefs." + k.plural + ".update", Rule: write, Body: body(k.edit), Handler: h.update},
			httpapi.Route{Method: del, Path: ns + "/{ns}/" + k.plural + "/{name}", Name: "metadefs." + k.plural + ".delete", Rule: write, Handler: h.remove})
		if k.create != "" {
			out = append(out, httpapi.Route{Method: post, Path: ns + "/{ns}/" + k.plural, Name: "metadefs." + k.plural + ".create", Rule: write, Body: body(k.create), Status: http.StatusCreated, Handler: h.create})
		}
	}
	return out
}

func (s *server) namespaceList(r *httpapi.Request) (any, error) {
	q := r.URL.Query()
	f := metadef.Filter{Visibility: q.Get("visibility"), SortKey: q.Get("sort_key"), Marker: q.Get("marker"), Limit: pageDefault}
	if v := f.Visibility; v != "" && v != metadef.Public && v != metadef.Private {
		return nil, badQuery("visibility", v, "it must be public or private")
	}
	if v := q.Get("resource_types"); v != "" {
		if !storable(v) {
			return nil, badQuery("resource_types", v, "it must be UTF-8 without NUL")
		}
		f.ResourceTypes = strings.Split(v, ",")
	}
	switch dir := q.Get("sort_dir"); dir {
	case "", "desc":
	case "asc":
		f.Asc = true
	default:
		return nil, badQuery("sort_dir", dir, "it must be asc or desc")
	}
	if v := q.Get("limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 {
			return nil, badQuery("limit", v, "limit must be an integer of 0 or more")
		}
		f.Limit = min(n, pageMost)
	}
	list, err := s.defs.List(r.Context(), r.Creds, f)
	if err != nil {
		return nil, err
	}
	tied, err := s.defs.AssociationsOf(r.Context(), list)
	if err != nil {
		return nil, err
	}
	out := []object{}
	for _, n := range list {
		out = append(out, namespaceView(n, slices.Concat([]metadef.Association{}, tied[n.Name])))
	}
	answer := object{"namespaces": out, "schema": "/v2/schemas/metadefs/namespaces", "first": listURL(namespaces, q, "")}
	if len(list) > 0 && len(list) == f.Limit {
		answer["next"] = listURL(namespaces, q, list[len(list)-1].Name)
	}
	return answer, nil
}

func created(r *httpapi.Request, path string, o object) *httpapi.Response {
	h := http.Header{}
	h.Set("Location", r.HostURL()+path)
	return &httpapi.Response{Header: h, Body: o}
}

func (s *server) namespaceCreate(r *httpapi.Request) (any, error) {
	doc, err := document(r)
	if err != nil {
		return nil, err
	}
	c, err := readContent(doc)
	if err != nil {
		return nil, err
	}
	if c.Owner == "" {
		c.Owner = r.Creds.ProjectID
	}
	if c.Owner == "" {
		return nil, fault.Invalid("owner", "A namespace needs an owner: the token is not for a project.")
	}
	if c, err = s.defs.Create(r.Context(), c); err != nil {
		return nil, err
	}
	o, err := contentView(c, "")
	return created(r, namespaceURL(c.Name), o), err
}

// namespaceShow takes resource_type, with whose prefix the properties are then named.
func (s *server) namespaceShow(r *httpapi.Request) (any, error) {
	c, err := s.defs.Get(r.Context(), r.Creds, r.Param("ns"))
	if err != nil {
		return nil, err
	}
	prefix := ""
	if name := r.URL.Query().Get("resource_type"); name != "" {
		for _, a := range c.Associations {
			if a.Name == name {
				prefix = a.Prefix
			}
		}
	}
	return contentView(c, prefix)
}

func (s *server) namespaceUpdate(r *httpapi.Request) (any, error) {
	doc, err := document(r)
	if err != nil {
		return nil, err
	}
	n, err := s.defs.Update(r.Context(), r.Creds, r.Param("ns"), func(n *metadef.Namespace) error { setNamespace(n, doc); return nil })
	if err != nil {
		return nil, err
	}
	return namespaceView(n, nil), nil
}

func (s *server) namespaceDelete(r *httpapi.Request) (any, error) {
	return nil, s.defs.Delete(r.Context(), r.Creds, r.Param("ns"))
}

func (s *server) typeList(r *httpapi.Request) (any, error) {
	all, err := s.defs.ResourceTypes(r.Context())
	if err != nil {
		return nil, err
	}
	out := []object{}
	for _, t := range all {
		out = append(out, object{"name": t.Name, "created_at": stamp(t.CreatedAt), "updated_at": stamp(t.UpdatedAt)})
	}
	return object{"resource_types": out}, nil
}

func (s *server) associationList(r *httpapi.Request) (any, error) {
	all, err := s.defs.Associations(r.Context(), r.Creds, r.Param("ns"))
	if err != nil {
		return nil, err
	}
	return object{"resource_type_associations": associationViews(all)}, nil
}

func (s *server) associationCreate(r *httpapi.Request) (any, error) {
	doc, err := document(r)
	if err != nil {
		return nil, err
	}
	a, err := s.defs.Associate(r.Context(), r.Creds, r.Param("ns"), readAssociation(doc))
	if err != nil {
		return nil, err
	}
	return created(r, namespaceURL(r.Param("ns"))+"/resource_types/"+url.PathEscape(a.Name), associationView(a)), nil
}

func (s *server) associationDelete(r *httpapi.Request) (any, error) {
	return nil, s.defs.Dissociate(r.Context(), r.Creds, r.Param("ns"), r.Param("name"))
}

// tagsReplace makes the tags of the body the namespace's; with X-Openstack-Append they are added to what is there.
func (s *server) tagsReplace(r *httpapi.Request) (any, error) {
	doc, err := document(r)
	if err != nil {
		return nil, err
	}
	list, _ := doc["tags"].([]any)
	var items []metadef.Item
	for _, x := range list {
		items = append(items, metadef.Item{Name: text(asObject(x), "name")})
	}
	keep := strings.EqualFold(r.Header.Get("X-Openstack-Append"), "true")
	if items, err = s.defs.Add(r.Context(), r.Creds, r.Param("ns"), metadef.Tag, !keep, items...); err != nil {
		return nil, err
	}
	out := []object{}
	for _, i := range items {
		out = append(out, object{"name": i.Name})
	}
	return created(r, namespaceURL(r.Param("ns"))+"/tags", object{"tags": out}), nil
}

func (s *server) tagCreate(r *httpapi.Request) (any, error) {
	items, err := s.defs.Add(r.Context(), r.Creds, r.Param("ns"), metadef.Tag, false, metadef.Item{Name: r.Param("name")})
	if err != nil {
		return nil, err
	}
	return created(r, namespaceURL(r.Param("ns"))+"/tags/"+url.PathEscape(items[0].Name), tagView(items[0])), nil
}

// itemCalls are the calls that objects, properties and tags share.
type itemCalls struct {
	s      *server
	kind   metadef.Kind
	plural string
}

func (h itemCalls) view(ns string, i metadef.Item) (object, error) {
	switch h.kind {
	case metadef.Object:
		return objectView(ns, i)
	case metadef.Property:
		return propertyView(i)
	}
	return tagView(i), nil
}

func (h itemCalls) list(r *httpapi.Request) (any, error) {
	all, err := h.s.defs.Items(r.Context(), r.Creds, r.Param("ns"), h.kind)
	if err != nil {
		return nil, err
	}
	views, byName := []object{}, object{}
	for _, i := range all {
		v, err := h.view(r.Param("ns"), i)
		if err != nil {
			return nil, err
		}
		views, byName[i.Name] = append(views, v), v
	}
	if h.kind == metadef.Property {
		return object{"properties": byName}, nil
	}
	out := object{h.plural: views}
	if h.kind == metadef.Object {
		out["schema"] = "/v2/schemas/metadefs/objects"
	}
	return out, nil
}

func (h itemCalls) create(r *httpapi.Request) (any, error) {
	doc, err := document(r)
	if err != nil {
		return nil, err
	}
	item, err := readItem(h.kind, "", doc)
	if err != nil {
		return nil, err
	}
	items, err := h.s.defs.Add(r.Context(), r.Creds, r.Param("ns"), h.kind, false, item)
	if err != nil {
		return nil, err
	}
	v, err := h.view(r.Param("ns"), items[0])
	return created(r, namespaceURL(r.Param("ns"))+"/"+h.plural+"/"+url.PathEscape(items[0].Name), v), err
}

func (h itemCalls) show(r *httpapi.Request) (any, error) {
	i, err := h.s.defs.Item(r.Context(), r.Creds, r.Param("ns"), h.kind, r.Param("name"))
	if err != nil {
		return nil, err
	}
	return h.view(r.Param("ns"), i)
}

func (h itemCalls) update(r *httpapi.Request) (any, error) {
	doc, err := document(r)
	if err != nil {
		return nil, err
	}
	item, err := readItem(h.kind, r.Param("name"), doc)
	if err != nil {
		return nil, err
	}
	if h.kind == metadef.Tag {
		item.Body = nil
	}
	if item, err = h.s.defs.Change(r.Context(), r.Creds, r.Param("ns"), h.kind, r.Param("name"), item); err != nil {
		return nil, err
	}
	return h.view(r.Param("ns"), item)
}

func (h itemCalls) remove(r *httpapi.Request) (any, error) {
	return nil, h.s.defs.Remove(r.Context(), r.Creds, r.Param("ns"), h.kind, r.Param("name"))
}

func (h itemCalls) clear(r *httpapi.Request) (any, error) {
	return nil, h.s.defs.Remove(r.Context(), r.Creds, r.Param("ns"), h.kind, "")
}

// metadefSchema is GET /schemas/metadefs/{name}, made of the same schemas that bodies are held against.
func metadefSchema(r *httpapi.Request) (any, error) {
	name := r.Param("name")
	single := map[string]string{"namespace": schemaNamespace, "object": schemaObject, "property": schemaNamedProperty, "tag": schemaTag, "resource_type": schemaAssociation}
	lists := map[string][2]string{"namespaces": {"namespace", "namespaces"}, "objects": {"object", "objects"}, "properties": {"property", "properties"}, "tags": {"tag", "tags"},
		"resource_types": {"resource_type", "resource_type_associations"}}
	if text, ok := single[name]; ok {
		return namedSchema(name, text)
	}
	list, ok := lists[name]
	if !ok {
		return nil, fault.NotFound("There is no schema %q.", "metadefs/"+name)
	}
	item, err := namedSchema(list[0], single[list[0]])
	if err != nil {
		return nil, err
	}
	member := object{"type": "array", "items": item}
	if name == "properties" {
		member = object{"type": "object", "additionalProperties": item}
	}
	if name == "resource_types" {
		name = list[1]
	}
	return object{"name": name, "properties": object{list[1]: member, "first": object{"type": "string"}, "next": object{"type": "string"}, "schema": object{"type": "string"}},
		"links": []object{{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"}, {"rel": "describedby", "href": "{schema}"}}}, nil
}
