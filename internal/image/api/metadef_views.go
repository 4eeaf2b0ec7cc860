package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"slices"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image/metadef"
)

const namespaces = "/v2/metadefs/namespaces"

func namespaceURL(name string) string { return namespaces + "/" + url.PathEscape(name) }

func namespaceView(n metadef.Namespace, associations []metadef.Association) object {
	o := object{"namespace": n.Name, "visibility": n.Visibility, "protected": n.Protected, "owner": n.Owner, "created_at": stamp(n.CreatedAt), "updated_at": stamp(n.UpdatedAt),
		"self": namespaceURL(n.Name), "schema": "/v2/schemas/metadefs/namespace"}
	if n.DisplayName != "" {
		o["display_name"] = n.DisplayName
	}
	if n.Description != "" {
		o["description"] = n.Description
	}
	if associations != nil {
		o["resource_type_associations"] = associationViews(associations)
	}
	return o
}

func associationViews(all []metadef.Association) []object {
	out := []object{}
	for _, a := range all {
		out = append(out, associationView(a))
	}
	return out
}

func associationView(a metadef.Association) object {
	o := object{"name": a.Name, "created_at": stamp(a.CreatedAt), "updated_at": stamp(a.UpdatedAt)}
	if a.Prefix != "" {
		o["prefix"] = a.Prefix
	}
	if a.Target != "" {
		o["properties_target"] = a.Target
	}
	return o
}

// contentView is a namespace with all that it holds. prefix goes before the names of properties.
func contentView(c metadef.Content, prefix string) (object, error) {
	o := namespaceView(c.Namespace, c.Associations)
	if len(c.Objects) > 0 {
		list := []object{}
		for _, i := range c.Objects {
			v, err := objectView(c.Name, i)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		o["objects"] = list
	}
	if len(c.Properties) > 0 {
		all := object{}
		for _, i := range c.Properties {
			v, err := bodyOf(i)
			if err != nil {
				return nil, err
			}
			all[prefix+i.Name] = v
		}
		o["properties"] = all
	}
	if len(c.Tags) > 0 {
		list := []object{}
		for _, i := range c.Tags {
			list = append(list, object{"name": i.Name})
		}
		o["tags"] = list
	}
	return o, nil
}

func bodyOf(i metadef.Item) (object, error) {
	o := object{}
	d := json.NewDecoder(bytes.NewReader(i.Body))
	d.UseNumber()
	return o, d.Decode(&o)
}

func objectView(ns string, i metadef.Item) (object, error) {
	o, err := bodyOf(i)
	o["name"], o["created_at"], o["updated_at"] = i.Name, stamp(i.CreatedAt), stamp(i.UpdatedAt)
	o["self"], o["schema"] = namespaceURL(ns)+"/objects/"+url.PathEscape(i.Name), "/v2/schemas/metadefs/object"
	return o, err
}

func propertyView(i metadef.Item) (object, error) {
	o, err := bodyOf(i)
	o["name"] = i.Name
	return o, err
}

func tagView(i metadef.Item) object {
	return object{"name": i.Name, "created_at": stamp(i.CreatedAt), "updated_at": stamp(i.UpdatedAt)}
}

// readItem makes an item of a document: all but its name and what the service says itself is its body.
func readItem(kind metadef.Kind, name string, doc object) (metadef.Item, error) {
	rest := maps.Clone(doc)
	for _, k := range []string{"name", "self", "schema", "created_at", "updated_at"} {
		delete(rest, k)
	}
	if n, ok := doc["name"].(string); ok {
		name = n
	}
	if kind == metadef.Object {
		if rest["required"] == nil {
			rest["required"] = []string{}
		}
		if rest["properties"] == nil {
			rest["properties"] = object{}
		}
	}
	b, err := json.Marshal(rest)
	return metadef.Item{Kind: kind, Name: name, Body: b}, err
}

// readContent makes a namespace of a document that has passed its schema.
func readContent(doc object) (metadef.Content, error) {
	c := metadef.Content{Namespace: metadef.Namespace{}}
	setNamespace(&c.Namespace, doc)
	objects, _ := doc["objects"].([]any)
	for _, x := range objects {
		i, err := readItem(metadef.Object, "", asObject(x))
		if err != nil {
			return c, err
		}
		c.Objects = append(c.Objects, i)
	}
	properties := asObject(doc["properties"])
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		p := maps.Clone(asObject(properties[name]))
		delete(p, "name")
		i, err := readItem(metadef.Property, name, p)
		if err != nil {
			return c, err
		}
		c.Properties = append(c.Properties, i)
	}
	tags, _ := doc["tags"].([]any)
	for _, x := range tags {
		c.Tags = append(c.Tags, metadef.Item{Kind: metadef.Tag, Name: text(asObject(x), "name")})
	}
	associations, _ := doc["resource_type_associations"].([]any)
	for _, x := range associations {
		c.Associations = append(c.Associations, readAssociation(asObject(x)))
	}
	return c, nil
}

func readAssociation(o object) metadef.Association {
	return metadef.Association{Name: text(o, "name"), Prefix: text(o, "prefix"), Target: text(o, "properties_target")}
}

func asObject(x any) object {
	o, _ := x.(map[string]any)
	return o
}

func text(o object, key string) string {
	s, _ := o[key].(string)
	return s
}

// setNamespace takes over the attributes that the document has.
func setNamespace(n *metadef.Namespace, doc object) {
	for key, to := range map[string]*string{"namespace": &n.Name, "display_name": &n.DisplayName, "description": &n.Description, "visibility": &n.Visibility, "owner": &n.Owner} {
		if _, ok := doc[key]; ok {
			*to = text(doc, key)
		}
	}
	if v, ok := doc["protected"].(bool); ok {
		n.Protected = v
	}
}

func document(r *httpapi.Request) (object, error) {
	doc, ok := r.Document().(map[string]any)
	if !ok {
		return nil, fault.Invalid("", "The request body must be a JSON object.")
	}
	return doc, nil
}
