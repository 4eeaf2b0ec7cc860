package api

import (
	"maps"
	"net/http"
	"regexp"
	"slices"

	"nephos/internal/compute"
	"nephos/internal/db"
	"nephos/internal/fault"
	"nephos/internal/httpapi"
)

func (f *face) metadataRoutes() []httpapi.Route {
	const meta, tags = "os_compute_api:server-metadata:", "os_compute_api:os-server-tags:"
	whole := always(wrap("metadata", sMeta))
	tag := func(method, path, name, what string, status int, h httpapi.Handler) httpapi.Route {
		return httpapi.Route{Method: method, Path: "/servers/{id}/tags" + path, Name: "servers.tags." + name, Min: v(26), Rule: tags + what, Status: status, Handler: h}
	}
	replace := tag(put, "", "replace", "update_all", 200, f.replaceTags)
	replace.Body = always(wrap("tags", array(sTag, `,"maxItems":50`)))
	return []httpapi.Route{
		{Method: get, Path: "/servers/{id}/metadata", Name: "servers.metadata.list", Rule: meta + "index", Handler: f.listMetadata},
		{Method: post, Path: "/servers/{id}/metadata", Name: "servers.metadata.merge", Rule: meta + "create", Body: whole, Handler: f.setMetadata(false)},
		{Method: put, Path: "/servers/{id}/metadata", Name: "servers.metadata.replace", Rule: meta + "update_all", Body: whole, Handler: f.setMetadata(true)},
		{Method: get, Path: "/servers/{id}/metadata/{key}", Name: "servers.metadata.show", Rule: meta + "show", Handler: f.showMeta},
		{Method: put, Path: "/servers/{id}/metadata/{key}", Name: "servers.metadata.set", Rule: meta + "update", Body: always(wrap("meta", sMeta)), Handler: f.setMeta},
		{Method: del, Path: "/servers/{id}/metadata/{key}", Name: "servers.metadata.delete", Rule: meta + "delete", Status: noContent, Handler: f.deleteMeta},
		tag(get, "", "list", "index", 200, f.listTags), replace, tag(del, "", "clear", "delete_all", noContent, f.clearTags),
		tag(get, "/{tag}", "show", "show", noContent, f.showTag), tag(put, "/{tag}", "add", "update", 0, f.addTag), tag(del, "/{tag}", "delete", "delete", noContent, f.deleteTag),
		{Method: get, Path: "/servers/{id}/ips", Name: "servers.ips.list", Rule: "os_compute_api:ips:index", Handler: f.listIPs},
		{Method: get, Path: "/servers/{id}/ips/{network}", Name: "servers.ips.show", Rule: "os_compute_api:ips:show", Handler: f.showIPs},
	}
}

func (f *face) listMetadata(r *httpapi.Request) (any, error) {
	s, err := f.svc.Get(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"metadata": orNothing(s.Metadata.V)}, nil
}

func (f *face) setMetadata(replace bool) httpapi.Handler {
	return func(r *httpapi.Request) (any, error) {
		var b struct {
			Metadata map[string]string `json:"metadata"`
		}
		if err := r.Decode(&b); err != nil {
			return nil, err
		}
		now, err := f.svc.SetMetadata(r.Context(), by(r), r.Param("id"), func(m map[string]string) (map[string]string, error) {
			if replace {
				m = map[string]string{}
			}
			maps.Copy(m, b.Metadata)
			return m, nil
		})
		return obj{"metadata": now}, err
	}
}

func noMeta(key string) error { return fault.NotFound("Metadata item was not found: %s", key) }

func (f *face) showMeta(r *httpapi.Request) (any, error) {
	s, err := f.svc.Get(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	value, ok := s.Metadata.V[r.Param("key")]
	if !ok {
		return nil, noMeta(r.Param("key"))
	}
	return obj{"meta": obj{r.Param("key"): value}}, nil
}

func (f *face) setMeta(r *httpapi.Request) (any, error) {
	var b struct {
		Meta map[string]string `json:"meta"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	value, ok := b.Meta[r.Param("key")]
	if !ok || len(b.Meta) != 1 {
		return nil, fault.Invalid("meta", "Request body and URI mismatch")
	}
	_, err := f.svc.SetMetadata(r.Context(), by(r), r.Param("id"), func(m map[string]string) (map[string]string, error) {
		m[r.Param("key")] = value
		return m, nil
	})
	return obj{"meta": b.Meta}, err
}

func (f *face) deleteMeta(r *httpapi.Request) (any, error) {
	_, err := f.svc.SetMetadata(r.Context(), by(r), r.Param("id"), func(m map[string]string) (map[string]string, error) {
		if _, ok := m[r.Param("key")]; !ok {
			return nil, noMeta(r.Param("key"))
		}
		delete(m, r.Param("key"))
		return m, nil
	})
	return nil, err
}

func (f *face) listTags(r *httpapi.Request) (any, error) {
	s, err := f.svc.Get(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	return obj{"tags": orNone(s.Tags.V)}, nil
}

func (f *face) replaceTags(r *httpapi.Request) (any, error) {
	var b struct {
		Tags []string `json:"tags"`
	}
	if err := r.Decode(&b); err != nil {
		return nil, err
	}
	now, err := f.svc.SetTags(r.Context(), by(r), r.Param("id"), func([]string) ([]string, error) { return orNone(distinct(b.Tags)), nil })
	return obj{"tags": now}, err
}

func (f *face) clearTags(r *httpapi.Request) (any, error) {
	_, err := f.svc.SetTags(r.Context(), by(r), r.Param("id"), func([]string) ([]string, error) { return []string{}, nil })
	return nil, err
}

func noTag(id, tag string) error { return fault.NotFound("Server %s has no tag '%s'", id, tag) }

func (f *face) showTag(r *httpapi.Request) (any, error) {
	s, err := f.svc.Get(r.Context(), r.Creds, r.Param("id"))
	if err == nil && !slices.Contains(s.Tags.V, r.Param("tag")) {
		err = noTag(s.ID, r.Param("tag"))
	}
	return nil, err
}

var tagForm = regexp.MustCompile(`^[^,/]{1,60}$`)

// addTag answers 201 with the tag's address when it is new, 204 when the server has it.
func (f *face) addTag(r *httpapi.Request) (any, error) {
	tag := r.Param("tag")
	if !tagForm.MatchString(tag) {
		return nil, fault.Invalid("tag", "Invalid input for field/attribute tag. Value: %s. A tag has 1 to 60 characters and neither comma nor slash.", tag)
	}
	added := false
	_, err := f.svc.SetTags(r.Context(), by(r), r.Param("id"), func(now []string) ([]string, error) {
		if added = !slices.Contains(now, tag); added {
			now = append(now, tag)
		}
		return now, nil
	})
	if err != nil || !added {
		return nil, err
	}
	return &httpapi.Response{Status: http.StatusCreated, Header: http.Header{"Location": {r.Link("servers", r.Param("id"), "tags", tag)}}}, nil
}

func (f *face) deleteTag(r *httpapi.Request) (any, error) {
	_, err := f.svc.SetTags(r.Context(), by(r), r.Param("id"), func(now []string) ([]string, error) {
		i := slices.Index(now, r.Param("tag"))
		if i < 0 {
			return nil, noTag(r.Param("id"), r.Param("tag"))
		}
		return slices.Delete(now, i, i+1), nil
	})
	return nil, err
}

func (f *face) ips(r *httpapi.Request) (map[string][]addressForm, error) {
	var out map[string][]addressForm
	s, err := f.svc.Get(r.Context(), r.Creds, r.Param("id"))
	if err != nil {
		return nil, err
	}
	err = f.read(r, func(tx *db.Tx) error {
		x, err := f.related(r.Context(), tx, []*compute.Server{s})
		out = plain(addresses(x.addresses[s.ID]))
		return err
	})
	return out, err
}

func (f *face) listIPs(r *httpapi.Request) (any, error) {
	all, err := f.ips(r)
	return obj{"addresses": all}, err
}

func (f *face) showIPs(r *httpapi.Request) (any, error) {
	all, err := f.ips(r)
	if err != nil {
		return nil, err
	}
	list, ok := all[r.Param("network")]
	if !ok {
		return nil, fault.NotFound("Instance is not a member of specified network")
	}
	return obj{r.Param("network"): list}, nil
}
