package api

import (
	"encoding/json"

	"nephos/internal/fault"
	"nephos/internal/httpapi"
	"nephos/internal/image"
)

// importImage is POST /images/{id}/import: 202, the task goes on by itself. copy-image has a rule of its own; its image must only be visible.
func (s *server) importImage(r *httpapi.Request) (any, error) {
	var body struct {
		Method struct {
			Name      string `json:"name"`
			URI       string `json:"uri"`
			Image     string `json:"glance_image_id"`
			Region    string `json:"glance_region"`
			Interface string `json:"glance_service_interface"`
		} `json:"method"`
		Stores  []string `json:"stores"`
		All     bool     `json:"all_stores"`
		MustAll *bool    `json:"all_stores_must_succeed"`
	}
	if err := r.Decode(&body); err != nil {
		return nil, err
	}
	if body.Method.Name == "" {
		return nil, fault.Invalid("method", "Import request requires a 'name' in 'method'")
	}
	if body.Method.Name == image.WebDownload && body.Method.URI == "" {
		return nil, fault.Invalid("uri", "'%s' import method requires a 'uri'", body.Method.Name)
	}
	rule, creds := "modify_image", r.Creds
	if body.Method.Name == image.CopyImage {
		rule, creds = "copy_image", nil
	}
	img, err := s.visible(r, rule)
	if err != nil {
		return nil, err
	}
	if creds != nil && img.Owner != creds.ProjectID && !creds.IsAdmin() {
		return nil, fault.Forbidden("You are not permitted to import into image %s.", img.ID)
	}
	stores := body.Stores
	if h := r.Header.Get("X-Image-Meta-Store"); h != "" && stores == nil && !body.All {
		stores = []string{h}
	}
	return nil2(s.svc.Import(r.Context(), creds, img.ID, image.ImportParams{Method: body.Method.Name, URI: body.Method.URI, Source: body.Method.Image, Region: body.Method.Region,
		Stores: stores, All: body.All, MustAll: body.MustAll == nil || *body.MustAll, Request: json.RawMessage(r.RawBody()), RequestID: r.ID}))
}

// nil2 is for calls whose value the answer does not show.
func nil2(_ any, err error) (any, error) { return nil, err }

func importInfo(*httpapi.Request) (any, error) {
	return object{"import-methods": object{"description": "Import methods available.", "type": "array", "value": image.ImportMethods}}, nil
}

func (s *server) storesInfo(*httpapi.Request) (any, error) {
	out := []object{}
	for k, n := range s.svc.Stores() {
		out = append(out, storeView(n, k == 0))
	}
	return object{"stores": out}, nil
}

func storeView(n image.NamedStore, first bool) object {
	o := object{"id": n.ID}
	if n.Description != "" {
		o["description"] = n.Description
	}
	if first {
		o["default"] = "true"
	}
	if n.ReadOnly {
		o["read-only"] = "true"
	}
	return o
}

func (s *server) storesDetail(*httpapi.Request) (any, error) {
	out := []object{}
	for k, n := range s.svc.Stores() {
		o := storeView(n, k == 0)
		properties := n.Properties
		if properties == nil {
			properties = map[string]string{}
		}
		o["type"], o["weight"], o["properties"] = n.Type, n.Weight, properties
		out = append(out, o)
	}
	return object{"stores": out}, nil
}

// removeFromStore is DELETE /stores/{store}/{id}.
func (s *server) removeFromStore(r *httpapi.Request) (any, error) {
	img, err := s.visible(r, "delete_image_location")
	if err != nil {
		return nil, err
	}
	return nil, s.svc.RemoveFromStore(r.Context(), img.ID, r.Param("store"))
}

// usage is GET /info/usage: totals in MiB, as Glance's registered limits count.
func (s *server) usage(r *httpapi.Request) (any, error) {
	l, u, err := s.svc.Usage(r.Context(), r.Creds.ProjectID)
	if err != nil {
		return nil, err
	}
	pair := func(limit, usage int64) object { return object{"limit": limit, "usage": usage} }
	mib := func(b int64) int64 { return (b + 1<<20 - 1) >> 20 }
	return object{"usage": object{"image_size_total": pair(l.TotalMiB, mib(u.TotalBytes)), "image_stage_total": pair(l.StageMiB, mib(u.StageBytes)),
		"image_count_total": pair(l.Count, u.Count), "image_count_uploading": pair(l.Uploading, u.Uploading)}}, nil
}
