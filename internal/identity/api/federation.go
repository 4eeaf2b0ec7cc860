package api

import (
	"encoding/json"
	"net/http"

	"nephos/internal/httpapi"
	"nephos/internal/identity"
)

// federationNoun is one kind of record: its path, the keys of its bodies, its attributes with what holds where a body says nothing.
type federationNoun struct {
	kind, path, param, key, plural, rule string
	attrs                                obj
	defaults                             identity.Extra
	required                             []string
}

func (f *face) federationRoutes() []httpapi.Route {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	var rows []httpapi.Route
	for _, n := range []federationNoun{
		{kind: identity.IdentityProvider, path: "/OS-FEDERATION/identity_providers", param: "idp", key: "identity_provider", plural: "identity_providers", rule: "identity_provider",
			attrs: obj{"enabled": boolean, "description": nullStr, "domain_id": nullID, "remote_ids": obj{"type": []string{"array", "null"}, "items": str, "uniqueItems": true},
				"authorization_ttl": obj{"type": []string{"integer", "null"}, "minimum": 0}},
			defaults: identity.Extra{"enabled": raw("false"), "description": raw("null"), "remote_ids": raw("[]"), "domain_id": raw("null"), "authorization_ttl": raw("null")}},
		{kind: identity.Protocol, path: "/OS-FEDERATION/identity_providers/{idp}/protocols", param: "protocol", key: "protocol", plural: "protocols", rule: "protocol",
			attrs: obj{"mapping_id": str, "remote_id_attribute": nullStr}, defaults: identity.Extra{"remote_id_attribute": raw("null")}, required: []string{"mapping_id"}},
		{kind: identity.Mapping, path: "/OS-FEDERATION/mappings", param: "mapping", key: "mapping", plural: "mappings", rule: "mapping",
			attrs: obj{"rules": mappingRules, "schema_version": str}, defaults: identity.Extra{}, required: []string{"rules"}},
		{kind: identity.ServiceProvider, path: "/OS-FEDERATION/service_providers", param: "sp", key: "service_provider", plural: "service_providers", rule: "service_provider",
			attrs:    obj{"auth_url": anyName, "sp_url": anyName, "description": nullStr, "enabled": boolean, "relay_state_prefix": nullStr},
			defaults: identity.Extra{"enabled": raw("false"), "description": raw("null"), "relay_state_prefix": raw(`"ss:mem:"`)}, required: []string{"auth_url", "sp_url"}},
	} {
		rows = append(rows, f.federationRows(n)...)
	}
	return rows
}

func (f *face) federationRows(n federationNoun) []httpapi.Route {
	one := n.path + "/{" + n.param + "}"
	parent := func(r *httpapi.Request) string {
		if n.kind == identity.Protocol {
			return r.Param("idp")
		}
		return ""
	}
	view := func(r *httpapi.Request, x *identity.FederationRecord) map[string]any { return federationView(r, n, x) }
	return []httpapi.Route{
		{Method: "GET", Path: n.path, Name: n.plural + ".list", Rule: "identity:list_" + n.rule + "s", Handler: func(r *httpapi.Request) (any, error) {
			xs, err := f.svc.Federations(r.Context(), n.kind, parent(r))
			if err != nil {
				return nil, err
			}
			return list(r, n.plural, xs, func(x *identity.FederationRecord) map[string]any { return view(r, x) })
		}},
		{Method: "GET", Path: one, Name: n.plural + ".show", Rule: "identity:get_" + n.rule, Handler: func(r *httpapi.Request) (any, error) {
			x, err := f.svc.Federation(r.Context(), n.kind, parent(r), r.Param(n.param))
			if err != nil {
				return nil, err
			}
			return obj{n.key: view(r, x)}, nil
		}},
		{Method: "PUT", Path: one, Name: n.plural + ".put", Rule: "identity:create_" + n.rule, Body: federationBody(n, n.required...), Status: http.StatusCreated,
			Handler: func(r *httpapi.Request) (any, error) {
				doc, err := federationDoc(r, n, merge(n.defaults, nil))
				if err != nil {
					return nil, err
				}
				x := &identity.FederationRecord{Kind: n.kind, Parent: parent(r), ID: r.Param(n.param)}
				x.Doc.V = doc
				if err := f.svc.CreateFederation(r.Context(), *x); err != nil {
					return nil, err
				}
				return obj{n.key: view(r, x)}, nil
			}},
		{Method: "PATCH", Path: one, Name: n.plural + ".update", Rule: "identity:update_" + n.rule, Body: federationBody(n), Handler: func(r *httpapi.Request) (any, error) {
			x, err := f.svc.UpdateFederation(r.Context(), n.kind, parent(r), r.Param(n.param), func(doc identity.Extra) error {
				_, err := federationDoc(r, n, doc)
				return err
			})
			if err != nil {
				return nil, err
			}
			return obj{n.key: view(r, x)}, nil
		}},
		{Method: "DELETE", Path: one, Name: n.plural + ".delete", Rule: "identity:delete_" + n.rule, Handler: func(r *httpapi.Request) (any, error) {
			return nil, f.svc.DeleteFederation(r.Context(), n.kind, parent(r), r.Param(n.param))
		}},
	}
}

// federationBody lets no attribute in that is not known (Keystone).
func federationBody(n federationNoun, required ...string) httpapi.Schemas {
	inner := obj{"type": "object", "properties": n.attrs, "additionalProperties": false}
	if len(required) > 0 {
		inner["required"] = required
	}
	return schema(obj{"type": "object", "required": []string{n.key}, "properties": obj{n.key: inner}})
}

// federationDoc puts what a body says into doc.
func federationDoc(r *httpapi.Request, n federationNoun, doc identity.Extra) (identity.Extra, error) {
	var in map[string]identity.Extra
	if err := r.Decode(&in); err != nil {
		return nil, err
	}
	for k, v := range in[n.key] {
		doc[k] = v
	}
	return doc, nil
}

func federationView(r *httpapi.Request, n federationNoun, x *identity.FederationRecord) map[string]any {
	segments := []string{"OS-FEDERATION", n.plural, x.ID}
	if n.kind == identity.Protocol {
		segments = []string{"OS-FEDERATION", "identity_providers", x.Parent, "protocols", x.ID}
	}
	v := view(r, x.Doc.V, segments...)
	v["id"] = x.ID
	links := v["links"].(map[string]any)
	switch n.kind {
	case identity.IdentityProvider:
		links["protocols"] = r.Link(append(segments, "protocols")...)
	case identity.Protocol:
		links["identity_provider"] = r.Link("OS-FEDERATION", "identity_providers", x.Parent)
	}
	return v
}
